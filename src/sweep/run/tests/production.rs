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

pub(super) fn owner(state: &crate::ownership::StateFolder, down: bool) -> Owner {
    use crate::ownership::{Holder, Ledger, Uses, debt::ProductionOwed, new_run_id};

    let holder = Holder::this().in_state(state).of_run(&new_run_id(), Path::new("/runs/a"));
    let ledger = Arc::new(Ledger::of_run(state, "a", &holder, &Uses::Cpu));
    let owed = ProductionOwed { id: "p".to_owned(), ..ProductionOwed::default() };
    Owner { ledger, production: None, down: down.then_some(owed) }
}

#[tokio::test(start_paused = true)]
async fn production_whose_debt_cannot_be_noted_is_not_stopped() {
    let place = tempfile::tempdir().expect("a folder");
    let state = crate::ownership::StateFolder::at(place.path()).expect("a state folder");
    std::fs::remove_dir_all(place.path().join("debts")).expect("removed");
    let setup = Setup { owner: Some(owner(&state, false)), ..Setup::new(1, 1).guarded() };
    let ran = setup.run().await;
    assert!(matches!(ran.ending, Err(SweepError::Ownership(_))), "{:?}", ran.ending);
    assert_eq!(ran.actions.take(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn production_that_is_not_stopped_is_not_owed() {
    let place = tempfile::tempdir().expect("a folder");
    let state = crate::ownership::StateFolder::at(place.path()).expect("a state folder");
    // The debt can be noted; that it is stopped cannot be journalled.
    let setup = Setup { owner: Some(owner(&state, false)), disk: Some(1), ..Setup::new(1, 1) };
    let ran = setup.guarded().run().await;
    assert!(ran.ending.is_err());
    assert_eq!(ran.actions.take(), Vec::<String>::new());
    assert_eq!(crate::ownership::debt::all(&state).0, []);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_session_owes_and_no_journal_tells_is_restored() {
    let place = tempfile::tempdir().expect("a folder");
    let state = crate::ownership::StateFolder::at(place.path()).expect("a state folder");
    let setup = Setup { owner: Some(owner(&state, true)), ..Setup::new(1, 1).guarded() };
    *setup.production.as_ref().expect("guarded").switch().lock().expect("no panic") = false;
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let done = ran.actions.take();
    assert_eq!(done[done.len() - 2..], ["start production", "prove production"], "{done:?}");
    assert_eq!(crate::ownership::debt::all(&state).0, []);
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
        entries[entries.len() - 7..entries.len() - 1],
        [
            "repeat 1.0 ok",
            "production started_by_somebody",
            "repeat 1.1 void",
            "end 1 interrupted",
            "production started_not_proven",
            "production proven",
        ]
    );
    let done = ran.actions.take();
    assert_eq!(done[done.len() - 2..], ["stop 1", "prove production"], "it is not touched");
}

/// Its debt is paid by a proof, which comes when no candidate has the GPU any more.
#[tokio::test(start_paused = true)]
async fn production_that_somebody_starts_and_that_ends_beside_a_candidate_is_started_again() {
    // While a candidate boots, and while it is measured; ended before it is looked at, and after.
    for (at, after) in [(7.0, 1.0), (11.0, 1.0), (11.0, 4.5), (7.0, 5.0)] {
        let place = tempfile::tempdir().expect("a folder");
        let state = crate::ownership::StateFolder::at(place.path()).expect("a state folder");
        let setup = Setup { owner: Some(owner(&state, false)), ..Setup::new(2, 1).guarded() };
        let production = setup.production.as_ref().expect("guarded");
        production.comes_and_goes(at, Some(after));
        let running = production.switch();
        let ran = setup.run().await;
        assert!(matches!(ran.ending, Err(SweepError::Stopped { environment: true, .. })));
        let done = ran.actions.take();
        let last = ["stop 1", "start production", "prove production"];
        assert_eq!(done[done.len() - 3..], last, "{at} {after}: {done:?}");
        assert!(*running.lock().expect("no panic"), "{at} {after}");
        assert_eq!(crate::ownership::debt::all(&state).0, [], "{at} {after}");
        let kept = |entry: &String| entry.starts_with("repeat") && !entry.ends_with("void");
        assert_eq!(ran.entries().iter().filter(|it| kept(it)).count(), 0, "{at} {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_fails_beside_production_is_not_the_configurations_failure() {
    for (places, after) in [(1, None), (1, Some(2.0)), (2, None)] {
        let fails =
            |order: &LaunchOrder, _| (order.launch == 1).then_some(FailureClass::KvCacheTooSmall);
        let setup = Setup::new(2, 1).guarded().places(places).boots(fails);
        setup.production.as_ref().expect("guarded").comes_and_goes(7.0, after);
        let ran = setup.run().await;
        assert!(ran.ending.is_err(), "{places} {after:?}");
        let outcomes = ran.outcomes();
        assert!(outcomes.iter().all(|(_, it)| *it == "interrupted"), "{outcomes:?}");
        let again = ran.again(Setup::new(2, 1).guarded()).run().await;
        assert_eq!(again.ending(), Ending::Complete);
        let measured = again.outcomes().into_iter().filter(|(_, it)| *it == "measured");
        assert_eq!(measured.map(|(trial, _)| trial).collect::<Vec<_>>(), [0, 1]);
    }
    // Where nobody started it, it is.
    let fails =
        |order: &LaunchOrder, _| (order.launch == 1).then_some(FailureClass::KvCacheTooSmall);
    let ran = Setup::new(2, 1).guarded().boots(fails).run().await;
    assert_eq!(ran.outcomes(), [(0, "failed"), (1, "measured")]);
}

/// Finishes so often before it launches anything.
struct Late(Mutex<u32>);

impl Strategy for Late {
    fn next(&self, situation: Situation<'_>) -> Action {
        let mut left = self.0.lock().expect("no panic");
        let why = Finished::AllLaunched;
        if !situation.observations.is_empty() {
            return Action::Finish { why };
        }
        match left.checked_sub(1) {
            Some(fewer) => {
                *left = fewer;
                Action::Finish { why }
            }
            None => Action::Launch {
                trial: 0,
                configuration: 0,
                purpose: crate::strategy::Purpose::Final,
                repeats: 1,
            },
        }
    }

    fn trials(&self) -> u32 {
        1
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_launched_after_all_is_launched_with_production_stopped_or_not_at_all() {
    let late = |times| Setup {
        strategy: Some(Box::new(Late(Mutex::new(times)))),
        ..Setup::new(1, 1).guarded()
    };
    let ran = late(1).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.actions.take()[..2], ["stop production", "boot 1 c0"]);
    let ran = late(2).run().await;
    let error = ran.ending.expect_err("nothing is launched").to_string();
    assert!(error.contains("production is not stopped"), "{error}");
    assert_eq!(ran.actions.take(), Vec::<String>::new());
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

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_check_of_production_restores_it_before_it_continues() {
    for looks in 1..4 {
        let setup = Setup::new(1, 1).guarded();
        setup.production.as_ref().expect("guarded").panic_after(looks);
        let actions = setup.actions.clone();
        let panicked = tokio::spawn(async move { drop(setup.run().await) }).await;
        assert!(panicked.expect_err("the panic continues").is_panic());
        let done = actions.take();
        let last = &done[done.len() - 2..];
        assert_eq!(last, ["start production", "prove production"], "{looks}: {done:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_launches_nothing_leaves_production_alone_and_restores_what_is_owed() {
    let first = Setup::new(1, 1).guarded().run().await;
    assert_eq!(first.ending(), Ending::Complete);
    let second = first.again(Setup::new(1, 1).guarded()).run().await;
    assert_eq!(second.ending(), Ending::Complete);
    assert_eq!(second.actions.take(), Vec::<String>::new(), "it serves on");
    let place = tempfile::tempdir().expect("a folder");
    let state = crate::ownership::StateFolder::at(place.path()).expect("a state folder");
    let setup = Setup { owner: Some(owner(&state, true)), ..Setup::new(1, 1).guarded() };
    *setup.production.as_ref().expect("guarded").switch().lock().expect("no panic") = false;
    let third = second.again(setup).run().await;
    assert_eq!(third.ending(), Ending::Complete);
    assert_eq!(third.actions.take(), ["start production", "prove production"]);
}

#[tokio::test(start_paused = true)]
async fn production_that_stays_down_before_a_wait_or_without_a_launch_names_what_recovers_it() {
    let place = tempfile::tempdir().expect("a folder");
    let state = crate::ownership::StateFolder::at(place.path()).expect("a state folder");
    let window = crate::grid::Window::read("07:00-07:20").expect("a window");
    for window in [Some(window), None] {
        let first = Setup::new(1, 1).guarded().run().await;
        let setup =
            Setup { owner: Some(owner(&state, true)), window, ..Setup::new(1, 1).guarded() };
        let production = setup.production.as_ref().expect("guarded");
        *production.switch().lock().expect("no panic") = false;
        production.breaks();
        let ran = first.again(setup).run().await;
        let Err(SweepError::ProductionDown(said)) = &ran.ending else { panic!("{:?}", ran.ending) };
        let recover = format!("`vllm-grid recover {}", ran.folder.path().display());
        assert!(said.contains("PRODUCTION IS DOWN") && said.contains(&recover), "{said}");
    }
}
