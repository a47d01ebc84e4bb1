//! A proxy before the Docker daemon's socket that fails on demand: for a time, or by request.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of what is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Nobody listens.
    Refuse,
    /// Connections are broken off, requests not passed on.
    Reset,
    /// Nothing is passed on, and nothing broken off.
    Stall,
    /// Answered by this code and message in place of the daemon.
    Status(u16, &'static str),
    /// Passed on, and the connection broken off before the answer.
    LoseAnswer,
}

/// By the request's first line.
type Rule = Box<dyn Fn(&str) -> Fault + Send>;

/// What is done once, when an answer is lost: the daemon did what it was asked for.
type Lost = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub struct Proxy {
    path: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    to: PathBuf,
    now: Mutex<Fault>,
    rule: Mutex<Rule>,
    lost: Mutex<Option<Lost>>,
    open: Mutex<Vec<UnixStream>>,
    requests: Mutex<Vec<String>>,
}

impl Proxy {
    /// Listens at `path` for the daemon at `to`.
    pub fn start(path: PathBuf, to: &Path) -> Self {
        let shared = Arc::new(Shared {
            to: to.to_owned(),
            now: Mutex::new(Fault::None),
            rule: Mutex::new(Box::new(|_| Fault::None)),
            lost: Mutex::default(),
            open: Mutex::default(),
            requests: Mutex::default(),
        });
        let listener = listen(&path);
        let (held, at) = (Arc::clone(&shared), path.clone());
        std::thread::spawn(move || accept(&held, &at, listener));
        Self { path, shared }
    }

    /// Value of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.now.lock().unwrap() = fault;
        if !matches!(fault, Fault::None | Fault::Stall | Fault::LoseAnswer) {
            for stream in self.shared.open.lock().unwrap().drain(..) {
                let _closed = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// For so long.
    pub fn during(&self, fault: Fault, time: Duration) {
        self.set(fault);
        std::thread::sleep(time);
        self.set(Fault::None);
    }

    /// What becomes of each request, by its first line.
    pub fn by_request(&self, rule: impl Fn(&str) -> Fault + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// What is done, once, when the next answer is lost.
    #[allow(dead_code, reason = "not every test asks for it")]
    pub fn when_lost(&self, act: impl FnOnce() + Send + 'static) {
        *self.shared.lost.lock().unwrap() = Some(Box::new(act));
    }

    /// First lines of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

fn listen(path: &Path) -> UnixListener {
    let _none = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn accept(shared: &Arc<Shared>, path: &Path, listener: UnixListener) {
    let mut listener = Some(listener);
    // Until the test's folder is gone.
    while path.parent().is_some_and(Path::exists) {
        let now = *shared.now.lock().unwrap();
        if now == Fault::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(path));
        }
        match listener.as_ref().map(UnixListener::accept) {
            Some(Ok((stream, _))) => {
                stream.set_nonblocking(false).unwrap();
                let shared = Arc::clone(shared);
                std::thread::spawn(move || connection(&shared, stream));
            }
            _ => std::thread::sleep(Duration::from_millis(3)),
        }
    }
}

fn connection(shared: &Arc<Shared>, mut client: UnixStream) {
    let now = *shared.now.lock().unwrap();
    if now == Fault::Reset {
        return;
    }
    let Ok(mut daemon) = UnixStream::connect(&shared.to) else { return };
    let (mut from, mut to) = (daemon.try_clone().unwrap(), client.try_clone().unwrap());
    shared.open.lock().unwrap().extend([client.try_clone().unwrap(), daemon.try_clone().unwrap()]);
    let lost = Arc::new(Mutex::new(false));
    let (is_lost, held) = (Arc::clone(&lost), Arc::clone(shared));
    std::thread::spawn(move || {
        pump(&held, &mut from, |bytes| {
            if *is_lost.lock().unwrap() {
                let act = held.lost.lock().unwrap().take();
                if let Some(act) = act {
                    act();
                }
                return false;
            }
            to.write_all(bytes).is_ok()
        });
        let _closed = to.shutdown(Shutdown::Both);
    });
    let mut answer = client.try_clone().unwrap();
    pump(shared, &mut client, |bytes| {
        let mut fault = Fault::None;
        if let Some(line) = first_line(bytes) {
            fault = (shared.rule.lock().unwrap())(&line);
            shared.requests.lock().unwrap().push(line);
        }
        let now = *shared.now.lock().unwrap();
        match if fault == Fault::None { now } else { fault } {
            Fault::None => {}
            Fault::Refuse | Fault::Reset => return false,
            Fault::Stall => loop {
                std::thread::sleep(Duration::from_millis(20));
                if fault == Fault::None && *shared.now.lock().unwrap() != Fault::Stall {
                    break;
                }
            },
            Fault::Status(code, message) => {
                let text = format!("{{\"message\":\"{message}\"}}");
                let head = format!(
                    "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\nconnection: close\r\n\
                     content-length: {}\r\n\r\n{text}",
                    text.len()
                );
                let _gone = answer.write_all(head.as_bytes());
                return false;
            }
            Fault::LoseAnswer => *lost.lock().unwrap() = true,
        }
        daemon.write_all(bytes).is_ok()
    });
    let _closed = (client.shutdown(Shutdown::Both), daemon.shutdown(Shutdown::Both));
}

/// Passes what comes on until `pass` refuses it; held while everything stalls.
fn pump(shared: &Shared, from: &mut UnixStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while *shared.now.lock().unwrap() == Fault::Stall {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !pass(&buffer[..length]) {
            return;
        }
    }
}

/// `GET /containers/ID/json` of a request's beginning.
fn first_line(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_suffix(" HTTP/1.1")?;
    let (method, path) = line.split_once(' ')?;
    let path = match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
        Some((version, rest)) if version.starts_with(|it: char| it.is_ascii_digit()) => {
            format!("/{rest}")
        }
        _ => path.to_owned(),
    };
    Some(format!("{method} {path}"))
}
