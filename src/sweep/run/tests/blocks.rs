//! Blocks: what was launched before an accepted change is seen by nothing that counts.

use super::super::super::difference::{Weight, seen_engine_version};
use super::*;
use crate::history::extent::{Extent, State};
use crate::strategy::confirm::candidate_first;

/// The block that a session would begin which found these differences.
pub(super) fn block_of(sweep: &Sweep, differences: Vec<String>) -> Block {
    let record = sweep.record();
    Block {
        number: record.block() + 1,
        first_trial: record.next_first_trial(),
        differences,
        tool_version: "0.2.0".to_owned(),
        suite_version: 2,
        host: "there".to_owned(),
        machine: None,
        image_id: Some("sha256:b".to_owned()),
        image: None,
        ids: Vec::new(),
        production_sha256: None,
        production_parts: std::collections::BTreeMap::default(),
        service_parts: None,
        datasets: Vec::new(),
    }
}

/// A session that accepts a change.
fn accepting(configurations: usize) -> Setup {
    Setup { accepted: vec!["driver: 550 -> 560".to_owned()], ..Setup::new(configurations, 1) }
}

fn trials(launches: &[LaunchRecord]) -> Vec<(u32, u32)> {
    launches.iter().map(|it| (it.launch, it.trial)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_accepted_change_measures_everything_again_under_new_numbers() {
    let first = Setup::new(2, 1).repeats(|_, _| Repeated::Value(1000.0)).run().await;
    assert_eq!(first.ending(), Ending::Complete);
    first.actions.take();
    let second = first.again(accepting(2)).run().await;
    assert_eq!(second.ending(), Ending::Complete);
    let boots: Vec<String> =
        second.actions.take().into_iter().filter(|it| it.starts_with("boot")).collect();
    assert_eq!(boots, ["boot 3 c0", "boot 4 c1"], "the same order, other numbers");
    assert_eq!(trials(&second.record.launches), [(3, 2), (4, 3)]);
    assert_eq!(trials(&second.record.earlier[0].launches), [(1, 0), (2, 1)]);
    let entries = second.entries();
    let begins = entries.iter().rposition(|it| it == "session").expect("a session");
    assert_eq!(entries[begins + 1], "block 2");
    // What is in the files is what the loop had.
    let folder = Folder::existing(&second.folder.path().join("run")).expect("a sweep");
    let read = folder.record().expect("a record");
    assert_eq!(read.launches, second.record.launches);
    assert_eq!((read.block(), read.manifest.suite_version), (2, Some(2)));
    assert_eq!(
        (read.manifest.host.as_str(), read.manifest.image_id.as_deref()),
        ("there", Some("sha256:b"))
    );

    let third = second.again(accepting(2)).run().await;
    assert_eq!(trials(&third.record.launches), [(5, 4), (6, 5)], "and once more");
    let earlier = &third.record.earlier;
    assert_eq!((earlier.len(), earlier[1].number, earlier[1].launches.len()), (2, 2, 2));
    let done = third.again(Setup::new(2, 1)).run().await;
    assert_eq!(done.record.launches.len(), 2, "nothing is left to do in block 3");
    let all: Vec<u32> = done.record.all_launches().map(|(block, _)| block).collect();
    assert_eq!(all, [1, 1, 2, 2, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_was_interrupted_is_not_finished_in_another_block() {
    let setup = Setup::new(2, 1);
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + 2 * REPEAT + 1)).await;
        cancel.cancel();
    });
    let first = setup.run().await;
    assert_eq!(first.ending(), Ending::Interrupted);
    assert_eq!(first.record.launches[0].measurements.len(), 2, "a warm-up and one of two");
    first.actions.take();
    let second = first.again(accepting(2)).run().await;
    let repeats: Vec<String> =
        second.actions.take().into_iter().filter(|it| it.starts_with("repeat 2")).collect();
    assert_eq!(repeats, ["repeat 2.0", "repeat 2.1", "repeat 2.2"], "all of its own");
    assert_eq!(second.record.launches.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_failed_for_good_in_one_block_is_tried_in_the_next() {
    let fails =
        |order: &LaunchOrder, _| (order.launch == 2).then_some(FailureClass::KvCacheTooSmall);
    let first = Setup::new(2, 1).boots(fails).run().await;
    assert_eq!(first.outcomes(), [(0, "measured"), (1, "failed")]);
    let same = first.again(Setup::new(2, 1)).run().await;
    assert_eq!(same.record.launches.len(), 2, "never twice in one block");
    let second = same.again(accepting(2)).run().await;
    assert_eq!(second.outcomes(), [(2, "measured"), (3, "measured")]);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_was_begun_is_continued_and_is_how_far_the_sweep_is() {
    let first = Setup::new(2, 1).run().await;
    let setup = accepting(2);
    let cancel = setup.cancel.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + 3 * REPEAT + STOP + 1)).await;
        cancel.cancel();
    });
    let second = first.again(setup).run().await;
    assert_eq!(second.ending(), Ending::Interrupted);
    let extent = Extent::of(&second.record, &second.lines(), &jiff::ZonedDateTime::now(), || false);
    assert_eq!((extent.done, extent.of, extent.state), (1, 2, State::Interrupted));
    let third = second.again(Setup::new(2, 1)).run().await;
    assert_eq!(third.ending(), Ending::Complete);
    assert_eq!(third.record.earlier.len(), 1);
    let measured = third.record.launches.iter().flat_map(|it| &it.measurements);
    assert_eq!(measured.filter(|it| it.repeat > 0).count(), 4);
    let extent = Extent::of(&third.record, &third.lines(), &jiff::ZonedDateTime::now(), || false);
    assert_eq!((extent.done, extent.state), (2, State::Complete));
}

#[tokio::test(start_paused = true)]
async fn what_earlier_blocks_took_is_spent_of_the_budget() {
    let mut setup = Setup::new(2, 1);
    setup.manifest.budget_seconds = Some(2 * (BOOT + 3 * REPEAT + STOP));
    let first = setup.run().await;
    assert_eq!(first.record.launches.len(), 2);
    let second = first.again(accepting(2)).run().await;
    assert_eq!((second.ending(), second.record.launches.len()), (Ending::BudgetSpent, 0));
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_of_an_earlier_block_is_not_continued_but_made_anew() {
    let asked = |number: u32| crate::history::confirmation::Confirmation {
        number,
        candidate: "c1".to_owned(),
        baseline: "c0".to_owned(),
        claim: 0.1,
        seed: 7,
        repeats: 1,
        budget_seconds: None,
        of_grid: false,
    };
    let first = Setup::new(2, 1).run().await;
    let confirming = |number, setup: Setup| Setup {
        confirm: Some(asked(number)),
        ..setup.repeats(|launch, _| Repeated::Value(100.0 + f64::from(launch % 5)))
    };
    let second = first.again(confirming(1, Setup::new(2, 1))).run().await;
    assert_eq!(second.record.next_confirmation(), 2);
    let third = second.again(confirming(2, accepting(2))).run().await;
    assert_eq!(third.ending(), Ending::Complete);
    let confirmations = &third.record.confirmations;
    assert_eq!((confirmations.len(), confirmations[0].asked.number), (1, 2));
    let one = third.record.launches.first().expect("fresh launches");
    assert_eq!((one.trial, one.confirmation), (2_000_000, Some(2)));
    let pair = if candidate_first(7) { "c1" } else { "c0" };
    assert_eq!(one.configuration, pair, "the first of a pair");
    assert_eq!(third.record.next_confirmation(), 3);
    assert_eq!(third.record.next_first_trial(), 2, "trials of the sweep itself");
    // One of the block before cannot go on: the journal refuses it.
    let fourth = third.again(confirming(1, Setup::new(2, 1))).run().await;
    assert!(fourth.ending.is_err());
}

#[tokio::test(start_paused = true)]
async fn launches_of_two_versions_of_the_engine_are_not_pooled() {
    let setup = |version: &str| {
        let mut setup = Setup::new(2, 1);
        setup.engine.version = Some(version.to_owned());
        setup
    };
    let first = setup("0.10");
    let cancel = first.cancel.clone();
    tokio::spawn(async move {
        // In the second launch's boot.
        sleep(Duration::from_secs(LAUNCH + 1)).await;
        cancel.cancel();
    });
    let ran = first.run().await;
    assert_eq!(ran.outcomes(), [(0, "measured"), (1, "interrupted")]);
    let ran = ran.again(setup("0.11")).run().await;
    let error = ran.ending.as_ref().expect_err("they would be pooled");
    assert!(matches!(error, SweepError::Changed(_)), "{error:?}");
    assert!(error.to_string().contains("version of the engine: 0.10 -> 0.11"), "{error}");
    assert_eq!(ran.outcomes()[2..], [(1, "interrupted")]);
    assert!(ran.record.launches[2].measurements.is_empty(), "nothing was measured with it");
    // A person who accepts changes accepts it.
    let found = seen_engine_version(&ran.record).map(|it| (it.weight(), it.to_string()));
    let sentence = "version of the engine: 0.10 -> 0.11".to_owned();
    assert_eq!(found, Some((Weight::NewBlock, sentence)));
    // With the old one it goes on as if nothing had been.
    let ran = ran.again(setup("0.10")).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.outcomes()[3..], [(1, "measured")]);
    assert_eq!(seen_engine_version(&ran.record), None);
}
