//! How a launch becomes a job: its order and its script are written, the job is submitted and
//! held, its id journalled, and then it may start. A queue that is full, or a controller that
//! does not answer, is waited for; what the cluster refuses for good ends the sweep, as it would
//! refuse the next one. What the job does then is followed in `follow`.

use std::io::Write as _;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::super::job::{FORMAT, Files, JobOrder};
use super::super::{Making, SweepError};
use super::cluster::Cluster;
use super::loss;
use super::nodes::{Picture, Placed};
use super::own;
use super::reading::submitted;
use super::request::{self, JobRequest};
use super::state::State;
use super::tool::{Answer, ToolError};
use super::watch::Seen;
use crate::event::Emit;
use crate::event::Phase;
use crate::history::HistoryError;
use crate::history::folder::{Folder, write_whole};
use crate::history::journal::Entry;

/// Waits between two attempts at a submission: the last one is repeated.
const AGAIN: [u64; 5] = [5, 10, 20, 40, 60];

/// Seconds before each look for jobs that a session left without knowing them.
const LAST_LOOKS: [u64; 4] = [0, 5, 10, 20];
/// How long each of them may take: the session's end waits for it.
const LOOKS_WITHIN: Duration = Duration::from_secs(10);

/// What an attempt at a submission came to.
enum Attempt {
    /// A stop was asked for: whether it was accepted is not known.
    Stopped,
    Accepted(String),
    /// Why it has to be repeated.
    Again(String),
}

/// After how long it is said that a submission takes long.
const SLOW: Duration = Duration::from_secs(5);
/// For how long a submission is waited for once a stop was asked for.
const SOON: Duration = Duration::from_secs(3);
/// For how long counts what the cluster said of a job's number, where it does not answer now.
const LATELY: Duration = Duration::from_mins(5);
/// Seconds before each attempt to see whose job it is that is to be cancelled.
const SURE: [u64; 3] = [0, 2, 5];

/// What a submission came to.
pub(super) enum Submitted {
    /// The job with this id may start there.
    Job(String, Placed),
    /// A stop was asked for before it could.
    Stopped,
}

impl Cluster {
    /// Submits a launch, and lets its job start once its id is journalled.
    pub(super) async fn submit(&self, making: &Making<'_>) -> Result<Submitted, SweepError> {
        let launch = making.order.launch.launch;
        let placed = tokio::select! {
            biased;
            placed = self.placed(making) => placed?,
            () = making.cancel.cancelled() => return Ok(Submitted::Stopped),
        };
        self.write(making)?;
        let Some((job, mut placed)) = self.accepted(making, placed).await? else {
            return Ok(Submitted::Stopped);
        };
        self.jobs().known.insert(job.clone());
        let entry = Entry::JobSubmitted { launch, job: job.clone() };
        if making.sink.put(entry).await.is_err() {
            self.cancel_new(&job).await;
            return Ok(Submitted::Stopped);
        }
        match self.released(making, &job, &mut placed).await {
            Ok(true) => Ok(Submitted::Job(job, placed)),
            other => {
                self.cancel_new(&job).await;
                other.map(|_| Submitted::Stopped)
            }
        }
    }

    /// Lets a job start; where the cluster refuses that, on nodes that it was kept off only to spread
    /// configurations, too: the others may lack what it asks for.
    async fn released(
        &self,
        making: &Making<'_>,
        job: &str,
        placed: &mut Placed,
    ) -> Result<bool, SweepError> {
        let why = match self.release(making, job).await {
            Err(SweepError::Refused(why)) => why,
            other => return other,
        };
        let wider = self.nodes().wider(placed);
        let Some(wider) = wider else { return Err(SweepError::Refused(why)) };
        let words = request::exclude(&self.block, job, &wider.exclude, !self.block.lists_nodes());
        let _ = self.tool.run(&words).await;
        *placed = wider;
        let is_released = self.release(making, job).await?;
        let reason = why.split(". It asks for: ").next().unwrap_or_default();
        self.is_wider(making, placed, reason);
        Ok(is_released)
    }

    /// Says that a launch may run on nodes that it was to be kept off, and notes that.
    fn is_wider(&self, making: &Making<'_>, placed: &Placed, reason: &str) {
        self.says_wider(&making.emit.of_launch(making.order.launch.launch), reason);
        self.is_sent(making, placed, Some(&Picture::default()));
    }

    /// Writes what the job reads.
    fn write(&self, making: &Making<'_>) -> Result<(), SweepError> {
        let mut order = making.order.clone();
        let folder = Self::folder_of(making);
        Folder::create_launch(&folder)?;
        order.launch.folder.clone_from(&folder);
        let order = JobOrder {
            format: FORMAT,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: self.run_id.clone(),
            run: self.run.clone(),
            order,
        };
        let (files, script) = (Files::of(&folder), request::script_path(&folder));
        let masked = self.secrets.masked(order);
        let text = masked.and_then(|order| serde_json::to_vec(&order));
        let whole = |path: std::path::PathBuf, bytes: &[u8]| {
            write_whole(&path, |file| file.write_all(bytes))
                .map_err(|error| HistoryError::Io { path, error })
        };
        let text = text.map_err(|error| HistoryError::Io {
            path: files.order(),
            error: std::io::Error::other(error),
        })?;
        whole(files.order(), &text)?;
        whole(script, request::script(&self.program, &files.order()).as_bytes())?;
        Ok(())
    }

    /// The id of the job, once the cluster has accepted it, and where it may run; `None` where a
    /// stop was asked for. What keeps it off nodes only to spread configurations is left out where
    /// the cluster refuses it so: the other nodes may lack what it asks for.
    async fn accepted(
        &self,
        making: &Making<'_>,
        placed: Placed,
    ) -> Result<Option<(String, Placed)>, SweepError> {
        let first = self.accepted_so(making, &placed).await;
        let why = match first {
            Err(SweepError::Refused(why)) => why,
            other => return other.map(|job| job.map(|job| (job, placed))),
        };
        let wider = self.nodes().wider(&placed);
        let Some(wider) = wider else { return Err(SweepError::Refused(why)) };
        let job = self.accepted_so(making, &wider).await?;
        let reason = why.split(". Asked by: ").next().unwrap_or_default();
        self.is_wider(making, &wider, reason);
        Ok(job.map(|job| (job, wider)))
    }

    /// Says, once for a reason, that launches are not spread as they should be.
    pub(super) fn says_wider(&self, emit: &Emit, reason: &str) {
        let said = format!(
            "the cluster has no other node for this launch ({reason}): it may run where its \
             configuration ran before"
        );
        if self.is_new(&said) {
            emit.warn(said);
        }
    }

    /// The same with the nodes that are asked for.
    async fn accepted_so(
        &self,
        making: &Making<'_>,
        placed: &Placed,
    ) -> Result<Option<String>, SweepError> {
        let launch = making.order.launch.launch;
        let folder = Self::folder_of(making);
        let request = JobRequest {
            block: &self.block,
            run_id: &self.run_id,
            launch,
            seconds: self.seconds,
            folder: &folder,
            output: &Files::of(&folder).output(),
            script: &request::script_path(&folder),
            exclude: &placed.exclude,
            only: placed.only.as_deref(),
        };
        let words = request::submit(&request);
        // Whether an earlier attempt may have been accepted.
        let mut unsure = false;
        let mut attempts = 0;
        loop {
            let why = match self.attempt(&words, making, &mut unsure).await? {
                Attempt::Accepted(job) => return Ok(Some(job)),
                Attempt::Stopped => return Ok(None),
                Attempt::Again(why) => why,
            };
            let full = if loss::is_full(&why) { "the queue is full: " } else { "" };
            let what = format!("launch {launch} is not submitted: {full}{why}");
            if !waits(making, &mut attempts, &what).await {
                return Ok(None);
            }
        }
    }

    /// Asks once. A submission without an answer may have been accepted: before it is repeated,
    /// its job is looked for, and nothing is submitted until the cluster says whether it is there.
    async fn attempt(
        &self,
        words: &[String],
        making: &Making<'_>,
        unsure: &mut bool,
    ) -> Result<Attempt, SweepError> {
        let mut why = String::new();
        if !*unsure {
            let Some(answer) = self.submitting(words, making).await else {
                self.jobs().unanswered = true;
                return Ok(Attempt::Stopped);
            };
            let is_silent = matches!(answer, Err(ToolError::Silent { .. }));
            why = match answer {
                Ok(answer) if answer.is_done() => {
                    if let Some(job) = submitted(&answer.out) {
                        return Ok(Attempt::Accepted(job));
                    }
                    // It was accepted all the same: it is looked for when the session ends.
                    self.jobs().unanswered = true;
                    return Err(not_an_id(&answer));
                }
                Ok(answer) => {
                    // Ended by a signal, it may have been accepted before.
                    self.jobs().unanswered |= answer.code.is_none();
                    answer.why()
                }
                Err(error) if is_silent => error.to_string(),
                Err(error) => return Err(environment(error.to_string())),
            };
            if !is_silent && !loss::is_passing(&why) {
                let words = shell_words::join(words);
                return Err(SweepError::Refused(format!("{why}. Asked by: {words}")));
            }
            *unsure = is_silent || loss::may_be_accepted(&why);
        }
        if *unsure {
            self.jobs().unanswered = true;
            match self.by_comment(making.order.launch.launch).await {
                Ok(Some(job)) => return Ok(Attempt::Accepted(job)),
                Ok(None) => *unsure = false,
                Err(silent) => why = format!("whether it was accepted is not known: {silent}"),
            }
        }
        let none = "no answer, and the cluster has no such job";
        Ok(Attempt::Again(if why.is_empty() { none.to_owned() } else { why }))
    }

    /// Submits, and says where that takes long; `None` where a stop was asked for meanwhile and it
    /// got no answer soon after.
    async fn submitting(
        &self,
        words: &[String],
        making: &Making<'_>,
    ) -> Option<Result<Answer, ToolError>> {
        let submission = self.tool.run(words);
        tokio::pin!(submission);
        tokio::select! {
            biased;
            answer = &mut submission => return Some(answer),
            () = making.cancel.cancelled() => return timeout(SOON, submission).await.ok(),
            () = sleep(SLOW) => {}
        }
        let emit = making.emit.of_launch(making.order.launch.launch);
        emit.phase(Phase::Elsewhere("the cluster has not accepted it yet".to_owned()));
        tokio::select! {
            biased;
            answer = &mut submission => Some(answer),
            () = making.cancel.cancelled() => timeout(SOON, submission).await.ok(),
        }
    }

    /// The job of ours for a launch, by its comment: only where a submission gave no answer.
    async fn by_comment(&self, launch: u32) -> Result<Option<String>, String> {
        let all = own::all(&*self.tool, &self.run_id).await?;
        // A refused submission may leave a record, too.
        let mut living = all.into_iter().filter(|it| !matches!(it.2.state, State::Ended(_)));
        Ok(living.find(|it| it.1 == launch).map(|it| it.0))
    }

    /// At a session's end no job is followed any more: what a submission without an answer left is
    /// cancelled, as it may have been accepted after it was looked for, and so is once more what
    /// was to be cancelled and goes on, as the cluster may not have heard it.
    pub(super) async fn cancel_rest(&self, emit: &Emit) {
        let (unanswered, doomed) = {
            let jobs = self.jobs();
            (jobs.unanswered, !jobs.doomed.is_empty())
        };
        if !unanswered && !doomed {
            return;
        }
        let mut left = Err(String::new());
        for wait in LAST_LOOKS {
            sleep(Duration::from_secs(wait)).await;
            left = self.rest().await;
            let Ok(jobs) = &left else { continue };
            // A submission may still be on its way when it is looked for first.
            if jobs.is_empty() && (wait > 0 || !unanswered) {
                return;
            }
            for (id, launch, is_known) in jobs {
                if !is_known {
                    emit.of_launch(*launch)
                        .warn(format!("job {id} is cancelled: its submission got no answer"));
                }
                self.cancel_new(id).await;
            }
        }
        let what = match left {
            Ok(jobs) if jobs.is_empty() => return,
            Ok(jobs) => {
                let ids: Vec<String> = jobs.into_iter().map(|it| it.0).collect();
                format!("cancelled, and still there: job {}", ids.join(", "))
            }
            Err(silent) => format!("whether a job is left is not known ({silent})"),
        };
        emit.warn(format!("{what}: the next session or `vllm-grid recover` cancels it"));
    }

    /// Jobs that wait or run and are not followed, with their launches, and whether they are known.
    async fn rest(&self) -> Result<Vec<(String, u32, bool)>, String> {
        let asked = timeout(LOOKS_WITHIN, own::all(&*self.tool, &self.run_id)).await;
        let all = asked.unwrap_or_else(|_| {
            Err(format!("squeue did not answer within {} s", LOOKS_WITHIN.as_secs()))
        })?;
        let jobs = self.jobs();
        let goes_on = |state| !matches!(state, State::Ended(_) | State::Ending);
        let rest = all.into_iter().filter(|(_, _, job)| goes_on(job.state));
        let rest = rest.map(|(id, launch, _)| {
            let is_known = jobs.known.contains(&id);
            (id, launch, is_known)
        });
        Ok(rest.filter(|(id, _, is_known)| !is_known || jobs.doomed.contains(id)).collect())
    }

    /// Lets a job start; whether it may: a stop may be asked for while the cluster is silent.
    async fn release(&self, making: &Making<'_>, job: &str) -> Result<bool, SweepError> {
        let mut attempts = 0;
        loop {
            let words = request::release(job);
            let release = self.tool.run(&words);
            tokio::pin!(release);
            let answer = tokio::select! {
                biased;
                answer = &mut release => answer,
                // A stop does not wait for a cluster that hangs.
                () = making.cancel.cancelled() => match timeout(SOON, release).await {
                    Ok(answer) => answer,
                    Err(_) => return Ok(false),
                },
            };
            let is_silent = matches!(answer, Err(ToolError::Silent { .. }));
            let why = match answer {
                Ok(answer) if answer.is_done() => return Ok(true),
                Ok(answer) => answer.why(),
                Err(error) => error.to_string(),
            };
            // One that was cancelled meanwhile is followed to its end.
            if ["Invalid job id", "already complet"].iter().any(|it| why.contains(it)) {
                return Ok(true);
            }
            if !is_silent && !loss::is_passing(&why) {
                let asked = request::asked(&self.block);
                return Err(SweepError::Refused(format!(
                    "job {job} cannot be released: {why}. It asks for: {asked}"
                )));
            }
            if !waits(making, &mut attempts, &format!("job {job} is not released: {why}")).await {
                return Ok(false);
            }
        }
    }

    /// Notes a job that is not followed any more and may go on: it is cancelled at the session's end.
    pub(super) fn dooms(&self, job: &str) {
        self.jobs().doomed.insert(job.to_owned());
    }

    /// Cancels a job that may be over; what the cluster answers is seen in its state.
    pub(super) async fn cancel(&self, job: &str) {
        self.dooms(job);
        if self.is_ours(job).await {
            self.cancel_new(job).await;
        }
    }

    /// Cancels a job whose number was learned a moment ago.
    async fn cancel_new(&self, job: &str) {
        self.dooms(job);
        let _ = self.tool.run(&request::cancel(job)).await;
    }

    /// Whether the cluster knows a job by this number as one of the run's: a cluster that lost
    /// its memory gives numbers again. One that hangs is not waited for: what it said a moment ago
    /// counts.
    pub(super) async fn is_ours(&self, job: &str) -> bool {
        for wait in SURE {
            sleep(Duration::from_secs(wait)).await;
            let is_ours = |seen: &Seen| {
                let ours = seen.jobs.get(job).and_then(|it| it.ours.as_ref());
                ours.is_some_and(|(run, _)| *run == self.run_id)
            };
            // Many jobs are cancelled at once, after a stop: one answer serves all.
            if let Ok(Some(seen)) = timeout(SOON, self.watch.fresh()).await {
                return is_ours(&seen);
            }
            let seen = self.watch.look().await;
            if seen.at.is_some_and(|at| at.elapsed() < LATELY) {
                return is_ours(&seen);
            }
        }
        false
    }
}

/// Says what is tried again, and waits until then, longer after each attempt; whether no stop was
/// asked for meanwhile.
async fn waits(making: &Making<'_>, attempts: &mut usize, what: &str) -> bool {
    let wait = AGAIN[(*attempts).min(AGAIN.len() - 1)];
    *attempts += 1;
    let emit = making.emit.of_launch(making.order.launch.launch);
    emit.warn(format!("{what}; tried again in {wait} s"));
    tokio::select! {
        biased;
        () = making.cancel.cancelled() => false,
        () = sleep(Duration::from_secs(wait)) => true,
    }
}

fn not_an_id(answer: &Answer) -> SweepError {
    environment(format!("sbatch answered no job's id: {}", answer.why()))
}

pub(super) fn environment(message: String) -> SweepError {
    SweepError::Stopped { message, log_lines: Vec::new(), environment: true }
}
