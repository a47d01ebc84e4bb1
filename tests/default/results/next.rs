//! What a reading advises: only what can be done, and what is not done already.

use vllm_grid::history::extent::{Confirming, Extent, State};
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::reading::render;
use vllm_grid::results::confirmable::Refusal;
use vllm_grid::results::confirmed::ConfirmedGain;
use vllm_grid::results::ranking::{Ranking, RankingVerdict, rank};
use vllm_grid::results::reading::next::{Change, NextStep};
use vllm_grid::results::reading::{NoDecision, Place, Reading, Statement};
use vllm_grid::strategy::confirm::Ended;

use crate::results::builder::{Building, around, late, sweep};
use crate::results::claims::wide;
use crate::results::reading::{claim, flags, four, gain, missing, place};
use crate::results::witness::{BUSY, QUIET, launch};

fn read(record: &SweepRecord) -> Reading {
    Reading::of(&rank(record), &record.manifest, &place())
}

/// The block on one line.
fn flat(reading: &Reading) -> String {
    render(reading, 100).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn at(record: &SweepRecord, extent: Extent) -> Reading {
    let place = Place { extent: Some(extent), ..place() };
    Reading::of(&rank(record), &record.manifest, &place)
}

#[test]
fn a_missing_value_here_and_there_does_not_hide_why_all_are_excluded() {
    let mut record = claim();
    let lost = &mut record.launches[0].measurements;
    let lost = lost.iter_mut().find(|it| it.case == "concurrency=64").unwrap();
    lost.metrics.insert("output_throughput".to_owned(), None);
    assert_eq!(rank(&record).missing.len(), 1, "what this is about");
    record.manifest.objective.constraints[0].max = Some(100.0);
    let reading = read(&record);
    let broken = NoDecision::BoundsBroken { of: 3 };
    assert_eq!(reading.result, Statement::NoDecision { cause: broken });
    // The baseline alone breaks the bound, and lacks a value.
    let mut record = claim();
    record.launches[0]
        .measurements
        .iter_mut()
        .find(|it| it.case == "concurrency=64")
        .unwrap()
        .metrics
        .insert("output_throughput".to_owned(), None);
    for launch in record.launches.iter_mut().filter(|it| it.configuration == "production") {
        for measurement in launch.measurements.iter_mut().filter(|it| it.case == "concurrency=8") {
            let slow = vllm_grid::metric::MetricValue::Number(9000.0);
            measurement.metrics.insert("median_ttft_ms".to_owned(), Some(slow));
        }
    }
    let reading = read(&record);
    assert!(matches!(reading.result, Statement::BaselineNotRanked { .. }), "{:?}", reading.result);
    // No correction makes it keep the bound: one that keeps it is another baseline.
    let NextStep::Change { change: Change::OtherBaseline { configuration } } = &reading.next[0]
    else {
        panic!("{:?}", reading.next)
    };
    let ranking = rank(&record);
    assert!(ranking.rows.iter().any(|row| row.eligible && row.name == *configuration));
    let said = format!(
        "Name another `baseline` in the grid, since this one breaks a bound \
                        ({configuration} does not), and sweep again"
    );
    assert!(flat(&reading).contains(&said), "{}", flat(&reading));
    // The table has no gain that the verdict has not.
    assert!(ranking.rows.iter().all(|row| row.effect().is_none()));
}

#[test]
fn what_next_refers_to_is_shown() {
    // Missing without a reason that says what to do.
    let mut record = missing();
    for measurement in record.launches.iter_mut().flat_map(|it| &mut it.measurements) {
        if measurement.reason.is_some() {
            measurement.reason = Some("the server reports no usage".to_owned());
        }
    }
    let text = flat(&read(&record));
    assert!(text.contains("Correct what FAILED names"), "{text}");
    assert!(text.contains("FAILED "), "{text}");
    // Where the reason says it, the group would only repeat the result.
    assert!(!flat(&read(&missing())).contains("FAILED "));
    // A baseline that was not launched has not failed.
    let mut record = claim();
    record.launches.retain(|launch| launch.configuration != "production");
    let reading = read(&record);
    assert!(reading.failed.is_empty(), "what this is about");
    let text = flat(&reading);
    assert!(!text.contains("FAILED"), "{text}");
    assert!(text.contains("Set `launches: 5` or more"), "{text}");
}

fn short_arrivals() -> SweepRecord {
    let mut record = missing();
    let reason = "arrivals lasted 5.0 s, less than two median request times of 4.0 s: raise \
                  `requests` or `duration`";
    for measurement in record.launches.iter_mut().flat_map(|it| &mut it.measurements) {
        measurement.reason = measurement.reason.take().map(|_| reason.to_owned());
    }
    record
}

#[test]
fn what_short_arrivals_ask_for_is_advised() {
    let text = flat(&read(&short_arrivals()));
    assert!(text.contains("FIX Raise `requests` or `duration` in the grid"), "{text}");
}

#[test]
fn an_objective_without_ratios_is_not_to_be_confirmed() {
    let mut record = sweep(&["plain", "good"]).baseline("plain");
    record.manifest.objective.metric = "kv_cache.failed".parse().unwrap();
    for _ in 0..4 {
        record = record.launch_of("plain", "failed", &[9.0, 8.0, 10.0]);
        record = record.launch_of("good", "failed", &[0.0, 1.0, 0.0]);
    }
    let reading = read(&record);
    assert!(matches!(reading.result, Statement::Better { confirmed: false, .. }));
    assert!(!reading.confirmable);
    let text = flat(&reading);
    assert!(!text.contains("vllm-grid confirm") && !text.contains("not yet confirmed"), "{text}");
    assert!(text.contains("Set `launches: 8` or more in the grid"), "{text}");
}

#[test]
fn what_is_advised_is_not_there_already() {
    // Four launches each, and still too wide.
    let record = (0..40)
        .map(|seed| wide(4, 0.75, seed))
        .find(|it| matches!(rank(it).verdict, RankingVerdict::Undecided { .. }))
        .expect("one of forty");
    let text = flat(&read(&record));
    assert!(text.contains("cannot be seen"), "{text}");
    assert!(text.contains("FIX Set `launches: 8` or more in the grid"), "{text}");
    // One that others disturbed, with enough launches.
    let mut record = sweep(&["a", "b"]).baseline("b");
    for block in 0..4 {
        record = launch(record, "a", &around(100.0), QUIET, block * 14);
        record = launch(record, "b", &around(101.0), BUSY, block * 14 + 7);
    }
    let text = flat(&read(&record));
    assert!(text.contains("FIX Stop what else uses the machine, and sweep again:"), "{text}");
}

#[test]
fn a_begun_confirmation_is_continued_although_the_sweep_alone_decides_nothing() {
    let record = (0..40).map(|seed| wide(4, 0.75, seed));
    let record = record
        .map(|it| it.baseline("b"))
        .find(|it| matches!(rank(it).verdict, RankingVerdict::Undecided { .. }))
        .expect("one of forty");
    let mut ranking = rank(&record);
    let candidate = ranking.decision.as_ref().expect("a candidate").candidate.configuration.clone();
    let begun = ConfirmedGain { baseline: "b".to_owned(), ..gain(&candidate, 1.4, 1.3, 1.5) };
    ranking.confirmed = vec![ConfirmedGain { complete: false, effect: None, ended: None, ..begun }];
    let reading = Reading::of(&ranking, &record.manifest, &place());
    assert!(matches!(reading.result, Statement::NoDecision { .. }), "{:?}", reading.result);
    let text = flat(&reading);
    assert!(text.contains("vllm-grid confirm runs/my-service-20261128T010203Z"), "{text}");
    assert!(text.contains("(continues)") && !text.contains("Set `launches"), "{text}");
}

#[test]
fn a_client_that_was_late_is_given_cpu() {
    let mut record = sweep(&["a", "b"]);
    for block in 0..4 {
        record = record.launch("a", &around(100.0)).at(block * 840);
        record = record.launch("b", &around(100.1)).at(block * 840 + 420);
    }
    for launch in &mut record.launches {
        launch.measurements.extend((6..10).map(late));
        launch.measured_at.clear();
    }
    let text = flat(&read(&record));
    assert!(text.contains("The client was late"), "{text}");
    assert!(text.contains("FIX Leave the client more CPU, or lower the load"), "{text}");
}

#[test]
fn resume_continues_a_confirmation_before_the_rest_of_the_sweep() {
    let record = claim();
    let interrupted = |confirmation| Extent {
        done: 5,
        of: 20,
        of_least: None,
        state: State::Interrupted,
        confirmation,
        waits: None,
        jobs: Vec::new(),
    };
    let text = flat(&at(&record, interrupted(Some(Confirming::Interrupted))));
    let run = "vllm-grid resume runs/my-service-20261128T010203Z";
    let expected = format!("NEXT {run} (continues the confirmation) {run} (15 launches are left)");
    assert!(text.ends_with(&expected), "{text}");
    let text = flat(&at(&record, interrupted(Some(Confirming::Running))));
    assert!(text.contains("The sweep was interrupted. A confirmation is running."), "{text}");
    assert!(text.ends_with("(later: a confirmation is not over)"), "{text}");
    let text = flat(&at(&record, interrupted(None)));
    assert!(text.ends_with(&format!("NEXT {run} (15 launches are left)")), "{text}");
}

fn confirmed(ended: Ended) -> String {
    let record = claim();
    let mut ranking: Ranking = rank(&record);
    let gain = gain("prefix-seqs64", 1.41, 1.3, 1.52);
    ranking.confirmed = vec![ConfirmedGain { ended: Some(ended), ..gain }];
    flat(&Reading::of(&ranking, &record.manifest, &place()))
}

#[test]
fn a_width_that_was_missed_is_said() {
    let missed = "It ended before the interval was within 5%.";
    assert!(confirmed(Ended::Pairs).contains(missed), "{}", confirmed(Ended::Pairs));
    assert!(confirmed(Ended::Budget).contains(missed));
    assert!(!confirmed(Ended::Precise).contains(missed));
}

#[test]
fn others_are_worse_than_the_one_that_they_were_compared_with() {
    let record = four(
        flags(),
        &[("production", 1000.0), ("prefix-seqs64", 1003.0), ("prefix-seqs32", 500.0)],
    );
    let mut record = record;
    for name in ["prefix-seqs64", "prefix-seqs32"] {
        let class = FailureClass::OutOfMemory;
        record = record.failed(name, class, "it ended");
    }
    let reading = read(&record);
    let Statement::BaselineIsBest { worse, best, .. } = &reading.result else {
        panic!("{:?}", reading.result)
    };
    assert_eq!((*worse, best.as_deref()), (1, Some("prefix-seqs64")));
    let text = flat(&reading);
    let expected = "1 of 2 others are shown to be worse than prefix-seqs64, the best mean.";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn no_time_effect_was_looked_for_where_each_was_launched_once() {
    let record = sweep(&["a", "b"]).launch("a", &around(100.0)).launch("b", &around(110.0));
    assert!(!read(&record).trust.time_effect);
    assert!(read(&claim()).trust.time_effect);
}

#[test]
fn a_refusal_for_want_of_a_ratio_has_short_sentences() {
    let metric = "kv_cache.hit_tokens_share".parse().unwrap();
    let text = Refusal::NoRatio(metric).to_string();
    for sentence in text.split(". ") {
        assert!(sentence.split_whitespace().count() <= 25, "{sentence}");
    }
    assert!(text.contains("`launches`"), "{text}");
}
