//! What may explain the figures of a workload, put side by side.

use unicode_width::UnicodeWidthStr;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::MetricValue;
use vllm_grid::report;
use vllm_grid::results::ranking::rank;
use vllm_grid::results::why::{self, WhyValue};

use crate::results::builder::{Building, around, sweep};

/// Two configurations, of which one hits the cache.
fn record() -> SweepRecord {
    let mut record = sweep(&["off", "on"]).baseline("off");
    for _ in 0..2 {
        for (name, time, share, state) in [("off", 300.0, 0.0, "miss"), ("on", 200.0, 0.8, "hit")] {
            record = record.launch(name, &around(time)).and("hit_tokens_share", &[share; 5]);
            for repeat in &mut record.launches.last_mut().unwrap().measurements {
                let state = Some(MetricValue::Text(state.to_owned()));
                repeat.metrics.insert("hit_state".to_owned(), state);
            }
        }
    }
    let last = record.launches.last_mut().unwrap();
    let other = Some(MetricValue::Text("partial".to_owned()));
    last.measurements[0].metrics.insert("hit_state".to_owned(), other);
    record
}

#[test]
fn candidate_and_baseline_come_first_with_states_and_figures() {
    let record = record();
    let ranking = rank(&record);
    let kind = record.manifest.workloads[0].kind();
    let cases = why::of(&record, &ranking, kind);
    let names: Vec<&str> = cases[0].metrics.iter().map(|it| it.metric.name).collect();
    assert_eq!(names, ["hit_state", "hit_tokens_share"], "what nobody measured is left out");
    let on = ranking.rows.iter().position(|row| row.name == "on").unwrap();
    let state = WhyValue::State { state: "hit".to_owned(), repeats: 9, of: 10 };
    assert_eq!(cases[0].metrics[0].values[on], Some(state));
    let Some(WhyValue::Number(share)) = &cases[0].metrics[1].values[on] else { panic!("a number") };
    assert!((share.mean - 0.8).abs() < 1e-12 && share.launches == 2, "{share:?}");
    let text = report::why::render(&ranking, kind, &cases, 80);
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

/// By an assumed spread alone a share of 0.99 would reach beyond 1.
#[test]
fn the_interval_of_a_share_ends_at_1() {
    let mut record = sweep(&["a", "b"]);
    for name in ["a", "b", "a", "b"] {
        record = record.launch(name, &around(200.0)).and("hit_tokens_share", &[0.99; 5]);
    }
    let (ranking, kind) = (rank(&record), record.manifest.workloads[0].kind());
    let cases = why::of(&record, &ranking, kind);
    let values = cases[0].metrics.iter().flat_map(|it| it.values.iter().flatten());
    let shares: Vec<_> = values
        .filter_map(|it| match it {
            WhyValue::Number(estimate) => Some(*estimate),
            WhyValue::State { .. } => None,
        })
        .collect();
    assert_eq!(shares.len(), 2);
    for share in shares {
        let interval = share.interval.unwrap();
        assert!(interval.low < 0.99 && interval.high.to_bits() == 1.0_f64.to_bits(), "{share:?}");
    }
}

#[test]
fn nothing_is_shown_where_nothing_may_explain_anything() {
    let record = sweep(&["a"]).launch("a", &around(200.0));
    let (ranking, kind) = (rank(&record), record.manifest.workloads[0].kind());
    let cases = why::of(&record, &ranking, kind);
    assert_eq!(report::why::render(&ranking, kind, &cases, 80), "");
}
