//! What the memory gates of a grid's engines know together: the free memory of each GPU
//! before anything of the grid was launched on it. What a gate waits for is in
//! [`super::gate`].

use std::sync::{Arc, Mutex, PoisonError};

use super::DockerEngine;
use super::gate::GpuMemory;

/// The readings of a grid's memory gates, by GPU: engines that share one must not take what
/// another's server still holds for free memory.
#[derive(Clone, Default)]
pub(in crate::engine) struct Gates(Arc<Mutex<Vec<GpuMemory>>>);

impl Gates {
    /// The first readings of these GPUs; those without one get it now, and are left out.
    pub(super) fn before(&self, now: &[GpuMemory]) -> Vec<GpuMemory> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = Vec::new();
        for gpu in now {
            match known.iter().find(|it| it.uuid == gpu.uuid) {
                Some(first) => before.push(first.clone()),
                None => known.push(gpu.clone()),
            }
        }
        before
    }
}

impl DockerEngine {
    /// The same beside others that may launch on the same GPUs.
    pub(in crate::engine) fn behind(mut self, gates: &Gates) -> Self {
        self.gate = tokio::sync::Mutex::new(self.gate.into_inner().among(gates));
        self
    }
}
