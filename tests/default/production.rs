//! What serves production beside what the grid takes it for: `plan`, `doctor` and
//! `sweep` against a stand-in for the Docker daemon and for the compose tool.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Ran, Workplace};

const GRID: &str = "
name: site
engine:
  docker:
    compose: compose.yaml
    service: vllm
    PRODUCTION
    gpus: false
    caches: false
parameters: {max-num-seqs: [16, 64]}
workloads:
  load: {concurrency: [128], requests: 512, prompt-tokens: 64}
objective: {maximize: load.output_throughput}
";

const COMPOSE: &str = "services:
  vllm:
    image: i:1
    environment: {HF_TOKEN: sk-of-the-file, NCCL_P2P_DISABLE: '1'}
    command: [m, --max-num-seqs, '64', --api-key, sk-of-the-file]
";

/// What a stand-in for the daemon knows.
#[derive(Clone)]
struct Container {
    name: &'static str,
    service: &'static str,
    project: String,
    running: bool,
    body: Value,
}

impl Container {
    fn new(project: &str, running: bool, sequences: u32) -> Self {
        let body = json!({
            "Image": "i:1", "Entrypoint": ["vllm", "serve"],
            "Cmd": ["m", "--max-num-seqs", sequences.to_string(), "--api-key", "sk-of-the-container"],
            "Env": ["HF_TOKEN=sk-other-token", "PATH=/bin", "VLLM_LOGGING_LEVEL=DEBUG"],
            "Labels": {},
        });
        Self { name: "shop-vllm-1", service: "vllm", project: project.to_owned(), running, body }
    }

    fn labels(&self) -> Value {
        let mut labels = self.body["Labels"].clone();
        labels["com.docker.compose.service"] = self.service.into();
        labels["com.docker.compose.project"] = self.project.clone().into();
        labels["com.docker.compose.oneoff"] = "False".into();
        labels
    }

    fn inspected(&self) -> Value {
        let mut config = self.body.clone();
        config["Labels"] = self.labels();
        json!({
            "Id": self.name, "Name": format!("/{}", self.name), "Image": "sha256:aaaa",
            "Config": config, "Args": [], "RestartCount": 0,
            "State": {"Status": if self.running { "running" } else { "exited" }, "Running": self.running,
                      "Paused": false, "OOMKilled": false, "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z"},
        })
    }
}

/// A daemon on a socket that knows these containers; it creates nothing.
struct Daemon {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    fn start(socket: &Path, containers: Vec<Container>) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (containers, noted) = (containers.clone(), Arc::clone(&noted));
                std::thread::spawn(move || serve(stream, &containers, &noted));
            }
        });
        Self { asked }
    }

    fn created(&self) -> bool {
        self.asked.lock().unwrap().iter().any(|line| line.contains("/containers/create"))
    }
}

fn serve(stream: UnixStream, containers: &[Container], noted: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        noted.lock().unwrap().push(request.trim().to_owned());
        let (status, body) = answer(&request, containers);
        let text = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\napi-version: 1.44\r\n\
             content-length: {}\r\n\r\n{text}",
            text.len()
        );
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(request: &str, containers: &[Container]) -> (u16, Value) {
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path.contains("/_ping") {
        return (200, json!("OK"));
    }
    if path.contains("/version") {
        return (200, json!({"Version": "29.0.0", "ApiVersion": "1.44", "MinAPIVersion": "1.24"}));
    }
    if path.contains("/containers/json") {
        let filtered = path.contains("filters=");
        let found = containers.iter().filter(|it| {
            if filtered {
                let project = format!("compose.project%3D{}%22", it.project);
                path.contains(&format!("compose.service%3D{}%22", it.service))
                    && path.contains(&project)
            } else {
                it.running
            }
        });
        let list = found.map(
            |it| json!({"Id": it.name, "Names": [format!("/{}", it.name)], "Labels": it.labels()}),
        );
        return (200, list.collect());
    }
    if path.contains("/images/") {
        let config = json!({"Env": ["PATH=/bin"], "Entrypoint": ["vllm", "serve"], "Cmd": null});
        return (200, json!({"Id": "sha256:aaaa", "RepoDigests": [], "Config": config}));
    }
    let named =
        containers.iter().find(|it| path.contains(&format!("/containers/{}/json", it.name)));
    match named {
        Some(container) => (200, container.inspected()),
        None => (404, json!({"message": "no such thing"})),
    }
}

struct Site {
    place: Workplace,
    daemon: Option<Daemon>,
}

impl Site {
    fn new(production: &str, containers: impl FnOnce(&Path) -> Option<Vec<Container>>) -> Self {
        let place = Workplace::new(&GRID.replace("PRODUCTION", production));
        std::fs::write(place.path("compose.yaml"), COMPOSE).unwrap();
        let tools = place.path("tools");
        std::fs::create_dir(&tools).unwrap();
        let tool = "#!/bin/sh\ncase \"$*\" in *version*) echo 2.30;; *) cat compose.yaml;; esac\n";
        std::fs::write(tools.join("docker"), tool).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(tools.join("docker"), executable).unwrap();
        let folder = place.folder.path().canonicalize().unwrap();
        let daemon = containers(&folder).map(|it| Daemon::start(&place.path("d.sock"), it));
        Self { place, daemon }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.place.command(arguments);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.place.path("tools")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).unwrap());
        command.env("DOCKER_HOST", format!("unix://{}", self.place.path("d.sock").display()));
        command.env("COMPOSE_PROJECT_NAME", "shop");
        Ran::of(command.output().unwrap())
    }
}

/// Without line breaks in the middle of a sentence.
fn words(ran: &Ran) -> String {
    let text = format!("{} {}", ran.out, ran.err);
    text.split(['\n', ' ', '│']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Without blanks: a name may be wrapped, too.
fn letters(text: &str) -> String {
    text.split(' ').collect()
}

const NAMED: &str = "production: {service: vllm}";

#[test]
fn what_production_runs_with_is_compared() {
    let site = Site::new(NAMED, |folder| {
        let mut container = Container::new("shop", true, 16);
        container.body["Labels"] = json!({
            "com.docker.compose.project.config_files": folder.join("compose.yaml"),
            "com.docker.compose.project.working_dir": folder,
            "com.docker.compose.project.environment_file": "/srv/production.env",
        });
        Some(vec![container])
    });
    for command in ["plan", "doctor"] {
        let ran = site.run(&[command, "grid.yaml"]).expect(0);
        let printed = words(&ran);
        for sentence in [
            "the container runs with --max-num-seqs 16, the file says 64",
            "`--api-key` has another value in the container than in the file",
            "the container has VLLM_LOGGING_LEVEL, which the file does not set",
            "the file sets NCCL_P2P_DISABLE, which the container does not have",
            "started with an env-file that the grid does not name: /srv/production.env",
        ] {
            assert!(printed.contains(sentence), "{command}: {sentence}: {printed}");
        }
        assert!(!printed.contains("sk-o"), "{printed}");
        assert!(!printed.contains("was made with"), "{printed}");
    }
    let plan = site.run(&["plan", "grid.yaml", "--format", "json"]).expect(0);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    let warnings = plan["warnings"].as_array().unwrap();
    let line = GRID.lines().position(|line| line.contains("PRODUCTION")).unwrap() + 1;
    assert!(warnings.iter().any(|it| it["line"] == line), "{warnings:?}");
}

#[test]
fn production_as_described_needs_no_words() {
    let site = Site::new(NAMED, |_| {
        let mut container = Container::new("shop", true, 64);
        container.body["Cmd"] = json!(["m", "--max-num-seqs", "64", "--api-key", "sk-of-the-file"]);
        container.body["Env"] = json!(["HF_TOKEN=x", "NCCL_P2P_DISABLE=1", "PATH=/bin"]);
        Some(vec![container])
    });
    let printed = words(&site.run(&["plan", "grid.yaml"]).expect(0));
    assert!(!printed.contains("production ("), "{printed}");
    let printed = words(&site.run(&["doctor", "grid.yaml"]).expect(0));
    assert!(printed.contains("ok production: shop-vllm-1 runs"), "{printed}");
}

#[test]
fn production_that_is_not_there_is_an_error_that_names_what_runs() {
    for (production, looked_for) in [
        (
            NAMED,
            "of the service `vllm` in the compose project `shop` (COMPOSE_PROJECT_NAME is exported)",
        ),
        ("production: {container: other}", "named `other`"),
    ] {
        let site = Site::new(production, |_| Some(vec![Container::new("elsewhere", true, 64)]));
        for (command, code) in [("plan", 0), ("doctor", 3), ("sweep", 3)] {
            let printed = letters(&words(&site.run(&[command, "grid.yaml"]).expect(code)));
            let runs = "what runs: `shop-vllm-1` (service `vllm` of `elsewhere`)";
            for part in ["there is no container", looked_for, runs] {
                assert!(printed.contains(&letters(part)), "{command}: {part}: {printed}");
            }
        }
        assert!(!site.place.path("runs").exists(), "nothing was begun");
        assert!(!site.daemon.as_ref().unwrap().created());
    }
}

#[test]
fn production_that_is_down_is_said() {
    let site = Site::new(NAMED, |_| Some(vec![Container::new("shop", false, 64)]));
    let printed = words(&site.run(&["plan", "grid.yaml"]).expect(0));
    assert!(printed.contains("production (shop-vllm-1) does not run"), "{printed}");
    let printed = words(&site.run(&["doctor", "grid.yaml"]).expect(0));
    assert!(printed.contains("warning production: shop-vllm-1 does not run"), "{printed}");
}

#[test]
fn a_plan_needs_no_daemon_and_no_production() {
    let site = Site::new(NAMED, |_| None);
    let printed = words(&site.run(&["plan", "grid.yaml"]).expect(0));
    assert!(!printed.contains("production"), "{printed}");
    // The service itself serves, and nobody named it.
    let site = Site::new("profiles: []", |_| Some(vec![Container::new("shop", true, 16)]));
    let printed = words(&site.run(&["plan", "grid.yaml"]).expect(0));
    assert!(printed.contains("--max-num-seqs 16, the file says 64"), "{printed}");
    let printed = words(&site.run(&["doctor", "grid.yaml"]).expect(0));
    assert!(printed.contains("the grid names none, but shop-vllm-1 runs"), "{printed}");
}

/// Production, and what hangs on it.
const HANGS_ON: &str = "  keepalive:
    image: i:1
    depends_on: [vllm]
  sidecar:
    image: i:1
    network_mode: service:vllm
  web:
    image: i:1
";

fn site_with(pause: &str) -> Site {
    let production = format!("production: {{service: vllm, pause: [{pause}]}}");
    let site = Site::new(&production, |_| {
        let keepalive = Container {
            name: "shop-keepalive-1",
            service: "keepalive",
            ..Container::new("shop", true, 64)
        };
        Some(vec![Container::new("shop", true, 64), keepalive])
    });
    std::fs::write(site.place.path("compose.yaml"), format!("{COMPOSE}{HANGS_ON}")).unwrap();
    site
}

#[test]
fn what_cannot_be_meant_in_pause_is_a_fault_with_its_line() {
    for (pause, said) in [
        ("vllm", "`pause` names production itself (service `vllm`)"),
        ("{container: shop-vllm-1}", "`pause` names production itself (container `shop-vllm-1`)"),
        ("keepalive, lost", "`pause` names the service `lost`, and the compose file has none"),
    ] {
        let site = site_with(pause);
        for (command, codes) in [("plan", [2, 2]), ("sweep", [2, 2]), ("doctor", [2, 3])] {
            let ran = site.run(&[command, "grid.yaml"]);
            let printed = words(&ran);
            assert!(codes.contains(&ran.code.unwrap()), "{command}: {pause}: {printed}");
            assert!(printed.contains(said), "{command}: {pause}: {printed}");
            assert!(printed.contains("grid.yaml:7"), "{command}: {pause}: {printed}");
        }
        assert!(!site.daemon.as_ref().unwrap().created());
    }
}

#[test]
fn a_companion_without_a_container_is_known_before_anything_starts() {
    for (pause, said) in [
        ("{container: gone}", "`pause` names the container `gone`, and there is none"),
        ("web", "`pause` names the service `web`, and the compose project `shop` has no container"),
    ] {
        let site = site_with(pause);
        for (command, code) in [("plan", 0), ("doctor", 3), ("sweep", 3)] {
            let printed = words(&site.run(&[command, "grid.yaml"]).expect(code));
            assert!(printed.contains(said), "{command}: {pause}: {printed}");
        }
        assert!(!site.place.path("runs").exists(), "nothing was begun");
    }
}

#[test]
fn a_plan_names_who_hangs_on_production_and_is_not_paused() {
    let printed = words(&site_with("").run(&["plan", "grid.yaml"]).expect(0));
    for name in ["keepalive", "sidecar"] {
        let said = format!("`{name}` depends on `vllm` and is not paused");
        assert!(printed.contains(&said), "{name}: {printed}");
    }
    assert!(!printed.contains("`web` depends"), "{printed}");
    let twice = words(&site_with("keepalive, keepalive").run(&["plan", "grid.yaml"]).expect(0));
    assert!(!twice.contains("`keepalive` depends"), "{twice}");
    assert!(twice.contains("`sidecar` depends"), "{twice}");
    assert!(twice.contains("`pause` names the service `keepalive` twice"), "{twice}");
}
