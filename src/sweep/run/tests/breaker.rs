//! Failures in a row: where they end a sweep, and where not.

use super::*;

#[tokio::test(start_paused = true)]
async fn three_failures_in_a_row_stop_the_sweep_and_the_journal_says_why() {
    let ran = Setup::new(5, 1).boots(|_, _| Some(FailureClass::Timeout)).run().await;
    let error = ran.ending.as_ref().expect_err("nothing works").to_string();
    assert!(error.starts_with("3 launches in a row failed"), "{error}");
    assert_eq!(ran.record.launches.len(), 3);
    assert_eq!(*ran.entries().last().expect("an end"), format!("session ended: {error}"));
}

#[tokio::test(start_paused = true)]
async fn unknown_failures_of_others_do_not_end_a_sweep_whose_baseline_serves() {
    let fails = |order: &LaunchOrder, _| {
        (order.configuration.name != "c0").then_some(FailureClass::Unknown)
    };
    let ran = Setup::new(6, 1).boots(fails).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert_eq!(ran.record.launches.len(), 6);
    let notices = ran.seen.lock().expect("no panic");
    let said = notices.iter().filter(|event| match event {
        Event::Notice(Notice { kind: NoticeKind::Warning(text), .. }) => {
            text.contains("the sweep continues")
        }
        _ => false,
    });
    assert_eq!(said.count(), 1);
}
