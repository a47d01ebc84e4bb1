//! The guard on a daemon that fails, in virtual time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::tests::never;
use super::*;
use crate::engine::docker::scripted::{Fate, Scripted, ready_after};

type Noted = Vec<ProductionStep>;

/// Stops production, restores it at `at` seconds, on a daemon that does `fate` from then for so
/// long; what the guard says, what is warned of, and the steps.
async fn restored(
    fate: Fate,
    seconds: u64,
    variable: Option<&str>,
) -> (Scripted, Result<(), GuardError<()>>, Vec<NoticeKind>, Noted) {
    const AT: Duration = Duration::from_mins(1);
    let scripted = Scripted::new(true, move |at, _| {
        if at >= AT && at < AT + Duration::from_secs(seconds) { fate } else { Fate::Answered }
    });
    let production = scripted.production(ready_after(AT), variable);
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&seen);
    let emit = Emit::to(move |notice| kept.lock().expect("no panic").push(notice.kind));
    let mut steps = Noted::new();
    let mut note = |step| {
        steps.push(step);
        Ok::<(), ()>(())
    };
    let begun = Instant::now();
    let mut guard = Guard::stop_production(&production, &[], &mut note, &emit, &never())
        .await
        .expect("stopped");
    sleep(AT.saturating_sub(begun.elapsed())).await;
    let restored = guard.restore(&production, &mut note, &emit, &never()).await;
    let seen = seen.lock().expect("no panic").clone();
    (scripted, restored, seen, steps)
}

fn warnings(seen: &[NoticeKind]) -> Vec<&String> {
    let warnings = seen.iter().filter_map(|kind| match kind {
        NoticeKind::Warning(text) => Some(text),
        _ => None,
    });
    warnings.collect()
}

fn up() -> NoticeKind {
    NoticeKind::ProductionUp { id: "a".to_owned() }
}

const FATES: [Fate; 5] = [
    Fate::Reset,
    Fate::AnswerLost,
    Fate::Stalled,
    Fate::Refused(503, ""),
    Fate::Refused(500, "server error"),
];

#[tokio::test(start_paused = true)]
async fn production_is_started_through_an_outage_of_minutes() {
    for fate in FATES {
        for seconds in [1, 60, 270] {
            let (scripted, restored, seen, steps) = restored(fate, seconds, None).await;
            assert!(restored.is_ok() && scripted.runs(), "{fate:?} {seconds} s: {restored:?}");
            assert_eq!(pending_restore(&steps), PendingRestore::Nothing);
            let is_said = warnings(&seen).iter().any(|it| it.starts_with("PRODUCTION IS DOWN: "));
            assert!(seconds < 120 || is_said, "{fate:?} {seconds} s: {seen:?}");
            assert_eq!(seen.last(), Some(&up()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_never_answers_again_ends_it_within_minutes_and_by_name() {
    for fate in FATES {
        let begun = Instant::now();
        let (_, restored, seen, steps) = restored(fate, 1 << 30, None).await;
        let took = begun.elapsed().as_secs();
        assert!((5 * 60..9 * 60).contains(&took), "{fate:?}: {took} s");
        let error = restored.expect_err("nobody answers");
        let text = error.to_string();
        for part in [
            "PRODUCTION IS DOWN: container prod (a) is not started: ",
            "the Docker daemon at unix://",
            "does not answer: ",
            "`vllm-grid recover`",
            "`docker start prod`",
        ] {
            assert!(text.contains(part), "{fate:?}: {text}");
        }
        assert!(matches!(error, GuardError::Down { .. }));
        assert_eq!(pending_restore(&steps), PendingRestore::Start("a".to_owned()));
        assert!(!seen.contains(&up()), "{seen:?}");
        assert!(warnings(&seen).len() > 1, "it is said again: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_taken_is_tried_for_minutes_and_named() {
    let emit = Emit::nowhere();
    let taken = Fate::Refused(500, "Bind for 127.0.0.1:8000 failed: port is already allocated");
    let scripted = Scripted::new(true, move |at, request| {
        let is_taken = request.ends_with("/start") && at < Duration::from_mins(4);
        if is_taken { taken } else { Fate::Answered }
    });
    let production = scripted.production(ready_after(Duration::ZERO), None);
    let (never, mut note) = (never(), |_| Ok::<(), ()>(()));
    let stop = Guard::stop_production(&production, &[], &mut note, &emit, &never);
    let mut guard = stop.await.expect("stopped");
    guard.restore(&production, &mut note, &emit, &never).await.expect("free again");
    assert!(scripted.runs());

    let scripted =
        Scripted::new(
            true,
            move |_, request| {
                if request.ends_with("/start") { taken } else { Fate::Answered }
            },
        );
    let production = scripted.production(ready_after(Duration::ZERO), None);
    let stop = Guard::stop_production(&production, &[], &mut note, &emit, &never);
    let mut guard = stop.await.expect("stopped");
    let down = guard.restore(&production, &mut note, &emit, &never).await;
    let text = down.expect_err("taken for good").to_string();
    assert!(text.contains("PRODUCTION IS DOWN: container prod"), "{text}");
    assert!(text.contains("port 8000 is taken by the container squatter"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn without_its_key_production_is_started_and_then_not_proven() {
    let (scripted, restored, seen, steps) = restored(Fate::Answered, 0, Some("SITE_KEY")).await;
    assert!(scripted.runs(), "started all the same");
    let text = restored.expect_err("not proven").to_string();
    assert!(text.ends_with("not proven: SITE_KEY is not set"), "{text}");
    assert_eq!(pending_restore(&steps), PendingRestore::Proof("a".to_owned()));
    assert!(seen.contains(&up()), "it is not down: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_while_it_is_checked_is_not_somebody_who_started_it() {
    for fate in FATES {
        let scripted =
            Scripted::new(
                false,
                move |at, _| {
                    if at < Duration::from_secs(90) { fate } else { Fate::Answered }
                },
            );
        let production = scripted.production(ready_after(Duration::ZERO), None);
        let stopped = Some(Down { id: "a".to_owned(), name: "prod".to_owned() });
        let mut guard = Guard { stopped, ..Guard::default() };
        let mut note = |_| Ok::<(), ()>(());
        let checked = guard.check(&production, &mut note, &Emit::nowhere()).await;
        assert!(checked.is_ok() && guard.owes().is_some(), "{fate:?}: {checked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_session_stopped_is_started_where_the_next_cannot_begin() {
    let scripted = Scripted::new(false, |_, request| {
        // By its name it is not found; by its id it is.
        let by_name = request == "GET /containers/prod/json";
        if by_name { Fate::Refused(403, "not by name") } else { Fate::Answered }
    });
    let production = scripted.production(ready_after(Duration::ZERO), None);
    let earlier = [ProductionStep::Stopped { id: "a".to_owned() }];
    let mut note = |_| Ok::<(), ()>(());
    let error =
        Guard::stop_production(&production, &earlier, &mut note, &Emit::nowhere(), &never()).await;
    assert!(error.expect_err("not found").to_string().contains("not by name"));
    assert!(scripted.runs());
}
