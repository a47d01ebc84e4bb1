//! A set of flags with their values, as a map that is sorted by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

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

    /// The same flags, sharing their entries, with space for `more`.
    pub(crate) fn with_space(&self, more: usize) -> Self {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
