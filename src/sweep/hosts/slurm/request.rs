//! The argument vectors of Slurm's commands, and the script of a job. Pure: what they answer is
//! read in `reading`, and they are run in `tool`. No job is ever named by anything but its id.

use std::path::{Path, PathBuf};

use crate::grid::SlurmBlock;

/// Seconds before a job's limit at which its launch is asked to end, at most.
pub const GRACE: u64 = 60;

/// Seconds before its limit at which the launch of a job of so many seconds is asked to end: a
/// quarter of a short one at most.
pub fn lead(seconds: u64) -> u64 {
    (minutes(seconds) * 60 / 4).min(GRACE)
}

/// Fields of a line of `squeue`, each with `|` after it and never cut. The comment is the last
/// one: it is ours, and anything may stand in a reason.
pub const FIELDS: &str = "JobID:|,State:|,NodeList:|,RestartCnt:|,exit_code:|,Reason:|,Comment:|";

/// A job that makes one launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRequest<'a> {
    /// What the grid asks for.
    pub block: &'a SlurmBlock,
    /// The run's id.
    pub run_id: &'a str,
    /// Number of the launch.
    pub launch: u32,
    /// Seconds that it may take.
    pub seconds: u64,
    /// The launch's folder.
    pub folder: &'a Path,
    /// What the job printed goes there.
    pub output: &'a Path,
    /// The script.
    pub script: &'a Path,
    /// Nodes that it must not run on.
    pub exclude: &'a [String],
    /// The node that it must run on, where it is one of a pair.
    pub only: Option<&'a str>,
}

/// The comment of a job: a cross-check only.
pub fn comment(run_id: &str, launch: u32) -> String {
    format!("{}{launch}", comment_of(run_id))
}

/// How the comments of all jobs of a run begin.
pub fn comment_of(run_id: &str) -> String {
    format!("vllm-grid:{run_id}:")
}

/// Run and launch of a comment that is ours.
pub fn of_comment(comment: &str) -> Option<(&str, u32)> {
    let (run, launch) = comment.strip_prefix("vllm-grid:")?.split_once(':')?;
    Some((run, launch.parse().ok()?))
}

/// `sbatch`: the job is held until its id is journalled, and the cluster starts it once only.
pub fn submit(request: &JobRequest<'_>) -> Vec<String> {
    let block = request.block;
    let option = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
    let mut words = vec![
        "sbatch".to_owned(),
        "--parsable".to_owned(),
        "--hold".to_owned(),
        "--no-requeue".to_owned(),
        "--nodes=1".to_owned(),
        "--ntasks=1".to_owned(),
        option("job-name", &"vllm-grid"),
        option("comment", &comment(request.run_id, request.launch)),
        option("chdir", &request.folder.display()),
        option("output", &request.output.display()),
        "--open-mode=append".to_owned(),
        format!("--signal=B:TERM@{}", lead(request.seconds)),
        option("time", &limit(request.seconds)),
    ];
    words.extend(block.partition.as_ref().map(|it| option("partition", it)));
    words.extend(block.gres.as_ref().map(|it| option("gres", it)));
    if block.exclusive {
        words.push("--exclusive".to_owned());
    }
    words.extend(request.only.map(|it| option("nodelist", &it)));
    words.extend(excluded(block, request.exclude).map(|it| option("exclude", &it)));
    words.extend(block.other_options().cloned());
    words.push(request.script.display().to_string());
    words
}

/// What the grid asks for, as options: for a person.
pub fn asked(block: &SlurmBlock) -> String {
    let named =
        |name: &str, value: &Option<String>| value.as_ref().map(|it| format!("--{name}={it}"));
    let of_keys = [named("partition", &block.partition), named("gres", &block.gres)];
    let exclusive = block.exclusive.then(|| "--exclusive".to_owned());
    let all = of_keys.into_iter().flatten().chain(exclusive).chain(block.options.iter().cloned());
    let all: Vec<String> = all.collect();
    if all.is_empty() { "nothing in particular".to_owned() } else { all.join(" ") }
}

/// Seconds as `days-hours:minutes:seconds`: whole minutes, as Slurm counts them.
pub fn limit(seconds: u64) -> String {
    let minutes = minutes(seconds);
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    format!("{days}-{hours:02}:{minutes:02}:00")
}

/// Whole minutes, as Slurm counts.
fn minutes(seconds: u64) -> u64 {
    seconds.div_ceil(60).max(1)
}

/// The script of a job: this program carries out the order, in the place of the shell, so that
/// signals reach it.
pub fn script(program: &Path, order: &Path) -> String {
    let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
    format!("#!/bin/sh\nexec {} launch {}\n", quoted(program), quoted(order))
}

/// `scontrol release`: the job may start.
pub fn release(job: &str) -> Vec<String> {
    words(&["scontrol", "release", job])
}

/// `sacct`: how a job ended that `squeue` does not know any more.
pub fn accounted(job: &str) -> Vec<String> {
    words(&["sacct", "-X", "-n", "-P", "-j", job, "-o", "JobID,State,NodeList"])
}

/// These nodes with those that a grid excludes; `None` without any.
fn excluded(block: &SlurmBlock, nodes: &[String]) -> Option<String> {
    let all: Vec<&str> = block.excluded().chain(nodes.iter().map(String::as_str)).collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// `scontrol update`: a job that waits must not run on these nodes and those that the grid
/// excludes; where `anywhere`, it may on all others, also where it was to run on one alone.
pub fn exclude(block: &SlurmBlock, job: &str, nodes: &[String], anywhere: bool) -> Vec<String> {
    let nodes = excluded(block, nodes).unwrap_or_default();
    let (job, nodes) = (format!("JobId={job}"), format!("ExcNodeList={nodes}"));
    let mut all = words(&["scontrol", "update", &job, &nodes]);
    all.extend(anywhere.then(|| "ReqNodeList=".to_owned()));
    all
}

/// `squeue` of all jobs of this user, those that ended a moment ago among them: one call for all.
pub fn states() -> Vec<String> {
    let format = format!("--Format={FIELDS}");
    words(&["squeue", "--me", "--all", "--noheader", "--states=all", &format])
}

/// The same of one job, whoever's it is.
pub fn state_of(job: &str) -> Vec<String> {
    let (job, format) = (format!("--jobs={job}"), format!("--Format={FIELDS}"));
    words(&["squeue", "--all", "--noheader", "--states=all", &job, &format])
}

/// `scancel` that asks the launch itself to end, in good order.
pub fn ask_to_end(job: &str) -> Vec<String> {
    words(&["scancel", "--batch", "--signal=TERM", job])
}

/// `scancel`: the cluster ends the job.
pub fn cancel(job: &str) -> Vec<String> {
    words(&["scancel", job])
}

/// `sinfo` of a partition: nodes, their states, what each has, and the limit of a job.
pub fn partition(name: Option<&str>) -> Vec<String> {
    let mut all = words(&["sinfo", "--noheader", "--Node", "--format=%N|%P|%T|%G|%l|%c|%m|%a"]);
    all.extend(name.map(|it| format!("--partition={it}")));
    all
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|&it| it.to_owned()).collect()
}

/// Where the script of a launch is.
pub fn script_path(folder: &Path) -> PathBuf {
    folder.join("job.sh")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> SlurmBlock {
        SlurmBlock {
            partition: Some("gpu".to_owned()),
            gres: Some("gpu:rtx4090:2".to_owned()),
            at_once: 4,
            seconds: Some(2400),
            exclusive: true,
            options: vec!["--account=lab".to_owned(), "--qos=night".to_owned()],
        }
    }

    #[test]
    fn a_job_is_held_started_once_and_has_what_the_grid_asks_for() {
        let block = block();
        let folder = Path::new("/share/runs/a b/launches/007-seqs8");
        let request = JobRequest {
            block: &block,
            run_id: "0123",
            launch: 7,
            seconds: 2400,
            folder,
            output: &folder.join("job.log"),
            script: &script_path(folder),
            exclude: &["n1".to_owned(), "n3".to_owned()],
            only: Some("n2"),
        };
        let words = submit(&request);
        let expected = [
            "sbatch",
            "--parsable",
            "--hold",
            "--no-requeue",
            "--nodes=1",
            "--ntasks=1",
            "--job-name=vllm-grid",
            "--comment=vllm-grid:0123:7",
            "--chdir=/share/runs/a b/launches/007-seqs8",
            "--output=/share/runs/a b/launches/007-seqs8/job.log",
            "--open-mode=append",
            "--signal=B:TERM@60",
            "--time=0-00:40:00",
            "--partition=gpu",
            "--gres=gpu:rtx4090:2",
            "--exclusive",
            "--nodelist=n2",
            "--exclude=n1,n3",
            "--account=lab",
            "--qos=night",
            "/share/runs/a b/launches/007-seqs8/job.sh",
        ];
        assert_eq!(words, expected);
        let own = SlurmBlock {
            options: vec!["--exclude=n[7-9]".to_owned(), "--mem=0".to_owned()],
            ..block.clone()
        };
        let words = submit(&JobRequest { block: &own, ..request.clone() });
        let excludes: Vec<&String> =
            words.iter().filter(|it| it.starts_with("--exclude")).collect();
        assert_eq!(excludes, ["--exclude=n[7-9],n1,n3"], "sbatch takes the last one only");
        let anywhere = exclude(&own, "7", &["n1".to_owned()], true);
        assert_eq!(anywhere[3..], ["ExcNodeList=n[7-9],n1", "ReqNodeList="]);
        assert_eq!(exclude(&block, "7", &[], false)[3..], ["ExcNodeList="]);
        let bare = SlurmBlock {
            partition: None,
            gres: None,
            exclusive: false,
            options: Vec::new(),
            ..block.clone()
        };
        let words = submit(&JobRequest { block: &bare, exclude: &[], only: None, ..request });
        let asks = |name: &str| words.iter().any(|it| it.starts_with(name));
        assert!(!["--partition", "--gres", "--exclusive", "--exclude"].iter().any(|it| asks(it)));
    }

    #[test]
    fn limits_are_whole_minutes() {
        let of = [(1, "0-00:01:00"), (60, "0-00:01:00"), (61, "0-00:02:00"), (2400, "0-00:40:00")];
        for (seconds, text) in of {
            assert_eq!(limit(seconds), text);
        }
        assert_eq!(limit(90_061), "1-01:02:00");
        let leads = [60, 61, 180, 240, 2400].map(lead);
        assert_eq!(leads, [15, 30, 45, 60, 60], "never most of the limit");
    }

    #[test]
    fn a_script_has_the_words_of_paths_with_spaces_and_quotes() {
        let text = script(Path::new("/opt/it's here/vllm-grid"), Path::new("/runs/a b/job.json"));
        let words = shell_words::split(text.lines().nth(1).expect("a line")).expect("words");
        assert_eq!(words, ["exec", "/opt/it's here/vllm-grid", "launch", "/runs/a b/job.json"]);
    }

    #[test]
    fn comments_are_read_as_they_are_written() {
        assert_eq!(of_comment(&comment("0123", 7)), Some(("0123", 7)));
        for other in ["", "(null)", "vllm-grid:0123", "vllm-grid:0123:x", "mine"] {
            assert_eq!(of_comment(other), None, "{other}");
        }
    }
}
