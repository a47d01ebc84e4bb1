//! Where a journal's file is: whether its path still leads to the file that is open,
//! and what is left where it does not. The space that is kept in reserve beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// Bytes kept in reserve: production's steps and the ends of a session's launches are a
/// few thousand.
const RESERVED: u64 = 1 << 20;

/// An open file, as its path is compared with it. While it is open, no other file has
/// its number.
#[derive(Debug)]
pub(super) struct Place {
    device: u64,
    inode: u64,
    descriptor: RawFd,
    /// What happened to it, once it is gone.
    gone: Option<String>,
    /// Where its lines were saved.
    saved: Option<PathBuf>,
    /// Whether somebody took lines out of it: no line can follow what is left.
    is_cut: bool,
}

impl Place {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        Ok(Self {
            device,
            inode,
            descriptor: file.as_raw_fd(),
            gone: None,
            saved: None,
            is_cut: false,
        })
    }

    /// Whether `path` still leads to the file, and the file has the `end` bytes that were
    /// written; what happened, what is left of it and what to do, where it does not.
    pub(super) fn check(&mut self, path: &Path, end: u64) -> Result<(), String> {
        if let Some(gone) = &self.gone {
            return Err(gone.clone());
        }
        let what = match std::fs::metadata(path) {
            Ok(now) if (now.dev(), now.ino()) == (self.device, self.inode) => {
                if now.len() >= end {
                    return Ok(());
                }
                let gone = self.cut(path, now.len(), end);
                self.gone = Some(gone.clone());
                return Err(gone);
            }
            Ok(_) => "another file was put in its place",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "it was removed",
            Err(error) => return Err(format!("it cannot be looked at any more ({error})")),
        };
        let gone = match self.moved() {
            Some(to) => format!(
                "it was moved to {} while the sweep ran: the sweep stops. What was measured is there: \
                 resume it there, or move the folder back",
                to.display()
            ),
            None => format!("{what} while the sweep ran: the sweep stops. {}", self.saved(path)),
        };
        self.gone = Some(gone.clone());
        Err(gone)
    }

    /// Somebody cut it: what follows goes to a file of its own, for a line behind a gap would
    /// make all of it unreadable.
    fn cut(&mut self, path: &Path, length: u64, end: u64) -> String {
        self.is_cut = true;
        let rest = match set_aside(path, "saved", b"") {
            Ok(name) => {
                self.saved = Some(path.with_file_name(&name));
                format!("The last lines of this session are in {name}, beside it")
            }
            Err(error) => format!("The last lines of this session could not be saved ({error})"),
        };
        format!(
            "somebody cut it from {end} to {length} bytes while the sweep ran: the sweep stops. What was \
             measured after the cut is not counted; restore the file from a copy, or resume: that names \
             what is missing. {rest}"
        )
    }

    /// Whether no line can be written to it any more.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Where the file is now, where it is anywhere.
    fn moved(&self) -> Option<PathBuf> {
        let to = std::fs::read_link(self.link()).ok()?;
        let now = std::fs::metadata(&to).ok()?;
        ((now.dev(), now.ino()) == (self.device, self.inode)).then_some(to)
    }

    /// Saves what the file holds, though it has no name any more.
    fn saved(&mut self, path: &Path) -> String {
        let saved = std::fs::read(self.link()).and_then(|bytes| set_aside(path, "saved", &bytes));
        match saved {
            Ok(name) => {
                self.saved = Some(path.with_file_name(&name));
                format!(
                    "Its lines are saved in {name}, beside it: give that file the name journal.jsonl, \
                     then resume"
                )
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "The run folder is gone too: what this run measured is lost; begin a new sweep"
                    .to_owned()
            }
            Err(error) => format!("Its lines could not be saved ({error})"),
        }
    }

    /// Adds a line to what was saved: the session's last ones come after it.
    pub(super) fn also(&self, text: &str) {
        let Some(path) = &self.saved else { return };
        let file = OpenOptions::new().append(true).open(path);
        // What was saved before is whole in any case.
        let _ = file.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_data()
        });
    }

    fn link(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.descriptor))
    }
}

/// Writes bytes of a journal to a new file beside it, durably; gives the file's name.
pub(super) fn set_aside(path: &Path, word: &str, bytes: &[u8]) -> io::Result<String> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    for attempt in 1.. {
        let again = if attempt == 1 { String::new() } else { format!("-{attempt}") };
        let name = format!("journal.{word}-{now}{again}");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = match options.open(path.with_file_name(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            opened => opened?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        super::sync_folder(path)?;
        return Ok(name);
    }
    unreachable!("an unbounded range ends only by return")
}

/// A file beside the journal whose space is given up for the last lines of a session when
/// the disk is full: production is started again, and the journal says so.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    used: bool,
}

impl Drop for Reserve {
    /// A journal that is closed needs none.
    fn drop(&mut self) {
        // A file that stays takes space, and does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Reserve {
    /// Of the journal at `path`; where a killed process left one, it is that one.
    pub(super) fn beside(path: &Path) -> Self {
        Self { path: path.with_file_name("journal.reserve"), used: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// Takes the space; a disk that is full already is no error.
    pub(super) fn keep(&self) -> io::Result<()> {
        reserve(&self.path).or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })
    }

    /// Gives the space up; whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        let given = std::fs::remove_file(&self.path).is_ok();
        self.used |= given;
        given
    }
}

/// Whether an error says that there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn reserve(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.blocks() * 512 >= RESERVED {
        return Ok(());
    }
    match fallocate(&file, FallocateFlags::empty(), 0, RESERVED) {
        // Not every file system can.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            file.write_all(&vec![0; RESERVED as usize])
        }
        done => Ok(done?),
    }
}
