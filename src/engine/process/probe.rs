//! What a server that runs as processes of ours uses, by `/proc`: its process
//! group and what descends from it, since vLLM is several processes. Nobody
//! restarts them, so no restarts are reported.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use rustix::process::Pid;

use super::table::{members, usage};
use crate::server::{GpuIds, ResourceProbe, ResourceSample};

/// `USER_HZ`, in which Linux counts CPU times: 100 on every architecture that vLLM runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Looks at one process group.
pub(super) struct ProcessProbe {
    group: i32,
    gpus: Option<GpuIds>,
    /// The time of the look before, and the CPU ticks until then.
    before: Mutex<Option<(Instant, u64)>>,
}

impl ProcessProbe {
    pub(super) fn new(group: Pid, gpus: Option<GpuIds>) -> Self {
        Self { group: group.as_raw_nonzero().get(), gpus, before: Mutex::new(None) }
    }
}

#[async_trait]
impl ResourceProbe for ProcessProbe {
    async fn sample(&self) -> Option<ResourceSample> {
        let group = self.group;
        // A file for each process of the machine: not on a thread that serves streams.
        let look = tokio::task::spawn_blocking(move || (Instant::now(), usage(group)));
        let (at, used) = look.await.ok()?;
        let used = used?;
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let cpu_cores = before.replace((at, used.ticks)).and_then(|(then, ticks)| {
            cores(used.ticks.checked_sub(ticks)?, (at - then).as_secs_f64())
        });
        Some(ResourceSample { cpu_cores, memory_bytes: used.resident_bytes, ..Default::default() })
    }

    fn gpus(&self) -> Option<GpuIds> {
        self.gpus.clone()
    }

    async fn processes(&self) -> Option<Vec<u32>> {
        let group = self.group;
        let look = tokio::task::spawn_blocking(move || members(group));
        Some(look.await.ok()?.into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
    }
}

fn cores(ticks: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| ticks as f64 / TICKS_PER_SECOND / seconds)
}
