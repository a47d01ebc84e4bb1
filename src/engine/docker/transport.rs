//! The way to the daemon's socket: one connection for each request, and a limit to what
//! an answer may bring. A daemon's answer ends; what listens on the socket in its place
//! may send without end, and whatever reads the answer keeps it in memory. So the bytes
//! are counted where they come in. An answer that is a stream (a log, statistics) is
//! limited message by message: who reads it renews its [`Allowance`].

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// Most bytes of one answer: ten thousand containers have a fifth of that.
pub(super) const ANSWER: u64 = 64 << 20;
/// Most bytes of one message of a log: daemons cut lines at 16 KiB or 1 MiB.
pub(super) const LOG_MESSAGE: u64 = 16 << 20;
/// Most bytes of one frame of statistics, which has a few KiB.
pub(super) const STATS_FRAME: u64 = 1 << 20;
/// Most bytes before an answer's body begins.
const HEAD: u64 = 1 << 20;
/// Most lines and objects of one answer: each takes far more memory than its bytes. A body
/// in chunks has two lines for each of them.
const PARTS: u64 = 1 << 19;

tokio::task_local! {
    static OWN: Arc<Allowance>;
}

/// An answer that brought too much.
#[derive(Debug, thiserror::Error)]
#[error("its answer does not end (more than {0})")]
struct Excess(String);

/// What may still come in of an answer.
#[derive(Debug)]
pub(super) struct Allowance {
    most: u64,
    bytes: AtomicU64,
    parts: AtomicU64,
}

impl Allowance {
    /// One of `most` bytes for each message of a stream.
    pub(super) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, bytes: AtomicU64::new(HEAD), parts: AtomicU64::new(PARTS) })
    }

    /// That of the stream which is read now, else one for a whole answer.
    fn current() -> Arc<Self> {
        OWN.try_with(Arc::clone).unwrap_or_else(|_| Self::new(ANSWER))
    }

    /// Requests that begin in `work` have this one.
    pub(super) async fn on<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        OWN.scope(self, work).await
    }

    /// A message has come whole: the next one may bring as much.
    pub(super) fn renew(&self) {
        self.bytes.store(self.most, Ordering::Relaxed);
        self.parts.store(PARTS, Ordering::Relaxed);
    }

    /// Takes what came in.
    fn take(&self, read: &[u8]) -> Result<(), Excess> {
        let lines = memchr::memchr2_iter(b'\n', b'{', read).count() as u64;
        let less = |of: &AtomicU64, by: u64| {
            of.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(by)).is_ok()
        };
        if !less(&self.parts, lines) {
            return Err(Excess(format!("{PARTS} parts")));
        }
        if !less(&self.bytes, read.len() as u64) {
            return Err(Excess(format!("{} MiB", self.most >> 20)));
        }
        Ok(())
    }
}

/// A connection to the daemon at `host` (`unix://PATH`); heads of answers come within
/// `timeout` seconds.
pub(super) fn open(host: &str, timeout: u64) -> Result<Docker, Error> {
    let path = PathBuf::from(host.strip_prefix("unix://").unwrap_or(host));
    if !path.exists() {
        return Err(Error::SocketNotFoundError(path.display().to_string()));
    }
    let path: Arc<Path> = path.into();
    let transport = move |request: BollardRequest| send(Arc::clone(&path), request);
    let host = Some("http://docker");
    Docker::connect_with_custom_transport(transport, host, timeout, API_DEFAULT_VERSION)
}

async fn send(path: Arc<Path>, request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let allowance = Allowance::current();
    let stream = UnixStream::connect(&*path).await?;
    let bounded = Bounded { stream, allowance: Arc::clone(&allowance) };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(bounded)).await?;
    // Its errors come with the answer.
    tokio::spawn(connection.with_upgrades());
    let (mut parts, body) = request.into_parts();
    if let Some(place) = parts.uri.path_and_query() {
        parts.uri = Uri::from(place.clone());
    }
    parts.headers.insert(HOST, HeaderValue::from_static("docker"));
    let response = sender.send_request(Request::from_parts(parts, body)).await?;
    allowance.renew();
    Ok(response)
}

/// Why an answer was cut off, where it brought too much.
pub(super) fn excess(error: &Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = cause {
        let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(excess) = inner.and_then(|inner| inner.downcast_ref::<Excess>()) {
            return Some(excess.to_string());
        }
        cause = at.source();
    }
    None
}

/// The socket, read as long as the allowance lasts.
struct Bounded {
    stream: UnixStream,
    allowance: Arc<Allowance>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.allowance.take(&buffer.filled()[before..]).map_err(io::Error::other))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use bollard::query_parameters::ListContainersOptions;
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    /// As a daemon lists a container that a compose tool made.
    fn listed(number: usize) -> String {
        let network = |name: &str| {
            json!({"IPAMConfig": {}, "Links": null, "Aliases": ["vllm", name], "NetworkID": name,
                   "DriverOpts": {}, "EndpointID": "e", "Gateway": "172.18.0.1", "IPPrefixLen": 16,
                   "IPAddress": "172.18.0.2", "MacAddress": "02:42:ac:12:00:02"})
        };
        let folder = "/srv/".to_owned() + &"a-long-folder-of-a-project/".repeat(8);
        let mount = json!({"Type": "bind", "Source": folder, "Destination": "/data", "Mode": "rw",
                           "RW": true, "Propagation": "rprivate"});
        let port = json!({"IP": "0.0.0.0", "PrivatePort": 8000, "PublicPort": 1, "Type": "tcp"});
        json!({
            "Id": format!("{number:064x}"), "Names": [format!("/project-{number}-vllm-1")],
            "Image": "vllm/vllm-openai:v0.11.0", "ImageID": format!("sha256:{number:064x}"),
            "Command": "vllm serve a-model-of-a-long-name", "Created": 1_764_000_000,
            "Ports": [port, port, port, port],
            "Labels": {"com.docker.compose.project": "project", "com.docker.compose.service": "vllm",
                       "com.docker.compose.project.config_files": folder.repeat(2),
                       "com.docker.compose.config-hash": "a".repeat(64), "a": "{{}}\n".repeat(8)},
            "State": "running", "Status": "Up 2 hours", "HostConfig": {"NetworkMode": "project"},
            "NetworkSettings": {"Networks": {"one": network("one"), "two": network("two")}},
            "Mounts": [mount, mount, mount],
        })
        .to_string()
    }

    #[tokio::test]
    async fn ten_thousand_containers_are_within_the_limits() {
        let all: Vec<String> = (0..10_000).map(listed).collect();
        let body = format!("[{}]\n", all.join(","));
        assert!(body.len() > 20 << 20, "{} bytes", body.len());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let asked = stream.read(&mut [0; 1 << 14]).await.expect("a request");
            assert!(asked > 0, "it was closed");
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("sent");
            // In pieces as a daemon sends them.
            for piece in body.as_bytes().chunks(2 << 10) {
                let size = format!("{:x}\r\n", piece.len());
                let chunk = [size.as_bytes(), piece, b"\r\n"].concat();
                stream.write_all(&chunk).await.expect("sent");
            }
            stream.write_all(b"0\r\n\r\n").await.expect("sent");
        });
        let docker = open(&format!("unix://{}", path.display()), 60).expect("a socket");
        let found = docker.list_containers(None::<ListContainersOptions>).await;
        assert_eq!(found.expect("a list").len(), 10_000);
    }
}
