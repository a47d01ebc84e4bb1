//! The disk of a run: full, moved away, or with more launches than its journal knows.

use std::path::Path;

use super::*;
use crate::history::journal::JournalError;

/// What is free on the disk of a run folder.
type IsFree = fn(&Path) -> std::io::Result<Free>;

fn journal_error(ran: &Ran) -> &JournalError {
    let Err(SweepError::History(HistoryError::Journal(error))) = &ran.ending else {
        panic!("{:?}", ran.ending)
    };
    error
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_ends_the_launches_and_the_reserve_holds_the_end() {
    // The fifth line is a repeat's; with production, its steps come after.
    let setup = Setup { disk: Some(5), reserve: true, ..Setup::new(2, 1).guarded() };
    let ran = setup.run().await;
    assert!(matches!(journal_error(&ran), JournalError::Full { .. }), "{:?}", ran.ending);
    let entries = ran.entries();
    assert_eq!(
        entries[4..9],
        [
            "ready 1",
            "repeat 1.0 ok",
            "end 1 interrupted",
            "production started_not_proven",
            "production proven"
        ]
    );
    assert!(entries[9].starts_with("session ended: ") && entries[9].contains("the disk is full"));
    assert_eq!(ran.actions.take()[3..], ["stop 1", "start production", "prove production"]);

    let ran = ran.again(Setup::new(2, 1)).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
}

#[tokio::test(start_paused = true)]
async fn too_little_space_stops_the_launching_before_production_is_stopped() {
    let little: IsFree = |_| Ok(Free { bytes: 1_000_000, files: None });
    let setup = Setup { free: Some(little), ..Setup::new(2, 1).guarded() };
    let ran = setup.run().await;
    let error = ran.ending.as_ref().unwrap_err();
    assert!(matches!(error, SweepError::Stopped { environment: true, .. }), "{error:?}");
    assert!(error.to_string().contains("1.0 MB are free on its disk, and 16.8 MB are needed"));
    assert_eq!(ran.actions.take(), Vec::<String>::new());
    assert_eq!(ran.entries(), Vec::<String>::new());
    let ran = ran.again(Setup::new(2, 1).guarded()).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
}

#[tokio::test(start_paused = true)]
async fn space_is_asked_for_before_each_launch_and_production_is_restored() {
    let less_later: IsFree = |run| {
        let later = run.join("launches/1-c0").exists();
        Ok(Free { bytes: if later { 5 } else { u64::MAX }, files: None })
    };
    let ran = Setup { free: Some(less_later), ..Setup::new(2, 1).guarded() }.run().await;
    let error = ran.ending.as_ref().unwrap_err().to_string();
    assert!(error.contains("the largest launch so far took"), "{error}");
    assert_eq!(ran.outcomes(), [(0, "measured")]);
    let entries = ran.entries();
    assert!(entries.contains(&"production proven".to_owned()), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_moved_away_stops_the_sweep_and_production_is_restored() {
    let mut setup = Setup::new(2, 1).guarded();
    let place = setup.folder.path().to_owned();
    setup.measure.repeats = Box::new(move |_, repeat| {
        if repeat == 1 {
            std::fs::rename(place.join("run"), place.join("moved")).expect("moved");
        }
        Repeated::Value(1.0)
    });
    let ran = setup.run().await;
    let error = journal_error(&ran).to_string();
    assert!(error.contains("it was moved to ") && error.contains("moved/journal.jsonl"), "{error}");
    assert_eq!(ran.outcomes(), [(0, "interrupted")]);
    let actions = ran.actions.take();
    assert_eq!(actions[actions.len() - 3..], ["stop 1", "start production", "prove production"]);
    assert!(!ran.folder.path().join("run").exists(), "nothing is written to the old path");
    // What was finished is where the folder is now.
    std::fs::rename(ran.folder.path().join("moved"), ran.folder.path().join("run")).expect("back");
    let kept = ran.entries();
    assert!(kept.contains(&"repeat 1.1 ok".to_owned()), "{kept:?}");
    assert!(kept.contains(&"production proven".to_owned()), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_removed_or_replaced_begins_no_launch() {
    for replaced in [false, true] {
        let mut setup = Setup::new(2, 1);
        let journal = setup.folder.path().join("run/journal.jsonl");
        let path = journal.clone();
        setup.measure.repeats = Box::new(move |launch, repeat| {
            if (launch, repeat) == (1, 2) {
                std::fs::remove_file(&path).expect("removed");
                if replaced {
                    std::fs::write(&path, "").expect("written");
                }
            }
            Repeated::Value(1.0)
        });
        let ran = setup.run().await;
        let error = journal_error(&ran).to_string();
        assert!(error.contains("Its lines are saved in journal.saved-"), "{error}");
        assert_eq!(ran.actions.take().last().expect("actions"), "stop 1");
        // The saved file is a journal of the run.
        let name = error.split("saved in ").nth(1).expect("a name");
        let name = name.split(',').next().expect("a name");
        std::fs::rename(journal.with_file_name(name), &journal).expect("put back");
        let entries = ran.entries();
        let last = entries.last().expect("entries");
        assert!(last.starts_with("session ended: "), "the end is saved too: {entries:?}");
        let ran = ran.again(Setup::new(2, 1)).run().await;
        assert_eq!(ran.ending(), Ending::Complete);
        assert_eq!(ran.outcomes()[1..], [(1, "measured")]);
    }
}

/// What is put aside is not lost: whoever reads or continues the run is told where it is.
#[tokio::test(start_paused = true)]
async fn a_journal_that_was_saved_aside_is_named_by_who_reads_and_by_who_continues() {
    for is_cut in [false, true] {
        let mut setup = Setup::new(2, 1);
        let path = setup.folder.path().join("run/journal.jsonl");
        let journal = path.clone();
        setup.measure.repeats = Box::new(move |launch, repeat| {
            if (launch, repeat) == (1, 2) {
                let lines = std::fs::read_to_string(&journal).expect("a journal");
                let first: String = lines.split_inclusive('\n').take(2).collect();
                if is_cut {
                    std::fs::write(&journal, first).expect("cut");
                } else {
                    std::fs::remove_file(&journal).expect("removed");
                }
            }
            Repeated::Value(1.0)
        });
        let ran = setup.run().await;
        journal_error(&ran);
        let run = path.parent().expect("a folder").to_owned();
        let folder = Folder::existing(&run).expect("a sweep");
        let says = |text: &str| text.contains("/journal.saved-");
        if !is_cut {
            let lost = folder.record().expect_err("it has launches").to_string();
            assert!(
                says(&lost) && lost.contains("give that file the name journal.jsonl"),
                "{lost}"
            );
            // Somebody begins anew with what they have.
            let saved = std::fs::read_dir(&run).expect("entries").flatten().map(|it| it.path());
            let saved = saved.into_iter().find(|it| says(&it.display().to_string()));
            let lines = std::fs::read_to_string(saved.expect("saved")).expect("a journal");
            let first: String = lines.split_inclusive('\n').take(2).collect();
            std::fs::write(&path, first).expect("written");
        }
        let (_, notes) = folder.read().expect("readable");
        let named: Vec<&String> = notes.iter().filter(|it| says(it)).collect();
        let kind = if is_cut { "somebody cut" } else { "is a whole journal of" };
        assert!(named.len() == 1 && named[0].contains(kind), "{notes:?}");
        let ran = ran.again(Setup::new(2, 1)).run().await;
        let seen = ran.seen.lock().expect("no panic");
        let said = seen.iter().filter_map(|event| match event {
            Event::Notice(Notice { kind: NoticeKind::Warning(text), .. }) => Some(text.as_str()),
            _ => None,
        });
        let said: Vec<&str> = said.collect();
        assert_eq!(said.iter().filter(|it| says(it)).count(), 1, "{said:?}");
    }
}

/// The bytes of a file in each launch's folder.
fn launches(ran: &Ran) -> Vec<(String, Vec<u8>)> {
    let folders = std::fs::read_dir(ran.folder.path().join("run/launches")).expect("launches");
    let mut all: Vec<(String, Vec<u8>)> = folders
        .flatten()
        .map(|it| {
            let name = it.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(it.path().join("engine.log")).unwrap_or_default())
        })
        .collect();
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn launches_that_the_journal_lost_keep_their_folders() {
    let ran = Setup::new(3, 1).run().await;
    let path = ran.folder.path().join("run");
    for (name, _) in launches(&ran) {
        std::fs::write(path.join("launches").join(&name).join("engine.log"), &name)
            .expect("written");
    }
    let before = launches(&ran);
    // Everything after the first launch is lost.
    let journal = std::fs::read_to_string(path.join("journal.jsonl")).expect("a journal");
    let lines = journal.lines().take(7).map(|line| format!("{line}\n"));
    std::fs::write(path.join("journal.jsonl"), lines.collect::<String>()).expect("written");
    let (_, notes) = Folder::existing(&path).expect("a sweep").read().expect("readable");
    let lost: Vec<&str> = before[1..].iter().map(|(name, _)| name.as_str()).collect();
    assert!(lost.len() > 1 && notes[0].contains(&lost.join(", ")), "{notes:?}");

    let ran = ran.again(Setup::new(3, 1)).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let numbers: Vec<u32> = ran.record.launches.iter().map(|launch| launch.launch).collect();
    let next = before.len() as u32 + 1;
    let fresh = next..next + lost.len() as u32;
    assert_eq!(numbers, [1].into_iter().chain(fresh).collect::<Vec<_>>());
    assert_eq!(launches(&ran)[..before.len()], before, "what was there is as it was");
    let seen = ran.seen.lock().expect("no panic");
    let said = |event: &Event| match event {
        Event::Notice(Notice { kind: NoticeKind::Warning(text), .. }) => {
            text.contains("lost its end")
        }
        _ => false,
    };
    assert_eq!(seen.iter().filter(|event| said(event)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_journal_beside_launches_is_refused() {
    let ran = Setup::new(1, 1).run().await;
    let path = ran.folder.path().join("run");
    for text in [Some(""), Some("{\"checksum\":\""), None] {
        match text {
            Some(text) => std::fs::write(path.join("journal.jsonl"), text).expect("written"),
            None => std::fs::remove_file(path.join("journal.jsonl")).expect("removed"),
        }
        let folder = Folder::existing(&path).expect("a sweep");
        let read = folder.record().expect_err("lost").to_string();
        let resumed = Sweep::resume(folder, &Secrets::default()).expect_err("lost").to_string();
        let what = if text.is_some() { "it is empty" } else { "it is missing" };
        assert!(read.contains(what) && resumed.contains(what), "{read} {resumed}");
        assert!(resumed.contains("begin a new sweep in another folder"), "{resumed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_removes_what_a_killed_process_left_half_written() {
    let ran = Setup::new(1, 1).run().await;
    let run = ran.folder.path().join("run");
    std::fs::create_dir(run.join("launches/1-c0/records")).expect("made");
    let left = [
        ".manifest.json.tmp",
        ".results.csv.tmp",
        ".report.html.0123456789abcdef.tmp",
        "launches/1-c0/.telemetry.parquet.tmp",
        "launches/1-c0/records/.kv-cache-1.parquet.tmp",
    ];
    let theirs = [
        ".notes.0123456789abcdef.tmp",
        ".notes.tmp",
        "launches/.x.parquet.tmp",
        "x.parquet.tmp",
        ".parquet.tmp",
    ];
    for name in left.iter().chain(&theirs) {
        std::fs::write(run.join(name), "half").expect("written");
    }
    let elsewhere = ran.folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    std::fs::write(elsewhere.join(".a.csv.tmp"), "theirs").expect("written");
    std::os::unix::fs::symlink(&elsewhere, run.join("launches/2-link")).expect("linked");
    let ran = ran.again(Setup::new(1, 1)).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    assert!(left.iter().all(|name| !run.join(name).exists()));
    assert!(theirs.iter().all(|name| run.join(name).exists()));
    assert!(elsewhere.join(".a.csv.tmp").exists());
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_is_complete_needs_no_space() {
    let nothing: IsFree = |_| Ok(Free { bytes: 0, files: None });
    let ran = Setup::new(1, 1).run().await;
    let ran = ran.again(Setup { free: Some(nothing), ..Setup::new(1, 1) }).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
}

#[tokio::test(start_paused = true)]
async fn launches_whose_folders_were_removed_are_named_and_count_all_the_same() {
    for all in [false, true] {
        let ran = Setup::new(3, 1).run().await;
        let path = ran.folder.path().join("run");
        let there = Folder::existing(&path).expect("a sweep").launches();
        let (_, before) = Folder::existing(&path).expect("a sweep").read().expect("readable");
        assert!(before.is_empty(), "{before:?}");
        let second = there.iter().find(|(number, _)| *number == 2).expect("a launch");
        let launches = path.join("launches");
        let removed = if all { launches } else { launches.join(&second.1) };
        std::fs::remove_dir_all(removed).expect("removed");
        let (record, notes) = Folder::existing(&path).expect("a sweep").read().expect("readable");
        assert_eq!(record.launches.len(), ran.record.launches.len(), "their figures count");
        let [note] = &notes[..] else { panic!("{notes:?}") };
        let lacks = if all { "launches is missing, with 1-" } else { "launches lacks " };
        assert!(note.contains(lacks) && note.contains(&second.1), "{note}");

        let ran = ran.again(Setup::new(3, 1)).run().await;
        assert_eq!(ran.ending(), Ending::Complete);
        let seen = ran.seen.lock().expect("no panic");
        let said = |event: &&Event| match event {
            Event::Notice(Notice { kind: NoticeKind::Warning(text), .. }) => text == note,
            _ => false,
        };
        assert_eq!(seen.iter().filter(said).count(), 1, "a resume says it");
    }
}
