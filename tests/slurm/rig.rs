//! A real Slurm on this machine for one test: started by the scripts beside this file, stopped
//! and removed when the test ends.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Ran, Workplace, until};

/// The nodes.
pub(crate) const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// A cluster, and a folder that its nodes share.
pub(crate) struct Rig {
    folder: PathBuf,
    environment: Vec<(String, String)>,
    pub(crate) place: Workplace,
}

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm").join(name))
}

fn done(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

impl Rig {
    /// A cluster with a grid in its shared folder; `settings` change its configuration.
    pub(crate) fn start(grid: &str, settings: &[&str]) -> Self {
        let made = done("prepare", &script("prepare.sh").args(settings).output().unwrap());
        let folder = PathBuf::from(made.lines().next_back().unwrap());
        done("start", &script("start.sh").arg(&folder).output().unwrap());
        let path = std::env::var("PATH").unwrap_or_default();
        let value = |name: &str, value: String| (name.to_owned(), value);
        let environment = vec![
            value("SLURM_RIG", folder.display().to_string()),
            value("SLURM_CONF", folder.join("slurm.conf").display().to_string()),
            value("PATH", format!("{path}:/usr/sbin:/sbin")),
            // Files come at once on one machine.
            value("VLLM_GRID_SLURM_LATE", "5".to_owned()),
        ];
        Self { folder, environment, place: Workplace::new(grid) }
    }

    fn with(&self, mut command: Command) -> Command {
        command.envs(self.environment.iter().cloned());
        command
    }

    /// A command of Slurm's.
    pub(crate) fn slurm(&self, words: &[&str]) -> String {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        done(words[0], &self.with(command).output().unwrap())
    }

    /// The same where it may fail: the cluster is disturbed.
    pub(crate) fn slurm_may_fail(&self, words: &[&str]) {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let _ = self.with(command).output().unwrap();
    }

    /// One of the scripts.
    pub(crate) fn script(&self, name: &str, words: &[&str]) {
        let mut command = script(name);
        command.args(words);
        done(name, &self.with(command).output().unwrap());
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.with(self.place.command(words))
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }

    /// A sweep of the grid into `run`, in the background.
    pub(crate) fn sweep(&self) -> Child {
        self.command(&["sweep", "grid.yaml", "--output", "run"]).spawn().unwrap()
    }

    /// A node dies, and the cluster is told so.
    pub(crate) fn kill(&self, node: &str) {
        self.script("kill_node.sh", &[node]);
        let name = format!("nodename={node}");
        self.slurm(&["scontrol", "update", &name, "state=down", "reason=died"]);
    }

    /// A job of a higher priority takes a node.
    pub(crate) fn preempt(&self, node: &str) {
        let list = format!("--nodelist={node}");
        let urgent = ["sbatch", "--partition=urgent", &list];
        let wrap = ["--exclusive", "--output=/dev/null", "--wrap", "sleep 3"];
        self.slurm(&[&urgent[..], &wrap[..]].concat());
    }

    /// Jobs that are not over.
    pub(crate) fn jobs(&self) -> Vec<String> {
        let listed = self.slurm(&["squeue", "--noheader", "--format=%i"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// The node that a launch runs on, once the journal has it.
    pub(crate) fn node_of(&self, launch: u64) -> String {
        let mut found = None;
        until(&format!("launch {launch} runs on a node"), || {
            found = self.entry("launch_placed", launch).map(|it| it["host"].clone());
            found.is_some()
        });
        found.unwrap().as_str().unwrap().to_owned()
    }

    fn entry(&self, kind: &str, launch: u64) -> Option<Value> {
        let lines = self.place.journal("run");
        let mut entries = lines.into_iter().map(|it| it["line"]["entry"].clone());
        entries.find(|it| it["kind"] == kind && it["launch"] == launch)
    }

    /// Classes of the losses in the journal.
    pub(crate) fn losses(&self) -> Vec<String> {
        let lines = self.place.journal("run");
        let lost = lines.iter().map(|it| &it["line"]["entry"]["outcome"]["loss"]);
        lost.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Every kept repeat of every trial was measured, and none twice; all that was begun has an
    /// end, and no job is left.
    pub(crate) fn is_whole(&self, trials: u64, repeats: u64) {
        let lines = self.place.journal("run");
        let entries: Vec<&Value> = lines.iter().map(|it| &it["line"]["entry"]).collect();
        let number = |it: &Value| it.as_u64().unwrap();
        let of = |kind: &'static str| entries.iter().filter(move |it| it["kind"] == kind);
        let trial = |launch: u64| {
            let begun = of("launch_started").find(|it| number(&it["launch"]) == launch);
            number(&begun.unwrap()["slot"])
        };
        let mut measured: Vec<(u64, u64)> = of("repeat_finished")
            .map(|it| (trial(number(&it["launch"])), number(&it["measurement"]["repeat"])))
            .filter(|it| it.1 > 0)
            .collect();
        measured.sort_unstable();
        let all = (0..trials).flat_map(|it| (1..=repeats).map(move |repeat| (it, repeat)));
        assert_eq!(measured, all.collect::<Vec<_>>());
        // One that was begun when its controller died, and had no job yet, has none.
        let launches = |kind| of(kind).map(|it| number(&it["launch"])).collect::<BTreeSet<_>>();
        let (submitted, ended) = (launches("job_submitted"), launches("launch_ended"));
        assert!(submitted.is_subset(&ended), "{submitted:?} have jobs, {ended:?} have ends");
        // A job that a test submitted itself may wait for a node that is down.
        let format = "--format=%i %T %r %k";
        let mut left = Vec::new();
        let began = Instant::now();
        while began.elapsed() < Duration::from_mins(2) {
            let listed = self.slurm(&["squeue", "--noheader", format]);
            left =
                listed.lines().filter(|it| it.contains("vllm-grid:")).map(str::to_owned).collect();
            if left.is_empty() {
                return;
            }
            sleep(Duration::from_millis(500));
        }
        panic!("jobs are left: {left:#?}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.with(script("stop.sh")).arg(&self.folder).arg("remove").output();
    }
}
