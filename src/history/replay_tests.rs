use super::*;
use crate::configuration::{Configuration, Flags};
use crate::history::journal;
use crate::history::launch::{FailureClass, LaunchFacts, LaunchFailure};
use crate::metric::{Goal, Objective, Status};
use crate::server::effective::FlagProof;
use crate::strategy::confirm::Ended;
use crate::strategy::{GridStrategy, Order, Purpose, StrategySpec};

pub(in crate::history) fn manifest() -> Manifest {
    Manifest {
        schema_version: SCHEMA_VERSION,
        tool_version: String::new(),
        run_id: None,
        sweep: "s".to_owned(),
        grid: "g".to_owned(),
        grid_path: "g.yaml".into(),
        grid_sha256: String::new(),
        created_at: String::new(),
        engine: "simulated".to_owned(),
        simulated: false,
        service: None,
        simulated_machine: None,
        baseline: None,
        configurations: ["a", "b"].map(configuration).into(),
        varied: Vec::new(),
        workloads: Vec::new(),
        workloads_sha256: None,
        datasets: Vec::new(),
        objective: Objective {
            metric: "kv_cache.ttft_resent_ms".parse().unwrap(),
            goal: Goal::Minimize,
            constraints: Vec::new(),
            further: Vec::new(),
        },
        strategy: StrategySpec::Grid(GridStrategy::default()),
        order: Order::Separated,
        predicted: None,
        budget_seconds: None,
        budget: crate::grid::Budget::default(),
        confirm: None,
        host: String::new(),
        machine: None,
        image_id: None,
        image: None,
        service_parts: None,
        gates: None,
        window: None,
        hosts: None,
        suite_version: None,
    }
}

fn configuration(name: &str) -> Configuration {
    Configuration {
        name: name.to_owned(),
        aliases: Vec::new(),
        id: name.to_owned(),
        flags: Flags::new(),
        varied: Flags::new(),
        environment: std::collections::BTreeMap::new(),
        ..Default::default()
    }
}

/// Entries as a file has them, one JSON text each.
fn lines(entries: &[&str]) -> Vec<Line> {
    let line = |(entry, sequence): (&&str, u64)| {
        let text = format!(
            r#"{{"sequence":{sequence},"at":"2026-11-24T06:00:{sequence:02}Z","entry":{entry}}}"#
        );
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    entries.iter().zip(1..).map(line).collect()
}

const SESSION: &str = r#"{"kind":"session_started","schema_version":1,"tool_version":"0.1.0"}"#;
const STARTED: &str = r#"{"kind":"launch_started","launch":1,"slot":4,"configuration":"a"}"#;
const READY: &str = r#"{"kind":"launch_ready","launch":1,"facts":{"started_at":"","boot_seconds":1.5,"image_id":null,"engine_version":null},"effective":{}}"#;
const REPEAT: &str = r#"{"kind":"repeat_finished","launch":1,"measurement":{"workload":"kv-cache","case":"","repeat":1,"status":"ok","reason":null,"metrics":{}}}"#;
const ENDED: &str = r#"{"kind":"launch_ended","launch":1,"outcome":{"outcome":"measured"}}"#;

#[test]
fn a_journal_without_purposes_is_read_as_it_always_was() {
    let record = replay(manifest(), &lines(&[SESSION, STARTED, READY, REPEAT, ENDED])).unwrap();
    let [launch] = record.launches.as_slice() else { panic!("{record:?}") };
    assert_eq!((launch.launch, launch.trial, launch.purpose), (1, 4, Purpose::Screen));
    assert_eq!(launch.outcome, Some(LaunchOutcome::Measured));
    assert_eq!(launch.measurements.len(), 1);
    let time = |text: &str| Some(text.parse::<jiff::Timestamp>().unwrap());
    assert_eq!(launch.started_at, time("2026-11-24T06:00:02Z"));
    assert_eq!(launch.ended_at, time("2026-11-24T06:00:05Z"));
}

#[test]
fn a_trial_is_written_under_the_name_that_files_have() {
    let entry = &lines(&[STARTED])[0].entry;
    let written = serde_json::to_value(entry).unwrap();
    assert_eq!((&written["slot"], &written["purpose"]), (&4.into(), &"screen".into()));
    assert_eq!(serde_json::from_value::<Entry>(written).unwrap(), *entry);
}

#[test]
fn an_entry_that_cannot_follow_is_reported_with_its_line() {
    let second = r#"{"kind":"launch_started","launch":3,"slot":5,"configuration":"b"}"#;
    let nobody = r#"{"kind":"launch_started","launch":1,"slot":4,"configuration":"nobody"}"#;
    let cases: [(&[&str], u64, &str); 10] = [
        (&[SESSION, nobody], 2, "`nobody`, which the manifest does not have"),
        (
            &[SESSION, STARTED, READY, REPEAT, REPEAT],
            5,
            "repeat 1 of `kv-cache` for the second time",
        ),
        (&[SESSION, REPEAT], 2, "launch 1, which never started"),
        (&[SESSION, ENDED], 2, "launch 1, which never started"),
        (&[SESSION, STARTED, REPEAT], 3, "launch 1, whose server is not ready"),
        (&[SESSION, STARTED, READY, READY], 4, "launch 1 is ready for the second time"),
        (&[SESSION, STARTED, READY, ENDED, ENDED], 5, "the end of launch 1, which is over"),
        (&[SESSION, STARTED, READY, ENDED, REPEAT], 5, "a repeat of launch 1, which is over"),
        (&[SESSION, second, STARTED], 3, "launch 1 starts where launch 4 comes next"),
        // A new session closes what the last one left open.
        (&[SESSION, STARTED, READY, SESSION, REPEAT], 5, "a repeat of launch 1, which is over"),
    ];
    for (entries, line, what) in cases {
        let illegal = replay(manifest(), &lines(entries)).unwrap_err();
        assert_eq!(illegal.line, line, "{illegal}");
        assert!(illegal.what.contains(what), "{illegal}");
        let error = illegal.in_journal("j".into()).to_string();
        assert!(error.starts_with(&format!("j, line {line}: ")), "{error}");
    }
}

#[test]
fn what_a_newer_version_may_have_started_is_left_out() {
    let newer = r#"{"kind":"session_started","schema_version":99,"tool_version":"9"}"#;
    let unknown = r#"{"kind":"launch_sent","launch":1,"to":"another host"}"#;
    for first in [newer, unknown] {
        let record = replay(manifest(), &lines(&[first, READY, REPEAT, ENDED])).unwrap();
        assert!(record.launches.is_empty());
    }
}

#[test]
fn unknown_words_inside_a_known_entry_are_unknown_and_no_damage() {
    let entry = |text: &str| serde_json::from_str::<Entry>(text).unwrap();
    let purpose = r#"{"kind":"launch_started","launch":1,"slot":0,"configuration":"a","purpose":"calibrate","host":"n7","more":[1]}"#;
    let Entry::LaunchStarted { purpose, .. } = entry(purpose) else { panic!("a start") };
    assert_eq!(purpose, Purpose::Unknown);

    let failed = r#"{"kind":"launch_ended","launch":1,"outcome":{"outcome":"failed","class":"cosmic_ray","message":"m","log_lines":[],"exit_code":null,"estimated_max_model_len":null,"hint":"h"}}"#;
    let Entry::LaunchEnded { outcome: LaunchOutcome::Failed(failure), .. } = entry(failed) else {
        panic!("a failure")
    };
    assert_eq!(failure.class, FailureClass::Unknown);
    assert_eq!(failure.message, "m");

    let postponed =
        r#"{"kind":"launch_ended","launch":1,"outcome":{"outcome":"postponed","until":"noon"}}"#;
    let Entry::LaunchEnded { outcome, .. } = entry(postponed) else { panic!("an end") };
    assert_eq!(outcome, LaunchOutcome::Unknown);

    let partial = REPEAT.replace(r#""status":"ok""#, r#""status":"partial","weight":3"#);
    let Entry::RepeatFinished { measurement, .. } = entry(&partial) else { panic!("a repeat") };
    assert_eq!(measurement.status, Status::Void, "it is not used");

    let proof = r#"{"dtype":{"value":1,"verdict":"attested","source":"ps","since":"boot"}}"#;
    let ready = READY.replace(r#""effective":{}"#, &format!(r#""effective":{proof}"#));
    let Entry::LaunchReady { effective, .. } = entry(&ready) else { panic!("a server") };
    assert_eq!(effective["dtype"].proof, Some(FlagProof::Unknown));

    let step = r#"{"kind":"production","production":{"step":"companions_paused","ids":["a"]}}"#;
    assert!(matches!(entry(step), Entry::Production { .. }));
}

#[test]
fn an_unknown_step_of_production_leaves_pending_what_was() {
    use crate::history::production::{PendingRestore, pending_restore};
    let entries = [
        r#"{"kind":"production","production":{"step":"stopped","id":"p"}}"#,
        r#"{"kind":"production","production":{"step":"companions_paused"}}"#,
    ];
    let steps = production_steps(&lines(&entries));
    assert_eq!(pending_restore(&steps), PendingRestore::Start("p".to_owned()));
}

const BEHIND: &str = r#"{"kind":"launch_shortened","launch":1,"behind":{"repeats":1,"value":2.5,"bar":2.0,"leader":"b"}}"#;

#[test]
fn a_launch_is_shortened_once_while_its_server_runs() {
    let record = replay(manifest(), &lines(&[SESSION, STARTED, READY, REPEAT, BEHIND])).unwrap();
    let behind = record.launches[0].behind.unwrap();
    assert_eq!((behind.repeats, behind.value, behind.bar), (1, 2.5, 2.0));
    let refused = |entries: &[&str]| replay(manifest(), &lines(entries)).unwrap_err().what;
    assert!(refused(&[SESSION, BEHIND]).contains("never started"));
    assert!(refused(&[SESSION, STARTED, BEHIND]).contains("not ready"));
    assert!(refused(&[SESSION, STARTED, READY, BEHIND, BEHIND]).contains("second time"));
    assert!(refused(&[SESSION, STARTED, READY, ENDED, BEHIND]).contains("over"));
}

#[test]
fn every_prefix_of_a_journal_is_a_journal() {
    let all = lines(&[SESSION, STARTED, READY, REPEAT, BEHIND, ENDED, SESSION]);
    for length in 0..=all.len() {
        replay(manifest(), &all[..length]).unwrap();
    }
}

#[test]
fn what_was_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let failure = LaunchFailure {
        class: FailureClass::Killed,
        message: "m".to_owned(),
        log_lines: vec!["l".to_owned()],
        exit_code: Some(137),
        estimated_max_model_len: None,
        missing_path: None,
        cancelled: false,
        shortage: false,
        left: false,
    };
    let entries = [
        Entry::LaunchStarted {
            launch: 1,
            trial: 3,
            configuration: "a".to_owned(),
            purpose: Purpose::Confirm,
            planned: 6,
            repeats: None,
            host: None,
            bar: Some(crate::strategy::Bar { value: 305.5, repeats: 1 }),
            gpus: None,
        },
        Entry::LaunchReady {
            launch: 1,
            facts: LaunchFacts::default(),
            effective: std::collections::BTreeMap::new(),
        },
        Entry::LaunchShortened {
            launch: 1,
            behind: crate::history::launch::Behind { repeats: 1, value: 412.25, bar: 305.5 },
        },
        Entry::LaunchEnded { launch: 1, outcome: LaunchOutcome::Failed(failure) },
    ];
    let (mut journal, _) = journal::Journal::open(&path).unwrap();
    for entry in &entries {
        journal.append(jiff::Timestamp::UNIX_EPOCH, entry.clone()).unwrap();
    }
    let read: Vec<Entry> =
        journal::read(&path).unwrap().into_iter().map(|line| line.entry).collect();
    assert_eq!(read, entries);
}

const CONFIRMS: &str = r#"{"kind":"confirmation_started","confirmation":{"number":1,"candidate":"a","baseline":"b","claim":0.1,"seed":3,"repeats":2,"budget_seconds":60}}"#;
const FRESH: &str = r#"{"kind":"launch_started","launch":1,"slot":1000000,"configuration":"a","purpose":"confirm"}"#;
const CONFIRMED: &str = r#"{"kind":"confirmation_ended","confirmation":1,"ended":"precise"}"#;
const OVER: &str = r#"{"kind":"session_ended","complete":true,"reason":""}"#;

#[test]
fn launches_of_a_session_that_confirms_are_of_its_confirmation() {
    let of_sweep = r#"{"kind":"launch_started","launch":2,"slot":0,"configuration":"b"}"#;
    let entries = [SESSION, CONFIRMS, FRESH, READY, REPEAT, ENDED, CONFIRMED, OVER];
    let all = [&entries[..], &[SESSION, of_sweep]].concat();
    let record = replay(manifest(), &lines(&all)).unwrap();
    let of: Vec<Option<u32>> = record.launches.iter().map(|it| it.confirmation).collect();
    assert_eq!(of, [Some(1), None]);
    assert_eq!(record.own_launches().count(), 1);
    let known = &record.confirmations[0];
    assert_eq!((known.ended, known.open), (Some(Ended::Precise), false));
    assert_eq!(known.budget_left(), Some(60 - 6), "from its first entry to its last");
    assert!(record.unfinished_confirmation().is_none());
}

#[test]
fn a_confirmation_whose_process_was_killed_is_unfinished_and_can_be_continued() {
    let killed = lines(&[SESSION, CONFIRMS, FRESH, SESSION]);
    let record = replay(manifest(), &killed).unwrap();
    assert_eq!(record.launches[0].outcome, Some(LaunchOutcome::Interrupted));
    let left = record.unfinished_confirmation().expect("one");
    assert_eq!((left.asked.number, left.open), (1, false));
    let again = CONFIRMS.replace("60", "90");
    let continued = lines(&[SESSION, CONFIRMS, FRESH, SESSION, &again]);
    let record = replay(manifest(), &continued).unwrap();
    assert_eq!(record.confirmations.len(), 1);
    assert_eq!(record.confirmations[0].asked.budget_seconds, Some(90));
}

#[test]
fn what_a_confirmation_came_to_is_kept_when_it_is_continued() {
    let narrower = CONFIRMS.replace("0.1", "0.05");
    let entries = [SESSION, CONFIRMS, CONFIRMED, OVER, SESSION, &narrower, SESSION, &narrower];
    let record = replay(manifest(), &lines(&entries)).unwrap();
    let known = &record.confirmations[0];
    assert_eq!((known.ended, known.earlier), (None, Some(Ended::Precise)));
    assert!(record.unfinished_confirmation().is_some());
}

#[test]
fn a_confirmation_that_cannot_follow_is_an_error() {
    let second = CONFIRMS.replace(r#""number":1"#, r#""number":2"#);
    let unknown = CONFIRMS.replace(r#""candidate":"a""#, r#""candidate":"z""#);
    let other =
        CONFIRMS.replace(r#""candidate":"a","baseline":"b""#, r#""candidate":"b","baseline":"a""#);
    for (entries, what) in [
        (vec![SESSION, &second], "confirmation 2 starts where 1 comes next"),
        (vec![SESSION, &unknown], "is of `z`, which the manifest does not have"),
        (vec![SESSION, CONFIRMS, OVER, SESSION, &other], "with other configurations"),
        (vec![SESSION, CONFIRMED], "the end of confirmation 1, which does not run"),
        (vec![SESSION, CONFIRMS, OVER, CONFIRMED], "which does not run"),
        (vec![SESSION, STARTED, CONFIRMS], "starts while a launch runs"),
    ] {
        let error = replay(manifest(), &lines(&entries)).unwrap_err();
        assert!(error.what.contains(what), "{error}");
    }
}

#[test]
fn the_reason_of_a_newer_version_for_an_end_is_read() {
    let newer = CONFIRMED.replace("precise", "bored");
    let record = replay(manifest(), &lines(&[SESSION, CONFIRMS, &newer])).unwrap();
    assert_eq!(record.confirmations[0].ended, Some(Ended::Unknown));
}
