//! A sweep's folder: where each file of the output contract is, how the
//! folder gets its name, and how a file is written whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};

use super::HistoryError;
use super::journal::{self, JournalError};
use super::record::{Manifest, SCHEMA_VERSION, SweepRecord};
use super::replay::replay;
use crate::secret::Secrets;

/// A sweep's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates a new folder: `output` itself where one is asked for, else
    /// `runs/<grid>-<UTC>` with a suffix where that exists. Gives the sweep's
    /// name with it.
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
            std::fs::create_dir_all(path).map_err(|error| io_error(path, error))?;
            let taken = std::fs::read_dir(path).map_err(|error| io_error(path, error))?.next();
            if taken.is_some() {
                return Err(HistoryError::NotEmpty(path.to_owned()));
            }
            return Ok((Self(path.to_owned()), stem));
        }
        let runs = Path::new("runs");
        std::fs::create_dir_all(runs).map_err(|error| io_error(runs, error))?;
        for attempt in 1.. {
            let name = if attempt == 1 { stem.clone() } else { format!("{stem}-{attempt}") };
            let path = runs.join(&name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok((Self(path), name)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error(&path, error)),
            }
        }
        unreachable!("an unbounded range ends only by return")
    }

    /// An existing sweep's folder.
    ///
    /// # Errors
    /// When it holds no manifest.
    pub fn existing(path: &Path) -> Result<Self, HistoryError> {
        let folder = Self(path.to_owned());
        if folder.manifest_path().is_file() {
            Ok(folder)
        } else {
            Err(HistoryError::NoSweep(path.to_owned()))
        }
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

    /// The journal.
    pub fn journal_path(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    fn manifest_path(&self) -> PathBuf {
        self.0.join("manifest.json")
    }

    /// The folder of one launch.
    pub fn launch(&self, launch: u32, configuration: &str) -> PathBuf {
        self.0.join("launches").join(format!("{launch}-{configuration}"))
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
        let bytes = std::fs::read(&path).map_err(|error| io_error(&path, error))?;
        let damaged = |error: serde_json::Error| HistoryError::Manifest {
            path: path.clone(),
            what: format!(
                "it is damaged ({error}): restore it from a copy. Without it the sweep cannot be displayed \
                 or resumed; its grid is in {}, its measurements are in {}",
                self.grid_path().display(),
                self.journal_path().display()
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
        let manifest = self.manifest()?;
        let lines = match journal::read(&self.journal_path()) {
            Ok(lines) => lines,
            Err(JournalError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                self.check_journal()?;
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        replay(manifest, &lines).map_err(|illegal| illegal.in_journal(self.journal_path()).into())
    }

    /// A folder that holds launches and no journal has lost it: nothing shows what
    /// was measured, and a resume would write over it.
    ///
    /// # Errors
    /// When it is lost.
    pub(crate) fn check_journal(&self) -> Result<(), JournalError> {
        let path = self.journal_path();
        if !path.exists() && self.path().join("launches").exists() {
            let what = "it is missing, and the sweep has launches: restore it from a copy";
            return Err(JournalError::Io { path, error: io::Error::other(what) });
        }
        Ok(())
    }
}

/// Writes a file under a temporary name in the same folder, makes it durable and
/// renames it: whoever reads `path` sees the old file or the whole new one.
///
/// # Errors
/// When `content` or the file system refuses; the file that was there before stays.
pub(crate) fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary(path)?;
    let write = || {
        let mut writer = BufWriter::new(File::create(&temporary)?);
        content(&mut writer)?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        #[cfg(test)]
        crate::crash::point("file: before rename")?;
        std::fs::rename(&temporary, path)?;
        #[cfg(test)]
        crate::crash::point("file: after rename")?;
        journal::sync_folder(path)
    };
    write().inspect_err(|_| {
        // What is left of it is of no use, and the first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
    })
}

/// Whether [`write_whole`] may write there; what is there stays.
///
/// # Errors
/// When it may not.
pub(crate) fn can_write(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let temporary = temporary(path)?;
    File::create(&temporary)?;
    std::fs::remove_file(&temporary)
}

/// Where a file is until it is whole.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    Ok(path.with_file_name(format!(".{}.tmp", name.to_string_lossy())))
}

fn io_error(path: &Path, error: io::Error) -> HistoryError {
    HistoryError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        std::fs::write(&path, "old").unwrap();
        let failed = write_whole(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("stopped"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "stopped");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write_whole(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_manifest_of_another_version_is_not_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = |text: String| {
            std::fs::write(folder.path().join("manifest.json"), text).unwrap();
            Folder(folder.path().to_owned()).manifest().unwrap_err().to_string()
        };
        let of = |version: &str| format!(r#"{{"schema_version": 1, "tool_version": "{version}"}}"#);
        let other = manifest(of("99.0.0"));
        assert!(other.contains("version 99.0.0") && !other.contains("damaged"), "{other}");
        let own = manifest(of(env!("CARGO_PKG_VERSION")));
        assert!(own.contains("it is damaged (missing field"), "{own}");
        let newer = manifest(r#"{"schema_version": 99}"#.to_owned());
        assert!(newer.contains("a newer version wrote it"), "{newer}");
    }

    #[test]
    fn whether_a_file_can_be_written_is_found_out_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.parquet");
        can_write(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(&path, "old").unwrap();
        can_write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let kind = |path: &Path| can_write(path).unwrap_err().kind();
        assert_eq!(kind(folder.path()), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&folder.path().join("no/records.parquet")), io::ErrorKind::NotFound);
        assert_eq!(kind(&path.join("x")), io::ErrorKind::NotADirectory);
    }
}
