//! Production that somebody starts or replaces, and a stop that comes during its proof.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::tests::{Fake, Noted, facts, never, words};
use super::*;

/// What a check and then a restore come to, where production is `now` in mid-sweep and `later`
/// once nothing runs beside it any more: the fake, the steps and the notices in short.
async fn taken_back(
    fake: Fake,
    now: ProductionFacts,
    later: ProductionFacts,
) -> (Fake, Noted, Vec<String>) {
    let mut steps: Noted = Vec::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&seen);
    let emit = Emit::to(move |notice| {
        let word = match notice.kind {
            NoticeKind::ProductionDown { id, .. } => format!("down {id}"),
            NoticeKind::ProductionUp { id } => format!("up {id}"),
            _ => return,
        };
        kept.lock().expect("no panic").push(word);
    });
    let stopping = Guard::stop_production(&fake, &[], &mut note, &emit, &never()).await;
    let mut guard = stopping.expect("it is stopped");
    fake.set(vec![now]);
    let error = guard.check(&fake, &mut note, &emit).await.expect_err("somebody started it");
    assert!(matches!(error, GuardError::StartedBySomebody(_)));
    assert!(guard.owes().is_some(), "it is proven later");
    fake.set(vec![later]);
    guard.restore(&fake, &mut note, &emit, &never()).await.expect("proven");
    let seen = seen.lock().expect("no panic").clone();
    (fake, steps, seen)
}

#[tokio::test]
async fn what_somebody_starts_in_mid_sweep_stays_owed_until_it_is_proven() {
    for (now, later, actions, last, notices) in [
        // It runs on.
        (
            facts("a", true),
            facts("a", true),
            "stop a prove a",
            "started_by_somebody started_not_proven proven",
            "down a, up a, up a",
        ),
        // Another one of its name.
        (
            facts("z", true),
            facts("z", true),
            "stop a prove z",
            "replaced started_by_somebody started_not_proven proven",
            "down a, up a, up z, up z",
        ),
        // It found no memory beside the candidate, and ended.
        (
            facts("a", true),
            facts("a", false),
            "stop a start a prove a",
            "started_by_somebody stopped started_not_proven proven",
            "down a, up a, down a, up a",
        ),
        // It ended before it was looked at: its start is a later one.
        (
            ProductionFacts { started_at: "2026-11-24T09:00:00Z".to_owned(), ..facts("a", false) },
            facts("a", false),
            "stop a start a prove a",
            "started_by_somebody stopped started_not_proven proven",
            "down a, down a, up a",
        ),
    ] {
        let (fake, steps, seen) = taken_back(Fake::running(), now, later).await;
        assert_eq!(fake.actions(), actions);
        assert_eq!(words(&steps)[2..].join(" "), last);
        assert_eq!(seen.join(", "), notices);
        let is_owed =
            |step: &ProductionStep| matches!(step, ProductionStep::StartedBySomebody { .. });
        let until = steps.iter().position(is_owed).expect("journalled");
        let killed = pending_restore(&steps[..=until]);
        assert!(matches!(killed, PendingRestore::Proof(_)), "after a kill, too: {killed:?}");
        assert_eq!(pending_restore(&steps), PendingRestore::Nothing);
    }
    // What did not run when the sweep began is no debt that survives a kill.
    let fake = Fake::default();
    fake.set(vec![facts("a", false)]);
    let (fake, steps, _) = taken_back(fake, facts("a", true), facts("a", false)).await;
    assert_eq!(fake.actions(), "start a prove a");
    assert_eq!(pending_restore(&steps[..2]), PendingRestore::Nothing);
}

#[tokio::test]
async fn what_was_replaced_between_two_sessions_is_not_down_any_more() {
    let fake = Fake::running();
    fake.set(vec![facts("b", true)]);
    let mut steps = vec![ProductionStep::Stopping { facts: facts("a", true) }];
    let earlier = steps.clone();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&seen);
    let emit = Emit::to(move |notice| kept.lock().expect("no panic").push(notice.kind));
    let stopping = Guard::stop_production(&fake, &earlier, &mut note, &emit, &never()).await;
    let mut guard = stopping.expect("it is stopped");
    guard.restore(&fake, &mut note, &emit, &never()).await.expect("proven");
    assert_eq!(fake.actions(), "stop b start b prove b");
    let expected = ["stopping", "replaced", "stopping", "stopped", "started_not_proven", "proven"];
    assert_eq!(words(&steps), expected);
    let up = NoticeKind::ProductionUp { id: "a".to_owned() };
    assert!(seen.lock().expect("no panic").contains(&up), "the last line would name it");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_is_asked_for_shortens_the_proof() {
    // What the proof would take, when the stop comes, and when the proof is over.
    for (takes, stop_at, over_at) in
        [(44, None, 44), (44, Some(3), 13), (44, Some(0), 10), (5, Some(3), 5), (60, Some(40), 45)]
    {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let mut fake = Fake::running();
        fake.takes = minutes(takes);
        let stop = never();
        let mut note = |_| Ok::<(), ()>(());
        let emit = Emit::nowhere();
        let stopping = Guard::stop_production(&fake, &[], &mut note, &emit, &stop).await;
        let mut guard = stopping.expect("it is stopped");
        let begun = Instant::now();
        if let Some(at) = stop_at {
            let stop = stop.clone();
            tokio::spawn(async move {
                sleep(minutes(at)).await;
                stop.cancel();
            });
        }
        let restored = guard.restore(&fake, &mut note, &emit, &stop).await;
        assert_eq!(begun.elapsed().as_secs() / 60, over_at, "{takes} {stop_at:?}");
        assert_eq!(restored.is_ok(), takes == over_at, "{restored:?}");
    }
}
