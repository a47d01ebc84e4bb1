//! A folder with a grid, in which the program is started and killed, and what is read there:
//! the journal's whole lines and the results' rows.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

/// For how long a command may take that is not killed.
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) struct Place {
    folder: tempfile::TempDir,
    /// The daemon that the program is to ask, where it is not the usual one.
    pub(crate) daemon: Option<String>,
}

impl Place {
    pub(crate) fn new(grid: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("gridcrash").tempdir().expect("a folder");
        std::fs::write(folder.path().join("grid.yaml"), grid).expect("written");
        Self { folder, daemon: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its name, unique on this machine, in small letters.
    pub(crate) fn name(&self) -> String {
        let name = self.folder.path().file_name().expect("a name").to_string_lossy();
        name.to_lowercase()
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.path("run")
    }

    /// Whether there is something to resume.
    pub(crate) fn has_begun(&self) -> bool {
        self.run().join("manifest.json").is_file()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let file = |name: &str| File::create(self.path(name)).expect("a file");
        Command::new(BINARY)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("VLLM_GRID_STATE", self.path("state"))
            .envs(self.daemon.iter().map(|host| ("DOCKER_HOST", host)))
            .env("VLLM_GRID_CLAIMS", self.path("state"))
            .stdin(Stdio::null())
            .stdout(file("said"))
            .stderr(file("said.err"))
            .spawn()
            .expect("the program starts")
    }

    /// What the last command said.
    pub(crate) fn said(&self) -> String {
        let read = |name: &str| {
            let bytes = std::fs::read(self.path(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        read("said") + &read("said.err")
    }

    /// The journal's lines that are whole, as they stand in the file.
    pub(crate) fn lines(&self) -> Vec<String> {
        let bytes = std::fs::read(self.run().join("journal.jsonl")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Their entries.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let lines = self.lines();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.map(|line| line["line"]["entry"].clone()).collect()
    }
}

/// Waits for an end; `None` where it lasted too long and was ended.
pub(crate) fn ended(child: &mut Child) -> Option<ExitStatus> {
    within(child, PATIENCE).or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        None
    })
}

/// How a process ended, if it did so within `time`.
pub(crate) fn within(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2).min(time));
    }
}

/// A set as text, the first few.
pub(crate) fn few(names: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = names.iter().take(4).map(String::as_str).collect();
    format!("{} ({})", names.len(), shown.join("; "))
}
