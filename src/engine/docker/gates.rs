//! One memory gate for all engines of a grid that use the same GPUs. What a gate waits for
//! is in [`super::gate`].

use std::sync::Arc;

use super::DockerEngine;
use super::gate::Gate;
use crate::server::GpuIds;

pub(super) type SharedGate = Arc<tokio::sync::Mutex<Gate>>;

/// The memory gates of a grid's engines: those that use the same GPUs have one, or the second
/// would take what the first one's server still holds for free memory.
#[derive(Default)]
pub(in crate::engine) struct Gates(Vec<(Option<GpuIds>, SharedGate)>);

impl DockerEngine {
    /// The same behind the gate of an earlier one that uses the same GPUs.
    pub(in crate::engine) fn behind(mut self, gates: &mut Gates) -> Self {
        let gpus = self.gpus();
        match gates.0.iter().find(|(known, _)| *known == gpus) {
            Some((_, gate)) => self.gate = Arc::clone(gate),
            None => gates.0.push((gpus, Arc::clone(&self.gate))),
        }
        self
    }
}
