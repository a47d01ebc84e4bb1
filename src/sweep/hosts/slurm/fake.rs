//! A Slurm in virtual time, for tests: it answers the commands that are run, starts jobs on its
//! nodes, and loses them as a test asks for. What a job does is what a node does, with a fake
//! engine. The real one's answers are in the captures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::job::node::{self, Node};
use super::super::job::{Began, Files};
use super::tool::{Answer, Tool, ToolError};
use crate::engine::Engine;
use crate::machine::Machine;
use crate::sweep::launch::Measure;

/// Why a job waits whose nodes are all down, as Slurm says it.
const DOWN: &str = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority \
                    partitions";
/// Seconds from a job's start to its program.
const START: u64 = 1;
/// Seconds from the first signal to the last one.
const KILL_WAIT: u64 = 5;

/// A job.
struct FakeJob {
    state: &'static str,
    exit: u32,
    reason: String,
    node: Option<String>,
    restarts: u32,
    comment: String,
    exclude: Vec<String>,
    only: String,
    folder: PathBuf,
    held: bool,
    ask: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl FakeJob {
    fn lives(&self) -> bool {
        ["PENDING", "RUNNING"].contains(&self.state)
    }
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<u32, FakeJob>,
    /// Whether each node takes jobs.
    nodes: BTreeMap<String, bool>,
    /// Those that somebody else has.
    others: BTreeSet<String>,
    /// Answers that are given in place of the next ones of a command.
    scripted: Vec<(&'static str, Result<Answer, ToolError>)>,
    /// Whether the next submission is accepted, and its answer lost.
    loses_answer: bool,
    /// The command that takes a minute.
    slow: Option<&'static str>,
    /// Nodes that have what is asked for, where others lack it: what may run on none of them is
    /// refused.
    fit: Option<Vec<String>>,
    /// Whether the queue forgets a job once it is over, and accounts are kept.
    forgets: bool,
    /// All that was run.
    ran: Vec<String>,
}

/// Something of a node, by its name.
type OnNode<T> = dyn Fn(&str) -> T + Send + Sync;

/// A cluster of some nodes.
#[derive(Clone)]
pub(crate) struct FakeSlurm {
    state: Arc<Mutex<State>>,
    engine: Arc<OnNode<Arc<dyn Engine>>>,
    measure: Arc<OnNode<Arc<dyn Measure>>>,
    /// What a node is.
    machine: Arc<OnNode<Machine>>,
    /// Whether its program can be started there.
    starts: Arc<OnNode<bool>>,
}

fn answer(code: i32, out: String, err: &str) -> Answer {
    Answer { code: Some(code), out, err: err.to_owned() }
}

impl FakeSlurm {
    pub(crate) fn new(nodes: &[&str], engine: Arc<dyn Engine>, measure: Arc<dyn Measure>) -> Self {
        let nodes = nodes.iter().map(|it| ((*it).to_owned(), true)).collect();
        Self {
            state: Arc::new(Mutex::new(State { nodes, ..State::default() })),
            engine: Arc::new(move |_| Arc::clone(&engine)),
            measure: Arc::new(move |_| Arc::clone(&measure)),
            machine: Arc::new(|_| Machine::default()),
            starts: Arc::new(|_| true),
        }
    }

    pub(crate) fn machines(
        self,
        machine: impl Fn(&str) -> Machine + Send + Sync + 'static,
    ) -> Self {
        Self { machine: Arc::new(machine), ..self }
    }

    /// What starts servers on each node.
    pub(crate) fn engines(
        self,
        engine: impl Fn(&str) -> Arc<dyn Engine> + Send + Sync + 'static,
    ) -> Self {
        Self { engine: Arc::new(engine), ..self }
    }

    /// What measures on each node.
    pub(crate) fn measures(
        self,
        measure: impl Fn(&str) -> Arc<dyn Measure> + Send + Sync + 'static,
    ) -> Self {
        Self { measure: Arc::new(measure), ..self }
    }

    pub(crate) fn starts(self, starts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { starts: Arc::new(starts), ..self }
    }

    /// The next answer of a command.
    pub(crate) fn answers(&self, command: &'static str, with: Answer) {
        self.with(|state| state.scripted.push((command, Ok(with))));
    }

    /// A command takes a minute from now on.
    pub(crate) fn is_slow(&self, command: &'static str) {
        self.with(|state| state.slow = Some(command));
    }

    /// Only these nodes have what is asked for.
    pub(crate) fn fits_only(&self, nodes: &[&str]) {
        let nodes = nodes.iter().map(|&it| it.to_owned()).collect();
        self.with(|state| state.fit = Some(nodes));
    }

    /// The cluster lost a job, and its number is somebody else's now, who waits with it.
    pub(crate) fn gives_number_again(&self, job: u32) {
        self.with(|state| {
            let job = state.jobs.get_mut(&job).expect("a job");
            job.task.take().inspect(JoinHandle::abort);
            (job.state, job.node, job.held) = ("PENDING", None, true);
            (job.comment, job.reason) = ("another one's".to_owned(), "JobHeldUser".to_owned());
        });
    }

    /// The next submission is accepted, and nobody learns its id.
    pub(crate) fn loses_answer(&self) {
        self.with(|state| state.loses_answer = true);
    }

    /// From now on the queue shows no job that is over; the accounts do.
    pub(crate) fn forgets(&self) {
        self.with(|state| state.forgets = true);
    }

    /// What a refused command answers.
    pub(crate) fn refusal(why: &str) -> Answer {
        answer(1, String::new(), &format!("sbatch: error: Batch job submission failed: {why}"))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no panic"))
    }

    /// All commands that begin so.
    pub(crate) fn ran(&self, command: &str) -> Vec<String> {
        let ran = self.with(|state| state.ran.clone());
        ran.into_iter().filter(|it| it.starts_with(command)).collect()
    }

    /// Jobs that are not over.
    pub(crate) fn living(&self) -> usize {
        self.with(|state| state.jobs.values().filter(|it| it.lives()).count())
    }

    /// The node takes no jobs any more, or takes them again; what runs there runs on.
    pub(crate) fn takes_jobs(&self, node: &str, takes: bool) {
        self.with(|state| state.nodes.insert(node.to_owned(), takes));
        self.schedule();
    }

    /// Somebody else has the node, or leaves it; what runs there runs on.
    pub(crate) fn occupies(&self, node: &str, has: bool) {
        self.with(|state| {
            let others = &mut state.others;
            if has { others.insert(node.to_owned()) } else { others.remove(node) }
        });
        self.schedule();
    }

    /// The node dies, and its job with it.
    pub(crate) fn dies(&self, node: &str) {
        self.takes_jobs(node, false);
        self.ends(node, "NODE_FAIL", 0);
    }

    /// The job that runs on a node is ended by the cluster, `within` so many seconds after it
    /// was asked to; at once, unasked, where that is 0.
    pub(crate) fn ends(&self, node: &str, state: &'static str, within: u64) {
        let on = |it: &FakeJob| it.state == "RUNNING" && it.node.as_deref() == Some(node);
        let id = self.with(|state| state.jobs.iter().find(|(_, it)| on(it)).map(|(id, _)| *id));
        let Some(id) = id else { return };
        self.end(id, state, within);
    }

    /// All jobs that wait are cancelled.
    pub(crate) fn cancels_waiting(&self) {
        self.with(|state| {
            for job in state.jobs.values_mut().filter(|it| it.state == "PENDING") {
                job.state = "CANCELLED";
            }
        });
    }

    /// The job on a node is started for the second time.
    pub(crate) fn requeues(&self, node: &str) {
        self.with(|state| {
            let mut all = state.jobs.values_mut();
            let on = |it: &&mut FakeJob| it.lives() && it.node.as_deref() == Some(node);
            let Some(job) = all.find(on) else { return };
            job.task.take().inspect(JoinHandle::abort);
            (job.restarts, job.state, job.reason) = (1, "PENDING", "BeginTime".to_owned());
            job.held = true;
        });
    }

    fn end(&self, id: u32, to: &'static str, within: u64) {
        let (own, ended) = (self.clone(), move |own: &Self| {
            own.with(|state| {
                let Some(job) = state.jobs.get_mut(&id).filter(|it| it.lives()) else { return };
                job.task.take().inspect(JoinHandle::abort);
                job.state = to;
            });
            own.schedule();
        });
        let runs = self.with(|state| state.jobs.get(&id).is_some_and(|it| it.state == "RUNNING"));
        if within == 0 || !runs {
            return ended(self);
        }
        self.with(|state| state.jobs[&id].ask.cancel());
        // A program that leaves by itself ends the job with this state, too.
        self.with(|state| state.jobs.get_mut(&id).expect("it is there").reason = to.to_owned());
        tokio::spawn(async move {
            sleep(Duration::from_secs(within)).await;
            ended(&own);
        });
    }

    /// Starts what may run.
    fn schedule(&self) {
        let started = self.with(|state| {
            let busy = |state: &State, node: &str| {
                let runs = |it: &FakeJob| it.state == "RUNNING" && it.node.as_deref() == Some(node);
                state.others.contains(node) || state.jobs.values().any(runs)
            };
            let mut started = Vec::new();
            let waiting: Vec<u32> = state
                .jobs
                .iter()
                .filter(|(_, it)| it.state == "PENDING" && !it.held)
                .map(|it| *it.0)
                .collect();
            for id in waiting {
                let (exclude, only) = (&state.jobs[&id].exclude, &state.jobs[&id].only);
                let has = |it: &String| state.fit.as_ref().is_none_or(|fit| fit.contains(it));
                let fits = |it: &String| {
                    has(it) && !exclude.contains(it) && (only.is_empty() || only == it)
                };
                let allowed: Vec<String> = state
                    .nodes
                    .iter()
                    .filter(|(name, takes)| **takes && fits(name))
                    .map(|it| it.0.clone())
                    .collect();
                let free = allowed.iter().find(|it| !busy(state, it)).cloned();
                let job = state.jobs.get_mut(&id).expect("it is there");
                match free {
                    Some(node) => {
                        (job.state, job.node, job.reason) =
                            ("RUNNING", Some(node.clone()), String::new());
                        started.push((id, node));
                    }
                    None if allowed.is_empty() => {
                        job.reason = DOWN.to_owned();
                    }
                    None => job.reason = "Resources".to_owned(),
                }
            }
            started
        });
        for (id, node) in started {
            let own = self.clone();
            let task = tokio::spawn(async move { own.runs(id, node).await });
            self.with(|state| state.jobs.get_mut(&id).expect("it is there").task = Some(task));
        }
    }

    /// What a job does.
    async fn runs(&self, id: u32, host: String) {
        sleep(Duration::from_secs(START)).await;
        let (folder, cancel) = self.with(|state| {
            let job = &state.jobs[&id];
            (job.folder.clone(), job.ask.clone())
        });
        let (mut state, mut exit) = ("FAILED", 0);
        if (self.starts)(&host) {
            let order = node::order(&Files::of(&folder).order()).expect("an order");
            let began = Began {
                at: jiff::Timestamp::now(),
                machine: (self.machine)(&host),
                host,
                job: Some(id.to_string()),
                restarts: 0,
            };
            let (engine, measure) = ((self.engine)(&began.host), (self.measure)(&began.host));
            let node = Node { engine: &*engine, measure: &*measure, began, cancel: &cancel };
            node::run(&order, node).await.expect("a launch");
            state = "COMPLETED";
        } else {
            std::fs::write(Files::of(&folder).output(), "vllm-grid: not found\n").expect("written");
            exit = 127 << 8;
        }
        self.with(|all| {
            let job = all.jobs.get_mut(&id).expect("it is there");
            let to = ["CANCELLED", "PREEMPTED", "TIMEOUT"].into_iter().find(|it| *it == job.reason);
            (job.state, job.exit, job.task) = (to.unwrap_or(state), exit, None);
        });
        self.schedule();
    }

    fn submits(&self, words: &[String]) -> Answer {
        let of = |name: &str| {
            let value = words.iter().find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().to_owned()
        };
        let exclude: Vec<String> =
            of("--exclude").split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let only = of("--nodelist");
        let fit = self.with(|state| state.fit.clone());
        let may = |it: &String| !exclude.contains(it) && (only.is_empty() || only == *it);
        if fit.is_some_and(|fit| !fit.iter().any(may)) {
            return Self::refusal("Requested node configuration is not available");
        }
        let job = FakeJob {
            state: "PENDING",
            exit: 0,
            reason: "JobHeldUser".to_owned(),
            node: None,
            restarts: 0,
            comment: of("--comment"),
            exclude,
            only,
            folder: of("--chdir").into(),
            held: words.iter().any(|it| it == "--hold"),
            ask: CancellationToken::new(),
            task: None,
        };
        let id = self.with(|state| {
            let id = state.jobs.len() as u32 + 1;
            state.jobs.insert(id, job);
            id
        });
        self.schedule();
        if self.with(|state| std::mem::take(&mut state.loses_answer)) {
            return answer(
                1,
                String::new(),
                "sbatch: error: Socket timed out on send/recv operation",
            );
        }
        answer(0, format!("{id}\n"), "")
    }

    fn states(&self) -> Answer {
        let lines = self.with(|state| {
            let line = |(id, job): (&u32, &FakeJob)| {
                let node = job.node.as_deref().unwrap_or_default();
                let FakeJob { state, exit, restarts, reason, comment, .. } = job;
                format!("{id}|{state}|{node}|{restarts}|{exit}|{reason}|{comment}|\n")
            };
            let shown = state.jobs.iter().filter(|(_, job)| job.lives() || !state.forgets);
            shown.map(line).collect()
        });
        answer(0, lines, "")
    }

    fn accounts(&self, words: &[String]) -> Answer {
        let id = words[5].parse().expect("an id");
        let state = self.with(|state| state.forgets.then(|| state.jobs[&id].state));
        match state {
            Some(state) => answer(0, format!("{id}|{state}|n1\n"), ""),
            None => answer(1, String::new(), "Slurm accounting storage is disabled"),
        }
    }

    fn nodes(&self) -> Answer {
        let lines = self.with(|state| {
            let line = |(name, up): (&String, &bool)| {
                let word = if *up { "idle" } else { "down" };
                format!("{name}|gpu*|{word}|(null)|infinite|2|1000\n")
            };
            state.nodes.iter().map(line).collect()
        });
        answer(0, lines, "")
    }
}

#[async_trait]
impl Tool for FakeSlurm {
    async fn run(&self, words: &[String]) -> Result<Answer, ToolError> {
        self.with(|state| state.ran.push(words.join(" ")));
        let scripted = self.with(|state| {
            let place = state.scripted.iter().position(|(command, _)| *command == words[0])?;
            Some(state.scripted.remove(place).1)
        });
        if let Some(scripted) = scripted {
            return scripted;
        }
        if self.with(|state| state.slow) == Some(words[0].as_str()) {
            sleep(Duration::from_mins(1)).await;
        }
        let id = || words.last().and_then(|it| it.parse().ok()).unwrap_or_default();
        Ok(match &words[..2].iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["sbatch", _] => self.submits(words),
            ["squeue", _] => self.states(),
            ["sinfo", _] => self.nodes(),
            ["sacct", _] => self.accounts(words),
            ["scontrol", "release"] => {
                self.with(|state| state.jobs.get_mut(&id()).expect("a job").held = false);
                self.schedule();
                answer(0, String::new(), "")
            }
            ["scontrol", "update"] => {
                let of =
                    |name: &str| words.iter().find_map(|it| it.strip_prefix(name)).expect("a word");
                let nodes = of("ExcNodeList=")
                    .split(',')
                    .filter(|it| !it.is_empty())
                    .map(str::to_owned)
                    .collect();
                let id: u32 = of("JobId=").parse().expect("an id");
                self.with(|state| {
                    let job = state.jobs.get_mut(&id).expect("a job");
                    job.exclude = nodes;
                    if words.iter().any(|it| it == "ReqNodeList=") {
                        job.only = String::new();
                    }
                });
                self.schedule();
                answer(0, String::new(), "")
            }
            ["scancel", "--batch"] => {
                self.with(|state| state.jobs[&id()].ask.cancel());
                answer(0, String::new(), "")
            }
            ["scancel", _] => {
                self.end(id(), "CANCELLED", KILL_WAIT);
                answer(0, String::new(), "")
            }
            _ => answer(1, String::new(), "unknown"),
        })
    }
}
