//! An engine that tries a launch a second time where the first one failed for
//! reasons that are not the configuration's: what can be put right is put right
//! before. What would fail again in the same way is not tried again.

use std::path::Path;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::log::EngineLog;
use super::{Engine, LaunchOrder, Launched};
use crate::event::{Emit, Event};
use crate::history::launch::{FailureClass, LaunchFailure};

/// Where the log of a first attempt is kept.
pub const FIRST_LOG: &str = "engine.first.log";

/// Tries a launch twice at most.
pub struct RetryOnce(Box<dyn Engine>);

impl RetryOnce {
    /// `engine`, with a second attempt.
    pub fn new(engine: Box<dyn Engine>) -> Self {
        Self(engine)
    }
}

/// Whether a second attempt can end otherwise.
fn is_worth_it(failure: &LaunchFailure) -> bool {
    let by_class = matches!(
        failure.class,
        FailureClass::MemoryNotFree
            | FailureClass::CompileCache
            | FailureClass::EngineDied
            | FailureClass::Killed
            | FailureClass::Environment
    );
    by_class && !failure.cancelled
}

fn keep_log(folder: &Path) {
    let _never_started = std::fs::rename(folder.join(EngineLog::NAME), folder.join(FIRST_LOG));
}

#[async_trait]
impl Engine for RetryOnce {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn launch(
        &mut self,
        order: &LaunchOrder,
        emit: &Emit,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        let failure = match self.0.launch(order, emit, cancel).await {
            Err(failure) if is_worth_it(&failure) && !cancel.is_cancelled() => failure,
            done => return done,
        };
        let text = format!("{}: {}; trying once more", order.configuration.name, failure.message);
        emit.emit(Event::Warning(text));
        keep_log(&order.folder);
        self.0.clean_up(&failure, emit).await;
        self.0.launch(order, emit, cancel).await.map_err(|again| LaunchFailure {
            message: format!("twice; the second time {}", again.message),
            ..again
        })
    }

    async fn clean_up(&mut self, failure: &LaunchFailure, emit: &Emit) {
        self.0.clean_up(failure, emit).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::configuration::{Configuration, Flags};

    /// Fails as it is told, and writes down what is asked of it.
    struct Failing(FailureClass, Arc<Mutex<Vec<&'static str>>>);

    #[async_trait]
    impl Engine for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        async fn launch(
            &mut self,
            order: &LaunchOrder,
            _: &Emit,
            _: &CancellationToken,
        ) -> Result<Box<dyn Launched>, LaunchFailure> {
            self.1.lock().expect("no panic").push("launch");
            std::fs::write(order.folder.join(EngineLog::NAME), "log").expect("written");
            Err(LaunchFailure::new(self.0, "it failed"))
        }

        async fn clean_up(&mut self, _: &LaunchFailure, _: &Emit) {
            self.1.lock().expect("no panic").push("clean up");
        }
    }

    async fn deeds(class: FailureClass) -> (Vec<&'static str>, String, bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let deeds = Arc::new(Mutex::new(Vec::new()));
        let mut engine = RetryOnce::new(Box::new(Failing(class, deeds.clone())));
        let configuration = Configuration {
            name: "c".to_owned(),
            aliases: Vec::new(),
            id: "0".to_owned(),
            flags: Flags::new(),
            varied: Flags::new(),
            environment: BTreeMap::new(),
        };
        let folder_path = folder.path().to_owned();
        let order =
            LaunchOrder { sweep: "s".to_owned(), launch: 1, configuration, folder: folder_path };
        let failure = engine
            .launch(&order, &Emit::nowhere(), &CancellationToken::new())
            .await
            .err()
            .expect("it fails");
        let kept = folder.path().join(FIRST_LOG).exists();
        let deeds = deeds.lock().expect("no panic").clone();
        (deeds, failure.message, kept)
    }

    #[tokio::test]
    async fn what_may_end_otherwise_is_cleaned_up_and_tried_once_more() {
        for class in [FailureClass::MemoryNotFree, FailureClass::CompileCache, FailureClass::Killed]
        {
            let (deeds, message, kept) = deeds(class).await;
            assert_eq!(deeds, ["launch", "clean up", "launch"], "{class:?}");
            assert_eq!(message, "twice; the second time it failed");
            assert!(kept, "the first log is kept");
        }
    }

    #[tokio::test]
    async fn what_would_fail_again_is_not() {
        for class in [
            FailureClass::BadFlag,
            FailureClass::OutOfMemory,
            FailureClass::Credentials,
            FailureClass::Timeout,
        ] {
            assert_eq!(deeds(class).await.0, ["launch"], "{class:?}");
        }
    }
}
