//! A grid that names a Slurm cluster: what is wrong with it is reported in one pass, and its plan
//! shows jobs, node-hours and time, with what the partition has where `sinfo` says it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use vllm_grid::grid::{Grid, SlurmBlock};

use crate::grid_errors::{HEAD, read_text, shown};
use crate::support::Ran;

const BINARY: &str = env!("CARGO_BIN_EXE_vllm-grid");
const TAIL: &str = "parameters: {max-num-seqs: [8, 16]}\nworkloads: {kv-cache: }\n\
                    objective: {minimize: kv_cache.ttft_resent_ms}\n";

fn with(hosts: &str) -> String {
    format!("{HEAD}{hosts}\n{TAIL}")
}

fn read(hosts: &str) -> Grid {
    read_text(&with(hosts)).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

fn slurm(block: &str) -> SlurmBlock {
    read(&format!("hosts: {{slurm: {{{block}}}}}")).hosts.expect("a cluster")
}

fn messages(text: &str) -> Vec<String> {
    let errors = read_text(text).expect_err("errors");
    errors.errors.into_iter().map(|it| it.message).collect()
}

#[test]
fn all_keys_are_read_and_the_defaults_are_the_careful_ones() {
    let block = slurm(
        "partition: gpu, gres: \"gpu:rtx4090:2\", at-once: 4, time: 40m, exclusive: true, options: \
         [--account=lab, --qos=night]",
    );
    let expected = SlurmBlock {
        partition: Some("gpu".to_owned()),
        gres: Some("gpu:rtx4090:2".to_owned()),
        at_once: 4,
        seconds: Some(2400),
        exclusive: true,
        options: vec!["--account=lab".to_owned(), "--qos=night".to_owned()],
    };
    assert_eq!(block, expected);
    let bare = slurm("at_once: 1");
    assert_eq!((bare.partition, bare.gres, bare.seconds, bare.exclusive), (None, None, None, true));
    assert!(bare.options.is_empty());
    assert_eq!(read("").hosts, None);
}

#[test]
fn everything_wrong_with_a_cluster_is_reported_in_one_pass() {
    let text = with(
        "hosts:\n  slurm:\n    partiton: gpu\n    gres: \"gpu: 2\"\n    at-once: 0\n    time: 40\n    \
         exclusive: maybe\n    options:\n      - --account\n      - lab\n      - -A\n      - 7\n      \
         - --partition=gpu\n      - --out=log\n      - --gpus-per-node=2\n      - --array=1-4\n      \
         - --qos=\n      - --exclude=/share/bad",
    );
    let errors = read_text(&text).expect_err("errors");
    insta::assert_snapshot!(shown(&errors));
    let mut several = String::new();
    for hosts in [
        "hosts: {}",
        "hosts: {slrum: {at-once: 4}}",
        "hosts: {slurm: }",
        "hosts: {slurm: {}}",
        "hosts: {slurm: {at-once: 1001, time: 30s, gres: \"gpu:rtx4090:x\"}}",
        "hosts: {slurm: {at-once: 4, partition: \"gpu,cpu\", gres: \"gpu:0\", options: --qos=a}}",
    ] {
        let errors = read_text(&with(hosts)).expect_err("errors");
        let _ = writeln!(several, "## {hosts}\n{}", shown(&errors));
    }
    insta::assert_snapshot!(several);
}

#[test]
fn production_and_a_window_of_this_machine_are_refused_on_a_cluster() {
    let docker = "name: g\nengine: {docker: {image: i:1, model: m, production: {container: c}}}\n\
                  window: 23:00-06:30\nhosts: {slurm: {at-once: 2, gres: \"gpu:2\"}}\n";
    let found = messages(&format!("{docker}{TAIL}"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("`window` and `hosts` are both given"), "{found:?}");
    assert!(found[1].starts_with("`hosts` and `production` are both given"), "{found:?}");
}

#[test]
fn a_secret_among_the_options_is_refused_and_not_shown() {
    for options in ["[--container-env=HF_TOKEN=hf_Ab12Cd34Ef56]", "[--password, Ab12Cd34Ef56]"] {
        let text = with(&format!("hosts: {{slurm: {{at-once: 2, options: {options}}}}}"));
        let shown = shown(&read_text(&text).expect_err("a secret"));
        assert!(shown.contains("a secret: it does not belong in a grid"), "{shown}");
        assert!(!shown.contains("Ab12Cd34Ef56"), "{shown}");
    }
}

#[test]
fn what_will_not_give_what_it_promises_is_warned_of() {
    let of = |engine: &str, hosts: &str, more: &str| {
        let text =
            format!("name: g\nengine: {engine}\nhosts: {{slurm: {{{hosts}}}}}\n{more}{TAIL}");
        let grid = read_text(&text).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        let own = |it: &&vllm_grid::grid::Warning| {
            ["gres", "exclusive", "launched once"].iter().any(|word| it.message.contains(word))
        };
        grid.warnings.iter().filter(own).map(|it| (it.line, it.message.clone())).collect::<Vec<_>>()
    };
    let vllm = "{process: {command: [vllm, serve, m], flags: {tensor-parallel-size: 4}}}";
    let simulated = "{simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090}}";
    let warnings = of(vllm, "at-once: 2", "");
    assert!(
        warnings.len() == 1 && warnings[0].1.starts_with("no `gres` names GPUs"),
        "{warnings:?}"
    );
    assert_eq!(warnings[0].0, Some(3));
    let warnings = of(vllm, "at-once: 2, gres: \"gpu:a:2\"", "");
    let expected = "`seqs8` and 1 more asks for up to 4 GPUs, and `gres` gives a launch 2";
    assert!(warnings.len() == 1 && warnings[0].1.contains(expected), "{warnings:?}");
    assert!(of(vllm, "at-once: 2, gres: \"gpu:4\"", "").is_empty());
    let warnings = of(simulated, "at-once: 2, exclusive: false", "");
    assert!(warnings.len() == 1 && warnings[0].1.contains("this sweep's own"), "{warnings:?}");
    let once = "strategy: {grid: {launches: 1}}\n";
    let warnings = of(simulated, "at-once: 2", once);
    assert!(warnings.len() == 1 && warnings[0].1.contains("launched once"), "{warnings:?}");
    assert!(of(simulated, "at-once: 1", once).is_empty());
}

#[test]
fn a_launch_has_the_time_that_the_grid_says_else_twice_its_estimate() {
    let of = |engine: &str, time: &str| {
        let text =
            format!("name: g\nengine: {engine}\nhosts: {{slurm: {{at-once: 2{time}}}}}\n{TAIL}");
        read_text(&text).expect("a good grid").job_seconds()
    };
    let vllm = "{process: {command: [vllm, serve, m]}}";
    assert_eq!(of(vllm, ", time: 7m"), Some(420));
    let by_default = of(vllm, "").expect("a limit");
    // Twice a boot of 460 s and a stop of 60 s, a quarter of an hour, and what is measured.
    assert!(by_default > 1940 && by_default.is_multiple_of(300), "{by_default}");
    let fast = "{simulated: {model: Qwen/Qwen3-0.6B, gpu: rtx-4090, speed: 1000}}";
    assert_eq!(of(fast, ""), Some(600), "at least ten minutes");
    assert_eq!(read("").job_seconds(), None);
}

#[test]
fn a_budget_of_time_counts_launches_that_run_beside_each_other_once() {
    let begun = |hosts: &str| {
        let text = format!("{HEAD}{hosts}strategy: {{grid: {{launches: 8}}}}\nbudget: 10m\n{TAIL}");
        let grid = read_text(&text).expect("a good grid");
        let plan = serde_json::to_value(vllm_grid::grid::plan::Plan::new(&grid)).expect("JSON");
        plan["begun_within_budget"]["least"].as_u64().expect("a number")
    };
    let (one, four) = (begun(""), begun("hosts: {slurm: {at-once: 4}}\n"));
    assert_eq!(begun("hosts: {slurm: {at-once: 1}}\n"), one);
    assert!(four > 3 * one && four < 16, "{one} {four}");
}

/// A folder with commands of Slurm that print and exit as they are told to.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let cluster = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(cluster.path().join("bin")).expect("a folder");
        cluster
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a command of a shell script's body.
    pub(crate) fn command(&self, name: &str, body: &str) -> &Self {
        let path = self.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        self
    }

    pub(crate) fn grid(&self, text: &str) -> PathBuf {
        let path = self.path().join("grid.yaml");
        fs::write(&path, text).expect("a grid");
        path
    }

    /// Runs a command of ours with this cluster's commands.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.prepared(arguments).output().expect("it runs"))
    }

    /// A command of ours that knows no programs but this cluster's: the machine may have a Slurm.
    pub(crate) fn prepared(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env("PATH", self.path().join("bin")).env("RIG", self.path());
        command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
        command.env("COLUMNS", "80").env("VLLM_GRID_STATE", self.path().join("state"));
        command.env("VLLM_GRID_CLAIMS", self.path().join("state"));
        command
    }
}

/// What a real `sinfo` answered, with the fields that are asked for.
pub(crate) const SINFO: &str = "cat <<'END'\n\
    n1|gpu*|idle|gpu:rtx4090:2|1:00:00|8|16000|up\n\
    n2|gpu*|idle|gpu:rtx4090:2|1:00:00|8|16000|up\n\
    n3|gpu*|drained|gpu:rtx4090:2|1:00:00|8|16000|up\n\
    n1|short|idle|gpu:rtx4090:2|1:00|8|16000|up\nEND";

const PLANNED: &str = "hosts: {slurm: {gres: \"gpu:rtx4090:2\", at-once: 3, options: [--qos=night]}}\n\
                       strategy: {grid: {launches: 6}}";

/// The part of a plan that is about the cluster.
fn of_cluster(out: &str) -> String {
    let (_, cluster) = out.split_once("\non the Slurm cluster").unwrap_or_else(|| panic!("{out}"));
    format!("on the Slurm cluster{cluster}")
}

#[test]
fn a_plan_shows_jobs_hours_of_nodes_and_time_with_what_the_partition_has() {
    let cluster = Cluster::new();
    cluster.command("sinfo", SINFO).grid(&with(PLANNED));
    let ran = cluster.run(&["plan", "grid.yaml"]).expect(0);
    assert!(ran.out.lines().all(|line| line.chars().count() <= 80), "{}", ran.out);
    insta::assert_snapshot!(of_cluster(&ran.out));
    let ran = cluster.run(&["plan", "grid.yaml", "--format", "json"]).expect(0);
    let plan: Value = serde_json::from_str(&ran.out).expect("JSON");
    insta::assert_json_snapshot!(plan["cluster"]);
}

#[test]
fn a_race_says_that_its_duels_are_not_shared_out() {
    let cluster = Cluster::new();
    let hosts = "hosts: {slurm: {partition: short, at-once: 1}}\n\
                 strategy: {adaptive: {max-launches: 12}}";
    cluster.command("sinfo", SINFO).grid(&with(hosts));
    let ran = cluster.run(&["plan", "grid.yaml"]).expect(0);
    insta::assert_snapshot!(of_cluster(&ran.out));
}

#[test]
fn a_plan_needs_no_cluster() {
    let of = |script: Option<&str>, partition: &str| {
        let cluster = Cluster::new();
        if let Some(script) = script {
            cluster.command("sinfo", script);
        }
        let hosts = format!("hosts: {{slurm: {{at-once: 2{partition}}}}}");
        cluster.grid(&with(&hosts));
        let out = cluster.run(&["plan", "grid.yaml"]).expect(0).out;
        let joined = of_cluster(&out).split_whitespace().collect::<Vec<_>>().join(" ");
        let start = joined.find("partition").expect("a line of it");
        joined[start..].split(" nodes: ").next().unwrap_or_default().to_owned()
    };
    let absent = of(None, "");
    assert!(absent.contains("not seen from here (sinfo cannot be run: No such file"), "{absent}");
    let down = "echo 'slurm_load_partitions: Unable to contact slurm controller (connect failure)' \
                >&2; exit 1";
    let down = of(Some(down), "");
    assert!(down.contains("Unable to contact slurm controller"), "{down}");
    let nowhere = of(Some("exit 0"), ", partition: nowhere");
    assert!(nowhere.contains("the cluster has no partition `nowhere`"), "{nowhere}");
}

#[test]
fn a_plan_counts_the_nodes_that_options_allow_and_says_so() {
    let of = |options: &str| {
        let cluster = Cluster::new();
        let hosts = format!("hosts: {{slurm: {{at-once: 1, options: {options}}}}}");
        cluster.command("sinfo", SINFO).grid(&with(&hosts));
        let out = cluster.run(&["plan", "grid.yaml"]).expect(0).out;
        let joined = of_cluster(&out).split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, line) = joined.split_once("partition gpu: ").expect("a line of it");
        line.split("; a job may").next().unwrap_or_default().to_owned()
    };
    assert_eq!(of("[--qos=night]"), "2 of 3 nodes take jobs, 2 idle now");
    let some = "1 of 2 nodes that `options` allow take jobs, 1 idle now";
    assert_eq!(of("[--exclude=n2]"), some);
    assert_eq!(of("[\"--exclude=n[1-3]\"]"), "`options` leave none of its nodes");
}

/// The time is that of the jobs, had they nodes: nothing is divided by none.
#[test]
fn a_plan_of_what_no_node_has_says_so_of_each_number_of_jobs() {
    for exclusive in [true, false] {
        let cluster = Cluster::new();
        let hosts = format!(
            "hosts: {{slurm: {{at-once: 2, exclusive: {exclusive}, gres: \"gpu:h100:8\"}}}}"
        );
        cluster.grid(&with(&hosts));
        let of = |sinfo: &str| {
            cluster.command("sinfo", sinfo);
            let plan = cluster.run(&["plan", "grid.yaml", "--format", "json"]).expect(0);
            let plan: Value = serde_json::from_str(&plan.out).expect("JSON");
            plan["cluster"]["at_once"].as_array().expect("rows").clone()
        };
        let none = of(SINFO);
        let out = cluster.run(&["plan", "grid.yaml"]).expect(0).out;
        assert_eq!(out.matches("(no node can run a launch)").count(), none.len(), "{out}");
        assert!(none.iter().all(|row| row["nodes"] == 0), "{none:?}");
        let unseen = of("exit 1");
        let hours = |rows: &[Value]| rows.iter().map(|it| it["hours"].clone()).collect::<Vec<_>>();
        assert_eq!(hours(&none).len(), 4, "1, 2, 4 and 16 jobs");
        assert_eq!(hours(&none), hours(&unseen));
    }
}

#[test]
fn what_keeps_launches_from_being_started_is_among_the_warnings() {
    let warned = |hosts: &str, strategy: &str| {
        let cluster = Cluster::new();
        let text = format!("hosts: {{slurm: {{at-once: 2{hosts}}}}}\n{strategy}");
        cluster.command("sinfo", SINFO).grid(&with(&text));
        let out = cluster.run(&["plan", "grid.yaml"]).expect(0).out;
        let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
        let (before, nodes) = flat.split_once("on the Slurm cluster").expect("a cluster");
        let warnings = before.split_once(" warnings ").map_or("", |it| it.1).to_owned();
        (warnings, nodes.split_once("nodes: ").expect("a line of nodes").1.to_owned())
    };
    for (hosts, expected) in [
        (", partition: nowhere", "the cluster has no partition `nowhere`: no launch begins"),
        (", gres: \"gpu:h100:8\"", "no node of partition gpu has gpu:h100:8: no launch begins"),
        (
            ", options: [\"--exclude=n[1-3]\"]",
            "`options` leave no node of partition gpu: no launch begins",
        ),
        (
            ", options: [--nodelist=n3]",
            "no node of partition gpu that `options` allow takes jobs: no launch begins",
        ),
        (
            ", options: [--exclude=n1, --mem=900G]",
            "no node of partition gpu that `options` allow has --mem=900G: no launch begins",
        ),
        (", time: 90m", "a job of partition gpu may take 60 min, and a launch asks for 90 min"),
        (", time: 1m", "by assumption: `time` of 60 s"),
    ] {
        let (warnings, _) = warned(hosts, "");
        assert!(warnings.contains(expected), "{hosts}: {warnings}");
    }
    let (warnings, spread) = warned("", "");
    let of_cluster = ["no launch begins", "none begins", "`time` of"];
    assert!(!of_cluster.iter().any(|it| warnings.contains(it)), "{warnings}");
    assert!(spread.contains("a node's speed is taken out"), "{spread}");
    // Where nothing is kept off a node, nothing of it is said.
    let (_, chosen) = warned(", options: [--nodelist=n1]", "");
    let (_, once) = warned("", "strategy: {grid: {launches: 1}}");
    assert!(chosen.starts_with("of those that `options` allow"), "{chosen}");
    assert!(once.contains("nothing distinguishes it from its node"), "{once}");
    assert!(!chosen.contains("kept off") && !once.contains("kept off"));
}
