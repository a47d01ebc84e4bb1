//! Jobs that outlive the session that submitted them: those of what is worked on are taken up,
//! all others are ended. What a job is, is the place's; how a launch begins is in `start`.

use super::super::SweepError;
use super::super::context::SweepContext;
use super::super::events;
use super::super::hosts::TakenUp;
use super::super::pass;
use super::super::running::Running;
use super::super::trial::Trial;
use super::Sweep;
use crate::history::journal::Entry;
use crate::history::launch::LaunchOutcome;
use crate::history::record::LaunchRecord;

impl Sweep {
    /// Ends jobs that the journal does not have, and those of a block, or of a confirmation, that
    /// is not worked on any more. What they measured so far is not read.
    pub(super) async fn end_other_jobs(
        &mut self,
        context: &SweepContext,
    ) -> Result<(), SweepError> {
        let hosts = context.hosts();
        let open = self.record.launches.iter().filter(|it| it.runs_on());
        let is_ours = |it: &&LaunchRecord| self.accepted.is_none() && self.scope.has(it);
        let (ours, others): (Vec<_>, Vec<_>) = open.partition(is_ours);
        let job = |it: &LaunchRecord| it.job.clone().unwrap_or_default();
        let known: Vec<String> = ours.into_iter().map(job).collect();
        let others: Vec<(events::TakenUp, String)> =
            others.into_iter().map(|it| (self.shown(it, None), job(it))).collect();
        for (shown, job) in others {
            let launch = shown.launch;
            context.events.taken_up(shown);
            hosts.end(&job).await;
            self.append(Entry::LaunchEnded { launch, outcome: LaunchOutcome::Interrupted })?;
        }
        hosts.begin(&known, &context.events.emit()).await;
        Ok(())
    }

    /// Goes on with the launches whose jobs an earlier session submitted.
    pub(super) fn take_up(&self, context: &SweepContext, running: &mut Running) {
        for launch in self.record.launches.iter().filter(|it| it.runs_on() && self.scope.has(it)) {
            let Some(trial) = Trial::of(&self.record, launch) else { continue };
            let taken_up = launch.job.clone().map(|job| TakenUp {
                job,
                host: launch.machine.as_ref().and(launch.host.clone()),
                entries: launch.entries_of_job(),
            });
            context.events.taken_up(self.shown(launch, Some(&trial)));
            // Its job has the rest.
            running.start(trial, self.order(launch.launch, &trial), taken_up, context);
        }
    }

    /// A launch of an earlier session for a person, with its trial where that is worked on.
    fn shown(&self, launch: &LaunchRecord, trial: Option<&Trial>) -> events::TakenUp {
        let done = launch.measurements.len() as u32;
        let left = trial.map_or(0, |it| pass::missing(&self.record, it.number, it.repeats).len());
        events::TakenUp {
            launch: launch.launch,
            trial: trial.map(|it| it.number),
            configuration: launch.configuration.clone(),
            job: launch.job.clone().unwrap_or_default(),
            since: launch.started_at,
            repeats: (done + left as u32, done),
        }
    }
}
