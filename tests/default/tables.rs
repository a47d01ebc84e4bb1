//! What the shell and a CI have of the binary: examples of the help, completions, the exit
//! codes of a comparison with a limit.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Ran, alone};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(words: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
    command.args(words).current_dir(checkout()).stdin(Stdio::null());
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    Ran::of(command.output().unwrap())
}

/// What needs nothing but the checkout, and writes nothing into it.
const READING: &[&str] =
    &["report", "list", "compare", "metrics", "workloads", "schema", "completions"];

#[test]
fn the_examples_that_only_read_work_in_a_checkout() {
    let _turn = alone::beside();
    let mut ran = 0;
    for name in READING.iter().chain(&["plan"]) {
        let help = run(&[name, "--help"]).expect(0).out;
        for line in help.lines().filter(|line| line.starts_with("  vllm-grid ")) {
            if line.contains(" --output ") || line.contains(" --follow") {
                continue;
            }
            let words = shell_words::split(line).unwrap();
            let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
            let result = run(&words);
            assert_eq!(result.code, Some(0), "{line}\n{}", result.err);
            assert!(!result.out.is_empty(), "{line}");
            ran += 1;
        }
    }
    assert!(ran > 10, "{ran}");
}

#[test]
fn completions_of_each_shell_know_commands_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).expect(0).out;
        for word in ["sweep", "fail-if-worse", "completions"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        // Where the shell is here, it reads the script.
        let checked = Command::new(shell).args(["-n", "/dev/stdin"]).stdin(Stdio::piped()).spawn();
        if let Ok(mut child) = checked {
            use std::io::Write as _;
            child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{shell}");
        }
    }
    assert!(run(&["completions", "tcsh"]).expect(2).err.contains("fish"));
}

#[test]
fn bash_completes_the_options_of_a_subcommand() {
    let script = run(&["completions", "bash"]).expect(0).out;
    let complete = |words: &str, current: &str, previous: &str| {
        let ask = format!(
            "{script}\nCOMP_WORDS=(vllm-grid {words})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _vllm__grid vllm-grid '{current}' {previous}\necho \"${{COMPREPLY[@]}}\"\n"
        );
        let ran = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    let options = complete("report --", "--", "report");
    assert!(options.contains("--follow") && options.contains("--configurations"), "{options}");
    assert_eq!(complete("report --format h", "h", "--format"), "html\n");
    assert!(complete("comp", "comp", "vllm-grid").contains("compare"));
}

#[test]
fn a_report_replaces_nothing_but_a_report() {
    let place = tempfile::tempdir().unwrap();
    let notes = place.path().join("notes.md");
    std::fs::write(&notes, "mine\n").unwrap();
    let write = |format: &str, to: &str| {
        run(&["report", "runs/example", "--format", format, "--output", to])
    };
    let refused = write("markdown", notes.to_str().unwrap()).expect(2);
    assert!(refused.err.contains("--output"), "{}", refused.err);
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "mine\n");
    write("html", "runs/example/journal.jsonl").expect(2);
    write("html", "/dev/full").expect(2);
    // What it wrote itself it writes again, in either format.
    let page = place.path().join("page");
    for format in ["html", "html", "markdown", "markdown", "html"] {
        write(format, page.to_str().unwrap()).expect(0);
    }
    assert!(write("markdown", "-").expect(0).out.starts_with("# Sweep "));
    assert!(!checkout().join("-").exists());
}

#[test]
fn a_comparison_with_a_limit_answers_by_its_exit_code() {
    let same = ["compare", "runs/example", "runs/example", "--fail-if-worse"];
    let ran = run(&[&same[..], &["5%"]].concat()).expect(0);
    assert!(ran.out.contains("NOT SHOWN"), "{}", ran.out);
    for wrong in ["5", "100%", "-1%", "x%"] {
        let ran = run(&[&same[..4], &[wrong]].concat());
        assert_eq!(ran.code, Some(2), "{wrong}");
    }
    let ran = run(&[&same[..], &["5%", "--format", "markdown"]].concat()).expect(0);
    assert!(ran.out.contains("| --- |") && ran.out.contains("**SIMULATED"), "{}", ran.out);
}

#[test]
fn a_workload_s_report_has_a_second_table_of_why() {
    let text = run(&["report", "runs/example", "--workload", "load"]).expect(0).out;
    let why = text.split_once("\nwhy").expect("a second table").1;
    assert!(why.contains("mean_queue_ms") && why.contains("candidate"), "{text}");
}
