//! The log of one launch: a file that somebody appends to (the process itself,
//! or whoever streams a container's log), read as far as it has grown. What the
//! lines mean is [`super::failure`]'s and [`super::readiness`]'s.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::secret::Secrets;

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

    /// Creates the folder where needed and the file, empty. What is written through
    /// the second value comes into the file without `secrets`.
    pub fn create(folder: &Path, secrets: &Secrets) -> io::Result<(Self, LogWriter)> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(Self::NAME);
        let file = File::create(&path)?;
        let writer = LogWriter { file, secrets: secrets.clone(), line: Vec::new() };
        Ok((Self { path, read: 0 }, writer))
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

/// Longest piece of a line that waits for its end, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// Writes a log line by line, secrets masked: half a line may hold half a secret.
#[derive(Debug)]
pub struct LogWriter {
    file: File,
    secrets: Secrets,
    /// The beginning of a line whose end is not known yet.
    line: Vec<u8>,
}

impl LogWriter {
    /// Writes what `source` gives, until it ends. The second value learns of the end.
    pub fn follow(mut self, mut source: impl Read + Send + 'static) -> Following {
        let (ended, end) = oneshot::channel();
        std::thread::spawn(move || {
            // Without a reader the writing process would fail: it is read to its end,
            // whether the file can be written or not.
            let mut bytes = [0; 16 * 1024];
            loop {
                match source.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(length) => {
                        if let Err(error) = self.write_all(&bytes[..length]) {
                            tracing::warn!(%error, "engine.log is not written");
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            drop(self);
            // Whoever started it may no longer wait.
            let _ = ended.send(());
        });
        Following { end: Some(end) }
    }

    /// Writes the first `length` bytes of what waits.
    fn put(&mut self, length: usize) -> io::Result<()> {
        let rest = self.line.split_off(length);
        let bytes = std::mem::replace(&mut self.line, rest);
        let text = String::from_utf8_lossy(&bytes);
        match self.secrets.mask(&text) {
            // As it came, whether it is UTF-8 or not.
            Cow::Borrowed(_) => self.file.write_all(&bytes),
            Cow::Owned(masked) => self.file.write_all(masked.as_bytes()),
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        // A progress bar ends its lines with `\r`.
        let ended = self.line.iter().rposition(|byte| matches!(byte, b'\n' | b'\r'));
        if let Some(end) = ended {
            self.put(end + 1)?;
        } else if self.line.len() > MAX_LINE {
            let blank = self.line.iter().rposition(u8::is_ascii_whitespace);
            self.put(blank.unwrap_or(self.line.len()))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.put(self.line.len())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // A file that cannot be written has been reported.
        let _ = self.flush();
    }
}

/// A log that is being written by a thread.
#[derive(Debug)]
pub struct Following {
    /// `None` once it has ended.
    end: Option<oneshot::Receiver<()>>,
}

impl Following {
    /// Waits until the log is written to its end, for at most `limit`: a process that
    /// left its group may keep the log open for ever.
    pub async fn finish(&mut self, limit: Duration) {
        if let Some(end) = &mut self.end
            && timeout(limit, end).await.is_ok()
        {
            self.end = None;
        }
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
            EngineLog::create(&folder.path().join("launches/1-a"), &Secrets::default())
                .expect("created");
        assert_eq!(log.read_new(), "");
        file.write_all(b"one\n").expect("written");
        assert_eq!(log.read_new(), "one\n");
        file.write_all("deux: é\n".as_bytes()).expect("written");
        assert_eq!(log.read_new(), "deux: é\n");
        assert_eq!(log.read_new(), "");
        assert_eq!(log.text(), "one\ndeux: é\n");
    }

    #[test]
    fn secrets_are_masked_across_writes() {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = Secrets::default();
        secrets.add("sk-0123456789");
        let (log, mut file) = EngineLog::create(folder.path(), &secrets).expect("created");
        for piece in ["a sk-0123", "456789 b\n--api-k", "ey x\rsk-01234", "56789"] {
            file.write_all(piece.as_bytes()).expect("written");
        }
        file.write_all(&[b'\n', 0xff, b' ']).expect("written");
        drop(file);
        assert_eq!(log.text(), "a *** b\n--api-key ***\r***\n\u{fffd} ");
    }

    #[tokio::test]
    async fn a_stream_is_followed_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, file) = EngineLog::create(folder.path(), &Secrets::default()).expect("created");
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let mut following = file.follow(reader);
        writer.write_all(b"one\ntw").expect("written");
        following.finish(Duration::from_millis(1)).await;
        writer.write_all(b"o").expect("written");
        drop(writer);
        following.finish(Duration::from_mins(1)).await;
        following.finish(Duration::from_mins(1)).await;
        assert_eq!(log.text(), "one\ntwo");
    }
}
