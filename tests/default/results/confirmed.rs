//! Gains from fresh launches: what they show, what the ranking does not count, and what is
//! refused before anything is launched.

use polars::prelude::{AnyValue, DataFrame};
use serde_json::json;
use vllm_grid::history::confirmation::{Confirmation, ConfirmationRecord};
use vllm_grid::history::launch::FailureClass;
use vllm_grid::history::record::{SimulatedMachine, SweepRecord};
use vllm_grid::results::confirmable::{Refusal, RepeatsFrom, outlook, pair};
use vllm_grid::results::findings::Finding;
use vllm_grid::results::frame::results;
use vllm_grid::results::ranking::rank;
use vllm_grid::results::reading::{Place, Reading, Statement};
use vllm_grid::server::effective::FlagProof;
use vllm_grid::strategy::Purpose;
use vllm_grid::strategy::confirm::Ended;

use super::builder::{Building, sweep};

/// Two repeats of one launch, which differ by 4 %.
pub(crate) fn repeats(value: f64) -> Vec<f64> {
    vec![value * 0.98, value * 1.02]
}

/// `a` takes 70 ms where production takes 100 ms, in a sweep of three launches each.
fn swept() -> SweepRecord {
    let mut record = sweep(&["production", "a"]).baseline("production");
    for (at, off) in (0..).zip([1.0, 1.02, 0.99]) {
        record = record.launch("production", &repeats(100.0 * off)).at(1200 * at);
        record = record.launch("a", &repeats(70.0 * off)).at(1200 * at + 600);
    }
    record
}

/// The same with fresh launches in turn, in which `a` takes `value` ms.
pub(crate) fn confirming(value: f64, pairs: i64, ended: Option<Ended>) -> SweepRecord {
    let mut record = swept();
    let of_sweep = record.launches.len();
    for at in 0..pairs {
        let off = [1.0, 1.03, 0.98, 1.01][at as usize % 4];
        record = record.launch("a", &repeats(value * off)).at(86_400 + 1200 * at);
        record = record.launch("production", &repeats(100.0 * off)).at(87_000 + 1200 * at);
    }
    for launch in &mut record.launches[of_sweep..] {
        launch.confirmation = Some(1);
        launch.purpose = Purpose::Confirm;
        launch.trial = 1_000_000 + launch.launch;
    }
    opened(record, 1, ended)
}

pub(crate) fn opened(mut record: SweepRecord, number: u32, ended: Option<Ended>) -> SweepRecord {
    let at: jiff::Timestamp = "2026-11-25T18:00:00Z".parse().unwrap();
    let asked = Confirmation {
        number,
        candidate: "a".to_owned(),
        baseline: "production".to_owned(),
        claim: 0.1,
        seed: 1,
        repeats: 2,
        budget_seconds: None,
        of_grid: false,
    };
    let session = (at, at);
    record.confirmations.push(ConfirmationRecord {
        asked,
        ended,
        of_grid: false,
        by_person: Vec::new(),
        earlier: None,
        open: false,
        session,
    });
    record
}

fn figure(frame: &DataFrame, column: &str, row: usize) -> AnyValue<'static> {
    frame.column(column).unwrap().get(row).unwrap().into_static()
}

#[test]
fn fresh_launches_alone_give_the_gain_and_the_ranking_does_not_count_them() {
    let record = confirming(85.0, 7, Some(Ended::Precise));
    let ranking = rank(&record);
    let before = rank(&swept());
    assert_eq!(ranking.rows, before.rows, "the ranking is that of the sweep's launches");
    let [gain] = ranking.confirmed.as_slice() else { panic!("{:?}", ranking.confirmed) };
    let effect = gain.effect.unwrap();
    assert!((effect.ratio - 0.85).abs() < 0.005, "{effect:?}");
    assert!(effect.interval.high < 1.0 && effect.interval.low > 0.8);
    assert!(gain.shown && gain.complete && gain.half_width.unwrap() < 0.05);
    assert_eq!((gain.pairs, gain.launches.candidate, gain.launches.baseline), (7, 7, 7));
    assert_eq!((gain.failed.candidate, gain.failed.baseline), (0, 0));
    assert!(gain.machine.is_some());
    assert!(
        gain.to_string()
            .starts_with("a is better than production, confirmed on fresh launches: -15% ["),
        "{gain}"
    );
    assert_eq!(ranking.confirmed_of("a"), Some(gain));
    let row = ranking.rows.iter().find(|row| row.name == "a").unwrap();
    assert!((row.baseline_ratio.unwrap().ratio - 0.7).abs() < 0.01, "its own gain stays");
}

#[test]
fn a_gain_is_unconfirmed_until_fresh_launches_are_over() {
    let has = |record: &SweepRecord| {
        let findings = rank(record).findings();
        findings.iter().any(|it| matches!(it, Finding::GainUnconfirmed { .. }))
    };
    assert!(has(&swept()));
    assert!(has(&confirming(85.0, 2, None)), "it was interrupted");
    assert!(!has(&confirming(85.0, 7, Some(Ended::Precise))));
}

/// The configuration of the result, where it is confirmed.
fn confirmed_result(record: &SweepRecord) -> Option<String> {
    let place = Place { run: "run".to_owned(), ..Place::default() };
    match Reading::of(&rank(record), &record.manifest, &place).result {
        Statement::Better { configuration, confirmed: true, .. } => Some(configuration),
        _ => None,
    }
}

#[test]
fn a_result_stands_when_it_is_continued_or_another_one_is_begun() {
    assert_eq!(confirmed_result(&confirming(85.0, 7, None)), None);
    let mut continued = confirming(85.0, 7, None);
    continued.confirmations[0].earlier = Some(Ended::Precise);
    assert_eq!(confirmed_result(&continued).as_deref(), Some("a"));
    let gain = &rank(&continued).confirmed[0];
    assert!(
        gain.to_string().ends_with("continued for a narrower interval, which is not reached yet")
    );
    let again = opened(confirming(85.0, 7, Some(Ended::Precise)), 2, None);
    assert_eq!(confirmed_result(&again).as_deref(), Some("a"));
    let row = again.manifest.configurations.iter().position(|it| it.name == "a");
    assert!(row.is_some() && rank(&again).confirmed_of("a").is_some());
}

#[test]
fn no_gain_is_not_confirmed_and_a_loss_is_none() {
    for value in [100.0, 115.0] {
        let ranking = rank(&confirming(value, 7, Some(Ended::Precise)));
        let gain = &ranking.confirmed[0];
        assert!(!gain.shown && gain.complete);
        assert!(
            gain.to_string().starts_with("a is not confirmed to be better than production: "),
            "{gain}"
        );
    }
}

#[test]
fn what_is_not_over_or_has_no_values_says_so() {
    let unfinished = &rank(&confirming(85.0, 2, None)).confirmed[0];
    assert!(!unfinished.shown, "two launches each show nothing");
    assert!(
        unfinished.to_string().contains("too short to say anything (2 + 2 launches"),
        "{unfinished}"
    );
    let spent = rank(&confirming(85.0, 2, Some(Ended::Budget)));
    assert!(spent.confirmed[0].to_string().contains("too short to say"), "{}", spent.confirmed[0]);
    assert_eq!(spent.confirmed_of("a"), None, "two launches each are no result");
    let nothing = &rank(&opened(swept(), 1, Some(Ended::Budget))).confirmed[0];
    assert_eq!((nothing.effect, nothing.complete), (None, false));
    assert!(nothing.to_string().ends_with("the budget is spent"), "{nothing}");
}

#[test]
fn several_confirmations_are_kept_apart_and_the_last_one_counts() {
    let mut record = confirming(85.0, 7, Some(Ended::Precise));
    let first = record.launches.len();
    let again = confirming(90.0, 6, Some(Ended::Precise));
    for launch in again.launches.iter().filter(|it| it.confirmation.is_some()) {
        let number = record.launches.len() as u32 + 1;
        let mut launch = launch.clone();
        (launch.launch, launch.confirmation) = (number, Some(2));
        record.launches.push(launch);
    }
    assert_eq!(record.launches.len(), first + 12);
    let ranking = rank(&opened(record, 2, Some(Ended::Precise)));
    let ratios: Vec<f64> =
        ranking.confirmed.iter().map(|it| (it.effect.unwrap().ratio * 100.0).round()).collect();
    assert_eq!(ratios, [85.0, 90.0]);
    assert_eq!(ranking.confirmed_of("a").unwrap().number, 2);
}

#[test]
fn a_failed_launch_is_counted_and_costs_no_rank() {
    let mut record = confirming(85.0, 6, Some(Ended::Precise));
    for _ in 0..4 {
        record = record.failed("a", FailureClass::EngineDied, "dead");
        let launch = record.launches.last_mut().unwrap();
        (launch.confirmation, launch.purpose) = (Some(1), Purpose::Confirm);
    }
    let ranking = rank(&record);
    assert_eq!(ranking.confirmed[0].failed.candidate, 4);
    let row = ranking.rows.iter().find(|row| row.name == "a").unwrap();
    assert_eq!((row.failures, row.rank), (0, Some(1)));
}

#[test]
fn the_files_have_the_gain_and_what_each_launch_was_for() {
    let record = confirming(85.0, 7, Some(Ended::Precise));
    let ranking = rank(&record).frame().unwrap();
    let AnyValue::Float64(ratio) = figure(&ranking, "confirmed_ratio", 0) else { panic!() };
    assert!((ratio - 0.85).abs() < 0.005);
    assert_eq!(figure(&ranking, "confirmed_ratio.low", 1), AnyValue::Null, "the baseline");
    let rows = results(&record).unwrap();
    assert_eq!(figure(&rows, "purpose", 0), AnyValue::StringOwned("screen".into()));
    assert_eq!(figure(&rows, "confirmation", 0), AnyValue::Null);
    let last = rows.height() - 1;
    assert_eq!(figure(&rows, "purpose", last), AnyValue::StringOwned("confirm".into()));
    assert_eq!(figure(&rows, "confirmation", last), AnyValue::UInt32(1));
}

#[test]
fn the_candidate_and_the_baseline_are_what_is_compared_where_nothing_is_named() {
    let record = swept();
    let found = pair(&record, &rank(&record), None, None).unwrap();
    assert_eq!((found.candidate.as_str(), found.baseline.as_str()), ("a", "production"));
    assert_eq!(found.warnings, [""; 0]);
    let mut record = swept();
    record.manifest.configurations[1].aliases = vec!["other".to_owned()];
    let by_alias = pair(&record, &rank(&record), Some("other"), None).unwrap();
    assert_eq!(by_alias.candidate, "a");
}

#[test]
fn what_cannot_be_confirmed_is_refused_all_at_once() {
    let refused = |record: &SweepRecord, candidate, baseline| {
        let all = pair(record, &rank(record), candidate, baseline).unwrap_err();
        all.iter().map(Refusal::to_string).collect::<Vec<_>>()
    };
    let record = swept();
    let all = refused(&record, Some("productoin"), Some("zz"));
    assert_eq!(all.len(), 2);
    assert!(all[0].ends_with("did you mean `production`?"), "{all:?}");
    assert!(all[1].ends_with("there are a, production"), "{all:?}");
    let same = pair(&record, &rank(&record), Some("production"), None).unwrap_err();
    assert_eq!(same, [Refusal::IsBaseline("production".to_owned())]);

    let mut without = swept();
    without.manifest.baseline = None;
    let refusals = pair(&without, &rank(&without), None, None).unwrap_err();
    assert!(refusals[0].to_string().ends_with("there are a, production"), "{refusals:?}");
    let advice = refusals[0].advice("run").unwrap();
    assert!(advice.contains("`vllm-grid confirm run --baseline NAME`"), "{advice}");
    assert!(pair(&without, &rank(&without), None, Some("production")).is_ok());

    let none = sweep(&["production", "a"]).baseline("production");
    assert_eq!(pair(&none, &rank(&none), None, None).unwrap_err(), [Refusal::NothingRanked]);
    let named = pair(&none, &rank(&none), Some("a"), None).unwrap();
    assert_eq!(named.warnings.len(), 2, "both are without a rank: {:?}", named.warnings);

    let best = sweep(&["production", "a"])
        .baseline("production")
        .launch("production", &repeats(70.0))
        .launch("a", &repeats(100.0));
    let nothing = pair(&best, &rank(&best), None, None).unwrap_err();
    assert_eq!(nothing, [Refusal::NothingBetter("production".to_owned())]);
}

#[test]
fn two_names_of_one_server_are_not_compared() {
    let mut record = sweep(&["production", "a"])
        .flags("production", json!({"max-num-seqs": 8}))
        .flags("a", json!({"max-num-seqs": 9}))
        .baseline("production");
    for name in ["production", "a", "production", "a"] {
        record = record.launch(name, &repeats(100.0)).shown(
            "max-num-seqs",
            json!(8),
            if name == "a" { FlagProof::Overridden } else { FlagProof::Honoured },
        );
    }
    let refused = pair(&record, &rank(&record), Some("a"), None).unwrap_err();
    assert!(matches!(refused.as_slice(), [Refusal::RanAs { .. }]), "{refused:?}");
}

#[test]
fn an_objective_that_is_no_ratio_is_refused() {
    let mut record = sweep(&["production", "a"]).baseline("production");
    record.manifest.objective.metric = "kv_cache.hit_tokens_share".parse().unwrap();
    for name in ["production", "a"] {
        record = record.launch_of(name, "hit_tokens_share", &[0.0, 1.0]);
    }
    let refused = pair(&record, &rank(&record), Some("a"), None).unwrap_err();
    assert!(matches!(refused.as_slice(), [Refusal::NoRatio(_)]), "{refused:?}");
}

/// Eight launches of each on a machine that drifts; its time runs `speed` times as fast as
/// the journal's, and its own times are the same for each.
fn drifting(speed: i32) -> SweepRecord {
    let mut record = sweep(&["production", "a"]).baseline("production");
    let steps =
        [0.0, 0.1, 0.3, 0.5, 0.4, 0.2, -0.1, -0.3, -0.5, -0.4, -0.2, 0.1, 0.3, 0.2, 0.0, 0.2];
    for (at, step) in (0..).zip(steps) {
        let (name, value) = if at % 2 == 0 { ("production", 100.0) } else { ("a", 70.0) };
        record = record.launch(name, &repeats(value * f64::exp(step))).at(0);
        let launch = record.launches.last_mut().unwrap();
        let begin = launch.started_at.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let second = |seconds: i32| begin + jiff::SignedDuration::from_secs(seconds.into()) / speed;
        launch.started_at = Some(second(600 * at));
        launch.measured_at = vec![second(600 * at + 240), second(600 * at + 300)];
        launch.ended_at = Some(second(600 * at + 300));
    }
    if speed > 1 {
        let machine = SimulatedMachine { drift: "walk".to_owned(), seed: 1, speed: speed.into() };
        record.manifest.simulated_machine = Some(machine);
    }
    record
}

#[test]
fn a_simulated_machines_drift_counts_in_its_own_time() {
    let of = |speed| outlook(&drifting(speed), ["a", "production"], 0.1, None);
    let (real, fast) = (of(1), of(100));
    let (real_time, fast_time) = (real.expected.unwrap(), fast.expected.unwrap());
    assert!(real_time.pairs > real_time.pairs_low, "the drift costs pairs: {real_time:?}");
    assert_eq!((fast_time.pairs, fast.repeats), (real_time.pairs, real.repeats), "{fast_time:?}");
    let ratio = real_time.launch_seconds / fast_time.launch_seconds;
    assert!((ratio - 100.0).abs() < 0.1, "{ratio}");
}

#[test]
fn what_it_takes_is_known_from_what_the_sweep_took() {
    let mut record = swept();
    for launch in &mut record.launches {
        let first = launch.measured_at[0];
        let minute = jiff::SignedDuration::from_mins(1);
        launch.started_at = Some(first - minute * 4);
        launch.measured_at = vec![first, first + minute];
        launch.ended_at = Some(first + minute);
    }
    let names = ["a", "production"];
    let known = outlook(&record, names, 0.1, None);
    let expected = known.expected.unwrap();
    assert_eq!(known.repeats_from, RepeatsFrom::Measured);
    assert!((2..=8).contains(&known.repeats));
    // Four minutes to the end of the first repeat, and one for each.
    let seconds = 240.0 + 60.0 * f64::from(known.repeats);
    assert!((expected.launch_seconds - seconds).abs() < 1.0, "{expected:?}");
    assert_eq!((expected.pairs_low, expected.reachable), (6, None));
    assert!(known.to_string().starts_with("about "), "{known}");
    let narrow = outlook(&record, names, 0.01, None);
    assert!(narrow.to_string().contains("in place of ±0.5%"), "{narrow}");
    // As it was built, nothing says how long a launch took.
    let unknown = outlook(&swept(), names, 0.1, None);
    assert_eq!((unknown.expected, unknown.repeats_from), (None, RepeatsFrom::Grid));
    assert_eq!(unknown.to_string(), "up to 80 launches; how long is not known");
}
