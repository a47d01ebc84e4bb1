//! Files that a person names, read whole: grids, compose files, files of variables, run folders. What
//! is no plain file is refused before it is opened, because a pipe or a device may have no
//! end; so is what is too large. Whose a file is has its name here; what it means does not.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Bytes of a compose file, a file of variables or a configuration at most: far above any
/// that a person writes.
pub const MAX_TEXT: u64 = 16 << 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// There is none.
    #[error("there is no such file")]
    Missing(#[source] io::Error),
    /// It is something else than a plain file: what.
    #[error("this is {0}, not a file")]
    NoFile(&'static str),
    /// It is too large.
    #[error("the file is larger than {limit}", limit = size(*.limit))]
    TooLarge {
        /// Bytes that are allowed.
        limit: u64,
    },
    /// It is not UTF-8: the place of the first byte that is not.
    #[error("the file is not UTF-8 (byte {})", .0 + 1)]
    NotUtf8(usize),
    /// The file system refuses.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl From<InputError> for io::Error {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Io(error) | InputError::Missing(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}

/// Opens a plain file of at most `limit` bytes.
///
/// # Errors
/// Something else than a plain file, a larger one, or one that cannot be opened.
pub fn open(path: &Path, limit: u64) -> Result<File, InputError> {
    // Some devices act when they are opened, and a pipe waits for who writes to it.
    check(&std::fs::metadata(path).map_err(of_io)?, limit)?;
    // What is there now may be another thing.
    let file = OpenOptions::new().read(true).custom_flags(at_once()).open(path).map_err(of_io)?;
    check(&file.metadata()?, limit)?;
    Ok(file)
}

/// Opens a plain file to be locked and written, and makes it where it is missing: then only
/// this user may read it.
///
/// # Errors
/// As [`open`], except that there is none.
pub fn open_to_write(path: &Path) -> Result<File, InputError> {
    match plain(path) {
        Ok(()) | Err(InputError::Missing(_)) => {}
        Err(error) => return Err(error),
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(at_once()).open(path).map_err(of_io)?;
    check(&file.metadata()?, u64::MAX)?;
    Ok(file)
}

/// Whatever is opened, nothing is waited for.
fn at_once() -> i32 {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    i32::try_from(flags.bits()).unwrap_or(0)
}

/// Reads a plain file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; also a file that grows beyond the limit while it is read.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    open(path, limit)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(InputError::TooLarge { limit }) } else { Ok(bytes) }
}

/// Reads a plain text of at most [`MAX_TEXT`] bytes.
///
/// # Errors
/// As [`read`]; also a file that is not UTF-8.
pub fn text(path: &Path) -> Result<String, InputError> {
    let bytes = read(path, MAX_TEXT)?;
    String::from_utf8(bytes).map_err(|error| InputError::NotUtf8(error.utf8_error().valid_up_to()))
}

/// Refuses what is there and no plain file, before it is opened.
///
/// # Errors
/// Something else than a plain file, or none.
pub fn plain(path: &Path) -> Result<(), InputError> {
    check(&std::fs::metadata(path).map_err(of_io)?, u64::MAX)
}

fn check(about: &Metadata, limit: u64) -> Result<(), InputError> {
    let kind = about.file_type();
    if kind.is_file() {
        return if about.len() > limit { Err(InputError::TooLarge { limit }) } else { Ok(()) };
    }
    Err(InputError::NoFile(if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }))
}

fn of_io(error: io::Error) -> InputError {
    match error.kind() {
        io::ErrorKind::NotFound => InputError::Missing(error),
        _ => InputError::Io(error),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{bytes} bytes"),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// The user whose a file is, where that is not the one that this process acts for.
pub(crate) fn other_owner(path: &Path) -> Option<String> {
    owner_but(rustix::process::geteuid().as_raw(), path)
}

fn owner_but(user: u32, path: &Path) -> Option<String> {
    let owner = path.metadata().ok()?.uid();
    (owner != user).then(|| user_of(owner))
}

/// The name of a user, or the number where there is no name.
pub(crate) fn user_of(id: u32) -> String {
    let id = id.to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&id.as_str())).then(|| fields[0].to_owned())
    });
    named.unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let says = |name: &str, limit| read(&path(name), limit).expect_err(name).to_string();
        assert_eq!(says("", 9), "this is a folder, not a file");
        assert_eq!(says("missing", 9), "there is no such file");
        let pipe = path("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("a pipe");
        assert_eq!(says("pipe", 9), "this is a pipe, not a file");
        let written = open_to_write(&pipe).expect_err("a pipe").to_string();
        assert_eq!(written, "this is a pipe, not a file");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        assert_eq!(says("socket", 9), "this is a socket, not a file");
        let device = read(Path::new("/dev/zero"), 9).expect_err("endless").to_string();
        assert_eq!(device, "this is a device, not a file");
        // A file of several GB without content: nothing of it is read.
        File::create(path("huge")).and_then(|file| file.set_len(8 << 30)).expect("a file");
        assert_eq!(says("huge", 1 << 20), "the file is larger than 1 MiB");
        assert_eq!(says("huge", 9), "the file is larger than 9 bytes");
        std::fs::write(path("nine"), "123456789").expect("a file");
        assert_eq!(read(&path("nine"), 9).expect("small"), b"123456789");
        std::fs::write(path("latin"), b"ab\xff").expect("a file");
        let latin = text(&path("latin")).expect_err("not UTF-8").to_string();
        assert_eq!(latin, "the file is not UTF-8 (byte 3)");
        // Whose it is counts only where it is another user's.
        let own = rustix::process::geteuid().as_raw();
        assert_eq!((other_owner(&path("nine")), other_owner(&path("missing"))), (None, None));
        assert_eq!(owner_but(own + 1, &path("nine")), Some(user_of(own)));
        // Files of the kernel have no size, but an end.
        assert!(text(Path::new("/proc/self/status")).expect("a file").contains("Name:"));
    }
}
