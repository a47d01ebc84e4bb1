//! The models that a server offers (`/v1/models`), and which of several is measured.
//! Several ids are normal: names of one model, and adapters on it. Who asks for the list
//! is in `open`.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::message::brief;

/// Bytes of a model's name at most: longer than any path.
const MAX_NAME: usize = 4096;
/// Tokens of a context at most that are believed.
const MAX_CONTEXT: u64 = 1 << 40;
/// Names that a message shows, and characters of each.
const SHOWN: usize = 5;
const SHOWN_CHARACTERS: usize = 120;

/// A model that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    /// The name that requests must give.
    pub(super) name: String,
    /// Context length in tokens.
    pub(super) max_model_len: Option<u64>,
    /// Where it was loaded from: the same for all names of one model.
    root: Option<String>,
    /// The model that it is an adapter on.
    parent: Option<String>,
}

/// How the model that is measured was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelChoice {
    /// It was named, or nothing else is offered but further names of it.
    #[default]
    Clear,
    /// It is the base of adapters that are offered beside it: their names.
    BaseOf(Vec<String>),
    /// Nothing says which is meant: it is the first that the server lists. The others.
    FirstOf(Vec<String>),
}

impl ModelChoice {
    /// What a person should know of it, in a sentence; `None` where it is clear.
    pub fn note(&self, model: &str) -> Option<String> {
        let model = brief(model, SHOWN_CHARACTERS);
        match self {
            Self::Clear => None,
            Self::BaseOf(adapters) => Some(format!(
                "the base model `{model}` is measured; the server also offers its adapters {}",
                list(adapters)
            )),
            Self::FirstOf(others) => Some(format!(
                "the server offers {} models and none was named: `{model}` is measured, the first \
                 that it lists; it also offers {}",
                others.len() + 1,
                list(others)
            )),
        }
    }
}

/// Reads `/v1/models`.
///
/// # Errors
/// What is wrong with the answer.
pub(super) fn read(status: u16, body: &str) -> Result<Vec<Offered>, String> {
    if status != 200 {
        return Err(format!("/v1/models gave HTTP {status}"));
    }
    let List { data } = serde_json::from_str(body).map_err(|error| {
        if error.is_data() {
            "/v1/models names no model".to_owned()
        } else {
            "/v1/models did not answer with JSON".to_owned()
        }
    })?;
    let mut seen = BTreeSet::new();
    let mut models = Vec::new();
    for Card { id, max_model_len, root, parent } in data {
        let Some(name) = id.filter(|name| !name.is_empty()) else { continue };
        if name.len() > MAX_NAME {
            let length = name.len();
            return Err(format!("/v1/models has a name of {length} bytes; {MAX_NAME} are allowed"));
        }
        if name.contains(char::is_control) {
            let shown = brief(&name, SHOWN_CHARACTERS);
            return Err(format!("/v1/models has a name with control characters: `{shown}`"));
        }
        if seen.insert(name.clone()) {
            let max_model_len = max_model_len.filter(|length| *length <= MAX_CONTEXT);
            models.push(Offered { name, max_model_len, root, parent });
        }
    }
    if models.is_empty() { Err("/v1/models names no model".to_owned()) } else { Ok(models) }
}

/// The model that is measured where none is named: the first that is no adapter.
pub(super) fn choose(models: &[Offered]) -> Option<(&Offered, ModelChoice)> {
    let is_adapter = |it: &&Offered| it.parent.is_some();
    let chosen = models.iter().find(|it| !is_adapter(it)).or(models.first())?;
    let is_same = |it: &Offered| it.root.is_some() && it.root == chosen.root;
    let others = models.iter().filter(|it| it.name != chosen.name && !is_same(it));
    let (adapters, others): (Vec<&Offered>, Vec<&Offered>) =
        others.partition(|it| is_adapter(it) && !is_adapter(&chosen));
    let names = |of: Vec<&Offered>| of.into_iter().map(|it| it.name.clone()).collect();
    let choice = match (adapters.is_empty(), others.is_empty()) {
        (true, true) => ModelChoice::Clear,
        (false, true) => ModelChoice::BaseOf(names(adapters)),
        (_, false) => ModelChoice::FirstOf(names([others, adapters].concat())),
    };
    Some((chosen, choice))
}

/// Names for a message: the first few, and how many more there are.
pub(super) fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown = names.iter().take(SHOWN).map(|name| format!("`{}`", brief(name, SHOWN_CHARACTERS)));
    let text = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Card>,
}

/// A card as vLLM writes it. What has another type than vLLM's is as if it were absent.
#[derive(Deserialize)]
struct Card {
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "count")]
    max_model_len: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    root: Option<String>,
    #[serde(default, deserialize_with = "text")]
    parent: Option<String>,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_u64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(data: &Value) -> (String, ModelChoice) {
        let models = read(200, &json!({ "data": data }).to_string()).expect("models");
        let (model, choice) = choose(&models).expect("one");
        (model.name.clone(), choice)
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_of_one_model_are_no_choice() {
        let card = |id: &str, root: Value| json!({"id": id, "root": root, "parent": null});
        for data in [
            json!([{"id": "a"}]),
            json!([{"id": "a"}, {"id": "a"}]),
            json!([card("a", json!("/m")), card("b", json!("/m"))]),
        ] {
            assert_eq!(chosen(&data), ("a".to_owned(), ModelChoice::Clear), "{data}");
        }
        let unknown = [card("a", Value::Null), card("b", Value::Null)];
        assert_eq!(chosen(&json!(unknown)).1, ModelChoice::FirstOf(owned(&["b"])));
    }

    #[test]
    fn the_base_of_adapters_is_measured_wherever_it_stands() {
        let base = json!({"id": "base", "root": "/m", "parent": null});
        let adapter = |id: &str| json!({"id": id, "root": "/lora", "parent": "base"});
        let expected = ("base".to_owned(), ModelChoice::BaseOf(owned(&["x", "y"])));
        assert_eq!(chosen(&json!([base, adapter("x"), adapter("y")])), expected);
        assert_eq!(chosen(&json!([adapter("x"), base, adapter("y")])), expected);
        let note = expected.1.note("base").expect("a note");
        assert!(note.contains("the base model `base` is measured"), "{note}");
        // Two bases: which one is not clear.
        let other = json!({"id": "other", "root": "/n"});
        let both = chosen(&json!([base, adapter("x"), other]));
        assert_eq!(both, ("base".to_owned(), ModelChoice::FirstOf(owned(&["other", "x"]))));
        let note = both.1.note("base").expect("a note");
        assert!(note.contains("offers 3 models and none was named: `base` is measured"), "{note}");
    }

    #[test]
    fn hostile_lists_are_refused_and_long_ones_cut() {
        let refused = |body: &str| read(200, body).expect_err("refused");
        assert_eq!(refused("<html>"), "/v1/models did not answer with JSON");
        for none in ["{}", "[]", "7", r#"{"data":null}"#, r#"{"data":[{"id":7},{"id":""}]}"#] {
            assert_eq!(refused(none), "/v1/models names no model", "{none}");
        }
        let long = json!({"data": [{"id": "x".repeat(15 << 20)}]}).to_string();
        assert_eq!(refused(&long), "/v1/models has a name of 15728640 bytes; 4096 are allowed");
        let escapes = refused(r#"{"data":[{"id":"a\u001b[31mb\u0000"}]}"#);
        assert_eq!(escapes, "/v1/models has a name with control characters: `ab`");
        let huge = read(200, r#"{"data":[{"id":"a","max_model_len":18446744073709551615}]}"#);
        assert_eq!(huge.expect("a model")[0].max_model_len, None);
        let many: Vec<String> = (0..100_000).map(|number| format!("m{number}")).collect();
        assert_eq!(list(&many), "`m0`, `m1`, `m2`, `m3`, `m4` and 99995 more");
        assert_eq!(list(&["y".repeat(4000)]).chars().count(), SHOWN_CHARACTERS + 3);
    }
}
