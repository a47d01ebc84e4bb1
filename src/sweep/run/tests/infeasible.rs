//! Promise 5 in the loop: what must fail is not launched again, what may pass is, and a
//! success revokes what was concluded.

use super::*;

fn outcomes(ran: &Ran) -> Vec<String> {
    let word = |(trial, outcome): &(u32, &str)| format!("{trial} {outcome}");
    ran.outcomes().iter().map(word).collect()
}

#[tokio::test(start_paused = true)]
async fn an_infeasible_configuration_is_skipped_from_then_on() {
    let fails = |order: &LaunchOrder, _| {
        (order.configuration.name == "c0").then_some(FailureClass::BadFlag)
    };
    let ran = Setup::new(2, 2).boots(fails).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let boots = ran.actions.take().iter().filter(|it| it.ends_with("c0")).count();
    assert_eq!(boots, 1);
    let ran = ran.again(Setup::new(2, 2).boots(|_, _| None)).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.actions.take(), [""; 0], "nor by a later session");
}

#[tokio::test(start_paused = true)]
async fn out_of_memory_is_believed_when_it_was_seen_twice_and_then_of_what_asks_for_more_too() {
    let ran = Setup::new(3, 2).boots(|_, _| Some(FailureClass::OutOfMemory)).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let boots = ran.actions.take();
    let of = |name: &str| boots.iter().filter(|it| it.ends_with(name)).count();
    assert_eq!(of("c0"), 2, "it asks for the least: only its own launches speak of it");
    assert!(of("c1") + of("c2") <= 3, "{boots:?}");
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_is_a_lottery_is_measured_as_often_as_it_was_planned() {
    // The baseline's second launch runs out of memory, once.
    let fails = |order: &LaunchOrder, _| (order.launch == 2).then_some(FailureClass::OutOfMemory);
    let ran = Setup::new(1, 3).boots(fails).run().await;
    assert_eq!(outcomes(&ran), ["0 measured", "1 failed", "2 measured", "1 measured"]);
}

#[tokio::test(start_paused = true)]
async fn memory_that_was_not_free_takes_no_launch_from_anybody() {
    let fails = |order: &LaunchOrder, _| (order.launch == 2).then_some(FailureClass::MemoryNotFree);
    let ran = Setup::new(2, 2).boots(fails).run().await;
    let words = outcomes(&ran);
    assert_eq!(words.iter().filter(|it| it.ends_with("measured")).count(), 3, "{words:?}");
    assert!(!words.iter().any(|it| it.ends_with("skipped")), "{words:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_skipped_for_a_failure_that_one_which_asks_for_more_contradicts() {
    let setup = Setup::new(2, 1);
    let full = |order: &LaunchOrder, _| {
        (order.configuration.name == "c0").then_some(FailureClass::OutOfMemory)
    };
    let ran = setup.boots(full).run().await;
    let first = outcomes(&ran);
    assert!(first.contains(&"0 failed".to_owned()), "{first:?}");
    assert!(first.contains(&"1 measured".to_owned()), "asks for more and serves: {first:?}");
    assert!(!first.iter().any(|it| it.ends_with("skipped")), "{first:?}");
}
