//! The folder through which login node and job talk to each other in a check: made where runs
//! will be, with a file for the node and the job's script, and removed afterwards.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::node;

/// A folder of one check.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) folder: PathBuf,
    /// What the node is to read.
    pub(super) word: String,
}

impl Probe {
    /// Makes it in `place`, with a script of these words.
    pub(super) fn make(place: &Path, words: &[String]) -> io::Result<Self> {
        let now = jiff::Timestamp::now().as_nanosecond();
        let word = format!("{}-{now}", std::process::id());
        let folder = place.join(format!(".vllm-grid-check-{word}"));
        fs::create_dir(&folder)?;
        let probe = Self { folder, word };
        let written = probe.write(words);
        if written.is_err() {
            // What was begun says nothing.
            let _ = fs::remove_dir_all(&probe.folder);
        }
        written.map(|()| probe)
    }

    fn write(&self, words: &[String]) -> io::Result<()> {
        fs::write(node::question(&self.folder), &self.word)?;
        let words = words.iter().map(String::as_str).chain(["--on-node"]);
        let folder = self.folder.to_string_lossy();
        let line = shell_words::join(words.chain([folder.as_ref()]));
        fs::write(self.script(), format!("#!/bin/sh\nexec {line}\n"))
    }

    pub(super) fn script(&self) -> PathBuf {
        self.folder.join("job.sh")
    }

    pub(super) fn output(&self) -> PathBuf {
        self.folder.join("job.log")
    }

    /// The last lines that the job printed.
    pub(super) fn printed(&self) -> Option<String> {
        let text = fs::read(self.output()).ok()?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
        let last = lines.iter().skip(lines.len().saturating_sub(3)).copied();
        Some(last.collect::<Vec<_>>().join("; ")).filter(|it| !it.is_empty())
    }

    /// Removes it; a file system that others write to may need a moment. Why it is left,
    /// where it is.
    pub(super) async fn remove(self) -> Result<(), io::Error> {
        for _ in 0..5 {
            match fs::remove_dir_all(&self.folder) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
        fs::remove_dir_all(&self.folder)
    }
}
