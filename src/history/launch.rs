//! The data of one launch, as the engines give them and the journal keeps them:
//! what is known of a server that became ready, why another one did not, when one is
//! clearly behind, and how a launch ended.

use serde::{Deserialize, Serialize};

use super::loss::Loss;
use crate::metric::Goal;
use crate::strategy::Bar;

/// What is known of a launch whose server became ready.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LaunchFacts {
    /// When the engine was started, RFC 3339 UTC.
    pub started_at: String,
    /// Seconds from the start to the first answered completion.
    pub boot_seconds: f64,
    /// Image identity, where there is an image.
    pub image_id: Option<String>,
    /// The engine's version, where the server shows it.
    pub engine_version: Option<String>,
    /// Whether the server says of itself that it is simulated, whatever engine started it.
    #[serde(default)]
    pub simulated: bool,
}

/// Classes of failure. Which line of a log means which is in `engine/failure.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The KV cache does not fit: more utilisation or a shorter context is needed.
    KvCacheTooSmall,
    /// Out of GPU memory.
    OutOfMemory,
    /// GPU memory was not free at the start.
    MemoryNotFree,
    /// Others freed GPU memory while the engine measured how much there is.
    GpuMemoryChanged,
    /// A flag or its value is not accepted.
    BadFlag,
    /// What the configuration asks for is not what the server's process runs with.
    FlagNotApplied,
    /// The hub refused the model.
    Credentials,
    /// No GPU is visible to the engine.
    NoGpu,
    /// A compile cache is corrupt.
    CompileCache,
    /// Shared memory is too small.
    SharedMemory,
    /// The engine died after it had started.
    EngineDied,
    /// The host ran out of memory.
    HostMemory,
    /// Killed by somebody.
    Killed,
    /// It was alive and made no progress while requests were in flight.
    NoProgress,
    /// The launch took too long or fell silent.
    Timeout,
    /// The job's limit of time ended it, again and again.
    TimeLimit,
    /// The environment: no daemon, no image, no port, no file.
    Environment,
    /// A gate failed: it answers wrongly, or not what clients rely on.
    GateFailed,
    /// The server answers, but not as asked (auth, model, completion).
    NotServing,
    /// Nothing known fits, or the class of a newer version.
    #[serde(other)]
    Unknown,
}

impl FailureClass {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KvCacheTooSmall => "kv_cache_too_small",
            Self::OutOfMemory => "out_of_memory",
            Self::MemoryNotFree => "memory_not_free",
            Self::GpuMemoryChanged => "gpu_memory_changed",
            Self::BadFlag => "bad_flag",
            Self::FlagNotApplied => "flag_not_applied",
            Self::Credentials => "credentials",
            Self::NoGpu => "no_gpu",
            Self::CompileCache => "compile_cache",
            Self::SharedMemory => "shared_memory",
            Self::EngineDied => "engine_died",
            Self::HostMemory => "host_memory",
            Self::Killed => "killed",
            Self::NoProgress => "no_progress",
            Self::Timeout => "timeout",
            Self::TimeLimit => "time_limit",
            Self::Environment => "environment",
            Self::GateFailed => "gate_failed",
            Self::NotServing => "not_serving",
            Self::Unknown => "unknown",
        }
    }

    /// How often it must be seen before the same configuration is taken to fail so again:
    /// memory may be short only because others use it at the moment. `None` where it may
    /// pass, however often it is seen.
    pub fn sightings(self) -> Option<u32> {
        match self {
            Self::OutOfMemory | Self::HostMemory => Some(2),
            // Two jobs have reached the limit before it is a failure, and the run keeps its limit.
            Self::TimeLimit => Some(1),
            other => other.is_deterministic().then_some(1),
        }
    }

    /// Whether it comes from outside: killed by somebody, no daemon, no image, GPU memory that
    /// others use, no access to the model.
    pub fn is_foreign(self) -> bool {
        matches!(
            self,
            Self::Killed
                | Self::Environment
                | Self::MemoryNotFree
                | Self::GpuMemoryChanged
                | Self::Credentials
                | Self::NoGpu
        )
    }

    /// Whether it is the configuration's own, and not of what is around it.
    pub fn is_deterministic(self) -> bool {
        matches!(
            self,
            Self::KvCacheTooSmall
                | Self::OutOfMemory
                | Self::BadFlag
                | Self::FlagNotApplied
                | Self::GateFailed
                | Self::HostMemory
        )
    }
}

/// Why a launch gave no ready server, or lost it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchFailure {
    /// The class.
    pub class: FailureClass,
    /// What happened and what to do, in one or two sentences.
    pub message: String,
    /// The log lines that explain it, oldest first.
    pub log_lines: Vec<String>,
    /// The process's exit code, where it exited.
    pub exit_code: Option<i32>,
    /// Longest context that would have fitted, where the engine estimated it.
    pub estimated_max_model_len: Option<u64>,
    /// The model or path that is not there for the engine, where its log names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_path: Option<String>,
    /// True where the launch was given up because a stop was asked for.
    #[serde(default)]
    pub cancelled: bool,
    /// True where this process itself lacked something, such as files that it may open, or the
    /// GPUs because another run has them: the launch shows nothing, is no failure, and nothing
    /// more is launched. Not stored.
    #[serde(skip)]
    pub shortage: bool,
    /// True where something of the launch could not be ended and may still hold its GPU:
    /// nothing is started beside it. Not stored.
    #[serde(skip)]
    pub left: bool,
}

impl LaunchFailure {
    /// The same, where what it left behind could not be ended either: `why`.
    #[must_use]
    pub fn leaving(self, why: &Self) -> Self {
        let message = format!("{}; {}", self.message, why.message);
        Self { message, left: true, ..self }
    }
}

/// How a launch ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum LaunchOutcome {
    /// Everything planned was measured.
    Measured,
    /// The engine gave no ready server, or died while it was measured.
    Failed(LaunchFailure),
    /// Never started.
    Skipped {
        /// Why not.
        reason: String,
        /// Whether the strategy decided so. Otherwise it follows from failed launches, and
        /// is launched after all where a success revokes that.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_strategy: bool,
    },
    /// A stop was asked for, or the process was killed: what was measured counts, the rest is missing.
    Interrupted,
    /// A cluster took it: what was measured counts, the rest is launched again.
    Lost {
        /// How.
        loss: Loss,
        /// What is known of it, in a sentence.
        message: String,
    },
    /// An outcome of a newer version.
    #[serde(other)]
    Unknown,
}

impl LaunchOutcome {
    /// Whether the launch counts as done: an interrupted one is made again.
    pub fn is_settled(&self) -> bool {
        !self.is_cut()
    }

    /// Whether something from outside ended it: a stop, a death, a cluster.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Lost { .. })
    }
}

/// Why a launch measures fewer repeats than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Behind {
    /// Kept repeats of each case that are measured in spite of it.
    pub repeats: u32,
    /// Mean of the objective's kept repeats so far.
    pub value: f64,
    /// The value that all of them are beyond.
    pub bar: f64,
}

impl Behind {
    /// Whether the objective's kept repeats so far are enough, and all beyond the bar. An
    /// equal value is not.
    pub fn of(bar: Bar, goal: Goal, values: &[f64]) -> Option<Self> {
        let is_beyond = |value: &f64| match goal {
            Goal::Minimize => *value > bar.value,
            Goal::Maximize => *value < bar.value,
        };
        let is_enough = !values.is_empty() && values.len() >= bar.repeats as usize;
        (is_enough && values.iter().all(is_beyond)).then(|| Self {
            repeats: bar.repeats.max(1),
            value: values.iter().sum::<f64>() / values.len() as f64,
            bar: bar.value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(value: f64, repeats: u32) -> Bar {
        Bar { value, repeats }
    }

    #[test]
    fn all_repeats_must_be_beyond_and_enough_of_them() {
        let behind = |values: &[f64]| Behind::of(bar(100.0, 2), Goal::Minimize, values);
        assert_eq!(behind(&[]), None);
        assert_eq!(behind(&[120.0]), None, "one of two");
        assert_eq!(behind(&[120.0, 100.0]), None, "the bar itself is not beyond it");
        let found = Behind { repeats: 2, value: 130.0, bar: 100.0 };
        assert_eq!(behind(&[120.0, 140.0]), Some(found));
        let faster = |values: &[f64]| Behind::of(bar(100.0, 0), Goal::Maximize, values);
        assert_eq!(faster(&[120.0]), None, "more is better");
        assert_eq!(faster(&[]), None, "nothing is known");
        assert_eq!(faster(&[90.0]).map(|it| it.repeats), Some(1), "the first is measured");
    }
}
