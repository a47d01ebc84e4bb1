//! Bounds and confirmations: fresh launches did not choose the configuration, so what they show
//! of its bounds decides whether it is confirmed.

use vllm_grid::history::extent::{Extent, State};
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::MetricValue;
use vllm_grid::report::reading::{in_short, render};
use vllm_grid::results::applicable::{Refusal, chosen};
use vllm_grid::results::confirmable::{self, pair};
use vllm_grid::results::confirmed::ConfirmedGain;
use vllm_grid::results::listed::Shown;
use vllm_grid::results::ranking::{ConstraintVerdict, rank};
use vllm_grid::results::reading::next::{Change, NextStep};
use vllm_grid::results::reading::{Place, Reading, Statement};
use vllm_grid::strategy::confirm::Ended;
use vllm_grid::strategy::{AdaptiveStrategy, StrategySpec};

use crate::results::builder::Building;
use crate::results::confirmed::{confirming, repeats};

const BOUND: f64 = 1000.0;

/// `a` takes 70 ms in place of 100 ms; in the sweep its bounded metric is `own` ms, and in seven
/// fresh launches it is `fresh` ms. Launches differ by about 2 %.
fn bounded(own: f64, fresh: f64) -> SweepRecord {
    with_metric(confirming(70.0, 7, Some(Ended::Precise)), own, fresh)
}

fn with_metric(mut record: SweepRecord, own: f64, fresh: f64) -> SweepRecord {
    record = record.constraint("kv_cache.ttft_miss_ms", None, Some(BOUND));
    let launches = std::mem::take(&mut record.launches);
    for (at, launch) in launches.into_iter().enumerate() {
        let value = match (launch.configuration.as_str(), launch.confirmation) {
            ("a", Some(_)) => fresh,
            ("a", None) => own,
            _ => 500.0,
        };
        record.launches.push(launch);
        record = record.and("ttft_miss_ms", &repeats(value * [1.0, 1.02, 0.98][at % 3]));
    }
    record
}

fn gain(record: &SweepRecord) -> ConfirmedGain {
    rank(record).confirmed[0].clone()
}

fn reading(record: &SweepRecord) -> Reading {
    let place = Place { run: "run".to_owned(), ..Place::default() };
    Reading::of(&rank(record), &record.manifest, &place)
}

fn text(record: &SweepRecord) -> String {
    render(&reading(record), 80).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_breaks_a_bound_in_fresh_launches_is_not_confirmed_however_fast_it_is() {
    let record = bounded(700.0, 1500.0);
    let own = rank(&record);
    let row = own.rows.iter().find(|row| row.name == "a").unwrap();
    assert_eq!((row.rank, row.constraints[0].verdict), (Some(1), ConstraintVerdict::Holds));
    let gain = gain(&record);
    assert!(gain.shown && gain.breaks_a_bound() && !gain.is_confirmed(), "{gain:?}");
    let said = gain.to_string();
    assert!(said.starts_with("a breaks a bound, though it is better than production: "), "{said}");
    assert!(said.contains("; broken is the bound of kv_cache.ttft_miss_ms: 15"), "{said}");

    let reading = reading(&record);
    let Statement::BoundBroken { configuration, better: true, .. } = &reading.result else {
        panic!("{:?}", reading.result)
    };
    assert_eq!(configuration, "a");
    let choice = reading.choice.as_ref().unwrap();
    assert_eq!((choice.configuration.as_str(), choice.is_baseline), ("production", true));
    assert_eq!(reading.next[0], NextStep::Change { change: Change::Bounds });
    insta::assert_snapshot!(render(&reading, 80));
}

#[test]
fn what_is_broken_and_not_better_says_both() {
    let said = text(&with_metric(confirming(100.0, 7, Some(Ended::Precise)), 700.0, 1500.0));
    let expected = "RESULT Not confirmed: a breaks the bound of ttft_miss_ms, and fresh launches do \
                    not show that it is faster than production.";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_bound_that_fresh_launches_leave_open_is_named_and_measured_further() {
    let mut record = bounded(700.0, 995.0);
    assert!(gain(&record).is_confirmed() && gain(&record).open().count() == 1);
    let said = text(&record);
    let expected = "RESULT a is faster than production: confirmed on fresh launches. Whether it \
                    keeps the bound of ttft_miss_ms is not shown.";
    assert!(said.contains(expected), "{said}");
    // A claim that the interval is narrow enough for would launch nothing.
    let half_width = gain(&record).half_width.unwrap();
    let next = reading(&record).next;
    let [NextStep::Confirm { claim: Some(claim), baseline: None, goes_on: true, .. }] = next[..]
    else {
        panic!("{next:?}")
    };
    assert!(claim <= 0.05 && claim / 2.0 < half_width, "{claim} of {half_width}");
    let mut wide = rank(&record);
    wide.confirmed[0].half_width = Some(0.049);
    let next = Reading::of(&wide, &record.manifest, &Place::default()).next;
    assert!(matches!(next[..], [NextStep::Confirm { claim: Some(0.049), .. }]), "{next:?}");
    wide.confirmed[0].half_width = Some(0.07);
    let next = Reading::of(&wide, &record.manifest, &Place::default()).next;
    assert!(matches!(next[..], [NextStep::Confirm { claim: Some(0.05), .. }]), "{next:?}");
    // Without a baseline of the grid the command names the other one of the pair.
    let mut unnamed = record.clone();
    unnamed.manifest.baseline = None;
    let said = text(&unnamed);
    assert!(said.contains("NEXT vllm-grid confirm run --baseline production --claim "), "{said}");
    // Where there may be no more launches, it is to be used or not.
    record.confirmations[0].ended = Some(Ended::Pairs);
    assert_eq!(reading(&record).next, [NextStep::UseFlags]);
    let ranking = rank(&record);
    let applied = chosen(&record, &ranking, &reading(&record), None).unwrap();
    assert!(applied.warnings[0].contains("keeps the bound of"), "{applied:?}");
    let named = chosen(&record, &ranking, &reading(&record), Some("a")).unwrap();
    assert_eq!(named.warnings, applied.warnings, "whether it is named or not");
}

/// The command that is advised may not be refused.
#[test]
fn a_bound_that_the_sweep_s_few_launches_leave_open_is_no_refusal_after_a_confirmation() {
    let mut record = bounded(995.0, 995.0);
    record.manifest.strategy = StrategySpec::Adaptive(AdaptiveStrategy::default());
    // Two launches of each are left of the sweep.
    record.launches.drain(..2);
    let continued = pair(&record, &rank(&record), None, None).unwrap();
    assert_eq!(continued.candidate, "a");
    record.launches.retain(|it| it.confirmation.is_none());
    record.confirmations.clear();
    let refused = pair(&record, &rank(&record), None, None).unwrap_err();
    assert!(matches!(refused[..], [confirmable::Refusal::BoundOpen { .. }]), "{refused:?}");
}

#[test]
fn what_keeps_its_bounds_in_fresh_launches_is_confirmed_by_their_figures() {
    let record = bounded(950.0, 600.0);
    let reading = reading(&record);
    assert!(
        matches!(&reading.result, Statement::Better { confirmed: true, open, .. } if open.is_empty()),
        "{:?}",
        reading.result
    );
    let mean = reading.bounds[0].estimate.unwrap().mean;
    assert!((mean - 600.0).abs() < 20.0, "of the fresh launches: {mean}");
    assert_eq!(reading.next, [NextStep::UseFlags]);
}

/// A person may confirm what the sweep excluded.
#[test]
fn what_the_sweep_shows_to_be_broken_stays_so_where_fresh_launches_leave_it_open() {
    let record = bounded(1500.0, 995.0);
    let gain = gain(&record);
    assert!(gain.breaks_a_bound(), "{:?}", gain.bounds);
    let kept = rank(&bounded(1500.0, 600.0)).confirmed[0].clone();
    assert!(kept.is_confirmed(), "fresh launches show it: {:?}", kept.bounds);
}

#[test]
fn what_breaks_a_bound_is_not_deployed_unless_it_is_named() {
    let record = bounded(700.0, 1500.0);
    let (ranking, reading) = (rank(&record), reading(&record));
    let refused = chosen(&record, &ranking, &reading, None).unwrap_err();
    assert!(matches!(refused, Refusal::Keep { .. }), "{refused}");
    let named = chosen(&record, &ranking, &reading, Some("a")).unwrap();
    assert_eq!(named.warnings, ["a breaks the bound of kv_cache.ttft_miss_ms"]);
}

/// `a` breaks a bound in its confirmation, and `b`, which does not, is confirmed then.
pub(crate) fn another() -> (SweepRecord, SweepRecord) {
    let mut record = bounded(700.0, 1500.0);
    let b = crate::results::builder::configuration("b", &serde_json::json!({}));
    record.manifest.configurations.push(b);
    for (at, off) in (0..).zip([1.0, 1.02, 0.99]) {
        record = record.launch("b", &repeats(80.0 * off)).at(1200 * at + 300);
        record = record.and("ttft_miss_ms", &repeats(500.0 * off));
    }
    let before = record.clone();
    let first = record.launches.iter().filter(|it| it.confirmation == Some(1));
    let second: Vec<_> = first.cloned().collect();
    for (number, mut launch) in (100..).zip(second) {
        (launch.launch, launch.trial, launch.confirmation) = (number, 2_000_000 + number, Some(2));
        let is_candidate = launch.configuration == "a";
        if is_candidate {
            "b".clone_into(&mut launch.configuration);
        }
        record.launches.push(launch);
        if is_candidate {
            record = record.and("ttft_miss_ms", &repeats(500.0));
        }
    }
    let mut asked = record.confirmations[0].clone();
    (asked.asked.number, asked.asked.candidate) = (2, "b".to_owned());
    record.confirmations.push(asked);
    (before, record)
}

#[test]
fn another_one_that_keeps_its_bounds_is_to_be_confirmed_then() {
    let (before, record) = another();
    let said = text(&before);
    assert!(said.ends_with("NEXT vllm-grid confirm run --configuration b"), "{said}");
    // Its own confirmation counts as soon as it has a result.
    let reading = reading(&record);
    assert!(
        matches!(&reading.result, Statement::Better { configuration, confirmed: true, .. }
            if configuration == "b"),
        "{:?}",
        reading.result
    );
}

/// A list, what is told at the end, and a warning name the one that the result is about.
#[test]
fn who_was_confirmed_in_place_of_another_one_is_named_everywhere() {
    let (_, record) = another();
    let (ranking, reading) = (rank(&record), reading(&record));
    let (said, best) = in_short(&reading);
    assert_eq!(
        (said.as_str(), best.as_deref()),
        ("b is faster than production: confirmed on fresh launches.", Some("b"))
    );
    let named = chosen(&record, &ranking, &reading, Some("a")).unwrap();
    assert_eq!(named.warnings, ["a breaks the bound of kv_cache.ttft_miss_ms"]);
    let extent = Extent {
        done: 1,
        of: 1,
        of_least: None,
        state: State::Complete,
        confirmation: None,
        waits: None,
        jobs: Vec::new(),
    };
    let shown = Shown::of(&ranking, reading, extent);
    assert_eq!((shown.candidate.as_deref(), shown.confirmed), (Some("b"), true));
}

#[test]
fn what_is_told_at_the_end_is_what_the_report_says() {
    let (said, best) = in_short(&reading(&bounded(700.0, 1500.0)));
    assert!(said.starts_with("Not confirmed: a breaks the bound of ttft_miss_ms, "), "{said}");
    assert_eq!(best.as_deref(), Some("production"));
}

/// A further confirmation with few launches, which leave the bound open.
fn again(mut record: SweepRecord, fresh: f64) -> SweepRecord {
    let first = record.launches.iter().filter(|it| it.confirmation == Some(1)).take(6);
    let second: Vec<_> = first.cloned().collect();
    for (number, mut launch) in (100..).zip(second) {
        (launch.launch, launch.trial, launch.confirmation) = (number, 2_000_000 + number, Some(2));
        let is_candidate = launch.configuration == "a";
        record.launches.push(launch);
        if is_candidate {
            let off = [1.0, 1.02, 0.98][number as usize % 3];
            record = record.and("ttft_miss_ms", &repeats(fresh * off));
        }
    }
    let mut asked = record.confirmations[0].clone();
    (asked.asked.number, asked.ended) = (2, Some(Ended::Budget));
    record.confirmations.push(asked);
    record
}

#[test]
fn a_bound_that_a_confirmation_before_showed_to_be_broken_stays_so() {
    let ranking = rank(&again(bounded(700.0, 1500.0), 995.0));
    let [first, second] = ranking.confirmed.as_slice() else { panic!("{:?}", ranking.confirmed) };
    assert!(first.breaks_a_bound() && second.shown && second.breaks_a_bound(), "{second:?}");
    assert!(rank(&again(bounded(700.0, 995.0), 995.0)).confirmed[1].is_confirmed());
    let kept = rank(&again(bounded(700.0, 1500.0), 600.0)).confirmed[1].clone();
    assert!(kept.is_confirmed(), "fresh launches show it: {:?}", kept.bounds);
}

/// Production breaks a bound in the sweep, and `a` takes as much time as it does.
fn broken_baseline(fresh: f64) -> SweepRecord {
    let mut record = with_metric(confirming(100.0, 7, Some(Ended::Precise)), 500.0, fresh);
    for launch in record.launches.iter_mut().filter(|it| it.configuration == "production") {
        for measurement in &mut launch.measurements {
            let value = Some(MetricValue::Number(1500.0));
            measurement.metrics.insert("ttft_miss_ms".to_owned(), value);
        }
    }
    record
}

#[test]
fn a_baseline_that_breaks_a_bound_is_not_kept_where_nothing_is_confirmed() {
    let record = broken_baseline(500.0);
    let reading = reading(&record);
    let Statement::NotConfirmed { not_kept: Some(_), .. } = &reading.result else {
        panic!("{:?}", reading.result)
    };
    let said = text(&record);
    assert!(said.contains("a is faster than production. But production breaks a bound."), "{said}");
    let choice = reading.choice.as_ref().unwrap();
    assert_eq!((choice.configuration.as_str(), choice.is_baseline), ("a", false));
    let refused = chosen(&record, &rank(&record), &reading, None).unwrap_err();
    assert!(matches!(refused, Refusal::NotKept { .. }), "{refused}");
}

#[test]
fn nothing_is_to_be_used_where_the_candidate_breaks_a_bound_as_the_baseline_does() {
    let record = broken_baseline(1500.0);
    let reading = reading(&record);
    assert!(
        matches!(&reading.result, Statement::BoundBroken { not_kept: Some(_), .. }),
        "{:?}",
        reading.result
    );
    assert_eq!(reading.choice, None);
    let refused = chosen(&record, &rank(&record), &reading, None).unwrap_err();
    assert!(matches!(refused, Refusal::NotKept { .. }), "{refused}");
}
