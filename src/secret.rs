//! Secrets, and how a text loses them before anybody may read it. A value is known
//! as a secret by the name that it stands under (`HF_TOKEN=...`, `--api-key ...`);
//! from then on it is masked wherever it appears. Who reads and writes texts is
//! not known here: each place where text leaves the program has a [`Secrets`].

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

mod named;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Shortest value that is masked wherever it appears; a shorter one is masked only
/// where its name stands.
pub const MIN_LENGTH: usize = 8;

/// Fields whose values are ids and names of ours: they are written as they are.
const NAMES: &[&str] = &[
    "aliases",
    "at",
    "baseline",
    "case",
    "checksum",
    "class",
    "configuration",
    "configuration_sha256",
    "created_at",
    "engine",
    "ended_at",
    "grid",
    "grid_sha256",
    "id",
    "image_id",
    "kind",
    "metric",
    "name",
    "purpose",
    "removed",
    "sha256",
    "started_at",
    "status",
    "step",
    "sweep",
    "tool_version",
    "varied",
    "verdict",
    "workload",
];

/// Whether what stands under this name is a secret: one of its words is KEY, TOKEN,
/// SECRET, PASSWORD or CREDENTIAL. Words are separated by `_`, `-`, `.` or case.
pub fn is_secret(name: &str) -> bool {
    let mut previous = false;
    let mut secret = false;
    for word in words(name) {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        // Ids of tokens and counts of them are numbers; a name of a variable is a name.
        if (previous && (is("ids") || is("threshold"))) || (secret && is("env")) {
            return false;
        }
        previous =
            ["key", "apikey", "token", "secret", "password", "credential"].into_iter().any(is);
        secret |= previous;
    }
    secret
}

/// The words of a name.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['_', '-', '.']).flat_map(by_case).filter(|word| !word.is_empty())
}

/// `hfToken` is `hf`, `Token`; `APIKey` is `API`, `Key`.
fn by_case(part: &str) -> Vec<&str> {
    let bytes = part.as_bytes();
    let mut found = Vec::new();
    let mut start = 0;
    for at in 1..bytes.len() {
        let upper = bytes[at].is_ascii_uppercase();
        let after_lower = bytes[at - 1].is_ascii_lowercase() || bytes[at - 1].is_ascii_digit();
        let before_lower = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        if upper && (after_lower || (before_lower && bytes[at - 1].is_ascii_uppercase())) {
            found.push(&part[start..at]);
            start = at;
        }
    }
    found.push(&part[start..]);
    found
}

/// Whether a text has a secret in it: behind its name, or in a URL.
pub fn is_in_text(text: &str) -> bool {
    !named::places(text, false).is_empty()
}

/// Whether an argument vector has a secret in it: behind a flag, or within a word.
pub fn is_in_arguments<'a>(arguments: impl IntoIterator<Item = &'a str>) -> bool {
    let mut of_secret = false;
    arguments.into_iter().any(|argument| {
        let is_value = of_secret && !argument.starts_with('-') && named::is_value(argument);
        of_secret = argument.starts_with("--") && is_secret(argument);
        is_value || is_in_text(argument)
    })
}

/// Whether a flag's value has a secret in it: under a key of its JSON, in a URL.
pub fn is_in_value(value: &Value) -> bool {
    match value {
        Value::String(text) => is_in_text(text),
        Value::Array(items) => items.iter().any(is_in_value),
        Value::Object(map) => map.iter().any(|(key, value)| match value {
            Value::String(text) if is_secret(key) => named::is_value(text),
            value => is_in_value(value),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The secrets that are known so far. Cheap to clone: clones know what the others learn.
#[derive(Clone, Default)]
pub struct Secrets(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    /// The longest first: a secret may be a part of another one.
    values: Vec<String>,
    /// Names of ours: a value that is one of them, too, is not masked by itself.
    names: Vec<String>,
}

impl Secrets {
    /// A secret value.
    pub fn add(&self, value: &str) {
        let value = value.trim();
        self.remember(value);
        // Written with spaces, it may be wrapped between its words.
        if value.contains(char::is_whitespace) {
            value.split_whitespace().for_each(|part| self.remember(part));
        }
    }

    fn remember(&self, value: &str) {
        if value.chars().count() < MIN_LENGTH || is_plain(value) {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for spelling in spellings(value) {
            if !known.values.contains(&spelling) {
                known.values.push(spelling);
            }
        }
        known.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    }

    /// Names of ours, which are never masked.
    pub fn keep(&self, names: impl IntoIterator<Item = impl Into<String>>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.names.extend(names.into_iter().map(Into::into));
    }

    /// The secrets among variables: those of secret names, and passwords in the others.
    pub fn add_environment<'a>(&self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, value) in variables {
            if is_secret(name) {
                self.add(value);
            } else {
                self.add_text(value);
            }
        }
    }

    /// The secrets among `NAME=value` pairs.
    pub fn add_pairs<'a>(&self, pairs: impl IntoIterator<Item = &'a str>) {
        self.add_environment(pairs.into_iter().filter_map(|pair| pair.split_once('=')));
    }

    /// The secrets in an argument vector: values of secret flags, and what is in its words.
    pub fn add_arguments<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) {
        let mut of_secret = false;
        for argument in arguments {
            if argument.starts_with("--") {
                let (name, value) = match argument.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (argument, None),
                };
                let secret = is_secret(name);
                of_secret = secret && value.is_none();
                match value {
                    Some(value) if secret => self.add(value),
                    _ => self.add_text(argument),
                }
            } else if of_secret && !argument.starts_with('-') {
                self.add(argument);
            } else {
                of_secret = false;
                self.add_text(argument);
            }
        }
    }

    /// The secrets that stand under their names in a text: a script, a file of
    /// variables, YAML, JSON, a URL.
    pub fn add_text(&self, text: &str) {
        for place in named::places(text, true) {
            self.add(&text[place]);
        }
    }

    /// The text with every secret masked: those known, and what stands under a secret name.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut places = named::places(text, false);
        {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            for value in known.values.iter().filter(|value| !known.names.contains(value)) {
                places.extend(text.match_indices(value.as_str()).map(|(at, it)| at..at + it.len()));
            }
        }
        replaced(text, places)
    }

    /// Masks the texts of a JSON value in place, but for ids and names of ours; says
    /// whether there was anything to mask.
    pub fn mask_json(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => match self.mask(text) {
                Cow::Borrowed(_) => false,
                Cow::Owned(masked) => {
                    *text = masked;
                    true
                }
            },
            Value::Array(items) => {
                items.iter_mut().fold(false, |any, item| self.mask_json(item) | any)
            }
            Value::Object(map) => map.iter_mut().fold(false, |any, (key, value)| {
                let masked = match value {
                    Value::String(text) if is_secret(key) && named::is_value(text) => {
                        MASK.clone_into(text);
                        true
                    }
                    Value::String(_) | Value::Array(_) if NAMES.contains(&key.as_str()) => false,
                    value => self.mask_json(value),
                };
                masked | any
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// The value with every secret in its texts masked; ids and names of ours stay.
    ///
    /// # Errors
    /// A value that is no JSON.
    pub fn masked<T: Serialize + DeserializeOwned>(&self, value: T) -> serde_json::Result<T> {
        let mut json = serde_json::to_value(&value)?;
        if self.mask_json(&mut json) { serde_json::from_value(json) } else { Ok(value) }
    }

    /// Whether a text has a known secret in it as a word of its own; its place in bytes.
    pub fn find(&self, text: &str) -> Option<usize> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
        let values = known.values.iter().filter(|value| !known.names.contains(value));
        let whole = values.flat_map(|value| {
            text.match_indices(value.as_str()).filter(|(at, it)| {
                !text[..*at].ends_with(is_word) && !text[at + it.len()..].starts_with(is_word)
            })
        });
        whole.map(|(at, _)| at).min()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(***)")
    }
}

/// Numbers and booleans are settings, whatever their name is.
fn is_plain(value: &str) -> bool {
    value.parse::<f64>().is_ok()
        || ["true", "false", "none", "null"].iter().any(|word| value.eq_ignore_ascii_case(word))
        || value == MASK
}

/// The ways in which a value may be written: as it is, in JSON, between the quotes of
/// a shell, in a URL, in a compose file.
fn spellings(value: &str) -> Vec<String> {
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let url = value.bytes().fold(String::new(), |mut url, byte| {
        if is_safe(byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
        url
    });
    vec![
        value.to_owned(),
        json.to_owned(),
        url,
        value.replace('\'', "'\\''"),
        value.replace('$', "$$"),
    ]
}

/// The text with each of `places` replaced; places may overlap.
fn replaced(text: &str, mut places: Vec<Range<usize>>) -> Cow<'_, str> {
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    places.sort_by_key(|place| (place.start, std::cmp::Reverse(place.end)));
    let mut masked = String::with_capacity(text.len());
    let mut until = 0;
    for place in places {
        if place.start >= until {
            masked.push_str(&text[until..place.start]);
            masked.push_str(MASK);
        }
        until = until.max(place.end);
    }
    masked.push_str(&text[until..]);
    Cow::Owned(masked)
}

#[cfg(test)]
mod tests;
