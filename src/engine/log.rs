//! The log of one launch: a file that somebody appends to (the process itself,
//! or whoever streams a container's log), read as far as it has grown. What the
//! lines mean is [`super::failure`]'s and [`super::readiness`]'s.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Limit of what is read of a log at once, in bytes: memory is finite, logs may not be.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Reads a growing log file.
#[derive(Debug)]
pub struct EngineLog {
    path: PathBuf,
    read: u64,
}

impl EngineLog {
    /// Name of the file in a launch's folder.
    pub const NAME: &'static str = "engine.log";

    /// Creates the folder where needed and the file, empty.
    pub fn create(folder: &Path) -> io::Result<(Self, File)> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(Self::NAME);
        let file = File::create(&path)?;
        Ok((Self { path, read: 0 }, file))
    }

    /// What the log has gained since this was asked last, as text.
    pub fn read_new(&mut self) -> String {
        let bytes = read(&self.path, self.read).unwrap_or_default();
        self.read += bytes.len() as u64;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The whole log; of a huge one its beginning and its end.
    pub fn text(&self) -> String {
        text(&self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn text(path: &Path) -> String {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut bytes = read(path, 0).unwrap_or_default();
    if length > MAX_BYTES {
        let from = length.saturating_sub(MAX_BYTES).max(MAX_BYTES);
        bytes.extend_from_slice(b"\n");
        bytes.extend(read(path, from).unwrap_or_default());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_log_is_read_as_it_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, mut file) =
            EngineLog::create(&folder.path().join("launches/1-a")).expect("created");
        assert_eq!(log.read_new(), "");
        file.write_all(b"one\n").expect("written");
        assert_eq!(log.read_new(), "one\n");
        file.write_all("deux: é\n".as_bytes()).expect("written");
        assert_eq!(log.read_new(), "deux: é\n");
        assert_eq!(log.read_new(), "");
        assert_eq!(log.text(), "one\ndeux: é\n");
    }
}
