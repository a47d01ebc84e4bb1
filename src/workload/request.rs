//! Fields that the owner's clients send with each request (`temperature`,
//! `chat_template_kwargs`, ...), as `request:` of a grid or `bench --request` gives them. They
//! are merged into each body that a workload sends: a mapping into the mapping of the same
//! name, anything else in its place, and null takes a field out. What measuring itself
//! decides is refused, and so are secrets.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OptionError;
use crate::secret::{is_in_text, is_secret};

/// The key of a grid, and the option of each workload.
pub const REQUEST: &str = "request";

/// Fields that measuring sets or depends on, and why they are not to be set.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["model", "stream", "stream_options", "ignore_eos", "cache_salt", "seed"],
        "measuring sets it itself",
    ),
    (
        &[
            "messages",
            "prompt",
            "prompt_embeds",
            "input",
            "suffix",
            "echo",
            "add_generation_prompt",
            "continue_final_message",
            "truncate_prompt_tokens",
        ],
        "the workload makes the prompts, and their lengths are what is measured",
    ),
    (
        &["tools", "tool_choice", "functions", "function_call"],
        "the workload `tool-calling` sets the tools itself",
    ),
    (
        &["max_tokens", "max_completion_tokens", "min_tokens", "stop", "stop_token_ids"],
        "the workload decides how long an answer is: set its option `output-tokens` or `max-tokens`",
    ),
    (
        &["n", "best_of", "use_beam_search", "logprobs", "top_logprobs", "prompt_logprobs"],
        "a request is measured by the one answer that it streams, token by token",
    ),
    (&["request_id"], "each request has an id of its own"),
    (
        &["extra_body"],
        "it is a word of the OpenAI client, not of the server: write its fields directly under \
         `request`",
    ),
];

/// The fields that a grid cannot set.
pub fn refused_fields() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().flat_map(|(names, _)| names.iter().copied())
}

/// Fields of requests; null takes one out. Those that are refused are never in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestFields(Map<String, Value>);

impl RequestFields {
    /// Checks fields that a person gave.
    ///
    /// # Errors
    /// Every field that is refused, in one pass.
    pub fn read(given: &Map<String, Value>) -> Result<Self, Vec<OptionError>> {
        let mut errors = Vec::new();
        for (name, value) in given {
            let refused = refusal(name).map(|message| error(&[name], message));
            errors.extend(refused);
            secrets(&mut vec![name.clone()], value, &mut errors);
        }
        if errors.is_empty() { Ok(Self(given.clone())) } else { Err(errors) }
    }

    /// Those that fulfil this.
    #[must_use]
    pub fn keeping(mut self, is_kept: impl Fn(&str, &Value) -> bool) -> Self {
        self.0.retain(|name, value| is_kept(name, value));
        self
    }

    /// The fields of an option `request` among others.
    pub(super) fn of_options(options: &Map<String, Value>) -> Result<Self, Vec<OptionError>> {
        match options.get(REQUEST) {
            Some(Value::Object(given)) => Self::read(given),
            // The option's kind says what is wrong.
            _ => Ok(Self::default()),
        }
    }

    /// These fields where `base` applies, too: theirs win.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        let mut all = base.0.clone();
        lay(&mut all, &self.0);
        Self(all)
    }

    /// These fields without what the options of a workload say by themselves.
    #[must_use]
    pub fn without_options(&self, options: &Map<String, Value>) -> Self {
        let mut rest = self.0.clone();
        if options.contains_key("temperature") {
            rest.remove("temperature");
        }
        if options.contains_key("thinking")
            && let Some(Value::Object(arguments)) = rest.get_mut("chat_template_kwargs")
        {
            arguments.remove("enable_thinking");
        }
        Self(rest)
    }

    /// Options of a workload that say the same as its own fields.
    pub(super) fn contradictions(&self, options: &super::Options) -> Vec<OptionError> {
        let thinking = self.0.get("chat_template_kwargs").and_then(|it| it.get("enable_thinking"));
        let pairs = [
            ("temperature", &["temperature"][..], self.0.contains_key("temperature")),
            ("thinking", &["chat_template_kwargs", "enable_thinking"], thinking.is_some()),
        ];
        pairs
            .into_iter()
            .filter(|(option, _, is_field)| *is_field && options.given(option))
            .map(|(option, path, _)| {
                let message =
                    format!("`{}` is also the option `{option}`: give one", path.join("."));
                error(path, message)
            })
            .collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields by name.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Composes two sets of fields; null stays, since it takes out what a workload sets.
fn lay(below: &mut Map<String, Value>, above: &Map<String, Value>) {
    for (name, value) in above {
        match (below.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(over)) => lay(inner, over),
            _ => {
                below.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Why a field cannot be set.
fn refusal(name: &str) -> Option<String> {
    let meant = name.trim().replace('-', "_");
    let why = REFUSED.iter().find(|(names, _)| names.contains(&meant.as_str()));
    match why {
        Some((_, why)) => Some(format!("the field `{name}` cannot be set: {why}")),
        None if meant != name => {
            Some(format!("no server has the field `{name}`: write `{meant}`, as the API does"))
        }
        None => None,
    }
}

/// Reports what looks like a secret, at any depth; never its value.
fn secrets(path: &mut Vec<String>, value: &Value, errors: &mut Vec<OptionError>) {
    let name = path.last().map_or("", String::as_str);
    let is_text = matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_));
    let shown = match value {
        _ if is_secret(name) && is_text => Some(format!("`{name}` is")),
        Value::String(text) if is_in_text(text) => Some("this contains".to_owned()),
        _ => None,
    };
    if let Some(what) = shown {
        let message = format!(
            "{what} a secret: it does not belong in a request's fields, which are written down"
        );
        errors.push(OptionError { key: REQUEST.to_owned(), inside: path.clone(), message });
        return;
    }
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(inner) => inner.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in inner {
        path.push(name);
        secrets(path, value, errors);
        path.pop();
    }
}

fn error(path: &[&str], message: String) -> OptionError {
    let inside = path.iter().map(|name| (*name).to_owned()).collect();
    OptionError { key: REQUEST.to_owned(), inside, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("an object") };
        map
    }

    fn fields(value: Value) -> RequestFields {
        RequestFields::read(&map(value)).expect("good fields")
    }

    #[test]
    fn what_measuring_decides_is_refused_in_one_pass() {
        let all: Vec<&str> = REFUSED.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        for name in ["stream", "stream_options", "model", "messages", "prompt", "tools"] {
            assert!(all.contains(&name), "{name}");
        }
        for name in ["max_tokens", "ignore_eos", "cache_salt", "n", "logprobs"] {
            assert!(all.contains(&name), "{name}");
        }
        let given: Map<String, Value> =
            all.iter().map(|name| ((*name).to_owned(), json!(1))).collect();
        let errors = RequestFields::read(&given).expect_err("all of them");
        assert_eq!(errors.len(), all.len());
        for name in all {
            assert!(errors.iter().any(|error| error.inside == [name]), "{name}");
        }
        // vLLM would take the one for an unknown field and ignore it.
        let dashes = map(json!({"max-tokens": 1, "top-k": 2, "top_k": 3}));
        let errors = RequestFields::read(&dashes).expect_err("two of them");
        assert_eq!(errors.len(), 2);
        assert!(errors[0].message.contains("how long an answer is"), "{errors:?}");
        assert!(errors[1].message.ends_with("write `top_k`, as the API does"), "{errors:?}");
    }

    #[test]
    fn secrets_are_refused_at_any_depth_and_never_shown() {
        let given = map(json!({
            "api_key": "sk-12345678", "a": {"b": [{"hf_token": "hf_12345678"}]},
            "c": "https://user:pa55word@host/x", "thinking_token_budget": 8,
            "chat_template_kwargs": {"token_ids": [1, 2]},
        }));
        let errors = RequestFields::read(&given).expect_err("three secrets");
        let paths: Vec<String> = errors.iter().map(|error| error.inside.join(".")).collect();
        assert_eq!(paths, ["api_key", "a.b.0.hf_token", "c"]);
        for secret in ["12345678", "pa55word"] {
            assert!(errors.iter().all(|error| !error.message.contains(secret)), "{errors:?}");
        }
    }

    #[test]
    fn a_workloads_fields_are_over_the_grids() {
        let grid = fields(json!({
            "temperature": 0.7, "top_k": 20, "chat_template_kwargs": {"enable_thinking": true, "a": 1},
        }));
        let own = fields(json!({
            "temperature": null, "top_p": 0.9, "chat_template_kwargs": {"enable_thinking": false},
        }));
        assert_eq!(
            Value::Object(own.over(&grid).0),
            json!({
                "temperature": null, "top_k": 20, "top_p": 0.9,
                "chat_template_kwargs": {"enable_thinking": false, "a": 1},
            })
        );
    }

    #[test]
    fn what_an_option_says_is_not_said_by_a_field_of_the_grid() {
        let grid = fields(json!({
            "temperature": 0.7, "chat_template_kwargs": {"enable_thinking": true, "a": 1},
        }));
        let of = |options: Value| Value::Object(grid.without_options(&map(options)).0);
        assert_eq!(of(json!({"max-tokens": 1})), Value::Object(grid.0.clone()));
        assert_eq!(
            of(json!({"temperature": 0.1, "thinking": true})),
            json!({"chat_template_kwargs": {"a": 1}})
        );
    }
}
