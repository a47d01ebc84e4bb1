//! A window of the day, in virtual time: the clock shows 06:00 when a test begins.

use super::*;
use crate::grid::Window;
use crate::history::journal::WINDOW_CLOSED;
use crate::history::production::ProductionStep;
use crate::strategy::Purpose;

fn within(setup: Setup, window: &str) -> Setup {
    Setup { window: Some(Window::read(window).expect("a window")), ..setup }
}

/// Seconds after 07:00 of some day.
fn after_opening(line: &Line) -> i64 {
    (line.at.as_second() - 7 * 3600).rem_euclid(86_400)
}

fn nights(ran: &Ran) -> usize {
    ran.entries().iter().filter(|it| it.ends_with(WINDOW_CLOSED)).count()
}

#[tokio::test(start_paused = true)]
async fn no_launch_begins_that_would_end_after_it_and_the_next_night_goes_on() {
    let mut setup = within(Setup::new(5, 1), "07:00-07:02");
    setup.manifest.budget_seconds = Some(10 * LAUNCH);
    let seen = Arc::clone(&setup.seen);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert!(ran.outcomes().iter().all(|(_, outcome)| *outcome == "measured"));
    assert_eq!(nights(&ran), 2, "two, two and one: a minute is kept to stop the server");
    for line in ran.lines() {
        assert!((0..=60).contains(&after_opening(&line)), "{line:?}");
    }
    let worked = scope::spent(&ran.lines()).sweep;
    assert_eq!(worked, Duration::from_secs(5 * LAUNCH), "waiting is no work");
    let seen = seen.lock().expect("no panic");
    let waits = |event: &&Event| matches!(event, Event::Notice(n) if matches!(n.kind, NoticeKind::Waits { .. }));
    assert_eq!(seen.iter().filter(waits).count(), 3, "also before the first launch");
}

#[tokio::test(start_paused = true)]
async fn production_is_back_and_proven_before_it_closes_and_runs_while_the_sweep_waits() {
    let ran = within(Setup::new(40, 1).guarded(), "07:00-07:20").run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let mut is_running = true;
    let mut stops = 0;
    for (second, what) in ran.actions.timed() {
        // The first action came with the first opening.
        let in_night = second % 86_400;
        match what.as_str() {
            "stop production" => (is_running, stops) = (false, stops + 1),
            "prove production" => is_running = true,
            boot if boot.starts_with("boot") => assert!(!is_running, "{second}: {boot}"),
            _ => {}
        }
        assert!(in_night < 20 * 60, "{second}: {what}");
    }
    assert!(is_running);
    assert!(stops >= 2, "{stops} nights");
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_it_waits_ends_at_once_with_production_up() {
    let setup = within(Setup::new(2, 1).guarded(), "07:00-08:00");
    let cancel = setup.cancel.clone();
    let began = Instant::now();
    tokio::spawn(async move {
        sleep(Duration::from_secs(100)).await;
        cancel.cancel();
    });
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    assert_eq!(began.elapsed().as_secs(), 100);
    assert_eq!(ran.actions.take(), [""; 0], "nothing was touched");
    assert_eq!(ran.outcomes(), []);
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_takes_longer_than_was_known_is_stopped_in_time_and_loses_no_repeat() {
    let mut setup = within(Setup::new(1, 1), "07:00-07:02");
    setup.manifest = manifest(1, 1, 20);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let words: Vec<&str> = ran.outcomes().iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(words, ["interrupted", "interrupted", "measured"]);
    let kept = ran.record.launches.iter().flat_map(|it| &it.measurements);
    let mut repeats: Vec<u32> = kept.map(|it| it.repeat).filter(|it| *it > 0).collect();
    repeats.sort_unstable();
    assert_eq!(repeats, (1..=20).collect::<Vec<_>>(), "each once");
    for line in ran.lines() {
        assert!((0..=70).contains(&after_opening(&line)), "{line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_in_which_nothing_can_be_finished_ends_the_sweep_with_what_to_do() {
    let ran = within(Setup::new(1, 1), "07:00-07:01").run().await;
    let error = ran.ending.as_ref().unwrap_err().to_string();
    assert!(error.contains("07:00-07:01") && error.contains("widen `window`"), "{error}");
}

/// One trial of two repeats, then one of forty.
struct ShortAndLong;

impl Strategy for ShortAndLong {
    fn next(&self, situation: Situation<'_>) -> Action {
        let trial = situation.observations.len() as u32;
        match trial {
            0 | 1 => Action::Launch {
                trial,
                configuration: 0,
                purpose: Purpose::Screen,
                repeats: if trial == 0 { 2 } else { 40 },
            },
            _ => Action::Finish { why: Finished::AllLaunched },
        }
    }

    fn trials(&self) -> u32 {
        2
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_is_longer_than_every_window_is_skipped_and_says_so() {
    let mut setup = within(Setup::new(2, 1), "07:00-07:03");
    setup.strategy = Some(Box::new(ShortAndLong));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "skipped")]);
    let Some(LaunchOutcome::Skipped { reason, .. }) = &ran.record.launches[1].outcome else {
        panic!("{:?}", ran.record.launches)
    };
    assert!(reason.contains("fits into no window 07:00-07:03"), "{reason}");
}

fn waits(seen: &Mutex<Vec<Event>>) -> usize {
    let waits = |event: &&Event| matches!(event, Event::Notice(n) if matches!(n.kind, NoticeKind::Waits { .. }));
    seen.lock().expect("no panic").iter().filter(waits).count()
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_when_the_window_is_closed_again_is_followed_by_another() {
    type Jump = fn(&Clock);
    let jumps: [(&str, Jump); 3] = [
        ("it slept", |it| it.sleep(Duration::from_hours(12))),
        ("it was set", |it| it.set_by(jiff::SignedDuration::from_hours(12))),
        ("it woke in the last minute", |it| it.sleep(Duration::from_secs(7160))),
    ];
    for (what, jump) in jumps {
        let setup = within(Setup::new(2, 1).guarded(), "07:00-08:00");
        let (clock, seen) = (setup.clock.clone(), Arc::clone(&setup.seen));
        tokio::spawn(async move {
            sleep(Duration::from_secs(10)).await;
            jump(&clock);
        });
        let ran = setup.run().await;
        assert_eq!(ran.ending(), Ending::Complete, "{what}");
        assert_eq!(waits(&seen), 2, "{what}");
        for line in ran.lines() {
            assert!((0..3600).contains(&after_opening(&line)), "{what}: {line:?}");
        }
        let stops = ran.actions.take().iter().filter(|it| *it == "stop production").count();
        assert_eq!(stops, 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_late_leaves_what_fits_no_longer_to_the_next_night() {
    // The long launch fits into a whole night, behind the short one in none.
    let mut setup = within(Setup::new(1, 1), "07:00-07:05");
    setup.strategy = Some(Box::new(ShortAndLong));
    let clock = setup.clock.clone();
    tokio::spawn(async move {
        // After the first night: it wakes two minutes after the second one's opening.
        sleep(Duration::from_secs(3600 + 100)).await;
        clock.sleep(Duration::from_secs(86_400 + 30));
    });
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "measured")], "not skipped");
    assert_eq!(nights(&ran), 2, "behind the short one, and in the late one");
}

#[tokio::test(start_paused = true)]
async fn production_that_a_dead_session_left_stopped_is_started_before_the_sweep_waits() {
    let ran = Setup::new(1, 1).run().await;
    let path = ran.folder.path().join("run/journal.jsonl");
    let (mut journal, _) = Journal::open(&path).expect("a journal");
    let stopped = ProductionStep::Stopped { id: "p".to_owned() };
    let at = "2026-11-24T06:10:00Z".parse().expect("a time");
    journal.append(at, Entry::Production { production: stopped }).expect("written");
    drop(journal);
    ran.actions.take();

    let setup = within(Setup::new(1, 1).guarded(), "07:00-08:00");
    let production = setup.production.as_ref().expect("guarded").switch();
    *production.lock().expect("no panic") = false;
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_mins(1)).await;
        cancel.cancel();
    });
    let ran = ran.again(setup).run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    assert_eq!(ran.actions.take(), ["start production", "prove production"]);
    let lines = ran.lines();
    let steps = lines.iter().rev().take_while(|it| short(&it.entry).contains("production"));
    let times: Vec<Option<u64>> = steps.map(|it| it.elapsed_ms).collect();
    assert_eq!(times, [None; 3], "no session has begun: its clock times none of them");
}
