//! How a sweep is opened for writing: begun in a folder of its own, continued, or continued
//! with a confirmation in place of its own launches. What it does then is the loop's, in
//! the parent module.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::super::SweepError;
use super::super::clock::Clock;
use super::super::events::Events;
use super::super::measured_with::MeasuredWith;
use super::super::resume::noted_production;
use super::super::scope::{self, Scope};
use super::Sweep;
use super::files::Files;
use super::nights::{self, Night};
use crate::grid::Grid;
use crate::history::block::Block;
use crate::history::confirmation::Confirmation;
use crate::history::folder::{Folder, SeenFolder, write_whole};
use crate::history::journal::{Journal, Seen};
use crate::history::record::{Manifest, host};
use crate::history::replay;
use crate::history::steady::Steady;
use crate::history::{HistoryError, disk};
use crate::ownership::new_run_id;
use crate::secret::Secrets;

impl Sweep {
    /// Begins a sweep of a grid: makes its folder, `output` itself where one is
    /// asked for, writes the grid's copy and the manifest, opens the journal. Nothing
    /// is written with any of `secrets` in it.
    ///
    /// # Errors
    /// When `output` is not an empty folder, or nothing can be written.
    pub fn begin(
        grid: &Grid,
        output: Option<&Path>,
        now: jiff::Timestamp,
        secrets: &Secrets,
    ) -> Result<Self, SweepError> {
        Self::begin_with(grid, output, now, secrets, None)
    }

    /// The same with what is measured with, where that is known.
    ///
    /// # Errors
    /// As for [`Self::begin`].
    pub fn begin_with(
        grid: &Grid,
        output: Option<&Path>,
        now: jiff::Timestamp,
        secrets: &Secrets,
        with: Option<MeasuredWith>,
    ) -> Result<Self, SweepError> {
        let (folder, name) = Folder::create(&grid.name, now, output)?;
        let mut manifest = Manifest::of(grid, name, now);
        manifest.run_id = Some(new_run_id());
        manifest.grid_path = folder.relative(&grid.path);
        if let Some(with) = with {
            (manifest.machine, manifest.image_id) = (with.machine, with.image_id);
            manifest.service_parts = with.service_parts;
        }
        Self::write(folder, manifest, &grid.source, secrets)
    }

    /// Begins a sweep in a folder that exists.
    pub(super) fn write(
        folder: Folder,
        manifest: Manifest,
        grid: &[u8],
        secrets: &Secrets,
    ) -> Result<Self, SweepError> {
        let path = folder.grid_path();
        write_whole(&path, |file| file.write_all(grid))
            .map_err(|error| HistoryError::Io { path, error })?;
        folder.write_manifest(&manifest, secrets)?;
        let host = manifest.host.clone();
        Self::open(folder, manifest, None, host, secrets)
    }

    /// Continues a sweep.
    ///
    /// # Errors
    /// When another process writes it, or its files are damaged.
    pub fn resume(folder: Folder, secrets: &Secrets) -> Result<Self, SweepError> {
        Self::resume_seen(folder, None, secrets)
    }

    /// The same with the journal as it was read before: only what is new in it is parsed.
    ///
    /// # Errors
    /// As for [`Self::resume`].
    pub fn resume_seen(
        folder: Folder,
        seen: Option<SeenFolder>,
        secrets: &Secrets,
    ) -> Result<Self, SweepError> {
        let manifest = folder.manifest()?;
        folder.check_journal()?;
        let seen = seen.and_then(SeenFolder::into_journal);
        Self::open(folder, manifest, seen, host(), secrets)
    }

    /// The same with the configurations and workloads of the grid: those of the manifest are the
    /// same with their secrets masked, and cannot be launched.
    #[must_use]
    pub fn with_configurations(mut self, grid: &Grid) -> Self {
        self.record.manifest.configurations.clone_from(&grid.configurations);
        self.record.manifest.workloads.clone_from(&grid.workloads);
        self
    }

    /// The same in a new block: a change was accepted.
    #[must_use]
    pub fn accepting(self, block: Option<Block>) -> Self {
        Self { accepted: block, ..self }
    }

    /// Whether its next session begins a block.
    pub fn begins_block(&self) -> bool {
        self.accepted.is_some()
    }

    /// The same, to confirm something in place of continuing the sweep; `None` where the
    /// confirmation is not of two of its configurations.
    #[must_use]
    pub fn confirming(self, asked: Confirmation) -> Option<Self> {
        Some(Self { scope: Scope::confirmation(&self.record, asked)?, ..self })
    }

    fn open(
        folder: Folder,
        manifest: Manifest,
        seen: Option<Seen>,
        host: String,
        secrets: &Secrets,
    ) -> Result<Self, SweepError> {
        let path = folder.journal_path();
        // Before it is opened: what that puts aside is among its own notes.
        let beside = folder.beside();
        let (mut journal, lines) = Journal::open_seen(&path, seen)?;
        let launches = folder.launches();
        if lines.is_empty() && !launches.is_empty() {
            return Err(folder.empty_journal().into());
        }
        let mut steady = Steady::default();
        let times: Vec<jiff::Timestamp> = lines.iter().map(|line| steady.next(line)).collect();
        let production_took = nights::production_took(&lines, &times);
        let record =
            replay::replay(manifest, &lines).map_err(|illegal| illegal.in_journal(path))?;
        // Before anything is stopped or launched: a folder that cannot be written is found out here.
        journal.keep_reserve()?;
        let notes = journal.notes().iter().cloned().chain(folder.missing(&launches, &record));
        let notes = notes.chain(beside).collect();
        let runs_on =
            |number: u32| record.all_launches().any(|(_, it)| it.launch == number && it.runs_on());
        let living = launches.iter().filter(|(number, _)| runs_on(*number));
        let living: Vec<_> = living.map(|(_, name)| folder.launches_path().join(name)).collect();
        folder.remove_leftovers(&living);
        let paths = launches.iter().map(|(_, name)| folder.launches_path().join(name));
        let largest = paths.map(|path| disk::taken(&path)).max().unwrap_or(0);
        Ok(Self {
            folder,
            journal: journal.without(secrets.clone()),
            record,
            files: Files::new(launches.last().map_or(0, |(last, _)| *last), largest),
            notes,
            scope: Scope::default(),
            accepted: None,
            spent: scope::spent(&lines),
            started: Instant::now(),
            production: replay::production_steps(&lines),
            noted_production: noted_production(&lines),
            guard: None,
            owner: None,
            host,
            finished: None,
            has_decided: false,
            journal_failed: false,
            disturbed: false,
            events: Events::nowhere(),
            clock: Clock::system(),
            steady,
            nights: Duration::ZERO,
            night: Night::default(),
            production_took,
            readings: BTreeMap::new(),
        })
    }
}
