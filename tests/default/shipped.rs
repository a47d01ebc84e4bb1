//! The grids that the repository ships, through the commands that a person runs:
//! each can be planned, and the overnight grid measures and judges what it says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Ran, Workplace, numbers, texts};
use serde_json::{Value, json};
use vllm_grid::bench::workloads::reasoning::puzzles;
use vllm_grid::bench::workloads::tool_calling::tasks::{self, Step};
use vllm_grid::workload::{ReasoningKind, Scenario};

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

fn grids() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grids")
}

/// `plan` of a grid for one of its engines, as JSON.
fn plan(grid: &Path, engine: &str) -> Ran {
    let mut command = Command::new(BINARY);
    command.arg("plan").arg(grid).args(["--engine", engine, "--format", "json"]);
    // What serves on this machine is no business of the grids.
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    command.env("VLLM_API_KEY", "sk-plan").stdin(Stdio::null());
    Ran::of(command.output().unwrap())
}

/// What is warned of. Without a compose tool the service is not read, and that is
/// said: it is this machine's, and no error of the grid.
fn warnings(plan: &Value) -> Vec<String> {
    let is_there = |tool: &str, arguments: &[&str]| {
        let mut command = Command::new(tool);
        command.args(arguments).stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    };
    let has_tool =
        is_there("docker", &["compose", "version"]) || is_there("docker-compose", &["version"]);
    let all = plan["warnings"].as_array().unwrap().iter();
    all.map(|warning| warning["message"].as_str().unwrap().to_owned())
        .filter(|warning| has_tool || !warning.contains("the command of the service is not read"))
        .collect()
}

#[test]
fn every_grid_can_be_planned_for_each_of_its_engines() {
    let mut planned = Vec::new();
    for entry in std::fs::read_dir(grids()).unwrap() {
        let grid = entry.unwrap().path();
        let text = std::fs::read_to_string(&grid).unwrap();
        let name = grid.file_stem().unwrap().to_str().unwrap().to_owned();
        for engine in ["docker", "process", "simulated"] {
            if !text.contains(&format!("\n  {engine}:")) {
                continue;
            }
            let ran = plan(&grid, engine).expect(0);
            let plan: Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!((&plan["name"], &plan["engine"]), (&json!(name), &json!(engine)));
            let warnings = warnings(&plan);
            for warning in &warnings {
                // The twelve and the four are the user's own: a flag that can hardly act is said.
                assert!(
                    warning.contains("is varied, but the objective"),
                    "{name} {engine}: {warning}"
                );
                assert!(["qwen3-twelve", "qwen3-validated"].contains(&&*name), "{name}: {warning}");
            }
            planned.push((name.clone(), engine, plan));
        }
    }
    let named: BTreeSet<&str> = planned.iter().map(|(name, _, _)| name.as_str()).collect();
    let known = ["quickstart", "qwen3-overnight", "qwen3-twelve", "qwen3-validated", "slurm"];
    assert_eq!(named, BTreeSet::from(known));
    assert_eq!(planned.len(), 8, "two with one engine, and three with two");

    let night =
        planned.iter().find(|(name, engine, _)| name == "qwen3-overnight" && *engine == "docker");
    let (_, _, plan) = night.unwrap();
    // Both blocks fit into the night and its budget, however slow all is; the rest is for duels.
    assert_eq!((&plan["least_launches"], &plan["budget_hours"]), (&json!(12), &json!(12.0)));
    let begun = &plan["begun_within_budget"];
    assert!(begun["least"].as_u64().unwrap() >= 12, "{begun}");
}

#[test]
fn the_readme_s_example_can_be_planned_without_a_warning() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let start = readme.find("   name: my-service").expect("the example");
    let example = &readme[start..start + readme[start..].find("   ```").expect("its end")];
    // It is in a list.
    let lines = example.lines().map(|line| line.strip_prefix("   ").unwrap_or(line));
    let compose = root.join("compose/qwen3-32b-awq.yaml").display().to_string();
    let text = lines.collect::<Vec<_>>().join("\n").replace("../docker-compose.yaml", &compose);
    let place = Workplace::new(&text);
    let ran = plan(&place.path("grid.yaml"), "docker").expect(0);
    let plan: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(warnings(&plan), [""; 0]);
}

/// What README shows of it stands in the report on the example, in the same order.
#[test]
fn the_readme_shows_the_report_on_the_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let start = readme.find("```text\nSIMULATED").expect("the example") + "```text\n".len();
    let shown = &readme[start..start + readme[start..].find("```").expect("its end")];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
    command.args(["report", "runs/example"]).current_dir(root).env("COLUMNS", "80");
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut rest = printed.as_str();
    for part in shown.split("[...]\n").map(|part| part.trim_matches('\n')) {
        let at = rest.find(part).unwrap_or_else(|| panic!("not printed:\n{part}\n\n{printed}"));
        rest = &rest[at + part.len()..];
    }
    assert!(rest.trim().is_empty(), "README leaves out its end: {rest}");
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
}

fn overnight() -> String {
    std::fs::read_to_string(grids().join("qwen3-overnight.yaml")).unwrap()
}

/// The text with each of these replaced; all of them must be there.
fn replaced(mut text: String, changes: &[(&str, &str)]) -> String {
    for (from, to) in changes {
        assert!(text.contains(from), "the grid no longer says `{from}`");
        text = text.replace(from, to);
    }
    text
}

/// The overnight grid with small numbers, and two launches of each.
fn smaller() -> String {
    replaced(overnight(), &SMALLER) + "\nstrategy: {grid: {launches: 2, repeats: 2, seed: 1}}\n"
}

/// Smaller numbers, the same workloads, cases, objective and bounds.
const SMALLER: [(&str, &str); 13] = [
    ("speed: 20", "speed: 100"),
    ("max-num-seqs: [16, 32, 64]", "max-num-seqs: [32]"),
    ("prompts: 4", "prompts: 1"),
    ("turns: 15", "turns: 4"),
    // Fewer answers than these show nothing, right or wrong.
    (
        "instances: 8, thinking: false, max-tokens: 896",
        "instances: 6, thinking: false, max-tokens: 896",
    ),
    (
        "instances: 8, thinking: false, max-tokens: 512",
        "instances: 6, thinking: false, max-tokens: 512",
    ),
    ("depths: [0.05, 0.15, 0.3, 0.45, 0.6, 0.7, 0.85, 0.95]", "depths: [0.1, 0.3, 0.5, 0.7, 0.9]"),
    ("contexts: [10000]", "contexts: [1000]"),
    ("[128, 512, 1024, 2048, 4096]", "[128, 512]"),
    (
        "prompt-tokens: 1024, shared-prefix-tokens: 512, output-tokens: 128, repeats: 2",
        "prompt-tokens: 256, shared-prefix-tokens: 128, output-tokens: 4, requests: 48, repeats: 1",
    ),
    // 64 in flight at 100 times the speed keep a debug build's client busier than its server.
    ("load: {concurrency: [8, 64]", "load: {concurrency: [8, 16]"),
    ("maximize: load[concurrency=64]", "maximize: load[concurrency=16]"),
    ("compose: ../compose", "compose: /nowhere"),
];

#[test]
fn the_external_benchmark_of_the_overnight_grid_may_be_switched_on() {
    let text = overnight();
    let on = text.replace("  # command:", "  command:").replace("  #   --", "     --");
    assert_eq!(text.lines().count(), on.lines().count());
    assert_ne!(text, on);
    let place = Workplace::new(&on);
    let ran = place.run(&["plan", "grid.yaml", "--engine", "simulated"]).expect(0);
    // Lines are folded to the terminal's width.
    let printed = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(printed.contains("the time of `command` is unknown"), "{printed}");
}

/// Every bound of the grid, as the ranking names its column.
const LATENCIES: [&str; 2] =
    ["constraint.load[concurrency=8].median_ttft_ms", "constraint.kv_cache.ttft_miss_ms"];
const ANSWERS: [&str; 5] = [
    "constraint.reasoning[kind=planning].accuracy",
    "constraint.reasoning[kind=logic].accuracy",
    "constraint.reasoning[kind=code-review].accuracy",
    "constraint.tool_calling[scenario=single].accuracy",
    "constraint.long_context.accuracy",
];

#[test]
fn the_overnight_grid_runs_every_workload_and_random_answers_are_not_ranked() {
    // A repeat is void in which the client was the bottleneck.
    let place = Workplace::alone(&smaller());
    let sweep = ["sweep", "grid.yaml", "--engine", "simulated", "--output", "run"];
    let ran = place.run(&sweep).expect(1);
    let results = place.results("run");
    let column = |name| texts(&results, name).into_iter().map(Option::unwrap_or_default);
    let rows: Vec<_> = column("configuration")
        .zip(column("workload"))
        .zip(column("case"))
        .zip(column("status").zip(column("reason")))
        .zip(numbers(&results, "repeat"))
        .collect();
    let kinds =
        ["planning", "logic", "code-review"].map(|kind| ("reasoning", format!("kind={kind}")));
    let scenarios = Scenario::ALL.map(|scenario| ("tool-calling", format!("scenario={scenario}")));
    let loads = [8, 16].map(|count| ("load", format!("concurrency={count}")));
    let alone = ["kv-cache", "conversation", "long-context", "stability"];
    let cases: BTreeSet<(&str, String)> = kinds
        .into_iter()
        .chain(scenarios)
        .chain(loads)
        .chain(alone.map(|name| (name, String::new())))
        .collect();
    for configuration in ["prefix", "noprefix"] {
        for repeat in [0.0, 1.0] {
            let of =
                rows.iter().filter(|row| row.0.0.0.0 == configuration && row.1 == Some(repeat));
            let measured: BTreeSet<(&str, String)> = of
                .map(|((((_, workload), case), (status, reason)), _)| {
                    assert_eq!(status, "ok", "{configuration} {workload} {case}: {reason}");
                    (workload.as_str(), case.clone())
                })
                .collect();
            assert_eq!(measured, cases, "{configuration}, repeat {repeat}");
        }
    }
    assert_eq!(rows.len(), 4 * 2 * cases.len(), "two launches of each");

    let ranking = place.ranking("run");
    assert_eq!(ranking.height(), 2);
    assert!(numbers(&ranking, "rank").iter().all(Option::is_none), "{}", ran.out);
    for bound in LATENCIES {
        let verdicts = texts(&ranking, bound);
        assert!(verdicts.iter().all(|it| it.as_deref() == Some("holds")), "{bound}: {verdicts:?}");
    }
    for bound in ANSWERS {
        let verdicts = texts(&ranking, bound);
        assert!(
            verdicts.iter().all(|it| it.as_deref() == Some("violated")),
            "{bound}: {verdicts:?}"
        );
    }
}

/// Right answers to what the first repeat asks.
fn right_answers() -> Value {
    let puzzles =
        ReasoningKind::ALL.into_iter().flat_map(|kind| puzzles::of_repeat(kind, 1, "1", 6));
    let solved = puzzles.map(
        |puzzle| json!({"when": puzzle.prompt, "content": format!("ANSWER: {}", puzzle.answer)}),
    );
    let tasks = tasks::of_repeat(Scenario::Single, 1, "1", 6);
    let called = tasks.into_iter().map(|task| {
        let Some(Step::Calls(calls)) = task.steps.first() else { panic!("a call") };
        let call = &calls[0].0;
        json!({"when": task.prompt,
               "tool_calls": [{"name": call.name, "arguments": call.arguments}]})
    });
    solved.chain(called).collect()
}

#[test]
fn right_answers_hold_the_overnight_grids_bounds_and_are_ranked() {
    let folder = tempfile::tempdir().unwrap();
    let answers = folder.path().join("answers.json");
    std::fs::write(&answers, right_answers().to_string()).unwrap();
    let mut text = smaller();
    // What is not judged by answers that a script knows has its turn above.
    for line in [
        "  kv-cache:",
        "  conversation:",
        "  long-context:",
        "  stability:",
        "    - {metric: kv_cache",
        "    - {metric: long_context",
    ] {
        let start = text.find(line).unwrap_or_else(|| panic!("the grid no longer says `{line}`"));
        let end = start + text[start..].find('\n').unwrap() + 1;
        text.replace_range(start..end, "");
    }
    let process = format!(
        "\n  process:\n    command: ['{BINARY}', simulate, Qwen/Qwen3-32B-AWQ, --sim-gpu, rtx-4090, \
         --sim-gpus, 2, --sim-speed, 100, --sim-boot-seconds, 0, --sim-answers, '{}']\n    flags:",
        answers.display()
    );
    let start = text.find("\n  simulated:").unwrap();
    let end = start + text[start..].find("\n    flags:").unwrap() + "\n    flags:".len();
    text.replace_range(start..end, &process);
    let place = Workplace::alone(&text);
    let ran =
        place.run(&["sweep", "grid.yaml", "--engine", "process", "--output", "run"]).expect(0);
    let ranking = place.ranking("run");
    assert!(numbers(&ranking, "rank").iter().all(Option::is_some), "{}", ran.out);
    for bound in &ANSWERS[..4] {
        let verdicts = texts(&ranking, bound);
        assert!(verdicts.iter().all(|it| it.as_deref() == Some("holds")), "{bound}: {verdicts:?}");
    }
}

/// After a power cut nobody is there: a unit that gives up leaves production down.
#[test]
fn the_units_try_again_for_as_long_as_something_is_owed() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    for unit in ["system/vllm-grid-recover@.service", "user/vllm-grid-recover.service"] {
        let text = std::fs::read_to_string(shipped.join(unit)).unwrap();
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|line| line.0 == key).map(|line| line.1.to_owned())
        };
        assert_eq!(value("Restart").as_deref(), Some("on-failure"), "{unit}");
        // Any other value is a number of tries.
        assert_eq!(value("StartLimitIntervalSec").as_deref(), Some("0"), "{unit}");
        assert_eq!(value("StartLimitBurst"), None, "{unit}");
        assert!(text.contains("VLLM_GRID_STATE"), "{unit}: where notes are is said");
    }
}
