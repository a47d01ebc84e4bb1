//! The file under a journal: written, made durable and cut by one writer, whose
//! lock ends with it. What its bytes say is in [`super::lines`].

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{JournalError, MAX_BYTES};
use crate::input::{self, InputError};

/// Longest that the lock is tried for: who merely looks whether it is held, as `report` does,
/// holds it for a moment.
const MOMENT: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

/// The file as the journal uses it, so that tests can make it fail.
pub(super) trait Medium: std::fmt::Debug + Send + Sync {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts it to `length` and writes there from now on.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A file whose lock ends with it. Closing is not enough: a child that was being
/// started meanwhile has a copy of the descriptor until it runs its program.
#[derive(Debug)]
pub(super) struct LockedFile(pub(super) File);

impl Drop for LockedFile {
    fn drop(&mut self) {
        let _closed_anyway = self.0.unlock();
    }
}

impl Medium for LockedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        crate::crash::before_write("journal", &mut self.0, bytes)?;
        Write::write_all(&mut self.0, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        #[cfg(test)]
        crate::crash::point("journal: before sync")?;
        self.0.sync_data()?;
        #[cfg(test)]
        crate::crash::point("journal: after sync")?;
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        self.0.seek(SeekFrom::Start(length)).map(drop)
    }
}

/// The file at `path`, locked, and its bytes; nobody else may read it where it is new.
pub(super) fn locked(path: &Path) -> Result<(File, Vec<u8>), JournalError> {
    let io = |error| JournalError::Io { path: path.to_owned(), error };
    let mut file = input::open_to_write(path).map_err(|error| io(error.into()))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if began.elapsed() < MOMENT => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
    if file.metadata().map_err(io)?.len() > MAX_BYTES {
        return Err(io(InputError::TooLarge { limit: MAX_BYTES }.into()));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok((file, bytes))
}

/// Whether a process has the journal in this run folder open for writing: all that shows
/// that a run of an older version lives.
pub fn is_written_in(folder: &Path) -> bool {
    is_written(&folder.join("journal.jsonl"))
}

/// Whether somebody holds the journal's lock.
pub fn is_written(path: &Path) -> bool {
    let Ok(file) = input::open(path, u64::MAX) else { return false };
    match file.try_lock_shared() {
        Ok(()) => {
            let _closed_anyway = file.unlock();
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => false,
    }
}
