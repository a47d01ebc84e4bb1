//! A daemon of one container for tests in virtual time: it serves on a socket in the
//! runtime of its test, and its script says what becomes of each request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

use super::patience::{Daemon, PATIENCE};
use super::production::DockerProduction;
use super::transport;
use crate::engine::readiness::{Candidate, Connect};
use crate::grid::ProductionName;
use crate::server::{Endpoint, Server};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Answered,
    /// The connection is broken off before anything is done.
    Reset,
    /// It is done, and the connection broken off before the answer.
    AnswerLost,
    /// No answer ever comes.
    Stalled,
    /// It is done, and no answer ever comes.
    StalledAfter,
    /// Refused with this code and message.
    Refused(u16, &'static str),
}

/// By the time since the start and the request (`POST /containers/a/start`).
pub(crate) type Script = dyn Fn(Duration, &str) -> Fate + Send + Sync;

/// What the daemon knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) running: bool,
    /// Starts so far: each has a time of its own.
    pub(crate) starts: u32,
    /// Restarts by its policy; with `crashes` there is one more at each look.
    pub(crate) restarts: u32,
    pub(crate) crashes: bool,
    /// The container's labels and name, once it is made.
    made: Option<(String, Value)>,
    /// Requests that changed something.
    pub(crate) actions: Vec<String>,
    /// Connections and requests that came, answered or not.
    pub(crate) requests: usize,
}

pub(crate) struct Scripted {
    pub(crate) daemon: Daemon,
    pub(crate) known: Arc<Mutex<Known>>,
    _folder: tempfile::TempDir,
}

impl Scripted {
    pub(crate) fn new(
        running: bool,
        script: impl Fn(Duration, &str) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let known = Arc::new(Mutex::new(Known { running, ..Known::default() }));
        let (shared, script): (_, Arc<Script>) = (Arc::clone(&known), Arc::new(script));
        let begun = Instant::now();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (known, script) = (Arc::clone(&shared), Arc::clone(&script));
                tokio::spawn(async move { serve(stream, begun, &known, &*script).await });
            }
        });
        let host = format!("unix://{}", path.display());
        let docker = transport::open(&host, 600).expect("a socket");
        Self { daemon: Daemon::new(docker, &host, PATIENCE), known, _folder: folder }
    }

    /// Its container as production, with this way to ask it; `variable` is that of its key,
    /// where it is not set.
    pub(crate) fn production(&self, connect: Connect, variable: Option<&str>) -> DockerProduction {
        let name = ProductionName::Container("prod".to_owned());
        DockerProduction::new(self.daemon.clone(), name, None, None, connect)
            .with_missing_key(variable.map(str::to_owned))
    }

    pub(crate) fn actions(&self) -> String {
        self.known.lock().expect("no panic").actions.join(", ")
    }

    pub(crate) fn runs(&self) -> bool {
        self.known.lock().expect("no panic").running
    }
}

/// A server that is healthy after so long, and then answers a completion.
pub(crate) fn ready_after(wait: Duration) -> Connect {
    let begun = Instant::now();
    Arc::new(move |endpoint| Box::new(Ready { endpoint, at: begun + wait }))
}

struct Ready {
    endpoint: Endpoint,
    at: Instant,
}

#[async_trait]
impl Candidate for Ready {
    async fn health(&self) -> Option<u16> {
        (Instant::now() >= self.at).then_some(200)
    }

    async fn prove(&self) -> Result<Server, String> {
        Ok(Server {
            endpoint: self.endpoint.clone(),
            model: "m".to_owned(),
            max_model_len: None,
            choice: crate::server::ModelChoice::Clear,
            version: None,
            simulated: true,
        })
    }
}

async fn serve(mut stream: UnixStream, begun: Instant, known: &Mutex<Known>, script: &Script) {
    let mut buffer = vec![0; 1 << 16];
    // A request fits one read: the client writes its head and its short body at once.
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let mut words = text.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let place = path.strip_prefix("/v").and_then(|rest| rest.split_once('/'));
        let place = place.map_or(path.to_owned(), |(_, rest)| format!("/{rest}"));
        let request = format!("{method} {}", place.split('?').next().unwrap_or_default());
        known.lock().expect("no panic").requests += 1;
        let fate = script(begun.elapsed(), &request);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer = match fate {
            Fate::Reset => return,
            Fate::Stalled => return sleep(Duration::from_hours(24)).await,
            Fate::Refused(code, message) => (code, json!({"message": message})),
            Fate::Answered | Fate::AnswerLost => answer(&request, &place, body, known),
            Fate::StalledAfter => {
                answer(&request, &place, body, known);
                return sleep(Duration::from_hours(24)).await;
            }
        };
        if fate == Fate::AnswerLost {
            return;
        }
        let (code, body) = answer;
        let body = if code == 204 || code == 304 { String::new() } else { body.to_string() };
        let length = match code {
            204 | 304 => String::new(),
            _ => format!("content-length: {}\r\n", body.len()),
        };
        let head =
            format!("HTTP/1.1 {code} x\r\ncontent-type: application/json\r\n{length}\r\n{body}");
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn answer(request: &str, place: &str, body: &str, known: &Mutex<Known>) -> (u16, Value) {
    let mut known = known.lock().expect("no panic");
    if request.starts_with("POST") {
        known.actions.push(request.trim_start_matches("POST /containers/").to_owned());
    }
    match request {
        "GET /_ping" => (200, json!("OK")),
        "GET /containers/json" => (
            200,
            json!([{"Id": "b", "Names": ["/squatter"],
                    "Ports": [{"PrivatePort": 80, "PublicPort": 8000, "Type": "tcp"}]}]),
        ),
        "POST /containers/create" if known.made.is_some() => {
            (409, json!({"message": "Conflict. The container name is already in use"}))
        }
        "POST /containers/create" => {
            let name = place.split("name=").nth(1).and_then(|rest| rest.split('&').next());
            let name = name.unwrap_or_default().to_owned();
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            known.made = Some((name, body["Labels"].clone()));
            (201, json!({"Id": "a", "Warnings": []}))
        }
        "POST /containers/a/start" if known.running => (304, Value::Null),
        "POST /containers/a/start" => {
            known.running = true;
            known.starts += 1;
            (204, Value::Null)
        }
        "POST /containers/a/stop" if !known.running => (304, Value::Null),
        "POST /containers/a/stop" => {
            known.running = false;
            (204, Value::Null)
        }
        "GET /containers/a/json" | "GET /containers/prod/json" => {
            known.restarts += u32::from(known.crashes);
            (200, seen(&known))
        }
        other => match &known.made {
            Some((name, _)) if other == format!("GET /containers/{name}/json") => {
                (200, seen(&known))
            }
            _ => (404, json!({"message": "no such container"})),
        },
    }
}

fn seen(known: &Known) -> Value {
    let (name, labels) = known.made.clone().unwrap_or(("prod".to_owned(), json!({})));
    json!({
        "Id": "a", "Name": format!("/{name}"), "Image": "sha256:1", "RestartCount": known.restarts,
        "State": {"Running": known.running, "Paused": false, "ExitCode": 0,
                  "StartedAt": format!("2026-11-28T05:16:{:02}Z", known.starts % 60)},
        "Config": {"Image": "i:1", "Cmd": ["m"], "Env": [], "Labels": labels},
        "NetworkSettings": {"Ports": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9"}]}},
    })
}
