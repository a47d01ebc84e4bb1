//! Sweeps under random schedules of deaths, with printed seeds: nodes and their daemons die and
//! come back, jobs are cancelled and preempted, the cluster's controller and our own are killed.
//! `VLLM_GRID_SLURM_SCHEDULES`, `VLLM_GRID_SLURM_SIZE` and `VLLM_GRID_CRASH_SEED` say how many,
//! of how many configurations, from which seed.

use std::collections::BTreeSet;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::rig::{NODES, Rig};
use crate::support::{Ran, Workplace, texts};

const SEED: u64 = 20_261_129;
/// For how long one schedule may take.
const PATIENCE: Duration = Duration::from_mins(12);

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

fn grid(configurations: u64, hosts: &str) -> String {
    let seqs: Vec<String> = (1..=configurations).map(|it| (it * 2).to_string()).collect();
    format!(
        "
name: campaign
engine:
  simulated: {{model: Qwen/Qwen3-1.7B, gpu: rtx-4090, seed: 1, speed: 30, flags: {{max-model-len: 8192}}}}
{hosts}
parameters: {{max-num-seqs: [{}]}}
workloads:
  kv-cache: {{prefix-tokens: [2048], prompts: 2, output-tokens: 4}}
objective: {{minimize: kv_cache.ttft_resent_ms}}
strategy: {{grid: {{launches: 1, repeats: 2, seed: 1}}}}
",
        seqs.join(", ")
    )
}

/// What is to be in a frame: configuration, repeat, status.
fn frame(place: &Workplace, run: &str) -> BTreeSet<Vec<String>> {
    let results = place.results(run);
    let columns = ["configuration", "repeat", "workload", "case", "status"];
    let columns = columns.map(|name| texts(&results, name));
    let rows = columns[0].len();
    let row = |at: usize| columns.iter().map(|it| it[at].clone().unwrap_or_default()).collect();
    // Each launch has a warm-up of its own.
    let ok = |it: &Vec<String>| it[4] == "ok" && it[1] != "0";
    (0..rows).map(row).filter(ok).collect()
}

/// One thing that happens.
fn disturb(rig: &Rig, dice: &mut ChaCha8Rng, child: &mut Child) {
    let node = NODES[dice.random_range(0..NODES.len())];
    let name = format!("nodename={node}");
    let update = |state: &str| {
        let state = format!("state={state}");
        rig.slurm_may_fail(&["scontrol", "update", &name, &state, "reason=campaign"]);
    };
    let soon = Duration::from_millis(dice.random_range(500..4000));
    match dice.random_range(0..7) {
        0 => {
            rig.script("kill_node.sh", &[node]);
            update("down");
            sleep(soon);
            rig.script("revive_node.sh", &[node]);
            update("resume");
        }
        1 => {
            rig.script("kill_node.sh", &[node, "slurmd"]);
            sleep(soon);
            rig.script("revive_node.sh", &[node]);
        }
        2 => {
            let jobs = rig.jobs();
            if !jobs.is_empty() {
                rig.slurm_may_fail(&["scancel", &jobs[dice.random_range(0..jobs.len())]]);
            }
        }
        3 => {
            let list = format!("--nodelist={node}");
            let urgent = ["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null"];
            rig.slurm_may_fail(&[&urgent[..], &[&list, "--wrap", "sleep 2"]].concat());
        }
        4 => {
            update("drain");
            sleep(soon);
            update("resume");
        }
        5 => {
            rig.script("controller.sh", &["down"]);
            sleep(soon);
            rig.script("controller.sh", &["up"]);
        }
        _ => {
            child.kill().unwrap();
            child.wait().unwrap();
            sleep(soon);
            *child = resumed(rig);
        }
    }
}

fn resumed(rig: &Rig) -> Child {
    rig.command(&["resume", "run"]).spawn().unwrap()
}

/// A sweep under one schedule, until it is complete; how often it was resumed after its end.
fn schedule(seed: u64, configurations: u64, expected: &BTreeSet<Vec<String>>) {
    let rig = Rig::start(&grid(configurations, "hosts: {slurm: {at-once: 3}}"), &[]);
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let began = Instant::now();
    let mut child = rig.sweep();
    let mut things = 0;
    loop {
        sleep(Duration::from_millis(dice.random_range(1000..6000)));
        assert!(began.elapsed() < PATIENCE, "seed {seed}: not complete after {things} deaths");
        match child.try_wait().unwrap() {
            None => {
                things += 1;
                // In the end a person lets it work.
                if began.elapsed() < PATIENCE / 2 {
                    disturb(&rig, &mut dice, &mut child);
                }
            }
            Some(status) if status.success() => break,
            // A cluster that takes one launch after the other, or does not answer: a person looks
            // at that, and continues.
            Some(status) => {
                let ran = Ran::of(child.wait_with_output().unwrap());
                assert_eq!(status.code(), Some(3), "seed {seed}: {}\n{}", ran.out, ran.err);
                child = resumed(&rig);
            }
        }
    }
    println!("seed {seed}: {things} deaths in {:.0} s, no fault", began.elapsed().as_secs_f64());
    rig.is_whole(configurations, 2);
    assert_eq!(&frame(&rig.place, "run"), expected, "seed {seed}");
}

#[test]
#[ignore = "needs Slurm"]
fn whatever_dies_a_sweep_comes_to_the_frame_of_one_host() {
    let configurations = variable("VLLM_GRID_SLURM_SIZE", 6);
    let alone = Workplace::new(&grid(configurations, ""));
    alone.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let expected = frame(&alone, "run");
    assert_eq!(expected.len() as u64, configurations * 2);
    for schedule_of in 0..variable("VLLM_GRID_SLURM_SCHEDULES", 1) {
        let seed = variable("VLLM_GRID_CRASH_SEED", SEED) + schedule_of;
        println!("seed {seed}");
        schedule(seed, configurations, &expected);
    }
}
