//! The commands at their edge: help, signals, exit codes, what a person is told.

#![allow(clippy::unwrap_used, reason = "a specification fails loudly")]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ran(arguments: &[&str]) -> Output {
    command(Path::new("."), arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_simulators_help_lists_its_own_options_wherever_it_is_asked_for() {
    for arguments in [
        &["simulate", "--help"][..],
        &["simulate", "Qwen/Qwen3-0.6B", "--max-num-seqs", "8", "--help"],
    ] {
        let output = ran(arguments);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{told}{}", text(&output.stderr));
        for option in
            ["--sim-gpu NAME", "--sim-speed FACTOR", "--sim-fail CLASS", "--sim-unhealthy"]
        {
            assert!(told.contains(option), "{option}: {told}");
        }
        assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
    }
}

#[test]
fn a_report_shows_every_figure_of_a_workload() {
    let output = ran(&["report", "runs/example", "--workload", "load"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}{}", text(&output.stderr));
    for word in ["SIMULATED", "median_ttft_ms", "output_throughput tokens/s", "#1 "] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let output = ran(&["report", "runs/example", "--workload", "reasoning"]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("the sweep has no workload `reasoning`"), "{told}");
}

#[test]
fn workloads_and_their_options_are_told_in_a_command_and_in_the_help_of_bench() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let one = text(&ran(&["workloads", "long_context"]).stdout);
    assert!(one.starts_with("long-context\n"), "{one}");
    for part in ["depths", "(default [0.1, 0.5, 0.9])", "from 0 to 1", "warmup", "(default 1)"] {
        assert!(words(&one).contains(part), "{part}: {one}");
    }
    assert!(!one.contains("find-max-rate"), "{one}");
    let help = text(&ran(&["bench", "--help"]).stdout);
    let all = text(&ran(&["workloads"]).stdout);
    assert!(words(&help).ends_with(&words(&all)), "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    assert!(
        !text(&ran(&["bench", "-h"]).stdout).contains("find-max-rate"),
        "the short one is short"
    );

    let json = ran(&["workloads", "load", "--format", "json"]).stdout;
    let told: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(told[0]["workload"], "load");
    let options = told[0]["options"].as_array().unwrap();
    let named = |name: &str| options.iter().find(|option| option["name"] == name).unwrap();
    assert_eq!(named("concurrency")["several"], true);
    assert_eq!(named("output-tokens")["values"], "a whole number from 1 to 100000");
    assert!(named("repeats")["help"].as_str().unwrap().contains("kept repeats"));
}

#[test]
fn metrics_may_be_those_of_one_workload() {
    let told: serde_json::Value = serde_json::from_slice(
        &ran(&["metrics", "--workload", "kv-cache", "--format", "json"]).stdout,
    )
    .unwrap();
    let metrics = told.as_array().unwrap();
    assert!(metrics.len() > 30 && metrics.iter().all(|metric| metric["workload"] == "kv_cache"));
    let output = ran(&["metrics", "--workload", "kv-cashe"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean `kv-cache`?"));
}

#[test]
fn a_broken_manifest_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("my run");
    std::fs::create_dir(&run).unwrap();
    for damaged in ["", "{\"schema_version\": 1, \"sweep\": "] {
        std::fs::write(run.join("manifest.json"), damaged).unwrap();
        for arguments in [["report", "my run"], ["resume", "my run"], ["export", "my run"]] {
            let output = command(folder.path(), &arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(2));
            // Lines are folded to the terminal's width.
            let told = text(&output.stderr).replace('│', "");
            let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
            for part in [
                "my run/manifest.json: it is damaged (EOF while parsing",
                "restore it from a copy",
                "its measurements are in my run/journal.jsonl",
            ] {
                assert!(told.contains(part), "{arguments:?}: {told}");
            }
        }
    }
}

#[test]
fn a_sweep_that_is_not_complete_says_how_to_go_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let grid = "name: night\nengine: {simulated: {model: Qwen/Qwen3-0.6B, gpu: h100, speed: 8, flags: \
                {max-model-len: 4096}}}\nparameters: {max-num-seqs: [8, 16, 32]}\nworkloads: {kv-cache: \
                {prefix-tokens: [512], prompts: 1, output-tokens: 4}}\nobjective: {minimize: \
                kv_cache.ttft_resent_ms}\nstrategy: {grid: {launches: 1, repeats: 1}}\nbudget: 1s\n";
    std::fs::write(folder.path().join("grid.yaml"), grid).unwrap();
    let sweep = ["sweep", "grid.yaml", "--output", "the night"];
    let output = command(folder.path(), &sweep).output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("`vllm-grid resume 'the night'` goes on with it"), "{told}");
}

/// Nobody reads what it prints, so it cannot end by itself.
#[test]
fn a_command_that_only_prints_ends_with_the_first_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<String> = (1..=2000).map(|number| number.to_string()).collect();
    let grid = format!(
        "name: large\nengine: {{simulated: {{model: Qwen/Qwen3-0.6B, gpu: h100}}}}\nparameters: {{max-num-seqs: [{}]}}\n\
         workloads: {{load: }}\nobjective: {{minimize: load.median_ttft_ms}}\n",
        values.join(", ")
    );
    std::fs::write(folder.path().join("grid.yaml"), grid).unwrap();
    for arguments in
        [&["plan", "grid.yaml", "--format", "json"][..], &["metrics", "--format", "json"]]
    {
        let mut child = command(folder.path(), arguments).spawn().unwrap();
        let mut printed = child.stdout.take().unwrap();
        // It prints: its signals are listened for.
        printed.read_exact(&mut [0; 8]).unwrap();
        kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
        let started = Instant::now();
        let ended = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{arguments:?} goes on");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(ended.code(), Some(4), "{arguments:?}");
    }
}
