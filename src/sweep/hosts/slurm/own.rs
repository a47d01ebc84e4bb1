//! The jobs of a run, by their comment: only where an id is not known, after a submission without
//! an answer or a death between it and the journal. Which of them are cancelled is decided by who
//! asks. And how a job ended that the queue has forgotten, where the cluster keeps accounts.

use super::reading::{Job, accounted, jobs};
use super::request;
use super::state::{Ended, State};
use super::tool::{Tool, done};

/// All jobs of a run that the cluster still knows, with their ids and launches.
///
/// # Errors
/// Why the cluster does not say.
pub async fn all(tool: &dyn Tool, run_id: &str) -> Result<Vec<(String, u32, Job)>, String> {
    let answer = done(tool, &request::states()).await?;
    let ours = jobs(&answer.out).into_iter().filter_map(|(id, job)| {
        let launch = job.ours.as_ref().filter(|(run, _)| run == run_id)?.1;
        Some((id, launch, job))
    });
    Ok(ours.collect())
}

/// Those that are not over.
///
/// # Errors
/// As for [`all`].
pub async fn living(tool: &dyn Tool, run_id: &str) -> Result<Vec<(String, u32)>, String> {
    let all = all(tool, run_id).await?.into_iter();
    let lives = all.filter(|(_, _, job)| !matches!(job.state, State::Ended(_)));
    Ok(lives.map(|(id, launch, _)| (id, launch)).collect())
}

/// How a job ended by the cluster's accounts; `None` where there are none, or they do not know it.
pub async fn ended(tool: &dyn Tool, job: &str) -> Option<Ended> {
    let answer = done(tool, &request::accounted(job)).await.ok()?;
    accounted(&answer.out, job)
}
