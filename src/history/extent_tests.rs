//! How far a sweep is, by its lines and by what still works on it.

use super::*;
use crate::configuration::Configuration;
use crate::history::launch::LaunchOutcome;
use crate::history::record::LaunchRecord;
use crate::history::replay::tests::manifest;
use crate::strategy::{AdaptiveStrategy, GridStrategy, ModelStrategy, Order, StrategySpec};

fn line(sequence: u64, entry: Entry) -> Line {
    Line { sequence, at: jiff::Timestamp::UNIX_EPOCH, elapsed_ms: None, happened_at: None, entry }
}

fn ended(complete: bool, reason: &str) -> Vec<Line> {
    let (schema_version, tool_version) = (1, String::new());
    let suite_version = None;
    let started = Entry::SessionStarted { schema_version, tool_version, suite_version };
    let entry = Entry::SessionEnded { complete, reason: reason.to_owned() };
    vec![line(1, started), line(2, entry)]
}

/// So many hours after midnight in a place two hours east of Greenwich.
fn now(hours: i64) -> ZonedDateTime {
    let zone = jiff::tz::TimeZone::posix("EET-2").expect("a time zone");
    let at = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(24 + hours - 2);
    at.to_zoned_datetime(zone)
}

/// A sweep with a window of which some launches are missing.
fn windowed(lines: &[Line], hours: i64, is_written: bool) -> Extent {
    let mut manifest = manifest();
    manifest.window = Window::read("23:00-06:30");
    Extent::of(&SweepRecord::new(manifest), lines, &now(hours), || is_written)
}

#[test]
fn a_sweep_that_waits_for_its_window_says_until_when() {
    let mut closed = ended(false, journal::WINDOW_CLOSED);
    closed[1].at = now(5).timestamp();
    let waiting = [
        ("before its first launch", Vec::new()),
        ("resumed", ended(false, "interrupted")),
        ("resumed with a new budget", ended(false, journal::BUDGET_SPENT)),
        ("between two nights", closed.clone()),
    ];
    for (when, lines) in waiting {
        let json = serde_json::to_value(windowed(&lines, 12, true)).expect("JSON");
        assert_eq!(json["state"], "waiting", "{when}");
        let waits =
            serde_json::json!({"window": "23:00-06:30", "until": "1970-01-02T23:00:00+02:00"});
        assert_eq!(json["waits"], waits, "{when}");
        let nobody = windowed(&lines, 12, false);
        assert_eq!(nobody.waits, None, "{when}");
        assert_ne!(nobody.state, State::Waiting, "{when}");
    }
    // The window is still open, and has no room for a launch.
    let late = windowed(&closed, 6, true);
    let until = late.waits.and_then(|it| it.until).map(|it| it.date().day());
    assert_eq!((late.state, until), (State::Waiting, Some(2)));
    assert_eq!(windowed(&[], 1, true).state, State::Running, "it begins at once");
    let open = &ended(false, "")[..1];
    assert_eq!(windowed(open, 12, true).state, State::Running, "it stops what runs");
    assert_eq!(windowed(&ended(true, "complete"), 12, true).state, State::Complete);
}

#[test]
fn a_confirmation_that_waits_for_the_window_is_not_called_interrupted() {
    let asked = serde_json::json!({
        "number": 1, "candidate": "a", "baseline": "b", "claim": 0.1, "repeats": 3, "seed": 1,
        "budget_seconds": null
    });
    let asked: crate::history::confirmation::Confirmation =
        serde_json::from_value(asked).expect("a confirmation");
    let mut manifest = manifest();
    manifest.window = Window::read("23:00-06:30");
    let mut record = SweepRecord::new(manifest);
    let session = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH);
    let confirmation = crate::history::confirmation::ConfirmationRecord {
        asked: asked.clone(),
        ended: None,
        of_grid: false,
        by_person: Vec::new(),
        earlier: None,
        open: false,
        session,
    };
    record.confirmations.push(confirmation);
    let mut lines = ended(false, "interrupted");
    let mut confirming = ended(false, journal::WINDOW_CLOSED);
    confirming.insert(1, line(3, Entry::ConfirmationStarted { confirmation: asked }));
    lines.extend(confirming);
    let extent = Extent::of(&record, &lines, &now(12), || true);
    assert_eq!(extent.confirmation, Some(Confirming::Waiting));
    assert_eq!(extent.state, State::Interrupted, "the sweep itself");
    assert!(extent.waits.is_some());
    let killed = Extent::of(&record, &lines, &now(12), || false);
    assert_eq!((killed.confirmation, killed.waits), (Some(Confirming::Interrupted), None));
}

#[test]
fn the_last_session_says_whether_more_will_come() {
    let never = || panic!("a session that ended holds no lock");
    assert_eq!(state(&ended(true, "complete"), false, never), State::Complete);
    for spent in ["budget spent", "budget spent: 40 launches"] {
        assert_eq!(state(&ended(false, spent), false, never), State::BudgetSpent);
    }
    assert_eq!(state(&ended(false, "interrupted"), false, never), State::Interrupted);
    let killed = state(&ended(false, journal::WINDOW_CLOSED), false, never);
    assert_eq!(killed, State::Interrupted, "`resume` waits for the next one");
    let reason = "5 launches failed".to_owned();
    assert_eq!(state(&ended(false, &reason), false, never), State::Stopped { reason });
    // Every trial is over: whoever writes now does something else.
    assert_eq!(state(&ended(false, "interrupted"), true, never), State::Complete);
    let open = &ended(true, "")[..1];
    assert_eq!(state(open, false, || true), State::Running);
    assert_eq!(state(open, false, || false), State::Interrupted);
}

#[test]
fn a_sweep_of_an_older_version_is_complete_by_its_own_order() {
    let mut manifest = manifest();
    let one = manifest.configurations[0].clone();
    let named = |at: u32| Configuration { name: format!("c{at}"), ..one.clone() };
    manifest.configurations = (0..7).map(named).collect();
    manifest.baseline = Some("c0".to_owned());
    let spec = GridStrategy { launches: 2, repeats: 5, auto: false, seed: 1 };
    (manifest.strategy, manifest.order) = (StrategySpec::Grid(spec), Order::Shuffled);
    let launch = |trial| LaunchRecord {
        trial,
        outcome: Some(LaunchOutcome::Measured),
        ..LaunchRecord::default()
    };
    let launches = (0..14).map(launch).collect();
    let record = SweepRecord { launches, ..SweepRecord::new(manifest) };
    let extent = Extent::of(&record, &ended(false, "interrupted"), &now(0), || false);
    assert_eq!((extent.done, extent.of, extent.state), (14, 14, State::Complete));
    let mut newer = record;
    newer.manifest.order = Order::Separated;
    let extent = Extent::of(&newer, &ended(false, "interrupted"), &now(0), || false);
    assert_eq!((extent.done, extent.of), (14, 16), "the baseline is launched twice");
}

/// Four configurations, so many launches, and how its only session ended.
fn adaptive(launches: u32, complete: bool, reason: &str) -> Extent {
    let mut manifest = manifest();
    let one = manifest.configurations[0].clone();
    let named = |at: u32| Configuration { name: format!("c{at}"), ..one.clone() };
    manifest.configurations = (0..4).map(named).collect();
    manifest.baseline = None;
    manifest.strategy = StrategySpec::Adaptive(AdaptiveStrategy::default());
    let mut record = SweepRecord::new(manifest);
    let launch = |trial| LaunchRecord {
        trial,
        outcome: Some(LaunchOutcome::Measured),
        ..LaunchRecord::default()
    };
    record.launches = (0..launches).map(launch).collect();
    Extent::of(&record, &ended(complete, reason), &now(0), || false)
}

#[test]
fn the_least_of_a_model_is_what_its_axes_ask_for() {
    let mut manifest = manifest();
    let one = manifest.configurations[0].clone();
    let varied = |at: i64| {
        let axes = [("a", at % 4), ("b", at / 4 % 3), ("c", at / 12)];
        axes.into_iter().map(|(name, level)| (name.to_owned(), level.into())).collect()
    };
    let named = |at| Configuration { name: format!("c{at}"), varied: varied(at), ..one.clone() };
    manifest.configurations = (0..48).map(named).collect();
    manifest.strategy = StrategySpec::Model(ModelStrategy::default());
    // 3 + 2 + 3 levels beyond the first ones, and 4; a third more; and one of the last ones.
    assert_eq!(manifest.expected_launches().low, 17);
}

#[test]
fn a_sweep_that_ended_by_its_own_choice_lacks_nothing() {
    let over = adaptive(14, true, "c1 is probably within 5% of the best");
    assert_eq!((over.state.clone(), &*over.launches()), (State::Complete, "14 of 14"));
    let json = serde_json::to_value(&over).expect("JSON");
    assert_eq!((&json["of"], json.get("of_least")), (&14.into(), None));
    let stopped = adaptive(5, false, "interrupted");
    // Two blocks of four at the least.
    let most = stopped.of;
    let said = (stopped.state.clone(), stopped.launches());
    assert_eq!(said, (State::Interrupted, format!("5 of 8 to {most}")));
    assert_eq!(serde_json::to_value(&stopped).expect("JSON")["of_least"], 8);
    assert_eq!(adaptive(9, false, "interrupted").launches(), format!("9 of 9 to {most}"));
    let spent = adaptive(9, false, journal::BUDGET_SPENT);
    assert_eq!(spent.state, State::BudgetSpent);
    // All that there can be is everything.
    assert_eq!(adaptive(most, false, "interrupted").state, State::Complete);
}

#[test]
fn a_manifest_without_an_order_has_the_older_one() {
    let mut json = serde_json::to_value(manifest()).expect("JSON");
    assert_eq!(json["order"], "separated");
    json.as_object_mut().expect("an object").remove("order");
    let older: crate::history::record::Manifest = serde_json::from_value(json).expect("read");
    assert_eq!(older.order, Order::Shuffled);
}

#[test]
fn a_confirmation_does_not_complete_a_sweep_that_was_interrupted() {
    let asked = serde_json::json!({
        "number": 1, "candidate": "a", "baseline": "b", "claim": 0.1, "repeats": 3, "seed": 1,
        "budget_seconds": null
    });
    let asked = serde_json::from_value(asked).expect("a confirmation");
    let mut lines = ended(false, "interrupted");
    let mut confirming = ended(true, "the interval is narrow enough");
    confirming.insert(1, line(3, Entry::ConfirmationStarted { confirmation: asked }));
    lines.extend(confirming);
    assert_eq!(state(&lines, false, || false), State::Complete, "what this test is about");
    let (own, confirms) = without_confirmations(&lines);
    assert!(confirms);
    assert_eq!(state(&own, false, || false), State::Interrupted);
}

#[test]
fn a_confirmation_that_runs_is_no_sweep_that_runs() {
    let asked = serde_json::json!({
        "number": 1, "candidate": "a", "baseline": "b", "claim": 0.1, "repeats": 3, "seed": 1,
        "budget_seconds": null
    });
    let asked = serde_json::from_value(asked).expect("a confirmation");
    let mut lines = ended(false, "interrupted");
    lines.push(ended(true, "")[0].clone());
    assert!(!without_confirmations(&lines).1, "the sweep continues");
    lines.push(line(4, Entry::ConfirmationStarted { confirmation: asked }));
    let (own, confirms) = without_confirmations(&lines);
    assert!(confirms);
    let (state, confirmation) = states(&own, false, confirms, false, || true);
    assert_eq!((state, confirmation), (State::Interrupted, Some(Confirming::Running)));
    let (_, confirmation) = states(&own, false, confirms, true, || false);
    assert_eq!(confirmation, Some(Confirming::Interrupted));
    let open = &ended(true, "")[..1];
    let (state, confirmation) = states(open, false, false, false, || true);
    assert_eq!((state, confirmation), (State::Running, None));
}
