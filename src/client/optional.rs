//! Fields of our requests that a server may refuse, and that measuring can do without: a
//! field that is refused by name is left out of all further requests to that server. What
//! was left out changes what is measured a little, so it is said. Fields that a person
//! added are never left out, and neither is what a measurement is of.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};

/// What can be left out, and what follows.
const OPTIONAL: [(&str, &str); 5] = [
    ("ignore_eos", "answers may be shorter than asked for"),
    ("stream_options", "token counts are known only where they come unasked"),
    ("cache_salt", "prompts differ by their first words alone"),
    ("seed", "answers are not repeatable"),
    ("temperature", "answers are at the server's own temperature"),
];

/// What a measurement is of.
const NEEDED: [&str; 5] = ["max_tokens", "stream", "tools", "tool_choice", "chat_template_kwargs"];

/// Words by which servers refuse a field, and not its value.
const REFUSALS: [&str; 10] = [
    "extra",
    "unknown",
    "unexpected",
    "unrecognized",
    "unrecognised",
    "unsupported",
    "not supported",
    "not support",
    "not permitted",
    "not allowed",
];

/// Fields that a server does not take, shared by all who ask it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftOut(Arc<RwLock<BTreeSet<&'static str>>>);

impl PartialEq for LeftOut {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl LeftOut {
    /// Those so far.
    pub(crate) fn names(&self) -> BTreeSet<&'static str> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these are left out, too.
    pub(crate) fn add(&self, names: &[&'static str]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    /// What is to be said of it.
    pub(crate) fn remark(&self) -> Option<String> {
        let names = self.names();
        let left: Vec<String> = OPTIONAL
            .iter()
            .filter(|(name, _)| names.contains(name))
            .map(|(name, so)| format!("the server refuses `{name}`, which is left out: {so}"))
            .collect();
        (!left.is_empty()).then(|| left.join("; "))
    }
}

/// The first optional field of ours that a refusal names; `given` are a person's own.
pub(crate) fn named(message: &str, given: &Map<String, Value>) -> Option<&'static str> {
    let names = OPTIONAL.iter().map(|(name, _)| *name);
    let ours = names.filter(|name| !given.contains_key(*name));
    ours.filter_map(|name| Some((place_of(name, message)?, name))).min().map(|(_, name)| name)
}

/// The remark on a field that is refused and cannot be left out.
pub(crate) fn needed(message: &str, given: &Map<String, Value>) -> Option<String> {
    let lower = message.to_lowercase();
    if !REFUSALS.iter().any(|words| lower.contains(words)) {
        return None;
    }
    let ours = NEEDED.iter().filter(|name| !given.contains_key(**name));
    let name = ours.filter_map(|name| Some((place_of(name, message)?, name))).min()?.1;
    Some(format!("measuring cannot do without `{name}`"))
}

/// Where a message has this name as a word.
fn place_of(name: &str, message: &str) -> Option<usize> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut places = message.match_indices(name).map(|(place, _)| place);
    places.find(|place| {
        let (before, after) = (&message[..*place], &message[place + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_a_field_in_many_ways() {
        for (message, name) in [
            ("HTTP 422: ignore_eos: Extra inputs are not permitted", Some("ignore_eos")),
            ("HTTP 400: [{'type': 'extra_forbidden', 'loc': ('body', 'seed')}]", Some("seed")),
            ("Unrecognized request argument supplied: cache_salt", Some("cache_salt")),
            ("property 'ignore_eos' is unsupported", Some("ignore_eos")),
            (
                "unknown field `ignore_eos`, expected one of `seed`, `temperature`",
                Some("ignore_eos"),
            ),
            ("stream_options is not supported; nor is seed", Some("stream_options")),
            ("the seeds and my_seed are fine", None),
            ("no more", None),
        ] {
            assert_eq!(named(message, &Map::new()), name, "{message}");
        }
        let Value::Object(own) = serde_json::json!({"temperature": 0.7}) else { panic!("it is") };
        assert_eq!(named("temperature is unsupported", &own), None, "a person asked for it");
    }

    #[test]
    fn what_measuring_needs_is_said_where_it_is_the_field_that_is_refused() {
        let said = needed("unknown field `max_tokens`", &Map::new());
        assert_eq!(said.as_deref(), Some("measuring cannot do without `max_tokens`"));
        assert_eq!(needed("max_tokens must be at least 2", &Map::new()), None);
        assert_eq!(needed("unknown field `top_kk`", &Map::new()), None);
    }

    #[test]
    fn what_is_left_out_is_shared_and_said() {
        let left_out = LeftOut::default();
        assert_eq!(left_out.remark(), None);
        left_out.clone().add(&["seed", "ignore_eos"]);
        let expected = "the server refuses `ignore_eos`, which is left out: answers may be shorter \
                        than asked for; the server refuses `seed`, which is left out: answers are \
                        not repeatable";
        assert_eq!(left_out.remark().as_deref(), Some(expected));
    }
}
