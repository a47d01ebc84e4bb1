//! Jobs of a cluster that a dead run left: those of its journal that have no end, and those
//! that it submitted and could not journal. Each is ended by its id, and only where its comment
//! says that it is the run's.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Recovery;
use crate::history::folder::Folder;
use crate::history::record::SweepRecord;
use crate::sweep::hosts::slurm::tool::{Tool, done};
use crate::sweep::hosts::slurm::{own, request};

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
    let left = match own::living(tool, &run_id).await {
        Ok(left) => left,
        Err(why) => {
            // Without an open launch there is none, as far as the journal knows; but a submission
            // that got no answer is not in it. Where there is no cluster, there is nobody to ask.
            let mut all = record.all_launches();
            if all.any(|(_, launch)| launch.runs_on()) || !is_not_there(&why) {
                recovery.problems.push(problem(why));
            }
            return;
        }
    };
    for (id, launch) in &left {
        match done(tool, &request::cancel(id)).await {
            Ok(_) => recovery.cancelled.push(format!("{id} (launch {launch})")),
            Err(why) => recovery.problems.push(problem(format!("job {id}: {why}"))),
        }
    }
    let until = Instant::now() + ENDS_WITHIN;
    while !left.is_empty() {
        match own::living(tool, &run_id).await {
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

/// Whether the cluster's commands are not on this machine.
fn is_not_there(why: &str) -> bool {
    why.contains("cannot be run")
}
