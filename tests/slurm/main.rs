//! Sweeps over a real Slurm of three nodes: what its nodes, its users and its controller do to
//! them, and that nothing is lost, measured twice or left behind.
//!
//! `cargo test --test slurm -- --ignored --test-threads 2`

#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::time::Duration;

use rustix::process::Signal;

use rig::{NODES, Rig};
use support::{Ran, numbers, signal, texts, until};

mod campaign;
mod docker;
mod figures;
mod rig;
#[path = "../support/mod.rs"]
mod support;

/// Four configurations of two launches with two kept repeats; a launch takes several seconds.
const GRID: &str = "
name: nodes
engine:
  simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, seed: 1, speed: 20, flags: {max-model-len: 8192}}
hosts:
  slurm: {gres: 'gpu:rtx4090:2', at-once: 3}
baseline: plain
parameters:
  enable-prefix-caching: [true, false]
  max-num-seqs: [8, 64]
include:
  - {name: plain, enable-prefix-caching: false, max-num-seqs: 64}
workloads:
  kv-cache: {prefix-tokens: [4096], prompts: 2, output-tokens: 4}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {grid: {launches: 2, repeats: 2, seed: 1}}
";
/// Its trials, and repeats of each.
const ALL: (u64, u64) = (8, 2);

fn changed(changes: &[(&str, &str)]) -> String {
    let mut grid = GRID.to_owned();
    for (from, to) in changes {
        assert!(grid.contains(from), "{from}");
        grid = grid.replace(from, to);
    }
    grid
}

/// A launch takes half a minute.
fn slow() -> String {
    changed(&[("speed: 20", "speed: 4")])
}

fn ended(child: std::process::Child) -> Ran {
    Ran::of(child.wait_with_output().unwrap())
}

#[test]
#[ignore = "needs Slurm"]
fn a_sweep_runs_over_three_nodes_and_no_configuration_is_known_from_one_alone() {
    let rig = Rig::start(GRID, &[]);
    let ran = rig.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    rig.is_whole(ALL.0, ALL.1);
    let results = rig.place.results("run");
    let mut hosts: Vec<(String, String)> = texts(&results, "configuration")
        .into_iter()
        .zip(texts(&results, "host"))
        .filter_map(|(name, host)| Some((name?, host?)))
        .collect();
    hosts.sort();
    hosts.dedup();
    let mut used: Vec<&str> = hosts.iter().map(|it| it.1.as_str()).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, NODES, "{hosts:?}");
    assert!(hosts.iter().filter(|it| it.0 == "plain").count() >= 2, "{hosts:?}");
    for node in NODES {
        assert!(ran.err.contains(&format!("{node}: ")), "{node} is not named:\n{}", ran.err);
    }
    let ranks = numbers(&rig.place.ranking("run"), "rank");
    assert!(ranks.iter().all(Option::is_some), "{ranks:?}");
}

#[test]
#[ignore = "needs Slurm"]
fn a_node_that_dies_in_mid_launch_costs_its_configuration_nothing() {
    let rig = Rig::start(&slow(), &[]);
    let child = rig.sweep();
    let node = rig.node_of(1);
    rig.place.wait_for("run", "repeat_finished", 2);
    rig.kill(&node);
    ended(child).expect(0);
    rig.is_whole(ALL.0, ALL.1);
    assert_eq!(rig.losses(), ["node_failed"]);
}

#[test]
#[ignore = "needs Slurm"]
fn a_drained_node_finishes_its_launch_and_gets_no_other_one() {
    let rig = Rig::start(GRID, &[]);
    let child = rig.sweep();
    let node = rig.node_of(1);
    let name = format!("nodename={node}");
    rig.slurm(&["scontrol", "update", &name, "state=drain", "reason=test"]);
    let before = rig.place.journal("run").len();
    ended(child).expect(0);
    rig.is_whole(ALL.0, ALL.1);
    assert_eq!(rig.losses(), [""; 0]);
    let later = &rig.place.journal("run")[before..];
    let placed = later.iter().filter(|it| it["line"]["entry"]["kind"] == "launch_placed");
    assert!(placed.clone().count() > 2);
    assert!(placed.clone().all(|it| it["line"]["entry"]["host"] != node.as_str()));
}

#[test]
#[ignore = "needs Slurm"]
fn jobs_go_on_without_their_controller_and_resume_takes_them_up() {
    let rig = Rig::start(&slow(), &[]);
    let mut child = rig.sweep();
    rig.place.wait_for("run", "launch_ready", 3);
    let second = rig.run(&["resume", "run"]);
    assert_eq!(second.code, Some(3), "a second controller is refused: {}", second.err);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(rig.jobs().len(), 3, "they go on");
    until("they end by themselves", || rig.jobs().is_empty());
    rig.run(&["resume", "run"]).expect(0);
    rig.is_whole(ALL.0, ALL.1);
    assert_eq!(rig.losses(), [""; 0]);
    assert_eq!(rig.place.entries("run", "launch_started"), 8, "nothing was launched again");
}

#[test]
#[ignore = "needs Slurm"]
fn ctrl_c_ends_the_jobs_in_good_order_and_a_second_one_leaves_them_to_recover() {
    let rig = Rig::start(&slow(), &[]);
    let child = rig.sweep();
    rig.place.wait_for("run", "repeat_finished", 4);
    signal(&child, Signal::INT);
    let ran = ended(child).expect(4);
    assert!(rig.jobs().is_empty(), "{}", ran.err);
    let kept = rig.place.entries("run", "repeat_finished");
    assert!(kept >= 4);
    // Once more, and this time it leaves at once.
    let resumed = rig.command(&["resume", "run"]).spawn().unwrap();
    until("jobs run", || !rig.jobs().is_empty());
    rig.place.wait_for("run", "launch_ready", 5);
    let foreign =
        rig.slurm(&["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap", "sleep 300"]);
    signal(&resumed, Signal::INT);
    std::thread::sleep(Duration::from_secs(1));
    signal(&resumed, Signal::INT);
    let ran = ended(resumed);
    assert!(ran.err.contains("vllm-grid recover run"), "{}", ran.err);
    let ran = rig.run(&["recover", "run"]).expect(0);
    let left = rig.jobs();
    assert_eq!(left, [foreign.trim()], "its own and nothing else: {}", ran.out);
    rig.slurm(&["scancel", foreign.trim()]);
    rig.run(&["resume", "run"]).expect(0);
    rig.is_whole(ALL.0, ALL.1);
}

#[test]
#[ignore = "needs Slurm"]
fn a_refused_submission_is_an_error_of_the_environment_that_says_what_was_asked() {
    let rig =
        Rig::start(&changed(&[("gpu:rtx4090:2'", "gpu:rtx4090:2', partition: nowhere")]), &[]);
    let ran = rig.run(&["sweep", "grid.yaml", "--output", "run"]);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("refuses what the grid asks for"), "{said}");
    assert!(said.contains("partition=nowhere"), "{said}");
    // Accepted, as it is held, and never to be started.
    let grid = changed(&[("gpu:rtx4090:2", "gpu:h100:8")]);
    std::fs::write(rig.place.path("grid.yaml"), grid).unwrap();
    let ran = rig.run(&["sweep", "grid.yaml", "--output", "other"]);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.said().contains("never starts"), "{}", ran.err);
    assert!(ran.said().contains("gpu:h100:8"), "{}", ran.err);
    assert!(rig.jobs().is_empty());
}

#[test]
#[ignore = "needs Slurm"]
fn a_job_of_a_higher_priority_takes_a_node_and_the_launch_is_made_again() {
    let rig = Rig::start(&slow(), &[]);
    let child = rig.sweep();
    let node = rig.node_of(1);
    rig.place.wait_for("run", "repeat_finished", 2);
    rig.preempt(&node);
    ended(child).expect(0);
    rig.is_whole(ALL.0, ALL.1);
    assert_eq!(rig.losses(), ["preempted"]);
}

#[test]
#[ignore = "needs Slurm"]
fn a_launch_that_is_taken_before_it_measured_anything_costs_nothing_of_the_budget() {
    let grid =
        changed(&[("speed: 20", "speed: 4"), ("objective:", "budget: {launches: 8}\nobjective:")]);
    let rig = Rig::start(&grid, &[]);
    let child = rig.sweep();
    let node = rig.node_of(1);
    rig.preempt(&node);
    ended(child).expect(0);
    rig.is_whole(ALL.0, ALL.1);
    assert_eq!(rig.losses(), ["preempted"]);
    assert_eq!(rig.place.entries("run", "launch_started"), 9);
}

/// Numbers of living processes with these words in their command line, one after the other.
fn processes(words: &[&str]) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let has = |id: &i32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        words.iter().all(|it| line.contains(it))
    };
    ids.filter(has).collect()
}

#[test]
#[ignore = "needs Slurm"]
fn a_server_that_outlives_its_killed_job_is_ended_by_the_next_launch_on_its_node() {
    let binary = env!("CARGO_BIN_EXE_vllm-grid");
    let engine = "simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, seed: 1, speed: 20, flags: {max-model-len: 8192}}";
    let process =
        format!("process: {{command: [{binary}, simulate, Qwen/Qwen3-8B, --sim-speed, '20']}}");
    let grid = changed(&[
        (engine, &process),
        ("at-once: 3", "at-once: 1, options: ['--nodelist=n1']"),
        ("enable-prefix-caching: [true, false]", "enable-prefix-caching: [false]"),
        ("max-num-seqs: [8, 64]", "max-num-seqs: [64]"),
        ("launches: 2", "launches: 1"),
    ]);
    // This tracker ends the job's own group alone, and a server has one of its own.
    let rig = Rig::start(&grid, &["ProctrackType=proctrack/pgid"]);
    let child = rig.sweep();
    rig.place.wait_for("run", "launch_ready", 1);
    let run = rig.place.path("run").display().to_string();
    let launcher = processes(&[" launch ", &run]);
    assert_eq!(launcher.len(), 1, "{launcher:?}");
    let pid = |id: i32| rustix::process::Pid::from_raw(id).unwrap();
    let servers = || processes(&[" simulate Qwen/Qwen3-8B", "--port"]);
    let parent = format!("PPid:\t{}\n", launcher[0]);
    let is_its = |id: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status"));
        status.is_ok_and(|it| it.contains(&parent))
    };
    let server: Vec<i32> = servers().into_iter().filter(is_its).collect();
    assert_eq!(server.len(), 1, "{server:?}");
    rustix::process::kill_process(pid(launcher[0]), Signal::KILL).unwrap();
    rig.place.wait_for("run", "launch_ended", 1);
    assert!(servers().contains(&server[0]), "it outlives its job");
    rig.place.wait_for("run", "launch_ready", 2);
    assert!(!servers().contains(&server[0]), "it is ended before the next one is ready");
    ended(child).expect(0);
    rig.is_whole(1, 2);
    assert_eq!(rig.losses(), ["no_result"]);
}

#[test]
#[ignore = "needs Slurm"]
fn a_time_limit_that_ends_a_launch_ends_it_in_good_order_and_says_what_to_raise() {
    // A launch of more than two minutes in a job of one.
    let grid = changed(&[
        ("speed: 20", "speed: 0.5"),
        ("at-once: 3", "at-once: 3, time: 1m"),
        ("enable-prefix-caching: [true, false]", "enable-prefix-caching: [false]"),
        ("max-num-seqs: [8, 64]", "max-num-seqs: [64]"),
        ("launches: 2", "launches: 1"),
    ]);
    let rig = Rig::start(&grid, &[]);
    let ran = rig.run(&["sweep", "grid.yaml", "--output", "run"]);
    assert_eq!(rig.losses(), ["timed_out"], "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("raise `time`") || ran.said().contains("raise `time`"), "{}", ran.err);
    assert!(rig.jobs().is_empty());
}
