//! A configuration: one set of launch flags and environment, with a name.
//!
//! Its identity is the hash of its canonical *requested* content, so that the
//! same request has the same id in every sweep, on every machine. How flags are
//! spelt and checked is in [`crate::flags`]; where configurations come from is
//! in [`crate::grid`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Launch flags by canonical name (kebab-case, no leading dashes), in the order
/// of their names.
///
/// `null` means "not passed"; booleans become `--flag` or `--no-flag`; a list is
/// several arguments of one flag; a mapping is passed as JSON.
///
/// Has the interface of a `BTreeMap<String, Value>`; equal entries can be shared:
/// a grid has up to 100,000 configurations, made of a few dozen entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags(Vec<Arc<Entry>>);

/// A flag and its value.
pub(crate) type Entry = (String, Value);

impl Flags {
    /// No flags.
    pub fn new() -> Self {
        Self::default()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|entry| entry.0.as_str().cmp(name))
    }

    /// The value of a flag.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }

    /// Whether a flag is there, be it as null.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Sets a flag; gives the value that it had.
    pub fn insert(&mut self, name: String, value: Value) -> Option<Value> {
        self.share(&Arc::new((name, value))).map(value_of)
    }

    /// Sets a flag without a copy of it; gives the entry that it had.
    pub(crate) fn share(&mut self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let entry = Arc::clone(entry);
        match self.find(&entry.0) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at], entry)),
            Err(at) => {
                self.0.insert(at, entry);
                None
            }
        }
    }

    /// Takes a flag out; gives the value that it had.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.find(name).ok().map(|at| value_of(self.0.remove(at)))
    }

    /// Keeps the flags that `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&String, &Value) -> bool) {
        self.0.retain(|entry| keep(&entry.0, &entry.1));
    }

    /// Number of flags, nulls included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no flag.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> FlagsIter<'_> {
        self.0.iter().map(|entry| (&entry.0, &entry.1))
    }

    /// The names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &String> + Clone {
        self.0.iter().map(|entry| &entry.0)
    }

    /// The values, in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &Value> + Clone {
        self.0.iter().map(|entry| &entry.1)
    }

    /// The same flags, sharing their entries, with room for `more`.
    pub(crate) fn with_room(&self, more: usize) -> Self {
        let mut entries = Vec::with_capacity(self.0.len() + more);
        entries.extend_from_slice(&self.0);
        Self(entries)
    }
}

fn value_of(entry: Arc<Entry>) -> Value {
    Arc::unwrap_or_clone(entry).1
}

/// Names and values of [`Flags`].
pub type FlagsIter<'a> = std::iter::Map<
    std::slice::Iter<'a, Arc<(String, Value)>>,
    fn(&'a Arc<(String, Value)>) -> (&'a String, &'a Value),
>;

impl<'a> IntoIterator for &'a Flags {
    type Item = (&'a String, &'a Value);
    type IntoIter = FlagsIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Flags {
    type Item = (String, Value);
    type IntoIter =
        std::iter::Map<std::vec::IntoIter<Arc<Self::Item>>, fn(Arc<Self::Item>) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(Arc::unwrap_or_clone)
    }
}

impl Extend<(String, Value)> for Flags {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, flags: I) {
        for (name, value) in flags {
            self.insert(name, value);
        }
    }
}

impl FromIterator<(String, Value)> for Flags {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(flags: I) -> Self {
        let mut collected = Self::new();
        collected.extend(flags);
        collected
    }
}

impl<const N: usize> From<[(String, Value); N]> for Flags {
    fn from(flags: [(String, Value); N]) -> Self {
        flags.into_iter().collect()
    }
}

impl std::ops::Index<&str> for Flags {
    type Output = Value;

    /// The value of a flag that is known to be there.
    fn index(&self, name: &str) -> &Value {
        self.get(name).expect("the caller knows that the flag is there")
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, Value>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// One set of launch flags and environment, with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// The first name that the grid gave, or one generated from what differs.
    pub name: String,
    /// Further names of the same content, in the order of the grid.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Hash of the canonical requested content, 16 hexadecimal digits.
    pub id: String,
    /// Every flag that the tool passes: the engine block's own flags overlaid
    /// by those that the grid varies; nulls dropped.
    pub flags: Flags,
    /// What the grid sets for this configuration, nulls kept: what differs.
    pub varied: Flags,
    /// Environment variables that the grid sets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

impl Configuration {
    /// Its name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    /// Whether it bears that name.
    pub fn answers_to(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

/// What a configuration's id is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Name of the engine: `docker`, `process` or `simulated`.
    pub engine: &'a str,
    /// Image or command as the grid or the compose file names it.
    pub image: Option<&'a str>,
    /// Model, where the grid names it.
    pub model: Option<&'a str>,
    /// All flags; nulls are dropped, secrets are left out.
    pub flags: &'a Flags,
    /// Environment variables that the grid sets.
    pub environment: &'a BTreeMap<String, String>,
}

impl Identity<'_> {
    /// The first 16 hexadecimal digits of the SHA-256 of the canonical content.
    pub fn id(&self) -> String {
        hexadecimal(&self.digest())
    }

    /// The eight bytes that [`Identity::id`] writes.
    pub(crate) fn digest(&self) -> [u8; 8] {
        let mut content = String::with_capacity(256);
        part(&mut content, self.engine);
        for optional in [self.image, self.model] {
            match optional {
                Some(text) => part(&mut content, text),
                None => content.push_str("-;"),
            }
        }
        let mut buffer = String::new();
        for (name, value) in self.flags {
            if !value.is_null() && !crate::flags::is_secret(name) {
                part(&mut content, name);
                buffer.clear();
                write_canonical(&mut buffer, value);
                part(&mut content, &buffer);
            }
        }
        content.push('|');
        for (name, value) in self.environment {
            if !crate::flags::is_secret(name) {
                part(&mut content, name);
                part(&mut content, value);
            }
        }
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(content.as_bytes())[..8]);
        first
    }
}

/// A text with its length before it, so that no two contents look the same.
fn part(content: &mut String, text: &str) {
    let _ = write!(content, "{}:", text.len());
    content.push_str(text);
    content.push(';');
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// JSON with sorted keys and one spelling per number.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(&mut text, value);
    text
}

fn write_canonical(text: &mut String, value: &Value) {
    // Writing to a string does not fail.
    match value {
        Value::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15);
            let _ = match whole {
                Some(float) => write!(text, "{float:.0}"),
                None => write!(text, "{number}"),
            };
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            text.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                let _ = write!(text, "{}:", Value::from(key.as_str()));
                write_canonical(text, &map[key]);
            }
            text.push('}');
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_content_has_one_spelling() {
        assert_eq!(canonical(&json!({"b": [1.0, "x"], "a": null})), r#"{"a":null,"b":[1,"x"]}"#);
        assert_eq!(canonical(&json!(0.90)), "0.9");
        assert_eq!(canonical(&json!(-0.0)), "-0");
    }

    fn id(flags: &Flags, environment: &[(&str, &str)]) -> String {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Identity {
            engine: "docker",
            image: Some("i"),
            model: None,
            flags,
            environment: &environment.collect(),
        }
        .id()
    }

    #[test]
    fn ids_leave_out_nulls_and_secrets_and_keep_texts_apart() {
        let flags = |flags: &[(&str, Value)]| -> Flags {
            flags.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let one = flags(&[("a", json!(1))]);
        assert_eq!(id(&one, &[]), id(&flags(&[("a", json!(1.0)), ("b", Value::Null)]), &[]));
        assert_eq!(id(&one, &[]), id(&one, &[("HF_TOKEN", "x")]));
        assert_ne!(id(&one, &[]), id(&one, &[("A", "x")]));
        assert_ne!(
            id(&flags(&[("a", json!("1"))]), &[]),
            id(&flags(&[("a", json!("1;1:b"))]), &[])
        );
    }

    proptest! {
        #[test]
        fn flags_are_a_sorted_map(
            steps in prop::collection::vec((any::<bool>(), 0..6_u8, any::<i32>()), 0..40)
        ) {
            let (mut flags, mut map) = (Flags::new(), BTreeMap::new());
            for (insert, name, value) in steps {
                let name = format!("flag-{name}");
                if insert {
                    prop_assert_eq!(
                        flags.insert(name.clone(), json!(value)),
                        map.insert(name.clone(), json!(value))
                    );
                } else {
                    prop_assert_eq!(flags.remove(&name), map.remove(&name));
                }
                prop_assert_eq!(flags.get(&name), map.get(&name));
                prop_assert!(flags.iter().eq(map.iter()));
            }
            let text = serde_json::to_string(&flags).expect("JSON");
            prop_assert_eq!(&text, &serde_json::to_string(&map).expect("JSON"));
            prop_assert_eq!(serde_json::from_str::<Flags>(&text).expect("JSON"), flags);
        }
    }
}
