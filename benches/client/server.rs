//! The server of known timing: raw sockets, one chunk per token, and its own
//! record of when a request had arrived and when its first token was written.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::scenario::Scenario;
use crate::tls::{Accepted, Identity};

type Records = Arc<Mutex<Vec<(u64, Duration)>>>;

/// A connection, plain or with TLS in it.
enum Wire {
    Plain(TcpStream),
    Tls(Box<Accepted>),
}

impl Wire {
    async fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(accepted) => accepted.write(bytes).await,
        }
    }

    /// Appends what comes next; false: nothing more.
    async fn read(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
        match self {
            Self::Plain(stream) => Ok(stream.read_buf(buffer).await? > 0),
            Self::Tls(accepted) => accepted.read(buffer).await,
        }
    }
}

/// Serves until standard input ends; the records as lines. Behind https the authority of its
/// certificate is written to a file.
pub(crate) fn serve(scenario: &'static Scenario, authority: &Path) -> String {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A load that needs more fails for it.
    let _ = setrlimit(Resource::Nofile, limit);
    let identity = scenario.tls.map(|_| Identity::new());
    if let Some(identity) = &identity {
        identity.write_to(authority);
    }
    let config = identity.map(|it| it.config);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let records: Records = Arc::default();
    let shared = Arc::clone(&records);
    runtime
        .block_on(async move {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
            let listener: TcpListener = socket.listen(4096).expect("listening");
            let scheme = if config.is_some() { "https" } else { "http" };
            println!("{scheme}://{}", listener.local_addr().expect("bound"));
            let frames = Arc::new(Frames::new(scenario));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (frames, shared) = (Arc::clone(&frames), Arc::clone(&shared));
                    let config = config.clone();
                    tokio::spawn(async move {
                        stream.set_nodelay(true).ok()?;
                        let wire = match config {
                            None => Wire::Plain(stream),
                            Some(config) => {
                                Wire::Tls(Box::new(Accepted::new(stream, config).await.ok()?))
                            }
                        };
                        answer(wire, scenario, frames, shared).await
                    });
                }
            });
            tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await
        })
        .expect("no panic")
        .expect("standard input");
    runtime.shutdown_background();
    let mut text = String::new();
    for (id, time) in records.lock().expect("no panic").iter() {
        let _ = writeln!(text, "{id} {}", time.as_secs_f64() * 1e3);
    }
    text
}

/// What is written, made once. Only the first chunk of an answer bears its number.
struct Frames {
    /// Head, role chunk and first token, before and after the number.
    first: (String, String),
    token: Vec<u8>,
    /// Usage, `[DONE]`, end of the body.
    last: Vec<u8>,
    /// All that follows the first token, for a stream without pauses.
    rest: Vec<u8>,
}

/// Digits of an answer's number: the chunk's size does not depend on it.
const DIGITS: usize = 16;

impl Frames {
    fn new(scenario: &Scenario) -> Self {
        let chunk = |data: &str| format!("{:x}\r\n{data}\r\n", data.len());
        let event = |id: &str, choices: &str, more: &str| {
            chunk(&format!(
                "data: {{\"id\":\"bench-{id}\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1795500834,\"model\":\"m\",\"choices\":[{choices}]{more}}}\n\n"
            ))
        };
        let delta = |id: &str, delta: &str| {
            let choice = format!(
                "{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":null,\"token_ids\":null}}"
            );
            event(id, &choice, "")
        };
        let number = "0".repeat(DIGITS);
        let hole = "#".repeat(DIGITS);
        let token = delta(&number, "{\"content\":\" token\"}");
        let first = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
             transfer-encoding: chunked\r\n\r\n{}{token}",
            delta(&hole, "{\"role\":\"assistant\",\"content\":\"\"}")
        );
        let (before, after) = first.split_once(&hole).expect("the hole is there");
        let usage = format!(
            ",\"usage\":{{\"prompt_tokens\":64,\"total_tokens\":{},\"completion_tokens\":{}}}",
            64 + scenario.tokens,
            scenario.tokens
        );
        let last = format!("{}{}0\r\n\r\n", event(&number, "", &usage), chunk("data: [DONE]\n\n"));
        let rest = format!("{}{last}", token.repeat(scenario.tokens - 1));
        Self {
            first: (before.to_owned(), after.to_owned()),
            token: token.into_bytes(),
            last: last.into_bytes(),
            rest: rest.into_bytes(),
        }
    }

    fn first(&self, number: u64) -> Vec<u8> {
        let (before, after) = &self.first;
        format!("{before}{number:0DIGITS$}{after}").into_bytes()
    }
}

async fn answer(
    mut stream: Wire,
    scenario: &Scenario,
    frames: Arc<Frames>,
    records: Records,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let (line, own) = read_request(&mut stream, &mut buffer).await?;
        let arrived = Instant::now();
        if !line.starts_with("post") {
            stream.write_all(plain(&line).as_bytes()).await.ok()?;
            continue;
        }
        let id = own.unwrap_or_else(|| NUMBER.fetch_add(1, Ordering::Relaxed));
        let first = frames.first(id);
        if scenario.gap.is_zero() {
            let sent = arrived.elapsed();
            stream.write_all(&first).await.ok()?;
            stream.write_all(&frames.rest).await.ok()?;
            records.lock().expect("no panic").push((id, sent));
            continue;
        }
        let start = tokio::time::Instant::from_std(arrived);
        tokio::time::sleep_until(start + scenario.first).await;
        let sent = arrived.elapsed();
        stream.write_all(&first).await.ok()?;
        records.lock().expect("no panic").push((id, sent));
        let mut due = start + scenario.first;
        for _ in 1..scenario.tokens {
            due += scenario.gap;
            tokio::time::sleep_until(due).await;
            stream.write_all(&frames.token).await.ok()?;
        }
        stream.write_all(&frames.last).await.ok()?;
    }
}

/// The number of the next answer to a prompt without one.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// What a client asks before it measures: the models. Nothing else is offered.
fn plain(line: &str) -> String {
    let (status, body) = if line.starts_with("get /v1/models ") {
        ("200 OK", r#"{"object":"list","data":[{"id":"m","object":"model","max_model_len":4096}]}"#)
    } else {
        ("404 Not Found", r#"{"detail":"Not Found"}"#)
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Reads one request; its first line in small letters, and the number that its
/// prompt bears behind `bench-id-`, if it does.
async fn read_request(stream: &mut Wire, buffer: &mut Vec<u8>) -> Option<(String, Option<u64>)> {
    buffer.clear();
    loop {
        if let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
            let length: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if buffer.len() >= head + 4 + length {
                let body = String::from_utf8_lossy(&buffer[head + 4..]);
                let number = body.split_once("bench-id-").and_then(|(_, rest)| {
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    rest[..end].parse().ok()
                });
                return Some((text.lines().next()?.to_owned(), number));
            }
        }
        if !stream.read(buffer).await.ok()? {
            return None;
        }
    }
}
