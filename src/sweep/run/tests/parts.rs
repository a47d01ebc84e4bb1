//! A sweep whose grid asks for a confirmation: the strategy's part, then that, in one process.

use super::super::super::part::{Left, Next};
use super::*;
use crate::grid::{Budget, Confirm};
use crate::history::extent::{Confirming, Extent, State};
use crate::strategy::confirm::Ended;

/// Seconds of one launch of one warm-up and one kept repeat.
const SHORT: u64 = BOOT + 2 * REPEAT + STOP;

fn asked(record: &SweepRecord) -> Confirmation {
    Confirmation {
        number: record.next_confirmation(),
        candidate: "c2".to_owned(),
        baseline: "c0".to_owned(),
        claim: 0.1,
        seed: 7,
        repeats: 1,
        budget_seconds: None,
        of_grid: true,
    }
}

/// The part of the command: one confirmation, which goes on where it was begun.
fn decide(record: &SweepRecord, left: Left) -> Next {
    match record.confirmation_of_grid() {
        Some(begun) if begun.ended.is_some() => Next::Nothing,
        Some(begun) => Next::Confirmation(begun.asked.clone()),
        None if left.is_spent() => Next::NothingToConfirm("nothing is left".to_owned()),
        None => Next::Confirmation(asked(record)),
    }
}

/// Three configurations, launched so often each, and then a confirmation.
fn confirming(launches: u32) -> Setup {
    let mut setup = Setup::new(3, launches);
    setup.manifest.confirm = Some(Confirm::default());
    setup.next = Some(Box::new(decide));
    setup.repeats(|launch, _| Repeated::Value(100.0 + f64::from(launch % 5)))
}

fn stop_after(setup: &Setup, seconds: u64) {
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(seconds)).await;
        cancel.cancel();
    });
}

fn confirms(ran: &Ran) -> usize {
    ran.record.launches.iter().filter(|it| it.confirmation.is_some()).count()
}

fn extent(ran: &Ran) -> (State, Option<Confirming>) {
    let now = jiff::ZonedDateTime::now();
    let extent = Extent::of(&ran.record, &ran.lines(), &now, || false);
    (extent.state, extent.confirmation)
}

fn count(ran: &Ran, entry: &str) -> usize {
    ran.entries().iter().filter(|it| *it == entry).count()
}

#[tokio::test(start_paused = true)]
async fn the_confirmation_begins_with_production_still_stopped_in_a_session_of_its_own() {
    let ran = confirming(1).guarded().run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(confirms(&ran), 12);
    let actions = ran.actions.take();
    let production: Vec<&String> = actions.iter().filter(|it| it.contains("production")).collect();
    assert_eq!(production, ["stop production", "start production", "prove production"]);
    let entries = ran.entries();
    let begins = entries.iter().position(|it| it == "confirm 1: c2 against c0").expect("it begins");
    assert_eq!(
        entries[begins - 2..begins],
        ["session ended: every configuration had its launches", "session"]
    );
    assert_eq!(
        entries[entries.len() - 2..],
        ["confirmed 1: Precise", "session ended: confirmation: the interval is narrow enough"]
    );
    assert_eq!(extent(&ran), (State::Complete, None));
    assert!(ran.record.ended.as_ref().is_some_and(|it| it.complete), "the sweep's own end");
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_either_part_goes_on_where_it_was() {
    let setup = confirming(2).guarded();
    stop_after(&setup, LAUNCH + BOOT + 1);
    let ran = setup.run().await;
    assert_eq!((ran.ending(), confirms(&ran)), (Ending::Interrupted, 0));
    assert_eq!(extent(&ran), (State::Interrupted, None));
    let setup = ran.again(confirming(2).guarded());
    stop_after(&setup, 5 * LAUNCH + 3 * SHORT + 1);
    let ran = setup.run().await;
    assert_eq!((ran.ending(), confirms(&ran)), (Ending::Interrupted, 4));
    assert_eq!(extent(&ran), (State::Complete, Some(Confirming::Interrupted)));
    ran.actions.take();
    // As `resume` has it: what was begun is continued at once.
    let left = ran.record.unfinished_confirmation().expect("unfinished").asked.clone();
    assert!(left.of_grid);
    let ran = ran.again(Setup { confirm: Some(left), ..confirming(2).guarded() }).run().await;
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Precise));
    assert_eq!(count(&ran, "confirm 1: c2 against c0"), 2, "two sessions, one confirmation");
    assert_eq!(extent(&ran), (State::Complete, None));
    // Once more: nothing is launched, and production serves on.
    ran.actions.take();
    let ran = ran.again(confirming(2).guarded()).run().await;
    assert_eq!((ran.ending(), ran.actions.take()), (Ending::Complete, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_before_its_confirmation_stops_production_for_it() {
    let ran = Setup { next: None, ..confirming(1).guarded() }.run().await;
    assert_eq!((ran.ending(), confirms(&ran)), (Ending::Complete, 0));
    assert_eq!(extent(&ran), (State::Complete, Some(Confirming::Pending)));
    ran.actions.take();
    let ran = ran.again(confirming(1).guarded()).run().await;
    assert_eq!((ran.ending(), confirms(&ran)), (Ending::Complete, 12));
    let actions = ran.actions.take();
    assert_eq!(actions[0], "stop production");
    assert_eq!(actions.iter().filter(|it| it.contains("production")).count(), 3);
    assert_eq!(extent(&ran), (State::Complete, None));
}

#[tokio::test(start_paused = true)]
async fn the_strategy_leaves_a_quarter_of_the_time_and_the_confirmation_has_what_is_left() {
    let mut setup = confirming(4);
    setup.manifest.budget_seconds = Some(8 * LAUNCH);
    setup.next = Some(Box::new(|record, left| {
        assert_eq!(left.time, Some(Duration::from_secs(2 * LAUNCH)));
        decide(record, left)
    }));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(ran.record.launches.len() - confirms(&ran), 6, "of 12");
    assert_eq!(confirms(&ran) as u64, (2 * LAUNCH).div_ceil(SHORT));
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Budget));
    let said = "session ended: budget spent: time, the rest is for the confirmation";
    assert_eq!(count(&ran, said), 1);
    assert_eq!(extent(&ran), (State::BudgetSpent, None));
    // All sessions count: nothing more is launched by another one.
    let mut again = confirming(4);
    again.manifest.budget_seconds = Some(8 * LAUNCH);
    ran.actions.take();
    let ran = ran.again(again).run().await;
    assert_eq!((ran.ending(), ran.actions.take()), (Ending::BudgetSpent, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn what_the_strategy_leaves_of_its_launches_is_the_confirmation_s() {
    let budget = Budget { launches: Some(16), gpu_hours: None };
    let of = |launches| {
        let mut setup = confirming(launches);
        setup.manifest.budget = budget;
        setup
    };
    // It asks for 3 of its 12: 13 are left, and 12 are enough.
    let ran = of(1).run().await;
    assert_eq!((ran.ending(), confirms(&ran)), (Ending::Complete, 12));
    // It asks for 15 of its 12: 4 are left, in all sessions.
    let setup = of(5);
    stop_after(&setup, 12 * LAUNCH + SHORT + 1);
    let ran = setup.run().await;
    assert_eq!((ran.ending(), ran.record.launches.len()), (Ending::Interrupted, 14));
    let left = ran.record.unfinished_confirmation().expect("unfinished").asked.clone();
    let ran = ran.again(Setup { confirm: Some(left), ..of(5) }).run().await;
    // The second of the pair is made again: for another pair one launch is too few.
    assert_eq!((ran.ending(), ran.record.launches.len()), (Ending::BudgetSpent, 15));
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Budget));
}

#[tokio::test(start_paused = true)]
async fn a_block_that_begins_anew_has_no_more_than_the_whole_budget_left() {
    let of = || {
        let mut setup = confirming(1);
        setup.manifest.budget = Budget { launches: Some(16), gpu_hours: None };
        setup
    };
    let ran = of().run().await;
    assert_eq!(ran.record.launches.len(), 15);
    // The strategy's own part would have 9 left.
    let accepted = vec!["driver: 550 -> 560".to_owned()];
    let ran = ran.again(Setup { accepted, ..of() }).run().await;
    assert_eq!((ran.ending(), ran.record.all_launches().count()), (Ending::BudgetSpent, 16));
}

#[tokio::test(start_paused = true)]
async fn in_a_window_each_part_goes_on_in_the_next_night_and_waiting_is_nobody_s_work() {
    let mut setup = confirming(1);
    setup.window = crate::grid::Window::read("07:00-07:04");
    setup.manifest.budget_seconds = Some(8 * (3 * LAUNCH + 12 * SHORT) / 6);
    let ran = setup.run().await;
    assert_eq!((ran.ending(), confirms(&ran)), (Ending::Complete, 12));
    assert!(count(&ran, "confirm 1: c2 against c0") > 1, "several nights: {:?}", ran.entries());
    let spent = scope::spent(&ran.lines());
    assert_eq!(spent.sweep, Duration::from_secs(3 * LAUNCH));
    assert_eq!(spent.confirmation, Duration::from_secs(12 * SHORT));
    assert_eq!(spent.all, spent.sweep + spent.confirmation);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_to_be_confirmed_that_is_journalled_and_it_is_complete() {
    let setup = || Setup {
        next: Some(Box::new(|_, _| Next::NothingToConfirm("c0 leads".to_owned()))),
        ..confirming(1).guarded()
    };
    let ran = setup().run().await;
    assert_eq!((ran.ending(), confirms(&ran)), (Ending::Complete, 0));
    assert_eq!(count(&ran, "nothing to confirm: c0 leads"), 1);
    assert_eq!(ran.record.not_confirmed.as_deref(), Some("c0 leads"));
    assert_eq!(extent(&ran), (State::Complete, None));
    ran.actions.take();
    let ran = ran.again(setup()).run().await;
    assert_eq!((ran.ending(), ran.actions.take()), (Ending::Complete, Vec::new()));
}
