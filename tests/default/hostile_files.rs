//! Files that are none, have no end or do not fit into memory: an error before anything of
//! them is read, and numbers of the command line outside of what has a meaning.

use std::path::Path;
use std::process::Command;

use crate::support::{CACHING, Workplace, compose_tool, in_time_command};

fn pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
}

/// What a command prints that must end by itself, with its exit code.
fn refused(command: Command, code: i32) -> String {
    in_time_command(command).expect(code).err
}

#[test]
fn a_grid_that_is_no_plain_file_is_refused_and_nothing_waits() {
    let place = Workplace::new(CACHING);
    pipe(&place.path("pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).expect("a socket");
    let huge = std::fs::File::create(place.path("huge")).expect("a file");
    huge.set_len(6 << 30).expect("a hole");
    for (grid, says) in [
        ("pipe", "this is a pipe, not a grid file"),
        ("socket", "this is a socket, not a grid file"),
        ("/dev/zero", "this is a device, not a grid file"),
        (".", "this is a folder, not a grid file"),
        ("huge", "the file is larger than 16 MiB: this is no grid"),
    ] {
        for command in ["plan", "sweep"] {
            let said = refused(place.command(&[command, grid]), 2);
            assert!(said.contains(says), "{command} {grid}: {said}");
        }
    }
}

#[test]
fn datasets_and_compose_files_that_are_pipes_are_refused() {
    let dataset = CACHING.replace(
        "kv-cache: {prefix-tokens: [4096], prompts: 2, output-tokens: 4}",
        "load: {concurrency: [1], dataset: pipe}\n  kv-cache: ",
    );
    let place = Workplace::new(&dataset);
    pipe(&place.path("pipe"));
    let said = refused(place.command(&["plan", "grid.yaml"]), 2);
    assert!(said.contains("this is a pipe, not a file"), "{said}");
    let compose = "name: g\nengine: {docker: {compose: pipe, service: s}}\n\
                   parameters: {max-num-seqs: [1, 2]}\nworkloads: {kv-cache: }\n\
                   objective: {minimize: kv_cache.ttft_resent_ms}\n";
    std::fs::write(place.path("grid.yaml"), compose).expect("a grid");
    let mut command = place.command(&["plan", "grid.yaml"]);
    command.env("PATH", compose_tool(&place));
    let ran = in_time_command(command);
    let words: Vec<&str> = ran.err.split_whitespace().filter(|word| *word != "│").collect();
    assert!(words.join(" ").contains("pipe: this is a pipe, not a file"), "{ran:?}");
}

#[test]
fn files_of_a_run_folder_that_are_none_are_refused_and_nothing_waits() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs/example");
    let place = Workplace::new(CACHING);
    let fresh = || {
        let run = place.path("run");
        let _ = std::fs::remove_dir_all(&run);
        std::fs::create_dir(&run).expect("a folder");
        for name in ["manifest.json", "journal.jsonl", "grid.yaml"] {
            std::fs::copy(example.join(name), run.join(name)).expect("copied");
        }
        run
    };
    for (name, commands) in [
        ("journal.jsonl", &["report", "export", "resume", "confirm"][..]),
        ("manifest.json", &["report", "resume"]),
        ("grid.yaml", &["resume"]),
    ] {
        for makes in [pipe as fn(&Path), folder, device, huge] {
            let run = fresh();
            std::fs::remove_file(run.join(name)).expect("removed");
            makes(&run.join(name));
            for command in commands {
                let ran = in_time_command(place.command(&[command, "run"]));
                let text: String = ran.err.split_whitespace().collect();
                let says = ["thisisapipe", "thisisafolder", "thisisadevice", "thefileislargerthan"];
                let is_said = says.iter().any(|it| text.contains(it));
                assert!(is_said && text.contains(name), "{command}, {name}: {ran:?}");
                assert!([Some(2), Some(3)].contains(&ran.code), "{command}, {name}: {ran:?}");
            }
            if name != "grid.yaml" {
                in_time_command(place.command(&["recover", "run"]));
            }
        }
    }
}

fn folder(path: &Path) {
    std::fs::create_dir(path).expect("a folder");
}

fn device(path: &Path) {
    std::os::unix::fs::symlink("/dev/zero", path).expect("a link");
}

fn huge(path: &Path) {
    std::fs::File::create(path).and_then(|file| file.set_len(6 << 30)).expect("a hole");
}

#[test]
fn scripted_answers_that_are_a_pipe_are_refused() {
    let place = Workplace::new(CACHING);
    pipe(&place.path("pipe"));
    let arguments = ["simulate", "Qwen/Qwen3-1.7B", "--sim-answers", "pipe", "--port", "0"];
    let said = refused(place.command(&arguments), 2);
    assert!(said.contains("this is a pipe, not a file"), "{said}");
}

#[test]
fn numbers_without_a_meaning_are_refused() {
    let place = Workplace::new(CACHING);
    for number in ["99999999999", "0", "-1", "1e3", "99999999999999999999999"] {
        let option = format!("--max-configurations={number}");
        let said = refused(place.command(&["plan", "grid.yaml", &option]), 2);
        assert!(said.contains("a whole number from 1 to 1000000 is needed"), "{said}");
    }
    let values: Vec<String> = (1..=1000).map(|number| number.to_string()).collect();
    let axes = |count: usize| -> String {
        let axis = |at| format!("  x-{at}: [{}]\n", values.join(", "));
        let axes: Vec<String> = (0..count).map(axis).collect();
        CACHING
            .replace("baseline: noprefix\n", "")
            .replace("  enable-prefix-caching: [true, false]\n", &axes.concat())
    };
    for (count, says) in [
        (5, "1000000000000000 configurations before exclusion, and 1000000 are allowed"),
        (13, "more configurations than can be counted, and 1000000 are allowed"),
    ] {
        std::fs::write(place.path("grid.yaml"), axes(count)).expect("a grid");
        let arguments = ["plan", "grid.yaml", "--max-configurations", "1000000"];
        let said = refused(place.command(&arguments), 2);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_small_address_space_is_refused_before_anything_starts() {
    let place = Workplace::new(CACHING);
    let limited = |kilobytes: u32, arguments: &str| {
        let script = format!("ulimit -v {kilobytes}; exec \"$0\" {arguments}");
        let mut command = Command::new("sh");
        let binary = env!("CARGO_BIN_EXE_vllm-grid");
        command.args(["-c", &script, binary]).current_dir(place.path("."));
        command.env("VLLM_GRID_STATE", place.path("state"));
        command.env("VLLM_GRID_CLAIMS", place.path("state"));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        in_time_command(command)
    };
    let said = limited(300_000, "sweep grid.yaml --output run").expect(3).err;
    assert!(said.contains("the address space is limited to 292 MiB"), "{said}");
    assert!(!place.path("run").exists());
}
