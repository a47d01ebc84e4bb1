//! What a launch came to that has no end of its own: asked to end, cut by the cluster, or lost
//! with its node. By the job's state, the cluster's accounts, and what the node wrote.

use std::time::Duration;

use super::super::loss;
use super::super::own;
use super::super::request;
use super::super::state::{Ended, State};
use super::{EARLY, ENDS_WITHIN, Following, LINES, LOOK, SILENT};
use crate::history::launch::LaunchOutcome;
use crate::history::loss::Loss;
use crate::input;
use crate::sweep::hosts::Made;
use tokio::time::{Instant, sleep};

/// For how long it is waited for what a program printed that could not be run.
const PRINTS: Duration = Duration::from_secs(5);

impl Following<'_> {
    /// The launch ended early in good order: by our own stop, because its node is refused, or
    /// because the cluster asked for it.
    pub(super) async fn interrupted(&mut self, at: jiff::Timestamp) -> Made {
        if let Some(made) = self.ended_by_us() {
            return made;
        }
        let making = self.making;
        let ended = tokio::select! {
            biased;
            ended = self.state_at_end() => ended,
            () = making.cancel.cancelled() => return LaunchOutcome::Interrupted.into(),
        };
        let loss = match self.accounted(ended).await.map(|it| loss::of(Some(it))) {
            // It left when it was asked to: why is not in its state.
            None | Some(Loss::NoResult) if self.is_at_limit(at) => Loss::TimedOut,
            Some(Loss::NoResult) => Loss::Cancelled,
            Some(loss) => loss,
            None => Loss::Unknown,
        };
        // While nobody followed it, that was a person's stop, or `recover`.
        if matches!(loss, Loss::Cancelled | Loss::Unknown) && self.making.taken_up.is_some() {
            return LaunchOutcome::Interrupted.into();
        }
        self.lost_by(loss, None)
    }

    /// How the job ended by the cluster, which may not answer: then for long, as nothing else says
    /// whether a job of a higher priority took the node.
    async fn state_at_end(&mut self) -> Option<Ended> {
        let since = Instant::now();
        loop {
            let seen = self.cluster.watch.look().await;
            let is_new = seen.problem.is_none() && seen.at.is_some_and(|at| at >= since);
            match seen.jobs.get(&self.job).map(|job| job.state) {
                Some(State::Ended(ended)) => return Some(ended),
                None if is_new => return None,
                _ => {}
            }
            let within = if is_new { ENDS_WITHIN } else { SILENT };
            if since.elapsed() > within {
                return None;
            }
            sleep(LOOK).await;
        }
    }

    /// How the job ended: as the queue said, or else by the cluster's accounts.
    pub(super) async fn accounted(&mut self, ended: Option<Ended>) -> Option<Ended> {
        match ended {
            None if self.foreign => None,
            None => own::ended(&*self.cluster.tool, &self.job).await,
            known => known,
        }
    }

    /// Whether it ended when its limit was near, by its node's clock.
    pub(super) fn is_at_limit(&self, at: jiff::Timestamp) -> bool {
        let Some(began) = &self.began else { return false };
        let passed = u64::try_from(at.duration_since(began.at).as_secs()).unwrap_or_default();
        passed + request::lead(self.cluster.seconds) + EARLY >= self.cluster.seconds
    }

    /// What a launch came to whose node is not to be used.
    pub(super) fn of_refused(&self) -> Option<Made> {
        let message = self.refused.clone()?;
        Some(LaunchOutcome::Lost { loss: Loss::OtherMachine, message }.into())
    }

    /// What a launch came to that we asked to end.
    pub(super) fn ended_by_us(&self) -> Option<Made> {
        self.asked?;
        self.of_refused().or_else(|| Some(LaunchOutcome::Interrupted.into()))
    }

    /// The job is over, and the node wrote no end.
    pub(super) fn lost(&self, ended: Option<Ended>) -> Made {
        if let Some(made) = self.ended_by_us() {
            return made;
        }
        // What was cancelled while nobody followed it was a person's stop, or `recover`: also where
        // it never began, and the cluster forgot it.
        let is_stopped = match ended {
            Some(ended) => ended == Ended::Cancelled,
            None => self.host.is_none(),
        };
        if self.making.taken_up.is_some() && is_stopped {
            return LaunchOutcome::Interrupted.into();
        }
        let loss = if self.requeued { Loss::Requeued } else { loss::of(ended) };
        let printed = (loss == Loss::NoResult).then(|| self.printed()).flatten();
        let is_known = ended.is_some();
        if let (Loss::NoResult, true, None, Some(node)) = (loss, is_known, &self.host, &self.node) {
            // It could not even begin there.
            self.cluster.nodes().refuse(node, loss.as_str());
            self.emit.warn(format!("{node} is not used again: no launch begins there"));
        }
        self.lost_by(loss, printed)
    }

    /// What a launch came to whose program could not be run on its node, by the shell's own status:
    /// nothing more comes of it.
    pub(super) fn unable(&self, since: Instant, ended: Option<Ended>) -> Option<Made> {
        let status = self.exit.filter(|_| ended == Some(Ended::Failed))? >> 8;
        let node = self.node.as_ref().filter(|_| self.host.is_none() && self.asked.is_none())?;
        let what = match status {
            126 => "vllm-grid cannot be run there",
            127 => "vllm-grid is not found there",
            _ => return None,
        };
        let printed = self.printed();
        // It says which one; a shared file system may show it late.
        if printed.is_none() && since.elapsed() < PRINTS {
            return None;
        }
        self.cluster.nodes().refuse(node, what);
        self.emit.warn(format!("{node} is not used again: {what}"));
        let message = format!("{node}: {what} (job {}){}", self.job, saying(printed));
        Some(LaunchOutcome::Lost { loss: Loss::NodeUnable, message }.into())
    }

    /// Why a job is over, for a person.
    pub(super) fn why_over(&self, ended: Option<Ended>) -> String {
        let Some(ended) = ended else { return self.forgotten() };
        let place = self.place();
        match loss::of(Some(ended)) {
            Loss::NoResult => format!("job {}{place} is over", self.job),
            loss => format!("{} (job {}{place})", loss.as_str(), self.job),
        }
    }

    /// ` on NODE`, where that is known.
    fn place(&self) -> String {
        let host = self.host.as_ref().or(self.node.as_ref());
        host.map_or_else(String::new, |host| format!(" on {host}"))
    }

    fn forgotten(&self) -> String {
        format!("the cluster does not know job {} any more", self.job)
    }

    pub(super) fn lost_by(&self, loss: Loss, printed: Option<String>) -> Made {
        let host = self.host.as_ref().or(self.node.as_ref());
        let (place, printed) = (self.place(), saying(printed));
        let is_forgotten = loss == Loss::NoResult && matches!(self.over, Some((_, None)));
        let message = if is_forgotten && host.is_none() && !self.foreign {
            format!("{}, and nothing of it was seen{printed}", self.forgotten())
        } else {
            // Such as that the node could not even open what the job prints to.
            let reason = self.reason.as_ref().filter(|_| loss == Loss::NoResult);
            let reason = reason.map_or_else(String::new, |it| format!(", {it}"));
            format!("{} (job {}{place}{reason}){printed}", loss.as_str(), self.job)
        };
        let message = match &self.node {
            // One that is not used again begins the message: see `history::loss::refused`.
            Some(node) if self.host.is_none() && self.cluster.nodes().is_refused(node) => {
                format!("{node}: {message}")
            }
            _ => message,
        };
        LaunchOutcome::Lost { loss, message }.into()
    }

    /// The last lines that the job printed: only where something is wrong.
    pub(super) fn printed(&self) -> Option<String> {
        let bytes = input::read(&self.files.output(), 1 << 20).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
        (!last.is_empty()).then(|| crate::clean::plain(&last).into_owned())
    }
}

/// What a job printed, behind a message.
fn saying(printed: Option<String>) -> String {
    printed.map_or_else(String::new, |it| format!("; it printed: {it}"))
}
