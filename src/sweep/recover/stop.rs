//! A stop that is asked for while dead runs are recovered. What only waits is given up at
//! once; a step that changes production is finished first, unless its daemon refuses it again
//! and again. What was not done stays noted, so that the next `recover` goes on there.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::case::Case;
use super::down;
use crate::engine::leftovers::quoted;
use crate::engine::production::{Production, ProductionError};
use crate::history::production::{Companion, ProductionFacts};
use crate::ownership::Owed;

/// Longest that a step which changes production is waited for: who asks a daemon asks it
/// again for minutes.
const GRACE: Duration = Duration::from_secs(10);
/// Why something is left undone.
pub(super) const WHY: &str = "a stop was asked for before that";

/// Whether a stop is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop<'a>(pub(super) &'a CancellationToken);

impl Stop<'_> {
    pub(super) fn is_asked(self) -> bool {
        self.0.is_cancelled()
    }

    /// What `work` comes to, which changes nothing; `None` where a stop is asked for before
    /// it is done.
    pub(super) async fn or<T>(self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.0.cancelled() => None,
            done = work => Some(done),
        }
    }
}

/// Production whose changes are not cut short.
pub(super) struct Steps<'a> {
    production: &'a dyn Production,
    /// Held while something is changed.
    changing: Mutex<()>,
}

impl<'a> Steps<'a> {
    pub(super) fn of(production: &'a dyn Production) -> Self {
        Self { production, changing: Mutex::new(()) }
    }

    /// What `work` on this comes to; `None` where a stop is asked for, once nothing is being
    /// changed.
    pub(super) async fn unless<T>(
        &self,
        stop: Stop<'_>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let stopped = async {
            stop.0.cancelled().await;
            let _given_up = timeout(GRACE, self.changing.lock()).await;
        };
        tokio::select! {
            // What follows a change without waiting, as its step in the journal, is done too.
            biased;
            done = work => Some(done),
            () = stopped => None,
        }
    }
}

#[async_trait]
impl Production for Steps<'_> {
    fn patience(&self) -> Duration {
        self.production.patience()
    }

    async fn find(&self) -> Result<Option<ProductionFacts>, ProductionError> {
        self.production.find().await
    }

    async fn look(&self, id: &str) -> Result<Option<ProductionFacts>, ProductionError> {
        self.production.look(id).await
    }

    async fn companions(&self) -> Result<Vec<Companion>, ProductionError> {
        self.production.companions().await
    }

    async fn pause(&self, id: &str) -> Result<(), ProductionError> {
        let _changing = self.changing.lock().await;
        self.production.pause(id).await
    }

    async fn stop(&self, id: &str) -> Result<(), ProductionError> {
        let _changing = self.changing.lock().await;
        self.production.stop(id).await
    }

    async fn start(&self, id: &str) -> Result<(), ProductionError> {
        let _changing = self.changing.lock().await;
        self.production.start(id).await
    }

    async fn make_again(&self) -> Result<ProductionFacts, ProductionError> {
        let _changing = self.changing.lock().await;
        self.production.make_again().await
    }

    async fn prove(&self, id: &str, limit: Duration) -> Result<(), String> {
        self.production.prove(id, limit).await
    }
}

/// What is noted of a run that was not looked at any more, a sentence for each; nothing where
/// nothing is.
pub(super) fn left(case: &Case) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut others = Vec::new();
    for debt in &case.debts {
        match &debt.owed {
            Owed::Production(owed) => {
                let why = format!("whether it runs now is not known: {WHY}");
                sentences.push(down(&owed.name, &owed.id, debt, &why));
            }
            Owed::Containers { .. } => others.push("containers".to_owned()),
            Owed::Processes => others.push("processes".to_owned()),
            Owed::Jobs => others.push("jobs of a cluster".to_owned()),
            Owed::Group(group) => others.push(format!("processes of launch {}", group.launch)),
        }
    }
    let seen = case.containers.iter().map(|(_, seen)| format!("container {}", seen.name));
    others.extend(seen);
    if !others.is_empty() {
        let folder = case.folder();
        sentences.push(format!(
            "the run {} may have left {}: {WHY}; `vllm-grid recover {}` removes it",
            folder.display(),
            others.join(", "),
            quoted(&folder)
        ));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::sleep;

    use super::*;

    /// It takes so many seconds to be started, and never answers.
    struct Slow(u64, AtomicBool);

    #[async_trait]
    impl Production for Slow {
        async fn find(&self) -> Result<Option<ProductionFacts>, ProductionError> {
            Ok(None)
        }

        async fn look(&self, _: &str) -> Result<Option<ProductionFacts>, ProductionError> {
            Ok(None)
        }

        async fn stop(&self, _: &str) -> Result<(), ProductionError> {
            Ok(())
        }

        async fn start(&self, _: &str) -> Result<(), ProductionError> {
            sleep(Duration::from_secs(self.0)).await;
            self.1.store(true, Ordering::SeqCst);
            Ok(())
        }

        async fn make_again(&self) -> Result<ProductionFacts, ProductionError> {
            Ok(ProductionFacts::default())
        }

        async fn prove(&self, _: &str, limit: Duration) -> Result<(), String> {
            sleep(limit).await;
            Err("no answer".to_owned())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_goes_on_and_on_is_given_up() {
        let (token, slow) = (CancellationToken::new(), Slow(3600, AtomicBool::new(false)));
        token.cancel();
        let (steps, begun) = (Steps::of(&slow), tokio::time::Instant::now());
        assert_eq!(steps.unless(Stop(&token), steps.start("a")).await, None);
        assert_eq!(begun.elapsed(), GRACE);
        assert!(!slow.1.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_is_finished_and_noted_and_its_proof_is_given_up() {
        let (token, slow) = (CancellationToken::new(), Slow(1, AtomicBool::new(false)));
        let (stop, steps) = (Stop(&token), Steps::of(&slow));
        let mut noted = false;
        let work = async {
            steps.start("a").await.map_err(|error| error.to_string())?;
            noted = true;
            steps.prove("a", Duration::from_hours(1)).await
        };
        let asked = async {
            sleep(Duration::from_millis(500)).await;
            token.cancel();
        };
        let (done, ()) = tokio::join!(steps.unless(stop, work), asked);
        assert_eq!(done, None);
        assert!(slow.1.load(Ordering::SeqCst), "it was being started");
        assert!(noted, "the step that follows");
        assert_eq!(stop.or(async {}).await, None);
        assert_eq!(steps.unless(stop, sleep(Duration::from_secs(1))).await, None);
    }
}
