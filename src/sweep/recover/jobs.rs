//! Jobs of a cluster that a dead run left: those of its journal that have no end, and those
//! that it submitted and could not journal. Each is ended by its id, and only where its comment
//! says that it is the run's.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Recovery;
use crate::history::folder::Folder;
use crate::history::record::SweepRecord;
use crate::sweep::hosts::slurm::reading::{Job, jobs};
use crate::sweep::hosts::slurm::request;
use crate::sweep::hosts::slurm::state::State;
use crate::sweep::hosts::slurm::tool::Tool;

/// For how long jobs that were cancelled may take to end.
const ENDS_WITHIN: Duration = Duration::from_mins(2);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_secs(2);

/// The run in a folder, where its launches are jobs of a cluster.
pub(super) fn run_on_cluster(folder: &Path) -> Option<SweepRecord> {
    let folder = Folder::existing(folder).ok()?;
    folder.manifest().ok().filter(|it| it.hosts.is_some())?;
    folder.record().ok()
}

/// Ends what is left of a run's jobs, and waits until they are over.
pub(super) async fn cancel(record: &SweepRecord, tool: &dyn Tool, recovery: &mut Recovery) {
    let run_id = record.manifest.run_id();
    let problem = |what: String| {
        format!(
            "jobs of the run {}: {what}; by hand: `scancel` of those in its journal",
            record.manifest.sweep
        )
    };
    let left = match left(&run_id, tool).await {
        Ok(left) => left,
        Err(why) => {
            // Without an open launch there is none, as far as the journal knows.
            let mut all = record.all_launches();
            if all.any(|(_, launch)| launch.runs_on()) {
                recovery.problems.push(problem(why));
            }
            return;
        }
    };
    for (id, launch) in &left {
        match tool.run(&request::cancel(id)).await {
            Ok(answer) if answer.is_done() => {
                recovery.cancelled.push(format!("{id} (launch {launch})"));
            }
            Ok(answer) => recovery.problems.push(problem(format!("job {id}: {}", answer.why()))),
            Err(error) => recovery.problems.push(problem(format!("job {id}: {error}"))),
        }
    }
    let until = Instant::now() + ENDS_WITHIN;
    while !left.is_empty() {
        match self::left(&run_id, tool).await {
            Ok(now) if now.is_empty() => return,
            Ok(now) if Instant::now() > until => {
                let ids: Vec<String> = now.into_iter().map(|it| it.0).collect();
                let what = format!("{} were cancelled and do not end", ids.join(", "));
                return recovery.problems.push(problem(what));
            }
            Err(why) if Instant::now() > until => return recovery.problems.push(problem(why)),
            _ => sleep(LOOK).await,
        }
    }
}

/// The run's jobs that are not over, with their launches.
async fn left(run_id: &str, tool: &dyn Tool) -> Result<Vec<(String, u32)>, String> {
    let answer = tool.run(&request::states()).await.map_err(|error| error.to_string())?;
    if !answer.is_done() {
        return Err(answer.why());
    }
    let lives = |job: &Job| !matches!(job.state, State::Ended(_));
    let ours = jobs(&answer.out).into_iter().filter_map(|(id, job)| {
        let (run, launch) = job.ours.clone()?;
        (run == run_id && lives(&job)).then_some((id, launch))
    });
    Ok(ours.collect())
}
