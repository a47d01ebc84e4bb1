//! The log of one launch: a file that somebody appends to (the process itself,
//! or whoever streams a container's log), read as far as it has grown, and kept
//! without what acts on a terminal and without secrets. What the lines mean is [`super::failure`]'s
//! and [`super::readiness`]'s.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clean;
use crate::event::Emit;
use crate::secret::Secrets;

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

    /// Creates the file, empty, for its user alone; its folder is there already, or the run
    /// is gone. What is written through the second value comes into the file cleaned and
    /// without `secrets`.
    pub fn create(folder: &Path, secrets: &Secrets) -> io::Result<(Self, LogWriter)> {
        let path = folder.join(Self::NAME);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok((Self { path, line: 0, read: 0 }, LogWriter::new(file, secrets.clone())))
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a log line by line, cleaned and its secrets masked: half a line may hold half
/// a secret.
#[derive(Debug)]
pub struct LogWriter<W: Write = File> {
    file: W,
    secrets: Secrets,
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// Who hears that the file cannot be written; nobody any more once it was said.
    teller: Option<Emit>,
}

impl<W: Write> LogWriter<W> {
    /// Writes to `file`.
    pub fn new(file: W, secrets: Secrets) -> Self {
        Self { file, secrets, line: Vec::new(), teller: None }
    }

    /// The same; `emit` hears once when the file cannot be written, as on a full disk. The
    /// launch continues: whether there is space for the next one is asked before it.
    #[must_use]
    pub fn telling(self, emit: &Emit) -> Self {
        Self { teller: Some(emit.clone()), ..self }
    }

    /// Takes what came, whole lines or not.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line.extend_from_slice(bytes);
        let rest = self.line.iter().rev().take_while(|byte| !ends_line(**byte)).count();
        let whole = match self.line.len() - rest {
            whole if rest > MAX_LINE_BYTES => whole + self.secrets.cut(&self.line[whole..]),
            whole => whole,
        };
        // `\r\n` may come in two parts.
        let whole = if self.line[..whole].ends_with(b"\r") && whole == self.line.len() {
            whole - 1
        } else {
            whole
        };
        if whole > 0 {
            let rest = self.line.split_off(whole);
            let lines = std::mem::replace(&mut self.line, rest);
            self.put(&lines)?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(self.secrets.mask(&text_of(bytes)).as_bytes());
        written.inspect_err(|error| {
            if let Some(emit) = self.teller.take() {
                emit.warn(format!(
                    "engine.log cannot be written ({error}): the launch continues, and lines of its log are \
                     missing. Free some space on the disk of the run folder"
                ));
            }
        })
    }

    /// What is written to.
    #[cfg(test)]
    pub(crate) fn into_inner(self) -> W {
        self.file
    }

    /// Writes what is left.
    pub fn finish(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        self.put(&line)?;
        self.file.flush()
    }
}

impl LogWriter {
    /// Writes what `source` gives, until it ends.
    pub fn follow(mut self, mut source: impl Read + Send + 'static) -> Following {
        let (ended, end) = oneshot::channel();
        std::thread::spawn(move || {
            // Without a reader the writing process would fail: it is read to its end,
            // whether the file can be written or not.
            let mut bytes = [0; 16 * 1024];
            let mut written = Ok(());
            loop {
                match source.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(length) if written.is_ok() => written = self.write(&bytes[..length]),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            // What cannot be written was said by the writer.
            let _ = written.and_then(|()| self.finish());
            // Whoever started it may no longer wait.
            let _ = ended.send(());
        });
        Following { end: Some(end) }
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
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::event::NoticeKind;

    #[test]
    fn a_log_is_read_as_it_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let nowhere = EngineLog::create(&folder.path().join("launches/1-a"), &Secrets::default());
        assert_eq!(nowhere.expect_err("no folder").kind(), io::ErrorKind::NotFound);
        let (mut log, mut file) =
            EngineLog::create(folder.path(), &Secrets::default()).expect("created");
        assert_eq!(log.read_new(), "");
        file.write(b"one\n").expect("written");
        assert_eq!(log.read_new(), "one\n");
        file.write("deux: é\n".as_bytes()).expect("written");
        assert_eq!(log.read_new(), "deux: é\n");
        assert_eq!(log.read_new(), "");
        assert_eq!(log.text(), "one\ndeux: é\n");
    }

    #[test]
    fn a_line_is_read_whole_and_without_escapes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, _) = EngineLog::create(folder.path(), &Secrets::default()).expect("created");
        let mut file = File::options().append(true).open(log.path()).expect("there");
        file.write_all(b"one\n\x1b[3").expect("written");
        assert_eq!(log.read_new(), "one\n");
        assert_eq!(log.read_new(), "", "nothing came");
        file.write_all(b"1mtw").expect("written");
        assert_eq!(log.read_new(), "tw", "it lives");
        file.write_all(b"o\x1b[0m\r 10%\r").expect("written");
        assert_eq!(log.read_new(), "two\n 10%\n", "from the beginning of the line");
        assert_eq!(log.text(), "one\ntwo\n 10%\n");
    }

    #[test]
    fn what_comes_in_pieces_is_cleaned_as_a_whole() {
        let text = "a\x1b[31mé\x1b[0m\r\nb\u{202e}\r 5%\n\x1b]0;t\x07end";
        for size in 1..text.len() {
            let mut kept = Vec::new();
            let mut writer = LogWriter::new(&mut kept, Secrets::default());
            for piece in text.as_bytes().chunks(size) {
                writer.write(piece).expect("written");
            }
            writer.finish().expect("written");
            assert_eq!(String::from_utf8_lossy(&kept), "aé\nb\n 5%\nend", "pieces of {size}");
        }
    }

    #[test]
    fn secrets_are_masked_across_writes() {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = Secrets::default();
        secrets.add("sk-0123456789");
        let (log, mut file) = EngineLog::create(folder.path(), &secrets).expect("created");
        for piece in ["a sk-0123", "456789 b\n--api-k", "ey x\rsk-\x1b[1m01234", "56789"] {
            file.write(piece.as_bytes()).expect("written");
        }
        file.finish().expect("written");
        assert_eq!(log.text(), "a *** b\n--api-key ***\n***");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_in_no_secret_and_no_character() {
        let secrets = Secrets::default();
        secrets.add("sk-0123456789");
        secrets.add("sk-a-longer-one-of-two");
        for lead in MAX_LINE_BYTES - 40..MAX_LINE_BYTES + 8 {
            let mut kept = Vec::new();
            let mut writer = LogWriter::new(&mut kept, secrets.clone());
            let begin = "-".repeat(lead % 2) + &"é".repeat(lead / 2);
            let line = format!("{begin} sk-0123456789 é sk-a-longer-one-of-two é {begin}");
            for piece in line.as_bytes().chunks(MAX_LINE_BYTES + 5) {
                writer.write(piece).expect("written");
            }
            writer.finish().expect("written");
            let kept = String::from_utf8(kept).expect("whole characters");
            assert!(kept == format!("{begin} *** é *** é {begin}"), "{lead}");
        }
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

    /// A disk without space.
    fn full(emit: &Emit) -> LogWriter {
        let file = File::options().write(true).open("/dev/full").expect("Linux has it");
        LogWriter::new(file, Secrets::default()).telling(emit)
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_written_is_said_once_and_its_source_is_read_to_the_end() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&said);
        let emit = Emit::to(move |notice| kept.lock().expect("no panic").push(notice)).of_launch(3);
        let mut writer = full(&emit);
        for _ in 0..2 {
            let error = writer.write(b"one\n").expect_err("no space");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        let (reader, mut source) = io::pipe().expect("a pipe");
        let mut following = full(&emit).follow(reader);
        // More than a pipe holds: it would block if nobody read.
        source.write_all(&b"line\n".repeat(100_000)).expect("read");
        drop(source);
        following.finish(Duration::from_mins(1)).await;
        let said = said.lock().expect("no panic");
        assert_eq!(said.len(), 2, "each writer once: {said:?}");
        for notice in &*said {
            let NoticeKind::Warning(text) = &notice.kind else { panic!("{notice:?}") };
            assert!(text.contains("engine.log cannot be written (No space left"), "{text}");
            assert_eq!(notice.launch, Some(3));
        }
    }
}
