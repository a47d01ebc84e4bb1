//! Compose services that start vLLM in another way than by its bare arguments: a shell
//! script, a launcher, flags in unusual spellings. What can be seen through is planned;
//! what cannot is refused by name; keys are never printed. A script plays the compose tool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Workplace, compose_tool};

const GRID: &str = "
name: shell
engine:
  docker: {compose: compose.yaml, service: llm}
baseline: production
AXES
workloads:
  load: {concurrency: [4], requests: 16, prompt-tokens: 64}
objective: {maximize: load.output_throughput}
";

const FLAGS: &str = "parameters: {max-num-seqs: [16, 64]}";
const ENVIRONMENT: &str = "environment: {NCCL_P2P_DISABLE: ['0', '1']}";

/// A script in the forms that it can have, and its line.
const SCRIPTS: [(&str, usize); 7] = [
    ("entrypoint: ['/bin/bash', '-c']\n    command:\n      - vllm serve m --api-key sk-1", 5),
    ("entrypoint: /bin/sh -ec 'exec vllm serve m --api-key sk-1'", 4),
    ("command: bash -lc \"cd / && vllm serve m --api-key sk-1\"", 4),
    ("command: ['/usr/bin/env', 'bash', '-c', 'vllm serve m --api-key sk-1']", 4),
    ("command: [su, -c, 'vllm serve m --api-key sk-1']", 4),
    ("command: [su, user, -c, 'vllm serve m --api-key sk-1']", 4),
    ("command: [/usr/sbin/runuser, -c, 'exec vllm serve m --api-key sk-1', user]", 4),
];

/// Services that cannot be seen through, the line, and why.
const OPAQUE: [(&str, usize, &str); 14] = [
    (
        "entrypoint: ['/bin/sh', '/launch.sh']\n    command: []",
        4,
        "`sh /launch.sh` is not known to pass",
    ),
    (
        "entrypoint: [/launch.sh]\n    command: [--api-key, sk-1]",
        4,
        "`launch.sh` is not known to pass",
    ),
    (
        "command: [sh, -c, 'vllm serve m --api-key sk-1 & exec vllm serve n']",
        4,
        "several commands of the script start vLLM (lines 1, 1)",
    ),
    (
        "entrypoint: [sh, -c]\n    command: ['exec vllm serve m --api-key sk-1 $$EXTRA_ARGS']",
        5,
        "takes flags out of `$EXTRA_ARGS`",
    ),
    ("command: [sh, -c, 'exec /start --api-key sk-1']", 4, "line 1 runs `start`"),
    ("command: env -S\"bash -c\" \"vllm serve m --api-key sk-1\"", 4, "what `env -S` runs"),
    (
        "command: [/usr/bin/env, -S, \"sh -c 'exec vllm serve m --api-key sk-1'\"]",
        4,
        "what `env -S` runs is not read",
    ),
    (
        "command: [python3, -c, 'import os; os.system(\"vllm serve m --api-key sk-1\")']",
        4,
        "what `python -c` runs is not read",
    ),
    ("command: [bash, /start.sh]", 4, "`bash /start.sh` is not known to pass"),
    ("command: [/start.sh]", 4, "`start.sh` is not known to pass"),
    ("command: [python3, /start.py, --api-key, sk-1]", 4, "`python3 /start.py` is not known"),
    (
        "command: [sh, -c, 'exec vllm serve m --api-key sk-1 \"$$*\"', --]",
        4,
        "takes flags out of `$*`",
    ),
    (
        "command: [sh, -c, 'exec \"vllm serve m --api-key sk-1\"']",
        4,
        "no command of the script starts vLLM; line 1 runs `...`",
    ),
    ("command: [su, user, --login]", 4, "what `su` runs is not read"),
];

struct Place {
    workplace: Workplace,
    path: std::ffi::OsString,
}

impl Place {
    fn new(axes: &str, service: &str) -> Self {
        let workplace = Workplace::new(&GRID.replace("AXES", axes));
        let compose = format!("services:\n  llm:\n    image: i:1\n    {service}\n");
        std::fs::write(workplace.path("compose.yaml"), compose).unwrap();
        let path = compose_tool(&workplace);
        Self { workplace, path }
    }

    /// Exit code, and all that was printed.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.workplace.command(arguments);
        let output = command.env("PATH", &self.path).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
    }
}

/// Lines may be wrapped in the middle of a sentence.
fn words(text: &str) -> String {
    text.split(['\n', ' ', '│']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_flag_is_varied_in_a_script_of_every_form() {
    for (service, _) in SCRIPTS {
        let place = Place::new(FLAGS, service);
        let (code, printed) = place.run(&["plan", "grid.yaml"]);
        assert_eq!(code, Some(0), "{service}: {printed}");
        for part in
            ["+ vllm serve m --api-key *** --max-num-seqs 16", "--max-num-seqs 64", "seqs16"]
        {
            let printed = words(&printed).replace("exec ", "").replace("cd / && ", "");
            assert!(printed.contains(part), "{part}: {printed}");
        }
        assert!(!printed.contains("sk-1"), "{printed}");
    }
}

#[test]
fn what_cannot_be_seen_through_is_refused_with_the_service_and_the_line() {
    for (service, line, why) in OPAQUE {
        let place = Place::new(FLAGS, service);
        for arguments in [&["plan", "grid.yaml"][..], &["sweep", "grid.yaml"]] {
            let (code, printed) = place.run(arguments);
            let printed = words(&printed);
            assert_eq!(code, Some(2), "{service}: {printed}");
            for part in [
                &format!("compose.yaml:{line}: "),
                "of the service `llm`",
                "`max-num-seqs` cannot be set",
                why,
                "write it as one `vllm serve ...`",
            ] {
                // A line may be broken at a hyphen, too.
                let (line, part) = (printed.replace(' ', ""), part.replace(' ', ""));
                assert!(line.contains(&part), "{part}: {printed}");
            }
            assert!(!printed.contains("sk-1"), "{printed}");
        }
        assert!(!place.workplace.path("runs").exists(), "nothing was begun");
    }
}

#[test]
fn a_varied_environment_is_planned_and_the_script_is_not_printed() {
    let opaque = OPAQUE.map(|(service, _, why)| (service, Some(why)));
    for (service, why) in SCRIPTS.map(|(service, _)| (service, None)).into_iter().chain(opaque) {
        let place = Place::new(ENVIRONMENT, service);
        for arguments in [&["plan", "grid.yaml"][..], &["plan", "grid.yaml", "--format", "json"]] {
            let (code, printed) = place.run(arguments);
            assert_eq!(code, Some(0), "{service}: {printed}");
            assert!(printed.contains("NCCL_P2P_DISABLE"), "{printed}");
            for part in ["sk-1", "bash -", "--api-key"] {
                assert!(!printed.contains(part), "{part}: {printed}");
            }
            let warned = words(&printed).contains("cannot be seen through");
            assert_eq!(warned, why.is_some(), "{service}: {printed}");
            if let Some(why) = why {
                assert!(words(&printed).contains(why), "{service}: {printed}");
            }
        }
    }
}

/// A service as its owner writes it today: a guard loop, flags on continued lines,
/// quoting across variables, French comments, doubled `$`.
const GUARDED: &str = r#"entrypoint: ["/bin/sh", "-c"]
    command:
      - |
        set -e
        # Attend que le dépôt soit monté (« fantôme » sinon)
        i=0
        while ! find /hf -size +4G | grep -q .; do
          i=$$((i+1)); [ "$$i" -gt 60 ] && { echo "dépôt absent" >&2; exit 1; }
          sleep 1
        done
        exec vllm serve "$$MODEL" \
          --host 0.0.0.0 --port 8080 \
          --api-key "sk-1" \
          --max-num-seqs 32 \
          --speculative-config '{"method":"mtp","num_speculative_tokens":'"$${MTP_TOKENS:-3}"'}' \
          --max-model-len 131072"#;

#[test]
fn a_guarded_script_is_planned_by_its_changed_lines() {
    let axes = "parameters: {max-num-seqs: [32, 64], enable-prefix-caching: [null, true]}";
    let place = Place::new(axes, GUARDED);
    let (code, printed) = place.run(&["plan", "grid.yaml"]);
    assert_eq!(code, Some(0), "{printed}");
    let (_, changes) = printed.split_once("\nchanges to").expect("the changes");
    insta::assert_snapshot!(changes, @r"
     the command of the service `llm`
      seqs32-prefixdefault
        none: unchanged
      seqs32-prefix
          13 -   --max-model-len 131072
          13 +   --max-model-len 131072 --enable-prefix-caching
      seqs64-prefixdefault
          11 -   --max-num-seqs 32 \
          11 +   --max-num-seqs 64 \
      seqs64-prefix
          11 -   --max-num-seqs 32 \
          11 +   --max-num-seqs 64 \
          13 -   --max-model-len 131072
          13 +   --max-model-len 131072 --enable-prefix-caching
    ");
    assert!(!printed.contains("sk-1") && !printed.contains("fantôme"), "{printed}");
}

#[test]
fn a_level_glued_to_its_flag_is_the_same_flag() {
    for spelt in ["-O3", "-O 3", "-O=3", "--optimization-level 3"] {
        let service = format!("command: --model example/model-8b --max-num-seqs 32 {spelt}");
        let place = Place::new("parameters: {optimization-level: [null, '0', '3']}", &service);
        let (code, printed) = place.run(&["plan", "grid.yaml"]);
        assert_eq!(code, Some(0), "{printed}");
        let printed = words(&printed);
        assert!(printed.contains("3 configurations"), "{spelt}: {printed}");
        assert!(printed.contains("opt3 (baseline)"), "{spelt}: {printed}");
        assert!(printed.contains("the same as: production"), "{spelt}: {printed}");
        let changes = printed.split("changes to").nth(1).unwrap();
        let shown = spelt.replace("--optimization-level 3", "");
        assert!(changes.contains(&format!("- {shown}")), "{spelt}: {changes}");
        assert!(changes.contains("+ --optimization-level 0"), "{spelt}: {changes}");
    }
}

#[test]
fn a_daemon_that_does_not_answer_is_a_warning_of_a_plan_and_an_error_of_a_sweep() {
    let place = Place::new(FLAGS, "command: [m, --seed, '1']");
    // It takes connections and never answers.
    let socket = place.workplace.path("docker.sock");
    let silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in silent.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        }
    });
    let run = |host: &std::path::Path, argument: &str, patience: &str| {
        let mut command = place.workplace.command(&[argument, "grid.yaml"]);
        command.env("VLLM_GRID_DAEMON_PATIENCE", patience);
        command.env("PATH", &place.path).env("DOCKER_HOST", format!("unix://{}", host.display()));
        let output = command.output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), words(&String::from_utf8_lossy(&printed)))
    };
    let (code, printed) = run(&socket, "plan", "2");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "a plan waits once, for whatever it asks");
    assert_eq!(code, Some(0), "{printed}");
    for part in [
        "what image i:1 starts by itself is not known",
        "which compose files production was made from is not known",
        "the Docker daemon did not answer within 2 s",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    // A machine without a daemon plans as if the image were vLLM's own.
    let (code, printed) = run(&place.workplace.path("none.sock"), "plan", "1");
    assert_eq!(code, Some(0), "{printed}");
    assert!(!printed.contains("starts by itself"), "{printed}");
    let (code, printed) = run(&socket, "sweep", "1");
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("does not answer: no answer in time"), "{printed}");
    assert!(!place.workplace.path("runs").exists(), "nothing was begun");
}

#[test]
fn what_is_not_known_of_a_command_of_the_process_engine_is_a_warning() {
    let engine = "docker: {compose: compose.yaml, service: llm}";
    let process = "process: {command: [python3, -c, 'import os; os.system(\"vllm\")']}";
    let grid = GRID.replace("AXES", ENVIRONMENT).replace("baseline: production\n", "");
    let workplace = Workplace::new(&grid.replace(engine, process));
    let output = workplace.command(&["plan", "grid.yaml"]).output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let printed = words(&printed);
    assert!(printed.contains("grid.yaml:4:"), "{printed}");
    assert!(printed.contains("what starts vLLM cannot be seen through"), "{printed}");
}
