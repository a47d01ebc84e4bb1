//! What a person sees of a run folder that was damaged, moved or filled up, through the
//! commands.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{CACHING, Ran, Workplace};

/// The same command started by a shell that first does something to itself.
fn by_shell(place: &Workplace, before: &str, arguments: &[&str]) -> Ran {
    let command = place.command(arguments);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("{before}; exec \"$@\"")).arg("sh").arg(command.get_program());
    shell.args(command.get_args()).current_dir(place.folder.path());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ran::of(shell.output().unwrap())
}

fn words(text: &str) -> String {
    text.replace('│', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn each_below(path: &Path, see: &mut dyn FnMut(&Path, u32)) {
    let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    see(path, mode);
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            each_below(&entry.unwrap().path(), see);
        }
    }
}

/// One sweep for what only reads it.
#[test]
fn a_run_is_private_and_its_damaged_end_is_said_and_moved() {
    let place = Workplace::new(CACHING);
    by_shell(&place, "umask 0", &["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let mut seen = 0;
    each_below(&place.path("run"), &mut |path, mode| {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{}: {mode:o}", path.display());
        seen += 1;
    });
    assert!(seen > 15, "{seen}");
    assert!(!place.path("run/journal.reserve").exists());

    let journal = place.path("run/journal.jsonl");
    let whole = std::fs::read_to_string(&journal).unwrap();
    let before = place.run(&["report", "run"]).expect(0);
    assert_eq!(before.err, "");

    // The last line is the session's end: without it the results are the same.
    std::fs::write(&journal, &whole[..whole.len() - 20]).unwrap();
    for command in [&["report", "run"][..], &["export", "run"], &["compare", "run", "run"]] {
        let ran = place.run(command).expect(0);
        assert!(
            ran.said().contains("is incomplete: it is left out; the lines before it are intact"),
            "{command:?}: {}",
            ran.err
        );
    }
    let ran = place.run(&["resume", "run"]).expect(0);
    assert!(ran.said().contains("is incomplete: it is cut off"), "{}", ran.err);
    let ran = place.run(&["report", "run"]).expect(0);
    assert_eq!((ran.out, ran.err), (before.out, String::new()));

    let whole = std::fs::read_to_string(&journal).unwrap();
    let bad = whole.len() - 10;
    std::fs::write(&journal, format!("{}x{}", &whole[..bad], &whole[bad + 1..])).unwrap();
    let ran = place.run(&["report", "run"]).expect(0);
    assert!(
        ran.said().contains("is damaged") && ran.said().contains("it is left out"),
        "{}",
        ran.err
    );
    let ran = place.run(&["resume", "run"]).expect(0);
    assert!(ran.said().contains("it is moved to journal.damaged-"), "{}", ran.err);
    let ran = place.run(&["report", "run"]).expect(0);
    assert!(ran.said().contains("holds a last line that was damaged"), "{}", ran.err);
}

/// Names in a journal and a manifest that a hand wrote.
#[test]
fn hostile_names_in_files_neither_act_on_a_terminal_nor_leave_the_run() {
    let place = Workplace::new(CACHING);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let manifest = place.path("run/manifest.json");
    let whole = std::fs::read_to_string(&manifest).unwrap();
    for name in
        ["../../../out", "/tmp/out", "a\\u001b]0;t\\u0007\\u001b[2Jb", "n\\u0000l", "..", "x."]
    {
        let hostile = whole.replace("\"noprefix\"", &format!("\"{name}\""));
        std::fs::write(&manifest, &hostile).unwrap();
        for command in ["report", "export", "resume", "recover"] {
            let ran = place.run(&[command, "run"]);
            let text = ran.out + &ran.err;
            assert!(!text.contains(['\u{7}', '\0']), "{command} {name}: {text:?}");
            assert!(!text.contains("\u{1b}]") && !text.contains("\u{1b}[2J"), "{name}: {text:?}");
        }
    }
    let long = whole.replace("\"noprefix\"", &format!("\"{}\"", "x".repeat(100_000)));
    std::fs::write(&manifest, long).unwrap();
    let ran = place.run(&["report", "run"]);
    assert!(ran.code.is_some_and(|code| code < 70), "{}", ran.err.len());
    let mut names: Vec<String> = std::fs::read_dir(place.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| name != "state");
    names.sort();
    assert_eq!(names, ["grid.yaml", "run"]);
}

/// A limit on files stands for a disk that is full: the write fails in its middle.
#[test]
fn a_file_that_reaches_its_limit_ends_the_sweep_and_not_the_process() {
    let place = Workplace::new(CACHING);
    // In blocks of 512 bytes: the journal gets longer than that.
    let limit = "ulimit -f 40";
    let ran = by_shell(&place, limit, &["sweep", "grid.yaml", "--output", "run"]).expect(3);
    assert!(words(&ran.err).contains("File too large"), "{}", ran.err);
    // What is there can be read, and is continued where there is no limit.
    place.run(&["resume", "run"]).expect(0);
    assert_eq!(place.results("run").height(), 2 * 2 * 3);
}

#[test]
fn a_run_folder_that_is_moved_while_it_runs_stops_the_sweep() {
    let place = Workplace::new(CACHING);
    let mut command = place.command(&["sweep", "grid.yaml", "--output", "run"]);
    // Of its own group, so that nothing else of the terminal stops it.
    let child = command.process_group(0).spawn().unwrap();
    place.wait_for("run", "repeat_finished", 2);
    std::fs::rename(place.path("run"), place.path("moved")).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(3);
    let said = words(&ran.err).replace(' ', "");
    assert!(said.contains("movedto") && said.contains("moved/journal.jsonl"), "{}", ran.err);
    assert!(!place.path("run").exists());
    let kept = place.entries("moved", "repeat_finished");
    assert!(kept >= 2 && place.entries("moved", "session_ended") == 1, "{kept}");
    // Nothing that was finished is measured again: warm-ups alone are.
    place.run(&["resume", "moved"]).expect(0);
    let finished = place.entries("moved", "repeat_finished");
    assert!((2 * 2 * 3..=2 * 2 * 3 + 1).contains(&finished), "{finished}");
}

/// The error says where the lines are saved; nothing beside it says otherwise.
#[test]
fn a_journal_that_is_removed_while_it_runs_is_reported_with_one_advice() {
    let place = Workplace::new(CACHING);
    let sweep = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "repeat_finished", 2);
    std::fs::remove_file(place.path("run/journal.jsonl")).unwrap();
    let ran = Ran::of(sweep.wait_with_output().unwrap()).expect(3);
    let said = words(&ran.err).replace(' ', "");
    assert!(said.contains("Itslinesaresavedinjournal.saved-"), "{}", ran.err);
    assert!(said.contains("theerrorbelowsayswhatisleftofit"), "{}", ran.err);
    assert!(!said.contains("restoreit,orwhereitwasmoved"), "{}", ran.err);
}
