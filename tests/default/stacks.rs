//! Sweeps and plans that vary more than flags, on a scripted daemon with a compose tool that
//! fills in variables: every launch has the image, the command and the model of its own
//! configuration, and the results say which.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::daemon::{Daemon, Life, image_id};
use crate::support::{Ran, Workplace, texts};

const COMPOSE: &str = "services:\n  llm:\n    image: r/vllm:${TAG:-1}\n    \
    command: --model Qwen/Qwen3-0.6B --max-model-len 4096 --max-num-seqs ${SEQS:-16}\n";
const OTHER: &str = "services:\n  next:\n    image: r/next:7\n    \
    command: --model Qwen/Qwen3-0.6B --max-model-len 4096 --max-num-seqs 9\n";

const TAIL: &str = "workloads: {kv-cache: {prefix-tokens: [1024], prompts: 1, output-tokens: 4}}\n\
    objective: {minimize: kv_cache.ttft_resent_ms}\n\
    strategy: {grid: {launches: 1, repeats: 1, seed: 1}}\n";

/// A folder with a grid and two compose files, and a tool that replaces their variables and
/// notes each run.
fn place(grid: &str) -> Workplace {
    let place = Workplace::new(&format!(
        "name: stacks\nengine: {{docker: {{compose: c.yaml, service: llm, gpus: false, caches: false}}}}\n{grid}{TAIL}"
    ));
    std::fs::write(place.path("c.yaml"), COMPOSE).unwrap();
    std::fs::write(place.path("other.yaml"), OTHER).unwrap();
    std::fs::create_dir(place.path("tools")).unwrap();
    let tool = "#!/bin/sh\ncase \"$*\" in *version*) echo 2.30; exit;; esac\nfile=c.yaml\n\
        while [ $# -gt 0 ]; do [ \"$1\" = -f ] && file=$2; [ \"$1\" = --env-file ] && env=$2; shift; done\n\
        [ -z \"$env\" ] || [ -f \"$env\" ] || { echo \"couldn't find env file: $env\" >&2; exit 14; }\n\
        echo \"$file\" >> \"$(dirname \"$0\")/runs\"\n\
        [ -f \"$file\" ] || { echo \"open $file: no such file or directory\" >&2; exit 14; }\n\
        case \"$(cat \"$file\")\" in *'${MODEL_DIR}'*) [ -n \"$MODEL_DIR\" ] || echo \
        'level=warning msg=\"The \\\"MODEL_DIR\\\" variable is not set. Defaulting to a blank string.\"' >&2;; esac\n\
        sed -e \"s/\\${TAG:-1}/${TAG:-1}/; s/\\${SEQS:-16}/${SEQS:-16}/; s|\\${MODEL_DIR}|$MODEL_DIR|\" \"$file\"\n";
    let path = place.path("tools/docker");
    std::fs::write(&path, tool).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    place
}

fn run(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> Ran {
    let mut command = place.command(arguments);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(place.path("tools")).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).unwrap()).env("DOCKER_HOST", daemon.host());
    Ran::of(command.output().unwrap())
}

fn column(place: &Workplace, name: &str) -> BTreeSet<String> {
    texts(&place.results("run"), name).into_iter().flatten().collect()
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|it| (*it).to_owned()).collect()
}

const GRID: &str = "variables: {SEQS: ['8', '32']}\nimage: ['r/vllm:1', 'r/vllm:2']\n\
    include:\n  - {name: next, compose: other.yaml, service: next, model: Qwen/Qwen3-8B}\n";

#[test]
fn each_launch_starts_what_its_configuration_names_and_the_results_say_so() {
    let place = place(GRID);
    let daemon = Daemon::start(|_| Life::Serves);
    let ran = run(&place, &daemon, &["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let created: BTreeSet<(String, String)> = daemon
        .created()
        .iter()
        .map(|body| {
            let words = body["Cmd"].as_array().unwrap().iter().filter_map(Value::as_str);
            let words = words.collect::<Vec<_>>();
            let behind = |name: &str| {
                let at = words.iter().position(|it| *it == name).unwrap();
                words[at + 1].to_owned()
            };
            let made = format!("{} {}", behind("--model"), behind("--max-num-seqs"));
            (body["Image"].as_str().unwrap().to_owned(), made)
        })
        .collect();
    let expected: BTreeSet<(String, String)> = [
        ("r/vllm:1", "Qwen/Qwen3-0.6B 8"),
        ("r/vllm:1", "Qwen/Qwen3-0.6B 32"),
        ("r/vllm:2", "Qwen/Qwen3-0.6B 8"),
        ("r/vllm:2", "Qwen/Qwen3-0.6B 32"),
        ("r/next:7", "Qwen/Qwen3-8B 9"),
    ]
    .iter()
    .map(|(image, made)| (image_id(image), (*made).to_owned()))
    .collect();
    assert_eq!(created, expected, "{}", ran.err);
    assert_eq!(column(&place, "status"), set(&["ok"]), "{}", ran.err);
    assert_eq!(column(&place, "image"), set(&["r/next:7", "r/vllm:1", "r/vllm:2"]));
    assert_eq!(column(&place, "model"), set(&["Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B"]));
    assert_eq!(column(&place, "service"), set(&["c.yaml#llm", "other.yaml#next"]));
    assert_eq!(column(&place, "variable.SEQS"), set(&["32", "8"]));
    assert_eq!(
        column(&place, "image_id"),
        [image_id("r/next:7"), image_id("r/vllm:1"), image_id("r/vllm:2")].into()
    );
    // A resume comes to the same configurations, and there is nothing left to do.
    let again = run(&place, &daemon, &["resume", "run"]).expect(0);
    assert_eq!(daemon.created().len(), 5, "{}", again.err);
}

#[test]
fn a_plan_shows_each_and_reads_each_combination_once() {
    let place = place(GRID);
    let daemon = Daemon::start(|_| Life::Serves);
    let ran = run(&place, &daemon, &["plan", "grid.yaml"]).expect(0);
    for words in [
        "SEQS-8-vllm-1",
        "image r/vllm:2, SEQS=32",
        "service other.yaml#next, model Qwen/Qwen3-8B",
        "changes to the command of the service `next` with service other.yaml#next",
        "tokens are not one unit",
    ] {
        let printed =
            format!("{}{}", ran.out, ran.err).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let runs = std::fs::read_to_string(place.path("tools/runs")).unwrap();
    // Its own service, two values of SEQS (whatever the image), the other file.
    assert_eq!(runs.lines().count(), 4, "{runs}");
}

#[test]
fn what_another_service_needs_is_reported_before_anything_starts() {
    let place =
        place("include:\n  - {name: a}\n  - {name: b, compose: other.yaml, service: lost}\n");
    let daemon = Daemon::start(|_| Life::Serves);
    let ran = run(&place, &daemon, &["sweep", "grid.yaml", "--output", "run"]).expect(2);
    assert!(ran.err.contains("no service `lost`"), "{}", ran.err);
    assert!(daemon.created().is_empty());
}

#[test]
fn a_variable_where_it_has_no_effect_is_a_warning() {
    let place = place(
        "environment: {SEQS: '8'}\nvariables: {UNUSED: [a, b]}\nparameters: {max-num-seqs: 8}\n",
    );
    let daemon = Daemon::start(|_| Life::Serves);
    let ran = run(&place, &daemon, &["plan", "grid.yaml"]).expect(0);
    let printed =
        format!("{}{}", ran.out, ran.err).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(printed.contains("SEQS is a variable of the compose file"), "{printed}");
    assert!(printed.contains("UNUSED is not used by the service `llm`"), "{printed}");
}

#[test]
fn doctor_reads_what_every_row_starts_and_names_each_fault_with_its_row() {
    let rows = "include:\n  - {name: fine}\n  - {name: next, compose: other.yaml, service: next}\n  \
        - {name: gone, compose: lost.yaml, service: next}\n  \
        - {name: slip, compose: other.yaml, service: nxet}\n  \
        - {name: unset, compose: models.yaml, service: m}\n  \
        - {name: set, compose: models.yaml, service: m, variables: {MODEL_DIR: /nowhere/m}}\n  \
        - {name: envless, env-file: lost.env, compose: other.yaml, service: next}\n";
    let place = place(rows);
    let mounted = "services:\n  m:\n    image: r/vllm:4\n    \
        command: --model Qwen/Qwen3-0.6B --max-model-len 4096\n    \
        volumes: [{type: bind, source: /nowhere/models, target: /models, bind: {create_host_path: true}}]\n    \
        environment: {DIR: '${MODEL_DIR}'}\n";
    std::fs::write(place.path("models.yaml"), mounted).unwrap();
    let daemon = Daemon::start(|_| Life::Serves);
    let ran = run(&place, &daemon, &["doctor", "grid.yaml"]).expect(3);
    let line = |words: &[&str]| {
        let found = ran.out.lines().find(|line| words.iter().all(|it| line.contains(it)));
        found.unwrap_or_else(|| panic!("{words:?}: {}{}", ran.out, ran.err))
    };
    line(&["ok", "service: `next`: `next` (service other.yaml#next) can be read"]);
    for words in [
        ["`gone` (service lost.yaml#next)", "no such file"],
        ["`slip` (service other.yaml#nxet)", "no service `nxet`"],
        ["`unset` (service models.yaml#m)", "MODEL_DIR"],
        ["`envless` (service other.yaml#next)", "lost.env"],
    ] {
        assert!(line(&words).starts_with("problem  service: "), "{}", ran.out);
    }
    for image in ["r/vllm:1", "r/next:7", "r/vllm:4"] {
        line(&["ok", "image: ", image]);
    }
    line(&["warning", "mounts: `set`: ", "/nowhere/models is missing"]);
    assert!(!ran.out.contains("problem  service: `fine`"), "{}", ran.out);
    // What a sweep refuses, and no more.
    std::fs::write(place.path("grid.yaml"), fine(&place)).unwrap();
    let ran = run(&place, &daemon, &["doctor", "grid.yaml"]).expect(0);
    assert!(ran.out.contains("`next` (service other.yaml#next) can be read"), "{}", ran.out);
}

/// The grid of a place without the rows that are broken.
fn fine(place: &Workplace) -> String {
    let grid = std::fs::read_to_string(place.path("grid.yaml")).unwrap();
    let broken = ["name: gone", "name: slip", "name: unset", "name: envless"];
    let lines = grid.lines().filter(|line| !broken.iter().any(|it| line.contains(it)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Where each configuration gives the service's variables values, none is missing.
#[test]
fn doctor_misses_no_variable_that_every_configuration_sets() {
    let place = place("variables: {MODEL_DIR: [/a, /b]}\n");
    let compose = COMPOSE.replace("--max-model-len", "--download-dir ${MODEL_DIR} --max-model-len");
    std::fs::write(place.path("c.yaml"), compose).unwrap();
    let daemon = Daemon::start(|_| Life::Serves);
    let ran = run(&place, &daemon, &["doctor", "grid.yaml"]).expect(0);
    assert!(!ran.out.contains("problem"), "{}", ran.out);
}
