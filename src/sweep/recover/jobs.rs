//! Jobs of a cluster that a dead run left: those of its journal that have no end, and those
//! that it submitted and could not journal. Each is ended by its id, and only where its comment
//! says that it is the run's.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Recovery;
use crate::engine::docker::cleanup::Labelled;
use crate::history::folder::Folder;
use crate::history::record::SweepRecord;
use crate::ownership::Holder;
use crate::ownership::holder::Presence;
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

/// Whether a container's job is over, where its process cannot be looked for here: it has a number
/// of another namespace. Without an answer of the cluster it is held for alive, and so is another
/// user's, whose jobs may be hidden.
pub(super) async fn is_orphan(seen: &Labelled, tool: &dyn Tool) -> bool {
    let (Some(job), Some(holder), Some(run)) = (&seen.job, &seen.holder, &seen.run_id) else {
        return false;
    };
    let user = Holder::this().user;
    let may_see = user == "root" || user == holder.user;
    may_see
        && holder.presence() == Presence::Unknown
        && own::is_over(tool, &job.id, run).await == Some(true)
}

/// Whether the cluster's commands are not on this machine.
fn is_not_there(why: &str) -> bool {
    why.contains("cannot be run")
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::ownership::OfJob;
    use crate::sweep::hosts::slurm::tool::{Answer, ToolError};

    /// A cluster with one job, of the run `0123`.
    struct Knows(&'static str);

    #[async_trait]
    impl Tool for Knows {
        async fn run(&self, words: &[String]) -> Result<Answer, ToolError> {
            assert_eq!(words[0], "squeue");
            let out = format!("7|{}|n1|0|0|None|vllm-grid:0123:4|\n", self.0);
            Ok(Answer { code: Some(0), out, ..Answer::default() })
        }
    }

    fn container(namespace: &str) -> Labelled {
        let holder = Holder { pid_namespace: namespace.to_owned(), ..Holder::this() };
        Labelled {
            run_id: Some("0123".to_owned()),
            holder: Some(holder),
            job: Some(OfJob { id: "7".to_owned(), node: "n1".to_owned() }),
            ..Labelled::default()
        }
    }

    #[tokio::test]
    async fn a_container_whose_process_cannot_be_looked_for_is_judged_by_its_job() {
        let elsewhere = container("pid:[1]");
        assert!(is_orphan(&elsewhere, &Knows("CANCELLED")).await);
        assert!(!is_orphan(&elsewhere, &Knows("RUNNING")).await);
        // Its process is here, and alive: the job's state may be late.
        let here = container(&Holder::this().pid_namespace);
        assert!(!is_orphan(&here, &Knows("CANCELLED")).await);
        let of_nobody = Labelled { job: None, ..elsewhere };
        assert!(!is_orphan(&of_nobody, &Knows("CANCELLED")).await);
    }
}
