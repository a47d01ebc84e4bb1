//! Secrets, and how a text loses them before anybody may read it. A value is known
//! as a secret by the name that it stands under (`HF_TOKEN=...`, `--api-key ...`);
//! from then on it is masked wherever it appears. Who reads and writes texts is
//! not known here: each place where text leaves the program has a [`Secrets`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

mod dotenv;
mod named;
mod texts;

use texts::Texts;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Whether a value lacks a part that was hidden: it cannot be used.
pub fn is_masked(value: &str) -> bool {
    value.contains(MASK)
}

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

/// Keys whose contents are the user's, whatever the names in them are.
const USERS: &[&str] = &["flags", "varied", "environment", "effective"];

/// Options of a secret that take several values; the others take one.
const SEVERAL: &[&str] = &["api-key"];

/// Line (from 1), name and value of each variable of a file as compose reads it (`.env`).
pub fn env_file(text: &str) -> Vec<(usize, &str, String)> {
    dotenv::pairs(text)
}

/// Whether an option of a secret takes several values.
pub fn takes_several(option: &str) -> bool {
    let name = option.trim_start_matches('-').replace('_', "-");
    SEVERAL.contains(&name.as_str())
}

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
    /// A secret may be a part of another one.
    values: Texts,
    /// Lines and words of secrets: output may be wrapped between them.
    parts: Texts,
    /// Names of ours: a value that is one of them, too, is not masked by itself.
    names: HashSet<String>,
}

impl Known {
    /// Whether what stands in a place of a text is no name of ours.
    fn hides(&self, text: &str, place: &Range<usize>) -> bool {
        // A place begins and ends as a secret does: between characters.
        text.get(place.clone()).is_some_and(|it| !self.names.contains(it))
    }
}

impl Secrets {
    /// A secret value.
    pub fn add(&self, value: &str) {
        let value = value.trim();
        if value.chars().count() < MIN_LENGTH || is_plain(value) {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        remember(&mut known.values, value);
        // A key of several lines is printed line by line. Ordinary words of a
        // passphrase are masked only together.
        let lines = value.lines().filter(|line| !line.starts_with("-----"));
        let lines = lines.filter(|_| value.contains('\n'));
        let words =
            value.split_whitespace().filter(|word| word.contains(|it: char| it.is_ascii_digit()));
        for part in lines.chain(words).map(str::trim).filter(|part| *part != value) {
            if part.chars().count() >= MIN_LENGTH && !is_plain(part) {
                remember(&mut known.parts, part);
            }
        }
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

    /// The secrets of a file of variables as compose reads it (`.env`).
    pub fn add_dotenv(&self, text: &str) {
        for (_, name, value) in dotenv::pairs(text) {
            match named::default_of(&value) {
                Some(default) => self.add_environment([(name, default)]),
                None if value.starts_with("${") => {}
                None => self.add_environment([(name, value.as_str())]),
            }
        }
    }

    /// The secrets in an argument vector: values of secret flags, and what is in its words.
    pub fn add_arguments<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) {
        let (mut of_secret, mut several) = (false, false);
        for argument in arguments {
            if argument.starts_with("--") {
                let (name, value) = match argument.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (argument, None),
                };
                let secret = is_secret(name);
                of_secret = secret && value.is_none();
                several = takes_several(name);
                match value {
                    Some(value) if secret => self.add(value),
                    _ => self.add_text(argument),
                }
            } else if of_secret && !argument.starts_with('-') {
                self.add(argument);
                of_secret = several;
            } else {
                of_secret = false;
                self.add_text(argument);
            }
        }
    }

    /// The secrets that stand under their names in a text: a script, a file of
    /// variables, YAML, JSON, a URL. Comments are prose, not values.
    pub fn add_text(&self, text: &str) {
        for place in named::places(text, true) {
            if named::is_comment(text, place.start) {
                continue;
            }
            self.add(&text[place]);
        }
    }

    /// The text with every secret masked: those known, and what stands under a secret name.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut places = named::places(text, false);
        {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let all = [known.values.places(text), known.parts.places(text)].concat();
            places.extend(all.into_iter().filter(|place| known.hides(text, place)));
        }
        replaced(text, places)
    }

    /// Where an unfinished text may be cut: not within a character or a known secret, and
    /// so that no secret begins before and ends in what has not come yet.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let values = || known.values.iter().chain(known.parts.iter()).map(str::as_bytes);
        let kept = values().map(<[u8]>::len).max().unwrap_or(0).max(4);
        let mut at = bytes.len().saturating_sub(kept);
        while at > 0 && bytes[at] & 0xC0 == 0x80 {
            at -= 1;
        }
        let begins = |value: &[u8], at: usize| {
            let from = at.saturating_sub(value.len() - 1);
            let until = (at + value.len() - 1).min(bytes.len());
            let start = bytes[from..until].windows(value.len()).position(|it| it == value)?;
            (from + start < at).then_some(from + start)
        };
        while let Some(start) = values().filter_map(|value| begins(value, at)).min() {
            at = start;
        }
        at
    }

    /// Masks the texts of a JSON value in place, but for ids and names of ours; says
    /// whether there was anything to mask.
    pub fn mask_json(&self, value: &mut Value) -> bool {
        let mut changed = Vec::new();
        self.mask_below(value, "", true, &mut changed);
        !changed.is_empty()
    }

    /// Masks below `path`, and adds the pointer and the new text of each masked value to
    /// `changed`. Only where `is_ours` are ids and names ours.
    fn mask_below(
        &self,
        value: &mut Value,
        path: &str,
        is_ours: bool,
        changed: &mut Vec<(String, String)>,
    ) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.mask(text) {
                    changed.push((path.to_owned(), masked.clone()));
                    *text = masked;
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.mask_below(item, &format!("{path}/{index}"), is_ours, changed);
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                    let is_name = is_ours && NAMES.contains(&key.as_str());
                    match value {
                        Value::String(text) if is_secret(key) && named::is_value(text) => {
                            MASK.clone_into(text);
                            changed.push((path, MASK.to_owned()));
                        }
                        Value::String(_) | Value::Array(_) if is_name => {}
                        value => {
                            let is_ours = is_ours && !USERS.contains(&key.as_str());
                            self.mask_below(value, &path, is_ours, changed);
                        }
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The value with every secret in its texts masked; ids and names of ours stay, and
    /// so does a text that the type does not allow to be another one.
    ///
    /// # Errors
    /// A value that is no JSON.
    pub fn masked<T: Serialize + DeserializeOwned>(&self, value: T) -> serde_json::Result<T> {
        let original = serde_json::to_value(&value)?;
        let mut json = original.clone();
        let mut changed = Vec::new();
        self.mask_below(&mut json, "", true, &mut changed);
        if changed.is_empty() {
            return Ok(value);
        }
        if let Ok(masked) = T::deserialize(&json) {
            return Ok(masked);
        }
        // A word that is a secret somewhere is a choice of a type of ours here.
        let mut json = original;
        let mut kept = value;
        for (path, masked) in changed {
            let Some(text) = json.pointer_mut(&path) else { continue };
            let before = std::mem::replace(text, Value::String(masked));
            match T::deserialize(&json) {
                Ok(value) => kept = value,
                Err(_) => {
                    if let Some(text) = json.pointer_mut(&path) {
                        *text = before;
                    }
                }
            }
        }
        Ok(kept)
    }

    /// Whether a text has a known secret in it as a word of its own; its place in bytes.
    pub fn find(&self, text: &str) -> Option<usize> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
        let places = known.values.places(text).into_iter();
        let whole = places.filter(|place| {
            known.hides(text, place)
                && !text[..place.start].ends_with(is_word)
                && !text[place.end..].starts_with(is_word)
        });
        whole.map(|place| place.start).min()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(***)")
    }
}

/// Adds each way in which `value` may be written.
fn remember(values: &mut Texts, value: &str) {
    for spelling in spellings(value) {
        values.insert(&spelling);
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
