//! What the loop asks of the disk: that the journal is still where it was, that the
//! next launch has space, and that no launch writes over another. What is done when it
//! is not so is an error, which ends the sweep in good order.

use std::path::PathBuf;

use super::super::SweepError;
use super::super::context::SweepContext;
use super::super::hosts::Made;
use super::Sweep;
use crate::history::HistoryError;
use crate::history::disk::{self, Free};
use crate::history::folder::Folder;
use crate::history::journal::{Entry, JournalError};
use crate::history::launch::LaunchOutcome;
use crate::history::production::{PendingRestore, pending_restore};
use crate::strategy::{Action, Situation};

/// What launches leave on the disk.
#[derive(Debug)]
pub(super) struct Files {
    /// The highest number of a launch that has a folder, when the sweep was opened.
    last: u32,
    /// Bytes of the largest launch so far.
    largest: u64,
    /// Whether the full disk was reported: what is written after that is the end.
    full: bool,
    /// What is free; tests have disks of their own.
    pub(super) free: fn(&std::path::Path) -> std::io::Result<Free>,
}

impl Files {
    pub(super) fn new(last: u32, largest: u64) -> Self {
        Self { last, largest, full: false, free: disk::free }
    }

    /// A number that no folder has.
    pub(super) fn next_launch(&self) -> u32 {
        self.last.saturating_add(1)
    }
}

/// Whether an entry is of a launch: after such a one nothing more is begun on a disk that
/// is full, or in a folder that is gone. Production's steps are written in any case.
pub(super) fn is_of_launch(entry: &Entry) -> bool {
    matches!(
        entry,
        Entry::LaunchStarted { .. }
            | Entry::LaunchReady { .. }
            | Entry::GateFinished { .. }
            | Entry::RepeatFinished { .. }
            | Entry::LaunchShortened { .. }
            | Entry::LaunchEnded { .. }
    )
}

impl Sweep {
    /// Whether the journal's path is still its file.
    pub(super) fn check_place(&mut self) -> Result<(), SweepError> {
        self.journal.check_place().map_err(SweepError::from)
    }

    /// Whether more may be begun after an entry that is on the disk.
    pub(super) fn check_written(&mut self) -> Result<(), SweepError> {
        self.check_place()?;
        if self.journal.is_full() && !std::mem::replace(&mut self.files.full, true) {
            return Err(JournalError::Full { path: self.folder.journal_path() }.into());
        }
        Ok(())
    }

    /// The same as [`Self::check_disk`] before production is stopped, where something is to
    /// be launched. What an earlier session stopped is restored first.
    pub(super) fn check_disk_before(&self, context: &SweepContext) -> Result<(), SweepError> {
        let owes = pending_restore(&self.production) != PendingRestore::Nothing;
        match self.check_disk() {
            Err(_) if owes || self.is_done(context) => Ok(()),
            checked => checked,
        }
    }

    /// Whether nothing is left to launch.
    fn is_done(&self, context: &SweepContext) -> bool {
        let situation = Situation {
            observations: &self.scope.observations(&self.record),
            in_flight: &[],
            budget_left: None,
            launches_left: None,
            launches_made: None,
            host: None,
        };
        let finishes = matches!(self.strategy(context).next(situation), Action::Finish { .. });
        finishes && self.scope.undone(&self.record).is_empty()
    }

    /// Whether one more launch has space on the disk.
    pub(super) fn check_disk(&self) -> Result<(), SweepError> {
        let path = self.folder.path();
        let io = |error| HistoryError::Io { path: path.to_owned(), error };
        let free = (self.files.free)(path).map_err(io)?;
        disk::check(free, self.files.largest).map_err(|too_little| SweepError::Stopped {
            message: format!(
                "{}: {too_little}: nothing more is launched; free some space, then resume",
                path.display()
            ),
            log_lines: Vec::new(),
            environment: true,
        })
    }

    /// What a launch came to, its files counted; that of a server that cannot be stopped is
    /// journalled, and is the last. One whose files could not be written is
    /// journalled as interrupted: it is made again by a later session; so is one that failed for a
    /// lack of ours.
    ///
    /// # Errors
    /// When its files could not be written, or this process lacked something.
    pub(super) fn ended(
        &mut self,
        launch: u32,
        outcome: Result<Made, SweepError>,
    ) -> Result<Made, SweepError> {
        if let Some(path) = self.launch_folder(launch) {
            Folder::remove_leftovers_of_launch(&path);
            self.files.largest = self.files.largest.max(disk::taken(&path));
        }
        let (error, outcome) = match outcome {
            Ok(made) => return Ok(made),
            Err(SweepError::Unstopped { message, outcome }) => {
                let came_to = (*outcome).clone();
                (SweepError::Unstopped { message, outcome }, came_to)
            }
            Err(error) => (error, LaunchOutcome::Interrupted),
        };
        // Where the folder is gone, its files are too, and the folder is what to report.
        self.check_place()?;
        // The first error is the one to report.
        let _ = self.append(Entry::LaunchEnded { launch, outcome });
        Err(error)
    }

    fn launch_folder(&self, launch: u32) -> Option<PathBuf> {
        let known = self.record.launches.iter().rfind(|known| known.launch == launch)?;
        Some(self.folder.launch(launch, &known.configuration))
    }
}
