//! What is stopped with production: before it, and started after its proof, in every ending.

use super::tests::{Fake, Noted, facts, never, words};
use super::*;

/// A watchdog.
fn watch(running: bool) -> ProductionFacts {
    ProductionFacts { name: "watch".to_owned(), ..facts("w", running) }
}

fn with(production: bool, watchdog: bool) -> Fake {
    let fake = Fake::running();
    fake.set(vec![facts("a", production), watch(watchdog)]);
    fake
}

/// What a session journals that stops production, and the guard that it has.
async fn stopped(fake: &Fake, earlier: &[ProductionStep]) -> (Noted, Guard) {
    let mut steps: Noted = earlier.to_vec();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let guard = Guard::stop_production(fake, earlier, &mut note, &Emit::nowhere(), &never()).await;
    (steps, guard.expect("it is stopped"))
}

async fn restored(fake: &Fake, guard: &mut Guard, steps: &mut Noted) -> Result<(), String> {
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let restored = guard.restore(fake, &mut note, &Emit::nowhere(), &never()).await;
    restored.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_companion_is_stopped_before_production_and_started_after_its_proof() {
    let fake = with(true, true);
    let (mut steps, mut guard) = stopped(&fake, &[]).await;
    assert_eq!(fake.actions(), "stop w stop a");
    restored(&fake, &mut guard, &mut steps).await.expect("proven");
    assert_eq!(fake.actions(), "stop w stop a start a prove a start w");
    assert_eq!(words(&steps), ["stopping", "stopped", "started_not_proven", "proven"]);
}

#[tokio::test]
async fn one_that_did_not_run_is_not_started() {
    let fake = with(true, false);
    let (mut steps, mut guard) = stopped(&fake, &[]).await;
    restored(&fake, &mut guard, &mut steps).await.expect("proven");
    assert_eq!(fake.actions(), "stop a start a prove a");
}

/// Session 1 was killed after it started production and before it was proven.
#[tokio::test]
async fn what_an_earlier_session_stopped_is_started_by_the_next_one() {
    let fake = with(true, true);
    let (mut steps, guard) = stopped(&fake, &[]).await;
    drop(guard);
    steps.push(ProductionStep::StartedNotProven { id: "a".to_owned() });
    fake.turn("a", true);
    let (mut steps, mut guard) = stopped(&fake, &steps).await;
    restored(&fake, &mut guard, &mut steps).await.expect("proven");
    assert!(fake.actions().ends_with("start a prove a start w"), "{}", fake.actions());
}

#[tokio::test]
async fn recover_starts_what_a_dead_session_stopped() {
    let fake = with(true, true);
    let (steps, guard) = stopped(&fake, &[]).await;
    drop(guard);
    let mut note = |_| Ok::<(), ()>(());
    let recovered =
        recover(&fake, &steps, &mut note, &Emit::nowhere(), &never()).await.expect("proven");
    assert!(recovered && fake.actions().ends_with("start a prove a start w"), "{}", fake.actions());
}

#[tokio::test]
async fn one_that_started_with_the_machine_is_stopped_while_production_is_down() {
    let fake = with(true, true);
    let (steps, guard) = stopped(&fake, &[]).await;
    drop(guard);
    fake.turn("w", true);
    let (mut steps, mut guard) = stopped(&fake, &steps).await;
    assert_eq!(fake.actions(), "stop w stop a stop w");
    restored(&fake, &mut guard, &mut steps).await.expect("proven");
    assert!(fake.actions().ends_with("start a prove a start w"), "{}", fake.actions());
    assert_eq!(pending_restore(&steps), PendingRestore::Nothing);
}

#[tokio::test]
async fn one_that_runs_where_production_does_not_is_refused() {
    let fake = with(false, true);
    let mut note = |_| Ok::<(), ()>(());
    let refused = Guard::stop_production(&fake, &[], &mut note, &Emit::nowhere(), &never()).await;
    let refused = refused.expect_err("it would start production").to_string();
    assert!(refused.contains("its companion does (watch)"), "{refused}");
    assert_eq!(fake.actions(), "");
}

#[tokio::test]
async fn without_a_proof_it_stays_stopped_and_the_error_says_so() {
    let mut fake = with(true, true);
    fake.silent = true;
    let (mut steps, mut guard) = stopped(&fake, &[]).await;
    let error = restored(&fake, &mut guard, &mut steps).await.expect_err("silent");
    assert!(error.contains("until it is, watch stays stopped"), "{error}");
    assert_ne!(pending_restore(&steps), PendingRestore::Nothing, "recover does it");
}

#[tokio::test]
async fn where_somebody_starts_production_it_runs_again_after_the_proof() {
    let fake = with(true, true);
    let (mut steps, mut guard) = stopped(&fake, &[]).await;
    fake.turn("a", true);
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    guard.check(&fake, &mut note, &Emit::nowhere()).await.expect_err("it runs");
    assert_eq!(fake.actions(), "stop w stop a");
    restored(&fake, &mut guard, &mut steps).await.expect("proven");
    assert_eq!(fake.actions(), "stop w stop a prove a start w");
    assert_eq!(words(&steps).last().map(String::as_str), Some("proven"));
}

#[tokio::test]
async fn one_that_was_removed_is_no_part_of_production() {
    let fake = with(true, true);
    let (mut steps, mut guard) = stopped(&fake, &[]).await;
    fake.set(vec![facts("a", false)]);
    restored(&fake, &mut guard, &mut steps).await.expect("proven");
    assert_eq!(fake.actions(), "stop w stop a start a prove a");
}

/// Night 1 ended well, and somebody stopped both by hand.
#[tokio::test]
async fn what_a_finished_session_stopped_is_nobody_s_business_any_more() {
    let fake = with(true, true);
    let (mut steps, mut guard) = stopped(&fake, &[]).await;
    restored(&fake, &mut guard, &mut steps).await.expect("proven");
    fake.turn("a", false);
    fake.turn("w", false);
    let before = fake.actions();
    let (mut steps, mut guard) = stopped(&fake, &steps).await;
    restored(&fake, &mut guard, &mut steps).await.expect("nothing is owed");
    assert_eq!(fake.actions(), before);
}
