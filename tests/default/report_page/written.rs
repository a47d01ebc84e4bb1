//! The commands around the page: where it is written, and that it follows a sweep.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Workplace, signal, until};

const GRID: &str = "
name: small
engine: {simulated: {model: Qwen/Qwen3-8B, gpu: rtx-4090, speed: 200, flags: {max-model-len: 8192}}}
baseline: a
include:
  - {name: a, max-num-seqs: 8}
  - {name: b, max-num-seqs: 64}
workloads:
  load: {concurrency: [4], requests: 24, prompt-tokens: 64, output-tokens: 8}
objective: {maximize: load.output_throughput}
strategy: {grid: {launches: 2, repeats: 1, seed: 1}}
";

#[test]
fn a_sweep_leaves_its_report_and_export_writes_it_elsewhere() {
    let place = Workplace::new(GRID);
    place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    for (name, begins) in [("report.html", "<!DOCTYPE html>"), ("report.md", "# Sweep ")] {
        let text = std::fs::read_to_string(place.path("run").join(name)).unwrap();
        assert!(text.starts_with(begins), "{name}: {}", &text[..40.min(text.len())]);
        assert!(!text.contains("partial, as of"), "{name}");
    }
    place.run(&["export", "run", "--output", "copy"]).expect(0);
    let copy = std::fs::read_to_string(place.path("copy/report.html")).unwrap();
    assert!(copy.contains("href=\"../run/launches/1-"), "links lead back to the run");
    let ran = place.run(&["report", "run", "--format", "html", "--configurations", "b,a"]);
    assert!(ran.expect(0).out.starts_with("<!DOCTYPE html>"));
    let unknown = ["report", "run", "--format", "markdown", "--configurations", "c"];
    let said = place.run(&unknown).expect(2).err;
    assert!(said.contains("no configuration `c`"), "{said}");
    place.run(&["report", "run", "--output", "x.html"]).expect(2);
    place.run(&["report", "run", "--format", "html", "--workload", "load"]).expect(2);
    place.run(&["report", "run", "--format", "markdown", "--output", "x.md"]).expect(0);
    assert!(std::fs::read_to_string(place.path("x.md")).unwrap().starts_with("# Sweep "));
}

#[test]
fn a_page_follows_a_sweep_to_its_end() {
    let place = Workplace::new(&GRID.replace("speed: 200", "speed: 20"));
    let mut sweep = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    until("the first launch ends", || {
        place.path("run/journal.jsonl").is_file() && place.entries("run", "launch_ended") > 0
    });
    let mut follow = place.command(&["report", "run", "--follow", "--output", "live.html"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(sweep.wait().unwrap().success());
    let output = follow.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.trim_end().ends_with("the end: live.html"), "{printed}");
    let page = std::fs::read_to_string(place.path("live.html")).unwrap();
    assert!(!page.contains("data-reload") && !page.contains("partial, as of"), "{printed}");
}

#[test]
fn ctrl_c_ends_following_quietly_and_leaves_a_whole_page() {
    let place = Workplace::new(&GRID.replace("speed: 200", "speed: 2"));
    let mut sweep = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "launch_started", 1);
    let mut follow = place.command(&["report", "run", "--follow", "--output", "live.html"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("there is a page", || place.path("live.html").is_file());
    signal(&follow, Signal::INT);
    let output = follow.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(4), ""));
    let page = std::fs::read_to_string(place.path("live.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("data-reload"), "the sweep goes on");
    assert!(place.path("run/journal.jsonl").is_file() && sweep.try_wait().unwrap().is_none());
    signal(&sweep, Signal::INT);
    assert_eq!(sweep.wait().unwrap().code(), Some(4));
}
