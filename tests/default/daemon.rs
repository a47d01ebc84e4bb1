//! A stand-in for the Docker daemon on a socket of its own: no image, no root. A
//! container that serves is our own `simulate`; one that ends has a log and a
//! code, and its log can break off where it is followed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What becomes of a container.
pub(crate) enum Life {
    Serves,
    Ends(End),
}

/// A container that ends by itself.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub log: &'static str,
    pub code: i64,
    pub lives: Duration,
    /// A log that is followed breaks off after so many bytes.
    pub cut: Option<usize>,
    /// Whether the daemon puts time stamps before messages, each a frame of its
    /// own; otherwise a log is one frame.
    pub stamps: bool,
}

type Lives = dyn Fn(&Value) -> Life + Send + Sync;

pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, Container>,
    /// What containers were made of, in order.
    created: Vec<Value>,
    /// Requests for logs.
    logs: Vec<String>,
    /// Ids by name.
    names: BTreeMap<String, String>,
    /// Ids of the containers that were started, in order.
    started: Vec<String>,
    /// Requests to create a container.
    creating: usize,
    /// None is created before so many are asked for.
    together: usize,
    /// Shown from the next creation on: a container that somebody else made at that moment.
    beside: Option<(String, Container)>,
}

struct Container {
    body: Value,
    /// Made and not started.
    is_new: bool,
    end: Option<End>,
    until: Option<Instant>,
    server: Option<(Child, u16)>,
}

impl Container {
    fn of(body: Value, end: Option<End>) -> Self {
        Self { body, is_new: false, end, until: None, server: None }
    }

    fn labels(&self) -> Value {
        self.body.get("Labels").filter(|it| it.is_object()).cloned().unwrap_or_else(|| json!({}))
    }

    /// The image's id that it was made of.
    fn image(&self) -> &str {
        self.body["Image"].as_str().filter(|id| id.starts_with("sha256:")).unwrap_or(IMAGE)
    }

    fn is_running(&mut self) -> bool {
        match &mut self.server {
            Some((child, _)) => matches!(child.try_wait(), Ok(None)),
            None => self.until.is_some_and(|until| Instant::now() < until),
        }
    }

    fn start(&mut self) {
        self.is_new = false;
        if let Some(end) = self.end {
            self.until = Some(Instant::now() + end.lives);
            return;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let words = self.body["Cmd"].as_array().unwrap().iter().filter_map(Value::as_str);
        let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
        command.arg("simulate").args(words);
        // Whatever the model is called.
        command.args(["--sim-model", "Qwen/Qwen3-0.6B", "--sim-speed", "200", "--port"]);
        command.arg(port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some((command.spawn().unwrap(), port));
    }

    fn stop(&mut self) {
        self.until = None;
        if let Some((child, _)) = &mut self.server {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }

    fn seen(&mut self, id: &str, name: &str) -> Value {
        let running = self.is_running();
        let port = self
            .server
            .as_ref()
            .map(|(_, port)| json!([{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]));
        json!({
            "Id": id, "Name": format!("/{name}"), "Image": self.image(), "Args": self.body["Cmd"], "RestartCount": 0,
            "State": {"Status": if running { "running" } else { "exited" }, "Running": running, "Paused": false,
                "OOMKilled": false, "Dead": false, "Pid": 7, "ExitCode": self.end.map_or(0, |end| end.code),
                "StartedAt": "2026-11-28T05:16:00Z"},
            "Config": {"Image": self.image(), "Env": self.body["Env"], "Labels": self.labels()},
            "NetworkSettings": {"Ports": {"8000/tcp": port.unwrap_or_else(|| json!([{"HostIp": "127.0.0.1", "HostPort": "9"}]))}, "Networks": {}},
        })
    }
}

const IMAGE: &str = "sha256:abababababababababababababababababababababababababababababababab";

/// The id of an image by its name: all are one but `r/...:N`.
pub(crate) fn image_id(name: &str) -> String {
    let name = name.replace("%2F", "/").replace("%3A", ":");
    match name.strip_prefix("r/").and_then(|name| name.split_once(':')) {
        Some((name, tag)) => {
            let text = vllm_grid::configuration::hexadecimal(format!("{name}{tag}").as_bytes());
            format!("sha256:{text:0<64}")
        }
        None => IMAGE.to_owned(),
    }
}

impl Daemon {
    /// A daemon whose containers live as `lives` says of what they are made of.
    pub(crate) fn start(lives: impl Fn(&Value) -> Life + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
        let state = Arc::<Mutex<State>>::default();
        let (shared, lives): (_, Arc<Lives>) = (Arc::clone(&state), Arc::new(lives));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, lives) = (Arc::clone(&shared), Arc::clone(&lives));
                std::thread::spawn(move || connection(stream, &state, &*lives));
            }
        });
        Self { folder, state }
    }

    /// Value of `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("sock").display())
    }

    /// A container of this name and id that serves already, such as production.
    pub(crate) fn serving(self, name: &str) -> Self {
        let body = json!({"Cmd": ["Qwen/Qwen3-0.6B"], "Env": []});
        let mut container = Container::of(body, None);
        container.start();
        self.state.lock().unwrap().containers.insert(name.to_owned(), container);
        self
    }

    /// Somebody removes the container of this name and makes one of the id `another` in its
    /// place, with other options.
    pub(crate) fn replace(&self, name: &str, is_started: bool) {
        let body = json!({"Cmd": ["Qwen/Qwen3-0.6B"], "Env": ["OTHER=1"]});
        let mut container = Container::of(body, None);
        if is_started {
            container.start();
        }
        let mut state = self.state.lock().unwrap();
        if let Some(mut removed) = state.containers.remove(name) {
            removed.stop();
        }
        state.names.insert(name.to_owned(), "another".to_owned());
        state.containers.insert("another".to_owned(), container);
    }

    /// From now on there is a container of this name and id with these labels.
    pub(crate) fn shows(&self, name: &str, labels: &Value) {
        let body = json!({"Cmd": [], "Env": [], "Labels": labels});
        let container = Container::of(body, None);
        self.state.lock().unwrap().containers.insert(name.to_owned(), container);
    }

    /// At the moment of the next creation there is a container of this name and id with these
    /// labels, which is not started.
    pub(crate) fn shows_at_creation(&self, name: &str, labels: &Value) {
        let body = json!({"Cmd": [], "Env": [], "Labels": labels});
        let container = Container { is_new: true, ..Container::of(body, None) };
        self.state.lock().unwrap().beside = Some((name.to_owned(), container));
    }

    /// Creates no container before so many are asked for.
    pub(crate) fn creating_together(self, count: usize) -> Self {
        self.state.lock().unwrap().together = count;
        self
    }

    /// Ids of the containers that were started, in order.
    pub(crate) fn started(&self) -> Vec<String> {
        self.state.lock().unwrap().started.clone()
    }

    /// The container of this id is removed, by somebody else.
    pub(crate) fn loses(&self, id: &str) {
        self.state.lock().unwrap().containers.remove(id);
    }

    /// Whether the container of this id runs.
    pub(crate) fn runs(&self, id: &str) -> bool {
        let mut state = self.state.lock().unwrap();
        state.containers.get_mut(id).is_some_and(Container::is_running)
    }

    /// Ids of the containers that there are.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.state.lock().unwrap().containers.keys().cloned().collect()
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("sock")
    }

    /// What containers were made of, in order.
    pub(crate) fn created(&self) -> Vec<Value> {
        self.state.lock().unwrap().created.clone()
    }

    /// Requests for logs, in order.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.state.lock().unwrap().logs.clone()
    }

    /// Whether no container is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().unwrap().containers.is_empty()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.containers.values_mut().for_each(Container::stop);
    }
}

/// Answers requests until the other side is gone.
fn connection(stream: UnixStream, state: &Mutex<State>, lives: &Lives) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap());
        let path = path.strip_prefix("/v").and_then(|rest| rest.split_once('/')).map_or_else(
            || path.to_owned(),
            |(version, rest)| {
                let is_version = version.starts_with(|letter: char| letter.is_ascii_digit());
                if is_version { format!("/{rest}") } else { path.to_owned() }
            },
        );
        if path.contains("/logs?") {
            let _gone = logs(&mut stream, &path, state);
            return;
        }
        let (status, answer) = answer(&method, &path, body, state, lives);
        let text = if status == 204 || status == 304 { String::new() } else { answer.to_string() };
        let mut head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\napi-version: 1.44\r\n"
        );
        if !matches!(status, 204 | 304) {
            write!(head, "content-length: {}\r\n", text.len()).unwrap();
        }
        let text = if method == "HEAD" { "" } else { &text };
        if stream.write_all(format!("{head}\r\n{text}").as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(
    method: &str,
    path: &str,
    body: Value,
    state: &Mutex<State>,
    lives: &Lives,
) -> (u16, Value) {
    let place = path.split('?').next().unwrap();
    let not_found = |what: &str| (404, json!({"message": format!("the stand-in has no {what}")}));
    match place {
        "/version" => {
            return (
                200,
                json!({"Version": "29.0.0", "ApiVersion": "1.44", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}),
            );
        }
        "/_ping" => return (200, json!("OK")),
        "/info" => {
            return (
                200,
                json!({"ID": "fake", "Runtimes": {"runc": {"path": "runc"}}, "DefaultRuntime": "runc", "NCPU": 2, "MemTotal": 1_u64 << 34, "OSType": "linux", "ServerVersion": "29.0.0"}),
            );
        }
        "/volumes/create" => {
            return (
                201,
                json!({"Name": "v", "Driver": "local", "Mountpoint": "/v", "Labels": {}, "Options": {}, "Scope": "local"}),
            );
        }
        "/containers/json" => return (200, ours(path, &state.lock().unwrap())),
        _ if place.starts_with("/images/") => {
            let name = place.trim_start_matches("/images/").trim_end_matches("/json");
            return (
                200,
                json!({"Id": image_id(name), "RepoTags": ["example:1"], "Architecture": "amd64", "Os": "linux", "RepoDigests": [],
                "Config": {"Env": [], "Entrypoint": ["vllm", "serve"], "Cmd": null, "Labels": {}}}),
            );
        }
        _ => {}
    }
    if place == "/containers/create" {
        await_others(state);
    }
    let mut state = state.lock().unwrap();
    if place == "/containers/create" {
        let beside = state.beside.take();
        state.containers.extend(beside);
        let id = format!("{:064x}", state.created.len() + 1);
        let end = match lives(&body) {
            Life::Serves => None,
            Life::Ends(end) => Some(end),
        };
        state.created.push(body.clone());
        if let Some(name) = path.split("name=").nth(1).and_then(|rest| rest.split('&').next()) {
            state.names.insert(name.to_owned(), id.clone());
        }
        state.containers.insert(id.clone(), Container { is_new: true, ..Container::of(body, end) });
        return (201, json!({"Id": id, "Warnings": []}));
    }
    let mut parts = place.trim_start_matches("/containers/").splitn(2, '/');
    let (id, what) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let id = &state.names.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let named = state.names.iter().find(|(_, of)| *of == id).map(|(name, _)| name.clone());
    let Some(container) = state.containers.get_mut(id) else { return not_found(place) };
    match (method, what) {
        ("POST", "start") => {
            container.start();
            let id = id.clone();
            state.started.push(id);
        }
        ("GET", "json") => return (200, container.seen(id, named.as_ref().unwrap_or(id))),
        ("POST", "stop" | "kill") => container.stop(),
        ("POST", "wait") => {
            drop(state);
            // As long as it may run; whoever waits asks again.
            std::thread::sleep(Duration::from_millis(100));
            return (200, json!({"StatusCode": 0}));
        }
        ("DELETE", _) => {
            container.stop();
            state.containers.remove(id);
        }
        _ => return not_found(place),
    }
    (204, Value::Null)
}

/// The containers with our labels, where those are asked for.
fn ours(path: &str, state: &State) -> Value {
    let is_asked = path.contains("vllm-grid");
    let ours = state.containers.iter().filter(|(_, it)| is_asked && it.body["Labels"].is_object());
    ours.map(|(id, it)| {
        let state = if it.is_new { json!("created") } else { Value::Null };
        json!({"Id": id, "Names": [format!("/{id}")], "Labels": it.labels(), "State": state, "Created": 1})
    })
    .collect()
}

/// Waits until as many creations are asked for as are to be at once.
fn await_others(state: &Mutex<State>) {
    state.lock().unwrap().creating += 1;
    let began = Instant::now();
    let is_alone = || {
        let state = state.lock().unwrap();
        state.creating < state.together
    };
    while is_alone() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a log, cut where it is followed and breaks off.
fn logs(stream: &mut UnixStream, path: &str, state: &Mutex<State>) -> std::io::Result<()> {
    let id = path.trim_start_matches("/containers/").split('/').next().unwrap_or_default();
    let follows = path.contains("follow=true");
    let end = {
        let mut state = state.lock().unwrap();
        state.logs.push(path.to_owned());
        state.containers.get(id).and_then(|container| container.end)
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.docker.multiplexed-stream\r\nconnection: close\r\n\r\n")?;
    let mut sent = Vec::new();
    if let Some(end) = end {
        let since = path.split("since=").nth(1).and_then(|rest| rest.split('&').next());
        let since: i64 = since.and_then(|since| since.parse().ok()).unwrap_or_default();
        let frame = |text: &str| {
            let mut frame = vec![1, 0, 0, 0];
            frame.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            frame.extend(text.as_bytes());
            frame
        };
        let first: jiff::Timestamp = "2026-11-28T05:16:00Z".parse().unwrap();
        if end.stamps {
            for (line, at) in end.log.split_inclusive('\n').zip(0..) {
                // Two lines in each second, both at the same moment.
                let stamp = first + jiff::SignedDuration::from_secs(at / 2);
                if stamp.as_second() >= since {
                    sent.extend(frame(&format!("{stamp:.9} {line}")));
                }
            }
        } else {
            let text = if follows { &end.log[..end.cut.unwrap_or(end.log.len())] } else { end.log };
            sent = frame(text);
        }
        if let Some(cut) = end.cut.filter(|_| follows) {
            sent.truncate(cut + 8);
            return stream.write_all(&sent);
        }
    }
    stream.write_all(&sent)?;
    let is_running =
        || state.lock().unwrap().containers.get_mut(id).is_some_and(Container::is_running);
    while follows && is_running() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
