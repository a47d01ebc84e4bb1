//! Finishes what dead sweeps left: processes and containers of theirs that
//! still run, then production that is still stopped. Any number of times; a sweep
//! whose journal another process has open is not touched.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::SweepError;
use super::production::{self, GuardError};
use crate::engine::docker::cleanup::{self, CleanupError};
use crate::engine::docker::production_of;
use crate::engine::process;
use crate::event::Emit;
use crate::grid::{EngineBlock, GridFile, ReadOptions};
use crate::history::folder::Folder;
use crate::history::journal::{Entry, Journal};
use crate::history::production::{PendingRestore, pending_restore};
use crate::history::replay::production_steps;

/// What was done, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Names of the containers that were removed.
    pub removed: Vec<String>,
    /// Launches whose process was killed.
    pub killed: Vec<PathBuf>,
    /// Sweeps whose production was started, or proven, or both.
    pub production: Vec<PathBuf>,
    /// Sweeps that still run: not touched.
    pub living: Vec<PathBuf>,
    /// What could not be done, in one line each.
    pub problems: Vec<String>,
}

/// Whether another process has the journal of the sweep in `folder` open.
pub fn lives(folder: &Path) -> bool {
    // Shared, so that it is in no other `recover`'s way; released when the file is closed.
    let locked = File::open(folder.join("journal.jsonl")).map(|journal| journal.try_lock_shared());
    matches!(locked, Ok(Err(TryLockError::WouldBlock)))
}

/// Recovers the sweeps in `folders`; where `all_others` is asked for, also those that
/// containers on the local daemon say they belong to.
pub async fn run(folders: &[PathBuf], all_others: bool, emit: &Emit) -> Recovery {
    let mut recovery = Recovery::default();
    let mut all: Vec<PathBuf> = Vec::new();
    let mut add = |folder: &Path| {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        if !all.contains(&folder) {
            all.push(folder);
        }
    };
    for folder in folders {
        add(folder);
    }
    let only: Vec<PathBuf> = folders
        .iter()
        .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        .collect();
    let only = (!all_others).then_some(only.as_slice());
    match cleanup::remove_dead_here(only, lives).await {
        Ok((dead, living)) => {
            for found in living.iter().chain(&dead) {
                add(&found.folder);
            }
            recovery.removed = dead.into_iter().map(|found| found.name).collect();
        }
        // Without a daemon there is nothing to do, unless a sweep used one.
        Err(CleanupError::Daemon(_))
            if !folders.iter().any(|folder| engine_of(folder).as_deref() == Some("docker")) => {}
        Err(error) => recovery.problems.push(error.to_string()),
    }
    for folder in all.iter().filter(|folder| folder.join("manifest.json").is_file()) {
        if lives(folder) {
            recovery.living.push(folder.clone());
            continue;
        }
        kill_processes(folder, &mut recovery);
        match restore_production(folder, emit).await {
            Ok(true) => recovery.production.push(folder.clone()),
            Ok(false) => {}
            Err(problem) => recovery.problems.push(format!("{}: {problem}", folder.display())),
        }
    }
    recovery
}

fn engine_of(folder: &Path) -> Option<String> {
    Some(Folder::existing(folder).ok()?.manifest().ok()?.engine)
}

fn kill_processes(folder: &Path, recovery: &mut Recovery) {
    let Ok(launches) = std::fs::read_dir(folder.join("launches")) else { return };
    for launch in launches.flatten() {
        if process::kill_noted(&launch.path()) {
            recovery.killed.push(launch.path());
        }
    }
}

/// Restores production; returns whether there was anything to do.
async fn restore_production(folder: &Path, emit: &Emit) -> Result<bool, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let folder = Folder::existing(folder).map_err(|error| text(&error))?;
    if !folder.journal_path().is_file() {
        return Ok(false);
    }
    let (mut journal, lines) =
        Journal::open_damaged(&folder.journal_path()).map_err(|error| text(&error))?;
    for note in journal.notes() {
        emit.warn(note);
    }
    folder.remove_leftovers();
    let steps = production_steps(&lines);
    if pending_restore(&steps) == PendingRestore::Nothing {
        return Ok(false);
    }
    let manifest = folder.manifest().map_err(|error| text(&error))?;
    let options = ReadOptions {
        engine: Some(manifest.engine.clone()),
        base: folder.original_grid(&manifest).parent().map(Path::to_owned),
        max_configurations: usize::MAX,
        // Production is restored without them, too.
        datasets: false,
        ..ReadOptions::default()
    };
    let file = GridFile::read(&folder.grid_path(), &options).map_err(|error| text(&error))?;
    let EngineBlock::Docker(block) = file.engine() else { return Ok(false) };
    let production = production_of(block).await.map_err(|error| text(&error))?;
    let production = production.ok_or("its grid names no production")?;
    let mut note = |step| {
        let now = jiff::Timestamp::now();
        let appended = journal.append(now, Entry::Production { production: step });
        appended.map(|_| ()).map_err(SweepError::from)
    };
    production::recover(&production, &steps, &mut note, emit).await.map_err(|error| match error {
        GuardError::Journal(error) => error.to_string(),
        other => other.to_string(),
    })
}
