//! The proof that a flag arrived, on the process engine: whatever starts the server, its
//! own arguments count. The server is our own `simulate`.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Workplace, texts};

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

/// A grid whose server is started by a program `vllm` with this text.
fn place(launcher: &str, axes: &str) -> Workplace {
    let grid = format!(
        "name: proof\nengine:\n  process:\n    command: [./vllm, serve, Qwen/Qwen3-0.6B, --sim-speed, '400']\n    \
         flags: {{max-model-len: 4096}}\n{axes}\
         workloads:\n  kv-cache: {{prefix-tokens: [512], prompts: 2, output-tokens: 4}}\n\
         objective: {{minimize: kv_cache.ttft_resent_ms}}\nstrategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}\n"
    );
    let place = Workplace::new(&grid);
    let program = place.path("vllm");
    let text = format!("#!/bin/sh\nshift 2\n{}", launcher.replace("SERVER", BINARY));
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    place
}

const AXES: &str = "parameters:\n  max-num-seqs: [8, 16]\n";

fn column(place: &Workplace, name: &str) -> Vec<Option<String>> {
    let mut values = texts(&place.results("run"), name);
    values.sort();
    values.dedup();
    values
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[test]
fn a_launcher_that_passes_its_arguments_on_proves_them_in_the_process() {
    // The server is a child of a shell behind a loop, and has a watchdog at its side.
    let launcher = "set -e\nuntil true; do sleep 1; done\n(while sleep 1; do :; done) &\n\
                    'SERVER' simulate Qwen/Qwen3-0.6B \"$@\"\n";
    let place = place(launcher, &format!("{AXES}environment:\n  NCCL_P2P_DISABLE: ['1']\n"));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert_eq!(column(&place, "verdict.max-num-seqs"), some(&["passed"]), "{}", ran.err);
    assert_eq!(column(&place, "effective.max-num-seqs"), some(&["16", "8"]));
    assert_eq!(column(&place, "verdict.environment.NCCL_P2P_DISABLE"), some(&["passed"]));
    assert_eq!(column(&place, "verdict.max-model-len"), some(&["honoured"]));
}

#[test]
fn a_launcher_that_drops_its_arguments_gives_no_ranking() {
    // The port is all that it looks at.
    let launcher = "while [ $# -gt 0 ]; do [ \"$1\" = --port ] && port=$2; shift; done\n\
                    exec 'SERVER' simulate Qwen/Qwen3-0.6B --sim-speed 400 --max-num-seqs 32 --port $port\n";
    let place = place(launcher, AXES);
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(1);
    assert_eq!(column(&place, "failure_class"), some(&["flag_not_applied"]), "{}", ran.err);
    assert_eq!(place.entries("run", "repeat_finished"), 0, "nothing is measured");
    assert_eq!(place.entries("run", "launch_started"), 2, "each configuration once");
    let reasons = column(&place, "reason");
    let reason = reasons[0].as_deref().unwrap();
    assert!(
        reason.contains("--max-num-seqs 16 did not reach vLLM: its log shows --max-num-seqs 32"),
        "{reason}"
    );
    let ranks = texts(&place.ranking("run"), "rank");
    assert!(ranks.iter().all(Option::is_none), "{ranks:?}");
}

#[test]
fn a_launcher_that_sets_another_variable_gives_no_ranking() {
    let launcher = "export NCCL_P2P_DISABLE=0\nunset OMP_NUM_THREADS\n\
                    exec 'SERVER' simulate Qwen/Qwen3-0.6B \"$@\"\n";
    let axes = "environment:\n  NCCL_P2P_DISABLE: ['1']\n  OMP_NUM_THREADS: ['4', '8']\n";
    let place = place(launcher, axes);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(1);
    assert_eq!(column(&place, "failure_class"), some(&["flag_not_applied"]));
    let reasons = column(&place, "reason");
    let reason = reasons[0].as_deref().unwrap();
    for part in [
        "NCCL_P2P_DISABLE=1 did not reach vLLM: its process has NCCL_P2P_DISABLE=0",
        "OMP_NUM_THREADS=4 did not reach vLLM: its process does not have the variable",
    ] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
}

#[test]
fn a_server_that_cannot_be_found_is_measured_as_unknown_and_said_once() {
    // To the tool this is some program of another name.
    let launcher = "ln -sf 'SERVER' ./other\nexec ./other simulate Qwen/Qwen3-0.6B \"$@\"\n";
    let place = place(launcher, AXES);
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert_eq!(column(&place, "verdict.max-num-seqs"), some(&["echoed"]));
    let said = "the arguments of the vLLM process cannot be read";
    assert_eq!(ran.err.matches(said).count(), 1, "{}", ran.err);
}
