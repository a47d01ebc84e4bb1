//! A Slurm cluster as the place of launches: one launch from its submission to its end.
//! Submitting is in `submit`, following in `follow`.

use async_trait::async_trait;

use super::super::{Hosts, Made, Making, SweepError};
use super::cluster::Cluster;
use super::reading::jobs;
use super::request;
use super::state::State;
use super::submit::Submitted;
use crate::event::Emit;
use crate::history::launch::LaunchOutcome;

#[async_trait]
impl Hosts for Cluster {
    fn places(&self) -> usize {
        self.block.at_once as usize
    }

    fn measures_here(&self) -> bool {
        false
    }

    async fn begin(&self, known: &[String], emit: &Emit) {
        let Ok(answer) = self.tool.run(&request::states()).await else { return };
        for (id, job) in jobs(&answer.out) {
            let is_ours = job.ours.as_ref().is_some_and(|(run, _)| *run == self.run_id);
            if is_ours && !known.contains(&id) && !matches!(job.state, State::Ended(_)) {
                emit.warn(format!(
                    "job {id} of an earlier session is cancelled: no line tells of it"
                ));
                self.cancel(&id).await;
            }
        }
    }

    async fn end(&self, job: &str) {
        self.cancel(job).await;
    }

    async fn make(&self, making: Making<'_>) -> Result<Made, SweepError> {
        let job = match &making.taken_up {
            Some(taken_up) => taken_up.job.clone(),
            None => match self.submit(&making).await? {
                Submitted::Job(job) => job,
                Submitted::Stopped => return Ok(LaunchOutcome::Interrupted.into()),
            },
        };
        self.follow(&making, job).await
    }
}
