//! Production, stopped around the launches.

use super::*;

#[tokio::test(start_paused = true)]
async fn production_is_stopped_around_all_launches() {
    let ran = Setup::new(1, 1).guarded().run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(
        ran.actions.take(),
        [
            "stop production", //
            "boot 1 c0",
            "repeat 1.0",
            "repeat 1.1",
            "repeat 1.2",
            "stop 1", //
            "start production",
            "prove production",
        ]
    );
    let entries = ran.entries();
    assert_eq!(
        entries[1..4],
        ["production stopping", "production stopped", "start 1 trial 0 c0 (3)"]
    );
    assert_eq!(
        entries[entries.len() - 3..],
        [
            "production started_not_proven",
            "production proven",
            "session ended: every configuration had its launches"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn somebody_who_starts_production_voids_the_repeat_and_stops_the_sweep() {
    let setup = Setup::new(2, 1).guarded();
    let running = setup.production.as_ref().expect("guarded").switch();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + REPEAT + 1)).await;
        *running.lock().expect("no panic") = true;
    });
    let ran = setup.run().await;
    assert!(matches!(ran.ending, Err(SweepError::Stopped { environment: true, .. })));
    let entries = ran.entries();
    assert_eq!(
        entries[entries.len() - 5..entries.len() - 1],
        ["repeat 1.0 ok", "production started_by_somebody", "repeat 1.1 void", "end 1 interrupted"]
    );
    assert_eq!(ran.actions.take().last().expect("actions"), "stop 1", "production is not touched");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_launch_restores_production_before_it_continues() {
    let setup = Setup::new(1, 1).guarded().repeats(|_, _| Repeated::Panic);
    let actions = setup.actions.clone();
    let panicked = tokio::spawn(async move { drop(setup.run().await) }).await;
    assert!(panicked.expect_err("the panic continues").is_panic());
    assert_eq!(
        actions.take(),
        ["stop production", "boot 1 c0", "repeat 1.0", "start production", "prove production"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_does_not_answer_voids_the_repeat_and_stops_the_sweep() {
    let setup = Setup::new(2, 1).guarded();
    let reachable = setup.production.as_ref().expect("guarded").daemon();
    let back = Arc::clone(&reachable);
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + REPEAT + 1)).await;
        *reachable.lock().expect("no panic") = false;
    });
    let ran = setup.run().await;
    assert!(!*back.lock().expect("no panic"), "it stays unreachable");
    let error = ran.ending.as_ref().expect_err("it cannot be checked").to_string();
    assert!(error.contains("does not answer"), "{error}");
    let entries = ran.entries();
    assert_eq!(
        entries[5..9],
        ["repeat 1.0 ok", "repeat 1.1 void", "end 1 interrupted", "production started_not_proven"]
    );
    assert_eq!(
        ran.actions.take().split_off(4),
        ["stop 1", "start production", "prove production"],
        "it is restored all the same"
    );
}

#[tokio::test(start_paused = true)]
async fn what_other_launches_measured_beside_production_is_not_kept() {
    let setup = Setup::new(2, 1).guarded().places(2);
    let running = setup.production.as_ref().expect("guarded").switch();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + REPEAT + 1)).await;
        *running.lock().expect("no panic") = true;
    });
    let ran = setup.run().await;
    assert!(ran.ending.is_err());
    let entries = ran.entries();
    let repeats: Vec<&String> =
        entries.iter().filter(|entry| entry.starts_with("repeat")).collect();
    assert_eq!(repeats.len(), 3, "two warm-ups and what was void: {entries:?}");
    assert!(repeats[2].ends_with("void"), "{entries:?}");
    assert_eq!(ran.outcomes(), [(0, "interrupted"), (1, "interrupted")]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_launch_stops_the_others_before_production_is_restored() {
    let panics = |launch, _| if launch == 1 { Repeated::Panic } else { Repeated::Value(1.0) };
    let setup = Setup::new(2, 1).guarded().places(2).repeats(panics);
    let actions = setup.actions.clone();
    let panicked = tokio::spawn(async move { drop(setup.run().await) }).await;
    assert!(panicked.expect_err("the panic continues").is_panic());
    let done = actions.take();
    let last = &done[done.len() - 3..];
    assert_eq!(last, ["stop 2", "start production", "prove production"], "{done:?}");
}
