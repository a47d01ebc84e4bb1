//! A file lock with the holder as the file's content. The kernel lets go of it with the
//! process, whatever ends that; the content is for the message only.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Holder;
use crate::input;

/// Longest that a lock is tried for: who merely looks whether it is held holds it for a moment.
const MOMENT: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// Whether nobody else holds it: only then its content names the holder.
    alone: bool,
    /// Whether the file goes with the lock.
    removed_with_it: bool,
}

/// What came of trying to lock.
#[derive(Debug)]
pub enum Attempt {
    /// It is held now.
    Got(Lock),
    /// Somebody else holds it; who, where that can be read.
    Held(Option<Holder>),
}

impl Lock {
    /// Locks `path` for this holder alone.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn exclusive(path: &Path, holder: &Holder) -> io::Result<Attempt> {
        Ok(match acquire(path, File::try_lock)? {
            Attempt::Got(lock) => {
                let mut lock = lock;
                lock.alone = true;
                // On a full disk it is held all the same: the content is for a message only.
                let _unwritten = lock.tell(holder);
                Attempt::Got(lock)
            }
            held @ Attempt::Held(_) => held,
        })
    }

    /// Locks `path` together with others who share it.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn shared(path: &Path) -> io::Result<Attempt> {
        acquire(path, File::try_lock_shared)
    }

    /// The same; its file is removed with it.
    #[must_use]
    pub fn temporary(mut self) -> Self {
        self.removed_with_it = true;
        self
    }

    /// Writes who holds it, where nobody else does.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn tell(&self, holder: &Holder) -> io::Result<()> {
        if !self.alone {
            return Ok(());
        }
        let text = serde_json::to_string(holder).map_err(io::Error::other)?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        #[cfg(test)]
        crate::crash::before_write("lock", &mut file, text.as_bytes())?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.removed_with_it && is_at(&self.file, &self.path) {
            let _not_there = std::fs::remove_file(&self.path);
        }
        // Closing is not enough: a child that is being started has a copy of the descriptor.
        let _closed_anyway = self.file.unlock();
    }
}

fn acquire(path: &Path, lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<Attempt> {
    let began = Instant::now();
    loop {
        let file = input::open_to_write(path)?;
        match lock(&file) {
            // A holder before us may have removed the file meanwhile.
            Ok(()) if is_at(&file, path) => {
                let path = path.to_owned();
                return Ok(Attempt::Got(Lock { file, path, alone: false, removed_with_it: false }));
            }
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if began.elapsed() < MOMENT => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Held(read(&file))),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// A lock that is held; by whom, where that can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken(pub(super) Option<Holder>);

/// Whether somebody holds a lock now.
pub(super) fn taken(path: &Path) -> Option<Taken> {
    let file = input::open(path, u64::MAX).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(Taken(read(&file))),
        _ => None,
    }
}

/// The content of a lock; who holds it may be writing it at this moment.
fn read(mut file: &File) -> Option<Holder> {
    for _ in 0..10 {
        let mut text = String::new();
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(input::MAX_TEXT).read_to_string(&mut text));
        if let Some(holder) = read.ok().and_then(|_| serde_json::from_str(&text).ok()) {
            return Some(holder);
        }
        std::thread::sleep(PAUSE / 2);
    }
    None
}

/// Whether `path` is still the name of this open file.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: io::Result<std::fs::Metadata>| found.ok().map(|it| (it.dev(), it.ino()));
    let open = place(file.metadata());
    open.is_some() && open == place(std::fs::metadata(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(attempt: Attempt) -> Lock {
        match attempt {
            Attempt::Got(lock) => lock,
            Attempt::Held(holder) => panic!("held by {holder:?}"),
        }
    }

    #[test]
    fn one_holds_it_and_the_next_reads_who() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let holder = Holder { folder: Some("/runs/a".into()), ..Holder::this() };
        let lock = got(Lock::exclusive(&path, &holder).unwrap());
        let Attempt::Held(seen) = Lock::exclusive(&path, &Holder::this()).unwrap() else {
            panic!("two hold it")
        };
        assert_eq!(seen, Some(holder.clone()));
        assert_eq!(taken(&path), Some(Taken(Some(holder))));
        // Shorter than what stood there.
        lock.tell(&Holder { pid: 7, ..Holder::default() }).unwrap();
        assert_eq!(taken(&path).and_then(|it| it.0).map(|it| it.pid), Some(7));
        drop(lock);
        assert_eq!(taken(&path), None);
        drop(got(Lock::exclusive(&path, &Holder::this()).unwrap()));
        assert!(path.exists());
    }

    #[test]
    fn what_is_shared_excludes_who_wants_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let (one, two) = (got(Lock::shared(&path).unwrap()), got(Lock::shared(&path).unwrap()));
        assert!(matches!(Lock::exclusive(&path, &Holder::this()).unwrap(), Attempt::Held(None)));
        drop((one, two));
        got(Lock::exclusive(&path, &Holder::this()).unwrap());
    }

    #[test]
    fn a_file_that_goes_with_its_lock_is_no_trap_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        for _ in 0..3 {
            let lock = got(Lock::exclusive(&path, &Holder::this()).unwrap()).temporary();
            assert!(path.exists());
            drop(lock);
            assert!(!path.exists());
        }
        let lock = got(Lock::exclusive(&path, &Holder::this()).unwrap()).temporary();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        drop(lock);
        assert!(path.exists(), "it is not this lock's");
    }

    #[test]
    fn what_is_no_plain_file_is_no_lock_and_nothing_waits_for_it() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(taken(&path), None);
        let refused = Lock::exclusive(&path, &Holder::this()).unwrap_err().to_string();
        assert_eq!(refused, "this is a pipe, not a file");
        assert!(Lock::shared(&path).is_err() && path.exists());
    }

    #[test]
    fn an_empty_or_torn_file_is_no_lock_and_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        for torn in ["", "{\"pid\": 1", "\0\0\0"] {
            std::fs::write(&path, torn).unwrap();
            assert_eq!(taken(&path), None, "{torn:?}");
            drop(got(Lock::exclusive(&path, &Holder::this()).unwrap()));
        }
    }
}
