//! The engine of a process that launches nothing itself: its launches are made on other
//! machines, by this same program with the grid's own engine. It uses nothing of this machine.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Engine, LaunchOrder, Launched};
use crate::event::Emit;
use crate::history::launch::{FailureClass, LaunchFailure};

/// An engine that stands for one on other machines.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    name: &'static str,
}

impl Elsewhere {
    /// For an engine of this name.
    pub fn new(name: &'static str) -> Self {
        Self { name }
    }
}

#[async_trait]
impl Engine for Elsewhere {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn launch(
        &self,
        _: &LaunchOrder,
        _: &Emit,
        _: &CancellationToken,
    ) -> Result<Box<dyn Launched>, LaunchFailure> {
        let message = "launches of this run are made on other machines, not here";
        Err(LaunchFailure::new(FailureClass::Environment, message))
    }
}
