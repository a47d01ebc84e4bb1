//! The resources that a running server uses, as its engine can report them. This trait is
//! all that telemetry knows of an engine; each engine has its own implementation.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// One sample of what a server uses. What is not known is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceSample {
    /// CPU in use since the previous sample, in cores: 2.5 is two and a half.
    pub cpu_cores: Option<f64>,
    /// Memory in use, in bytes: of a container what `docker stats` shows (files
    /// that are merely cached left out), of processes their resident memory.
    pub memory_bytes: Option<u64>,
    /// Limit of its memory, in bytes; the whole machine's where nothing
    /// else limits a container.
    pub memory_limit_bytes: Option<u64>,
    /// Restarts since the launch.
    pub restarts: Option<u64>,
    /// Share of the scheduler's periods since the previous sample in which a CPU limit held
    /// the server back.
    #[serde(default)]
    pub throttled_share: Option<f64>,
}

/// Samples the resources of a running server. Sampling must not disturb it, and ends when
/// the probe is dropped.
#[async_trait]
pub trait ResourceProbe: Send + Sync {
    /// One sample; called about once a second, one at a time, and may take as long.
    /// `None` when the server no longer exists; a failed attempt is a sample without
    /// values.
    async fn sample(&self) -> Option<ResourceSample>;

    /// The GPUs that the server may use; `None` where that is not known.
    fn gpus(&self) -> Option<GpuIds> {
        None
    }

    /// Numbers of the server's processes, as this machine counts them; `None` where that is
    /// not known. Called every few seconds.
    async fn processes(&self) -> Option<Vec<u32>> {
        None
    }
}

/// GPUs by their ids, as `NVIDIA_VISIBLE_DEVICES` and `CUDA_VISIBLE_DEVICES` list
/// them: indices as NVML counts, or UUIDs, of which the beginning is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuIds(Vec<String>);

impl GpuIds {
    /// These; an empty list is no GPU at all.
    pub fn new(ids: impl IntoIterator<Item = String>) -> Self {
        Self(ids.into_iter().filter(|id| !id.is_empty()).collect())
    }

    /// A list with commas. What follows an id that is none (`-1`) does not count,
    /// as in CUDA.
    pub fn listed(text: &str) -> Self {
        let ids = text.split(',').map(|id| id.trim().to_owned());
        Self::new(ids.take_while(|id| !id.starts_with('-')))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether there is none among them.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the GPU of this index and UUID is one of them.
    pub fn include(&self, index: u32, uuid: &str) -> bool {
        self.0.iter().any(|id| *id == index.to_string() || uuid.starts_with(id.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_named_by_index_or_by_the_beginning_of_a_uuid() {
        let ids = GpuIds::listed("1, GPU-5a");
        assert!(ids.include(1, "GPU-00") && ids.include(0, "GPU-5a77"));
        assert!(!ids.include(0, "GPU-00") && !ids.include(11, "GPU-11"));
        for none in ["", "-1", "-1,0", "none", "void", "NoDevFiles"] {
            let ids = GpuIds::listed(none);
            assert!(!ids.include(0, "GPU-00") && !ids.include(1, "GPU-11"), "{none}");
        }
        assert!(GpuIds::listed("").is_empty());
    }
}
