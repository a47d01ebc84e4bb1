//! No secret in anything that is written or printed. Secrets are planted wherever one
//! may come from; then every byte that the program leaves is searched for them.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::{Ran, Workplace, signal};

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

/// Every planted value begins so.
const PLANT: &str = "sk-plant";

/// Secrets of our own environment: by their names, but for the key, whose name is given.
const VARIABLES: [(&str, &str); 6] = [
    ("SITE_ACCESS", "sk-plant-01-key"),
    ("HF_TOKEN", "sk-plant-02-token"),
    ("DB_PASSWORD", "sk-plant-03-\"quoted\"-'password'"),
    ("SERVICE_CREDENTIAL", "sk-plant-04 with-spaces-in-it"),
    ("myAppSecret", "sk-plant-05-camel"),
    ("PROXY", "http://user:sk-plant-06-of-a-url@proxy:1"),
];

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[track_caller]
fn clean(what: &str, bytes: &[u8]) {
    assert!(!contains(bytes, PLANT), "{what}:\n{}", String::from_utf8_lossy(bytes));
}

/// Every file below a folder.
#[track_caller]
fn clean_folder(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += clean_folder(&path);
        } else {
            clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}

/// Runs a command with the planted environment; what it prints is clean.
#[track_caller]
fn run(place: &Workplace, arguments: &[&str]) -> Ran {
    let mut command = place.command(arguments);
    command.envs(VARIABLES).env("VLLM_GRID_LOG", "trace");
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let tools = place.path("tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).unwrap());
    let ran = Ran::of(command.output().unwrap());
    clean(&format!("stdout of {arguments:?}"), ran.out.as_bytes());
    clean(&format!("stderr of {arguments:?}"), ran.err.as_bytes());
    ran
}

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A server that repeats secrets in its log, in every form; `starved` dies with them.
const SERVE: &str = r#"
echo "key=$SITE_ACCESS token $HF_TOKEN, url $PROXY"
echo "{\"password\": \"sk-plant-\\\"odd\"}" >&2
python_repr="{'api_key': ['sk-plant-10', 'sk-plant-11'], 'seed': 1}"
echo "non-default args: $python_repr"
echo "Namespace(hf_token='sk-plant-12', api_key=None)"
echo "curl -H 'Authorization: Bearer sk-plant-13' http://u:sk-plant-14@h/"
echo "['serve', '--api-key', 'sk-plant-15']"
echo "$DB_PASSWORD | $SERVICE_CREDENTIAL | $myAppSecret"
printf 'Loading %s\r' "$HF_TOKEN"
printf 'half of a line: %s' "$(echo $HF_TOKEN | cut -c1-11)" ; printf '%s\n' "$(echo $HF_TOKEN | cut -c12-)"
case "$*" in *--seed*) echo "RuntimeError: no access with $HF_TOKEN, --api-key=$SITE_ACCESS" >&2; exit 1;; esac
exec "$BINARY" simulate "$@" --served-model-name "model-$HF_TOKEN"
"#;

#[test]
fn a_sweep_leaves_no_secret() {
    let place = Workplace::new("");
    let serve = format!("BINARY='{BINARY}'\n{SERVE}");
    std::fs::write(place.path("serve.sh"), serve).unwrap();
    let grid = "name: planted\nengine:\n  process:\n    command: [sh, serve.sh, Qwen/Qwen3-0.6B, --sim-speed, '200']\n    \
         flags: {max-model-len: 4096}\n    api-key-env: SITE_ACCESS\n\
         parameters:\n  max-num-seqs: [8]\ninclude:\n  - {name: broken, seed: 3}\n\
         workloads:\n  kv-cache: {prefix-tokens: [512], prompts: 2, output-tokens: 4}\n  \
         command: {command: [sh, -c, 'echo $HF_TOKEN $OPENAI_API_KEY >&2; exit 3'], warmup: 0}\n\
         objective: {minimize: kv_cache.ttft_resent_ms}\nstrategy: {grid: {launches: 1, repeats: 1, seed: 1}}\n";
    std::fs::write(place.path("grid.yaml"), grid).unwrap();
    run(&place, &["plan", "grid.yaml"]).expect(0);
    run(&place, &["plan", "grid.yaml", "--format", "json"]).expect(0);
    run(&place, &["doctor", "grid.yaml"]);
    let swept = run(&place, &["sweep", "grid.yaml", "--output", "run"]).expect(0);
    assert!(swept.err.contains("broken"), "{}", swept.err);
    assert!(clean_folder(&place.path("run")) > 8);
    // It was there, and masked: half of a line, a failure's lines, a reason.
    let log = |launch: &str| {
        std::fs::read_to_string(place.path(&format!("run/launches/{launch}/engine.log"))).unwrap()
    };
    let launches = std::fs::read_dir(place.path("run/launches")).unwrap();
    let launches: Vec<String> =
        launches.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
    for launch in &launches {
        let log = log(launch);
        assert!(log.contains("half of a line: ***\n"), "{log}");
        assert!(log.contains("{\"password\": \"***\"}"), "{log}");
    }
    let journal = std::fs::read_to_string(place.path("run/journal.jsonl")).unwrap();
    assert!(journal.contains("RuntimeError: no access with ***, --api-key=***"), "{journal}");
    run(&place, &["report", "run"]).expect(0);
    run(&place, &["export", "run", "--output", "exported"]).expect(0);
    clean_folder(&place.path("exported"));
    run(&place, &["compare", "run", "run"]);
    run(&place, &["resume", "run"]).expect(0);
    run(&place, &["recover", "run"]);
    clean_folder(&place.path("run"));
}

/// The service of a site with a secret in every place that a compose file has.
const COMPOSE: &str = r#"services:
  llm:
    image: i:1
    environment:
      HF_TOKEN: sk-plant-20
      VLLM_API_KEY: "sk-plant-21 in-quotes"
      LOGGING: '{"api_key": "sk-plant-22"}'
      PROXY: http://u:sk-plant-23@proxy
    command:
      - vllm
      - serve
      - m
      - --api-key
      - sk-plant-24
      - sk-plant-25
      - --hf_token=sk-plant-26
      - --hf-overrides
      - '{"a": {"secret_key": "sk-plant-27"}}'
      - --middleware
      - http://u:sk-plant-28@h
      - --chat-template
      - sk-plant-24
  script:
    image: i:1
    entrypoint: [/bin/sh, -c]
    command:
      - |
        export HF_TOKEN=sk-plant-30
        MY_KEY='sk-plant-31' exec vllm serve m --api-key "sk-plant-32" --seed 1
"#;

const GRID: &str = "
name: site
engine:
  docker: {compose: compose.yaml, service: SERVICE, api-key-env: SITE_ACCESS}
AXES
workloads:
  load: {concurrency: [4], requests: 16, prompt-tokens: 64}
objective: {maximize: load.output_throughput}
";

fn site(service: &str, axes: &str, tool: &str) -> Workplace {
    let place = Workplace::new(&GRID.replace("SERVICE", service).replace("AXES", axes));
    std::fs::write(place.path("compose.yaml"), COMPOSE).unwrap();
    std::fs::write(place.path(".env"), "SITE_SECRET=sk-plant-40 and more\nOTHER=1\n").unwrap();
    std::fs::create_dir(place.path("tools")).unwrap();
    executable(&place.path("tools/docker"), tool);
    place
}

#[test]
fn a_services_secrets_are_not_shown() {
    let tool = "#!/bin/sh\ncase \"$*\" in *version*) echo 2.30;; *) cat compose.yaml;; esac\n";
    let flags = "parameters: {max-num-seqs: [16, 64], chat-template: [null, other]}";
    let environment = "environment: {NCCL_P2P_DISABLE: ['0', '1']}";
    for (service, axes) in [("llm", flags), ("llm", environment), ("script", environment)] {
        let place = site(service, axes, tool);
        run(&place, &["plan", "grid.yaml"]).expect(0);
        run(&place, &["plan", "grid.yaml", "--format", "json"]).expect(0);
        run(&place, &["doctor", "grid.yaml"]).expect(3);
        run(&place, &["sweep", "grid.yaml"]).expect(3);
    }
}

#[test]
fn a_compose_tool_that_repeats_its_files_is_masked() {
    let tool = "#!/bin/sh\ncase \"$*\" in *version*) echo 2.30;; *) cat compose.yaml .env >&2; \
                echo 'no access for sk-plant-40 and more, user:sk-plant-24' >&2; exit 1;; esac\n";
    let place = site("llm", "parameters: {max-num-seqs: [16, 64]}", tool);
    for command in ["plan", "doctor", "sweep"] {
        let ran = run(&place, &[command, "grid.yaml"]);
        assert!(format!("{}{}", ran.out, ran.err).contains("***"), "{}{}", ran.out, ran.err);
    }
}

#[test]
fn a_secret_in_a_grid_is_refused_with_its_place() {
    for (line, axes) in [
        (5, "parameters: {hf-overrides: [{api_key: sk-plant-50}]}"),
        (5, "parameters: {hf-overrides: ['{\"api_key\": \"sk-plant-51\"}']}"),
        (5, "parameters: {middleware: ['http://u:sk-plant-52@h']}"),
        (5, "environment: {LOGGING: ['--api-key sk-plant-53']}"),
        (5, "environment: {HF_TOKEN: sk-plant-54}"),
        (6, "parameters:\n  kv-transfer-config.access_key: [sk-plant-55]"),
    ] {
        let place = site("llm", axes, "#!/bin/sh\nexit 1\n");
        let ran = run(&place, &["sweep", "grid.yaml"]).expect(2);
        assert!(ran.err.contains("does not belong in a grid"), "{axes}: {}", ran.err);
        assert!(ran.err.contains(&format!("grid.yaml:{line}:")), "{axes}: {}", ran.err);
        assert!(!place.path("runs").exists(), "{axes}");
    }
}

#[test]
fn the_value_of_a_secret_is_refused_in_a_grid() {
    let place = Workplace::new(
        "name: g\nengine: {process: {command: [vllm, serve, sk-plant-01-key], api-key-env: SITE_ACCESS}}\n\
         parameters: {max-num-seqs: [8]}\nworkloads: {kv-cache: }\n\
         objective: {minimize: kv_cache.ttft_resent_ms}\n",
    );
    let ran = run(&place, &["sweep", "grid.yaml"]).expect(2);
    assert!(ran.err.contains("grid.yaml:2: the value of a secret"), "{}", ran.err);
}

struct Served(Child, u16);

impl Served {
    /// A simulated server whose model's name has a secret in it.
    fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut child = Command::new(BINARY)
            .args(["simulate", "Qwen/Qwen3-0.6B", "--sim-speed", "500"])
            .args(["--port", &port.to_string()])
            .args(["--max-model-len", "8192", "--served-model-name", "model-sk-plant-02-token"])
            .env("VLLM_API_KEY", "sk-plant-01-key")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let ready = |line: String| line.contains("Application startup complete");
        assert!(lines.any(ready), "it serves");
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, port)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        signal(&self.0, Signal::KILL);
        let _ = self.0.wait();
    }
}

#[test]
fn bench_shows_no_secret() {
    let place = Workplace::new("");
    let served = Served::start();
    let url = format!("http://127.0.0.1:{}", served.1);
    let of = |url: &str, more: &[&str]| {
        let fixed = [
            "bench",
            url,
            "--workload",
            "kv-cache",
            "--set",
            "prefix-tokens=512",
            "--repeats",
            "1",
        ];
        let arguments: Vec<&str> = fixed.iter().chain(more).copied().collect();
        run(&place, &arguments)
    };
    let key = ["--api-key-env", "SITE_ACCESS"];
    let ran = of(&url, &[&key[..], &["--records", "records.parquet"]].concat()).expect(0);
    assert!(ran.out.contains("model-***"), "{}", ran.out);
    clean("records", &std::fs::read(place.path("records.parquet")).unwrap());
    let ran = of(&url, &[&key[..], &["--format", "json"]].concat()).expect(0);
    assert!(ran.out.contains("\"model\": \"model-***\""), "{}", ran.out);
    of(&url, &[]).expect(3);
    of(&url, &[&key[..], &["--model", "sk-plant-02-token"]].concat()).expect(2);
    for address in
        ["http://user:sk-plant-60@127.0.0.1:1", "http://127.0.0.1:1/v1?api_key=sk-plant-61"]
    {
        let ran = of(address, &[]);
        assert!(ran.err.contains("***"), "{}", ran.err);
    }
}
