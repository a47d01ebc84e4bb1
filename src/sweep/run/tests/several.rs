//! Several launches in flight.

use super::*;

#[tokio::test(start_paused = true)]
async fn as_many_launches_are_in_flight_as_the_engine_has_places_for() {
    let ran = Setup::new(4, 1).places(2).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes().iter().filter(|known| known.1 == "measured").count(), 4);
    let boots: Vec<(u64, String)> =
        ran.actions.timed().into_iter().filter(|(_, what)| what.starts_with("boot")).collect();
    let times: Vec<u64> = boots.iter().map(|(second, _)| *second).collect();
    assert_eq!(times, [0, 0, LAUNCH, LAUNCH], "{boots:?}");
    // Each one is journalled as it ends, and the journal can be read.
    let folder = Folder::existing(&ran.folder.path().join("run")).expect("a sweep");
    assert_eq!(folder.record().expect("a legal journal"), ran.record);
    let entries = ran.entries();
    let at = |what: &str| entries.iter().position(|entry| entry == what).expect(what);
    assert!(at("ready 2") < at("end 1 measured"), "{entries:?}");
    assert!(at("end 1 measured") < at("end 4 measured"), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_launch_in_flight() {
    let setup = Setup::new(4, 1).places(3);
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + 1)).await;
        cancel.cancel();
    });
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    let outcomes: Vec<&str> = ran.outcomes().iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, ["interrupted"; 3]);
    let stops = ran.actions.take().iter().filter(|what| what.starts_with("stop")).count();
    assert_eq!(stops, 3, "every server is stopped before the sweep ends");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_launch_stops_the_others_and_waits_for_them() {
    let fails = |order: &LaunchOrder, _| (order.launch == 2).then_some(FailureClass::Credentials);
    // The first launch is ready a moment before the second one fails.
    let ran = Setup::new(3, 1).places(2).boots(fails).run().await;
    assert!(matches!(ran.ending, Err(SweepError::Stopped { environment: true, .. })));
    assert_eq!(ran.record.launches[0].outcome, Some(LaunchOutcome::Interrupted));
    assert!(matches!(ran.record.launches[1].outcome, Some(LaunchOutcome::Failed(_))));
    let actions = ran.actions.take();
    assert_eq!(actions.last().expect("actions"), "stop 1", "{actions:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_launch_keeps_the_repeats_that_others_finished() {
    let full = |launch, repeat| {
        if (launch, repeat) == (1, 1) { Repeated::Full } else { Repeated::Value(1.0) }
    };
    let mut setup = Setup::new(2, 1).places(2).repeats(full);
    // The other launch is still checked when the error stops it.
    setup.engine.check_takes = 3;
    let ran = setup.run().await;
    assert!(matches!(ran.ending, Err(SweepError::History(HistoryError::Io { .. }))));
    let entries = ran.entries();
    let end = entries.len() - 3;
    assert_eq!(entries[end..end + 2], ["repeat 2.1 ok", "end 2 interrupted"], "{entries:?}");
    assert!(entries[end + 2].starts_with("session ended: "), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trial_whose_budget_was_spent_meanwhile_is_measured_to_its_end() {
    let fails = |order: &LaunchOrder, _| (order.launch == 2).then_some(FailureClass::Timeout);
    let void = |launch, repeat| {
        if (launch, repeat) == (1, 1) { Repeated::Void } else { Repeated::Value(1.0) }
    };
    let mut setup = Setup::new(3, 1).places(2).boots(fails).repeats(void);
    setup.manifest.budget_seconds = Some(BOOT / 2);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "failed"), (0, "measured")]);
}
