//! What an engine can tell of the resources that its server uses: the one thing
//! about an engine that telemetry may ask for.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// One look at what a server uses. What is not told is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceSample {
    /// CPU in use, in cores: 2.5 is two and a half.
    pub cpu_cores: Option<f64>,
    /// Memory in use, in bytes, caches of files left out.
    pub memory_bytes: Option<u64>,
    /// Restarts since the launch.
    pub restarts: Option<u64>,
}

/// Looks at the resources of a running server. Looking must not disturb it.
#[async_trait]
pub trait ResourceProbe: Send + Sync {
    /// One look; asked for about once a second, one at a time. `None` when there
    /// is nothing to see any more.
    async fn sample(&self) -> Option<ResourceSample>;

    /// Indices, as NVML has them, of the GPUs that the server may use; `None`
    /// where that is not known.
    fn gpus(&self) -> Option<Vec<u32>> {
        None
    }
}
