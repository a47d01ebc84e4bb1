//! The log of one launch: a file that somebody appends to (the process itself,
//! or whoever streams a container's log), read as far as it has grown, and kept
//! without what acts on a terminal. What the lines mean is [`super::failure`]'s
//! and [`super::readiness`]'s.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::clean;

/// Limit of what is read of a log at once, in bytes: memory is finite, logs may not be.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Longest line that is waited for before it is taken in parts.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Reads a growing log file.
#[derive(Debug)]
pub struct EngineLog {
    path: PathBuf,
    /// Where the line begins that is not whole yet.
    line: u64,
    /// How far it has been read.
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
        Ok((Self { path, line: 0, read: 0 }, file))
    }

    /// What the log has gained since this was asked last, as text. A line that
    /// was not whole then is given again from its beginning.
    pub fn read_new(&mut self) -> String {
        let bytes = read(&self.path, self.line).unwrap_or_default();
        let end = self.line + bytes.len() as u64;
        if end <= self.read {
            return String::new();
        }
        self.read = end;
        let rest = bytes.iter().rev().take_while(|byte| !ends_line(**byte)).count();
        let whole = if rest > MAX_LINE_BYTES { bytes.len() } else { bytes.len() - rest };
        self.line += whole as u64;
        text_of(&bytes)
    }

    /// The whole log; of a huge one its beginning and its end.
    pub fn text(&self) -> String {
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let mut bytes = read(&self.path, 0).unwrap_or_default();
        if length > MAX_BYTES {
            let from = length.saturating_sub(MAX_BYTES).max(MAX_BYTES);
            bytes.extend_from_slice(b"\n");
            bytes.extend(read(&self.path, from).unwrap_or_default());
        }
        text_of(&bytes)
    }

    /// Cleans the file, which the engine itself wrote and does not write any more.
    pub fn finish(&self) {
        if let Err(error) = self.rewrite() {
            tracing::warn!(%error, path = %self.path.display(), "engine.log is not cleaned");
        }
    }

    fn rewrite(&self) -> io::Result<()> {
        let cleaned = self.path.with_extension("log.tmp");
        let mut from = BufReader::new(File::open(&self.path)?);
        let mut to = LogWriter::new(BufWriter::new(File::create(&cleaned)?));
        loop {
            let piece = from.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            to.write(piece)?;
            let length = piece.len();
            from.consume(length);
        }
        to.finish()?;
        std::fs::rename(&cleaned, &self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a log line by line, cleaned.
#[derive(Debug)]
pub struct LogWriter<W: Write> {
    file: W,
    /// The line that is not whole yet.
    line: Vec<u8>,
}

impl<W: Write> LogWriter<W> {
    /// Writes to `file`.
    pub fn new(file: W) -> Self {
        Self { file, line: Vec::new() }
    }

    /// Takes what came, whole lines or not.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line.extend_from_slice(bytes);
        let rest = self.line.iter().rev().take_while(|byte| !ends_line(**byte)).count();
        let whole = if rest > MAX_LINE_BYTES { self.line.len() } else { self.line.len() - rest };
        // `\r\n` may come in two parts.
        let whole = if self.line[..whole].ends_with(b"\r") && whole == self.line.len() {
            whole - 1
        } else {
            whole
        };
        if whole > 0 {
            self.file.write_all(text_of(&self.line[..whole]).as_bytes())?;
            self.line.drain(..whole);
        }
        Ok(())
    }

    /// What is written to.
    #[cfg(test)]
    pub(crate) fn into_inner(self) -> W {
        self.file
    }

    /// Writes what is left.
    pub fn finish(&mut self) -> io::Result<()> {
        self.file.write_all(text_of(&self.line).as_bytes())?;
        self.line.clear();
        self.file.flush()
    }
}

fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn text_of(bytes: &[u8]) -> String {
    clean::lines(&String::from_utf8_lossy(bytes)).into_owned()
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

    #[test]
    fn a_line_is_read_whole_and_without_escapes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, mut file) = EngineLog::create(folder.path()).expect("created");
        file.write_all(b"one\n\x1b[3").expect("written");
        assert_eq!(log.read_new(), "one\n");
        assert_eq!(log.read_new(), "", "nothing came");
        file.write_all(b"1mtw").expect("written");
        assert_eq!(log.read_new(), "tw", "it lives");
        file.write_all(b"o\x1b[0m\r 10%\r").expect("written");
        assert_eq!(log.read_new(), "two\n 10%\n", "from the beginning of the line");
        assert_eq!(log.text(), "one\ntwo\n 10%\n");
        log.finish();
        let kept = std::fs::read(log.path()).expect("kept");
        assert_eq!(kept, b"one\ntwo\n 10%\n");
    }

    #[test]
    fn what_comes_in_pieces_is_cleaned_as_a_whole() {
        let text = "a\x1b[31mé\x1b[0m\r\nb\u{202e}\r 5%\n\x1b]0;t\x07end";
        for size in 1..text.len() {
            let mut kept = Vec::new();
            let mut writer = LogWriter::new(&mut kept);
            for piece in text.as_bytes().chunks(size) {
                writer.write(piece).expect("written");
            }
            writer.finish().expect("written");
            assert_eq!(String::from_utf8_lossy(&kept), "aé\nb\n 5%\nend", "pieces of {size}");
        }
    }
}
