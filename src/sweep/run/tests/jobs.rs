//! Launches as jobs of a cluster, in virtual time: what a cluster does to a job, and what the
//! journal says of it. The real Slurm has tests of its own.

use std::collections::BTreeSet;

use tokio::task::JoinHandle;

use super::*;
use crate::grid::{Sharing, SlurmBlock};
use crate::history::loss::Loss;
use crate::machine::Machine;
use crate::sweep::hosts::slurm::cluster::{Cluster, Setting};
use crate::sweep::hosts::slurm::fake::FakeSlurm;

mod nodes;
mod silent;
mod submissions;

/// A set-up and the cluster that its launches run on.
fn on(nodes: &[&str], setup: Setup) -> (Setup, FakeSlurm) {
    let Setup { engine, measure, .. } = setup;
    let slurm = FakeSlurm::new(nodes, Arc::new(engine), Arc::new(measure));
    let rest = Setup {
        engine: FakeEngine::new(&setup.actions),
        measure: FakeMeasure::new(&setup.actions),
        ..setup
    };
    (rest, slurm)
}

/// Launches on a cluster, at most so many at once, as far as the folder's journal tells of them.
fn with(mut setup: Setup, slurm: &FakeSlurm, at_once: u32) -> Setup {
    let run = setup.folder.path().join("run");
    let block = SlurmBlock {
        partition: None,
        gres: None,
        at_once,
        seconds: None,
        exclusive: true,
        options: Vec::new(),
    };
    setup.manifest.hosts = Some(block.clone());
    let sizes = crate::strategy::Task::sized(&setup.manifest.configurations, None);
    let setting = Setting {
        block,
        seconds: 600,
        run_id: "0123".to_owned(),
        run: run.clone(),
        program: "/opt/vllm-grid".into(),
        secrets: Secrets::default(),
        sharing: Sharing::of(&setup.manifest.strategy, &sizes, at_once),
    };
    let record = Folder::existing(&run).ok().and_then(|it| it.record().ok());
    let cluster = Cluster::new(setting, Arc::new(slurm.clone()), record.as_ref());
    setup.elsewhere = Some(Arc::new(cluster));
    setup
}

/// Two configurations with two launches of two kept repeats, on so many nodes.
fn sweep(nodes: &[&str], at_once: u32) -> (Setup, FakeSlurm) {
    let (setup, slurm) = on(nodes, Setup::new(2, 2));
    (with(setup, &slurm, at_once), slurm)
}

/// After so many seconds of the sweep.
fn after(seconds: u64, slurm: &FakeSlurm, what: impl FnOnce(&FakeSlurm) + Send + 'static) {
    let slurm = slurm.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(seconds)).await;
        what(&slurm);
    });
}

/// Each kept repeat of each trial, once.
fn measured_once(ran: &Ran, trials: u32) {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for launch in &ran.record.launches {
        let kept = launch.measurements.iter().filter(|it| it.repeat > 0);
        all.extend(kept.map(|it| (launch.trial, it.repeat)));
    }
    all.sort_unstable();
    let expected: Vec<(u32, u32)> = (0..trials).flat_map(|it| [(it, 1), (it, 2)]).collect();
    assert_eq!(all, expected, "{:#?}", ran.entries());
}

fn hosts(ran: &Ran) -> Vec<(String, String)> {
    let of = |it: &crate::history::record::LaunchRecord| {
        (it.configuration.clone(), it.host.clone().unwrap_or_default())
    };
    ran.record.launches.iter().map(of).collect()
}

/// Whichever began first says what machines are: all that was measured is of that node.
fn one_node(ran: &Ran) {
    let measured = ran.record.launches.iter().filter(|it| !it.measurements.is_empty());
    let hosts: BTreeSet<_> = measured.map(|it| it.host.clone()).collect();
    assert_eq!(hosts.len(), 1, "{:#?}", ran.entries());
}

fn losses(ran: &Ran) -> Vec<Loss> {
    let of = |it: &crate::history::record::LaunchRecord| match &it.outcome {
        Some(LaunchOutcome::Lost { loss, .. }) => Some(*loss),
        _ => None,
    };
    ran.record.launches.iter().filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn each_launch_is_a_job_whose_id_is_journalled_before_it_may_start() {
    let (setup, slurm) = sweep(&["n1", "n2"], 2);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    let entries = ran.entries();
    let at = |what: &str| entries.iter().position(|it| it == what).expect(what);
    assert!(at("start 1 trial 0 c0 (3)") < at("job 1 1"), "{entries:#?}");
    assert!(at("job 1 1") < at("placed 1 n1") && at("placed 1 n1") < at("ready 1"));
    assert!(at("placed 2 n2") < at("end 1 measured"), "both run at once");
    assert_eq!(slurm.ran("sbatch").len(), 4);
    assert_eq!(slurm.living(), 0);
    // Each configuration had both nodes.
    let mut had = hosts(&ran);
    had.sort();
    let pairs = [("c0", "n1"), ("c0", "n2"), ("c1", "n1"), ("c1", "n2")];
    assert_eq!(had, pairs.map(|(a, b)| (a.to_owned(), b.to_owned())));
    // The journal says the same again.
    let folder = Folder::existing(&ran.folder.path().join("run")).expect("a sweep");
    assert_eq!(folder.record().expect("a legal journal"), ran.record);
    // All states by one question at most every five seconds.
    let seconds = 2 * (LAUNCH + 4);
    assert!(slurm.ran("squeue").len() as u64 <= seconds / 5 + 3, "{:?}", slurm.ran("squeue").len());
}

#[tokio::test(start_paused = true)]
async fn a_launch_whose_node_dies_is_made_elsewhere_and_keeps_what_it_finished() {
    let (setup, slurm) = sweep(&["n1", "n2"], 1);
    // In its second kept repeat.
    after(BOOT + 2 * REPEAT + 5, &slurm, |it| it.dies("n1"));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::NodeFailed]);
    assert_eq!(ran.record.launches[1].trial, 0, "at once, before anything else");
    assert_eq!(ran.record.launches[1].host.as_deref(), Some("n2"));
    let Some(LaunchOutcome::Lost { message, .. }) = &ran.record.launches[0].outcome else {
        panic!("{:?}", ran.record.launches[0].outcome)
    };
    assert_eq!(message, "the node failed (job 1 on n1)");
}

#[tokio::test(start_paused = true)]
async fn whatever_the_cluster_does_to_a_job_has_a_class_of_its_own_and_costs_nothing() {
    let cases = [
        ("PREEMPTED", 5, Loss::Preempted),
        ("TIMEOUT", 60, Loss::TimedOut),
        ("OUT_OF_MEMORY", 0, Loss::OutOfMemory),
        ("CANCELLED", 5, Loss::Cancelled),
        ("FAILED", 0, Loss::NoResult),
    ];
    for (state, within, loss) in cases {
        let (setup, slurm) = sweep(&["n1", "n2"], 1);
        after(BOOT + REPEAT + 4, &slurm, move |it| it.ends("n1", state, within));
        let ran = setup.run().await;
        assert_eq!(ran.ending(), Ending::Complete, "{state}");
        measured_once(&ran, 4);
        assert_eq!(losses(&ran), [loss], "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn how_a_job_ended_that_the_queue_forgot_is_in_the_accounts() {
    for (forgets, loss) in [(true, Loss::Preempted), (false, Loss::NoResult)] {
        let (setup, slurm) = sweep(&["n1", "n2"], 1);
        after(BOOT + REPEAT + 4, &slurm, move |it| {
            it.ends("n1", if forgets { "PREEMPTED" } else { "FAILED" }, 0);
            if forgets {
                it.forgets();
            }
        });
        let ran = setup.run().await;
        assert_eq!(ran.ending(), Ending::Complete);
        assert_eq!(losses(&ran), [loss]);
        assert_eq!(slurm.ran("sacct").len(), usize::from(forgets), "only where it is needed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_that_another_job_has_now_costs_one_launch_and_that_job_nothing() {
    for stops in [false, true] {
        let (setup, slurm) = sweep(&["n1", "n2"], 1);
        let cancel = setup.cancel.clone();
        after(BOOT + REPEAT + 4, &slurm, move |it| {
            it.gives_number_again(1);
            if stops {
                cancel.cancel();
            }
        });
        let ran = setup.run().await;
        let signals = [slurm.ran("scancel"), slurm.ran("scontrol release")].concat();
        let touched = signals.iter().filter(|it| it.ends_with(" 1"));
        // Once it was released, before it was another's.
        assert_eq!(touched.count(), 1, "{signals:?}");
        if stops {
            assert_eq!(ran.ending(), Ending::Interrupted);
        } else {
            assert_eq!(ran.ending(), Ending::Complete);
            measured_once(&ran, 4);
            assert_eq!(losses(&ran), [Loss::NoResult]);
        }
        assert_eq!(slurm.living(), 1, "the other one's");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_started_twice_is_cancelled_and_made_again() {
    let (setup, slurm) = sweep(&["n1", "n2"], 1);
    after(BOOT + REPEAT + 4, &slurm, |it| it.requeues("n1"));
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::Requeued]);
    assert_eq!(slurm.living(), 0);
}

/// Whatever starts on a node is preempted before it measures anything.
fn takes_all(slurm: &FakeSlurm, node: &'static str) -> JoinHandle<()> {
    let slurm = slurm.clone();
    tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(BOOT)).await;
            slurm.ends(node, "PREEMPTED", 0);
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_takes_every_launch_is_asked_less_often_and_in_the_end_not_again() {
    let (mut setup, slurm) = sweep(&["n1"], 1);
    setup.manifest.budget.launches = Some(4);
    let (taken, began) = (takes_all(&slurm, "n1"), Instant::now());
    let ran = setup.run().await;
    taken.abort();
    let Err(SweepError::Stopped { message, environment: true, .. }) = &ran.ending else {
        panic!("{:?}", ran.ending)
    };
    let what = "10 launches in a row were lost, and none finished a repeat, the last so: a job of a \
                higher priority took the node (job 10 on n1). `vllm-grid resume` continues";
    assert!(message.starts_with(what), "{message}");
    assert_eq!(losses(&ran), [Loss::Preempted; 10]);
    let pauses = 30 + 60 + 120 + 240 + 480 + 3 * 600;
    let passed = began.elapsed().as_secs();
    // Each loss is waited for: the node may write late.
    let lost = 10 * (2 * BOOT + 70);
    assert!((pauses..pauses + lost).contains(&passed), "{passed} s");
    assert_eq!(slurm.living(), 0);
    // They cost nothing of the budget.
    let mut again = Setup::new(2, 2);
    again.manifest.budget.launches = Some(4);
    let again = with(Setup { folder: ran.folder, ..again }, &slurm, 1);
    let ran = again.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_at_once_where_a_stop_is_asked_for() {
    let (setup, slurm) = sweep(&["n1"], 1);
    let cancel = setup.cancel.clone();
    let taken = takes_all(&slurm, "n1");
    // In the fifth pause, of 240 s.
    let stop = tokio::spawn(async move {
        sleep(Duration::from_secs(400)).await;
        cancel.cancel();
        Instant::now()
    });
    let ran = setup.run().await;
    let ended = Instant::now();
    taken.abort();
    assert_eq!(ran.ending(), Ending::Interrupted);
    assert_eq!(ended, stop.await.expect("it stopped"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_jobs_in_good_order_and_keeps_finished_repeats() {
    let (setup, slurm) = sweep(&["n1"], 2);
    let cancel = setup.cancel.clone();
    after(BOOT + 2 * REPEAT + 5, &slurm, move |_| cancel.cancel());
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    assert_eq!(ran.outcomes(), [(0, "interrupted"), (1, "interrupted")]);
    assert_eq!(slurm.living(), 0, "the one that waited, too");
    let kept = ran.record.launches[0].measurements.iter().filter(|it| it.repeat > 0).count();
    assert_eq!(kept, 1);
    assert!(ran.actions.take().contains(&"stop 1".to_owned()), "its server is stopped");
    // What is missing is measured later, and nothing twice.
    let mut again = Setup { folder: ran.folder, manifest: manifest(2, 2, 2), ..Setup::new(2, 2) };
    again = with(again, &slurm, 2);
    let ran = again.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
}

#[tokio::test(start_paused = true)]
async fn jobs_go_on_without_their_controller_and_are_taken_up() {
    let (mut setup, slurm) = sweep(&["n1", "n2"], 2);
    let folder = setup.folder.path().to_owned();
    setup.folder.disable_cleanup(true);
    // Killed while both launches run.
    let died = tokio::time::timeout(Duration::from_secs(BOOT + 2 * REPEAT), setup.run()).await;
    assert!(died.is_err());
    assert_eq!(slurm.living(), 2);
    let lines = journal::read(&folder.join("run/journal.jsonl")).expect("a journal").len();
    sleep(Duration::from_secs(2 * LAUNCH)).await;
    assert_eq!(slurm.living(), 0, "they ended by themselves");
    let again = Setup { folder: keep(&folder), ..Setup::new(2, 2) };
    let ran = with(again, &slurm, 2).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(slurm.ran("sbatch").len(), 4, "nothing is launched twice");
    assert!(ran.lines().len() > lines);
    assert_eq!(losses(&ran), []);
}

/// A folder that lives on.
fn keep(folder: &std::path::Path) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    std::fs::rename(folder.join("run"), place.path().join("run")).expect("moved");
    place
}

#[tokio::test(start_paused = true)]
async fn the_partition_is_asked_for_once_in_half_a_minute() {
    let (setup, slurm) = sweep(&["n1", "n2"], 1);
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    // Each launch takes a little less than that.
    assert_eq!((slurm.ran("sbatch").len(), slurm.ran("sinfo").len()), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_kind_is_not_used_and_its_figures_are_not_pooled() {
    let (setup, slurm) = on(&["n1", "n2"], Setup::new(2, 2));
    let slurm = slurm.machines(|host| Machine {
        driver: Some(if host == "n2" { "560" } else { "550" }.to_owned()),
        ..Machine::default()
    });
    let ran = with(setup, &slurm, 2).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::OtherMachine]);
    one_node(&ran);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_start_nothing_stop_the_sweep_with_what_their_jobs_printed() {
    let (setup, slurm) = on(&["n1", "n2", "n3"], Setup::new(2, 2));
    let slurm = slurm.starts(|_| false);
    let ran = with(setup, &slurm, 1).run().await;
    let Err(SweepError::Stopped { message, .. }) = &ran.ending else { panic!("{:?}", ran.ending) };
    assert!(message.contains("vllm-grid: not found"), "{message}");
    assert_eq!(losses(&ran), [Loss::NodeUnable; 3]);
    assert_eq!(slurm.living(), 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_other_nodes_are_down_a_configuration_may_run_where_it_ran() {
    let (setup, slurm) = sweep(&["n1", "n2"], 1);
    // After the launch that must go to the other node was submitted.
    let drained = slurm.clone();
    tokio::spawn(async move {
        while drained.ran("sbatch").len() < 3 {
            sleep(Duration::from_millis(100)).await;
        }
        drained.takes_jobs("n2", false);
    });
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
}

/// A session that is killed after so many seconds; its folder lives on.
async fn killed(mut setup: Setup, seconds: u64) -> tempfile::TempDir {
    let folder = setup.folder.path().to_owned();
    setup.folder.disable_cleanup(true);
    let died = tokio::time::timeout(Duration::from_secs(seconds), setup.run()).await;
    assert!(died.is_err(), "it ended before");
    let kept = tempfile::tempdir_in(folder.parent().expect("a parent")).expect("a folder");
    // Jobs that run have the old path.
    std::os::unix::fs::symlink(folder.join("run"), kept.path().join("run")).expect("linked");
    kept
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_not_let_start_before_its_controller_died_starts_when_it_is_taken_up() {
    let (setup, slurm) = sweep(&["n1"], 1);
    slurm.answers("scontrol", FakeSlurm::refusal("Unable to contact slurm controller"));
    let folder = Box::pin(killed(setup, 3)).await;
    assert_eq!(slurm.living(), 1, "it is held");
    let again = Setup { folder, ..Setup::new(2, 2) };
    let ran = with(again, &slurm, 1).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(slurm.ran("sbatch").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_another_kind_of_node_measured_while_nobody_looked_does_not_count() {
    let (setup, slurm) = on(&["n1", "n2"], Setup::new(2, 2));
    let slurm = slurm.machines(|host| Machine {
        driver: Some(if host == "n2" { "560" } else { "550" }.to_owned()),
        ..Machine::default()
    });
    // Both begin within two seconds; the controller dies before it reads that.
    let folder = Box::pin(killed(with(setup, &slurm, 2), 1)).await;
    sleep(Duration::from_secs(2 * LAUNCH)).await;
    assert_eq!(slurm.living(), 0);
    let again = Setup { folder, ..Setup::new(2, 2) };
    let ran = with(again, &slurm, 2).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::OtherMachine]);
    one_node(&ran);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_nothing_is_used_once_and_the_others_go_on() {
    let (setup, slurm) = on(&["n1", "n2"], Setup::new(2, 2));
    let slurm = slurm.starts(|host| host != "n1");
    let began = Instant::now();
    let ran = with(setup, &slurm, 1).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [Loss::NodeUnable]);
    let Some(LaunchOutcome::Lost { message, .. }) = &ran.record.launches[0].outcome else {
        panic!("{:?}", ran.record.launches[0].outcome)
    };
    let what = "n1: vllm-grid is not found there (job 1); it printed: vllm-grid: not found";
    assert_eq!(message, what);
    // Nothing is waited for that cannot come.
    let longest = Duration::from_secs(4 * (LAUNCH + 10) + 15);
    assert!(began.elapsed() < longest, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn jobs_that_were_cancelled_while_nobody_followed_them_are_made_again() {
    let (setup, slurm) = sweep(&["n1", "n2", "n3"], 4);
    // Three run, one waits; `recover` cancels them all, before anything was measured.
    let folder = Box::pin(killed(setup, 5)).await;
    for node in ["n1", "n2", "n3"] {
        slurm.ends(node, "CANCELLED", 5);
    }
    slurm.cancels_waiting();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(slurm.living(), 0);
    let again = Setup { folder, ..Setup::new(2, 2) };
    let ran = with(again, &slurm, 4).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    measured_once(&ran, 4);
    assert_eq!(losses(&ran), [], "they were stopped");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_the_cluster_did_not_hear_is_asked_again() {
    let (setup, slurm) = sweep(&["n1"], 2);
    let cancel = setup.cancel.clone();
    slurm.answers("scancel", FakeSlurm::refusal("Unable to contact slurm controller"));
    slurm.answers("scancel", FakeSlurm::refusal("Unable to contact slurm controller"));
    after(3, &slurm, move |_| cancel.cancel());
    let ran = setup.run().await;
    assert_eq!(ran.ending(), Ending::Interrupted);
    assert_eq!(slurm.living(), 0);
}
