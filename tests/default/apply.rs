//! `apply` on a scripted daemon, with a compose tool that fills in variables and lays files
//! over each other as the real ones do for what these files have: the override comes to what
//! was tested, nothing else is written, and what may not serve is refused.

use std::os::unix::fs::PermissionsExt as _;

use crate::daemon::{Daemon, Life};
use crate::support::{CACHING, Ran, Workplace};

const COMPOSE: &str = "services:\n  llm:\n    image: r/vllm:1\n    \
    command: [--model, 'Qwen/Qwen3-0.6B', --max-model-len, '4096', --max-num-seqs, '${SEQS:-16}', --seed, '7']\n";

const TAIL: &str = "workloads: {kv-cache: {prefix-tokens: [1024], prompts: 1, output-tokens: 4}}\n\
    objective: {minimize: kv_cache.ttft_resent_ms}\n\
    strategy: {grid: {launches: 1, repeats: 1, seed: 1}}\n";

/// In Python: the standard library has what lays JSON over JSON, and none that reads YAML; the
/// files here are of one form, which a few lines read.
const TOOL: &str = r#"#!/usr/bin/env python3
import os, re, sys
arguments = sys.argv[1:]
if 'version' in arguments:
    print('2.30'); sys.exit()
files, variables = [], {}
for at, word in enumerate(arguments):
    if word == '-f': files.append(arguments[at + 1])
    if word == '--env-file':
        for line in open(arguments[at + 1]):
            if '=' in line and not line.startswith('#'):
                name, value = line.rstrip('\n').split('=', 1)
                variables[name] = value.strip("'")
variables.update(os.environ)
def filled(text):
    def one(found):
        if found[0] == '$$': return '$$'
        return variables.get(found[1], found[2] or '')
    return re.sub(r'\$\$|\$\{(\w+)(?::-([^}]*))?\}', one, text)
keys, environment = {}, {}
for file in files:
    key = None
    for line in open(file):
        line = line.rstrip('\n')
        own = re.match(r'    (\w+): ?(.*)$', line)
        if own:
            key = own[1]
            if key != 'environment': keys[key] = [own[2]]
        elif key == 'environment' and line.strip():
            name, value = line.strip().split(': ', 1)
            environment[name] = value
        elif key and line.startswith('      '):
            keys[key].append(line)
print('services:\n  llm:')
for key, lines in keys.items():
    print(filled(f'    {key}: ' + '\n'.join(lines)))
if environment:
    print('    environment:')
    for name, value in environment.items(): print(filled(f'      {name}: {value}'))
"#;

fn place(grid: &str) -> Workplace {
    let place = Workplace::new(&format!(
        "name: apply\nengine: {{docker: {{compose: c.yaml, service: llm, gpus: false, caches: false}}}}\n{grid}{TAIL}"
    ));
    std::fs::write(place.path("c.yaml"), COMPOSE).unwrap();
    std::fs::create_dir(place.path("tools")).unwrap();
    let path = place.path("tools/docker");
    std::fs::write(&path, TOOL).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    place
}

/// A message without the marks that it is laid out with.
fn said(ran: &Ran) -> String {
    ran.err.replace('\u{2502}', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn run(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> Ran {
    run_with(place, daemon, arguments, &[])
}

fn run_with(
    place: &Workplace,
    daemon: &Daemon,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Ran {
    let mut command = place.command(arguments);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(place.path("tools")).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).unwrap()).env("DOCKER_HOST", daemon.host());
    command.envs(variables.iter().copied());
    Ran::of(command.output().unwrap())
}

const GRID: &str = "baseline: own\ninclude:\n  - {name: own}\n  \
    - {name: more, max-num-seqs: 32, seed: null, environment: {A_B: '$1 yes'}}\n  - {name: by_variable, variables: {SEQS: '64'}}\n";

#[test]
fn an_override_has_what_was_tested_and_the_rest_as_it_is_written() {
    let place = place(GRID);
    let daemon = Daemon::start(|_| Life::Serves);
    run(&place, &daemon, &["sweep", "grid.yaml", "--output", "run"]).expect(0);
    // Launched once, nothing is shown: that is said, and nothing is written.
    let refused = run(&place, &daemon, &["apply", "run"]).expect(2);
    assert!(said(&refused).contains("--configuration NAME"), "{}", refused.err);
    assert!(!place.path("run/apply").exists());

    let ran = run(&place, &daemon, &["apply", "run", "--configuration", "more"]).expect(0);
    assert!(said(&ran).contains("not confirmed"), "{}", ran.err);
    let over = place.path("run/apply/compose.vllm-grid.yaml");
    let text = std::fs::read_to_string(&over).unwrap();
    let (_, body) = text.split_once("services:").unwrap();
    assert_eq!(
        body,
        "\n  \"llm\":\n    command:\n      - \"--model\"\n      - \"Qwen/Qwen3-0.6B\"\n      - \"--max-model-len\"\n      \
         - \"4096\"\n      - \"--max-num-seqs\"\n      - \"32\"\n    environment:\n      \"A_B\": \"$$1 yes\"\n"
    );
    assert_eq!(over.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for line in ["---max-num-seqs ${SEQS:-16}", "---seed 7", "+--max-num-seqs 32", "+A_B=$1 yes"] {
        assert!(ran.out.lines().any(|it| it == line), "{line}: {}", ran.out);
    }
    let deploy = ran.out.lines().find_map(|line| line.strip_prefix("deploy:  ")).unwrap();
    let files = format!("-f {} -f {}", place.path("c.yaml").display(), over.display());
    assert_eq!(deploy, format!("docker compose {files} up -d --no-deps llm"));
    assert_eq!(std::fs::read_to_string(place.path("c.yaml")).unwrap(), COMPOSE, "it is the user's");

    // A variable goes into a private file, and the text of the command stays.
    let ran = run(&place, &daemon, &["apply", "run", "--configuration", "by_variable"]).expect(0);
    let variables = place.path("run/apply/compose.vllm-grid.env");
    let lines = std::fs::read_to_string(&variables).unwrap();
    assert!(lines.ends_with("\nSEQS=64\n"), "{lines}");
    assert_eq!(variables.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&over).unwrap().contains("command"));
    assert!(ran.out.contains(&format!("--env-file {}", variables.display())), "{}", ran.out);
    let left: Vec<_> = std::fs::read_dir(place.path("run/apply")).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
    // The baseline is what the files say already.
    let ran = run(&place, &daemon, &["apply", "run", "--configuration", "own"]).expect(0);
    assert!(ran.out.contains("nothing changes"), "{}", ran.out);
}

#[test]
fn what_changed_since_the_sweep_a_secret_and_a_foreign_file_are_refused() {
    let place = place(GRID);
    let daemon = Daemon::start(|_| Life::Serves);
    run(&place, &daemon, &["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let apply = |compose: &str, more: &[&str], code: i32| {
        std::fs::write(place.path("c.yaml"), compose).unwrap();
        let arguments = [&["apply", "run", "--configuration", "more"], more].concat();
        run(&place, &daemon, &arguments).expect(code)
    };
    let ran = apply(&format!("{COMPOSE}    shm_size: 1g\n"), &[], 2);
    assert!(said(&ran).contains("shm_size was added"), "{}", ran.err);
    let ran = apply(&COMPOSE.replace("vllm:1", "vllm:2"), &[], 2);
    assert!(said(&ran).contains("r/vllm:1") && said(&ran).contains("r/vllm:2"), "{}", ran.err);
    // The flags are those that were tested all the same.
    apply(&COMPOSE.replace("${SEQS:-16}", "24"), &[], 0);
    let key = COMPOSE.replace("--seed, '7'", "--seed, '7', --api-key, sk-ouverte-0815");
    let ran = apply(&key, &[], 2);
    assert!(said(&ran).contains("c.yaml:4") && said(&ran).contains("secret"), "{}", ran.err);
    assert!(!format!("{}{}", ran.out, ran.err).contains("sk-ouverte"), "{}", ran.err);
    let foreign = place.path("mine.yaml");
    std::fs::write(&foreign, "services: {}\n").unwrap();
    let ran = apply(COMPOSE, &["--output", "mine.yaml"], 2);
    assert!(said(&ran).contains("is not a file that `apply` wrote"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "services: {}\n");
    let ran = apply(COMPOSE, &["--output", "x.env"], 2);
    assert!(said(&ran).contains("by another ending"), "{}", ran.err);
    assert!(!place.path("x.env").exists());
}

#[test]
fn what_only_this_shell_or_nobody_says_is_carried_or_said() {
    let place = place(GRID);
    let daemon = Daemon::start(|_| Life::Serves);
    let named = [("COMPOSE_PROJECT_NAME", "prod")];
    run_with(&place, &daemon, &["sweep", "grid.yaml", "--output", "run"], &named).expect(0);
    let arguments = ["apply", "run", "--configuration", "more"];
    let ran = run_with(&place, &daemon, &arguments, &named).expect(0);
    for line in ["deploy:  ", "back:    "] {
        let line = ran.out.lines().find_map(|it| it.strip_prefix(line)).unwrap();
        assert!(line.ends_with(" --project-name prod up -d --no-deps llm"), "{line}");
    }
    assert!(!said(&ran).contains("whether the service changed"), "{}", ran.err);
    // A sweep of an older version did not note what the service was made of.
    let path = place.path("run/manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    manifest.as_object_mut().unwrap().remove("service_parts").unwrap();
    std::fs::write(&path, manifest.to_string()).unwrap();
    let ran = run(&place, &daemon, &arguments).expect(0);
    assert!(said(&ran).contains("whether the service changed since"), "{}", ran.err);
}

#[test]
fn the_process_engine_has_a_command_line_and_the_simulated_one_nothing() {
    let place = Workplace::new(CACHING);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    for arguments in [
        &["apply", "run", "--configuration", "noprefix"][..],
        &["apply", "--check", "run", "--configuration", "noprefix"],
    ] {
        let ran = place.run(arguments).expect(2);
        assert!(said(&ran).contains("`simulated`"), "{}", ran.err);
    }
    let ran = place.run(&["apply", "run", "--configuration", "none"]).expect(2);
    assert!(said(&ran).contains("no configuration is named `none`"), "{}", ran.err);
}

#[test]
fn what_the_printed_line_starts_is_equal_and_another_flag_is_not() {
    let binary = env!("CARGO_BIN_EXE_vllm-grid");
    let place = Workplace::new(&format!(
        "name: process\nengine: {{process: {{command: [{binary}, simulate, 'Qwen/Qwen3-0.6B', --sim-speed, '50']}}}}\n\
         baseline: few\ninclude:\n  - {{name: few, max-num-seqs: 8}}\n  \
         - {{name: more, max-num-seqs: 32, environment: {{A_B: 'x y'}}}}\n{TAIL}"
    ));
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let ran = place.run(&["apply", "run", "--configuration", "more"]).expect(0);
    let line = ran.out.trim_end().lines().last().unwrap();
    assert!(line.starts_with("A_B='x y' ") && line.contains(" --max-num-seqs 32"), "{line}");
    let none = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = none.local_addr().unwrap().port();
    drop(none);
    let url = format!("http://127.0.0.1:{port}");
    let check = |code: i32| {
        place
            .run(&["apply", "--check", "run", "--configuration", "more", "--url", &url])
            .expect(code)
    };
    check(3);
    let serve = |line: &str| {
        let line = format!("{line} --port {port}");
        let server = std::process::Command::new("bash")
            .args(["-c", &format!("exec env {line}")])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        crate::support::until("the server listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    };
    for (line, code, says) in [
        (line.to_owned(), 0, "equal: "),
        (line.replace("--max-num-seqs 32", "--max-num-seqs 31"), 1, "--max-num-seqs"),
    ] {
        let mut server = serve(&line);
        let ran = check(code);
        assert!(ran.out.contains(says) && ran.out.contains("A_B"), "{}{}", ran.out, ran.err);
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
