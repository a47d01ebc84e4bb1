//! Confirmations in the folder of a sweep.

use super::*;
use crate::history::confirmation::Confirmation;
use crate::ownership::debt::{self, ProductionOwed};
use crate::ownership::{Owed, StateFolder};
use crate::strategy::confirm::{Ended, candidate_first};

/// Seconds of one launch of one warm-up and one kept repeat.
const SHORT: u64 = BOOT + 2 * REPEAT + STOP;

fn asked(number: u32, candidate: &str) -> Confirmation {
    Confirmation {
        number,
        candidate: candidate.to_owned(),
        baseline: "c0".to_owned(),
        claim: 0.1,
        seed: 7,
        repeats: 1,
        budget_seconds: None,
        of_grid: false,
    }
}

/// Three configurations, launched once each, and then a confirmation.
fn confirming(asked: Confirmation) -> Setup {
    let mut setup = Setup::new(3, 1);
    setup.confirm = Some(asked);
    setup.repeats(|launch, _| Repeated::Value(100.0 + f64::from(launch % 5)))
}

async fn swept() -> Ran {
    let ran = Setup::new(3, 1).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    ran.actions.take();
    ran
}

fn names(ran: &Ran) -> Vec<&str> {
    ran.record
        .launches
        .iter()
        .filter(|launch| launch.confirmation.is_some())
        .map(|launch| launch.configuration.as_str())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn both_are_launched_in_turn_in_the_same_journal_until_enough_is_known() {
    let ran = swept().await.again(confirming(asked(1, "c2"))).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let pair = if candidate_first(7) { ["c2", "c0"] } else { ["c0", "c2"] };
    assert_eq!(names(&ran), pair.repeat(6), "six pairs of values that differ by 4 %");
    let launches = &ran.record.launches[3..];
    let numbers: Vec<u32> = launches.iter().map(|it| it.launch).collect();
    assert_eq!(numbers, (4..16).collect::<Vec<_>>(), "launch numbers go on");
    let first = &launches[0];
    assert_eq!((first.trial, first.purpose), (1_000_000, crate::strategy::Purpose::Confirm));
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Precise));
    let entries = ran.entries();
    let session = entries.iter().rposition(|it| it == "session").expect("a session");
    assert_eq!(entries[session + 1], "confirm 1: c2 against c0");
    assert_eq!(
        entries[entries.len() - 2..],
        ["confirmed 1: Precise", "session ended: confirmation: the interval is narrow enough"]
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_was_stopped_goes_on_where_it_was_and_the_sweep_does_not_touch_it() {
    let ran = swept().await;
    let setup = confirming(asked(1, "c2"));
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(2 * SHORT + BOOT + REPEAT + 1)).await;
        cancel.cancel();
    });
    let ran = ran.again(setup).run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    let left = ran.record.unfinished_confirmation().expect("unfinished");
    assert_eq!((left.asked.number, left.ended), (1, None));
    ran.actions.take();

    let ran = ran.again(Setup::new(3, 1)).run().await;
    assert_eq!((ran.ending(), ran.actions.take()), (Ending::Complete, Vec::new()));

    let ran = ran.again(confirming(asked(1, "c2"))).run().await;
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Precise));
    let of =
        |trial: u32| ran.record.launches.iter().filter(move |it| it.trial == 1_000_000 + trial);
    assert_eq!(of(2).count(), 2, "the interrupted one again");
    assert!((0..12).filter(|trial| *trial != 2).all(|trial| of(trial).count() == 1));
    let measured = ran.record.launches.iter().flat_map(|it| &it.measurements);
    assert_eq!(measured.filter(|it| it.repeat > 0).count(), 3 * 2 + 12, "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn one_that_guards_production_owes_it_only_while_it_is_stopped() {
    use crate::ownership::{Holder, Ledger, StateFolder, Uses, debt, new_run_id};

    let place = tempfile::tempdir().expect("a folder");
    let state = StateFolder::at(place.path()).expect("a state folder");
    let owner = || {
        let holder = Holder::this().in_state(&state).of_run(&new_run_id(), Path::new("/runs/a"));
        let ledger = Arc::new(Ledger::of_run(&state, "a", &holder, &Uses::Cpu));
        Owner { ledger, production: None, down: None }
    };
    let guarded = || Setup { owner: Some(owner()), ..confirming(asked(1, "c2")).guarded() };
    let owed = || debt::all(&state).0.len();
    let ran = swept().await;
    let setup = guarded();
    let (actions, cancel) = (setup.actions.clone(), setup.cancel.clone());
    let path = place.path().to_owned();
    let seen = tokio::spawn(async move {
        sleep(Duration::from_secs(2 * SHORT + BOOT + REPEAT + 1)).await;
        let state = StateFolder::at(&path).expect("a state folder");
        let owed = debt::all(&state).0.len();
        cancel.cancel();
        owed
    });
    let ran = ran.again(setup).run().await;
    assert_eq!((ran.ending(), seen.await.expect("no panic")), (Ending::Interrupted, 1));
    assert_eq!(owed(), 0, "it is proven");
    let done = actions.take();
    assert_eq!(done[0], "stop production");
    assert_eq!(done[done.len() - 2..], ["start production", "prove production"], "{done:?}");

    let setup = guarded();
    let actions = setup.actions.clone();
    let ran = ran.again(setup).run().await;
    assert_eq!((ran.ending(), owed()), (Ending::Complete, 0));
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Precise));
    let done = actions.take();
    let of_production = done.iter().filter(|it| it.ends_with("production"));
    let of_production: Vec<&String> = of_production.collect();
    assert_eq!(of_production, ["stop production", "start production", "prove production"]);
    let measured = ran.record.launches.iter().flat_map(|it| &it.measurements);
    assert_eq!(measured.filter(|it| it.repeat > 0).count(), 3 * 2 + 12, "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn a_wider_claim_that_is_reached_is_journalled_without_a_launch() {
    let ran = swept().await;
    let setup = confirming(Confirmation { claim: 0.001, ..asked(1, "c2") });
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(12 * SHORT + BOOT + REPEAT + 1)).await;
        cancel.cancel();
    });
    let ran = ran.again(setup).run().await;
    assert_eq!((ran.ending(), names(&ran).len()), (Ending::Interrupted, 13));
    ran.actions.take();

    let ran = ran.again(confirming(asked(1, "c2")).guarded()).run().await;
    assert_eq!((ran.ending(), ran.actions.take()), (Ending::Complete, Vec::new()));
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Precise));
    assert_eq!(names(&ran).len(), 13, "nothing was launched");
    assert!(ran.record.unfinished_confirmation().is_none());

    // What a killed session left stopped is started all the same.
    let (mut journal, lines) =
        Journal::open(&ran.folder.path().join("run/journal.jsonl")).expect("a journal");
    let at = lines.last().expect("lines").at;
    let stopped = ProductionStep::Stopped { id: "p".to_owned() };
    journal.append(at, Entry::Production { production: stopped }).expect("written");
    drop(journal);
    let ran = ran.again(confirming(asked(1, "c2")).guarded()).run().await;
    let steps = replay::production_steps(&ran.lines());
    assert_eq!(pending_restore(&steps), PendingRestore::Nothing, "{steps:?}");
    assert_eq!(names(&ran).len(), 13, "nothing was launched");

    // So is the debt of one that ended between production's proof and the note's removal.
    let place = tempfile::tempdir().expect("a folder");
    let state = StateFolder::at(place.path()).expect("a state folder");
    let owner = super::production::owner(&state, false);
    let owed = ProductionOwed { id: "p".to_owned(), ..ProductionOwed::default() };
    owner.ledger.owe(Owed::Production(owed)).expect("noted");
    let setup = Setup { owner: Some(owner), ..confirming(asked(1, "c2")).guarded() };
    let ran = ran.again(setup).run().await;
    assert_eq!((ran.ending(), debt::all(&state).0), (Ending::Complete, Vec::new()));
    assert_eq!(names(&ran).len(), 13, "nothing was launched");
}

#[tokio::test(start_paused = true)]
async fn its_budget_is_its_own() {
    let ran = swept().await;
    let budget_seconds = Some(3 * SHORT - 1);
    let ran = ran.again(confirming(Confirmation { budget_seconds, ..asked(1, "c2") })).run().await;
    assert_eq!(ran.ending(), Ending::BudgetSpent);
    assert_eq!(names(&ran).len(), 3, "the third one began in time");
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Budget));
    assert_eq!(ran.record.confirmations[0].budget_left(), Some(0));
    assert!(ran.record.unfinished_confirmation().is_none());

    let spent = scope::spent(&ran.lines());
    assert_eq!(spent.sweep.as_secs(), 3 * LAUNCH, "the sweep's is not touched");
}

#[tokio::test(start_paused = true)]
async fn two_confirmations_are_kept_apart() {
    let ran = swept().await.again(confirming(asked(1, "c2"))).run().await;
    let ran = ran.again(confirming(asked(2, "c1"))).run().await;
    let of = |number| {
        let all = ran.record.launches.iter().filter(move |it| it.confirmation == Some(number));
        all.map(|it| (it.configuration.as_str(), it.trial)).collect::<Vec<_>>()
    };
    assert_eq!((of(1).len(), of(2).len()), (12, 12));
    assert!(of(2).iter().all(|(name, trial)| *name != "c2" && *trial >= 2_000_000));
    let ended: Vec<_> = ran.record.confirmations.iter().map(|it| it.ended).collect();
    assert_eq!(ended, [Some(Ended::Precise); 2]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_again_and_again_ends_it_with_the_reason() {
    let ran = swept().await;
    let fails = |order: &LaunchOrder, _| {
        (order.configuration.name == "c2" && order.launch > 6).then_some(FailureClass::Timeout)
    };
    let ran = ran.again(confirming(asked(1, "c2")).boots(fails)).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.record.confirmations[0].ended, Some(Ended::Failing));
    let failed = ran.outcomes().iter().filter(|(_, outcome)| *outcome == "failed").count();
    assert_eq!(failed, 3);
    assert_eq!(
        ran.entries().last().expect("an end"),
        "session ended: confirmation: a configuration gives no values any more"
    );
}

#[test]
fn a_confirmation_of_what_is_not_there_is_none() {
    assert_eq!(asked(1, "c9").strategy(&["c0", "c1"], 1.0), None);
}
