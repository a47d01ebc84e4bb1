//! Submissions that are refused, late or without an answer.

use super::*;
use crate::history::journal;

pub(super) fn warning(event: &Event) -> Option<String> {
    match event {
        Event::Notice(Notice { kind: NoticeKind::Warning(text), .. }) => Some(text.clone()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_named_and_a_stop_does_not_wait_for_a_submission() {
    let (setup, slurm) = sweep(&["n1"], 1);
    let full = FakeSlurm::refusal("Slurm temporarily unable to accept job, sleeping and retrying");
    slurm.answers("sbatch", full);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let warned: Vec<String> =
        ran.seen.lock().expect("no panic").iter().filter_map(warning).collect();
    assert!(
        warned.iter().any(|it| it.contains("launch 1 is not submitted: the queue is full")),
        "{warned:?}"
    );

    let (setup, slurm) = sweep(&["n1"], 1);
    slurm.is_slow("sbatch");
    let cancel = setup.cancel.clone();
    let begun = tokio::time::Instant::now();
    after(10, &slurm, move |_| cancel.cancel());
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_is_waited_for_and_a_refusal_ends_the_sweep() {
    let (setup, slurm) = sweep(&["n1"], 1);
    slurm.answers("sbatch", FakeSlurm::refusal("Resource temporarily unavailable"));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let (setup, slurm) = sweep(&["n1", "n2"], 2);
    for _ in 0..2 {
        slurm.answers("sbatch", FakeSlurm::refusal("Invalid partition name specified"));
    }
    let ran = setup.run().await;
    let Err(error @ SweepError::Refused(message)) = &ran.ending else { panic!("{:?}", ran.ending) };
    assert!(message.contains("Invalid partition name specified"), "{message}");
    assert!(journal::is_refused(&error.to_string()));
    assert_eq!(ran.outcomes(), [(0, "interrupted"), (1, "interrupted")], "each has its end");
}

#[tokio::test(start_paused = true)]
async fn a_submission_without_an_answer_that_was_accepted_is_found_and_not_repeated() {
    let (setup, slurm) = sweep(&["n1"], 1);
    slurm.loses_answer();
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!((slurm.living(), slurm.ran("sbatch").len()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_submission_without_an_answer_is_not_repeated_until_the_cluster_says_what_it_has() {
    let (setup, slurm) = sweep(&["n1"], 1);
    slurm.loses_answer();
    for _ in 0..3 {
        slurm.answers("squeue", FakeSlurm::refusal("Unable to contact slurm controller"));
    }
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!((slurm.living(), slurm.ran("sbatch").len()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_before_the_cluster_says_what_it_has_cancels_it_all_the_same() {
    let (setup, slurm) = sweep(&["n1"], 1);
    slurm.loses_answer();
    // One search, and one of those at the end.
    for _ in 0..2 {
        slurm.answers("squeue", FakeSlurm::refusal("Unable to contact slurm controller"));
    }
    let cancel = setup.cancel.clone();
    after(3, &slurm, move |_| cancel.cancel());
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    sleep(Duration::from_secs(10)).await;
    assert_eq!((slurm.living(), slurm.ran("sbatch").len()), (0, 1));
    assert_eq!(slurm.ran("scancel"), ["scancel 1"]);
}
