//! The commands at their edge: help, signals, exit codes, what is printed.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

use crate::support::until;

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder);
    if folder.is_absolute() {
        command.env("VLLM_GRID_STATE", folder.join("state"));
        command.env("VLLM_GRID_CLAIMS", folder.join("state"));
    }
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
        let printed = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));
        for option in
            ["--sim-gpu NAME", "--sim-speed FACTOR", "--sim-fail CLASS", "--sim-unhealthy"]
        {
            assert!(printed.contains(option), "{option}: {printed}");
        }
        assert!(printed.lines().all(|line| line.chars().count() <= 100), "{printed}");
    }
}

#[test]
fn a_report_shows_every_figure_of_a_workload() {
    let output = ran(&["report", "runs/example", "--workload", "load"]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));
    for word in ["SIMULATED", "median_ttft_ms", "output_throughput tok/s", "#1 "] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    let output = ran(&["report", "runs/example", "--workload", "reasoning"]);
    assert_eq!(output.status.code(), Some(2));
    let printed = text(&output.stderr);
    assert!(printed.contains("the sweep has no workload `reasoning`"), "{printed}");
}

#[test]
fn a_report_as_json_is_one_document() {
    let output = ran(&["report", "runs/example", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(document["run"], "runs/example");
    assert_eq!(
        (&document["simulated"], &document["extent"]["state"]),
        (&true.into(), &"complete".into())
    );
    let both = ["report", "runs/example", "--format", "json", "--workload", "load"];
    let output = ran(&both);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("leave out --workload"), "{}", text(&output.stderr));
}

/// A copy of the example; `change` may change each of its journal's entries.
fn copy_of_example(target: &Path, change: impl Fn(&mut serde_json::Value)) {
    let example = Path::new("runs/example");
    std::fs::create_dir(target).unwrap();
    std::fs::copy(example.join("manifest.json"), target.join("manifest.json")).unwrap();
    let mut journal = String::new();
    for line in std::fs::read_to_string(example.join("journal.jsonl")).unwrap().lines() {
        let mut line = serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].take();
        change(&mut line["entry"]);
        let body = line.to_string();
        let mut checksum = String::new();
        for byte in &Sha256::digest(body.as_bytes())[..8] {
            write!(checksum, "{byte:02x}").unwrap();
        }
        writeln!(journal, r#"{{"checksum":"{checksum}","line":{body}}}"#).unwrap();
    }
    std::fs::write(target.join("journal.jsonl"), journal).unwrap();
}

#[test]
fn sweeps_are_compared_from_their_journals_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (same, slower) = (folder.path().join("same"), folder.path().join("slower"));
    copy_of_example(&same, |_| {});
    // A newer engine, with which everything takes twice as long.
    copy_of_example(&slower, |entry| {
        if let Some(version) = entry.pointer_mut("/facts/engine_version") {
            *version = "0.99.0".into();
        }
        if let Some(rate) = entry.pointer_mut("/measurement/metrics/output_throughput") {
            *rate = rate.as_f64().map(|rate| rate / 2.0).into();
        }
    });
    let compared = |other: &Path| {
        let arguments = ["compare", "runs/example", other.to_str().unwrap()];
        let output = ran(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert!(printed.starts_with("SIMULATED"), "{printed}");
        assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
        let json = ran(&[&arguments[..], &["--format", "json"]].concat()).stdout;
        (printed, serde_json::from_slice::<serde_json::Value>(&json).unwrap())
    };
    let changes = |json: &serde_json::Value| -> Vec<(f64, serde_json::Value)> {
        assert_eq!(json["schema_version"], 1);
        let configurations = json["configurations"].as_array().unwrap();
        let changes = configurations.iter().map(|it| &it["change"]);
        let changes = changes.filter(|change| !change.is_null());
        changes.map(|it| (it["value"].as_f64().unwrap(), it["shown"].clone())).collect()
    };

    let (printed, json) = compared(&same);
    assert!(printed.contains("A and B are the same sweep"), "{printed}");
    assert!(printed.contains("1.00 [") && !printed.contains("]  worse"), "{printed}");
    let all = changes(&json);
    assert_eq!(all.len(), 8, "the starved one has no figure");
    assert!(all.iter().all(|(ratio, shown)| (ratio - 1.0).abs() < 1e-9 && shown.is_null()));

    let (printed, json) = compared(&slower);
    assert!(printed.contains("- engine version: A 0.32.0+simulated; B 0.99.0"), "{printed}");
    assert!(printed.contains("0.500 [") && printed.contains("]  worse"), "{printed}");
    let all = changes(&json);
    assert!(all.iter().all(|(ratio, shown)| (ratio - 0.5).abs() < 1e-9 && shown == "worse"));
    assert_eq!(json["unlike"][0]["what"], "engine version");
}

#[test]
fn sweeps_that_cannot_be_compared_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let path = folder.path().join(name);
        copy_of_example(&path, |_| {});
        path
    };
    let damaged = copy("damaged");
    let journal = std::fs::read_to_string(damaged.join("journal.jsonl")).unwrap();
    let changed = journal.replacen("\"launch\":1", "\"launch\":7", 1);
    std::fs::write(damaged.join("journal.jsonl"), changed).unwrap();
    let other = copy("other");
    let manifest = std::fs::read_to_string(other.join("manifest.json")).unwrap();
    let sought = "\"metric\": \"load.output_throughput\"";
    let instead = "\"metric\": \"load.total_token_throughput\"";
    std::fs::write(other.join("manifest.json"), manifest.replacen(sought, instead, 1)).unwrap();
    let missing = folder.path().join("missing");
    for (path, code, wanted) in [
        (&missing, 2, "missing holds no sweep"),
        (&damaged, 3, "damaged/journal.jsonl, line 2: its checksum does not fit"),
        (&other, 2, "`maximize load.total_token_throughput`"),
    ] {
        let mut command =
            command(Path::new("."), &["compare", "runs/example", path.to_str().unwrap()]);
        let output = command.output().unwrap();
        let printed = text(&output.stderr).replace('│', "");
        let printed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(printed.contains(wanted), "{wanted}: {printed}");
    }
    let named = ["--metric", "load.median_ttft_ms"];
    let both = ["compare", "runs/example", other.to_str().unwrap()];
    let output = ran(&[&both[..], &named].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("minimize load.median_ttft_ms in ms"));
    let output = ran(&["compare", "runs/example"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("2 values required"), "{}", text(&output.stderr));
}

#[test]
fn workloads_and_their_options_are_listed_in_a_command_and_in_the_help_of_bench() {
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
    let printed: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(printed[0]["workload"], "load");
    let options = printed[0]["options"].as_array().unwrap();
    let named = |name: &str| options.iter().find(|option| option["name"] == name).unwrap();
    assert_eq!(named("concurrency")["several"], true);
    assert_eq!(named("output-tokens")["values"], "a whole number from 1 to 100000");
    assert!(named("repeats")["help"].as_str().unwrap().contains("kept repeats"));
}

#[test]
fn metrics_may_be_those_of_one_workload() {
    let printed: serde_json::Value = serde_json::from_slice(
        &ran(&["metrics", "--workload", "kv-cache", "--format", "json"]).stdout,
    )
    .unwrap();
    let metrics = printed.as_array().unwrap();
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
            // Lines are folded to the terminal's width, at slashes too.
            let folded = |text: &str| text.replace(char::is_whitespace, "");
            let printed = folded(&text(&output.stderr).replace('│', ""));
            for part in [
                "my run/manifest.json: it is damaged (EOF while parsing",
                "restore it from a copy",
                "Without it the sweep cannot be displayed or resumed",
            ] {
                assert!(printed.contains(&folded(part)), "{arguments:?}: {printed}");
            }
        }
    }
}

/// Going on would write over its launches.
#[test]
fn a_sweep_that_lost_its_journal_is_neither_reported_nor_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    copy_of_example(&run, |_| {});
    std::fs::create_dir_all(run.join("launches/1-plain")).unwrap();
    std::fs::copy("runs/example/grid.yaml", run.join("grid.yaml")).unwrap();
    std::fs::remove_file(run.join("journal.jsonl")).unwrap();
    for name in ["report", "resume"] {
        let output = ran(&[name, run.to_str().unwrap()]);
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{name}: {printed}");
        assert!(printed.contains("it is missing"), "{name}: {printed}");
    }
    assert!(!run.join("journal.jsonl").exists());
}

#[test]
fn a_bench_without_repeats_is_wrong_input() {
    let output = ran(&["bench", "http://127.0.0.1:9", "--repeats", "0"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
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
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let said = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("give the grid a larger `budget` and start a new sweep"), "{printed}");
    // That is how it is: neither of these launches anything.
    let launched = || {
        let journal =
            std::fs::read_to_string(folder.path().join("the night/journal.jsonl")).unwrap();
        journal.matches("launch_started").count()
    };
    let before = launched();
    let resumed = command(folder.path(), &["resume", "the night"]).output().unwrap();
    assert_eq!((resumed.status.code(), launched()), (Some(0), before), "{}", text(&resumed.stderr));
    std::fs::write(folder.path().join("grid.yaml"), grid.replace("1s", "9h")).unwrap();
    let changed = command(folder.path(), &["resume", "the night"]).output().unwrap();
    assert_eq!((changed.status.code(), launched()), (Some(2), before), "{}", text(&changed.stderr));
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
        until("it ends", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(4), "{arguments:?}");
    }
}
