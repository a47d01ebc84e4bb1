//! A launch that is clearly behind measures no further repeats.

use super::so_far::said;
use super::*;
use crate::strategy::Bar;
use crate::workload::Workload;

/// The grid's order, with a bar for what is launched after the first trial.
struct Barred(Box<dyn Strategy>, Bar);

impl Strategy for Barred {
    fn next(&self, situation: Situation<'_>) -> Action {
        self.0.next(situation)
    }

    fn trials(&self) -> u32 {
        self.0.trials()
    }

    fn bar(&self, observations: &[Observation], configuration: usize) -> Option<Bar> {
        (!observations.is_empty() && configuration > 0).then_some(self.1)
    }
}

/// `c0` and `c1` of three repeats each, `c1` beyond a bar of 300 after so many.
fn setup(repeats: u32) -> Setup {
    let mut setup = Setup::new(2, 1);
    setup.manifest = manifest(2, 1, 3);
    let strategy = setup.manifest.strategy.build(&Task::plain(2, Some(0)));
    setup.strategy = Some(Box::new(Barred(strategy, Bar { value: 300.0, repeats })));
    setup.repeats(slow)
}

/// `c1` is launched second, or again.
fn slow(launch: u32, _: u32) -> Repeated {
    Repeated::Value(if launch == 1 { 250.0 } else { 400.0 })
}

/// A further workload of two cases, before or after the objective's.
fn with_another(mut setup: Setup, first: bool) -> Setup {
    let options = serde_json::json!({"concurrency": [1, 8]});
    let other = Workload::from_options("load", options.as_object().expect("a map"));
    let at = if first { 0 } else { setup.manifest.workloads.len() };
    setup.manifest.workloads.insert(at, Workload { warmup: 0, ..other.expect("a workload") });
    setup
}

/// The kept repeats of a trial: workload, case, and number.
fn kept(ran: &Ran, trial: u32) -> Vec<(String, String, u32)> {
    let measured = replay::measured(&ran.record, trial);
    let counts = |it: &&&crate::metric::Measurement| it.status == crate::metric::Status::Ok;
    let kept = measured.iter().filter(counts);
    kept.map(|it| (it.workload.clone(), it.case.clone(), it.repeat)).collect()
}

fn numbers(ran: &Ran, trial: u32) -> Vec<u32> {
    kept(ran, trial).into_iter().map(|(_, _, repeat)| repeat).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_is_journalled_before_and_is_not_missing() {
    let ran = setup(1).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "measured")]);
    assert_eq!((numbers(&ran, 0), numbers(&ran, 1)), (vec![1, 2, 3], vec![1]));
    assert_eq!(
        ran.entries()[8..],
        [
            "start 2 trial 1 c1 (4)",
            "ready 2",
            "repeat 2.0 ok",
            "repeat 2.1 ok",
            "behind 2: 400 beyond 300, 1 repeats",
            "end 2 measured",
            "session ended: every configuration had its launches",
        ]
    );
    assert_eq!(
        said(&ran)[4..7],
        [
            "2 behind (ttft_resent_ms 400 ms, the best so far 250 ms): 1 of 3 repeats",
            "end 2",
            "c1 ttft_resent_ms 400 ms, place 2 of 2 so far",
        ]
    );
    let again = ran.again(setup(1)).run().await;
    assert_eq!(again.ending(), Ending::Complete);
    assert_eq!(again.record.launches.len(), 2, "nothing is lacking");
    assert_eq!(again.record.launches[1].repeats, Some(3), "as it was asked for");
}

#[tokio::test(start_paused = true)]
async fn one_repeat_within_the_bar_is_enough_to_go_on() {
    let near = |launch, repeat| match (launch, repeat) {
        (2, 2) => Repeated::Value(300.0),
        other => slow(other.0, other.1),
    };
    let ran = setup(2).repeats(near).run().await;
    assert_eq!(numbers(&ran, 1), [1, 2, 3]);
    assert_eq!(ran.record.launches[1].behind, None);
    let ran = setup(2).run().await;
    assert_eq!(numbers(&ran, 1), [1, 2], "two are measured in any case");
}

#[tokio::test(start_paused = true)]
async fn a_void_repeat_stops_nothing_and_is_measured_once_more_in_the_same_launch() {
    let void = |launch, repeat| match (launch, repeat) {
        (2, 1) => Repeated::Void,
        other => slow(other.0, other.1),
    };
    let ran = setup(1).repeats(void).run().await;
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "measured")]);
    assert_eq!(numbers(&ran, 1), [2]);
    let entries = ran.entries();
    assert_eq!(
        entries[11..14],
        ["repeat 2.1 void", "repeat 2.2 ok", "behind 2: 400 beyond 300, 1 repeats"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeat_that_the_loop_makes_void_does_not_count_in_the_launch_either() {
    let setup = setup(1);
    let clock = setup.clock.clone();
    tokio::spawn(async move {
        let first = BOOT + 4 * REPEAT + STOP;
        sleep(Duration::from_secs(first + BOOT + REPEAT + 2)).await;
        clock.sleep(Duration::from_hours(3));
    });
    let ran = setup.run().await;
    let entries = ran.entries();
    assert_eq!(
        entries[11..14],
        ["repeat 2.1 void", "repeat 2.2 ok", "behind 2: 400 beyond 300, 1 repeats"]
    );
}

#[tokio::test(start_paused = true)]
async fn first_repeats_of_what_comes_later_are_measured_and_what_came_before_stays() {
    let of = |repeats: &[(&str, &str, u32)]| -> Vec<(String, String, u32)> {
        let owned = |it: &(&str, &str, u32)| (it.0.to_owned(), it.1.to_owned(), it.2);
        repeats.iter().map(owned).collect()
    };
    let (one, eight) = ("concurrency=1", "concurrency=8");
    let ran = with_another(setup(1), false).run().await;
    assert_eq!(kept(&ran, 1), of(&[("kv-cache", "", 1), ("load", one, 1), ("load", eight, 1)]));
    assert_eq!(ran.ending(), Ending::Complete);
    let ran = with_another(setup(1), true).run().await;
    let (all, last) = (kept(&ran, 1), of(&[("kv-cache", "", 1)]));
    assert_eq!((all.len(), &all[6..]), (7, last.as_slice()), "only from then on: {all:?}");
    assert_eq!(ran.record.launches.len(), 2, "nothing of either is lacking");
}

#[tokio::test(start_paused = true)]
async fn what_a_workload_asks_for_itself_is_left_out_too() {
    let mut setup = with_another(setup(1), false);
    setup.manifest.workloads[1].repeats = Some(5);
    let ran = setup.run().await;
    assert_eq!(kept(&ran, 0).len(), 3 + 2 * 5);
    assert_eq!(numbers(&ran, 1), [1, 1, 1]);
    assert_eq!(ran.record.launches.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_lost_after_it_is_behind_leaves_first_repeats_alone() {
    let lost = |launch, repeat| match (launch, repeat) {
        // The objective's first, then the next case's.
        (2, 1) => Repeated::Value(400.0),
        (3, 1) => Repeated::Value(1.0),
        other => slow(other.0, other.1),
    };
    let mut setup = with_another(setup(1), false).repeats(lost);
    setup.engine.checks = Arc::new(|launch, checked| match (launch, checked) {
        (2, 3..) => Err(LaunchFailure::new(FailureClass::EngineDied, "it died")),
        _ => Ok(()),
    });
    let ran = setup.run().await;
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "failed"), (1, "measured")]);
    let third = &ran.record.launches[2];
    let measured: Vec<_> = third.measurements.iter().map(|it| (&*it.case, it.repeat)).collect();
    assert_eq!(measured, [("concurrency=1", 1), ("concurrency=8", 1)]);
    assert_eq!((third.bar.is_some(), third.behind), (true, None), "it is said once");
}

/// The suites that are stopped: the objective's workload alone, first, and last.
const SUITES: [fn() -> Setup; 3] =
    [|| setup(1), || with_another(setup(1), false), || with_another(setup(1), true)];

#[tokio::test(start_paused = true)]
async fn wherever_it_stops_a_resume_comes_to_the_same() {
    for suite in SUITES {
        let whole = suite().run().await;
        let kept_of = [kept(&whole, 0), kept(&whole, 1)];
        // In the second launch: the first one has no bar.
        let lines = whole.lines();
        let begun = lines.iter().rposition(|it| matches!(it.entry, Entry::LaunchStarted { .. }));
        let begun = begun.expect("two launches");
        let at = |line: usize| lines[line].at.duration_since(lines[0].at).as_secs() as u64;
        for second in (at(begun)..at(lines.len() - 1)).step_by(4) {
            let first = suite();
            let cancel = first.cancel.clone();
            tokio::spawn(async move {
                sleep(Duration::from_secs(second)).await;
                cancel.cancel();
            });
            let ran = first.run().await;
            let ran = ran.again(suite()).run().await;
            same(&ran, &kept_of, &format!("stopped after {second} s"));
        }
        // A death in front of the next line, for the journal.
        for count in begun..lines.len() {
            let ran = Setup { disk: Some(count as u32), ..suite() }.run().await;
            assert!(ran.ending.is_err(), "{count} lines");
            let ran = ran.again(suite()).run().await;
            same(&ran, &kept_of, &format!("dead after {count} lines"));
        }
    }
}

/// The same repeats are kept, none twice, and no launch was made for nothing.
fn same(ran: &Ran, whole: &[Vec<(String, String, u32)>; 2], what: &str) {
    assert_eq!(ran.ending(), Ending::Complete, "{what}");
    for (trial, whole) in (0..).zip(whole) {
        let mut kept = kept(ran, trial);
        kept.sort_unstable();
        let mut whole = whole.clone();
        whole.sort_unstable();
        assert_eq!(kept, whole, "{what}: {:?}", ran.entries());
    }
    let idle = |it: &&crate::history::record::LaunchRecord| {
        it.outcome == Some(LaunchOutcome::Measured)
            && it.measurements.iter().all(|it| it.repeat == 0)
    };
    assert_eq!(ran.record.launches.iter().find(idle), None, "{what}");
}
