//! A server that writes bytes as a script says, on a raw socket, and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use vllm_grid::client::clock::now_ns;
use vllm_grid::server::{ApiKey, Endpoint, Server};

use crate::support::until_async;

/// What the server does after a request has arrived.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes bytes.
    Write(Vec<u8>),
    /// Writes the same bytes again and again, with pauses, until the client closes.
    Repeat(Vec<u8>, Duration),
    /// Waits.
    Wait(Duration),
    /// Waits until it is notified.
    Gate(Arc<Notify>),
    /// Closes the connection.
    Close,
    /// Says nothing more, with the connection open.
    Hang,
}

/// What the server saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// Requests, head and body.
    pub(crate) requests: Vec<String>,
    /// Connections that the client closed, or that were reset.
    pub(crate) closed: usize,
    /// Connections that the script closed.
    pub(crate) hung_up: usize,
    /// When each [`Step::Write`] began and was done, in time of [`now_ns`].
    pub(crate) written: Vec<(u64, u64)>,
}

/// A running script.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Scripted {
    /// Answers every request with the same steps.
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("no panic").connections += 1;
                tokio::spawn(answer(stream, steps.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().expect("no panic").clone()
    }

    /// Waits until the server saw this.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        until_async(what, async || is_so(&self.seen())).await;
    }

    pub(crate) fn server(&self) -> Server {
        server(&format!("http://{}", self.address))
    }
}

pub(crate) fn server(url: &str) -> Server {
    Server {
        endpoint: Endpoint::new(url.to_owned(), Some(ApiKey::new("sk-secret"))),
        model: "m".to_owned(),
        choice: vllm_grid::server::ModelChoice::Clear,
        max_model_len: None,
        version: None,
        simulated: false,
    }
}

async fn answer(mut stream: TcpStream, steps: Vec<Step>, seen: Arc<Mutex<Seen>>) {
    let _ = stream.set_nodelay(true);
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().expect("no panic").requests.push(request);
        for step in &steps {
            match step {
                Step::Write(bytes) => {
                    let began = now_ns();
                    if stream.write_all(bytes).await.is_err() {
                        break;
                    }
                    seen.lock().expect("no panic").written.push((began, now_ns()));
                }
                Step::Repeat(bytes, pause) => {
                    while stream.write_all(bytes).await.is_ok() {
                        match *pause {
                            Duration::ZERO => tokio::task::yield_now().await,
                            pause => tokio::time::sleep(pause).await,
                        }
                    }
                    break;
                }
                Step::Wait(time) => tokio::time::sleep(*time).await,
                Step::Gate(gate) => gate.notified().await,
                Step::Close => {
                    drop(stream);
                    seen.lock().expect("no panic").hung_up += 1;
                    return;
                }
                Step::Hang => {
                    let mut byte = [0];
                    // The client's close is the only thing that can come.
                    let _ = stream.read(&mut byte).await;
                    break;
                }
            }
        }
    }
    seen.lock().expect("no panic").closed += 1;
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// The head of a stream.
pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// One HTTP chunk.
pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// The end of a chunked body.
pub(crate) const END: &str = "0\r\n\r\n";

/// One chat event with this delta.
pub(crate) fn delta(delta: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\
         \"delta\":{delta},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
    )
}

pub(crate) const USAGE: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":21,\
    \"total_tokens\":24,\"completion_tokens\":3}}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// Steps that write texts.
pub(crate) fn writes<T: AsRef<str>>(texts: &[T]) -> Vec<Step> {
    texts.iter().map(|text| Step::Write(text.as_ref().as_bytes().to_vec())).collect()
}
