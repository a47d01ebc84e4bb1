//! A Slurm cluster as the place of launches: one launch from its submission to its end.
//! Submitting is in `submit`, following in `follow`.

use async_trait::async_trait;

use super::super::{Hosts, Made, Making, SweepError};
use super::cluster::Cluster;
use super::nodes::Placed;
use super::own;
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
        own::end_submissions(&self.run_id);
        let living = own::living(&*self.tool, &self.run_id).await;
        // What the cluster does not say now is looked at when the session ends.
        self.jobs().unanswered |= living.is_err();
        let living = living.unwrap_or_default();
        for (id, _) in living.into_iter().filter(|it| !known.contains(&it.0)) {
            emit.warn(format!(
                "job {id} of an earlier session is cancelled: its launch is over, or was not \
                 journalled"
            ));
            self.cancel(&id).await;
        }
    }

    async fn finish(&self, emit: &Emit) {
        self.cancel_rest(emit).await;
    }

    async fn end(&self, job: &str) {
        self.cancel(job).await;
    }

    async fn make(&self, making: Making<'_>) -> Result<Made, SweepError> {
        let made = self.made(&making).await;
        self.nodes().over(making.order.launch.launch);
        made
    }
}

impl Cluster {
    async fn made(&self, making: &Making<'_>) -> Result<Made, SweepError> {
        let (job, placed) = match &making.taken_up {
            Some(taken_up) => {
                self.jobs().known.insert(taken_up.job.clone());
                let launch = &making.order.launch;
                let (launch, name) = (launch.launch, &launch.configuration.name);
                // Where one may run that waits is looked at as for any other.
                // The second one of a pair stays where the first one runs.
                let placed = Placed { only: making.order.beside.clone(), ..Placed::default() };
                if let Some(host) = &taken_up.host {
                    self.nodes().runs(launch, name, host);
                } else {
                    self.nodes().sent(launch, name, &placed, None);
                    self.looks_at_nodes(making, false).await;
                }
                (taken_up.job.clone(), placed)
            }
            None => match self.submit(making).await? {
                Submitted::Job(job, placed) => (job, placed),
                Submitted::Stopped => return Ok(LaunchOutcome::Interrupted.into()),
            },
        };
        let made = self.follow(making, job.clone(), placed).await;
        if made.is_err() {
            // Nobody follows it any more.
            self.cancel(&job).await;
        }
        made
    }
}
