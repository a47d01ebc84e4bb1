//! A confirmation that guards production, and is killed in the middle: `recover` gives production
//! back, `resume` continues the confirmation, and one that lives is touched by neither.

use std::process::Child;

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, Life};
use crate::support::{Ran, Workplace, signal, until};

const GRID: &str = "
name: confirming
engine:
  docker: {image: 'example:1', model: m, gpus: false, caches: false, flags: {max-model-len: 4096},
           production: {container: shop}}
baseline: few
include: [{name: few, max-num-seqs: 16}, {name: many, max-num-seqs: 64}]
workloads:
  kv-cache: {prefix-tokens: [512], prompts: 2, output-tokens: 2, warmup: 1}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {grid: {launches: 1, repeats: 1, seed: 1}}
";

struct Site {
    place: Workplace,
    daemon: Daemon,
}

impl Site {
    /// One whose sweep is over.
    fn swept() -> Self {
        let place = Workplace::new(GRID);
        let daemon = Daemon::start(|_| Life::Serves).serving("shop");
        let site = Self { place, daemon };
        site.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
        site.assert_as_found();
        site
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.place.command(arguments);
        command.env("DOCKER_HOST", self.daemon.host()).spawn().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.start(arguments).wait_with_output().unwrap())
    }

    /// The same until so many launches were ready, the killed ones included; then it is killed.
    fn killed_at(&self, arguments: &[&str], launch: usize) {
        let mut child = self.start(arguments);
        self.place.wait_for("run", "launch_ready", launch);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!self.daemon.runs("shop"), "production is down");
        assert_eq!(self.candidates(), 1, "it is left");
    }

    fn candidates(&self) -> usize {
        self.daemon.containers().iter().filter(|id| *id != "shop").count()
    }

    fn assert_as_found(&self) {
        assert!(self.daemon.runs("shop"), "production runs");
        assert_eq!(self.daemon.containers(), ["shop"], "nothing of ours is left");
        let debts = std::fs::read_dir(self.place.path("state/debts")).unwrap();
        assert_eq!(debts.count(), 0, "nothing is owed");
    }

    /// Entries of that kind.
    fn entries(&self, kind: &str) -> Vec<Value> {
        let lines = self.place.journal("run").into_iter().map(|line| line["line"]["entry"].clone());
        lines.filter(|entry| entry["kind"] == kind).collect()
    }
}

const CONFIRM: [&str; 6] = ["confirm", "run", "--claim", "100%", "--configuration", "many"];

#[test]
fn a_confirmation_that_is_killed_is_recovered_and_continued() {
    let site = Site::swept();
    site.killed_at(&CONFIRM, 3);

    // Continued without `recover`: what the dead session left is removed first.
    let ready = site.entries("launch_ready").len();
    let mut resumed = site.start(&["resume", "run"]);
    site.place.wait_for("run", "launch_ready", ready + 1);
    assert_eq!(site.candidates(), 1, "the one that was left is removed");

    // It lives: nobody else touches it.
    let living = site.run(&["recover", "run"]).expect(0);
    assert!(living.out.contains("not touched, it is running: "), "{living:?}");
    for command in [&["resume", "run"][..], &CONFIRM] {
        site.run(command).expect(3);
    }
    assert!(resumed.try_wait().unwrap().is_none(), "it works on");
    assert!(!site.daemon.runs("shop"));
    // One launch may be over, and the next one not begun.
    until("a candidate runs", || site.candidates() == 1);
    resumed.kill().unwrap();
    resumed.wait().unwrap();

    let recovered = site.run(&["recover", "run"]).expect(0);
    assert!(recovered.out.contains("production runs and answers again"), "{}", recovered.out);
    site.assert_as_found();

    // It goes on; to its end it is followed in virtual time, in `sweep/run/tests/confirm.rs`.
    let ready = site.entries("launch_ready").len();
    let going = site.start(&["resume", "run"]);
    site.place.wait_for("run", "launch_ready", ready + 1);
    assert!(!site.daemon.runs("shop"), "it guards production");
    signal(&going, Signal::INT);
    let stopped = Ran::of(going.wait_with_output().unwrap()).expect(4);
    let said = "continues confirmation 1: many against few";
    assert!(stopped.err.contains(said), "{}", stopped.err);
    site.assert_as_found();
    let begun = site.entries("confirmation_started");
    assert!(begun.iter().all(|it| it["confirmation"]["number"] == 1), "{begun:?}");
    assert_eq!(begun.len(), 3, "three sessions worked on it");
    let of_sweep = site.entries("launch_started");
    let of_sweep = of_sweep.iter().filter(|it| it["slot"].as_u64() < Some(1_000_000));
    assert_eq!(of_sweep.count(), 2, "nothing of the sweep is measured again");
}
