//! A clock that is set, and a machine that sleeps.

use super::*;

/// Does something in the middle of the second kept repeat of the first launch.
fn in_a_repeat(clock: &Clock, what: impl FnOnce(&Clock) + Send + 'static) {
    let clock = clock.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + 2 * REPEAT + 2)).await;
        what(&clock);
    });
}

fn durations(ran: &Ran) -> Vec<i64> {
    let of = |it: &crate::history::record::LaunchRecord| {
        it.ended_at.zip(it.started_at).map(|(end, start)| end.duration_since(start).as_secs())
    };
    ran.record.launches.iter().filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_changes_no_duration_and_no_budget() {
    let mut setup = Setup::new(2, 1);
    setup.manifest.budget_seconds = Some(LAUNCH + 1);
    in_a_repeat(&setup.clock, |it| it.set_by(jiff::SignedDuration::from_hours(-9)));
    let ran = setup.run().await;
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "measured")]);
    assert_eq!(durations(&ran), [LAUNCH.cast_signed(); 2]);
    let lines = ran.lines();
    assert!(lines.last().expect("lines").at < lines[0].at, "what was seen is written");
    let folder = Folder::existing(&ran.folder.path().join("run")).expect("a sweep");
    assert_eq!(folder.record().expect("readable").launches, ran.record.launches);
    assert_eq!(scope::spent(&lines).sweep, Duration::from_secs(2 * LAUNCH), "for a later session");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_during_which_the_machine_slept_is_void_and_measured_again() {
    let setup = Setup::new(1, 1);
    in_a_repeat(&setup.clock, |it| it.sleep(Duration::from_hours(3)));
    let ran = setup.run().await;
    assert_eq!(ran.outcomes(), [(0, "measured"), (0, "measured")]);
    let slept = &ran.record.launches[0].measurements[2];
    assert_eq!(slept.status, crate::metric::Status::Void);
    assert_eq!(slept.reason.as_deref(), Some("the machine slept for 3.0 h during it"));
    assert_eq!(durations(&ran)[0], LAUNCH.cast_signed(), "sleep is no work");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_during_which_the_clock_jumped_ahead_is_void() {
    let setup = Setup::new(1, 1);
    in_a_repeat(&setup.clock, |it| it.set_by(jiff::SignedDuration::from_hours(2)));
    let ran = setup.run().await;
    let jumped = &ran.record.launches[0].measurements[2];
    let said = "the clock jumped ahead by 2.0 h during it: the machine may have slept";
    assert_eq!(jumped.reason.as_deref(), Some(said));
    assert_eq!(durations(&ran)[0], LAUNCH.cast_signed());
}
