//! The jobs of a run, by their comment: only where an id is not known, after a submission without
//! an answer or a death between it and the journal. Which of them are cancelled is decided by who
//! asks; a submission that a dead session left is ended. And how a job ended that the queue has forgotten, where the cluster keeps accounts.

use rustix::process::{Pid, Signal, kill_process};

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

/// Whether a job of a run is over; `None` where the cluster does not say. The queue forgets no
/// job that waits or runs, and a number that is another job's now is no job of the run.
pub async fn is_over(tool: &dyn Tool, job: &str, run_id: &str) -> Option<bool> {
    let answer = tool.run(&request::state_of(job)).await.ok()?;
    if !answer.is_done() {
        return answer.why().contains("Invalid job id").then_some(true);
    }
    let known = jobs(&answer.out).remove(job);
    Some(known.is_none_or(|it| {
        let is_ours = it.ours.as_ref().is_some_and(|(run, _)| run == run_id);
        !is_ours || matches!(it.state, State::Ended(_))
    }))
}

/// How a job ended by the cluster's accounts; `None` where there are none, or they do not know it.
pub async fn ended(tool: &dyn Tool, job: &str) -> Option<Ended> {
    let answer = done(tool, &request::accounted(job)).await.ok()?;
    accounted(&answer.out, job)
}

/// Ends the submissions of a run on this machine that a dead session left: a full queue keeps
/// `sbatch` for minutes, and a job that is accepted then is nobody's.
pub fn end_submissions(run_id: &str) {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Ok(arguments) = std::fs::read(process.path().join("cmdline")) else { continue };
        let pid = process.file_name().to_str().and_then(|it| it.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw).filter(|_| submits(&arguments, run_id)) else {
            continue;
        };
        // It may have ended a moment ago.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether these arguments of a process, each with a zero behind it, submit a job of a run.
fn submits(arguments: &[u8], run_id: &str) -> bool {
    let words: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
    let comment = format!("--comment={}", request::comment_of(run_id));
    let is_sbatch = |it: &&[u8]| it.ends_with(b"sbatch");
    words.iter().take(2).any(is_sbatch) && words.iter().any(|it| it.starts_with(comment.as_bytes()))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::tool::{Answer, ToolError};
    use super::*;

    struct Says(Result<Answer, ToolError>);

    #[async_trait]
    impl Tool for Says {
        async fn run(&self, words: &[String]) -> Result<Answer, ToolError> {
            assert!(words.contains(&"--jobs=7".to_owned()), "{words:?}");
            self.0.clone()
        }
    }

    async fn over(code: i32, out: &str, err: &str) -> Option<bool> {
        let answer = Answer { code: Some(code), out: out.to_owned(), err: err.to_owned() };
        is_over(&Says(Ok(answer)), "7", "0123").await
    }

    #[tokio::test]
    async fn a_job_is_over_by_its_state_or_where_the_queue_does_not_know_it_as_ours() {
        for state in ["RUNNING", "COMPLETING", "PENDING", "SOMETHING_NEW"] {
            let line = format!("7|{state}|n1|0|0|None|vllm-grid:0123:4|\n");
            assert_eq!(over(0, &line, "").await, Some(false), "{state}");
        }
        let ended = "7|CANCELLED|n1|0|0|None|vllm-grid:0123:4|\n";
        assert_eq!(over(0, ended, "").await, Some(true));
        let others = "7|RUNNING|n1|0|0|None|vllm-grid:4567:4|\n";
        assert_eq!(over(0, others, "").await, Some(true));
        assert_eq!(over(0, "", "").await, Some(true));
        let unknown = "slurm_load_jobs error: Invalid job id specified";
        assert_eq!(over(1, "", unknown).await, Some(true));
        let down = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)";
        assert_eq!(over(1, "", down).await, None);
        let none = ToolError::NotRun { command: "squeue".to_owned(), why: "no".to_owned() };
        assert_eq!(is_over(&Says(Err(none)), "7", "0123").await, None);
    }

    #[test]
    fn a_submission_that_outlived_its_session_is_ended_and_no_other_one() {
        use std::os::unix::process::CommandExt as _;
        let submits = |run: &str| {
            let mut command = std::process::Command::new("sh");
            command.arg0("/usr/bin/sbatch").args(["-c", "sleep 300; :", "--hold"]);
            command.arg(format!("--comment=vllm-grid:{run}:7")).spawn().expect("a process")
        };
        let run = format!("test-{}", std::process::id());
        let (mut own, mut other) = (submits(&run), submits(&format!("{run}0")));
        // Its arguments are those of this process until it is another program.
        for _ in 0..500 {
            end_submissions(&run);
            if own.try_wait().expect("a child").is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(own.try_wait().expect("a child").is_some());
        assert!(other.try_wait().expect("a child").is_none());
        other.kill().and_then(|()| other.wait()).expect("it ends");
    }
}
