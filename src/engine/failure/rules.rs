//! Which line of a log means which class. Lines are matched by the parts that
//! releases have in common, without regard to case: vLLM, torch and the hub's
//! client reword them. A new wording is a word in one of these functions, and a
//! line in the tests.

use crate::history::launch::FailureClass;

/// A class and the lines that show it.
pub(super) struct Rule {
    pub class: FailureClass,
    /// Asked of a line in lower case.
    pub matches: fn(&str) -> bool,
    /// Whether the line says something about a server that was already ready:
    /// then refused requests and clients without a key log similar words.
    pub after_ready: bool,
}

/// In the order of precedence: causes first, consequences last.
pub(super) const RULES: &[Rule] = &[
    Rule { class: FailureClass::KvCacheTooSmall, matches: too_small_cache, after_ready: false },
    // While memory was profiled: what is out of memory then is another matter.
    Rule { class: FailureClass::GpuMemoryChanged, matches: memory_changed, after_ready: false },
    Rule { class: FailureClass::OutOfMemory, matches: out_of_memory, after_ready: true },
    Rule {
        class: FailureClass::MemoryNotFree,
        matches: |line| {
            line.contains("free memory on device")
                && line.contains("less than desired gpu memory utilization")
        },
        after_ready: false,
    },
    Rule {
        class: FailureClass::HostMemory,
        matches: |line| {
            line.contains("cannot allocate memory")
                || line.contains("can't allocate memory")
                || line.contains("std::bad_alloc")
        },
        after_ready: true,
    },
    Rule {
        class: FailureClass::CompileCache,
        matches: |line| line.contains("corrupted compilation artifact"),
        after_ready: true,
    },
    Rule {
        class: FailureClass::SharedMemory,
        matches: |line| line.contains("/dev/shm") && line.contains("required"),
        after_ready: false,
    },
    Rule {
        class: FailureClass::NoGpu,
        matches: |line| {
            contains_any(
                line,
                &[
                    "failed to infer device type",
                    "could not select device driver",
                    "no cuda gpus are available",
                    "no hip gpus are available",
                    "found no nvidia driver",
                    "no cuda-capable device is detected",
                    "unknown or invalid runtime name: nvidia",
                    "nvidia-container-cli",
                ],
            )
        },
        after_ready: false,
    },
    Rule { class: FailureClass::Credentials, matches: refused_by_hub, after_ready: false },
    Rule {
        class: FailureClass::Environment,
        matches: |line| {
            line.contains("address already in use") || line.contains("no space left on device")
        },
        after_ready: true,
    },
    Rule {
        class: FailureClass::Environment,
        matches: |line| names_missing_model(line) || unreachable_hub(line),
        after_ready: false,
    },
    Rule { class: FailureClass::BadFlag, matches: refused_flag, after_ready: false },
    Rule {
        class: FailureClass::EngineDied,
        matches: |line| {
            line.contains("enginedeaderror") || line.contains("enginecore encountered an issue")
        },
        after_ready: true,
    },
];

fn contains_any(line: &str, words: &[&str]) -> bool {
    words.iter().any(|word| line.contains(word))
}

fn too_small_cache(line: &str) -> bool {
    line.contains("no available memory for the cache blocks")
        // "the model's", "the models's": only the tail is the same everywhere.
        || (line.contains("to serve at least one request") && line.contains("max seq len"))
        || (line.contains("kv cache")
            && contains_any(
                line,
                &[
                    "larger than the maximum number of tokens that can be stored in kv cache",
                    "larger than the available kv cache memory",
                ],
            ))
}

/// Others freed memory while vLLM measured how much there is.
fn memory_changed(line: &str) -> bool {
    contains_any(
        line,
        &[
            "error in memory profiling",
            "release gpu memory while vllm is profiling",
            "gpu memory was not properly cleaned up before initializing",
        ],
    )
}

fn out_of_memory(line: &str) -> bool {
    line.contains("outofmemoryerror")
        || contains_any(
            line,
            &[
                "cuda_error_out_of_memory",
                "cudaerrormemoryallocation",
                "hiperroroutofmemory",
                "cublas_status_alloc_failed",
            ],
        )
        || (line.contains("out of memory")
            // Of a device: that of the host is another class.
            && line.split("out of memory").next().is_some_and(|before| {
                let before = before.trim_end_matches([' ', ':', '\'', '"', '(']);
                ["cuda", "hip", "xpu", "npu", "gpu", "device", "rocm"]
                    .iter()
                    .any(|device| before.ends_with(device))
                    || contains_any(
                        before,
                        &[
                            "cuda error",
                            "cuda driver error",
                            "hip error",
                            "xpu error",
                            "cuda failure",
                            // What NCCL says of its buffers.
                            "cuda calloc",
                            "cuda malloc",
                        ],
                    )
            }))
}

fn refused_by_hub(line: &str) -> bool {
    line.contains("gatedrepoerror")
        // "cannot access", "you are trying to access".
        || line.contains("access gated repo")
        || line.contains("access a gated repo")
        || line.contains("invalid credentials in authorization header")
        // A server logs `401 Unauthorized` for its own clients too: only the hub's counts.
        || ((line.contains("401 client error") || line.contains("client error '401"))
            && line.contains("http"))
}

/// The hub was asked for something that is not in its cache, and did not answer.
pub(super) fn unreachable_hub(line: &str) -> bool {
    contains_any(
        line,
        &[
            "localentrynotfounderror",
            "offlinemodeisenabled",
            "offline mode is enabled",
            "outgoing traffic has been disabled",
            "couldn't find them in the cached files",
            "couldn't find it in the cached files",
            "cannot find an appropriate cached snapshot folder",
        ],
    )
}

/// Whether a log shows that something of the hub was missing: for a launch that
/// was kept from asking it, which may fail in the words of anybody who asks.
/// What is only reported is not counted.
pub fn misses_hub(log: &str) -> bool {
    log.lines().filter(|line| !is_report(line)).map(str::to_ascii_lowercase).any(|line| {
        unreachable_hub(&line)
            || names_missing_model(&line)
            || contains_any(
                &line,
                &["huggingface.co", "huggingface_hub", "hf.co/", "offline mode", "hf_hub_offline"],
            )
    })
}

fn is_report(line: &str) -> bool {
    contains_any(line, &["DEBUG ", "INFO ", "INFO:", "WARNING ", "Warning: "])
}

fn refused_flag(line: &str) -> bool {
    let start = line.trim_start();
    line.contains("unrecognized arguments: ")
        || line.contains("error: argument -")
        || line.contains("error: ambiguous option: ")
        || (start.starts_with("input should be") && line.contains("input_value="))
        || (start.starts_with("extra inputs are not permitted") && line.contains("input_value="))
        || (line.contains("keyerror: ") && line.contains("invalid ") && line.contains(" parser"))
        || (line.contains("max_num_batched_tokens (") && line.contains("is smaller than max_"))
        || (line.contains("value error, ") && line.contains("[type=value_error"))
        // The rest of a message of several lines follows.
        || start.starts_with("value error, ")
        || start.starts_with("assertion failed, ")
}

/// How a model that is not there is named: the words before it.
const MISSING_MODEL: &[&str] = &[
    "invalid repository id or local directory specified: ",
    "incorrect path_or_model_id: ",
    "can't load the configuration of ",
    "can't load the model for ",
    "no supported config format found in ",
    "'namespace/repo_name': ",
    "repository not found for url: ",
    "no model weights found in: ",
    "cannot find any model weights with ",
];

/// The same: the words after it.
const NO_MODEL: &[&str] = &[
    " does not appear to have a file named config.json",
    " is not a local folder and is not a valid model identifier",
    " is not the path to a directory containing",
];

fn names_missing_model(line: &str) -> bool {
    contains_any(line, MISSING_MODEL)
        || contains_any(line, NO_MODEL)
        || missing_config(line).is_some()
}

/// The model or path that the lines name as missing.
pub(super) fn missing_model(lines: &[String]) -> Option<String> {
    lines.iter().find_map(|line| {
        // ASCII only: the positions stay the same.
        let lower = line.to_ascii_lowercase();
        if let Some(end) = NO_MODEL.iter().find_map(|words| lower.find(*words)) {
            return line[..end].rsplit(' ').next().map(unquoted);
        }
        if let Some(path) = missing_config(line) {
            return Some(path.to_owned());
        }
        let named = |words: &&str| lower.find(*words).map(|at| &line[at + words.len()..]);
        let rest = MISSING_MODEL.iter().find_map(named)?;
        Some(unquoted(first_word(rest)))
    })
}

/// The model that the server was started with, by its own log: for what the hub's client says
/// without a name. `None` once its configuration was read: then something else is missing.
pub(super) fn asked_model(lines: &[&str]) -> Option<String> {
    if lines.iter().any(|line| line.to_ascii_lowercase().contains("resolved architecture")) {
        return None;
    }
    let marks = ["'model': ", "'model_tag': ", " model="];
    lines.iter().rev().find_map(|line| {
        let shows = ["non-default args: ", "with config: "].iter().any(|it| line.contains(it));
        let rest =
            marks.iter().filter(|_| shows).find_map(|mark| Some(line.split_once(mark)?.1))?;
        Some(unquoted(first_word(rest))).filter(|model| !model.is_empty())
    })
}

/// The folder whose `config.json` the system did not find.
fn missing_config(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("o such file or directory: '")?;
    let (path, _) = rest.split_once('\'')?;
    path.strip_suffix("/config.json")
}

/// A quoted text, or everything before the next space.
fn first_word(text: &str) -> &str {
    match text.chars().next() {
        Some(quote @ ('\'' | '"' | '`')) => {
            text[1..].find(quote).map_or(text, |end| &text[..end + 2])
        }
        _ => text.split(' ').next().unwrap_or(text),
    }
}

fn unquoted(word: &str) -> String {
    word.trim_end_matches(['.', ',', ':']).trim_matches(['\'', '"', '`']).to_owned()
}

/// The longest context that vLLM estimated would fit.
pub(super) fn estimated_length(line: &str) -> Option<u64> {
    let digits = |text: &str| -> Option<u64> {
        let digits: String = text
            .chars()
            .take_while(|letter| letter.is_ascii_digit() || *letter == ',')
            .filter(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    };
    let line = line.to_ascii_lowercase();
    if let Some((_, rest)) = line.split_once("estimated maximum model length is ") {
        return digits(rest);
    }
    let (_, rest) = line.split_once("maximum number of tokens that can be stored in kv cache (")?;
    digits(rest)
}
