//! Sweeps on the process engine: a local server command, relaunched per
//! configuration in its own process group. The server is our own `simulate`.

#![allow(clippy::unwrap_used, reason = "a specification fails loudly")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

fn place(speed: u32, launches: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let grid = format!(
        "name: local\nengine:\n  process:\n    command: ['{BINARY}', simulate, Qwen/Qwen3-0.6B, --sim-speed, '{speed}']\n    \
         flags: {{max-model-len: 4096}}\n    api-key-env: GRID_TEST_KEY\n\
         parameters:\n  max-num-seqs: [8]\ninclude:\n  - {{name: too_small, gpu-memory-utilization: 0.06}}\n\
         workloads:\n  kv-cache: {{prefix-tokens: [512], prompts: 2, output-tokens: 4}}\n\
         objective: {{minimize: kv_cache.ttft_resent_ms}}\nstrategy: {{grid: {{launches: {launches}, repeats: 1, seed: 1}}}}\n"
    );
    std::fs::write(folder.path().join("grid.yaml"), grid).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env("GRID_TEST_KEY", "sk-local");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether a process has this text in its command line.
fn runs(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).replace('\0', " ").contains(text))
}

#[test]
fn a_command_is_relaunched_per_configuration_and_nothing_of_it_is_left() {
    // The speed tells this test's servers from others'.
    let folder = place(401, 1);
    let output =
        command(folder.path(), &["sweep", "grid.yaml", "--output", "run"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let results = std::fs::read_to_string(folder.path().join("run/results.csv")).unwrap();
    assert!(
        results
            .lines()
            .any(|line| line.contains("too_small") && line.contains("kv_cache_too_small")),
        "{results}"
    );
    assert!(results.contains(",true,process,"), "simulated, and marked so: {results}");
    assert!(!runs("--sim-speed 401 "));
    let journal = std::fs::read_to_string(folder.path().join("run/journal.jsonl")).unwrap();
    assert!(!journal.contains("sk-local"));
}

#[test]
fn after_a_kill_the_server_is_found_and_ended() {
    let folder = place(3, 1);
    let mut sweep: Child =
        command(folder.path(), &["sweep", "grid.yaml", "--output", "run"]).spawn().unwrap();
    let started = Instant::now();
    while !runs("--sim-speed 3 ") || !folder.path().join("run/launches").exists() {
        assert!(started.elapsed() < Duration::from_mins(1), "no server came");
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(300));
    kill_process(Pid::from_raw(sweep.id().cast_signed()).unwrap(), Signal::KILL).unwrap();
    sweep.wait().unwrap();
    assert!(runs("--sim-speed 3 "), "an orphan");
    let recovered = command(folder.path(), &["recover", "run"]).output().unwrap();
    let told = String::from_utf8_lossy(&recovered.stdout).into_owned();
    assert!(told.contains("killed the process of"), "{told}");
    let gone = Instant::now();
    while runs("--sim-speed 3 ") {
        assert!(gone.elapsed() < Duration::from_secs(10), "it still runs");
        sleep(Duration::from_millis(20));
    }
}
