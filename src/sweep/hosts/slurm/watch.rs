//! The states of all jobs of the run by one question every few seconds, however many are in
//! flight. A question that fails leaves what was known; for how long that has been so is known,
//! too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::reading::{Job, jobs};
use super::request;
use super::tool::{Tool, ToolError};

/// Least time between two questions.
pub const EVERY: Duration = Duration::from_secs(5);

/// What is known of all jobs.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By their ids.
    pub jobs: Arc<BTreeMap<String, Job>>,
    /// When they were seen so; `None` before the first answer.
    pub at: Option<Instant>,
    /// Why there has been no answer since.
    pub problem: Option<String>,
}

/// Asks for the states of jobs.
pub struct Watch {
    tool: Arc<dyn Tool>,
    seen: Mutex<(Seen, Option<Instant>)>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Asks by this tool.
    pub fn new(tool: Arc<dyn Tool>) -> Self {
        Self { tool, seen: Mutex::default() }
    }

    /// What is known now: asked for anew where the last question was long enough ago. Whoever
    /// else asks meanwhile waits for the same answer.
    pub async fn look(&self) -> Seen {
        let mut held = self.seen.lock().await;
        let (seen, asked) = &mut *held;
        if asked.is_some_and(|at| at.elapsed() < EVERY) {
            return seen.clone();
        }
        let answer = self.tool.run(&request::states()).await;
        *asked = Some(Instant::now());
        match answer {
            Ok(answer) if answer.is_done() => {
                *seen = Seen {
                    jobs: Arc::new(jobs(&answer.out)),
                    at: Some(Instant::now()),
                    problem: None,
                };
            }
            Ok(answer) => seen.problem = Some(format!("squeue: {}", answer.why())),
            Err(error @ (ToolError::NotRun { .. } | ToolError::Silent { .. })) => {
                seen.problem = Some(error.to_string());
            }
        }
        seen.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Plain;

    use async_trait::async_trait;

    use super::super::tool::Answer;
    use super::*;

    struct Scripted(Plain<Vec<Answer>>);

    #[async_trait]
    impl Tool for Scripted {
        async fn run(&self, _: &[String]) -> Result<Answer, ToolError> {
            Ok(self.0.lock().expect("no panic").remove(0))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_within_five_seconds_share_one_answer_and_a_failure_forgets_nothing() {
        let done = |out: &str| Answer { code: Some(0), out: out.to_owned(), ..Answer::default() };
        let failed = Answer { code: Some(1), err: "down".to_owned(), ..Answer::default() };
        let answers = vec![done("7|RUNNING|n1|0|0|None|(null)|\n"), failed, done("")];
        let watch = Watch::new(Arc::new(Scripted(Plain::new(answers))));
        let (a, b) = tokio::join!(watch.look(), watch.look());
        assert_eq!((a.jobs.len(), b.jobs.len()), (1, 1));
        tokio::time::advance(EVERY).await;
        let kept = watch.look().await;
        assert_eq!((kept.jobs.len(), kept.problem.as_deref()), (1, Some("squeue: down")));
        assert_eq!(kept.at, a.at);
        tokio::time::advance(EVERY).await;
        let last = watch.look().await;
        assert_eq!((last.jobs.len(), last.problem), (0, None));
    }
}
