//! What the specifications share: the binary, a folder of their own, a grid in
//! it, and reading what a sweep left behind.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

pub mod alone;
pub mod proxy;
pub mod tls;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use polars::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

use self::alone::Beside;

/// A small grid on the simulated engine: caching on and off, fast.
pub const CACHING: &str = "
name: caching
engine:
  simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, seed: 1, speed: 20, flags: {max-model-len: 8192}}
baseline: noprefix
parameters:
  enable-prefix-caching: [true, false]
workloads:
  kv-cache: {prefix-tokens: [4096], prompts: 2, output-tokens: 4}
objective:
  minimize: kv_cache.ttft_resent_ms
strategy: {grid: {launches: 2, repeats: 2, seed: 1}}
";

/// A folder with a grid in it.
pub struct Workplace {
    pub folder: tempfile::TempDir,
    _turn: Beside,
}

impl Workplace {
    pub fn new(grid: &str) -> Self {
        Self::on(alone::beside(), grid)
    }

    /// The same while no other test keeps the machine busy: for what is asserted of the
    /// quality or the times of a measurement. It is the first workplace of its test.
    pub fn alone(grid: &str) -> Self {
        Self::on(alone::alone(), grid)
    }

    fn on(turn: Beside, grid: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("grid.yaml"), grid).unwrap();
        Self { folder, _turn: turn }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("VLLM_GRID_STATE", self.path("state"))
            .env("VLLM_GRID_CLAIMS", self.path("state"))
            .env("VLLM_GRID_DAEMON_PATIENCE", "1")
            // What runs on this machine is no business of these tests: `recover` would remove it.
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// The same with this machine's own Docker daemon.
    pub fn run_on_docker(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env_remove("DOCKER_HOST").env_remove("VLLM_GRID_DAEMON_PATIENCE");
        Ran::of(command.output().unwrap())
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub fn journal(&self, run: &str) -> Vec<serde_json::Value> {
        let text =
            std::fs::read_to_string(self.path(run).join("journal.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn entries(&self, run: &str, kind: &str) -> usize {
        self.journal(run).iter().filter(|line| line["line"]["entry"]["kind"] == kind).count()
    }

    /// Waits until the journal holds so many entries of a kind.
    pub fn wait_for(&self, run: &str, kind: &str, count: usize) {
        until(&format!("{count} `{kind}` in the journal"), || self.entries(run, kind) >= count);
    }

    pub fn results(&self, run: &str) -> DataFrame {
        parquet(&self.path(run).join("results.parquet"))
    }

    pub fn ranking(&self, run: &str) -> DataFrame {
        parquet(&self.path(run).join("ranking.parquet"))
    }
}

/// A compose tool in the place of the machine's own, as a `PATH`: it prints the file that it
/// is asked for.
pub fn compose_tool(place: &Workplace) -> std::ffi::OsString {
    use std::os::unix::fs::PermissionsExt as _;

    let tools = place.path("tools");
    std::fs::create_dir_all(&tools).unwrap();
    let docker = tools.join("docker");
    let tool = "#!/bin/sh\ncase \"$*\" in *version*) echo 2.30; exit;; esac\nfile=compose.yaml\n\
                while [ $# -gt 0 ]; do [ \"$1\" = -f ] && file=$2; shift; done\ncat \"$file\"\n";
    std::fs::write(&docker, tool).unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap()
}

/// What a finished command said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it said, whatever lines that was broken into.
    pub fn said(&self) -> String {
        self.err.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// For how long a test waits for what must happen. It ends a test that would hang;
/// no figure depends on it.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same without a thread of its own.
pub async fn until_async(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What must end ends, however long the machine takes.
pub fn in_time<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let ended = Box::pin(tokio::time::timeout(PATIENCE, future));
    async move { ended.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}")) }
}

/// Runs a command that must end by itself.
pub fn in_time_command(mut command: Command) -> Ran {
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("waited {PATIENCE:?} in vain for the end of {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ran::of(child.wait_with_output().unwrap())
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

pub fn parquet(path: &Path) -> DataFrame {
    ParquetReader::new(std::fs::File::open(path).unwrap()).finish().unwrap()
}

/// A column as text, nulls as `None`.
pub fn texts(frame: &DataFrame, column: &str) -> Vec<Option<String>> {
    let column = frame.column(column).unwrap().cast(&DataType::String).unwrap();
    column.str().unwrap().iter().map(|value| value.map(str::to_owned)).collect()
}

/// A column as numbers, nulls as `None`.
pub fn numbers(frame: &DataFrame, column: &str) -> Vec<Option<f64>> {
    let column = frame.column(column).unwrap().cast(&DataType::Float64).unwrap();
    column.f64().unwrap().iter().collect()
}
