//! The commands at their edge: help, signals, exit codes, what a person is told.

#![allow(clippy::unwrap_used, reason = "a specification fails loudly")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ran(arguments: &[&str]) -> Output {
    command(Path::new("."), arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_simulators_help_lists_its_own_options_wherever_it_is_asked_for() {
    for arguments in [
        &["simulate", "--help"][..],
        &["simulate", "Qwen/Qwen3-0.6B", "--max-num-seqs", "8", "--help"],
    ] {
        let output = ran(arguments);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{told}{}", text(&output.stderr));
        for option in
            ["--sim-gpu NAME", "--sim-speed FACTOR", "--sim-fail CLASS", "--sim-unhealthy"]
        {
            assert!(told.contains(option), "{option}: {told}");
        }
        assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
    }
}
