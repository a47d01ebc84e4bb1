//! Reads and checks a grid file and expands it into configurations. Every fault
//! is found in one pass, with file, line, column and a snippet, before anything
//! is launched. Pure: knows no engine, no network, no runtime.

use std::path::PathBuf;

use serde::Serialize;

use crate::configuration::{Configuration, Flags};
use crate::metric::Objective;
use crate::strategy::StrategySpec;
use crate::workload::Workload;

/// A checked and expanded grid.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The grid's name: the sweep's folder begins with it.
    pub name: String,
    /// The file that it came from.
    pub path: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// The engine block that was chosen.
    pub engine: EngineBlock,
    /// Name of the baseline configuration, where the grid names one.
    pub baseline: Option<String>,
    /// Every configuration, equals merged.
    pub configurations: Vec<Configuration>,
    /// Canonical names of the flags that differ between configurations, in the file's order.
    pub varied: Vec<String>,
    /// The benchmark suite.
    pub workloads: Vec<Workload>,
    /// What is sought.
    pub objective: Objective,
    /// How launches are chosen.
    pub strategy: StrategySpec,
    /// Seconds that the sweep may take, where limited.
    pub budget_seconds: Option<u64>,
    /// What a person should read before the night.
    pub warnings: Vec<Warning>,
}

/// Something that is allowed but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The grid file.
    pub file: PathBuf,
    /// Line from 1, where there is one.
    pub line: Option<usize>,
    /// Column from 1, where there is one.
    pub column: Option<usize>,
    /// What and why.
    pub message: String,
}

/// One engine block of a grid.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineBlock {
    /// Containers.
    Docker(DockerBlock),
    /// A local `vllm serve`.
    Process(ProcessBlock),
    /// The embedded simulated engine.
    Simulated(SimulatedBlock),
}

impl EngineBlock {
    /// `docker`, `process` or `simulated`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Process(_) => "process",
            Self::Simulated(_) => "simulated",
        }
    }
}

/// `docker:` of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DockerBlock {
    /// Compose file, resolved against the grid's folder.
    pub compose: Option<PathBuf>,
    /// Service in it.
    pub service: Option<String>,
    /// Plain image, instead of a compose service.
    pub image: Option<String>,
    /// Model, where the grid names it.
    pub model: Option<String>,
    /// Flags of every configuration.
    pub flags: Flags,
    /// Name of the variable that holds the API key.
    pub api_key_env: Option<String>,
}

/// `process:` of a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessBlock {
    /// Command and first arguments; `[vllm, serve, MODEL]` where not given.
    pub command: Vec<String>,
    /// Flags of every configuration.
    pub flags: Flags,
    /// Name of the variable that holds the API key.
    pub api_key_env: Option<String>,
}

/// `simulated:` of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedBlock {
    /// A model that the simulator has a profile of.
    pub model: String,
    /// A GPU that the simulator has a profile of.
    pub gpu: String,
    /// Number of GPUs.
    pub gpus: u32,
    /// GiB on each GPU that something else holds.
    pub other_memory_gib: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// All times are divided by it, boot included.
    pub speed: f64,
    /// Flags of every configuration.
    pub flags: Flags,
}
