//! A stop: at every second of a sweep with production, and whatever runs at that moment.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stop_at_any_second_ends_with_production_proven_and_resume_measures_nothing_twice() {
    let whole = 2 * LAUNCH;
    for second in 0..=whole {
        let mut setup = Setup::new(2, 1).guarded();
        setup.engine.check_takes = 1;
        let cancel = setup.cancel.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(second * 1000 + 500)).await;
            cancel.cancel();
        });
        let ran = setup.run().await;
        assert_eq!(ran.ending(), Ending::Interrupted, "at {second} s");
        let actions = ran.actions.take();
        let of = |what: &str| actions.iter().filter(|it| it.starts_with(what)).count();
        assert_eq!(actions[actions.len() - 2..], ["start production", "prove production"]);
        let ready = ran.entries().iter().filter(|it| it.starts_with("ready")).count();
        assert_eq!(of("stop ") - of("stop production"), ready, "at {second} s: {actions:?}");

        let ran = ran.again(Setup::new(2, 1).guarded()).run().await;
        assert_eq!(ran.ending(), Ending::Complete, "at {second} s");
        let launches = ran.record.launches.iter();
        let mut kept: Vec<(u32, u32)> = launches
            .flat_map(|it| it.measurements.iter().map(|one| (it.trial, one.repeat)))
            .filter(|(_, repeat)| *repeat > 0)
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, [(0, 1), (0, 2), (1, 1), (1, 2)], "stopped at {second} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_fails_while_a_stop_was_asked_for_is_interrupted_unless_it_would_fail_again() {
    let cases = [
        (FailureClass::Environment, "interrupted"),
        (FailureClass::Unknown, "interrupted"),
        (FailureClass::BadFlag, "failed"),
    ];
    for (class, outcome) in cases {
        let mut setup = Setup::new(1, 1);
        let cancel = setup.cancel.clone();
        // An engine that does not see the stop.
        setup.engine.boots = Box::new(move |_, _| {
            cancel.cancel();
            Some(LaunchFailure::new(class, "it failed"))
        });
        let ran = setup.run().await;
        assert_eq!(ran.outcomes(), [(0, outcome)], "{class:?}");
        assert_eq!(ran.actions.take(), ["boot 1 c0"], "{class:?}");
    }
}
