//! A file is written whole or not at all: under a name of its own in the same folder, then renamed.
//! Several processes may write the same file at once; each has its own name until then.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::PRIVATE_FILE;
use crate::history::journal;

/// Random names that are tried: none is there twice as a rule.
const TRIES: u32 = 8;

#[cfg(test)]
thread_local! {
    /// Whether what this thread writes goes to a device that is always full.
    pub(crate) static DISK_IS_FULL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
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
    let (file, temporary) = create(path)?;
    #[cfg(test)]
    let file =
        if DISK_IS_FULL.get() { File::options().write(true).open("/dev/full")? } else { file };
    let write = || {
        let mut writer = BufWriter::new(file);
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
    let (_, temporary) = create(path)?;
    std::fs::remove_file(&temporary)
}

/// A new file beside `path`, with its name. One that is there is not opened: it is another
/// process's, or a link that somebody put there.
fn create(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
    let mut last = io::ErrorKind::AlreadyExists.into();
    for _ in 0..TRIES {
        let temporary = path.with_file_name(format!(".{name}.{:016x}.tmp", rand::random::<u64>()));
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(PRIVATE_FILE).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
