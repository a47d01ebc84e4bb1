//! What would prevent a sweep over a cluster, found before the night: the commands, the
//! partition, its limits, and by one short job whatever only a node can tell. The job is
//! cancelled and its folder removed, however the check ends. What is checked on the node is
//! `engine::doctor`'s; what a launch's job is, is `cluster`'s.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::loss::{self, may_be_accepted, never_starts};
use super::own;
use super::partition::{self, Unseen};
use super::reading::{self, Job};
use super::request::{self, JobRequest};
use super::state::{Ended, State};
use super::tool::{Tool, done};
use crate::engine::doctor::{Finding, Severity};
use crate::grid::plan::{SeenPartition, spoken};
use crate::grid::{Grid, SlurmBlock};

mod folder;
mod node;

use folder::Probe;
pub use node::{NodeAnswer, NodeFinding};

/// Seconds that the job of a check may take.
const JOB: u64 = 300;
/// How long a result may be late: shared file systems keep what they know for that long.
const LATE: Duration = Duration::from_mins(1);

/// A check that is made.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The grid; it names a cluster.
    pub grid: &'a Grid,
    /// What it asks for.
    pub block: &'a SlurmBlock,
    /// The words of this program's command that checks a node; where it answers is appended.
    pub words: &'a [String],
    /// Where runs will be.
    pub place: &'a Path,
    /// How long the job may wait for a node.
    pub wait: Duration,
    /// Asks for a stop.
    pub cancel: &'a CancellationToken,
}

/// What became of the job.
enum Course {
    /// It is over.
    Over(Option<Job>),
    /// It waited for so long, and still does.
    Waited(Option<String>),
    /// It never starts.
    Never(String, &'static str),
    /// It runs for longer than it may.
    Endless,
    /// The controller said nothing of it.
    Unknown(String),
    /// A stop was asked for.
    Stopped,
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, subject: &'static str, text: String, advice: &str) {
        let advice = (!advice.is_empty()).then(|| advice.to_owned());
        self.0.push(Finding { severity, subject: subject.into(), text, advice });
    }

    fn ok(&mut self, subject: &'static str, text: String) {
        self.add(Severity::Ok, subject, text, "");
    }

    fn warning(&mut self, subject: &'static str, text: String, advice: &str) {
        self.add(Severity::Warning, subject, text, advice);
    }

    fn problem(&mut self, subject: &'static str, text: String, advice: &str) {
        self.add(Severity::Problem, subject, text, advice);
    }

    fn has_problem(&self) -> bool {
        self.0.iter().any(|it| it.severity == Severity::Problem)
    }
}

/// Looks at everything that a sweep needs of its cluster.
pub async fn check(tool: &dyn Tool, check: Check<'_>) -> Vec<Finding> {
    let mut findings = Findings::default();
    if commands(tool, &mut findings).await {
        partition(tool, check, &mut findings).await;
        if findings.has_problem() {
            findings.warning("job", "not submitted: see the problem above".to_owned(), "");
        } else {
            by_job(tool, check, &mut findings).await;
        }
    }
    findings.0
}

/// Whether all commands are there.
async fn commands(tool: &dyn Tool, findings: &mut Findings) -> bool {
    let mut versions: Vec<String> = Vec::new();
    for command in ["sbatch", "squeue", "scancel", "scontrol", "sinfo"] {
        let words = [command.to_owned(), "--version".to_owned()];
        let why = match tool.run(&words).await {
            Ok(answer) if answer.is_done() => {
                versions.push(answer.out.trim().to_owned());
                continue;
            }
            Ok(answer) => format!("{command}: {}", answer.why()),
            Err(error) => error.to_string(),
        };
        let advice = "run it on a login node of the cluster, with Slurm's commands on PATH";
        findings.problem("slurm", why, advice);
    }
    versions.dedup();
    if !versions.is_empty() && !findings.has_problem() {
        findings.ok("slurm", versions.join(", "));
    }
    !findings.has_problem()
}

async fn partition(tool: &dyn Tool, check: Check<'_>, findings: &mut Findings) {
    let block = check.block;
    let seen = match partition::see(tool, block).await {
        Ok(seen) => seen,
        Err(why) => {
            let advice = match &why {
                Unseen::NoAnswer(_) => "is its controller up? `scontrol ping` tells",
                Unseen::NoPartition(_) => "`sinfo` lists its partitions",
                Unseen::NoDefault => "",
            };
            return findings.problem("partition", why.to_string(), advice);
        }
    };
    let SeenPartition { name, nodes, up, fitting, idle, .. } = &seen;
    let text = format!("{name}: {up} of {nodes} nodes{} take jobs", seen.of_which());
    if !seen.is_up {
        let advice = "`scontrol show partition` tells why";
        findings.problem("partition", format!("{name} takes no jobs: it is down"), advice);
    } else if *nodes == 0 {
        let advice = "`sinfo -N` lists its nodes: correct `--nodelist` or `--exclude`";
        findings.problem("partition", format!("`options` leave no node of {name}"), advice);
    } else if *up == 0 {
        findings.problem("partition", text, "`sinfo -R` tells why");
    } else {
        findings.ok("partition", text);
    }
    let asked = block.asked_of_node();
    match asked {
        // What nodes have that take no job helps nobody.
        _ if *up == 0 => {}
        Some(asked) if *fitting == 0 => {
            let advice = "`sinfo -N -o '%N %G %c %m'` shows what nodes have";
            let text = format!("no node of {name}{} has {asked}", seen.of_which());
            findings.problem("request", text, advice);
        }
        Some(asked) => {
            let text = format!("{fitting} nodes have {asked}, {idle} of them are idle now");
            findings.ok("request", text);
        }
        None => {
            let nothing = "no gres, memory or processors are asked for";
            findings.ok("request", format!("{nothing}; {idle} nodes are idle now"));
        }
    }
    limits(check, &seen, findings);
}

fn limits(check: Check<'_>, seen: &SeenPartition, findings: &mut Findings) {
    let (block, most) = (check.block, check.grid.job_seconds().unwrap_or(JOB));
    let takes = spoken(most as f64);
    let expected = check.grid.longest_launch_seconds();
    let is_short = block.seconds.is_some() && expected > most as f64;
    match seen.limit_seconds {
        Some(limit) if limit < most => findings.problem(
            "time",
            format!(
                "a launch may take {takes}, and a job of {} {}",
                seen.name,
                spoken(limit as f64)
            ),
            "lower `time`, or name another partition",
        ),
        _ if is_short => findings.warning(
            "time",
            format!("a launch may take {takes}, and {} are expected", spoken(expected)),
            "raise `time`",
        ),
        Some(limit) => {
            let text = format!("a launch may take {takes}, a job {}", spoken(limit as f64));
            findings.ok("time", text);
        }
        None => findings.ok("time", format!("a launch may take {takes}, a job any time")),
    }
    let (at_once, nodes) = (block.at_once as usize, seen.fitting);
    if seen.up == 0 {
        // The partition's own problem says it.
    } else if block.exclusive && nodes < at_once {
        let text = format!("`at-once` is {at_once}, and {nodes} nodes can run a launch");
        findings.warning("at-once", text, "further jobs wait in the queue");
    } else {
        findings.ok("at-once", format!("{at_once} launches, {nodes} nodes for them"));
    }
}

/// What only a job can tell. It is cancelled, and its folder removed, however this ends.
async fn by_job(tool: &dyn Tool, check: Check<'_>, findings: &mut Findings) {
    let probe = match Probe::make(check.place, check.words) {
        Ok(probe) => probe,
        Err(error) => {
            let text = format!("{}: {error}", check.place.display());
            return findings.problem("shared folder", text, "runs are written there");
        }
    };
    if let Some(job) = submit(tool, check, &probe, findings).await {
        let began = Instant::now();
        let course = follow(tool, check, &job).await;
        let is_over = matches!(course, Course::Over(_));
        told(check, &probe, course, began, findings).await;
        if !is_over && let Err(why) = done(tool, &request::cancel(&job)).await {
            findings.problem("job", format!("{why}: it is left"), &format!("scancel {job}"));
        }
    }
    let folder = probe.folder.clone();
    if let Err(error) = probe.remove().await {
        let text = format!("{} is left: {error}", folder.display());
        findings.warning("shared folder", text, "remove it");
    }
}

/// Submits the job and lets it start, as a launch's job is.
async fn submit(
    tool: &dyn Tool,
    check: Check<'_>,
    probe: &Probe,
    findings: &mut Findings,
) -> Option<String> {
    let run_id = format!("check-{}", probe.word);
    let words = request::submit(&JobRequest {
        block: check.block,
        run_id: &run_id,
        launch: 0,
        seconds: JOB.min(check.grid.job_seconds().unwrap_or(JOB)),
        folder: &probe.folder,
        output: &probe.output(),
        script: &probe.script(),
        exclude: &[],
        only: None,
    });
    let why = match done(tool, &words).await {
        Ok(answer) => match reading::submitted(&answer.out) {
            Some(job) => {
                let Err(why) = done(tool, &request::release(&job)).await else { return Some(job) };
                let is_too_much = why.contains("configuration not available");
                let advice = if is_too_much { TOO_MUCH } else { "may this user release jobs?" };
                findings.problem("job", why, advice);
                // Held, it would stay for ever.
                let _ = tool.run(&request::cancel(&job)).await;
                return None;
            }
            None => format!("sbatch answered no number: {}", answer.out.trim()),
        },
        Err(why) => why,
    };
    if may_be_accepted(&why) || why.contains("did not answer") {
        cancel_ours(tool, &run_id).await;
    }
    if loss::is_full(&why) {
        let advice = "a sweep waits for a place in the queue";
        findings.warning("job", format!("not accepted: {why}"), advice);
        return None;
    }
    findings.problem("job", why, "a launch's job would be refused, too");
    None
}

/// What to do where the cluster releases no job that asks for so much.
const TOO_MUCH: &str = "no node has what a launch asks for: look at `gres` and `options`";

/// Cancels a job that was accepted, though nobody said so: it bears this run's comment.
async fn cancel_ours(tool: &dyn Tool, run_id: &str) {
    for (id, _) in own::living(tool, run_id).await.unwrap_or_default() {
        let _ = tool.run(&request::cancel(&id)).await;
    }
}

/// Follows the job to its end, or as long as it may take.
async fn follow(tool: &dyn Tool, check: Check<'_>, id: &str) -> Course {
    let began = Instant::now();
    let mut runs_since: Option<Instant> = None;
    let mut unknown_since: Option<Instant> = None;
    loop {
        let pause = Duration::from_secs(if began.elapsed().as_secs() < 15 { 1 } else { 5 });
        tokio::select! {
            () = check.cancel.cancelled() => return Course::Stopped,
            () = sleep(pause) => {}
        }
        let answer = match done(tool, &request::states()).await {
            Ok(answer) => answer,
            Err(why) => {
                let since = *unknown_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= check.wait {
                    return Course::Unknown(why);
                }
                continue;
            }
        };
        unknown_since = None;
        let Some(job) = reading::jobs(&answer.out).remove(id) else { return Course::Over(None) };
        match job.state {
            State::Ended(_) => return Course::Over(Some(job)),
            State::Waits => {
                if let Some((why, advice)) =
                    job.reason.as_deref().and_then(|it| Some((it, never_starts(it)?)))
                {
                    return Course::Never(why.to_owned(), advice);
                }
                if began.elapsed() >= check.wait {
                    return Course::Waited(job.reason);
                }
            }
            State::Boots if began.elapsed() >= check.wait => return Course::Waited(job.reason),
            State::Boots => {}
            State::Runs | State::Stopped | State::Ending | State::Unknown => {
                let since = *runs_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= Duration::from_secs(JOB) {
                    return Course::Endless;
                }
            }
        }
    }
}

/// What the job's course says.
async fn told(
    check: Check<'_>,
    probe: &Probe,
    course: Course,
    began: Instant,
    findings: &mut Findings,
) {
    let waited = spoken(began.elapsed().as_secs_f64());
    match course {
        Course::Over(job) => over(check, probe, job, &waited, findings).await,
        Course::Waited(reason) => {
            let reason = reason.map(|it| format!(" ({it})")).unwrap_or_default();
            let text = format!(
                "it waited {waited} for a node{reason}, and was cancelled: nothing is known of the nodes"
            );
            findings.warning("job", text, "wait for longer with `--wait 30m`, or check later");
        }
        Course::Never(reason, advice) => {
            findings.problem("job", format!("it would never start: {reason}"), advice);
        }
        Course::Endless => {
            let text = format!("it did not end within {waited}, and was cancelled");
            let printed = probe.printed().unwrap_or_default();
            findings.problem("job", text, &printed);
        }
        Course::Unknown(why) => {
            findings.problem("job", format!("nothing is known of it for {waited}: {why}"), "");
        }
        Course::Stopped => findings.warning("job", "stopped, and cancelled".to_owned(), ""),
    }
}

/// What a job that is over found.
async fn over(
    check: Check<'_>,
    probe: &Probe,
    job: Option<Job>,
    took: &str,
    findings: &mut Findings,
) {
    let ended = Instant::now();
    let state = job.as_ref().map(|it| it.state);
    let is_by_itself = matches!(state, None | Some(State::Ended(Ended::Completed | Ended::Failed)));
    let answer = loop {
        let answer = NodeAnswer::take(&probe.folder);
        // A job that printed why it failed will not answer, nor will one that the cluster ended.
        let waits = is_by_itself && probe.printed().is_none() && !check.cancel.is_cancelled();
        if answer.is_some() || ended.elapsed() >= LATE || !waits {
            break answer;
        }
        sleep(Duration::from_secs(1)).await;
    };
    let late = ended.elapsed().as_secs();
    let Some(answer) = answer else {
        return no_answer(check, probe, job, findings);
    };
    let host = &answer.host;
    findings.ok("job", format!("it ran on {host}, and was over after {took}"));
    if answer.read.as_deref() == Some(probe.word.as_str()) {
        let text = format!("{} is seen here and on {host}, both ways", check.place.display());
        findings.ok("shared folder", text);
    } else {
        let text = format!("{}: a file written here is not seen on {host}", check.place.display());
        findings.problem("shared folder", text, SHARED);
    }
    if late >= 2 {
        let text = format!("what the job wrote appeared {late} s after its end");
        findings.warning("shared folder", text, "each launch takes that longer");
    }
    of_program(&answer, findings);
    of_devices(check.block, &answer, findings);
    findings.0.extend(answer.findings.iter().map(|it| it.on(host)));
}

/// What to do where a folder is not shared.
const SHARED: &str = "run it in a folder that the login node and all nodes see";

fn no_answer(check: Check<'_>, probe: &Probe, job: Option<Job>, findings: &mut Findings) {
    let node = job.as_ref().and_then(|it| it.node.clone()).unwrap_or_else(|| "a node".to_owned());
    let ended = job.and_then(|it| match it.state {
        State::Ended(ended) => Some(ended),
        _ => None,
    });
    if let Some(printed) = probe.printed() {
        let text = format!("on {node} it failed: {printed}");
        let advice = "this program, the grid and its files must be where all nodes see them";
        return findings.problem("job", text, advice);
    }
    let why = match ended {
        Some(Ended::Completed | Ended::Failed) | None => {
            let place = check.place.display();
            let text = format!("{place}: what the job on {node} wrote is not seen here");
            return findings.problem("shared folder", text, SHARED);
        }
        ended => loss::of(ended).as_str(),
    };
    findings.problem("job", format!("on {node}: {why}"), "check again, or ask the administrator");
}

fn of_program(answer: &NodeAnswer, findings: &mut Findings) {
    let (own, there, host) = (env!("CARGO_PKG_VERSION"), &answer.tool_version, &answer.host);
    if own == there {
        findings.ok("program", format!("vllm-grid {own} here and on {host}"));
    } else {
        let text = format!("vllm-grid is {own} here and {there} on {host}");
        findings.problem("program", text, "install it once, where all nodes see it");
    }
}

/// Whether the cluster gave the job the GPUs that it asked for.
fn of_devices(block: &SlurmBlock, answer: &NodeAnswer, findings: &mut Findings) {
    let Some(asked) = block.gpus().filter(|asked| *asked > 0) else { return };
    let host = &answer.host;
    let Some(devices) = &answer.devices else {
        let text = format!("{host} gives {asked} GPUs, and CUDA_VISIBLE_DEVICES is not set there");
        let advice = "the cluster's gres.conf names no device files: launches would share all GPUs";
        return findings.warning("GPU", text, advice);
    };
    let count = devices.split(',').filter(|it| !it.trim().is_empty()).count();
    let text = format!("{host} gives CUDA_VISIBLE_DEVICES={devices}, {asked} asked for");
    if count == asked as usize {
        findings.ok("GPU", text);
    } else {
        findings.problem("GPU", text, "look at `gres`, and at the cluster's gres.conf");
    }
}
