//! Follows the job of a launch to its end: what its node writes is passed on as it comes, what
//! the cluster says of the job is looked at every few seconds, and from both follows what the
//! launch came to. A stop ends the job in good order. How a job begins is in `submit`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::super::job::{Began, End, Files, Line, Reader};
use super::super::{Made, Making, SweepError};
use super::cluster::Cluster;
use super::loss::{cannot_start, lacks_nodes, never_starts};
use super::nodes::Placed;
use super::reading::Job;
use super::request::{self, GRACE};
use super::state::{Ended, State};
use super::watch::Seen;
use crate::event::{Emit, Phase};
use crate::history::HistoryError;
use crate::history::journal::Entry;
use crate::history::launch::LaunchOutcome;
use crate::history::loss::Loss;
use crate::history::record::LaunchRecord;
use crate::ownership::aside;

mod asks;
mod lost;

use asks::{Moving, Repeated, answered};

/// How often what the node wrote is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often its node's sign of life is looked at: it comes no sooner.
const BEATS: Duration = Duration::from_secs(5);
/// Time in which a job that was asked to end does so: then the cluster ends it.
const ENDS_WITHIN: Duration = Duration::from_secs(GRACE + 30);
/// For how long a job may be missing from the cluster's answers after its submission.
const UNSEEN: Duration = Duration::from_secs(30);
/// How much sooner than it was asked to a cluster may ask for an end because of a limit of time:
/// Slurm looks every 30 s. Of a job of 60 s it was asked 30 s before the end, and not 15.
const EARLY: u64 = 35;
/// After how long it is said that what a job wrote is waited for.
const SAID_AFTER: Duration = Duration::from_secs(3);
/// For how long what a job wrote is waited for after a stop.
const LATE_AT_STOP: Duration = Duration::from_secs(10);
/// For how long a stop waits for a cluster that does not answer, where no node began the launch.
const ASKED: Duration = Duration::from_secs(15);
/// For how long a node may say nothing while its job runs.
const SILENT: Duration = Duration::from_mins(10);
/// Last lines of a job's own output that explain why it gave nothing.
const LINES: usize = 5;

/// A job that is followed.
struct Following<'a> {
    cluster: &'a Cluster,
    making: &'a Making<'a>,
    emit: Emit,
    job: String,
    /// Where it may run, by what the cluster was asked for last.
    placed: Placed,
    files: Files,
    reader: Reader,
    /// Entries that the journal has already.
    skip: usize,
    /// The node, once the launch began there, and whether the journal has it.
    host: Option<String>,
    began: Option<Began>,
    /// When it was followed first, and when the cluster said that it is over.
    since: Instant,
    over: Option<(Instant, Option<Ended>)>,
    /// Why its node is not to be used, where that is so: nothing of it counts.
    refused: Option<String>,
    /// Since when it is to end, the requests for that, and whether it is cancelled although it
    /// began.
    asked: Option<Instant>,
    ending: Repeated,
    cancelled: bool,
    /// Such a request that has no answer yet: what the node writes is read meanwhile.
    asking: Option<BoxFuture<'a, ()>>,
    /// What the node said last of being alive, and when that was new.
    beat: (String, Instant),
    /// Since when the cluster says that it runs.
    runs: Option<Instant>,
    /// When that was looked at last.
    heard: Option<Instant>,
    /// Since when its lines cannot be read.
    unread: Option<Instant>,
    /// Whether the cluster started it more than once.
    requeued: bool,
    /// That it may run where its configuration ran already, as the other nodes are down.
    goes_anywhere: Repeated,
    /// That it may not run on nodes that were refused since it was submitted.
    keeps_off: Repeated,
    /// When it was let on nodes that it was kept off, as the others lack what it asks for.
    widened: Option<Instant>,
    widening: Repeated,
    /// What the cluster says of it, in words.
    said: String,
    /// The node, as the cluster has it.
    node: Option<String>,
    /// How its program ended, as the cluster has it, and why it is in its state.
    exit: Option<u32>,
    reason: Option<String>,
    /// What is known of where it may run.
    moving: Moving,
    /// Whether its number is another job's now: the cluster lost this one.
    foreign: bool,
    /// That it is let start: the session that submitted it died before it could.
    release: Repeated,
}

impl Cluster {
    /// Follows a job until its launch is over.
    pub(super) async fn follow(
        &self,
        making: &Making<'_>,
        job: String,
        placed: Placed,
    ) -> Result<Made, SweepError> {
        let taken_up = making.taken_up.as_ref();
        let folder = Self::folder_of(making);
        let mut following = Following {
            cluster: self,
            making,
            emit: making.emit.of_launch(making.order.launch.launch),
            job,
            placed,
            files: Files::of(&folder),
            reader: Reader::of(&folder),
            skip: taken_up.map_or(0, |it| it.entries),
            host: taken_up.and_then(|it| it.host.clone()),
            began: None,
            since: Instant::now(),
            over: None,
            refused: None,
            asked: None,
            ending: Repeated::default(),
            cancelled: false,
            asking: None,
            beat: (String::new(), Instant::now()),
            runs: None,
            heard: None,
            unread: None,
            requeued: false,
            goes_anywhere: Repeated::default(),
            keeps_off: Repeated::default(),
            widened: None,
            widening: Repeated::default(),
            said: String::new(),
            node: None,
            exit: None,
            reason: None,
            moving: Moving {
                unplaced: taken_up.is_some() && making.order.beside.is_none(),
                ..Moving::default()
            },
            foreign: false,
            release: Repeated::default(),
        };
        let made = following.run().await;
        if let Ok(Made { outcome, .. }) = &made {
            let on = following.host.as_ref().or(following.node.as_ref());
            let name = &making.order.launch.configuration.name;
            self.nodes().ended(making.order.trial, name, outcome, on);
        }
        made
    }
}

/// What follows from a look.
enum Step {
    GoesOn,
    Made(Made),
}

impl Following<'_> {
    async fn run(&mut self) -> Result<Made, SweepError> {
        loop {
            let seen = self.cluster.watch.look().await;
            if let Step::Made(made) = self.lines().await? {
                return Ok(made);
            }
            if self.making.cancel.is_cancelled() || self.asked.is_some() {
                self.end();
            }
            if let Step::Made(made) = self.state(&seen).await? {
                return Ok(made);
            }
            // A stop is acted upon at once; after that, at the usual pace.
            let is_asked = self.asked.is_some();
            let next = sleep(LOOK);
            tokio::pin!(next);
            while !next.is_elapsed() {
                tokio::select! {
                    biased;
                    () = self.making.cancel.cancelled(), if !is_asked => break,
                    () = answered(&mut self.asking) => self.asking = None,
                    () = &mut next => {}
                }
            }
        }
    }

    /// Passes on what the node wrote since the last look.
    async fn lines(&mut self) -> Result<Step, SweepError> {
        let mut reader = self.reader.clone();
        let is_due = self.heard.is_none_or(|at| at.elapsed() >= BEATS);
        let heartbeat = is_due.then(|| self.files.heartbeat());
        let (reader, lines, beat) = aside(move || {
            let lines = reader.more();
            let beat = heartbeat.map(|it| std::fs::read_to_string(it).unwrap_or_default());
            (reader, lines, beat)
        })
        .await;
        self.reader = reader;
        if let Some(beat) = beat {
            self.heard = Some(Instant::now());
            if beat != self.beat.0 {
                self.beat = (beat, Instant::now());
            }
        }
        let lines = match lines {
            Ok(lines) => lines,
            // A file system that is shared may have a part of it for a moment.
            Err(error) => {
                let since = *self.unread.get_or_insert_with(Instant::now);
                if since.elapsed() < self.cluster.late {
                    return Ok(Step::GoesOn);
                }
                return Err(HistoryError::Io { path: self.files.lines(), error }.into());
            }
        };
        self.unread = None;
        for line in lines {
            match line {
                Line::Began(began) => self.begins(began).await,
                // After a refusal the launch is over, whatever else was measured.
                Line::Entry { .. } if self.refused.is_some() => {}
                Line::Entry { at, entry } => self.entry(at, *entry).await,
                Line::Phase { phase } => self.emit.phase(Phase::Elsewhere(self.at_host(&phase))),
                Line::Warning { text } if self.cluster.is_new(&text) => {
                    self.emit.warn(self.at_host(&text));
                }
                Line::Warning { .. } => {}
                Line::Ended { at, end } => return self.ended(at, end).await.map(Step::Made),
            }
        }
        Ok(Step::GoesOn)
    }

    /// Journals an entry, where the journal does not have it: also of a server that is not to be
    /// used, so that it can be seen which version it has.
    async fn entry(&mut self, at: jiff::Timestamp, entry: Entry) {
        let configuration = &self.making.order.launch.configuration;
        let version = match &entry {
            Entry::LaunchReady { facts, .. } => facts.engine_version.clone(),
            Entry::RepeatFinished { measurement, .. } if LaunchRecord::is_kept(measurement) => {
                if let Some(host) = &self.host {
                    self.cluster.nodes().has(&configuration.name, host);
                }
                None
            }
            _ => None,
        };
        if self.skip > 0 {
            self.skip -= 1;
        } else if self.making.sink.put_at(entry, at).await.is_err() {
            self.asked.get_or_insert_with(Instant::now);
        }
        if let Some((version, host)) = version.zip(self.host.clone()) {
            let same = self.cluster.nodes().same_engine(&host, configuration, &version);
            if let Err(why) = same {
                self.refuse(&host, &why);
            }
        }
    }

    /// The node is not used again, and nothing more of this launch counts.
    fn refuse(&mut self, host: &str, why: &str) {
        let message = format!("{host}: {why}");
        self.cluster.nodes().refuse(host, why);
        self.refused = Some(message);
        self.asked.get_or_insert_with(Instant::now);
    }

    fn at_host(&self, what: &str) -> String {
        self.host.as_ref().map_or_else(|| what.to_owned(), |host| format!("{host}: {what}"))
    }

    /// The launch runs on a node: it is refused where that is of another kind.
    async fn begins(&mut self, began: Began) {
        let launch = self.making.order.launch.launch;
        let (host, machine) = (began.host.clone(), Box::new(began.machine.clone()));
        let is_new = self.host.replace(host.clone()).is_none();
        let at = began.at;
        let same = self.cluster.nodes().same_machine(&host, &began.machine);
        self.began = Some(began);
        if is_new {
            let entry = Entry::LaunchPlaced { launch, host: host.clone(), machine };
            if self.making.sink.put_at(entry, at).await.is_err() {
                self.asked.get_or_insert_with(Instant::now);
            }
        }
        match same {
            Ok(()) => {
                let name = &self.making.order.launch.configuration.name;
                self.cluster.nodes().runs(launch, name, &host);
            }
            Err(why) => self.refuse(&host, &why),
        }
    }

    /// What follows from what the cluster says of the job.
    async fn state(&mut self, seen: &Seen) -> Result<Step, SweepError> {
        if let Some((since, ended)) = self.over {
            // What never came to a node writes nothing late.
            let ran = self.host.is_some() || self.node.is_some() || ended.is_none();
            let late = match (ran, self.asked.is_some()) {
                (true, false) => self.cluster.late,
                // What was finished is kept; a stop does not wait for long.
                (true, true) if self.host.is_some() || self.node.is_some() => {
                    self.cluster.late.min(LATE_AT_STOP)
                }
                _ => LOOK,
            };
            if let Some(made) = self.unable(since, ended) {
                return Ok(Step::Made(made));
            }
            if since.elapsed() < late && since.elapsed() >= SAID_AFTER {
                let what = self.why_over(ended);
                let late = late.as_secs();
                self.says(format!("{what}; its result is waited for, {late} s at most"));
            }
            if since.elapsed() >= late {
                let ended = self.accounted(ended).await;
                return Ok(Step::Made(self.lost(ended)));
            }
            return Ok(Step::GoesOn);
        }
        if let Some(problem) = &seen.problem {
            self.says(format!("the cluster does not answer: {problem}"));
            // A stop does not wait for it for long: what is left is cancelled when the session ends,
            // by the next one, or by `recover`.
            let waits = if self.host.is_some() { ENDS_WITHIN + LATE_AT_STOP } else { ASKED };
            if self.asked.is_some_and(|at| at.elapsed() > waits)
                && let Some(made) = self.ended_by_us()
            {
                self.cluster.dooms(&self.job);
                return Ok(Step::Made(made));
            }
            return Ok(Step::GoesOn);
        }
        match seen.jobs.get(&self.job) {
            None if seen.at.is_some_and(|at| at > self.since + UNSEEN) => {
                // A cluster that lost it may know it again.
                self.cluster.dooms(&self.job);
                self.over = Some((Instant::now(), None));
            }
            None => {}
            Some(job) => return self.known(&job.clone()).await,
        }
        Ok(Step::GoesOn)
    }

    async fn known(&mut self, job: &Job) -> Result<Step, SweepError> {
        let launch = self.making.order.launch.launch;
        let ours = Some((self.cluster.run_id.clone(), launch));
        if job.ours != ours {
            self.emit.warn(format!(
                "job {} is not this launch's any more, by its comment: the cluster lost it and gave \
                 its number again, or somebody changed the comment; it is left alone",
                self.job
            ));
            (self.foreign, self.over) = (true, Some((Instant::now(), None)));
            return Ok(Step::GoesOn);
        }
        if job.restarts > 0 && !self.requeued {
            // What its first start wrote counts; a second one measures nothing.
            self.requeued = true;
            self.cluster.cancel(&self.job).await;
        }
        self.node = job.node.clone().or_else(|| self.node.take());
        self.exit = job.exit;
        self.reason = job.reason.clone().filter(|it| it != "None");
        // One that is suspended says nothing.
        let runs = job.state == State::Runs;
        self.runs = runs.then(|| self.runs.unwrap_or_else(Instant::now));
        match job.state {
            State::Ended(ended) => self.over = Some((Instant::now(), Some(ended))),
            // What the node wrote is newer than that.
            State::Waits if self.host.is_some() => {}
            State::Waits => {
                let reason = job.reason.clone().unwrap_or_default();
                let is_held = reason == "JobHeldUser" && self.making.taken_up.is_some();
                if is_held && self.release.is_due() {
                    self.release.is_done = self.does(&request::release(&self.job)).await;
                }
                if cannot_start(&reason) {
                    self.cluster.cancel(&self.job).await;
                    self.over = Some((Instant::now(), Some(Ended::NodeFailed)));
                    return Ok(Step::GoesOn);
                }
                let is_widened = lacks_nodes(&reason) && self.is_widened(&reason).await;
                let never = never_starts(&reason).filter(|_| !is_widened && self.asked.is_none());
                if let Some(advice) = never {
                    let asked = request::asked(&self.cluster.block);
                    return Err(SweepError::Refused(format!(
                        "job {} of launch {launch} never starts ({reason}): {advice}. It asks for: \
                         {asked}",
                        self.job
                    )));
                }
                if self.asked.is_none() && !self.making.cancel.is_cancelled() {
                    self.moves(&reason).await;
                }
                // It is held until its id is journalled.
                let is_new = self.since.elapsed() < UNSEEN;
                self.says(match reason.as_str() {
                    "" => "submitted".to_owned(),
                    "JobHeldUser" if is_new => "submitted".to_owned(),
                    "JobHeldUser" | "JobHeldAdmin" => {
                        format!("somebody holds it: `scontrol release {}` lets it start", self.job)
                    }
                    reason => format!("waits for a node ({reason})"),
                });
            }
            State::Runs if self.is_silent() => {
                let what = format!("nothing was heard of it for {} s", SILENT.as_secs());
                self.emit.warn(self.at_host(&format!("{what}: job {} is cancelled", self.job)));
                if let (None, Some(node)) = (&self.host, &self.node) {
                    self.cluster.nodes().refuse(node, "no launch begins there");
                }
                self.cluster.cancel(&self.job).await;
                self.over = Some((Instant::now(), Some(Ended::NodeFailed)));
            }
            State::Boots => {
                let node = job.node.clone().unwrap_or_else(|| "a node".to_owned());
                self.says(format!("waits until {node} is up"));
            }
            State::Runs | State::Stopped | State::Ending | State::Unknown
                if self.host.is_none() =>
            {
                let node = job.node.clone().unwrap_or_else(|| "a node".to_owned());
                self.says(format!("starts on {node}"));
            }
            State::Runs | State::Stopped | State::Ending | State::Unknown => {}
        }
        Ok(Step::GoesOn)
    }

    /// Whether its node has said nothing for too long, by which it should run.
    fn is_silent(&self) -> bool {
        self.runs.is_some_and(|since| since.max(self.beat.1).elapsed() > SILENT)
    }

    /// A phase in words, once.
    fn says(&mut self, what: String) {
        if self.said != what {
            self.emit.phase(Phase::Elsewhere(what.clone()));
            self.said = what;
        }
    }

    /// The launch came to its end on the node.
    async fn ended(&mut self, at: jiff::Timestamp, end: End) -> Result<Made, SweepError> {
        let host = self.host.clone().or_else(|| self.node.clone()).unwrap_or_default();
        if let Some(made) = self.of_refused() {
            return Ok(made);
        }
        let outcome = match end {
            End::Outcome(LaunchOutcome::Interrupted) => return Ok(self.interrupted(at).await),
            End::Outcome(outcome) => outcome,
            End::Unable { message, log_lines } => {
                let lines = log_lines.iter().map(|line| format!("\n  {line}"));
                // Its first line may be read before the cluster says where it runs.
                let named = message.split_once(": ").map(|it| it.0.to_owned());
                let named = named.filter(|it| !it.contains(char::is_whitespace));
                let host = if host.is_empty() { named.unwrap_or_default() } else { host };
                let place = format!("{host}: ");
                // A node that could not even begin says its name itself.
                let message = message.strip_prefix(&place).unwrap_or(&message);
                let message = format!("{place}{message}{}", lines.collect::<String>());
                self.cluster.nodes().refuse(&host, &message);
                LaunchOutcome::Lost { loss: Loss::NodeUnable, message }
            }
            End::Unstopped { message, outcome } => {
                // What is left of a job ends with it; a container does not.
                self.emit.warn(format!("{host} is not used again: {message}"));
                self.cluster.nodes().refuse(&host, &message);
                *outcome
            }
        };
        Ok(Made { outcome, happened: Some(at) })
    }
}
