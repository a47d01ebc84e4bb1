//! A sweep's folder: where each file of the output contract is, how the
//! folder gets its name, and how a file is written whole or not at all.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::HistoryError;
use super::journal::{self, JournalError, Line, Seen};
use super::launch::LaunchOutcome;
use super::production::Down;
use super::record::{LaunchRecord, Manifest, SCHEMA_VERSION, SweepRecord};
use super::replay::{production_steps, replay};
use crate::configuration::hexadecimal;
use crate::input::{self, InputError};
use crate::secret::Secrets;

mod leftovers;
mod lost;
mod output;
mod whole;

#[cfg(test)]
pub(crate) use whole::DISK_IS_FULL;
pub(crate) use whole::{can_write, write_whole};

/// Bytes of a launch's configuration in the name of its folder at most.
const LONGEST: usize = 100;
/// Bytes of a manifest at most: a hundred thousand configurations.
const MAX_MANIFEST: u64 = 256 << 20;
/// Only the user may look into a run: logs and prompts are in it.
const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// A sweep's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// The journal of a folder as it was read.
#[derive(Clone, Debug)]
pub struct SeenFolder {
    /// The launches that had a folder before.
    launches: Vec<(u32, String)>,
    /// `None` where there is none.
    journal: Option<Seen>,
}

impl SeenFolder {
    /// The journal, for who opens it.
    pub(crate) fn into_journal(self) -> Option<Seen> {
        self.journal
    }

    /// The lines of the journal.
    pub fn lines(&self) -> &[Line] {
        self.journal.as_ref().map_or(&[], Seen::lines)
    }
}

impl Folder {
    /// Creates a new folder: `output` itself where one is asked for, else
    /// `runs/<grid>-<UTC>` with a suffix where that exists. Gives the sweep's
    /// name with it. Only its user may look into it, whatever the umask is.
    ///
    /// # Errors
    /// When `output` exists and is not an empty folder, or nothing can be written.
    pub fn create(
        grid: &str,
        now: jiff::Timestamp,
        output: Option<&Path>,
    ) -> Result<(Self, String), HistoryError> {
        let stem = format!("{grid}-{}", now.strftime("%Y%m%dT%H%M%SZ"));
        if let Some(path) = output {
            std::fs::create_dir_all(path).map_err(|error| output::error(path, error))?;
            output::check(path)?;
            // Of a folder that belongs to somebody else the files are private all the same.
            let _ = std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_FOLDER));
            return Ok((Self(path.to_owned()), stem));
        }
        let runs = Path::new("runs");
        std::fs::create_dir_all(runs).map_err(|error| io_error(runs, error))?;
        for attempt in 1.. {
            let name = if attempt == 1 { stem.clone() } else { format!("{stem}-{attempt}") };
            let path = runs.join(&name);
            match create_private(&path) {
                Ok(()) => return Ok((Self(path), name)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error(&path, error)),
            }
        }
        unreachable!("an unbounded range ends only by return")
    }

    /// Whether a sweep may be begun in `output`, as far as that is known before anything is
    /// made or launched.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn check_output(output: &Path) -> Result<(), HistoryError> {
        output::check(output)
    }

    /// An existing sweep's folder.
    ///
    /// # Errors
    /// When it holds no manifest.
    pub fn existing(path: &Path) -> Result<Self, HistoryError> {
        let folder = Self(path.to_owned());
        let manifest = folder.manifest_path();
        input::plain(&manifest).map_err(|error| holds_none(path, &manifest, error))?;
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The copy of the grid file.
    pub fn grid_path(&self) -> PathBuf {
        self.0.join("grid.yaml")
    }

    /// A file's path as the manifest keeps it: relative to this folder, so that
    /// a sweep can be resumed from any working directory.
    pub fn relative(&self, path: &Path) -> PathBuf {
        let (Ok(from), Ok(to)) = (self.0.canonicalize(), path.canonicalize()) else {
            return path.to_owned();
        };
        let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
        let up = from.components().skip(shared).map(|_| Component::ParentDir);
        up.chain(to.components().skip(shared)).collect()
    }

    /// The grid file that the sweep was begun with; it may no longer exist.
    pub fn original_grid(&self, manifest: &Manifest) -> PathBuf {
        self.0.join(&manifest.grid_path)
    }

    /// Whether the tables are there: they are written when a session ends, and by `export`.
    pub fn has_tables(&self) -> bool {
        ["results.csv", "ranking.csv"].iter().all(|name| self.0.join(name).is_file())
    }

    /// The journal.
    pub fn journal_path(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    fn manifest_path(&self) -> PathBuf {
        self.0.join("manifest.json")
    }

    /// The folder of one launch. Whatever the configuration is called, it is in this one.
    pub fn launch(&self, launch: u32, configuration: &str) -> PathBuf {
        self.launches_path().join(format!("{launch}-{}", file_word(configuration)))
    }

    /// The folder of all launches' folders.
    pub fn launches_path(&self) -> PathBuf {
        self.0.join("launches")
    }

    /// Launches that have a folder: number and name of it, in order.
    pub fn launches(&self) -> Vec<(u32, String)> {
        let Ok(entries) = std::fs::read_dir(self.launches_path()) else { return Vec::new() };
        let numbered = |name: String| {
            let digits = name.split('-').next()?;
            Some((digits.parse().ok()?, name))
        };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut launches: Vec<(u32, String)> = names.filter_map(numbered).collect();
        launches.sort();
        launches
    }

    /// Makes the folder of a launch, which must be new: no launch writes over another.
    ///
    /// # Errors
    /// When it exists, or the run folder does not.
    pub fn create_launch(path: &Path) -> Result<(), HistoryError> {
        let launches = path.parent().unwrap_or(path);
        match create_private(launches) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => done.map_err(|error| io_error(launches, error))?,
        }
        create_private(path).map_err(|error| io_error(path, error))
    }

    /// Writes the manifest, secrets masked.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn write_manifest(
        &self,
        manifest: &Manifest,
        secrets: &Secrets,
    ) -> Result<(), HistoryError> {
        let path = self.manifest_path();
        let text = secrets
            .masked(manifest.clone())
            .and_then(|manifest| serde_json::to_string_pretty(&manifest))
            .map_err(|error| io_error(&path, io::Error::other(error)))?;
        write_whole(&path, |file| writeln!(file, "{text}")).map_err(|error| io_error(&path, error))
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// When it is missing, damaged, or of a newer version.
    pub fn manifest(&self) -> Result<Manifest, HistoryError> {
        let path = self.manifest_path();
        let bytes = input::read(&path, MAX_MANIFEST).map_err(|error| match error {
            InputError::Io(error) | InputError::Missing(error) => io_error(&path, error),
            error => no_manifest(&path, &error),
        })?;
        let damaged = |error: serde_json::Error| HistoryError::Manifest {
            path: path.clone(),
            what: format!(
                "it is damaged ({error}): restore it from a copy. {}",
                lost::without_manifest(&self.0)
            ),
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let version = value.get("tool_version").and_then(serde_json::Value::as_str);
        let other = version.filter(|version| *version != env!("CARGO_PKG_VERSION"));
        let other = other.map(str::to_owned);
        let schema = value.get("schema_version").and_then(serde_json::Value::as_u64);
        if schema.is_some_and(|schema| schema > u64::from(SCHEMA_VERSION)) {
            let what = "a newer version wrote it: use that version".to_owned();
            return Err(HistoryError::Manifest { path, what });
        }
        serde_json::from_value(value).map_err(|error| match other {
            // Another version may write what this one cannot read: the file is not to blame.
            Some(version) => HistoryError::Manifest {
                path: path.clone(),
                what: format!(
                    "version {version} of vllm-grid wrote it, and this one, {}, cannot read it ({error}): \
                     use that version",
                    env!("CARGO_PKG_VERSION")
                ),
            },
            None => damaged(error),
        })
    }

    /// The sweep so far, from manifest and journal alone. A sweep that has no
    /// journal yet is one without launches.
    ///
    /// # Errors
    /// When either is damaged.
    pub fn record(&self) -> Result<SweepRecord, HistoryError> {
        self.read().map(|(record, _)| record)
    }

    /// The same, with what a person should know of it: what of the journal is left out,
    /// and what it lacks.
    ///
    /// # Errors
    /// When either is damaged.
    pub fn read(&self) -> Result<(SweepRecord, Vec<String>), HistoryError> {
        let manifest = self.manifest()?;
        let seen = self.see()?;
        let record = self.record_of(manifest, &seen)?;
        let SeenFolder { launches, journal } = seen;
        let path = self.journal_path();
        let mut missing = self.missing(&launches, &record);
        missing.extend(self.beside());
        // Of one that is written the last line is not whole yet, and production is down on purpose.
        if journal::is_written(&path) {
            return Ok((record, missing));
        }
        let down = journal.as_ref().and_then(|seen| {
            let down = Down::of(&production_steps(seen.lines()))?;
            Some(format!(
                "by its journal, this run stopped production ({}) and did not prove that it runs again; \
                 whether it runs now is not looked at: `vllm-grid recover {}` starts and proves it",
                down.who(),
                shell_words::quote(&crate::clean::plain(&self.path().display().to_string()))
            ))
        });
        let note = journal.and_then(|seen| seen.contents().note(&path));
        Ok((record, down.into_iter().chain(note).chain(missing).collect()))
    }

    /// Reads the journal for whoever replays it here and writes it afterwards.
    ///
    /// # Errors
    /// When a line is damaged that is not the last.
    pub fn see(&self) -> Result<SeenFolder, JournalError> {
        // Before the journal: a launch is journalled before it has a folder.
        let launches = self.launches();
        let journal = match journal::seen(&self.journal_path()) {
            Ok(seen) => Some(seen),
            Err(JournalError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(lost::damaged(&self.0, error)),
        };
        Ok(SeenFolder { launches, journal })
    }

    /// What a manifest and the journal as it was read come to.
    ///
    /// # Errors
    /// When the journal is lost, or its lines are in an order that no sweep writes.
    pub fn record_of(
        &self,
        manifest: Manifest,
        seen: &SeenFolder,
    ) -> Result<SweepRecord, HistoryError> {
        let path = self.journal_path();
        if seen.lines().is_empty() && !seen.launches.is_empty() {
            return Err(lost::no_journal(&path, seen.journal.is_some()).into());
        }
        replay(manifest, seen.lines()).map_err(|illegal| illegal.in_journal(path).into())
    }

    /// A folder that holds launches and no journal has lost it: nothing shows what was
    /// measured, and a resume would make a new one.
    ///
    /// # Errors
    /// When it is lost.
    pub(crate) fn check_journal(&self) -> Result<(), JournalError> {
        let path = self.journal_path();
        if !path.exists() && !self.launches().is_empty() {
            return Err(lost::no_journal(&path, false));
        }
        Ok(())
    }

    /// Journals that were put aside while the run was written, a sentence each.
    pub(crate) fn beside(&self) -> Vec<String> {
        lost::beside(&self.0)
    }

    /// The error of a journal without a line.
    pub(crate) fn empty_journal(&self) -> JournalError {
        lost::no_journal(&self.journal_path(), true)
    }

    /// What the journal lacks of these launches, and what the folder lacks of the journal's,
    /// a sentence each.
    pub(crate) fn missing(&self, launches: &[(u32, String)], record: &SweepRecord) -> Vec<String> {
        // Those of earlier blocks have folders, too.
        let known: BTreeSet<u32> = record.all_launches().map(|(_, it)| it.launch).collect();
        let unknown = launches.iter().filter(|(number, _)| !known.contains(number));
        let unknown: Vec<String> = unknown.map(|(_, name)| name.clone()).collect();
        let unknown = some(&unknown).map(|names| {
            format!(
                "{} has lost its end: it does not know of {names} in launches/. What was measured there is \
                 not counted, and the files stay as they are",
                self.journal_path().display()
            )
        });
        unknown.into_iter().chain(self.without_folder(record)).collect()
    }

    /// Launches of the journal whose folders are gone, as a sentence.
    fn without_folder(&self, record: &SweepRecord) -> Option<String> {
        // Now: a launch may have got its folder since the journal was read, and none loses it.
        let there: BTreeSet<u32> = self.launches().into_iter().map(|(number, _)| number).collect();
        let is_gone = |it: &LaunchRecord| had_folder(it) && !there.contains(&it.launch);
        let gone = record.all_launches().map(|(_, it)| it).filter(|it| is_gone(it));
        let names = gone.map(|it| format!("{}-{}", it.launch, file_word(&it.configuration)));
        some(&names.collect::<Vec<_>>()).map(|names| {
            let path = self.launches_path();
            let what = if path.is_dir() {
                format!("{} lacks {names}", path.display())
            } else {
                format!("{} is missing, with {names} in it", path.display())
            };
            format!(
                "{what}: their engine logs, telemetry and request records are missing. Their figures are in \
                 the journal, and count"
            )
        })
    }

    /// Removes temporary files that a killed process left in the run folder; gives how many.
    /// Only what this program writes under such names is removed. In the folders of the launches
    /// `living` nodes are writing now.
    pub fn remove_leftovers(&self, living: &[PathBuf]) -> usize {
        leftovers::remove(&self.0, living)
    }

    /// The same of one launch, whose folder it is.
    pub fn remove_leftovers_of_launch(launch: &Path) -> usize {
        leftovers::remove_of_launch(launch)
    }
}

/// Whether a launch must have had a folder: its server was ready, or it failed to be. One that
/// was killed may have ended before.
fn had_folder(launch: &LaunchRecord) -> bool {
    let ended = matches!(launch.outcome, Some(LaunchOutcome::Measured | LaunchOutcome::Failed(_)));
    ended || launch.facts.is_some() || !launch.measurements.is_empty()
}

/// The first few of names as text; `None` where there is none.
fn some(names: &[String]) -> Option<String> {
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().checked_sub(5).filter(|more| *more > 0);
    let more = more.map_or(String::new(), |more| format!(" and {more} more"));
    (!names.is_empty()).then(|| shown + &more)
}

/// Makes a folder that only its user may look into, whatever the umask is.
///
/// # Errors
/// When it exists, its parent does not, or the file system refuses.
pub fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(PRIVATE_FOLDER).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_FOLDER))
}

/// Text as part of a file's name, so that two texts never meet and none leaves its folder:
/// what is not allowed is written as `%` and its hexadecimal code; what is too long is cut,
/// with a hash of the whole.
pub(crate) fn file_word(text: &str) -> String {
    use std::fmt::Write as _;

    let mut word = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'=' | b',' | b'.' | b'+' => {
                word.push(char::from(byte));
            }
            // A text takes whatever is written.
            _ => drop(write!(word, "%{byte:02X}")),
        }
    }
    if word.len() > LONGEST {
        word.truncate(LONGEST);
        word.push('~');
        word.push_str(&hexadecimal(&Sha256::digest(text.as_bytes())[..4]));
    }
    word
}

/// The user who made the run in a folder, where that is not the one that this process acts for.
/// By its journal: its folder may have been there before.
pub(crate) fn other_owner(run: &Path) -> Option<String> {
    let journal = run.join("journal.jsonl");
    input::other_owner(if journal.exists() { &journal } else { run })
}

/// Why a folder is no run's, by what became of reading its manifest.
fn holds_none(folder: &Path, manifest: &Path, error: InputError) -> HistoryError {
    match error {
        error @ InputError::NoFile(_) => no_manifest(manifest, &error),
        InputError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            lost::denied(folder)
        }
        _ => lost::no_manifest(folder, manifest),
    }
}

fn no_manifest(path: &Path, error: &InputError) -> HistoryError {
    HistoryError::Manifest {
        path: path.to_owned(),
        what: format!("{error}: restore it from a copy"),
    }
}

fn io_error(path: &Path, error: io::Error) -> HistoryError {
    HistoryError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
