//! Errors of a launch, of the journal and of the disk.

use super::*;
use crate::history::journal::JournalError;

#[tokio::test(start_paused = true)]
async fn nothing_is_journalled_after_an_error_of_the_journal_and_a_resume_continues() {
    let setup = Setup { disk: Some(4), ..Setup::new(1, 1) };
    let ran = setup.run().await;
    let full = matches!(
        &ran.ending,
        Err(SweepError::History(HistoryError::Journal(JournalError::Io { .. })))
    );
    assert!(full, "{:?}", ran.ending);
    assert_eq!(ran.entries(), ["session", "start 1 trial 0 c0 (3)", "ready 1", "repeat 1.0 ok"]);
    assert_eq!(ran.actions.take().last().expect("actions"), "stop 1");

    let ran = ran.again(Setup::new(1, 1)).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes(), [(0, "interrupted"), (0, "measured")]);
}

#[tokio::test(start_paused = true)]
async fn production_is_restored_after_an_error_of_the_journal() {
    let setup = Setup { disk: Some(5), ..Setup::new(1, 1).guarded() };
    let ran = setup.run().await;
    assert!(ran.ending.is_err());
    // Its steps are what `recover` reads: they are written where the disk allows.
    assert_eq!(
        ran.entries()[4..],
        ["ready 1", "production started_not_proven", "production proven"]
    );
    assert_eq!(ran.actions.take()[3..], ["stop 1", "start production", "prove production"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_another_one_after_a_repeat_voids_it() {
    let mut setup = Setup::new(1, 1);
    setup.engine.checks = Arc::new(|launch, checked| match (launch, checked) {
        (1, 2..) => Err(LaunchFailure::new(FailureClass::EngineDied, "it restarted")),
        _ => Ok(()),
    });
    let ran = setup.run().await;
    assert_eq!(ran.outcomes(), [(0, "failed"), (0, "measured")]);
    assert_eq!(
        ran.entries()[3..7],
        ["repeat 1.0 ok", "repeat 1.1 void", "end 1 failed", "start 2 trial 0 c0 (3)"]
    );
    assert_eq!(ran.record.launches[0].measurements[1].reason.as_deref(), Some("it restarted"));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_answers_nobody_is_given_time_until_its_end_is_seen() {
    let lost = |launch, repeat| {
        if (launch, repeat) == (1, 1) { Repeated::Lost } else { Repeated::Value(1.0) }
    };
    let mut setup = Setup::new(1, 1).repeats(lost);
    // After the first repeat, and twice after the loss, its container still runs.
    setup.engine.checks = Arc::new(|launch, checked| match (launch, checked) {
        (1, 4..) => Err(LaunchFailure::new(FailureClass::HostMemory, "killed by the kernel")),
        _ => Ok(()),
    });
    let ran = setup.run().await;
    assert_eq!(ran.outcomes(), [(0, "failed"), (0, "measured")]);
    let Some(LaunchOutcome::Failed(failure)) = &ran.record.launches[0].outcome else {
        panic!("{:?}", ran.record)
    };
    assert_eq!(failure.class, FailureClass::HostMemory, "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_cannot_begin_to_be_measured_fails_and_is_made_once_more() {
    let mut setup = Setup::new(1, 1);
    setup.measure.begins = false;
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes(), [(0, "failed"), (0, "failed")]);
    assert_eq!(ran.actions.take(), ["boot 1 c0", "stop 1", "boot 2 c0", "stop 2"]);
    let Some(LaunchOutcome::Failed(failure)) = &ran.record.launches[0].outcome else {
        panic!("{:?}", ran.record)
    };
    assert!(failure.message.contains("no case `x`"), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_stored_end_the_sweep_and_the_journal_says_why() {
    let full = |_, repeat| if repeat == 1 { Repeated::Full } else { Repeated::Value(1.0) };
    let ran = Setup::new(2, 1).repeats(full).run().await;
    let Err(SweepError::History(HistoryError::Io { path, error })) = &ran.ending else {
        panic!("{:?}", ran.ending)
    };
    assert!(path.ends_with("launches/1-c0"), "{path:?}");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let entries = ran.entries();
    assert_eq!(entries[3], "repeat 1.0 ok");
    assert_eq!(entries[4], "end 1 interrupted");
    assert!(entries[5].starts_with("session ended: ") && entries.len() == 6, "{entries:?}");
    assert_eq!(ran.actions.take().last().expect("actions"), "stop 1");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_stop_in_good_order_is_warned_of_and_counts() {
    let mut setup = Setup::new(1, 1);
    setup.engine.stop_fails = true;
    let ran = setup.run().await;
    assert_eq!(ran.outcomes(), [(0, "measured")]);
    let seen = ran.seen.lock().expect("no panic");
    let warnings: Vec<(Option<u32>, &str)> = seen
        .iter()
        .filter_map(|event| match event {
            Event::Notice(Notice { launch, kind: NoticeKind::Warning(text) }) => {
                Some((*launch, text.as_str()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(warnings, [(Some(1), "stopping: it does not stop")]);
}

/// A guarded sweep of two configurations whose servers do not stop, and what they leave cannot
/// be ended in so many attempts.
fn leaving(attempts: u32) -> Setup {
    let mut setup = Setup::new(2, 1).guarded();
    setup.engine.stop_fails = true;
    setup.engine.left = Mutex::new(Some(attempts));
    setup
}

#[tokio::test(start_paused = true)]
async fn nothing_is_launched_beside_a_server_that_cannot_be_ended_and_its_launch_counts() {
    let ran = leaving(1).run().await;
    let error = ran.ending.as_ref().expect_err("it cannot go on").to_string();
    assert!(error.contains("process 7 lives") && error.contains("resume"), "{error}");
    assert_eq!(ran.outcomes(), [(0, "measured")]);
    let actions = ran.actions.take();
    assert_eq!(
        actions[actions.len() - 5..],
        ["stop 1", "end left", "end left", "start production", "prove production"],
        "it is tried again before production needs the GPU"
    );
    let ran = ran.again(Setup::new(2, 1).guarded()).run().await;
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "measured")]);
}

#[tokio::test(start_paused = true)]
async fn what_a_stop_left_and_a_later_attempt_ended_is_in_nobodys_way() {
    let ran = leaving(0).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "measured")]);
}

#[tokio::test(start_paused = true)]
async fn no_second_attempt_is_made_beside_what_the_first_one_left() {
    let left = |class| LaunchFailure { left: true, ..LaunchFailure::new(class, "it failed") };
    let cases = [
        // Its second attempt is a later session's.
        (FailureClass::Environment, 9, "interrupted", 1),
        (FailureClass::BadFlag, 9, "failed", 1),
        (FailureClass::Environment, 0, "measured", 2),
    ];
    for (class, attempts, outcome, boots) in cases {
        let mut setup = Setup::new(1, 1);
        setup.engine.boots = Box::new(move |_, attempt| (attempt == 1).then(|| left(class)));
        setup.engine.left = Mutex::new(Some(attempts));
        let ran = setup.run().await;
        assert_eq!(ran.outcomes(), [(0, outcome)], "{class:?}");
        let actions = ran.actions.take();
        let booted = actions.iter().filter(|it| it.starts_with("boot")).count();
        assert_eq!(booted, boots, "{class:?}: {actions:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_leaves_something_behind_is_still_a_stop() {
    let mut setup = Setup::new(1, 1);
    setup.engine.boots = Box::new(|_, _| {
        let failure = LaunchFailure::new(FailureClass::Unknown, "a stop was asked for");
        Some(LaunchFailure { cancelled: true, left: true, ..failure })
    });
    setup.engine.left = Mutex::new(Some(9));
    let ran = setup.run().await;
    assert!(matches!(ran.ending, Err(SweepError::Unstopped { .. })), "{:?}", ran.ending);
    assert_eq!(ran.outcomes(), [(0, "interrupted")]);
}
