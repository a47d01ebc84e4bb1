//! Options of workloads, as a grid and `--set` spell them: names, types and
//! bounds, and reading them with every error in one pass. What they mean is
//! each workload's own.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::{Kind, nearest};

/// One option of a workload.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Kebab-case name; `_` is accepted for `-`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// What it does, with the unit and the default: `(default 512)`, or
    /// `(default: ...)` where words are needed to say it.
    pub help: &'static str,
}

/// What values an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionKind {
    /// A whole number within bounds.
    Count {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// One or several whole numbers within bounds; each makes a case.
    Counts {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A number within bounds.
    Number {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// One or several numbers within bounds; each makes a case.
    Numbers {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One or several of these words.
    Words(&'static [&'static str]),
    /// Any text, for example a path.
    Text,
    /// One or several texts, for example the words of a command.
    Texts,
    /// A mapping of fields to any values.
    Fields,
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = if self.several() { "one or several, each " } else { "" };
        write!(f, "{each}{}", self.wanted())
    }
}

impl OptionKind {
    /// Whether a list of values is taken, too.
    pub fn several(self) -> bool {
        matches!(self, Self::Counts { .. } | Self::Numbers { .. } | Self::Words(_) | Self::Texts)
    }

    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Count { min, max } | Self::Counts { min, max } => {
                value.as_u64().is_some_and(|number| (min..=max).contains(&number))
            }
            Self::Number { min, max } | Self::Numbers { min, max } => {
                value.as_f64().is_some_and(|number| (min..=max).contains(&number))
            }
            Self::Switch => value.is_boolean(),
            Self::Word(words) | Self::Words(words) => {
                value.as_str().is_some_and(|word| words.contains(&word))
            }
            Self::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Self::Fields => value.is_object(),
            // `--num-prompts 8`: a word of a command may look like a number.
            Self::Texts => {
                value.is_number()
                    || value.is_boolean()
                    || value.as_str().is_some_and(|text| !text.is_empty())
            }
        }
    }

    fn wanted(self) -> String {
        match self {
            Self::Count { min, max } | Self::Counts { min, max } => {
                format!("a whole number from {min} to {max}")
            }
            Self::Number { min, max } | Self::Numbers { min, max } => {
                format!("a number from {min} to {max}")
            }
            Self::Switch => "true or false".to_owned(),
            Self::Word(words) | Self::Words(words) => format!("one of {}", words.join(", ")),
            Self::Text | Self::Texts => "a text".to_owned(),
            Self::Fields => "a mapping of fields".to_owned(),
        }
    }
}

/// An error in a workload's options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OptionError {
    /// The option, or the workload's name where the workload is unknown.
    pub key: String,
    /// Where inside the option's value, name by name; empty: all of it.
    pub inside: Vec<String>,
    /// What is wrong, with the nearest known name where there is one.
    pub message: String,
}

impl OptionError {
    /// An error of a whole option.
    pub(super) fn of(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), inside: Vec::new(), message: message.into() }
    }
}

/// Options that were given, checked against their kinds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options(BTreeMap<&'static str, Vec<Value>>);

impl Options {
    /// Reads options of a kind of workload; `shared` are those of every kind.
    ///
    /// # Errors
    /// Every error, in one pass.
    pub fn read(
        kind: &Kind,
        shared: &'static [OptionSpec],
        given: &Map<String, Value>,
    ) -> Result<Self, Vec<OptionError>> {
        let known: Vec<&OptionSpec> = kind.options.iter().chain(shared).collect();
        let mut options = Self::default();
        let mut errors = Vec::new();
        for (key, value) in given {
            let read = read_one(kind.name, &known, key, value).and_then(|(name, values)| {
                match options.0.insert(name, values) {
                    None => Ok(()),
                    Some(_) => Err(format!("option `{name}` is given twice")),
                }
            });
            if let Err(message) = read {
                errors.push(OptionError::of(key.clone(), message));
            }
        }
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }

    /// Whether an option was given.
    pub fn given(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Errors of options that do not apply where prompts come from a file.
    pub(super) fn idle_with_dataset(&self, names: &[&str]) -> Vec<OptionError> {
        let idle = names.iter().filter(|name| self.given("dataset") && self.given(name));
        idle.map(|name| {
            let message = format!(
                "`{name}` does not apply with `dataset`: its prompts have their own lengths"
            );
            OptionError::of(*name, message)
        })
        .collect()
    }

    fn one(&self, name: &str) -> Option<&Value> {
        self.0.get(name)?.first()
    }

    /// A whole number.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.one(name)?.as_u64()
    }

    /// Whole numbers.
    pub fn counts(&self, name: &str) -> Option<Vec<u64>> {
        Some(self.0.get(name)?.iter().filter_map(Value::as_u64).collect())
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.one(name)?.as_f64()
    }

    /// Numbers.
    pub fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        Some(self.0.get(name)?.iter().filter_map(Value::as_f64).collect())
    }

    /// A switch.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.one(name)?.as_bool()
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.one(name)?.as_str().map(str::to_owned)
    }

    /// Texts.
    pub fn texts(&self, name: &str) -> Option<Vec<String>> {
        let texts = self.0.get(name)?.iter().filter_map(Value::as_str);
        Some(texts.map(str::to_owned).collect())
    }
}

fn read_one(
    workload: &str,
    known: &[&OptionSpec],
    key: &str,
    value: &Value,
) -> Result<(&'static str, Vec<Value>), String> {
    let name = key.replace('_', "-");
    let Some(spec) = known.iter().find(|spec| spec.name == name) else {
        let names: Vec<&str> = known.iter().map(|spec| spec.name).collect();
        let hint = nearest(&name, &names).map_or_else(
            || format!("known options: {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Err(format!("unknown option `{key}` of workload `{workload}`; {hint}"));
    };
    let items: Vec<&Value> = match value {
        Value::Array(items) if spec.kind.several() && items.is_empty() => {
            return Err(format!("option `{}` is an empty list", spec.name));
        }
        Value::Array(items) if spec.kind.several() => items.iter().collect(),
        other => vec![other],
    };
    let mut values: Vec<Value> = Vec::new();
    for item in items {
        if !spec.kind.accepts(item) {
            let wanted = spec.kind.wanted();
            let item = match item {
                // What should be fields may have a secret in it.
                Value::String(_) | Value::Array(_) if spec.kind == OptionKind::Fields => {
                    "a text or a list, or it is no JSON".to_owned()
                }
                item => format!("`{item}`"),
            };
            return Err(format!("option `{}` must be {wanted}, not {item}", spec.name));
        }
        // The words of a command may repeat; cases may not.
        if values.contains(item) && spec.kind != OptionKind::Texts {
            return Err(format!("option `{}` lists {item} twice", spec.name));
        }
        values.push(match item {
            Value::Number(_) | Value::Bool(_) if spec.kind == OptionKind::Texts => {
                Value::String(item.to_string())
            }
            _ => item.clone(),
        });
    }
    Ok((spec.name, values))
}
