//! Space on the disk of a run folder: what is free, what launches took, and what
//! one more may need. What is done where it is too little is decided by the loop.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::statvfs;

/// Bytes that must be free besides what a launch is expected to take: for the results,
/// the journal, and a launch that takes more than those before it.
pub const SPARE: u64 = 16 << 20;

/// Files that must still be possible on file systems that count them.
const SPARE_FILES: u64 = 64;

/// What is free on a file system for its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Files; `None` where the file system does not count them.
    pub files: Option<u64>,
}

/// A launch has too little space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLittle {
    /// What is free.
    pub free: Free,
    /// Bytes of the largest launch so far.
    pub largest: u64,
}

/// What is free on the file system that holds `path`.
///
/// # Errors
/// When the system does not say.
pub fn free(path: &Path) -> io::Result<Free> {
    let found = statvfs(path)?;
    let files = (found.f_files > 0).then_some(found.f_favail);
    Ok(Free { bytes: found.f_bavail.saturating_mul(found.f_frsize), files })
}

/// Whether one more launch has space: as much as the largest so far took, and [`SPARE`].
///
/// # Errors
/// When it has too little.
pub fn check(free: Free, largest: u64) -> Result<(), TooLittle> {
    let few_files = free.files.is_some_and(|files| files < SPARE_FILES);
    if free.bytes < largest.saturating_add(SPARE) || few_files {
        return Err(TooLittle { free, largest });
    }
    Ok(())
}

/// Bytes that a launch's folder takes on the disk; what cannot be looked at counts nothing.
pub fn taken(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        let own = metadata.blocks().saturating_mul(512);
        Some(if metadata.is_dir() { own.saturating_add(taken(&entry.path())) } else { own })
    });
    sizes.fold(0, u64::saturating_add)
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        if let Some(files) = self.free.files.filter(|files| *files < SPARE_FILES) {
            return write!(
                f,
                "{files} more files are possible on its disk, and a launch may need {SPARE_FILES}"
            );
        }
        write!(
            f,
            "{} are free on its disk, and {} are needed (",
            megabytes(self.free.bytes),
            megabytes(self.largest.saturating_add(SPARE))
        )?;
        if self.largest > 0 {
            write!(f, "the largest launch so far took {}, and ", megabytes(self.largest))?;
        }
        write!(f, "{} are kept free)", megabytes(SPARE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_needs_what_the_largest_took_and_a_reserve() {
        let free = |bytes| Free { bytes, files: None };
        assert_eq!(check(free(SPARE + 5), 5), Ok(()));
        let little = check(free(SPARE + 4), 5).unwrap_err();
        assert_eq!((little.free.bytes, little.largest), (SPARE + 4, 5));
        assert_eq!(check(free(u64::MAX), u64::MAX), Ok(()), "no overflow");
        let text = check(free(3_000_000), 50_000_000).unwrap_err().to_string();
        let expected = "3.0 MB are free on its disk, and 66.8 MB are needed (the largest launch so far \
                        took 50.0 MB, and 16.8 MB are kept free)";
        assert_eq!(text, expected);
        let files = Free { bytes: u64::MAX, files: Some(3) };
        let text = check(files, 0).unwrap_err().to_string();
        assert!(text.starts_with("3 more files are possible"), "{text}");
    }

    #[test]
    fn what_a_launch_took_is_what_its_files_take_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("records")).unwrap();
        std::fs::write(folder.path().join("records/a.parquet"), vec![1; 100_000]).unwrap();
        let one = taken(folder.path());
        assert!(one >= 100_000, "{one}");
        std::fs::write(folder.path().join("engine.log"), vec![1; 100_000]).unwrap();
        assert!(taken(folder.path()) >= one + 100_000);
        assert_eq!(taken(&folder.path().join("no")), 0);
        assert!(free(folder.path()).unwrap().bytes > 0);
    }
}
