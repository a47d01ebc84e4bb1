//! A cluster that does not answer, or hangs, while jobs run.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_cluster_that_hangs_delays_neither_what_nodes_write_nor_a_stop() {
    let (setup, slurm) = sweep(&["n1"], 1);
    let cancel = setup.cancel.clone();
    after(BOOT, &slurm, |it| it.is_slow("squeue"));
    let stop = tokio::spawn(async move {
        sleep(Duration::from_secs(BOOT + 2 * REPEAT)).await;
        cancel.cancel();
        Instant::now()
    });
    let ran = setup.run().await;
    let ended = Instant::now();
    let asked = stop.await.expect("it stopped");
    assert_eq!(ran.ending(), Ending::Interrupted);
    let took = ended.duration_since(asked);
    assert!(took < Duration::from_secs(15), "{took:?}");
    // What the node wrote until then is there, and it was asked to end.
    let kept = ran.record.launches[0].measurements.iter().filter(|it| it.repeat > 0).count();
    assert_eq!(kept, 1);
    assert_eq!(slurm.ran("scancel --batch").len(), 1);
}

/// One preemption, after which the controller of Slurm is down for so many questions.
async fn preempted_then_down(questions: usize) -> (Ran, FakeSlurm) {
    let (setup, slurm) = sweep(&["n1", "n2"], 1);
    after(BOOT + REPEAT + 4, &slurm, move |it| {
        it.ends("n1", "PREEMPTED", 5);
        for _ in 0..questions {
            it.answers("squeue", FakeSlurm::refusal("Unable to contact slurm controller"));
        }
    });
    (setup.run().await, slurm)
}

#[tokio::test(start_paused = true)]
async fn a_preemption_during_an_outage_of_minutes_is_one_all_the_same() {
    let (ran, _) = preempted_then_down(60).await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::Preempted]);
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_was_asked_to_end_and_nobody_knows_why_is_lost_for_an_unknown_reason() {
    let (ran, _) = preempted_then_down(140).await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::Unknown]);
    let Some(LaunchOutcome::Lost { message, .. }) = &ran.record.launches[0].outcome else {
        panic!("{:?}", ran.record.launches[0].outcome)
    };
    assert_eq!(message, "the cluster ended it, and why is not known (job 1 on n1)");
}
