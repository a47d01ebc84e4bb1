//! Whole inputs after public reports, in `tests/fixtures/cases/`: services that start vLLM
//! in other ways than by its arguments, logs in other words, a daemon whose log breaks off,
//! a model that asks the hub at each start. Each is planned or swept as a user would.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, End, Life};
use crate::support::{Ran, Workplace, compose_tool, numbers, texts};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
const KEY: &str = "sk-not-a-real-key";

/// The files of a case, in a folder of their own.
fn case(name: &str) -> Workplace {
    let place = Workplace::new("");
    copy(Path::new(&format!("{FIXTURES}cases/{name}")), &place.path("."));
    place
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(file.file_name());
        if file.path().is_dir() {
            copy(&file.path(), &to);
        } else {
            std::fs::copy(file.path(), to).unwrap();
        }
    }
}

fn run(place: &Workplace, arguments: &[&str], daemon: Option<&Daemon>) -> Ran {
    let mut command = place.command(arguments);
    command.env("PATH", compose_tool(place));
    // No daemon of this machine is asked.
    let none = format!("unix://{}", place.path("no-daemon").display());
    command.env("DOCKER_HOST", daemon.map_or(none, Daemon::host));
    Ran::of(command.output().unwrap())
}

/// A plan's lines without their wrapping.
fn plan(place: &Workplace, grid: &str) -> (Option<i32>, String) {
    let ran = run(place, &["plan", grid], None);
    let printed = format!("{}\n{}", ran.out, ran.err);
    let words = printed.split(['\n', ' ', '│']).filter(|word| !word.is_empty());
    (ran.code, words.collect::<Vec<_>>().join(" "))
}

fn sweep(place: &Workplace, daemon: Option<&Daemon>) -> Ran {
    run(place, &["sweep", "grid.yaml", "--output", "run"], daemon)
}

/// A column of the results, each value once.
fn column(place: &Workplace, name: &str) -> Vec<String> {
    let mut values: Vec<String> =
        texts(&place.results("run"), name).into_iter().flatten().collect();
    values.sort();
    values.dedup();
    values
}

fn log_of_the_first(place: &Workplace) -> String {
    let mut launches = std::fs::read_dir(place.path("run/launches")).unwrap().flatten();
    let first = launches.find(|it| it.file_name().to_string_lossy().starts_with("1-")).unwrap();
    std::fs::read_to_string(first.path().join("engine.log")).unwrap()
}

#[test]
fn case_01_flags_in_a_script_are_varied_and_the_script_is_not_printed() {
    let place = case("01-shell-script-command");
    for (grid, alone) in [("grid.yaml", "CPU_KVCACHE_SPACE"), ("grid.list.yaml", "pip")] {
        let (code, printed) = plan(&place, grid);
        assert_eq!(code, Some(0), "{printed}");
        // Production is one of its own: three different configurations.
        for part in
            ["seqs16", "seqs64", "--max-num-seqs 32", "--max-num-seqs 16", "--max-num-seqs 64"]
        {
            assert!(printed.contains(part), "{grid}: {part}: {printed}");
        }
        assert!(!printed.contains("the same as"), "{grid}: {printed}");
        for part in [KEY, alone] {
            assert!(!printed.contains(part), "{grid}: {part}: {printed}");
        }
    }
}

#[test]
fn case_02_flags_for_a_launcher_are_refused_with_file_line_and_ways_out() {
    let place = case("02-launcher-entrypoint");
    let (code, printed) = plan(&place, "grid.yaml");
    assert_eq!(code, Some(2), "{printed}");
    // Names are broken at their hyphens, too.
    let printed = printed.replace("- ", "-");
    for part in [
        "grid.yaml:3: compose.yaml:17: `entrypoint` of the service `llm`",
        "`max-num-seqs` cannot be set",
        "`sh /launch.sh` is not known to pass its arguments on to vLLM",
        "vary environment variables only",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert_eq!(sweep(&place, None).code, Some(2));
    assert!(!place.path("run").exists(), "nothing was begun");
}

#[test]
fn case_10_a_level_glued_to_its_flag_is_that_flag() {
    let place = case("10-level-flag");
    let (code, printed) = plan(&place, "grid.yaml");
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("3 configurations"), "{printed}");
    let changes = printed.split("changes to").nth(1).unwrap();
    assert!(printed.contains("the same as: production"), "{printed}");
    // It goes wherever another value comes, and is never sent beside it.
    let expected =
        "optdefault - -O3 opt0 - -O3 + --optimization-level 0 opt3 - -O3 + --optimization-level 3";
    assert!(changes.contains(expected), "{changes}");
}

/// Case, log, class, and what is said of it.
const LOGS: [(&str, &str, &str, &str); 4] = [
    ("12-unknown-wording", "kv-cache-0.10.1.log", "kv_cache_too_small", "21184"),
    ("12-unknown-wording", "cuda-error-0.18.0.log", "out_of_memory", ""),
    ("14-coloured-log", "coloured-bad-value.log", "bad_flag", "--kv-cache-dtype"),
    ("14-coloured-log", "coloured-kv-cache.log", "kv_cache_too_small", "21184"),
];

#[test]
fn cases_12_and_14_known_failures_are_known_in_other_words_and_in_colour() {
    for (name, log, class, part) in LOGS {
        let place = case(name);
        std::fs::copy(format!("{FIXTURES}vllm-logs/{log}"), place.path("fail.log")).unwrap();
        let ran = sweep(&place, None);
        assert_eq!(ran.code, Some(1), "{log}: {}", ran.err);
        assert_eq!(column(&place, "failure_class"), [class], "{log}");
        assert!(column(&place, "reason").join(" ").contains(part), "{log}: {}", ran.err);
        if part == "21184" {
            let estimates = numbers(&place.results("run"), "estimated_max_model_len");
            assert!(estimates.contains(&Some(21184.0)), "{log}: {estimates:?}");
        }
        let journal = std::fs::read_to_string(place.path("run/journal.jsonl")).unwrap();
        for text in [&ran.out, &ran.err, &journal, &log_of_the_first(&place)] {
            assert!(!text.contains('\u{1b}') && !text.contains("\\u001b"), "{log}: {text}");
        }
    }
}

#[test]
fn case_14_more_a_model_path_that_is_missing_stops_at_once() {
    let place = case("14-model-path-missing");
    let log = Path::new(FIXTURES).join("vllm-logs/model-path-missing.log");
    std::fs::copy(log, place.path("fail.log")).unwrap();
    let ran = sweep(&place, None);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert_eq!(place.entries("run", "launch_started"), 1, "{}", ran.err);
    assert_eq!(column(&place, "failure_class"), ["environment"]);
    assert!(ran.err.contains("/models/Qwen3-8B"), "{}", ran.err);
}

#[test]
fn case_15_a_log_that_breaks_off_is_whole_at_the_end() {
    const LOG: &str = include_str!("../fixtures/cases/15-log-stream-breaks/container.log");
    let end =
        End { log: LOG, code: 1, lives: Duration::from_millis(900), cut: Some(190), stamps: false };
    let daemon = Daemon::start(move |_| Life::Ends(end));
    let place = case("15-log-stream-breaks");
    let ran = sweep(&place, Some(&daemon));
    assert_eq!(column(&place, "failure_class"), ["out_of_memory"], "{}", ran.err);
    assert_eq!(log_of_the_first(&place), LOG);
    assert!(ran.said().contains("broke off"), "{}", ran.err);
    assert!(daemon.is_empty(), "removed");
}

#[test]
fn case_16_a_model_that_asks_the_hub_at_each_start_is_measured() {
    const LOG: &str = include_str!("../fixtures/cases/16-offline-by-itself/container.log");
    let end = End { log: LOG, code: 1, lives: Duration::ZERO, cut: None, stamps: false };
    let is_offline = |body: &Value| {
        body["Env"].as_array().is_some_and(|all| all.iter().any(|it| it == "HF_HUB_OFFLINE=1"))
    };
    let daemon =
        Daemon::start(move |body| if is_offline(body) { Life::Ends(end) } else { Life::Serves });
    let place = case("16-offline-by-itself");
    let ran = sweep(&place, Some(&daemon));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(column(&place, "failure_class"), [""; 0]);
    assert_eq!(column(&place, "configuration").len(), 5, "each was measured");
    let offline: Vec<bool> = daemon.created().iter().map(is_offline).collect();
    assert_eq!(offline.iter().filter(|it| **it).count(), 1, "tried once: {offline:?}");
    assert!(ran.said().contains("HF_HUB_OFFLINE=1, which vllm-grid had set"), "{}", ran.err);
}

#[test]
fn case_06_everyday_keys_are_carried_over_or_mean_nothing() {
    let place = case("06-everyday-keys");
    // As the tool prints the file: the anchor is merged.
    let file = std::fs::read_to_string(place.path("compose.yaml")).unwrap();
    let image = "image: i:1, command: --model m --max-num-seqs 32";
    let file = file.replace("<<: *common,", &format!("{image},"));
    let file = file.replace("    <<: *common\n", "    image: i:1\n    command: --model m\n");
    std::fs::write(place.path("compose.yaml"), file).unwrap();
    for service in [
        "bounded",
        "foreign",
        "interactive",
        "limited",
        "named",
        "pulled",
        "reaped",
        "rocm",
        "stopped",
    ] {
        let (code, printed) = plan(&place, &format!("grid.{service}.yaml"));
        assert_eq!(code, Some(0), "{service}: {printed}");
        assert!(printed.contains("--max-num-seqs 64"), "{service}: {printed}");
    }
}

#[test]
fn case_07_a_variable_without_a_value_is_a_fault_wherever_it_stands() {
    let place = case("07-unset-out-of-sight");
    let run = |command: &str| {
        let mut command = place.command(&[command, "grid.yaml"]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(place.path("stub")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).unwrap());
        Ran::of(command.output().unwrap())
    };
    let planned = run("plan").expect(0);
    assert!(planned.out.contains("llm/compose.yaml:4:73"), "{}", planned.out);
    assert!(planned.out.contains("variable LLM_CONTEXT is not set"), "{}", planned.out);
    let swept = run("sweep").expect(2);
    assert!(swept.said().contains("variable LLM_CONTEXT is not set"), "{}", swept.err);
    assert!(!swept.said().contains("env-file"), "{}", swept.err);
    // It is in a file beside the compose file that nobody named.
    std::fs::write(place.path("llm/prod.env"), "LLM_CONTEXT=8192\n").unwrap();
    for (command, code) in [("plan", 0), ("sweep", 2)] {
        let ran = run(command).expect(code);
        let said = format!("{} {}", ran.out, ran.err);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("prod.env, which lies beside the compose file"), "{said}");
        assert!(said.contains("write it into `env-file`"), "{said}");
    }
}

#[test]
fn case_08_an_override_beside_a_default_name_is_read_and_named() {
    let place = case("08-override-file");
    let (code, printed) = plan(&place, "grid.yaml");
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("docker-compose.override.yml is laid over docker-compose.yml"),
        "{printed}"
    );
    assert!(printed.contains("--kv-cache-dtype fp8"), "{printed}");
    let grid = std::fs::read_to_string(place.path("grid.yaml")).unwrap();
    let grid = grid.replace("compose: docker-compose.yml", "compose: [docker-compose.yml]");
    std::fs::write(place.path("grid.yaml"), grid).unwrap();
    let (_, printed) = plan(&place, "grid.yaml");
    assert!(!printed.contains("override") || !printed.contains("fp8"), "{printed}");
    assert!(!printed.contains("--kv-cache-dtype fp8"), "{printed}");
}

#[test]
fn case_04_cdi_names_are_requests_of_the_daemon_in_either_spelling() {
    const SEEN: &str = "GPU-5a, 0, 23000, 24000\nGPU-5b, 1, 23000, 24000\n";
    let end = End { log: SEEN, code: 0, lives: Duration::ZERO, cut: None, stamps: false };
    let shows_gpus = |body: &Value| body["Entrypoint"][0] == "nvidia-smi";
    for (file, name) in [("devices", "nvidia.com/gpu=all"), ("reservation", "nvidia.com/gpu=1")] {
        let place = case("04-cdi-device");
        let grid = std::fs::read_to_string(place.path("grid.yaml")).unwrap();
        std::fs::write(place.path("grid.yaml"), grid.replace("FILE", file)).unwrap();
        let daemon = Daemon::start(
            move |body| if shows_gpus(body) { Life::Ends(end) } else { Life::Serves },
        );
        let ran = sweep(&place, Some(&daemon));
        assert_eq!(ran.code, Some(0), "{file}: {}", ran.err);
        let created = daemon.created();
        let candidates = created.iter().filter(|body| !shows_gpus(body)).count();
        assert_eq!(candidates, 1, "{file}: {created:?}");
        for body in &created {
            let host = &body["HostConfig"];
            let requests = host["DeviceRequests"].as_array().unwrap();
            assert_eq!(requests.len(), 1, "{file}: {body}");
            assert_eq!(requests[0]["Driver"], "cdi", "{file}: {body}");
            assert_eq!(requests[0]["DeviceIDs"], serde_json::json!([name]), "{file}: {body}");
            // A path of the host is what the daemon would look for in vain.
            assert!(!host["Devices"].to_string().contains("nvidia.com"), "{file}: {body}");
        }
    }
}

#[test]
fn case_31_more_the_rows_of_vllm_s_own_sweeps_keep_their_names() {
    let place = case("31-serve-params-as-include");
    let (code, printed) = plan(&place, "grid.yaml");
    assert_eq!(code, Some(0), "{printed}");
    for part in ["few", "many", "fp8", "--max-num-seqs 16", "--max-num-seqs 128"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(!printed.contains("benchmark"), "{printed}");
    let grid = std::fs::read_to_string(place.path("grid.yaml")).unwrap();
    let twice = grid.replace("\"_benchmark_name\": \"many\"", "\"_benchmark_name\": \"few\"");
    std::fs::write(place.path("twice.yaml"), twice).unwrap();
    let (code, printed) = plan(&place, "twice.yaml");
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("two configurations are named `few`"), "{printed}");
}
