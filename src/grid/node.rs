//! A YAML document as a tree whose every value and key knows its place in the
//! file. Kept untyped, so that the checks that follow find every error in one
//! pass; repeated keys are kept for the same reason.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

/// A place in the file, in bytes.
pub(super) type Span = Range<usize>;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) span: Span,
}

/// A key and its place.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) span: Span,
}

/// What a node contains.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Int(i64),
    /// May be NaN or infinite.
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A file that is no YAML, and where.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) span: Span,
}

/// Bytes of one grid at most: a limit against devices and mistakes, far above
/// any grid that a person writes.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// Reads YAML. Aliases and merge keys are followed within the library's limits.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        leading_zero_numbers_as_strings: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 16,
        },
    };
    if text.trim().is_empty() {
        return Ok(Node { content: Content::Null, span: 0..0 });
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let span = error.location().map_or(0..0, |location| place(text, location));
        SyntaxError { message: message(&error), span }
    })
}

/// The library's message without the position that it appends.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    if text.starts_with("multiple YAML documents") {
        return "there are several documents in the file, and a grid is one".to_owned();
    }
    match text.find(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The span of a location in `text`; the scanner's errors know line and column only.
fn place(text: &str, location: Location) -> Span {
    if location.span().byte_offset().is_some() {
        return span(location);
    }
    let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(0);
    let line = text.split_inclusive('\n').take(index(location.line()));
    let start: usize = line.map(str::len).sum();
    let column = text[start..].chars().take(index(location.column()));
    let start = start + column.map(char::len_utf8).sum::<usize>();
    start..start
}

fn span(location: Location) -> Span {
    let span = location.span();
    let start = usize::try_from(span.byte_offset().unwrap_or(0)).unwrap_or(0);
    let length = usize::try_from(span.byte_len().unwrap_or(0)).unwrap_or(0);
    start..start + length
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { content: spanned.value, span: span(spanned.referenced) })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { text: spanned.value, span: span(spanned.referenced) })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Content, E> {
        // Beyond 63 bits no flag and no option has a meaning; the range check will say so.
        Ok(i64::try_from(value).map_or(Content::Float(value as f64), Content::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Content, E> {
        Ok(Content::Text(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Content::Map(entries))
    }
}

impl Node {
    /// The value of a mapping's key, spelled with `-` or `_`.
    pub(super) fn entry(&self, name: &str) -> Option<&Self> {
        self.keyed(&[name]).map(|(_, value)| value)
    }

    /// The last of some keys, each inside the one before it.
    pub(super) fn key(&self, keys: &[&str]) -> Option<&Key> {
        self.keyed(keys).map(|(key, _)| key)
    }

    /// The same with its value.
    pub(super) fn keyed(&self, keys: &[&str]) -> Option<(&Key, &Self)> {
        let (name, inner) = keys.split_first()?;
        let Content::Map(entries) = &self.content else { return None };
        let (key, node) = entries.iter().find(|(key, _)| key.text.replace('_', "-") == *name)?;
        if inner.is_empty() { Some((key, node)) } else { node.keyed(inner) }
    }

    /// The item of a list that is this text, or a mapping with it as a value.
    pub(super) fn item(&self, wanted: &str) -> Option<&Self> {
        let Content::List(items) = &self.content else { return None };
        let is_text = |node: &Self| matches!(&node.content, Content::Text(text) if text == wanted);
        items.iter().find(|item| match &item.content {
            Content::Map(entries) => entries.iter().any(|(_, node)| is_text(node)),
            _ => is_text(item),
        })
    }

    /// The kind of value, as a person would call it.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "null".to_owned(),
            Content::Bool(truth) => truth.to_string(),
            Content::Int(number) => number.to_string(),
            Content::Float(number) => number.to_string(),
            Content::Text(text) => format!("the text `{}`", crate::flags::shown(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The node as JSON; `Err` is the place of a number that JSON cannot hold, of
    /// a control character, or of a key that is there twice.
    pub(super) fn json(&self) -> Result<Value, JsonError> {
        Ok(match &self.content {
            Content::Null => Value::Null,
            Content::Bool(truth) => Value::from(*truth),
            Content::Int(number) => Value::from(*number),
            Content::Float(number) if number.is_finite() => Value::from(*number),
            Content::Float(_) => return Err(JsonError::NotFinite(self.span.clone())),
            Content::Text(text) if text.contains(is_unprintable) => {
                return Err(JsonError::Unprintable(self.span.clone()));
            }
            Content::Text(text) => Value::from(text.as_str()),
            Content::List(items) => {
                Value::Array(items.iter().map(Self::json).collect::<Result<_, _>>()?)
            }
            Content::Map(entries) => {
                let mut object = Map::new();
                for (key, value) in entries {
                    if object.insert(key.text.clone(), value.json()?).is_some() {
                        return Err(JsonError::Twice(key.clone()));
                    }
                }
                Value::Object(object)
            }
        })
    }
}

/// Whether a letter would act on a terminal, or cut an argument short.
pub(super) fn is_unprintable(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
}

/// Why a node has no JSON form.
#[derive(Debug)]
pub(super) enum JsonError {
    NotFinite(Span),
    Unprintable(Span),
    Twice(Key),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(node: &Node, text: &str, into: &mut Vec<String>) {
        match &node.content {
            Content::List(items) => items.iter().for_each(|item| places(item, text, into)),
            Content::Map(entries) => {
                for (key, value) in entries {
                    into.push(format!("{}@{}", key.text, &text[key.span.clone()]));
                    places(value, text, into);
                }
            }
            _ => into.push(format!("{}@{}", node.describe(), &text[node.span.clone()])),
        }
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let text =
            "é: &a {b: 1}\nc: [0.5, \"x\", null, no, 1_0, 007, *a]\nc: .nan\n\"d\": |\n  y\n";
        let mut found = Vec::new();
        places(&parse(text).expect("YAML"), text, &mut found);
        insta::assert_snapshot!(found.join("\n"));
    }
}
