//! Nights that follow each other: what is measured with is compared before each, and what is
//! kept for production's start comes from starts that were seen.

use futures_util::FutureExt as _;

use super::*;
use crate::grid::Window;
use crate::machine::{Gpu, Machine};
use crate::sweep::measured_with::ReadMachine;

fn machine(power_limit_w: f64) -> Machine {
    let gpu = Gpu { index: 0, power_limit_w: Some(power_limit_w), ..Gpu::default() };
    Machine { gpus: Some(vec![gpu]), ..Machine::default() }
}

/// A guarded sweep of several nights, whose manifest knows its machine. The clock shows 06:00.
fn several_nights() -> Setup {
    let mut setup = Setup::new(20, 1).guarded();
    setup.window = Window::read("07:00-07:20");
    setup.manifest.machine = Some(machine(450.0));
    setup.manifest.suite_version = Some(SUITE_VERSION);
    setup.manifest.tool_version = env!("CARGO_PKG_VERSION").to_owned();
    setup
}

/// The machine, whose power limit is set to this on some day at noon.
fn set_at_noon(clock: &Clock, power_limit_w: f64) -> ReadMachine {
    let (clock, begun) = (clock.clone(), clock.now());
    Box::new(move || {
        let is_later = clock.now().duration_since(begun).as_hours() >= 6;
        let machine = machine(if is_later { power_limit_w } else { 450.0 });
        async move { machine }.boxed()
    })
}

/// Days after the first on which launches began.
fn days(ran: &Ran) -> Vec<i64> {
    let lines = ran.lines();
    let begun = lines.iter().filter(|it| matches!(it.entry, Entry::LaunchStarted { .. }));
    let mut days: Vec<i64> = begun.map(|it| it.at.as_second() / 86_400).collect();
    days.dedup();
    let first = days[0];
    days.iter().map(|it| it - first).collect()
}

/// Production's container is another one from noon on.
fn redeploys_at_noon(setup: &Setup) {
    let production = setup.production.as_ref().expect("guarded");
    let configuration = Arc::clone(&production.configuration);
    "before".clone_into(&mut configuration.lock().expect("no panic"));
    tokio::spawn(async move {
        sleep(Duration::from_hours(6)).await;
        "after".clone_into(&mut configuration.lock().expect("no panic"));
    });
}

#[tokio::test(start_paused = true)]
async fn what_changed_by_day_ends_the_sweep_before_anything_is_stopped() {
    let mut setup = several_nights();
    setup.machine = Some(set_at_noon(&setup.clock, 300.0));
    let ran = setup.run().await;
    let Err(SweepError::Changed(changed)) = &ran.ending else { panic!("{:?}", ran.ending) };
    assert!(changed.to_string().contains("450 W -> 300 W"), "{changed}");
    assert!(changed.advice().contains("--accept-change"), "{}", changed.advice());
    assert_eq!(days(&ran), [0]);
    assert_eq!(ran.actions.take().iter().filter(|it| *it == "stop production").count(), 1);
    assert!(ran.entries().last().expect("lines").ends_with(crate::history::journal::WINDOW_CLOSED));
}

#[tokio::test(start_paused = true)]
async fn nights_in_which_nothing_changed_are_one_block() {
    let mut setup = several_nights();
    setup.machine = Some(set_at_noon(&setup.clock, 450.0));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert!(days(&ran).starts_with(&[0, 1]), "{:?}", days(&ran));
}

#[tokio::test(start_paused = true)]
async fn a_night_whose_production_is_another_one_is_not_pooled_where_that_is_the_baseline() {
    let mut setup = several_nights();
    setup.machine = Some(set_at_noon(&setup.clock, 450.0));
    setup.manifest.configurations[0].aliases = vec!["production".to_owned()];
    setup.manifest.baseline = Some("c0".to_owned());
    redeploys_at_noon(&setup);
    let ran = setup.run().await;
    let Err(SweepError::Changed(changed)) = &ran.ending else { panic!("{:?}", ran.ending) };
    assert!(changed.to_string().contains("before -> after"), "{changed}");
    assert_eq!(days(&ran), [0]);
}

#[tokio::test(start_paused = true)]
async fn another_production_is_said_where_it_is_not_the_baseline_and_the_first_one_counts() {
    let mut setup = several_nights();
    setup.machine = Some(set_at_noon(&setup.clock, 450.0));
    redeploys_at_noon(&setup);
    let seen = Arc::clone(&setup.seen);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert!(format!("{:?}", seen.lock().expect("no panic")).contains("before -> after"));
    // What a `resume` compares with.
    let first = crate::sweep::resume::noted_production(&ran.lines());
    assert_eq!(first.map(|it| it.sha256).as_deref(), Some("before"));
}

#[tokio::test(start_paused = true)]
async fn production_that_did_not_run_shortens_no_time_kept_for_its_start() {
    let setup = several_nights();
    *setup.production.as_ref().expect("guarded").switch().lock().expect("no panic") = false;
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    for line in ran.lines() {
        let since = (line.at.as_second() - 7 * 3600).rem_euclid(86_400);
        assert!((0..=5 * 60).contains(&since), "of 20 minutes 16 are kept: {line:?}");
    }
}
