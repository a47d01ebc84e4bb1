use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write};

use super::lines::checksum;
use super::*;

pub(super) fn started(launch: u32) -> Entry {
    Entry::LaunchStarted {
        launch,
        trial: launch,
        configuration: "a".to_owned(),
        purpose: Purpose::Screen,
        planned: 0,
        repeats: None,
        host: None,
        bar: None,
        gpus: None,
    }
}

pub(super) fn written(count: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let (mut journal, _) = Journal::open(&path).unwrap();
    for launch in 1..=count {
        journal.append(jiff::Timestamp::UNIX_EPOCH, started(launch)).unwrap();
    }
    drop(journal);
    (folder, path)
}

#[test]
fn what_is_appended_is_read_again_after_reopening() {
    let (_folder, path) = written(2);
    let (mut journal, lines) = Journal::open(&path).unwrap();
    assert_eq!(lines.len(), 2);
    journal.append(jiff::Timestamp::UNIX_EPOCH, started(3)).unwrap();
    let sequences: Vec<u64> = read(&path).unwrap().iter().map(|line| line.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
}

#[test]
fn there_is_one_writer() {
    let (_folder, path) = written(1);
    let (_journal, _) = Journal::open(&path).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Locked(_))));
    assert_eq!(read(&path).unwrap().len(), 1, "a reader needs no lock");
}

#[test]
fn a_damaged_line_before_the_last_is_an_error_that_names_it() {
    let (_folder, path) = written(3);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"launch\":2", "\"launch\":9", 1)).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("checksum"), "{error}");
}

#[test]
fn an_entry_of_a_newer_version_is_skipped_but_a_newer_journal_is_not_continued() {
    let (_folder, path) = written(1);
    let body = r#"{"sequence":2,"at":"2026-11-24T00:00:00Z","entry":{"kind":"teleported"}}"#;
    let newer = r#"{"sequence":3,"at":"2026-11-24T00:00:00Z","entry":{"kind":"session_started","schema_version":99,"tool_version":"9"}}"#;
    let mut text = std::fs::read_to_string(&path).unwrap();
    for body in [body, newer] {
        let checksum = checksum(body);
        writeln!(text, r#"{{"checksum":"{checksum}","line":{body}}}"#).unwrap();
    }
    std::fs::write(&path, text).unwrap();
    assert_eq!(read(&path).unwrap()[1].entry, Entry::Unknown);
    assert!(matches!(Journal::open(&path), Err(JournalError::Newer { found: 99, .. })));
}

#[test]
fn a_journal_with_an_entry_of_a_newer_version_is_not_continued() {
    let (_folder, path) = written(1);
    let body = r#"{"sequence":2,"at":"2026-11-24T00:00:00Z","entry":{"kind":"teleported"}}"#;
    let mut text = std::fs::read_to_string(&path).unwrap();
    writeln!(text, r#"{{"checksum":"{}","line":{body}}}"#, checksum(body)).unwrap();
    std::fs::write(&path, &text).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::UnknownEntry { line: 2, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "it is not changed");
}

/// What fails next on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fails {
    #[default]
    Nothing,
    /// A write, after half of it.
    Write,
    /// A write after half of it, and what would cut it off.
    WriteAndTruncate,
    Sync,
}

#[derive(Debug)]
struct Disk {
    file: File,
    fails: Fails,
    /// Writes that succeed before.
    writes: u32,
}

impl Journal {
    /// After so many writes, its disk is full for one write; with or without a reserve.
    pub(crate) fn fill_disk_after(&mut self, writes: u32, reserve: bool) {
        if !reserve {
            std::fs::remove_file(self.reserve.path()).unwrap();
        }
        let mut file = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        self.file = Box::new(Disk { file, fails: Fails::Write, writes });
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Medium for Disk {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.writes > 0 {
            self.writes -= 1;
            return Write::write_all(&mut self.file, bytes);
        }
        if matches!(self.fails, Fails::Write | Fails::WriteAndTruncate) {
            Write::write_all(&mut self.file, &bytes[..bytes.len() / 2])?;
            // Only cutting fails from here on, if anything.
            self.fails = if self.fails == Fails::Write { Fails::Nothing } else { self.fails };
            return Err(full());
        }
        Write::write_all(&mut self.file, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.fails == Fails::Sync {
            self.fails = Fails::Nothing;
            return Err(full());
        }
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.fails == Fails::WriteAndTruncate {
            self.fails = Fails::Nothing;
            return Err(full());
        }
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length)).map(drop)
    }
}

/// A journal of two lines whose third fails so, once.
fn failed(fails: Fails) -> (tempfile::TempDir, PathBuf, Journal) {
    let (folder, path) = written(2);
    let (mut journal, _) = Journal::open(&path).unwrap();
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    journal.file = Box::new(Disk { file, fails, writes: 0 });
    let error = journal.append(jiff::Timestamp::UNIX_EPOCH, started(3)).unwrap_err();
    let JournalError::Io { error, .. } = error else { panic!("{error}") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{fails:?}");
    (folder, path, journal)
}

#[test]
fn a_line_that_was_written_in_part_is_cut_off_before_the_next() {
    let (_folder, path, mut journal) = failed(Fails::Write);
    assert_eq!(std::fs::read(&path).unwrap().last(), Some(&b'\n'), "nothing torn is left");
    journal.append(jiff::Timestamp::UNIX_EPOCH, started(4)).unwrap();
    journal.append(jiff::Timestamp::UNIX_EPOCH, started(5)).unwrap();
    let lines = read(&path).unwrap();
    assert_eq!(lines.iter().map(|line| line.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(lines[2].entry, started(4));
}

#[test]
fn nothing_is_written_after_an_error_that_leaves_the_file_unknown() {
    for fails in [Fails::WriteAndTruncate, Fails::Sync] {
        let (_folder, path, mut journal) = failed(fails);
        let before = std::fs::read(&path).unwrap();
        for launch in [4, 5] {
            let again = journal.append(jiff::Timestamp::UNIX_EPOCH, started(launch));
            let Err(JournalError::Io { error, .. }) = again else { panic!("{again:?}") };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{fails:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before, "{fails:?}");
        drop(journal);
        let (mut journal, lines) = Journal::open(&path).unwrap();
        assert_eq!(lines.len(), 2, "{fails:?}: a later session continues it");
        journal.append(jiff::Timestamp::UNIX_EPOCH, started(6)).unwrap();
        assert_eq!(read(&path).unwrap().len(), 3);
    }
}

fn repeat(launch: u32) -> Entry {
    let measurement = serde_json::json!({
        "workload": "load", "case": "concurrency=8", "repeat": 1, "status": "ok", "reason": null,
        "metrics": {"ttft_ms": 1.25, "requests": 7, "hit_state": "cold", "turns": [1.5, null, 3],
            "none": null, "loss": -2},
    });
    let measurement = serde_json::from_value(measurement).unwrap();
    Entry::RepeatFinished { launch, measurement }
}

#[test]
fn the_line_of_a_repeat_is_read_as_any_other() {
    let (at, elapsed_ms) = (jiff::Timestamp::UNIX_EPOCH, Some(5));
    for entry in [repeat(3), started(3)] {
        let line = Line { sequence: 1, at, elapsed_ms, happened_at: None, entry };
        let text = lines::encode(&line).unwrap();
        let body = serde_json::to_value(&line).unwrap();
        let spaced = serde_json::to_string_pretty(&body).unwrap().replace('\n', " ");
        let spaced = format!("{{ \"line\": {spaced}, \"checksum\": \"{}\" }}", checksum(&spaced));
        assert_eq!(lines::is_repeat(&text), matches!(line.entry, Entry::RepeatFinished { .. }));
        for text in [text.as_str(), &spaced] {
            let read = parse(Path::new("j"), text.as_bytes()).unwrap();
            assert_eq!(read.lines.as_slice(), std::slice::from_ref(&line), "{text}");
        }
        // As any deserializer reads it.
        assert_eq!(serde_json::from_value::<Line>(body).unwrap(), line);
    }
}

#[test]
fn what_was_read_before_is_parsed_once_and_what_changed_again() {
    let (_folder, path) = written(3);
    let sequences = |lines: &[Line]| lines.iter().map(|it| it.sequence).collect::<Vec<_>>();
    let text = std::fs::read_to_string(&path).unwrap();
    let reopened = |before: &str, now: &str| {
        std::fs::write(&path, before).unwrap();
        let before = seen(&path).unwrap();
        std::fs::write(&path, now).unwrap();
        let (journal, lines) = Journal::open_seen(&path, Some(before))?;
        assert_eq!(journal.next as usize, lines.len() + 1);
        assert_eq!(lines, read(&path).unwrap(), "as without");
        Ok::<_, JournalError>(sequences(&lines))
    };
    let first = &text[..=text.find('\n').unwrap()];
    assert_eq!(reopened(&text, &text).unwrap(), [1, 2, 3]);
    assert_eq!(reopened(first, &text).unwrap(), [1, 2, 3], "somebody wrote meanwhile");
    assert_eq!(reopened("", &text).unwrap(), [1, 2, 3]);
    assert_eq!(reopened(&text, first).unwrap(), [1], "it was cut");
    assert_eq!(reopened(first.trim_end(), &text).unwrap(), [1, 2, 3], "only its end was missing");
    assert_eq!(reopened(&text[..text.len() - 9], &text).unwrap(), [1, 2, 3], "a torn line");
    let other = text.replacen("\"launch\":1", "\"launch\":7", 1);
    let damaged = reopened(&text, &other).unwrap_err();
    assert!(matches!(damaged, JournalError::Damaged { line: 1, .. }), "{damaged}");
}

#[test]
fn who_looks_at_a_journal_is_in_no_writer_s_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    drop(Journal::open(&path).unwrap());
    let looks = std::fs::File::open(&path).unwrap();
    looks.lock_shared().unwrap();
    assert!(!is_written_in(folder.path()), "a look is no writer");
    // The look ends while the writer tries.
    let ends = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(30));
        drop(looks);
    });
    let (writer, _) = Journal::open(&path).unwrap();
    ends.join().unwrap();
    assert!(is_written_in(folder.path()));
    assert!(matches!(Journal::open(&path), Err(JournalError::Locked(_))));
    drop(writer);
    assert!(!is_written_in(folder.path()));
}
