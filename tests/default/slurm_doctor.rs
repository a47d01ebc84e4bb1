//! `doctor` of a grid on a cluster: commands that answer as the real ones did, and a job that is
//! run where it is released. However the check ends, no job and no folder is left.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::grid_errors::HEAD;
use crate::slurm_plan::{Cluster, SINFO};
use crate::support::{Ran, until};

const VERSION: &str = "case $1 in --version) echo slurm-wlm 22.05.8; exit;; esac\n";
/// Keeps what was asked for, and accepts it.
const ACCEPTS: &str = "printf '%s\\n' \"$@\" >\"$RIG/argv\"; for it; do script=$it; done\n\
                       echo \"$script\" >\"$RIG/script\"; echo 7";
/// Runs the job, as a node does.
const RUNS: &str = "log=$(sed -n 's/^--output=//p' \"$RIG/argv\")\n\
                    export SLURMD_NODENAME=n1 CUDA_VISIBLE_DEVICES=0,1\n\
                    sh \"$(cat \"$RIG/script\")\" >\"$log\" 2>&1 || true";

fn squeue(state: &str, reason: &str) -> String {
    format!(
        "comment=$(sed -n 's/^--comment=//p' \"$RIG/argv\")\n\
         echo \"7|{state}|n1|0|0|{reason}|$comment|\"\necho '8|RUNNING|n2|0|0|None|mine|'"
    )
}

/// A cluster whose commands do this, and a grid that asks for it.
fn cluster(sbatch: &str, scontrol: &str, squeue: &str) -> Cluster {
    let cluster = Cluster::new();
    let cancels = "echo \"$@\" >>\"$RIG/cancelled\"";
    for (name, body) in [
        ("sinfo", SINFO),
        ("sbatch", sbatch),
        ("scontrol", scontrol),
        ("squeue", squeue),
        ("scancel", cancels),
    ] {
        cluster.command(name, &format!("{VERSION}{body}"));
    }
    cluster.grid(&grid("gres: \"gpu:rtx4090:2\", options: [--qos=night]"));
    cluster
}

fn grid(asks: &str) -> String {
    format!(
        "{HEAD}hosts: {{slurm: {{at-once: 2, time: 40m, {asks}}}}}\n\
         parameters: {{max-num-seqs: [8, 16]}}\nworkloads: {{kv-cache: }}\n\
         objective: {{minimize: kv_cache.ttft_resent_ms}}\n"
    )
}

fn doctor(cluster: &Cluster, wait: &str) -> Ran {
    let ran = cluster.run(&["doctor", "grid.yaml", "--wait", wait]);
    assert!(nothing_is_left(cluster), "{}", ran.out);
    ran
}

/// Whether the folder of the check is not there any more.
fn nothing_is_left(cluster: &Cluster) -> bool {
    let entries = fs::read_dir(cluster.path()).expect("a folder").map(|it| it.expect("a name"));
    entries.into_iter().all(|it| !it.file_name().to_string_lossy().contains("check"))
}

fn cancelled(cluster: &Cluster) -> String {
    fs::read_to_string(cluster.path().join("cancelled")).unwrap_or_default().trim().to_owned()
}

/// What was said besides that all is well, without this machine's disk.
fn found(out: &str) -> String {
    let lines = out.lines().filter(|line| !line.starts_with("ok ") && !line.contains("disk"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_cluster_that_can_run_a_sweep_is_ok_in_everything() {
    let cluster = cluster(ACCEPTS, RUNS, &squeue("COMPLETED", "None"));
    let ran = doctor(&cluster, "20s").expect(0);
    assert_eq!(found(&ran.out), "", "{}", ran.out);
    for line in [
        "ok       slurm: slurm-wlm 22.05.8",
        "ok       partition: gpu: 2 of 3 nodes take jobs",
        "ok       request: 2 nodes have gpu:rtx4090:2, 2 of them are idle now",
        "ok       time: a launch may take 40 min, a job 60 min",
        "ok       at-once: 2 launches, 2 nodes for them",
        "is seen here and on n1, both ways",
        "ok       GPU: n1 gives CUDA_VISIBLE_DEVICES=0,1, 2 asked for",
        "ok       node n1, engine: simulated: needs nothing",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    assert_eq!(cancelled(&cluster), "", "it was over by itself");
    // The job asks for what a launch's job asks for, and for less time.
    let asked = fs::read_to_string(cluster.path().join("argv")).expect("it was submitted");
    for word in
        ["--hold", "--gres=gpu:rtx4090:2", "--exclusive", "--qos=night", "--time=0-00:05:00"]
    {
        assert!(asked.lines().any(|it| it == word), "{word}: {asked}");
    }
}

#[test]
fn where_options_leave_no_node_that_is_the_reason_and_what_is_missing_has_its_name() {
    let cluster = cluster(ACCEPTS, RUNS, &squeue("COMPLETED", "None"));
    let said = |asks: &str| {
        cluster.grid(&grid(asks));
        let out = doctor(&cluster, "20s").expect(3).out;
        found(&out).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let none = said("options: [\"--exclude=n[1-3]\"]");
    assert!(none.contains("problem partition: `options` leave no node of gpu -> "), "{none}");
    assert!(!none.contains("sinfo -R"), "{none}");
    let drained = said("options: [--nodelist=n3]");
    let expected = "problem partition: gpu: 0 of 1 nodes that `options` allow take jobs";
    assert!(drained.contains(expected), "{drained}");
    let small = said("options: [--exclude=n1, --mem=900G]");
    let expected = "problem request: no node of gpu that `options` allow has --mem=900G";
    assert!(small.contains(expected), "{small}");
}

#[test]
fn without_slurms_commands_nothing_is_submitted() {
    let cluster = Cluster::new();
    cluster.command("sinfo", &format!("{VERSION}{SINFO}"));
    cluster.grid(&format!(
        "{HEAD}hosts: {{slurm: {{at-once: 2}}}}\nparameters: {{max-num-seqs: 8}}\n\
         workloads: {{kv-cache: }}\nobjective: {{minimize: kv_cache.ttft_resent_ms}}\n"
    ));
    let ran = doctor(&cluster, "20s").expect(3);
    for command in ["sbatch", "squeue", "scancel", "scontrol"] {
        let line = format!("problem  slurm: {command} cannot be run: No such file");
        assert!(ran.out.contains(&line), "{line}: {}", ran.out);
    }
    assert!(!ran.out.contains("partition"), "{}", ran.out);
}

#[test]
fn what_the_cluster_refuses_is_said_in_its_own_words() {
    let refuses = format!("cat {}/submit-refused >&2; exit 1", "\"$RIG\"");
    let cluster = cluster(&refuses, RUNS, &squeue("PENDING", "None"));
    let capture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/captures/slurm/sbatch-refused-gres-type-root.err"
    );
    fs::copy(capture, cluster.path().join("submit-refused")).expect("a capture");
    let ran = doctor(&cluster, "20s").expect(3);
    let line = "problem  job: sbatch: Batch job submission failed: Requested node configuration is \
                not available";
    assert!(ran.out.contains(line), "{}", ran.out);
    assert_eq!(cancelled(&cluster), "");
}

#[test]
fn a_submission_that_timed_out_and_was_accepted_leaves_no_job() {
    let accepts = format!(
        "{ACCEPTS} >/dev/null; echo 'sbatch: error: Batch job submission failed: Socket timed out \
         on send/recv operation' >&2; exit 1"
    );
    let cluster = cluster(&accepts, RUNS, &squeue("PENDING", "JobHeldUser"));
    let ran = doctor(&cluster, "20s").expect(3);
    assert!(
        ran.out.contains("problem  job: sbatch: Batch job submission failed: Socket"),
        "{}",
        ran.out
    );
    assert_eq!(cancelled(&cluster), "7", "the one with this check's comment, and no other");
}

#[test]
fn a_release_that_is_refused_leaves_no_held_job() {
    let refuses =
        "echo 'Requested partition configuration not available now for job 7' >&2; exit 1";
    let cluster = cluster(ACCEPTS, refuses, &squeue("PENDING", "JobHeldUser"));
    let ran = doctor(&cluster, "20s").expect(3);
    assert!(ran.out.contains("-> no node has what a launch asks for"), "{}", ran.out);
    assert_eq!(cancelled(&cluster), "7");
}

#[test]
fn a_full_partition_is_waited_for_and_said_with_its_reason() {
    let cluster = cluster(ACCEPTS, "exit 0", &squeue("PENDING", "Priority"));
    let ran = doctor(&cluster, "2s").expect(0);
    let found = found(&ran.out);
    assert!(found.starts_with("warning  job: it waited 2 s for a node (Priority)"), "{found}");
    assert!(found.contains("nothing is known of the nodes"), "{found}");
    assert_eq!(cancelled(&cluster), "7");
}

#[test]
fn a_job_that_never_starts_is_not_waited_for() {
    let cluster = cluster(ACCEPTS, "exit 0", &squeue("PENDING", "PartitionTimeLimit"));
    let ran = doctor(&cluster, "10m").expect(3);
    let line = "problem  job: it would never start: PartitionTimeLimit\n         -> lower `time`";
    assert!(ran.out.contains(line), "{}", ran.out);
    assert_eq!(cancelled(&cluster), "7");
}

#[test]
fn a_node_that_does_not_see_this_program_is_named_with_what_it_printed() {
    let fails =
        RUNS.replace("sh \"$(cat \"$RIG/script\")\"", "exec_of=nobody sh -c 'exec /no/vllm-grid'");
    let cluster = cluster(ACCEPTS, &fails, &squeue("FAILED", "NonZeroExitCode"));
    let ran = doctor(&cluster, "20s").expect(3);
    let found = found(&ran.out);
    assert!(
        found.starts_with("problem  job: on n1 it failed: ") && found.contains("/no/vllm-grid"),
        "{found}"
    );
    assert!(found.contains("where all nodes see them"), "{found}");
}

#[test]
fn another_version_and_a_folder_that_is_not_shared_are_problems() {
    let answers = "folder=$(sed -n 's/^--chdir=//p' \"$RIG/argv\")\n\
                   echo '{\"tool_version\":\"0.0.1\",\"host\":\"n1\",\"read\":null,\"devices\":\"0\",\
                   \"findings\":[{\"severity\":\"problem\",\"subject\":\"image\",\"text\":\"no \
                   image\",\"advice\":\"pull it\"}]}' >\"$folder/from-node.json\"";
    let cluster = cluster(ACCEPTS, answers, &squeue("COMPLETED", "None"));
    let ran = doctor(&cluster, "20s").expect(3);
    let found = found(&ran.out);
    for part in [
        "a file written here is not seen on n1",
        "here and 0.0.1 on n1",
        "problem  GPU: n1 gives CUDA_VISIBLE_DEVICES=0, 2 asked for",
        "problem  node n1, image: no image\n         -> pull it",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[test]
fn an_answer_that_appears_late_is_waited_for_and_said() {
    let late = RUNS.replace("sh \"$(cat", "sleep 3; sh \"$(cat");
    let late = format!("({late}) >/dev/null 2>&1 &");
    let cluster = cluster(ACCEPTS, &late, &squeue("COMPLETED", "None"));
    let ran = doctor(&cluster, "20s").expect(0);
    let found = found(&ran.out);
    assert!(found.starts_with("warning  shared folder: what the job wrote appeared "), "{found}");
}

#[test]
fn a_node_that_failed_is_no_fault_of_the_folder() {
    let cluster = cluster(ACCEPTS, "exit 0", &squeue("NODE_FAIL", "None"));
    let ran = doctor(&cluster, "20s").expect(3);
    let found = found(&ran.out);
    assert!(found.starts_with("problem  job: on n1: the node failed"), "{found}");
}

#[test]
fn a_signal_cancels_the_job_and_removes_the_folder() {
    let cluster = cluster(ACCEPTS, "touch \"$RIG/released\"", &squeue("PENDING", "Priority"));
    let mut command = cluster.prepared(&["doctor", "grid.yaml", "--wait", "1h"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it runs");
    until("the job is released", || cluster.path().join("released").exists());
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let ran = Ran::of(child.wait_with_output().expect("it ends")).expect(4);
    assert!(ran.out.contains("warning  job: stopped, and cancelled"), "{}", ran.out);
    assert_eq!(cancelled(&cluster), "7");
    assert!(nothing_is_left(&cluster));
}
