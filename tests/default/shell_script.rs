//! A compose service whose command is a shell script: flags in it are refused by
//! name, and its text is never printed. A script plays the compose tool.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::Workplace;

const GRID: &str = "
name: shell
engine:
  docker: {compose: compose.yaml, service: llm}
baseline: production
AXES
workloads:
  load: {concurrency: [4], requests: 8, prompt-tokens: 64}
objective: {maximize: load.output_throughput}
";

const FLAGS: &str = "parameters: {max-num-seqs: [16, 64]}";
const ENVIRONMENT: &str = "environment: {NCCL_P2P_DISABLE: ['0', '1']}";

/// The service in the four forms that a script can have, and the line of the script.
const SERVICES: [(&str, usize); 4] = [
    ("entrypoint: ['/bin/bash', '-c']\n    command:\n      - vllm serve m --api-key sk-1", 5),
    ("entrypoint: /bin/sh -ec 'exec vllm serve m --api-key sk-1'", 4),
    ("command: bash -lc \"cd / && vllm serve m --api-key sk-1\"", 4),
    ("command: ['/usr/bin/env', 'bash', '-c', 'vllm serve m --api-key sk-1']", 4),
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
        let tools = workplace.path("tools");
        std::fs::create_dir(&tools).unwrap();
        let docker = tools.join("docker");
        let tool = "#!/bin/sh\ncase \"$*\" in *version*) echo 2.30;; *) cat compose.yaml;; esac\n";
        std::fs::write(&docker, tool).unwrap();
        std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(tools).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).unwrap();
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
fn a_varied_flag_is_refused_with_the_service_and_the_line() {
    for (service, line) in SERVICES {
        let place = Place::new(FLAGS, service);
        for arguments in [&["plan", "grid.yaml"][..], &["sweep", "grid.yaml"]] {
            let (code, printed) = place.run(arguments);
            let printed = words(&printed);
            assert_eq!(code, Some(2), "{service}: {printed}");
            assert!(printed.contains(&format!("compose.yaml:{line}: ")), "{service}: {printed}");
            for part in [
                "of the service `llm` is a shell script",
                "flags in a script cannot be varied yet",
                "take `max-num-seqs` out",
            ] {
                assert!(printed.contains(part), "{part}: {printed}");
            }
            assert!(!printed.contains("sk-1"), "{printed}");
        }
        assert!(!place.workplace.path("runs").exists(), "nothing was begun");
    }
}

#[test]
fn a_varied_environment_is_planned_and_the_script_is_not_printed() {
    for (service, _) in SERVICES {
        let place = Place::new(ENVIRONMENT, service);
        for arguments in [&["plan", "grid.yaml"][..], &["plan", "grid.yaml", "--format", "json"]] {
            let (code, printed) = place.run(arguments);
            assert_eq!(code, Some(0), "{service}: {printed}");
            assert!(printed.contains("NCCL_P2P_DISABLE"), "{printed}");
            for part in ["sk-1", "vllm serve m", "bash", "--api-key"] {
                assert!(!printed.contains(part), "{part}: {printed}");
            }
        }
    }
}
