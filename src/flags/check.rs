//! Types and ranges of flag values: by kind for every flag, and by hand, after
//! the bounds in vLLM's configuration classes, for the flags that tuning touches.

use serde_json::Value;

use super::canonical::canonical;
use super::spelling::nearest_word;
use super::table::{Flag, Kind, lookup};

/// A value that a flag does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is clear.
    pub help: Option<String>,
}

/// Bounds of a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bounds {
    /// At least.
    From(f64),
    /// Above.
    Above(f64),
    /// Above the first, at most the second.
    AboveUpTo(f64, f64),
    /// At least the first, below the second.
    FromBelow(f64, f64),
    /// Both inclusive.
    Within(f64, f64),
}

/// Bounds as vLLM 0.32.0 states them (`vllm/config/*.py`, `Field(ge=, gt=, le=, lt=)`),
/// by name; counts that it leaves open are held to what makes sense.
const BOUNDS: &[(&str, Bounds)] = &[
    ("api-server-count", Bounds::From(0.0)),
    ("block-size", Bounds::From(1.0)),
    ("cpu-offload-gb", Bounds::From(0.0)),
    ("cudagraph-capture-sizes", Bounds::From(1.0)),
    ("data-parallel-rank", Bounds::From(0.0)),
    ("data-parallel-size", Bounds::From(1.0)),
    ("data-parallel-size-local", Bounds::From(0.0)),
    ("dbo-decode-token-threshold", Bounds::From(0.0)),
    ("dbo-prefill-token-threshold", Bounds::From(0.0)),
    ("decode-context-parallel-size", Bounds::From(1.0)),
    ("distributed-timeout-seconds", Bounds::From(1.0)),
    ("dp-sync-interval", Bounds::From(1.0)),
    ("gpu-memory-utilization", Bounds::AboveUpTo(0.0, 1.0)),
    ("kv-cache-memory-bytes", Bounds::From(1.0)),
    ("kv-cache-metrics-sample", Bounds::AboveUpTo(0.0, 1.0)),
    ("kv-offloading-size", Bounds::Above(0.0)),
    ("long-prefill-token-threshold", Bounds::From(0.0)),
    ("mamba-block-size", Bounds::From(1.0)),
    ("max-cpu-loras", Bounds::From(1.0)),
    ("max-cudagraph-capture-size", Bounds::From(0.0)),
    ("max-logprobs", Bounds::From(-1.0)),
    ("max-loras", Bounds::From(1.0)),
    ("max-model-len", Bounds::From(1.0)),
    ("max-num-active-seqs", Bounds::From(1.0)),
    ("max-num-batched-tokens", Bounds::From(1.0)),
    ("max-num-queued-reqs", Bounds::From(0.0)),
    ("max-num-queued-tokens", Bounds::From(0.0)),
    ("max-num-scheduled-tokens", Bounds::From(1.0)),
    ("max-num-seqs", Bounds::From(1.0)),
    ("max-parallel-loading-workers", Bounds::From(1.0)),
    ("mm-processor-cache-gb", Bounds::From(0.0)),
    ("nnodes", Bounds::From(1.0)),
    ("node-rank", Bounds::From(0.0)),
    ("num-gpu-blocks-override", Bounds::From(1.0)),
    ("offload-group-size", Bounds::From(0.0)),
    ("offload-num-in-group", Bounds::From(1.0)),
    ("offload-prefetch-step", Bounds::From(0.0)),
    ("optimization-level", Bounds::Within(0.0, 3.0)),
    ("pipeline-parallel-size", Bounds::From(1.0)),
    ("prefill-context-parallel-size", Bounds::From(1.0)),
    ("prefill-schedule-interval", Bounds::From(1.0)),
    ("prefix-cache-retention-interval", Bounds::From(0.0)),
    ("prefix-match-unit", Bounds::From(1.0)),
    ("renderer-num-workers", Bounds::From(1.0)),
    ("safetensors-prefetch-block-size", Bounds::From(1.0)),
    ("safetensors-prefetch-num-threads", Bounds::From(1.0)),
    ("seed", Bounds::From(0.0)),
    ("spec-tokens", Bounds::From(1.0)),
    ("stream-interval", Bounds::From(1.0)),
    ("tensor-parallel-size", Bounds::From(1.0)),
    ("ubatch-size", Bounds::From(0.0)),
    ("video-pruning-rate", Bounds::FromBelow(0.0, 1.0)),
    ("watermark", Bounds::FromBelow(0.0, 1.0)),
];

impl Bounds {
    pub(super) fn of(name: &str) -> Option<Self> {
        BOUNDS.iter().find(|(known, _)| *known == name).map(|(_, bounds)| *bounds)
    }

    fn include(self, number: f64) -> bool {
        match self {
            Self::From(min) => number >= min,
            Self::Above(min) => number > min,
            Self::AboveUpTo(min, max) => number > min && number <= max,
            Self::FromBelow(min, max) => number >= min && number < max,
            Self::Within(min, max) => number >= min && number <= max,
        }
    }

    fn text(self) -> String {
        match self {
            Self::From(min) => format!("{min} or more"),
            Self::Above(min) => format!("above {min}"),
            Self::AboveUpTo(min, max) => format!("above {min} and at most {max}"),
            Self::FromBelow(min, max) => format!("{min} or more and below {max}"),
            Self::Within(min, max) => format!("from {min} to {max}"),
        }
    }
}

/// Whether vLLM reads `16k` and the like for an integer flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Human {
    No,
    Suffixes,
    SuffixesOrAuto,
}

pub(super) fn human(name: &str) -> Human {
    match name {
        "max-model-len" => Human::SuffixesOrAuto,
        "kv-cache-memory-bytes"
        | "max-num-batched-tokens"
        | "max-num-queued-tokens"
        | "max-num-scheduled-tokens"
        | "safetensors-prefetch-block-size" => Human::Suffixes,
        _ => Human::No,
    }
}

/// The value of a flag in its canonical form, checked by type and range.
/// Of a flag that is not in the table, the value as it is.
///
/// # Errors
/// What the flag takes instead.
pub fn check(name: &str, value: &Value) -> Result<Value, ValueError> {
    let Some(flag) = lookup(name) else { return Ok(value.clone()) };
    if value.is_null() || name.contains('.') {
        return Ok(value.clone());
    }
    match flag.kind {
        Kind::Bool => match value {
            Value::Bool(_) => boolean(flag, value),
            other => Err(expected(flag, "true or false", other)),
        },
        Kind::Int => int(flag, value),
        Kind::Float => float(flag, value),
        Kind::Text => text(flag, value),
        Kind::Choice => choice(flag, value),
        Kind::Json => json_value(flag, value),
        Kind::List => list(flag, value),
    }
}

fn boolean(flag: &Flag, value: &Value) -> Result<Value, ValueError> {
    if value == &Value::Bool(false) && !flag.negatable {
        return Err(ValueError {
            message: format!("`{0}` cannot be false: vLLM has no `--no-{0}`", flag.name),
            help: Some("write null: the flag is not passed".to_owned()),
        });
    }
    Ok(value.clone())
}

fn int(flag: &Flag, value: &Value) -> Result<Value, ValueError> {
    let wanted = || match Bounds::of(flag.name) {
        Some(bounds) => format!("a whole number, {}", bounds.text()),
        None => "a whole number".to_owned(),
    };
    let number = match (value, human(flag.name)) {
        (Value::Number(number), Human::SuffixesOrAuto) if number.as_i64() == Some(-1) => {
            return Ok(Value::from("auto"));
        }
        (Value::Number(number), _) => number.as_i64(),
        (Value::String(text), Human::SuffixesOrAuto) if text.eq_ignore_ascii_case("auto") => {
            return Ok(Value::from("auto"));
        }
        (Value::String(text), Human::Suffixes | Human::SuffixesOrAuto)
            if text.ends_with(|last: char| "kKmMgGtT".contains(last)) =>
        {
            human_int(text).map_err(|message| ValueError { message, help: None })?
        }
        _ => None,
    };
    match number {
        Some(number)
            if Bounds::of(flag.name).is_none_or(|bounds| bounds.include(number as f64)) =>
        {
            Ok(Value::from(number))
        }
        _ => Err(expected(flag, &wanted(), value)),
    }
}

fn float(flag: &Flag, value: &Value) -> Result<Value, ValueError> {
    let bounds = Bounds::of(flag.name);
    match value.as_f64() {
        Some(number) if bounds.is_none_or(|bounds| bounds.include(number)) => {
            Ok(Value::from(number))
        }
        _ => {
            let wanted = match bounds {
                Some(bounds) => format!("a number {}", bounds.text()),
                None => "a number".to_owned(),
            };
            Err(expected(flag, &wanted, value))
        }
    }
}

fn text(flag: &Flag, value: &Value) -> Result<Value, ValueError> {
    if let (Some(bounds), Some(number)) = (Bounds::of(flag.name), value.as_f64())
        && !bounds.include(number)
    {
        return Err(expected(flag, &format!("a number {}", bounds.text()), value));
    }
    match value {
        Value::String(text) if text.is_empty() => Err(expected(flag, "a text", value)),
        Value::String(_) => Ok(value.clone()),
        Value::Number(number) => Ok(Value::from(number.to_string())),
        // vLLM takes JSON for some of its text flags.
        Value::Object(_) => Ok(Value::from(canonical(value))),
        _ => Err(expected(flag, "a text", value)),
    }
}

fn choice(flag: &Flag, value: &Value) -> Result<Value, ValueError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    if flag.choices.contains(&text.as_str()) {
        return Ok(Value::from(text));
    }
    let near = nearest_word(&text, &flag.choices);
    // A long list would hide the one that was meant.
    let wanted = match near {
        Some(_) if flag.choices.len() > 8 => format!("one of {} words", flag.choices.len()),
        _ => format!("one of {}", flag.choices.join(", ")),
    };
    let mut error = expected(flag, &wanted, value);
    if let Some(near) = near {
        error.help = Some(format!("did you mean `{near}`?"));
    }
    Err(error)
}

fn json_value(flag: &Flag, value: &Value) -> Result<Value, ValueError> {
    match value {
        Value::String(text) => {
            json(flag, text).ok_or_else(|| expected(flag, "a mapping, or JSON in quotes", value))
        }
        Value::Object(_) | Value::Array(_) => Ok(value.clone()),
        other => Err(expected(flag, "a mapping", other)),
    }
}

/// JSON as vLLM reads it for this flag; `None` where it refuses.
pub(super) fn json(flag: &Flag, text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        // vLLM's `union_dict_and_str`: braces are JSON, anything else is the name of a function.
        Err(_) if flag.name == "hf-overrides" && !is_braced(text) => Some(Value::from(text)),
        Err(_) => None,
    }
}

fn is_braced(text: &str) -> bool {
    text.trim().starts_with('{') && text.trim().ends_with('}')
}

fn list(flag: &Flag, value: &Value) -> Result<Value, ValueError> {
    let items = match value {
        Value::Array(items) if items.is_empty() => {
            return Err(expected(flag, "one or more values", value));
        }
        Value::Array(items) => items.clone(),
        other => vec![other.clone()],
    };
    let mut checked = Vec::with_capacity(items.len());
    for item in items {
        if item.is_null() || item.is_boolean() || item.is_array() {
            return Err(expected(flag, "one or more texts or numbers", value));
        }
        let item = list_item(item);
        if let Some(bounds) = Bounds::of(flag.name)
            && !item.as_i64().is_some_and(|number| bounds.include(number as f64))
        {
            return Err(expected(flag, &format!("whole numbers, {}", bounds.text()), value));
        }
        if !flag.choices.is_empty() && !flag.choices.contains(&super::argument(&item).as_str()) {
            return Err(expected(flag, &format!("some of {}", flag.choices.join(", ")), value));
        }
        checked.push(item);
    }
    Ok(Value::Array(checked))
}

/// One value of a list: a whole number where it is spelt as vLLM would print one.
pub(super) fn list_item(value: Value) -> Value {
    match &value {
        Value::String(text) => match text.parse::<i64>() {
            Ok(number) if number.to_string() == *text => Value::from(number),
            _ => value,
        },
        _ => value,
    }
}

/// Python's `int(text)`, within 64 bits.
pub(super) fn plain_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.trim_start_matches(['+', '-']);
    let ends = |end: char| end == '_';
    if digits.starts_with(ends) || digits.ends_with(ends) || digits.contains("__") {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// vLLM's `human_readable_int`: `16k` is 16000, `16K` is 16384.
pub(super) fn human_int(text: &str) -> Result<Option<i64>, String> {
    let text = text.trim();
    let Some(suffix) = text.chars().last().filter(|last| "kKmMgGtT".contains(*last)) else {
        return Ok(plain_int(text));
    };
    let number = &text[..text.len() - 1];
    let is_number = number
        .split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        && number.matches('.').count() <= 1;
    if !is_number {
        return Ok(None);
    }
    let power = "kmgt".find(suffix.to_ascii_lowercase()).map_or(1, |index| index as u32 + 1);
    if suffix.is_ascii_lowercase() {
        let factor = 1000_i64.pow(power) as f64;
        return Ok(number.parse::<f64>().ok().map(|number| (number * factor) as i64));
    }
    match number.parse::<i64>() {
        Ok(number) => Ok(number.checked_mul(1024_i64.pow(power))),
        Err(_) => Err(format!(
            "Decimals are not allowed with binary suffixes like {suffix}. Did you mean to use \
             {number}{} instead?",
            suffix.to_ascii_lowercase()
        )),
    }
}

fn expected(flag: &Flag, wanted: &str, value: &Value) -> ValueError {
    ValueError {
        message: format!("`{}` must be {wanted}, not {}", flag.name, describe(value)),
        help: hint(flag, value),
    }
}

/// A value as a person knows it from the file.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the text `{}`", super::shown(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

fn hint(flag: &Flag, value: &Value) -> Option<String> {
    let number = matches!(flag.kind, Kind::Int | Kind::Float);
    match value {
        Value::String(text) if number => match decimal_comma(text) {
            Some(fixed) => Some(format!("write {fixed}: numbers have a decimal point")),
            None if text.parse::<f64>().is_ok_and(f64::is_finite) => {
                Some(format!("write {text} without quotes"))
            }
            None if plain_int(text).is_some() => {
                Some(format!("write {}", text.trim().replace('_', "")))
            }
            None => None,
        },
        Value::String(text) if flag.kind == Kind::Bool => {
            match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" | "y" => Some("write true".to_owned()),
                "no" | "off" | "false" | "n" => Some("write false".to_owned()),
                _ => None,
            }
        }
        Value::Array(_) if flag.kind != Kind::List => {
            Some("a list inside the list is one value of several arguments".to_owned())
        }
        Value::Bool(_) if flag.kind == Kind::Text => {
            Some("put it in quotes, if the word is meant".to_owned())
        }
        _ => None,
    }
}

/// `0,85` as `0.85`.
pub(crate) fn decimal_comma(text: &str) -> Option<String> {
    let (whole, fraction) = text.trim().split_once(',')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole.trim_start_matches('-')) && digits(fraction))
        .then(|| format!("{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(name: &str, value: &Value) -> String {
        let error = check(name, value).expect_err("refused");
        match error.help {
            Some(help) => format!("{} ({help})", error.message),
            None => error.message,
        }
    }

    #[test]
    fn values_take_their_canonical_form() {
        for (name, given, canonical) in [
            ("max-model-len", json!("16k"), json!(16000)),
            ("max-model-len", json!("16K"), json!(16384)),
            ("max-model-len", json!(-1), json!("auto")),
            ("max-num-batched-tokens", json!("2k"), json!(2000)),
            ("gpu-memory-utilization", json!(1), json!(1.0)),
            ("optimization-level", json!(3), json!("3")),
            ("max-lora-rank", json!(64), json!("64")),
            ("cudagraph-capture-sizes", json!(["1", 2]), json!([1, 2])),
            ("served-model-name", json!("a"), json!(["a"])),
            ("hf-overrides", json!(r#"{"a": 1}"#), json!({"a": 1})),
            ("max-num-seqs", Value::Null, Value::Null),
        ] {
            assert_eq!(check(name, &given), Ok(canonical), "{name}");
        }
    }

    #[test]
    fn what_a_flag_does_not_take_is_refused_with_what_it_takes() {
        let errors: Vec<String> = [
            ("gpu-memory-utilization", json!(0)),
            ("gpu-memory-utilization", json!(1.7)),
            ("gpu-memory-utilization", json!("0,85")),
            ("gpu-memory-utilization", json!("0.85")),
            ("gpu-memory-utilization", json!(true)),
            ("gpu-memory-utilization", json!([0.8, 0.9])),
            ("max-num-seqs", json!(-4)),
            ("max-num-seqs", json!(0)),
            ("max-num-seqs", json!(32.5)),
            ("max-num-seqs", json!("1_000")),
            ("max-num-seqs", json!("16k")),
            ("max-model-len", json!("1.5K")),
            ("max-model-len", json!("long")),
            ("enable-prefix-caching", json!("yes")),
            ("enable-prefix-caching", json!(1)),
            ("headless", json!(false)),
            ("kv-cache-dtype", json!("fp8_e4m4")),
            ("kv-cache-dtype", json!({"a": 1})),
            ("hf-overrides", json!("{broken}")),
            ("cudagraph-capture-sizes", json!([1, 0])),
            ("quantization", json!(true)),
        ]
        .into_iter()
        .map(|(name, value)| error(name, &value))
        .collect();
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn every_bound_is_a_known_flag() {
        for (name, _) in BOUNDS {
            assert!(lookup(name).is_some_and(|flag| flag.name == *name), "{name}");
        }
    }
}
