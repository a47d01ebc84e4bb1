//! Names of configurations: what a name may be, since folders and containers
//! bear it, and names generated from what differs.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::configuration::{canonical, hexadecimal};

/// Bytes of a name at most: folders, containers and tables have to hold it.
const LONGEST: usize = 80;

/// Names that Windows keeps for devices, with or without an extension.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul"];

/// Why a text cannot be a name; `None` where it can.
pub(super) fn refusal(name: &str) -> Option<String> {
    let shown = name.escape_debug();
    if name.is_empty() {
        return Some("a name must not be empty".to_owned());
    }
    if name.len() > LONGEST {
        return Some(format!("the name is {} bytes long: {LONGEST} are allowed", name.len()));
    }
    if name.contains(['/', '\\']) || name.split('.').all(str::is_empty) {
        return Some(format!("the name `{shown}` could leave its folder"));
    }
    let first = name.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    let all = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._+-".contains(letter));
    if !first || !all || name.ends_with('.') {
        return Some(format!(
            "the name `{shown}` is not usable in file and container names: it must begin with an \
             ASCII letter or digit, go on with letters, digits and `.`, `_`, `-`, `+`, and not end \
             with `.`"
        ));
    }
    let stem = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let numbered = |word: &str| {
        stem.strip_prefix(word)
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|digit| digit.is_ascii_digit()))
    };
    (DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt"))
        .then(|| format!("the name `{shown}` is a device on Windows"))
}

/// Words for the flags that tuning varies most.
const WORDS: &[(&str, &str)] = &[
    ("async-scheduling", "async"),
    ("attention-backend", "attn"),
    ("block-size", "block"),
    ("compilation-config", "compile"),
    ("cpu-offload-gb", "offload"),
    ("data-parallel-size", "dp"),
    ("enable-chunked-prefill", "chunk"),
    ("enable-expert-parallel", "ep"),
    ("enable-prefix-caching", "prefix"),
    ("enforce-eager", "eager"),
    ("gpu-memory-utilization", "util"),
    ("kv-cache-dtype", "kv"),
    ("kv-cache-memory-bytes", "kvbytes"),
    ("max-model-len", "ctx"),
    ("max-num-batched-tokens", "batch"),
    ("max-num-seqs", "seqs"),
    ("optimization-level", "opt"),
    ("performance-mode", "mode"),
    ("pipeline-parallel-size", "pp"),
    ("quantization", "quant"),
    ("scheduling-policy", "policy"),
    ("speculative-config", "spec"),
    ("tensor-parallel-size", "tp"),
];

/// The word for a variable with a value: `VLLM_USE_V1-1`.
pub(super) fn variable_word(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) if text.len() <= 24 && safe(text) == *text => format!("{name}-{text}"),
        Value::Null => format!("{name}-unset"),
        other => format!("{name}-{}", fingerprint(other)),
    }
}

/// The word for an image or a model: what follows its last `/`.
pub(super) fn image_word(kind: &str, value: &Value) -> String {
    match value {
        Value::String(text) => {
            let text = text.trim_end_matches('/');
            label_word(text.rsplit('/').next().unwrap_or(text))
        }
        _ => format!("{kind}default"),
    }
}

/// The word for a text that a person chose: a service, or the end of an image's name.
pub(super) fn label_word(text: &str) -> String {
    let text = text.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let safe = safe(text);
    match safe.len() {
        0 => fingerprint(&Value::from(text)),
        1..=32 => safe,
        _ => format!("{}-{}", shortened(text), fingerprint(&Value::from(text))),
    }
}

/// The word for a flag with a value: `util0.85`, `noprefix`, `seqs32`.
pub(super) fn word(name: &str, value: &Value) -> String {
    let known = WORDS.iter().find(|(flag, _)| *flag == name).map(|(_, word)| *word);
    let word = known.map_or_else(|| safe(name.strip_prefix("enable-").unwrap_or(name)), Into::into);
    match value {
        Value::Null => format!("{word}default"),
        Value::Bool(true) => word,
        Value::Bool(false) => format!("no{word}"),
        Value::Number(_) => format!("{word}{}", canonical(value)),
        Value::String(text) if text.len() <= 24 && safe(text) == *text => format!("{word}{text}"),
        Value::String(text) => format!("{word}{}-{}", shortened(text), fingerprint(value)),
        Value::Array(items) if items.iter().all(|item| item.is_number() || item.is_string()) => {
            let text: Vec<String> = items.iter().map(plain).collect();
            let text = text.join("+");
            if text.len() <= 24 && safe(&text) == text {
                format!("{word}{text}")
            } else {
                format!("{word}-{}", fingerprint(value))
            }
        }
        other => format!("{word}-{}", fingerprint(other)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => canonical(other),
    }
}

fn safe(text: &str) -> String {
    text.chars()
        .map(
            |letter| {
                if letter.is_ascii_alphanumeric() || "._+-".contains(letter) { letter } else { '-' }
            },
        )
        .collect()
}

fn shortened(text: &str) -> String {
    safe(text).chars().take(16).collect()
}

fn fingerprint(value: &Value) -> String {
    let digest = Sha256::digest(canonical(value).as_bytes());
    hexadecimal(&digest[..3])
}

/// One name of several words, cut (and made unique again) where it gets too long.
pub(super) fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut name = String::with_capacity(48);
    for word in words {
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(word);
    }
    if name.len() > LONGEST {
        let mark = fingerprint(&Value::from(name.as_str()));
        name.truncate(LONGEST - mark.len() - 1);
        name.push('-');
        name.push_str(&mark);
    }
    if name.is_empty() { "default".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_name_flag_and_value() {
        let words: Vec<String> = [
            ("gpu-memory-utilization", json!(0.85)),
            ("gpu-memory-utilization", json!(0.9)),
            ("enable-prefix-caching", json!(true)),
            ("enable-chunked-prefill", json!(false)),
            ("max-num-seqs", json!(32)),
            ("max-num-seqs", Value::Null),
            ("enable-auto-tool-choice", json!(false)),
            ("stream-interval", json!(4)),
            ("kv-cache-dtype", json!("fp8_e5m2")),
            ("cudagraph-capture-sizes", json!([1, 2, 4])),
            ("hf-overrides", json!({"a": 1})),
            ("tokenizer", json!("some/where/very/far/away")),
        ]
        .iter()
        .map(|(name, value)| word(name, value))
        .chain([
            variable_word("VLLM_USE_V1", &json!("1")),
            variable_word("VLLM_USE_V1", &Value::Null),
            variable_word("PATHS", &json!("/a:/b")),
        ])
        .collect();
        assert!(words.iter().all(|word| refusal(word).is_none()), "{words:?}");
        insta::assert_snapshot!(words.join("\n"));
    }

    #[test]
    fn what_could_leave_its_folder_is_no_name() {
        for name in [
            "", ".", "..", "../x", "/x", "a/b", "a\\b", "a\0b", "a\nb", "-x", "x.", "con",
            "Aux.log", "COM1", "é", "a b",
        ] {
            assert!(refusal(name).is_some(), "{name:?}");
        }
        assert!(refusal(&"x".repeat(LONGEST + 1)).is_some());
        for name in ["a", "chunked_only_safe", "util0.85-prefix", "console", "com10", "x..y"] {
            assert_eq!(refusal(name), None, "{name}");
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = ["very-long-word"; 10];
        let other = ["very-long-word"; 11];
        let (one, two) = (join(long.into_iter()), join(other.into_iter()));
        assert!(one.len() <= LONGEST && two.len() <= LONGEST);
        assert_ne!(one, two);
    }
}
