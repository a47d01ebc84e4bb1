//! Jobs of a cluster that a dead run left: those of its journal that have no end, and those
//! that it submitted and could not journal. Each is ended by its id, and only where its comment
//! says that it is the run's.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Recovery;
use super::case::Case;
use crate::engine::docker::cleanup::Labelled;
use crate::engine::leftovers::quoted;
use crate::history::folder::{Folder, other_owner};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::ownership::holder::Presence;
use crate::ownership::{Holder, Owed};
use crate::sweep::hosts::slurm::tool::{Tool, done};
use crate::sweep::hosts::slurm::{own, request};

/// For how long jobs that were cancelled may take to end.
const ENDS_WITHIN: Duration = Duration::from_mins(2);
/// How long a job may be unseen that was accepted.
const ACCEPTS_WITHIN: Duration = Duration::from_secs(10);
/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_secs(2);

/// A run whose launches are jobs of a cluster.
pub(super) struct Left {
    run_id: String,
    /// Its name, or where it was.
    name: String,
    folder: PathBuf,
    /// The user whose it is, where that is another one: jobs are asked for as their own user.
    owner: Option<String>,
    /// What its journal says of it: a folder may have been moved, and a journal may be damaged.
    record: Option<SweepRecord>,
}

impl Left {
    /// By its folder, or by what it owes where that cannot be read; `None` of a run of one host.
    pub(super) fn of(case: &Case) -> Option<Self> {
        let known = case.existing().and_then(|it| Folder::existing(it).ok());
        let (folder, owner) = (case.folder(), case.existing().and_then(|it| other_owner(it)));
        if let Some(manifest) = known.as_ref().and_then(|it| it.manifest().ok()) {
            manifest.hosts.as_ref()?;
            let record = known.and_then(|it| it.record().ok());
            let (run_id, name) = (manifest.run_id(), manifest.sweep);
            return Some(Self { run_id, name, folder, owner, record });
        }
        let owes = case.debts.iter().any(|debt| matches!(debt.owed, Owed::Jobs));
        let run_id = case.run_id.clone().filter(|_| owes)?;
        Some(Self { run_id, name: folder.display().to_string(), folder, owner, record: None })
    }

    /// That another user is to do it, where a job may be left: to this one the cluster shows none.
    pub(super) fn of_another(&self) -> Option<String> {
        let Self { name, folder, .. } = self;
        let owner = self.owner.as_ref().filter(|_| self.may_be())?;
        Some(format!(
            "jobs of the run {name} may be left: it belongs to {owner}, and jobs are asked for as \
             their own user; run `vllm-grid recover {}` as {owner}",
            quoted(folder)
        ))
    }

    /// Whether a launch may have been submitted without an answer: its job may still come.
    fn is_unsure(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|it| it.launches.iter().any(LaunchRecord::may_be_submitted))
    }

    /// Whether a job of it may be left, as far as its journal says; without one that is not known.
    fn may_be(&self) -> bool {
        let Some(record) = &self.record else { return true };
        record.all_launches().any(|(_, launch)| launch.runs_on())
    }
}

/// Ends what is left of a run's jobs, and waits until they are over.
pub(super) async fn cancel(run: &Left, tool: &dyn Tool, recovery: &mut Recovery) {
    let run_id = &run.run_id;
    let problem = |what: String| {
        format!("jobs of the run {}: {what}; by hand: `scancel` of those in its journal", run.name)
    };
    let left = match looked_for(run, tool).await {
        Ok(left) => left,
        Err(why) => {
            // Without an open launch there is none, as far as the journal knows; but a submission
            // that got no answer is not in it. Where there is no cluster, there is nobody to ask.
            if run.may_be() {
                recovery.problems.push(problem(why));
            } else if !is_not_there(&why) {
                recovery.problems.push(format!(
                    "jobs of the run {}: all of its journal are over, and whether a submission \
                     without an answer left one is not known: {why}; run `vllm-grid recover` again \
                     when the cluster answers",
                    run.name
                ));
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
        match own::living(tool, run_id).await {
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

/// Jobs of a run that are not over. Where a launch was being submitted when its controller died, its
/// job may be seen a little later.
async fn looked_for(run: &Left, tool: &dyn Tool) -> Result<Vec<(String, u32)>, String> {
    own::end_submissions(&run.run_id);
    let until = Instant::now() + ACCEPTS_WITHIN;
    loop {
        let left = own::living(tool, &run.run_id).await;
        let is_none = left.as_ref().is_ok_and(Vec::is_empty);
        if !is_none || !run.is_unsure() || Instant::now() >= until {
            return left;
        }
        sleep(LOOK).await;
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
    use crate::history::launch::LaunchOutcome;
    use crate::history::record::LaunchRecord;
    use crate::ownership::OfJob;
    use crate::sweep::fakes::manifest;
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

    #[test]
    fn jobs_of_another_users_run_are_left_to_that_user() {
        let of = |outcome| {
            let mut record = SweepRecord::new(manifest(1, 1, 1));
            let job = Some("7".to_owned());
            record.launches = vec![LaunchRecord { job, outcome, ..LaunchRecord::default() }];
            Some(record)
        };
        let left = |owner: &str, record| Left {
            run_id: "0123".to_owned(),
            name: "night".to_owned(),
            folder: "/share/a run".into(),
            owner: Some(owner.to_owned()).filter(|it| !it.is_empty()),
            record,
        };
        let problem = left("alice", of(None)).of_another().expect("its job may run");
        let expected = "jobs of the run night may be left: it belongs to alice, and jobs are asked \
                        for as their own user; run `vllm-grid recover '/share/a run'` as alice";
        assert_eq!(problem, expected);
        assert!(left("alice", None).of_another().is_some(), "its journal cannot be read");
        assert_eq!(left("alice", of(Some(LaunchOutcome::Measured))).of_another(), None, "over");
        assert_eq!(left("", of(None)).of_another(), None, "its own user");
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
