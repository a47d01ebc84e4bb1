//! Writes a launch's lines on its node, without secrets: each entry is on the disk before the
//! launch goes on, so that a node that dies loses at most the repeat that ran. Where the disk is
//! full, what is written last has space that was kept for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

use super::{Files, Line};
use crate::secret::Secrets;

/// Bytes that are kept for the last line.
const RESERVED: u64 = 64 << 10;

/// Appends lines.
#[derive(Debug)]
pub struct Writer {
    open: Mutex<Open>,
    secrets: Secrets,
    reserve: PathBuf,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Bytes of whole lines.
    length: u64,
}

impl Writer {
    /// For a launch in `folder`.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let files = Files::of(folder);
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(files.lines())?;
        let length = file.metadata()?.len();
        let open = Mutex::new(Open { file, length });
        Ok(Self { open, secrets: Secrets::default(), reserve: files.reserve() })
    }

    /// The same; its lines are written without these secrets.
    #[must_use]
    pub fn without(self, secrets: &Secrets) -> Self {
        Self { secrets: secrets.clone(), ..self }
    }

    /// Keeps space for the last line. On a disk that is full already there is none.
    pub fn keep_reserve(&self) {
        let mut options = OpenOptions::new();
        let kept = options.create(true).write(true).truncate(true).mode(0o600).open(&self.reserve);
        let _full = kept.and_then(|mut file| {
            let taken = fallocate(&file, FallocateFlags::empty(), 0, RESERVED);
            // Not every file system can.
            taken.or_else(|_| file.write_all(&vec![0; RESERVED as usize]))
        });
    }

    /// Appends a line, and returns once it is durable.
    ///
    /// # Errors
    /// When it cannot be written: nothing of it is left, and the launch has to end.
    pub fn write(&self, line: &Line) -> io::Result<()> {
        self.append(line, true)
    }

    /// Appends a line that may be lost.
    ///
    /// # Errors
    /// When it cannot be written: nothing of it is left.
    pub fn note(&self, line: &Line) -> io::Result<()> {
        self.append(line, false)
    }

    /// Appends the last line, with the space that was kept for it where there is no other.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(&self, line: &Line) -> io::Result<()> {
        let written = self.write(line).or_else(|_| {
            std::fs::remove_file(&self.reserve)?;
            self.write(line)
        });
        // A file that stays takes space, and does no harm.
        let _may_be_used = std::fs::remove_file(&self.reserve);
        written
    }

    fn append(&self, line: &Line, durable: bool) -> io::Result<()> {
        let line = self.secrets.masked(line.clone()).map_err(io::Error::other)?;
        let mut text = serde_json::to_string(&line).map_err(io::Error::other)?;
        text.push('\n');
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let written = open.file.write_all(text.as_bytes());
        let written = written.and_then(|()| if durable { open.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => open.length += text.len() as u64,
            // A line that is cut would spoil the next one. The first error is the one to report.
            Err(_) => drop(open.file.set_len(open.length)),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    #[test]
    fn secrets_are_in_no_line() {
        let place = tempfile::tempdir().expect("a folder");
        let secrets = Secrets::default();
        secrets.add("hunter2-hunter2");
        let writer = Writer::open(place.path()).expect("open").without(&secrets);
        let text = "the key hunter2-hunter2 was refused".to_owned();
        writer.write(&Line::Warning { text }).expect("written");
        let written = std::fs::read_to_string(Files::of(place.path()).lines()).expect("read");
        assert!(!written.contains("hunter2") && written.contains("***"), "{written}");
    }

    #[test]
    fn a_reserve_is_there_until_the_end_and_gone_after_it() {
        let place = tempfile::tempdir().expect("a folder");
        let writer = Writer::open(place.path()).expect("open");
        writer.keep_reserve();
        let reserve = Files::of(place.path()).reserve();
        assert_eq!(std::fs::metadata(&reserve).expect("it is kept").len(), RESERVED);
        let last = Line::Warning { text: "last".to_owned() };
        writer.end(&last).expect("written");
        assert!(!reserve.exists());
        assert_eq!(Reader::of(place.path()).more().expect("read"), [last]);
    }
}
