//! Fault injection: failures that the cost model does not produce by itself, so that
//! readiness, classification and clean-up can be tested against a real process. Lines and
//! exit codes are those observed of vLLM. Without an option, nothing is injected.

use super::log::Process;
use super::spoil::Spoiled;
use crate::configuration::Flags;

/// The message to clients and in the log when the engine has died.
pub const ENGINE_DEAD: &str =
    "EngineCore encountered an issue. See stack trace (above) for the root cause.";

/// The injected faults. None by default.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // switches, not states
pub struct Faults {
    /// The start ends this way.
    pub exit: Option<Exit>,
    /// The start takes this many simulated seconds in place of its own.
    pub boot_seconds: Option<f64>,
    /// The start logs nothing between its first lines and its last.
    pub silent_boot: bool,
    /// The engine runs with these in place of the requested values. The command
    /// line is echoed unchanged.
    pub overridden: Flags,
    /// The engine dies after so many generated tokens, and the process ends with code 0.
    pub die_after: Option<u64>,
    /// A dead engine's API server stays: `/health` is 503, chats are answered with 500.
    pub lingers: bool,
    /// The process ends at once after so many generated tokens, without a word.
    pub exit_after: Option<u64>,
    /// The code that it ends with then; 137 is a kill.
    pub exit_code: i32,
    /// The engine stops stepping after so many generated tokens; `/health` stays 200.
    pub freeze_after: Option<u64>,
    /// It continues after so many simulated seconds; never where `None`.
    pub freeze_seconds: Option<f64>,
    /// Every answer falls silent after so many of its tokens and stays open.
    pub silent_after: Option<u64>,
    /// `/health` is 503.
    pub unhealthy: bool,
    /// Chats are answered with 500.
    pub not_serving: bool,
    /// The engine dies where a prompt that is too long for one step gets its second one.
    pub dies_on_second_chunk: bool,
    /// Some chats are not answered as they should be: the first of these that hits counts.
    pub spoiled: Vec<Spoiled>,
    /// Somebody else sends a request each time so many simulated seconds have passed.
    pub strangers: Option<f64>,
}

/// A way for a start to end, by the class that a reader of the log should find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The class's word.
    pub class: &'static str,
    /// The process's exit code; 137 is a kill.
    pub code: i32,
    /// The lines that explain it, and who writes them.
    pub lines: &'static [(Process, &'static str)],
}

const EXITS: [Exit; 16] = [
    Exit {
        class: "kv_cache_too_small",
        code: 1,
        lines: &[(
            Process::EngineCore,
            "ValueError: To serve at least one request with the model's max seq len (40960), (5.62 \
             GiB KV cache is needed, which is larger than the available KV cache memory (2.1 GiB). \
             Based on the available memory, the estimated maximum model length is 15264. Try \
             increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing \
             the engine.",
        )],
    },
    Exit {
        class: "out_of_memory",
        code: 1,
        lines: &[(
            Process::EngineCore,
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB. GPU 0 has a \
             total capacity of 23.64 GiB of which 312.00 MiB is free.",
        )],
    },
    Exit {
        class: "memory_not_free",
        code: 1,
        lines: &[(
            Process::EngineCore,
            "ValueError: Free memory on device cuda:0 (3.2/23.64 GiB) on startup is less than \
             desired GPU memory utilization (0.9, 21.28 GiB). Decrease GPU memory utilization or \
             reduce GPU memory used by other processes.",
        )],
    },
    Exit {
        class: "gpu_memory_changed",
        code: 1,
        lines: &[(
            Process::EngineCore,
            "AssertionError: Error in memory profiling. Initial free memory 12.41 GiB, current free \
             memory 17.03 GiB. This happens when other processes sharing the same container release \
             GPU memory while vLLM is profiling during initialization.",
        )],
    },
    Exit {
        class: "bad_flag",
        code: 2,
        lines: &[
            (Process::Plain, "usage: vllm [-h] [-v]"),
            (Process::Plain, "vllm: error: unrecognized arguments: --no-such-flag"),
        ],
    },
    Exit {
        class: "credentials",
        code: 1,
        lines: &[(
            Process::Plain,
            "huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo. \
             Access to this model is restricted. You must be authenticated to access it.",
        )],
    },
    Exit {
        class: "no_gpu",
        code: 1,
        lines: &[(
            Process::Plain,
            "RuntimeError: Failed to infer device type, please set the environment variable \
             `VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the issue.",
        )],
    },
    Exit {
        class: "compile_cache",
        code: 1,
        lines: &[(
            Process::EngineCore,
            "RuntimeError: Bytes object is corrupted, checksum does not match: corrupted \
             compilation artifact",
        )],
    },
    Exit {
        class: "shared_memory",
        code: 1,
        lines: &[(
            Process::EngineCore,
            "RuntimeError: not enough space in /dev/shm: 160 MiB required, 64 MiB free",
        )],
    },
    Exit { class: "engine_died", code: 0, lines: &[(Process::ApiServer, ENGINE_DEAD_ERROR)] },
    Exit { class: "host_memory", code: 137, lines: &[] },
    Exit { class: "killed", code: 137, lines: &[] },
    Exit {
        class: "environment",
        code: 1,
        lines: &[(Process::Plain, "OSError: [Errno 28] No space left on device")],
    },
    // The same class by another cause.
    Exit {
        class: "port_taken",
        code: 1,
        lines: &[(Process::Plain, "OSError: [Errno 98] Address already in use")],
    },
    Exit {
        class: "bad_value",
        code: 2,
        lines: &[
            (Process::Plain, "usage: vllm serve [model_tag] [options]"),
            (
                Process::Plain,
                "vllm serve: error: argument --max-num-seqs: invalid int value: 'many'",
            ),
        ],
    },
    Exit {
        class: "unknown",
        code: 1,
        lines: &[(Process::EngineCore, "AssertionError: the simulator was asked for this")],
    },
];

/// [`ENGINE_DEAD`] as Python raises it.
pub const ENGINE_DEAD_ERROR: &str = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore \
     encountered an issue. See stack trace (above) for the root cause.";

/// Tokens after which `no_progress` freezes.
const WEDGED_AFTER: u64 = 14;

/// The words that [`Faults::fail`] takes.
pub fn classes() -> impl Iterator<Item = &'static str> {
    EXITS.iter().map(|exit| exit.class).chain(["timeout", "not_serving", "no_progress"])
}

impl Faults {
    /// Makes the launch fail with this class; false where the class is not
    /// known. `timeout` never gets ready and logs nothing, `not_serving` gets
    /// ready and answers chats with 500, `no_progress` freezes after some tokens, all others
    /// exit before they are ready.
    pub fn fail(&mut self, class: &str) -> bool {
        let class = class.replace('-', "_");
        match class.as_str() {
            "timeout" => {
                self.silent_boot = true;
                self.boot_seconds = Some(1e9);
            }
            "not_serving" => self.not_serving = true,
            // The proof of readiness takes some tokens.
            "no_progress" => self.freeze_after = Some(WEDGED_AFTER),
            _ => {
                self.exit = EXITS.iter().find(|exit| exit.class == class).copied();
                return self.exit.is_some();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_accepted_in_either_spelling() {
        for class in classes() {
            assert!(Faults::default().fail(class), "{class}");
            assert!(Faults::default().fail(&class.replace('_', "-")), "{class}");
        }
        let mut faults = Faults::default();
        assert!(!faults.fail("bad_luck"));
        assert_eq!(faults, Faults::default());
    }
}
