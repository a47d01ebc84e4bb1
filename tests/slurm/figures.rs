//! Figures of a sweep over a cluster: what several nodes gain, how long a job takes to its first
//! request, and what the controller costs with many jobs in flight. They are printed; the limits
//! are those that are promised. `VLLM_GRID_SLURM_LAUNCHES` and `VLLM_GRID_SLURM_WAIT` make the
//! first one as long as the promise says: 24 launches of 20 s.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vllm_grid::sweep::hosts::slurm::reading::{jobs, submitted};
use vllm_grid::sweep::hosts::slurm::state::State;

use crate::rig::Rig;
use crate::support::{Ran, Workplace, signal, until};

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

/// Launches that mostly wait: a boot of about so many seconds, and two short requests.
fn waiting(launches: u64, seconds: u64, at_once: u64) -> String {
    let seqs: Vec<String> = (1..=launches).map(|it| it.to_string()).collect();
    // The boot of this model takes 32 s at speed 1.
    let speed = 32.0 / seconds as f64;
    format!(
        "
name: waits
engine:
  simulated: {{model: Qwen/Qwen3-8B, gpu: rtx-4090, seed: 1, speed: {speed:.2}, flags: {{max-model-len: 8192}}}}
hosts: {{slurm: {{at-once: {at_once}}}}}
parameters: {{max-num-seqs: [{}]}}
workloads:
  kv-cache: {{prefix-tokens: [512], prompts: 1, output-tokens: 2}}
gates: {{canary: false}}
objective: {{minimize: kv_cache.ttft_resent_ms}}
strategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}
",
        seqs.join(", ")
    )
}

#[test]
#[ignore = "needs Slurm"]
fn three_nodes_take_two_fifths_of_the_time_of_one_and_a_job_is_soon_at_work() {
    let (launches, seconds) =
        (variable("VLLM_GRID_SLURM_LAUNCHES", 9), variable("VLLM_GRID_SLURM_WAIT", 8));
    let took = |at_once: u64| {
        let rig = Rig::start(&waiting(launches, seconds, at_once), &[]);
        let began = Instant::now();
        rig.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
        (began.elapsed().as_secs_f64(), rig)
    };
    let ((one, _), (three, rig)) = std::thread::scope(|scope| {
        let one = scope.spawn(|| took(1));
        let three = scope.spawn(|| took(3));
        (one.join().unwrap(), three.join().unwrap())
    });
    let ratio = three / one;
    println!(
        "{launches} launches of about {seconds} s: one node {one:.1} s, three {three:.1} s, {ratio:.2}"
    );
    assert!(ratio <= 0.45, "{ratio}");
    // From the first line of a job to the start of its engine: what we add to its boot.
    let lines = rig.place.journal("run");
    let at =
        |text: &serde_json::Value| -> jiff::Timestamp { text.as_str().unwrap().parse().unwrap() };
    let mut added: Vec<f64> = Vec::new();
    for line in lines.iter().filter(|it| it["line"]["entry"]["kind"] == "launch_ready") {
        let launch = &line["line"]["entry"]["launch"];
        let placed = lines.iter().find(|it| {
            let entry = &it["line"]["entry"];
            entry["kind"] == "launch_placed" && entry["launch"] == *launch
        });
        let placed = at(&placed.unwrap()["line"]["happened_at"]);
        let started = at(&line["line"]["entry"]["facts"]["started_at"]);
        added.push(started.duration_since(placed).as_secs_f64());
    }
    added.sort_by(f64::total_cmp);
    println!(
        "from a job's first line to its engine's start: median {:.3} s, worst {:.3} s",
        added[added.len() / 2],
        added[added.len() - 1]
    );
    assert!(added[added.len() / 2] < 1.0, "{added:?}");
}

const RELEASE: &str = "VLLM_GRID_TEST_BINARY";

fn is_released() -> bool {
    std::env::var_os(RELEASE).is_some()
}

/// The release build where there is one: what is promised is promised of that.
fn released(place: &Workplace, words: &[&str]) -> Command {
    let command = place.command(words);
    let Some(binary) = std::env::var_os(RELEASE) else { return command };
    let mut released = Command::new(binary);
    released.args(command.get_args()).current_dir(place.path(""));
    let given = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    released.envs(given).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    released
}

/// Stand-ins for Slurm's commands: jobs run for ever, and are cancelled.
fn stand_ins(place: &Workplace) -> std::ffi::OsString {
    let (tools, jobs) = (place.path("tools"), place.path("jobs"));
    std::fs::create_dir_all(&tools).unwrap();
    std::fs::create_dir_all(&jobs).unwrap();
    let jobs = jobs.display();
    let put = |name: &str, text: String| {
        let path = tools.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    put(
        "sbatch",
        format!(
            "n=1; while ! mkdir {jobs}/$n 2>/dev/null; do n=$((n + 1)); done\n\
             for word in \"$@\"; do case $word in --comment=*) comment=${{word#--comment=}};; esac; done\n\
             echo \"$n|PENDING||0|0|JobHeldUser|$comment|\" > {jobs}/$n/line; echo $n"
        ),
    );
    put("squeue", format!("cat {jobs}/*/line 2>/dev/null || true"));
    put("sinfo", "echo 'n1|gpu*|idle|(null)|infinite|2|1000'".to_owned());
    put(
        "scontrol",
        format!(
            "[ \"$1\" = release ] && sed -i 's/PENDING||0|0|JobHeldUser/RUNNING|n1|0|0|None/' {jobs}/$2/line; true"
        ),
    );
    put(
        "scancel",
        format!(
            "for id; do :; done; sed -i 's/RUNNING/CANCELLED/; s/PENDING/CANCELLED/' {jobs}/$id/line"
        ),
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path))).unwrap()
}

#[test]
#[ignore = "needs Slurm"]
fn the_controller_of_64_jobs_is_small_and_idle() {
    let place = Workplace::new(&waiting(80, 20, 64));
    let path = stand_ins(&place);
    let mut command = released(&place, &["sweep", "grid.yaml", "--output", "run"]);
    let child = command.env("PATH", &path).spawn().unwrap();
    place.wait_for("run", "job_submitted", 64);
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        // Ticks of user and system time, a hundred a second.
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    };
    sleep(Duration::from_secs(2));
    let (before, since) = (used(), Instant::now());
    sleep(Duration::from_secs(variable("VLLM_GRID_SLURM_WATCH", 30)));
    let share = (used() - before) / since.elapsed().as_secs_f64();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    let peak: f64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    println!(
        "64 jobs in flight: {:.1} MB at most, {:.2} % of a core",
        peak / 1024.0,
        share * 100.0
    );
    signal(&child, Signal::INT);
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(4), "{}", ran.err);
    until("all jobs are cancelled", || {
        let mut jobs = std::fs::read_dir(place.path("jobs")).unwrap().flatten();
        jobs.all(|it| {
            std::fs::read_to_string(it.path().join("line")).unwrap().contains("CANCELLED")
        })
    });
    // What is promised is 1 %, and printed; a machine that is busy, or slower, must not fail for
    // it. A debug build takes several times what a release takes.
    let (memory, processor) = if is_released() { (60.0, 0.04) } else { (120.0, 0.1) };
    assert!(peak / 1024.0 < memory, "{peak} kB");
    assert!(share < processor, "{share}");
}

#[test]
#[ignore = "needs Slurm"]
fn stand_ins_answer_as_the_real_commands_do() {
    let rig = Rig::start(&waiting(1, 1, 1), &[]);
    let place = Workplace::new(&waiting(1, 1, 1));
    let path = stand_ins(&place);
    let format = format!("--Format={}", vllm_grid::sweep::hosts::slurm::request::FIELDS);
    let script = "--wrap=sleep 9";
    let submit =
        ["sbatch", "--parsable", "--hold", "--comment=vllm-grid:r:1", "--output=/dev/null", script];
    let states = ["squeue", "--noheader", "--states=all", &format];
    let standing = |words: &[&str]| {
        let output = std::process::Command::new("/usr/bin/env")
            .args(words)
            .env("PATH", &path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let read = |run: &dyn Fn(&[&str]) -> String| {
        let id = submitted(&run(&submit)).unwrap();
        let held = jobs(&run(&states))[&id].clone();
        run(&["scontrol", "release", &id]);
        let mut running = None;
        until("it runs", || {
            let job = jobs(&run(&states))[&id].clone();
            running = Some(job.clone());
            job.node.is_some()
        });
        run(&["scancel", &id]);
        until("it is over", || matches!(jobs(&run(&states))[&id].state, State::Ended(_)));
        let over = jobs(&run(&states))[&id].state;
        (held, running.map(|it| (it.state, it.restarts, it.reason, it.ours)), over)
    };
    let real = read(&|words| rig.slurm(words));
    let standing = read(&|words| standing(words));
    assert_eq!(real, standing);
}
