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
    let tool = "#!/bin/sh\nhere=$(dirname \"$0\")\n\
        case \"$*\" in *version*) echo asked >> \"$here/versions\"; echo 2.30; exit;; esac\nfile=c.yaml\n\
        while [ $# -gt 0 ]; do [ \"$1\" = -f ] && file=$2; [ \"$1\" = --env-file ] && env=$2; shift; done\n\
        [ -z \"$env\" ] || [ -f \"$env\" ] || { echo \"couldn't find env file: $env\" >&2; exit 14; }\n\
        echo \"$file\" >> \"$here/runs\"\n\
        [ -f \"$file\" ] || { echo \"open $file: no such file or directory\" >&2; exit 14; }\n\
        case \"$file\" in *broken*) cat \"$here/complaint\" >&2; exit 1;; esac\n\
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
    let versions = std::fs::read_to_string(place.path("tools/versions")).unwrap();
    assert_eq!(versions.lines().count(), 1, "the tool does not change within a command");
}

#[test]
fn a_plan_shows_the_model_that_each_starts_and_that_it_changes() {
    let place = place(
        "model: [Qwen/Qwen3-0.6B, Qwen/Qwen3-4B]\n\
         include:\n  - {name: opt, model: facebook/opt-125m}\n  \
         - {name: next, compose: other.yaml, service: next}\n",
    );
    std::fs::write(place.path("other.yaml"), OTHER.replace("Qwen3-0.6B", "Qwen3-1.7B")).unwrap();
    let daemon = Daemon::start(|_| Life::Serves);
    let printed = run(&place, &daemon, &["plan", "grid.yaml"]).expect(0).out;
    for words in [
        "vllm serve Qwen/Qwen3-0.6B --max-model-len 4096",
        "vllm serve Qwen/Qwen3-4B --max-model-len 4096",
        "vllm serve facebook/opt-125m --max-model-len 4096",
        "vllm serve Qwen/Qwen3-1.7B --max-model-len 4096",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let (_, changes) = printed.split_once("  opt\n").expect(&printed);
    let changes: Vec<&str> = changes.lines().take(2).map(str::trim).collect();
    assert_eq!(changes, ["- --model Qwen/Qwen3-0.6B", "+ --model facebook/opt-125m"], "{printed}");
    let json = run(&place, &daemon, &["plan", "grid.yaml", "--format", "json"]).expect(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    let rows = json["configurations"].as_array().unwrap();
    let opt = rows.iter().find(|it| it["name"] == "opt").unwrap();
    assert_eq!(opt["command"], serde_json::json!(["vllm", "serve", "facebook/opt-125m"]));
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

/// What a command printed, without its wrapping.
fn words(ran: &Ran) -> String {
    let text = format!("{} {}", ran.out, ran.err);
    text.split(['\n', ' ', '│']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

const COMPLAINT: &str = "Traceback (most recent call last):\n  File \"compose/cli/main.py\", line 81, in main\n    \
    run()\nyaml.scanner.ScannerError: mapping values are not allowed here\n  in \"./broken.yaml\", line 2, column 8\n\
    [71] Failed to execute script docker-compose\n";

#[test]
fn faults_of_all_rows_are_told_in_one_pass_and_good_rows_are_planned() {
    let place = place(
        "include:\n  - {name: good, max-num-seqs: 64}\n  - {name: astray, service: lost}\n  \
         - {name: bad, compose: broken.yaml}\n  - {name: gone, compose: gone.yaml}\n  \
         - {name: next, compose: other.yaml, service: next}\n",
    );
    std::fs::write(place.path("broken.yaml"), "services: a: b\n").unwrap();
    std::fs::write(place.path("tools/complaint"), COMPLAINT).unwrap();
    let daemon = Daemon::start(|_| Life::Serves);
    let expected = [
        "grid.yaml:5: `astray`: no service `lost` in the compose file (it has llm;",
        "grid.yaml:6: `bad`: `docker compose config` failed: mapping values are not allowed here in \
         \"./broken.yaml\", line 2, column 8",
        "grid.yaml:7: `gone`: gone.yaml: No such file or directory",
    ];
    for (command, code) in [("plan", 2), ("sweep", 2), ("doctor", 3)] {
        let ran = run(&place, &daemon, &[command, "grid.yaml"]).expect(code);
        let printed = words(&ran);
        for line in expected {
            assert!(printed.contains(line), "{command}: {line}: {printed}");
        }
        for raw in ["Traceback", "ScannerError", "Failed to execute", "ERROR"] {
            assert!(!printed.contains(raw), "{command}: {raw}: {printed}");
        }
        if command == "plan" {
            for part in ["+ --max-num-seqs 64", "changes to the command of the service `next`"] {
                assert!(printed.contains(part), "what can be read is shown: {part}: {printed}");
            }
        }
    }
    assert!(daemon.created().is_empty() && !place.path("runs").exists(), "nothing was begun");
}

#[test]
fn a_flag_that_a_row_s_service_cannot_take_is_told_with_the_row() {
    let place = place(
        "include:\n  - {name: good, max-num-seqs: 64}\n  \
         - {name: opaque, compose: launcher.yaml, max-num-seqs: 8}\n",
    );
    let launcher = "services:\n  llm: {image: 'r/vllm:1', entrypoint: [/launch.sh]}\n";
    std::fs::write(place.path("launcher.yaml"), launcher).unwrap();
    let daemon = Daemon::start(|_| Life::Serves);
    for command in ["plan", "sweep"] {
        let printed = words(&run(&place, &daemon, &[command, "grid.yaml"]).expect(2));
        assert!(printed.contains("grid.yaml:5: `opaque`: "), "{printed}");
        assert!(printed.contains("`max-num-seqs` cannot be set"), "{printed}");
    }
}

#[test]
fn without_a_compose_tool_a_plan_says_so_once_and_a_sweep_does_not_start() {
    let place = place(GRID);
    std::fs::write(place.path("tools/docker"), "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::copy(place.path("tools/docker"), place.path("tools/docker-compose")).unwrap();
    let daemon = Daemon::start(|_| Life::Serves);
    let planned = words(&run(&place, &daemon, &["plan", "grid.yaml"]).expect(0));
    assert_eq!(planned.matches("can be run: install one").count(), 1, "{planned}");
    let swept = words(&run(&place, &daemon, &["sweep", "grid.yaml"]).expect(3));
    assert_eq!(swept.matches("can be run: install one").count(), 1, "{swept}");
}

#[test]
fn what_is_said_of_stacks_is_said_once_at_its_own_entry() {
    let place = place(
        "variables:\n  SEQS: ['8', '32']\n  UNUSED: [a, b]\nimage: ['r/vllm:1', 'r/vllm:2']\n\
         include:\n  - {name: laid, compose: compose.yaml, max-num-seqs: 4}\n",
    );
    std::fs::write(place.path("compose.yaml"), COMPOSE).unwrap();
    std::fs::write(place.path("compose.override.yaml"), COMPOSE).unwrap();
    let daemon = Daemon::start(|_| Life::Serves);
    let ran = run(&place, &daemon, &["plan", "grid.yaml", "--format", "json"]).expect(0);
    let plan: Value = serde_json::from_str(&ran.out).unwrap();
    let about = |part: &str| -> Vec<(u64, String)> {
        let all = plan["warnings"].as_array().unwrap().iter();
        let told = all.filter(|it| it["message"].as_str().unwrap().contains(part));
        told.map(|it| {
            (it["line"].as_u64().unwrap_or(0), it["message"].as_str().unwrap().to_owned())
        })
        .collect()
    };
    let unused = about("UNUSED is not used");
    assert_eq!(unused.iter().map(|it| it.0).collect::<Vec<_>>(), [5], "{unused:?}");
    let laid = about("is laid over");
    assert_eq!(laid.iter().map(|it| it.0).collect::<Vec<_>>(), [8], "{laid:?}");
    assert!(laid[0].1.starts_with("`laid`: "), "{laid:?}");
}

#[test]
fn services_of_one_file_are_read_of_one_run() {
    let place = place("include:\n  - {name: a}\n  - {name: b, service: twin}\n");
    let twin = COMPOSE.split_once('\n').unwrap().1.replace("llm:", "twin:");
    std::fs::write(place.path("c.yaml"), format!("{COMPOSE}{twin}")).unwrap();
    let daemon = Daemon::start(|_| Life::Serves);
    run(&place, &daemon, &["plan", "grid.yaml"]).expect(0);
    let runs = std::fs::read_to_string(place.path("tools/runs")).unwrap();
    assert_eq!(runs.lines().count(), 1, "{runs}");
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
        ["grid.yaml:6: `gone`: lost.yaml", "No such file"],
        ["grid.yaml:7: `slip`", "no service `nxet`"],
        ["grid.yaml:8: `unset`: models.yaml:6:25", "MODEL_DIR"],
        ["grid.yaml:10: `envless`", "lost.env"],
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
    lines.flat_map(|line| [line, "\n"]).collect()
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
