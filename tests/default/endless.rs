//! What listens on the daemon's socket and sends without end: a command says that it is no
//! Docker daemon, soon, and its memory stays small.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Ran, Workplace};

const GRID: &str = "
name: site
engine:
  docker: {image: 'i:1', model: m, production: {container: vllm}, gpus: false, caches: false}
parameters: {max-num-seqs: [16, 64]}
workloads:
  kv-cache: {prefix-tokens: [512], prompts: 2, output-tokens: 4}
objective: {minimize: kv_cache.ttft_resent_ms}
";

/// Patience with the daemon, in seconds.
const SHORT: &str = "1";
const LONG: &str = "20";

/// Most memory of a command, in MB; without a limit it was gigabytes.
const MOST: u64 = 200;

const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// What an answer begins with, and what is sent after it again and again.
#[derive(Clone, Copy, Debug)]
struct Endless {
    begins: &'static str,
    again: &'static str,
}

const ARRAY: Endless = Endless { begins: "\r\n[", again: "{\"Id\":\"a\",\"Names\":[\"/n\"]}," };
/// Chunks of one byte.
const CHUNKS: Endless =
    Endless { begins: "transfer-encoding: chunked\r\n\r\n1\r\n[\r\n", again: "1\r\n \r\n" };
const ALL: &[Endless] = &[
    ARRAY,
    CHUNKS,
    // A head that does not end.
    Endless { begins: "", again: "x-more: and more\r\n" },
    // Nested without end.
    Endless { begins: "\r\n", again: "[" },
    Endless { begins: "\r\n{", again: "\"Labels\":{" },
    // Text without a line's end.
    Endless { begins: "\r\n\"", again: "aaaaaaaa" },
];
/// Before any answer.
const CONTINUE: Endless = Endless { begins: "", again: "HTTP/1.1 100 Continue\r\n\r\n" };

/// Listens, and answers so; `from` the first question, else from the one after the version.
fn listen(place: &Workplace, endless: Endless, from_first: bool) {
    let listener = UnixListener::bind(place.path("d.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, endless, from_first));
        }
    });
}

fn serve(mut stream: UnixStream, endless: Endless, from_first: bool) {
    let mut head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = head.next() else { return };
    while head.next().is_some_and(|line| !line.is_empty()) {}
    if !from_first && (request.contains("/version") || request.contains("/_ping")) {
        let body = r#"{"Version": "29.0.0", "ApiVersion": "1.44", "MinAPIVersion": "1.24"}"#;
        let length = body.len();
        let _ =
            stream.write_all(format!("{JSON}content-length: {length}\r\n\r\n{body}").as_bytes());
        return;
    }
    let begins = if endless.again == CONTINUE.again { "" } else { JSON };
    let _ = stream.write_all(format!("{begins}{}", endless.begins).as_bytes());
    let block = endless.again.repeat((1 << 16) / endless.again.len());
    while stream.write_all(block.as_bytes()).is_ok() {}
}

/// Runs a command, which must fail as for an environment that is not as it should be. With a
/// patience of a second a busy machine may not take in what is too much, and time is the limit.
fn refused(arguments: &[&str], endless: Endless, from_first: bool, patience: &str) {
    let place = Workplace::new(GRID);
    listen(&place, endless, from_first);
    let mut command = place.command(arguments);
    command.env("DOCKER_HOST", format!("unix://{}", place.path("d.sock").display()));
    command.env("VLLM_GRID_DAEMON_PATIENCE", patience);
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(seen.unwrap_or_default() / 1024);
        if peak > MOST || begun.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let what = format!("{arguments:?} {endless:?}");
    assert!(peak <= MOST, "{what}: {peak} MB");
    let ran = Ran::of(child.wait_with_output().unwrap());
    let said = format!("{} {}", ran.out, ran.err);
    let drawn = |c: char| c.is_whitespace() || "│×╰─▶".contains(c);
    let letters: String = said.split(drawn).collect();
    assert_eq!(ran.code, Some(3), "{what}: {said}");
    let is_late = patience == SHORT && letters.contains("doesnotanswer:noanswerintime");
    assert!(letters.contains("doesnotanswerasDockerdoes:") || is_late, "{what}: {said}");
}

#[test]
fn doctor_is_not_filled_by_an_answer_without_end() {
    for endless in ALL.iter().chain([&CONTINUE]) {
        // A build without optimisation takes its time for each chunk.
        let patience = if endless.again == CHUNKS.again { SHORT } else { LONG };
        refused(&["doctor", "grid.yaml"], *endless, true, patience);
    }
}

#[test]
fn doctor_is_not_filled_after_the_first_answer() {
    for endless in [ARRAY, CHUNKS, CONTINUE] {
        refused(&["doctor", "grid.yaml"], endless, false, SHORT);
    }
}

#[test]
fn a_sweep_and_a_recovery_are_not_filled_by_an_answer_without_end() {
    for arguments in [&["sweep", "grid.yaml"][..], &["recover"]] {
        refused(arguments, ARRAY, true, SHORT);
        refused(arguments, ARRAY, false, SHORT);
        refused(arguments, CONTINUE, true, SHORT);
    }
}
