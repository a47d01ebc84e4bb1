//! Why an engine failed, read from its log, exit code and the kernel's report of
//! memory. Pure text in, a class out; what is done about a class (retry, prune,
//! stop) is the sweep's. Lines are matched by their stable parts, since vLLM
//! rewords them from release to release; what nothing fits stays unknown.

use serde::{Deserialize, Serialize};

use crate::clean;
use crate::history::launch::{FailureClass, LaunchFailure};
use crate::shortage;

mod fields;
mod prune;
mod rules;

use fields::{opens_refusal, refused_name};
pub use prune::prunes;
pub use rules::misses_hub;
use rules::{RULES, asked_model, estimated_length, missing_model, unreachable_hub};

/// Whether a model is a path, and not a name on the hub.
pub fn is_local(model: &str) -> bool {
    model.starts_with(['/', '.', '~'])
}

/// How a process or container ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + N where signal N ended it. `None` where it is not known.
    pub code: Option<i32>,
    /// Whether the kernel killed something of it for lack of host memory.
    pub oom_killed: bool,
}

/// What a log says about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// The class.
    pub class: FailureClass,
    /// The lines that explain it, oldest first, prefixes removed.
    pub lines: Vec<String>,
    /// Longest context that would have fitted, in tokens, where vLLM estimated it.
    pub estimated_max_model_len: Option<u64>,
    /// Canonical name of the flag that was refused, where the log names one.
    pub flag: Option<String>,
    /// The model or path that is not there, where the log names one.
    pub missing_path: Option<String>,
    /// What a person can do about it, in one sentence.
    pub hint: &'static str,
}

/// Never the cause of anything: it points at the line that is.
const CONSEQUENCE: &str = "Engine core initialization failed";
/// A worker was not heard of for a minute: no failure by itself, as in a long compilation.
const HEARTBEAT: &str = "No available shared memory broadcast block";
/// What the hub's client means where it names nothing.
const NOT_IN_CACHE: &str = "something of the hub is not in its cache, and the hub is not asked or \
                            does not answer: download it before, or let the engine reach the hub";
/// Longest line kept, in characters.
const MAX_LINE_CHARACTERS: usize = 600;
/// Lines kept for a failure that nothing known fits.
const MAX_LINES: usize = 12;

/// Reads why an engine ended.
///
/// `was_ready` says that it had answered a completion before. An exit with
/// code 0 that nobody asked for is a crash: vLLM exits so after its engine died.
pub fn classify(log: &str, exit: Exit, was_ready: bool) -> Classified {
    let log = clean::lines(log);
    let lines: Vec<&str> =
        log.lines().map(bare_line).filter(|line| !line.trim().is_empty()).collect();
    let lower: Vec<String> = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
    let found = RULES.iter().filter(|rule| rule.after_ready || !was_ready).find_map(|rule| {
        let hits: Vec<usize> = (0..lines.len())
            .filter(|&at| !lines[at].contains(CONSEQUENCE) && (rule.matches)(&lower[at]))
            .collect();
        (!hits.is_empty()).then_some((rule.class, hits))
    });
    // The kernel's report counts more than the log: whatever a worker printed, it was killed for memory.
    let class = if exit.oom_killed {
        FailureClass::HostMemory
    } else {
        found.as_ref().map_or_else(|| by_exit(exit, was_ready), |(class, _)| *class)
    };
    let explained = match &found {
        Some((found, hits)) if *found == class => explaining(&lines, hits, class),
        _ => last_lines(&lines),
    };
    let lacks_hub = class == FailureClass::Environment
        && explained.iter().any(|line| unreachable_hub(&line.to_ascii_lowercase()));
    Classified {
        estimated_max_model_len: (class == FailureClass::KvCacheTooSmall)
            .then(|| lines.iter().rev().find_map(|line| estimated_length(line)))
            .flatten(),
        flag: (class == FailureClass::BadFlag).then(|| refused_name(&explained)).flatten(),
        missing_path: (class == FailureClass::Environment)
            .then(|| missing_model(&explained))
            .flatten()
            .or_else(|| asked_model(&lines).filter(|_| lacks_hub)),
        lines: explained,
        class,
        hint: if lacks_hub { NOT_IN_CACHE } else { hint(class) },
    }
}

impl LaunchFailure {
    /// A failure without a log, an exit or an estimate.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: clean::plain(&message.into()).into_owned(),
            log_lines: Vec::new(),
            exit_code: None,
            estimated_max_model_len: None,
            missing_path: None,
            cancelled: false,
            shortage: false,
            left: false,
        }
    }

    /// This process itself lacked `what`.
    pub fn of_shortage(what: &str) -> Self {
        Self { shortage: true, ..Self::new(FailureClass::Environment, what) }
    }

    /// Something that we started could not be ended: `what`.
    pub fn of_left(what: impl Into<String>) -> Self {
        Self { left: true, ..Self::new(FailureClass::Environment, what) }
    }

    /// Something of the environment could not be had; `what` says what was tried.
    pub fn of_io(what: &str, error: &std::io::Error) -> Self {
        match shortage::of_start(error) {
            Some(lacks) => Self::of_shortage(&format!("{what}: {lacks}")),
            None => Self::new(FailureClass::Environment, format!("{what}: {error}")),
        }
    }

    /// The failure of an engine that is there and makes no progress; `evidence` shows it. What
    /// its log says of its workers' silence comes first, then its last lines.
    pub fn of_no_progress(log: &str, evidence: impl Into<String>) -> Self {
        let log = clean::lines(log);
        let lines: Vec<&str> =
            log.lines().map(bare_line).filter(|line| !line.trim().is_empty()).collect();
        let last = last_lines(&lines);
        let silent = lines.iter().rev().find(|line| line.contains(HEARTBEAT));
        let silent = silent.map(|line| clipped(line)).filter(|line| !last.contains(line));
        Self {
            log_lines: silent.into_iter().chain(last).collect(),
            ..Self::new(FailureClass::NoProgress, evidence)
        }
    }

    /// The failure of an engine that ended unasked.
    pub fn of_exit(log: &str, exit: Exit, was_ready: bool) -> Self {
        let classified = classify(log, exit, was_ready);
        let ended = match (exit.code, exit.oom_killed) {
            (Some(code), true) => format!("ended with code {code}, killed for lack of host memory"),
            (Some(code), false) => format!("ended with code {code}"),
            (None, _) => "ended with an unknown code".to_owned(),
        };
        let when = if was_ready { "while it served" } else { "before it was ready" };
        let flag = classified.flag.map(|flag| format!(" (--{flag})")).unwrap_or_default();
        let estimate = classified
            .estimated_max_model_len
            .map(|length| format!("; vLLM estimates that max-model-len {length} would fit"))
            .unwrap_or_default();
        let hint = match &classified.missing_path {
            Some(path) => format!(
                "`{path}` is not there for the engine: check the model's name, and that its folder is mounted"
            ),
            None => classified.hint.to_owned(),
        };
        Self {
            message: format!("the engine {ended} {when}{flag}: {hint}{estimate}"),
            class: classified.class,
            log_lines: classified.lines,
            exit_code: exit.code,
            estimated_max_model_len: classified.estimated_max_model_len,
            missing_path: classified.missing_path,
            cancelled: false,
            shortage: false,
            left: false,
        }
    }
}

/// The last lines of a log whose engine did not end.
pub(super) fn end_of_log(log: &str) -> Vec<String> {
    let log = clean::lines(log);
    let lines: Vec<&str> =
        log.lines().map(bare_line).filter(|line| !line.trim().is_empty()).collect();
    last_lines(&lines)
}

/// The class by the exit alone.
fn by_exit(exit: Exit, was_ready: bool) -> FailureClass {
    match exit.code {
        // SIGKILL or SIGTERM that was not ours.
        Some(137 | 143) => FailureClass::Killed,
        // Not executable, not found: a shell's and runc's codes.
        Some(126 | 127) if !was_ready => FailureClass::Environment,
        // Done, as if asked to; or SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
        Some(0 | 132 | 134 | 135 | 136 | 139) => FailureClass::EngineDied,
        _ if was_ready => FailureClass::EngineDied,
        _ => FailureClass::Unknown,
    }
}

fn hint(class: FailureClass) -> &'static str {
    match class {
        FailureClass::KvCacheTooSmall => {
            "raise gpu-memory-utilization or lower max-model-len: the KV cache needs more memory"
        }
        FailureClass::OutOfMemory => {
            "lower gpu-memory-utilization, max-num-seqs or max-num-batched-tokens"
        }
        FailureClass::MemoryNotFree => {
            "something else holds GPU memory: free it, or lower gpu-memory-utilization"
        }
        FailureClass::GpuMemoryChanged => {
            "another process freed GPU memory while vLLM measured it: launch again when nothing else uses the GPU"
        }
        FailureClass::BadFlag => "this version of vLLM does not accept the flag or its value",
        FailureClass::FlagNotApplied => {
            "vLLM runs with other flags than were asked for: see what starts it"
        }
        FailureClass::Credentials => {
            "the hub refused the model: set HF_TOKEN and accept the model's licence"
        }
        FailureClass::NoGpu => {
            "no GPU is visible: check the NVIDIA runtime and the service's GPU reservation, or switch GPU requests off for a CPU image"
        }
        FailureClass::CompileCache => "the compile cache is corrupt: drop it and launch again",
        FailureClass::SharedMemory => "set `ipc: host` or a larger `shm_size` in the service",
        FailureClass::EngineDied => "the engine died while it should have served",
        FailureClass::HostMemory => "the host or the container's limit ran out of memory",
        FailureClass::Killed => "somebody else stopped or killed it",
        FailureClass::NoProgress => "it was alive, and made no token while requests were in flight",
        FailureClass::Timeout => {
            "it took too long or fell silent: see the log, or raise the limits"
        }
        FailureClass::TimeLimit => "its job's limit of time ended it",
        FailureClass::Environment => "the environment does not allow a launch",
        FailureClass::GateFailed => {
            "what it answers is not what clients can use, whatever its speed"
        }
        FailureClass::NotServing => "it runs, but does not answer as a server must",
        FailureClass::Unknown => "nothing known fits: see the full log",
    }
}

/// A log line without vLLM's `(EngineCore pid=1) ERROR 11-24 06:18:47 [core.py:1510] `.
fn bare_line(line: &str) -> &str {
    let rest = match line.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
        Some((process, rest)) if process.contains("pid=") => rest,
        _ => line,
    };
    let leveled =
        ["ERROR ", "WARNING ", "INFO ", "CRITICAL "].iter().any(|level| rest.starts_with(level));
    match rest.find(".py:").and_then(|at| rest[at..].find("] ").map(|end| at + end + 2)) {
        Some(end) if leveled => &rest[end..],
        _ => rest,
    }
    .trim_end()
}

/// The lines that were hit, each once; pydantic's field name is on the line before.
fn explaining(lines: &[&str], hits: &[usize], class: FailureClass) -> Vec<String> {
    let mut explained: Vec<String> = Vec::new();
    for &at in hits {
        let mut from = at;
        if class == FailureClass::BadFlag && lines[at].contains("[type=") {
            from = at.saturating_sub(1);
            // The class in which the field is.
            if from > 0 && opens_refusal(lines[from - 1]) {
                from -= 1;
            }
        }
        for line in &lines[from..=at] {
            let line = clipped(line);
            if !explained.contains(&line) {
                explained.push(line);
            }
        }
    }
    explained.truncate(MAX_LINES);
    explained
}

/// The errors that a log names, and its end.
fn last_lines(lines: &[&str]) -> Vec<String> {
    let end = lines.len().saturating_sub(MAX_LINES);
    let mut kept: Vec<String> = Vec::new();
    let errors = lines[..end].iter().filter(|line| {
        !line.contains(CONSEQUENCE)
            && line.split_once(": ").is_some_and(|(kind, _)| {
                (kind.ends_with("Error") || kind.ends_with("Exception")) && !kind.contains(' ')
            })
    });
    let mut errors: Vec<String> = errors.map(|line| clipped(line)).collect();
    errors.dedup();
    let first = errors.len().saturating_sub(4);
    for line in errors.drain(first..).chain(lines[end..].iter().map(|line| clipped(line))) {
        if !kept.contains(&line) {
            kept.push(line);
        }
    }
    kept
}

fn clipped(line: &str) -> String {
    match line.char_indices().nth(MAX_LINE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
