//! What a crash, a full disk or a hand leaves of a journal, and what is read of it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use super::super::production::ProductionFacts;
use super::super::replay::production_steps;
use super::tests::{started, written};
use super::*;

fn step(launch: u32) -> Entry {
    match launch {
        2 => {
            let facts = ProductionFacts {
                id: "0123".to_owned(),
                name: "prod-é-\u{1F4A5}".to_owned(),
                running: true,
                ..ProductionFacts::default()
            };
            Entry::Production { production: ProductionStep::Stopping { facts } }
        }
        4 => Entry::Production { production: ProductionStep::Stopped { id: "0123".to_owned() } },
        _ => started(launch),
    }
}

/// A journal of five lines, two of them steps of production, and its bytes.
fn real() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let (mut journal, _) = Journal::open(&path).unwrap();
    for launch in 1..=5 {
        journal.append(jiff::Timestamp::UNIX_EPOCH, step(launch)).unwrap();
    }
    drop(journal);
    let bytes = std::fs::read(&path).unwrap();
    (folder, path, bytes)
}

fn count(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

#[test]
fn every_length_of_a_journal_gives_the_lines_that_are_whole() {
    let (_folder, path, bytes) = real();
    let all = parse(&path, &bytes).unwrap().lines;
    for length in 0..=bytes.len() {
        let cut = &bytes[..length];
        let contents = parse(&path, cut).unwrap();
        let ended = cut.last().is_none_or(|last| *last == b'\n');
        let unended = bytes.get(length) == Some(&b'\n');
        let expected = count(cut) + usize::from(unended);
        assert_eq!(contents.lines, all[..expected], "{length}");
        let tail = match (ended, unended) {
            (true, _) => Tail::Nothing,
            (_, true) => Tail::Unended,
            _ => Tail::Torn,
        };
        assert_eq!(contents.tail, tail, "{length}");
        let note = contents.note(&path);
        assert_eq!(note.is_some(), tail == Tail::Torn, "{length}: {note:?}");
    }
}

#[test]
fn a_journal_of_any_length_is_continued() {
    let (_folder, path, bytes) = real();
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for length in [0, 1, last, last + 1, last + 2, bytes.len() - 2, bytes.len() - 1, bytes.len()] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let (mut journal, lines) = Journal::open(&path).unwrap();
        let notes = journal.notes().join("\n");
        let torn = !matches!(length, 0) && bytes[length - 1] != b'\n' && length != bytes.len() - 1;
        assert_eq!(
            notes.contains("is incomplete: it is cut off"),
            torn && length != last,
            "{length}: {notes}"
        );
        journal.append(jiff::Timestamp::UNIX_EPOCH, started(99)).unwrap();
        drop(journal);
        let again = contents(&path).unwrap();
        assert_eq!((again.lines.len(), again.tail), (lines.len() + 1, Tail::Nothing), "{length}");
    }
}

/// A byte that went bad is never a line that says something else.
#[test]
fn every_bad_byte_is_reported_or_changes_nothing() {
    let (_folder, path, bytes) = real();
    let all = parse(&path, &bytes).unwrap().lines;
    for at in 0..bytes.len() {
        for mask in [0x01, 0x20, 0x80, b'\n', bytes[at], bytes[at] ^ b'\n'] {
            let mut bad = bytes.clone();
            bad[at] ^= mask;
            if bad[at] == bytes[at] {
                continue;
            }
            let line = count(&bytes[..at]) + 1;
            match parse(&path, &bad) {
                Err(JournalError::Damaged { line: named, .. }) => {
                    assert_eq!(named, line, "byte {at} as {}", bad[at]);
                }
                Err(other) => panic!("byte {at}: {other}"),
                Ok(contents) => {
                    assert_eq!(contents.lines, all[..contents.lines.len()], "byte {at}");
                    let is_all = contents.lines.len() == all.len();
                    assert!(is_all || contents.note(&path).is_some(), "byte {at} as {}", bad[at]);
                }
            }
        }
    }
}

#[test]
fn what_a_power_loss_leaves_is_cut_off() {
    let (_folder, path, bytes) = real();
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let before = &bytes[..last];
    let zeros = |count| vec![0; count];
    let tails = [
        zeros(1),
        zeros(4096),
        [&bytes[last..last + 20], &zeros(300)[..]].concat(),
        // The first block of the line is missing, the rest is there.
        [&zeros(60)[..], &bytes[last + 60..]].concat(),
        [&zeros(60)[..], &bytes[last + 60..], &zeros(100)[..]].concat(),
    ];
    for (case, tail) in tails.iter().enumerate() {
        std::fs::write(&path, [before, tail].concat()).unwrap();
        let read = contents(&path).unwrap();
        assert_eq!((read.lines.len(), read.tail), (4, Tail::Torn), "{case}");
        let (mut journal, lines) = Journal::open(&path).unwrap();
        assert_eq!(lines.len(), 4, "{case}");
        journal.append(jiff::Timestamp::UNIX_EPOCH, started(9)).unwrap();
        assert_eq!(contents(&path).unwrap().tail, Tail::Nothing, "{case}");
    }
    // Behind a line that is whole, zeros are nothing.
    std::fs::write(&path, [&bytes[..bytes.len() - 1], &zeros(9)[..]].concat()).unwrap();
    assert_eq!(contents(&path).unwrap().tail, Tail::Unended);
    assert_eq!(Journal::open(&path).unwrap().1.len(), 5);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_whole_last_line_that_is_damaged_is_moved_and_said() {
    let (folder, path, bytes) = real();
    let text = String::from_utf8(bytes).unwrap();
    let bad = text.replacen("\"launch\":5", "\"launch\":7", 1);
    std::fs::write(&path, &bad).unwrap();
    let note = contents(&path).unwrap().note(&path).unwrap();
    assert!(note.contains("line 5, is damaged (its checksum does not fit)"), "{note}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), bad, "a reader changes nothing");
    let (mut journal, lines) = Journal::open(&path).unwrap();
    assert_eq!(lines.len(), 4);
    let [note] = journal.notes() else { panic!("{:?}", journal.notes()) };
    let name = note.split("moved to ").nth(1).unwrap().split(',').next().unwrap();
    let moved = std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(moved, bad.lines().last().unwrap().to_owned() + "\n");
    journal.append(jiff::Timestamp::UNIX_EPOCH, started(8)).unwrap();
    assert_eq!(read(&path).unwrap().len(), 5);
    // A second one gets another file.
    let bad = std::fs::read_to_string(&path).unwrap().replacen("\"launch\":8", "\"launch\":7", 1);
    std::fs::write(&path, bad).unwrap();
    drop(journal);
    drop(Journal::open(&path).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_recovery_finds_the_steps_on_both_sides_of_a_damaged_line() {
    let (_folder, path, bytes) = real();
    let bad = String::from_utf8(bytes).unwrap().replacen("\"launch\":3", "\"launch\":7", 1);
    std::fs::write(&path, &bad).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Damaged { line: 3, .. })));
    let (mut journal, lines) = Journal::open_damaged(&path).unwrap();
    assert_eq!(production_steps(&lines).len(), 2);
    assert!(journal.notes()[0].contains("line 3: its checksum"), "{:?}", journal.notes());
    let proven = ProductionStep::Proven { id: "0123".to_owned() };
    let entry = Entry::Production { production: proven };
    journal.append(jiff::Timestamp::UNIX_EPOCH, entry).unwrap();
    drop(journal);
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(now.starts_with(&bad), "the damaged line stays where it is");
    let (_, lines) = Journal::open_damaged(&path).unwrap();
    assert_eq!((production_steps(&lines).len(), lines.last().unwrap().sequence), (3, 6));
}

#[test]
fn a_journal_whose_damaged_end_cannot_be_moved_is_recovered() {
    let (_folder, path, bytes) = real();
    for end in [&b"{\"checksum\":\"half"[..], b"no journal line\n"] {
        std::fs::write(&path, [&bytes[..], end].concat()).unwrap();
        let (mut journal, lines) = Journal::open_damaged(&path).unwrap();
        assert_eq!(lines.len(), 5);
        journal.append(jiff::Timestamp::UNIX_EPOCH, started(9)).unwrap();
        assert_eq!(lines::salvage(&std::fs::read(&path).unwrap()).0.len(), 6);
    }
}

#[test]
fn the_reserve_is_given_up_for_the_last_lines_and_is_gone_after() {
    let (folder, path) = written(2);
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.keep_reserve().unwrap();
    let reserve = folder.path().join("journal.reserve");
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 1 << 20);
    journal.fill_disk_after(1, true);
    journal.append(jiff::Timestamp::UNIX_EPOCH, started(3)).unwrap();
    assert!(!journal.is_full() && reserve.exists());
    journal.append(jiff::Timestamp::UNIX_EPOCH, started(4)).unwrap();
    assert!(journal.is_full() && !reserve.exists());
    assert_eq!(read(&path).unwrap().len(), 4);
    drop(journal);
    // One that a killed process left is used, too, and removed.
    std::fs::write(&reserve, vec![0; 100]).unwrap();
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.fill_disk_after(0, true);
    journal.append(jiff::Timestamp::UNIX_EPOCH, started(5)).unwrap();
    assert!(journal.is_full());
    drop(journal);
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.keep_reserve().unwrap();
    drop(journal);
    assert!(!reserve.exists());
}

#[test]
fn a_journal_that_is_no_longer_at_its_path_is_noticed() {
    let open = |path: &Path| {
        let (mut journal, _) = Journal::open(path).unwrap();
        assert!(journal.check_place().is_ok());
        journal
    };
    let gone = |journal: &mut Journal| journal.check_place().unwrap_err().to_string();

    let (folder, path) = written(2);
    let mut journal = open(&path);
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let said = gone(&mut journal);
    assert!(said.contains("it was removed while the sweep ran"), "{said}");
    let name = said.split("saved in ").nth(1).unwrap().split(',').next().unwrap();
    assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), kept);
    assert_eq!(gone(&mut journal), said, "it is saved once");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let (_folder, path) = written(2);
    let mut journal = open(&path);
    std::fs::rename(&path, path.with_file_name("old")).unwrap();
    std::fs::write(&path, "").unwrap();
    let said = gone(&mut journal);
    assert!(said.contains("it was moved to ") && said.contains("/old"), "{said}");

    let (_folder, path) = written(2);
    let mut journal = open(&path);
    let other = path.with_file_name("other");
    std::fs::write(&other, "").unwrap();
    std::fs::rename(&other, &path).unwrap();
    let said = gone(&mut journal);
    assert!(said.contains("another file was put in its place"), "{said}");

    let (folder, path) = written(2);
    let mut journal = open(&path);
    drop(folder);
    let said = gone(&mut journal);
    assert!(said.contains("The run folder is gone too"), "{said}");
}

/// A line at the old place would leave a hole, and nothing of the file could be read.
#[test]
fn a_journal_that_somebody_cuts_while_it_is_written_stays_readable() {
    for left in [0, 1] {
        let (folder, path) = written(2);
        let (mut journal, before) = Journal::open(&path).unwrap();
        let intact = encode(&before[0]).unwrap().len() * left;
        OpenOptions::new().write(true).open(&path).unwrap().set_len(intact as u64).unwrap();
        let entry = Entry::SessionEnded { complete: false, reason: "test".to_owned() };
        let line = journal.append(jiff::Timestamp::now(), entry).expect("it is saved");
        let said = journal.check_place().unwrap_err().to_string();
        assert!(said.contains("somebody cut it from") && said.contains("resume"), "{said}");
        assert_eq!(read(&path).unwrap(), before[..left]);
        let name = said.split("session are in ").nth(1).unwrap().split(',').next().unwrap();
        let saved = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(saved, encode(&line).unwrap());
    }
}

#[test]
fn only_its_user_can_read_a_new_journal() {
    let (_folder, path) = written(1);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // One that somebody made readable stays so.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    drop(Journal::open(&path).unwrap());
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

/// An editor or a copy leaves blank lines: every reader takes the lines before them, and
/// who continues the journal cuts them off.
#[test]
fn blank_lines_at_the_end_are_noted_and_cut_off() {
    let (_folder, path, bytes) = real();
    let all = parse(&path, &bytes).unwrap().lines;
    for blank in ["\n", "\n\n\n", "  ", " \t\n", "\r\n", "\r\n\r\n", "\n\0\0\0", "\r"] {
        let text = [&bytes[..], blank.as_bytes()].concat();
        std::fs::write(&path, &text).unwrap();
        let seen = contents(&path).unwrap();
        assert_eq!((&seen.lines, &seen.tail), (&all, &Tail::Blank), "{blank:?}");
        assert!(seen.note(&path).unwrap().contains("blank lines"), "{blank:?}");
        assert_eq!(read(&path).unwrap(), all, "{blank:?}");
        let (mut journal, lines) = Journal::open(&path).unwrap();
        assert_eq!(lines, all, "{blank:?}");
        let notes = journal.notes().join("\n");
        assert!(notes.contains("blank lines") && notes.contains("cut off"), "{blank:?}: {notes}");
        journal.append(jiff::Timestamp::UNIX_EPOCH, started(99)).unwrap();
        drop(journal);
        let again = contents(&path).unwrap();
        assert_eq!((again.lines.len(), again.tail), (all.len() + 1, Tail::Nothing), "{blank:?}");
        // The same after the lines were read once and the blank ones came since.
        std::fs::write(&path, &bytes).unwrap();
        let before = super::seen(&path).unwrap();
        std::fs::write(&path, &text).unwrap();
        let (journal, lines) = Journal::open_seen(&path, Some(before)).unwrap();
        assert_eq!((lines, journal.notes().len()), (all.clone(), 1), "{blank:?}");
        drop(journal);
        // Beside real damage they are no damage of their own.
        let mut damaged = text.clone();
        damaged[20] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let (mut journal, lines) = Journal::open_damaged(&path).unwrap();
        assert_eq!((lines.len(), journal.notes().len()), (all.len() - 1, 1), "{blank:?}");
        journal.append(jiff::Timestamp::UNIX_EPOCH, started(99)).unwrap();
        drop(journal);
        let lines = std::fs::read_to_string(&path).unwrap();
        assert!(lines.lines().all(|line| !line.trim().is_empty()), "{blank:?}: {lines}");
    }
}
