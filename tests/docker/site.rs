//! A compose project of a test's own with its production, the sweeps that are run on it, and
//! what is looked at there. It takes down with it what it started, and what a sweep left.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{docker, image, text};

/// A compose project of the test's own, in which production runs.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) production: String,
    _turn: Turn,
}

/// A sweep is refused beside what another one's kill left: whoever kills is alone.
#[expect(dead_code, reason = "held, not read")]
enum Turn {
    Together(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

static TURNS: RwLock<()> = RwLock::new(());

impl Turn {
    fn together() -> Self {
        Self::Together(TURNS.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn alone() -> Self {
        Self::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Site {
    pub(crate) fn new(extra: &str) -> Self {
        Self::in_turn(extra, Turn::together())
    }

    /// The same for a test that kills sweeps: no other one runs meanwhile.
    pub(crate) fn alone(extra: &str) -> Self {
        Self::in_turn(extra, Turn::alone())
    }

    fn in_turn(extra: &str, turn: Turn) -> Self {
        let compose = |name: &str| {
            format!(
                "version: '2.4'\nservices:\n  vllm:\n    image: {}\n    container_name: {name}-production\n    \
             command: Qwen/Qwen3-0.6B --max-model-len 4096 --max_num_seqs=64 --sim-speed 20 \
             --sim-boot-seconds 6 --port 9000\n    \
             ports: ['127.0.0.1::9000']\n    restart: unless-stopped\n    environment: {{VLLM_API_KEY: sk-site}}\n    \
             labels: {{site: {name}}}\n",
                image()
            )
        };
        let grid = format!(
            "name: site\nengine:\n  docker:\n    compose: compose.yaml\n    service: vllm\n    production: {{service: vllm}}\n    \
             gpus: false\n    caches: false\nparameters:\n  enable-prefix-caching: [true, false]\n{extra}\
             workloads:\n  kv-cache: {{prefix-tokens: [1024], prompts: 2, output-tokens: 4}}\n\
             objective: {{minimize: kv_cache.ttft_resent_ms}}\nstrategy: {{grid: {{launches: 2, repeats: 2, seed: 1}}}}\n"
        );
        let mut site = Self::taking(&grid, compose, turn);
        site.up();
        site
    }

    /// A grid, and the compose file of a project with this name; nothing runs yet.
    pub(crate) fn of(grid: &str, compose: impl Fn(&str) -> String) -> Self {
        Self::taking(grid, compose, Turn::together())
    }

    /// The same for a test that kills sweeps: no other one runs meanwhile.
    pub(crate) fn alone_of(grid: &str, compose: impl Fn(&str) -> String) -> Self {
        Self::taking(grid, compose, Turn::alone())
    }

    fn taking(grid: &str, compose: impl Fn(&str) -> String, turn: Turn) -> Self {
        let folder = tempfile::Builder::new().prefix("gridtest").tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        std::fs::write(folder.path().join("compose.yaml"), compose(name)).unwrap();
        std::fs::write(folder.path().join("grid.yaml"), grid).unwrap();
        Self { folder, production: String::new(), _turn: turn }
    }

    pub(crate) fn up(&mut self) {
        let up = Command::new("docker-compose")
            .args(["-f", "compose.yaml", "up", "-d"])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(up.status.success(), "{}", text(&up));
        let name = self.folder.path().file_name().unwrap().to_str().unwrap();
        self.production = docker(&["inspect", "-f", "{{.Id}}", &format!("{name}-production")]);
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("VLLM_GRID_STATE", self.folder.path().join("state"))
            .env("VLLM_GRID_CLAIMS", self.folder.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn sweep(&self) -> Child {
        self.command(&["sweep", "grid.yaml", "--output", "run"]).spawn().unwrap()
    }

    /// Its project's name.
    pub(crate) fn name(&self) -> String {
        self.folder.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub(crate) fn journal(&self) -> String {
        std::fs::read_to_string(self.run().join("journal.jsonl")).unwrap_or_default()
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(
                started.elapsed() < Duration::from_mins(2),
                "waited in vain for {what}: {}",
                self.journal()
            );
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn until_journalled(&self, kind: &str, times: usize) {
        self.until(kind, |site| {
            site.journal().matches(&format!("\"kind\":\"{kind}\"")).count() >= times
        });
    }

    pub(crate) fn production_runs(&self) -> bool {
        docker(&["inspect", "-f", "{{.State.Running}}", &self.production]) == "true"
    }

    /// Our containers of this site's sweep, exited ones included.
    pub(crate) fn candidates(&self) -> Vec<String> {
        let filter = format!("label=vllm-grid.folder={}", self.run().display());
        docker(&["ps", "-aq", "--filter", &filter]).lines().map(str::to_owned).collect()
    }

    pub(crate) fn assert_as_found(&self) {
        assert!(self.production_runs(), "the same container runs again: {}", self.journal());
        assert!(self.candidates().is_empty());
        let journal = self.journal();
        assert!(journal.contains("\"step\":\"proven\""), "{journal}");
        assert!(!journal.contains("sk-site"), "no secret is journalled");
    }
}

impl Drop for Site {
    /// Without the compose tool, which takes seconds to say what labels say.
    fn drop(&mut self) {
        let ask = |arguments: &[&str]| {
            let output = Command::new("docker").args(arguments).output();
            let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
            let text = text.unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect::<Vec<String>>()
        };
        let remove = |what: &[&str], ids: Vec<String>| {
            if !ids.is_empty() {
                let _gone = Command::new("docker").args(what).args(ids).output();
            }
        };
        let name = self.folder.path().file_name().unwrap().to_string_lossy().to_lowercase();
        let project = format!("label=com.docker.compose.project={name}");
        let ours = format!("label=vllm-grid.folder={}", self.run().display());
        // What a failed test left is in the way of others.
        for label in [&ours, &project] {
            remove(&["rm", "-f", "-v"], ask(&["ps", "-aq", "--filter", label]));
        }
        if !self.production.is_empty() {
            remove(&["network", "rm"], ask(&["network", "ls", "-q", "--filter", &project]));
        }
    }
}
