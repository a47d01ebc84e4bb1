//! vLLM's launch flags: names, types, ranges, the argument vector made of them
//! and the way back from it. Pure text and values; what a flag does to an
//! engine is not known here, save for one thing: whether it can act on a
//! server that answers one request at a time.
//!
//! The names come from `vllm-flags.tsv`, which `make_flags.py` reads off the
//! parser of a stated vLLM version.

mod canonical;
mod check;
mod command_line;
mod map;
mod spelling;
mod table;
mod value_schema;

use serde_json::Value;

pub use canonical::canonical;
pub(crate) use canonical::write_canonical;
pub(crate) use check::decimal_comma;
pub use check::{ValueError, check};
pub use command_line::{ArgvError, CommandLine, parse_argv};
pub(crate) use map::Entry;
pub use map::{Flags, FlagsIter};
pub(crate) use spelling::shown;
pub use spelling::{canonical_name, is_secret, nearest_word};
pub use table::{
    Flag, Kind, OWNED, VLLM_VERSION, flags, glued, is_owned, lookup, nearest, resolve, successor,
};
pub use value_schema::value_schema;

/// Flags that take one value a time: for more, the flag is repeated
/// (argparse's `append`; the table does not distinguish it from `nargs="+"`).
const REPEATED: &[&str] = &["middleware"];

/// Flags that cannot act on a server that has one request in flight: limits of
/// what runs side by side, and memory that one request does not fill.
/// Ranking them there ranks noise.
const UNDER_LOAD_ONLY: &[&str] = &[
    "data-parallel-size",
    "enable-chunked-prefill",
    "gpu-memory-utilization",
    "kv-cache-memory-bytes",
    "long-prefill-token-threshold",
    "long-prefill-token-threshold-adaptive",
    "max-num-active-seqs",
    "max-num-queued-reqs",
    "max-num-queued-tokens",
    "max-num-seqs",
    "num-gpu-blocks-override",
    "prefill-schedule-interval",
    "scheduling-policy",
    "watermark",
];

/// Whether a flag is inert, or nearly so, with one request at a time.
pub fn acts_under_load_only(name: &str) -> bool {
    UNDER_LOAD_ONLY.contains(&name)
}

/// Whether a value of a command is text that only the container's shell can expand
/// (`$N`, `${N:-3}`): what it is there is not known before the server shows it.
pub fn is_unexpanded(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains(['$', '`']))
}

/// The arguments that pass `flags`, in the order of their names: booleans as
/// `--flag` or `--no-flag`, mappings as JSON, lists as several arguments
/// (as JSON where the flag takes JSON), nulls not at all.
pub fn argv(flags: &Flags) -> Vec<String> {
    let mut arguments = Vec::with_capacity(flags.len() * 2);
    for (name, value) in flags {
        append(&mut arguments, name, value);
    }
    arguments
}

fn append(arguments: &mut Vec<String>, name: &str, value: &Value) {
    // A key of a JSON option takes its value as text, booleans and lists too.
    if name.contains('.') && !value.is_null() {
        arguments.push(format!("--{name}"));
        arguments.push(argument(value));
        return;
    }
    match value {
        Value::Null => {}
        Value::Bool(true) => arguments.push(format!("--{name}")),
        Value::Bool(false) => arguments.push(format!("--no-{name}")),
        Value::Array(items) if REPEATED.contains(&name) => {
            for item in items {
                arguments.push(format!("--{name}"));
                arguments.push(argument(item));
            }
        }
        Value::Array(items) if lookup(name).is_none_or(|flag| flag.kind != Kind::Json) => {
            arguments.push(format!("--{name}"));
            arguments.extend(items.iter().map(argument));
        }
        other => {
            let text = argument(other);
            // Otherwise argparse takes the value for the next option.
            if text.starts_with('-') && text.parse::<f64>().is_err() {
                arguments.push(format!("--{name}={text}"));
                return;
            }
            arguments.push(format!("--{name}"));
            arguments.push(text);
        }
    }
}

fn argument(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
