//! Single values as the compose tool prints them: sizes, numbers and texts of YAML, the
//! doubled `$`. What a value means is the business of its key.

use serde_json::Value;

/// A value of YAML as the text that was written, or would be.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Both versions of the tool print a literal `$` doubled.
pub(super) fn undouble(text: &str) -> String {
    text.replace("$$", "$")
}

/// `16gb`, `64m`, `17179869184`: bytes, in powers of 1024 as Docker counts.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        _ => return Err(format!("`{text}` is no size")),
    };
    digits
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|number| *number >= 0.0)
        .map(|number| (number * unit as f64) as u64)
        .ok_or_else(|| format!("`{text}` is no size"))
}
