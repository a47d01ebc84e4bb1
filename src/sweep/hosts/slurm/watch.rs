//! The states of all jobs of the run by one question every few seconds, however many are in
//! flight. A question that fails leaves what was known; for how long that has been so is known,
//! too. Nobody waits for one that hangs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::reading::{Job, jobs};
use super::request;
use super::tool::{Tool, ToolError};

/// Least time between two questions.
pub const EVERY: Duration = Duration::from_secs(5);
/// For how long an answer is waited for by who looks: it may come later, and what nodes write is
/// read meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
/// For how long a question may be without an answer until that is a problem.
const SLOW: Duration = Duration::from_secs(10);

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

/// What is known, and the questions for it.
#[derive(Default)]
struct Known {
    seen: Seen,
    /// When it was asked last, and whether that has no answer yet.
    asked: Option<Instant>,
    is_open: bool,
    /// When the question was asked that was answered last, and whether it failed.
    answered: Option<(Instant, bool)>,
}

/// Asks for the states of jobs.
pub struct Watch {
    tool: Arc<dyn Tool>,
    known: Arc<Mutex<Known>>,
    answered: Arc<Notify>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Asks by this tool.
    pub fn new(tool: Arc<dyn Tool>) -> Self {
        Self { tool, known: Arc::default(), answered: Arc::default() }
    }

    /// What is known now: asked for anew where the last question was long enough ago. Whoever
    /// else asks meanwhile waits for the same answer, and none of them for long.
    pub async fn look(&self) -> Seen {
        let answer = self.answered.notified();
        tokio::pin!(answer);
        // An answer between the look and the wait is not missed.
        answer.as_mut().enable();
        let (is_open, is_due) = {
            let mut known = held(&self.known);
            let is_due = !known.is_open && known.asked.is_none_or(|at| at.elapsed() >= EVERY);
            if is_due {
                (known.asked, known.is_open) = (Some(Instant::now()), true);
            }
            (known.is_open, is_due)
        };
        if is_due {
            self.ask();
        }
        if is_open {
            let _late = timeout(PATIENCE, answer).await;
        }
        let known = held(&self.known);
        let mut seen = known.seen.clone();
        let since = known.asked.filter(|at| known.is_open && at.elapsed() >= SLOW);
        if let Some(since) = since {
            let seconds = SLOW.as_secs() * (since.elapsed().as_secs() / SLOW.as_secs());
            seen.problem = Some(format!("squeue: no answer for {seconds} s"));
        }
        seen
    }

    /// What is known by a question that was asked no earlier than now; `None` where it fails. All who
    /// want that at once share one.
    pub async fn fresh(&self) -> Option<Seen> {
        let since = Instant::now();
        loop {
            let answer = self.answered.notified();
            tokio::pin!(answer);
            answer.as_mut().enable();
            let is_due = {
                let mut known = held(&self.known);
                if let Some((_, failed)) = known.answered.filter(|(at, _)| *at >= since) {
                    return (!failed).then(|| known.seen.clone());
                }
                let is_due = !known.is_open;
                if is_due {
                    (known.asked, known.is_open) = (Some(Instant::now()), true);
                }
                is_due
            };
            if is_due {
                self.ask();
            }
            answer.await;
        }
    }

    /// Asks, beside whatever else is done.
    fn ask(&self) {
        let (tool, known) = (Arc::clone(&self.tool), Arc::clone(&self.known));
        let answered = Arc::clone(&self.answered);
        let begun = Instant::now();
        tokio::spawn(async move {
            let answer = tool.run(&request::states()).await;
            let mut known = held(&known);
            (known.asked, known.is_open) = (Some(Instant::now()), false);
            let is_done = matches!(&answer, Ok(answer) if answer.is_done());
            known.answered = Some((begun, !is_done));
            match answer {
                Ok(answer) if answer.is_done() => {
                    known.seen = Seen {
                        jobs: Arc::new(jobs(&answer.out)),
                        at: Some(Instant::now()),
                        problem: None,
                    };
                }
                Ok(answer) => known.seen.problem = Some(format!("squeue: {}", answer.why())),
                Err(error @ (ToolError::NotRun { .. } | ToolError::Silent { .. })) => {
                    known.seen.problem = Some(error.to_string());
                }
            }
            drop(known);
            answered.notify_waiters();
        });
    }
}

fn held(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::tool::Answer;
    use super::*;

    struct Scripted(Mutex<Vec<Answer>>);

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
        let watch = Watch::new(Arc::new(Scripted(Mutex::new(answers))));
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

    #[tokio::test(start_paused = true)]
    async fn a_fresh_answer_is_of_a_question_asked_since_and_all_share_one() {
        let done = |out: &str| Answer { code: Some(0), out: out.to_owned(), ..Answer::default() };
        let failed = Answer { code: Some(1), err: "down".to_owned(), ..Answer::default() };
        let first = "7|RUNNING|n1|0|0|None|(null)|\n";
        let watch = Watch::new(Arc::new(Scripted(Mutex::new(vec![done(first), done(""), failed]))));
        assert_eq!(watch.look().await.jobs.len(), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        let (a, b) = tokio::join!(watch.fresh(), watch.fresh());
        assert_eq!(a.map(|it| it.jobs.len()), Some(0), "not the look's answer");
        assert_eq!(b.map(|it| it.jobs.len()), Some(0));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(watch.fresh().await.is_none());
    }

    /// Answers after so many seconds.
    struct Slow(u64);

    #[async_trait]
    impl Tool for Slow {
        async fn run(&self, _: &[String]) -> Result<Answer, ToolError> {
            tokio::time::sleep(Duration::from_secs(self.0)).await;
            let out = "7|RUNNING|n1|0|0|None|(null)|\n".to_owned();
            Ok(Answer { code: Some(0), out, ..Answer::default() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_question_that_hangs_and_its_answer_counts_when_it_comes() {
        let watch = Watch::new(Arc::new(Slow(30)));
        let begun = Instant::now();
        let first = watch.look().await;
        assert_eq!((begun.elapsed(), first.at, first.problem), (PATIENCE, None, None));
        tokio::time::sleep(Duration::from_secs(20)).await;
        let late = watch.look().await;
        assert_eq!(late.problem.as_deref(), Some("squeue: no answer for 20 s"));
        assert_eq!(begun.elapsed(), Duration::from_secs(22));
        tokio::time::sleep(Duration::from_secs(9)).await;
        let there = watch.look().await;
        assert_eq!((there.jobs.len(), there.problem), (1, None));
    }
}
