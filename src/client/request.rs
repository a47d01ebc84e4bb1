//! A request to the server: the prompt and its parameters, serialised before the request
//! is due. Sending it is in `send`.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use serde_json::{Map, Value, json};

use crate::client::optional::LeftOut;
use crate::route::Route;

/// The prompt of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Messages for `/v1/chat/completions`.
    Chat(Vec<Value>),
    /// A text for `/v1/completions`.
    Completion(String),
}

impl Input {
    /// Messages as a chat, or their texts one after another as a plain prompt.
    pub fn new(route: Route, messages: Vec<Value>) -> Self {
        match route {
            Route::Chat => Self::Chat(messages),
            Route::Completions => {
                let texts: Vec<String> = messages.iter().map(text_of).collect();
                Self::Completion(texts.join("\n\n"))
            }
        }
    }
}

/// The text of a message, also of one in parts.
fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()
        }
        Some(content) => content.as_str().unwrap_or_default().to_owned(),
        None => String::new(),
    }
}

/// What no field from outside replaces: the measurement depends on it.
const OURS: &[&str] = &[
    "model",
    "messages",
    "prompt",
    "max_tokens",
    "stream",
    "stream_options",
    "ignore_eos",
    "seed",
    "tools",
    "tool_choice",
    "cache_salt",
];

/// What all requests of a workload have in common. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    model: Arc<str>,
    fields: Arc<Map<String, Value>>,
    left_out: LeftOut,
}

impl Target {
    /// Requests for a model.
    pub fn new(model: &str) -> Self {
        Self { model: model.into(), ..Self::default() }
    }

    /// The same with fields that are merged into each body; null takes one out.
    #[must_use]
    pub fn with_fields(self, fields: Map<String, Value>) -> Self {
        Self { fields: Arc::new(fields), ..self }
    }

    /// The same without the fields that the server turns out to refuse.
    #[must_use]
    pub(crate) fn leaving_out(self, left_out: LeftOut) -> Self {
        Self { left_out, ..self }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The fields as they would stand in an empty body.
    pub fn added(&self) -> Map<String, Value> {
        let mut body = Map::new();
        merge(&mut body, self.fields.iter());
        body
    }
}

/// Merges fields into a body (RFC 7396): mappings into mappings, null takes out.
fn merge<'f>(
    body: &mut Map<String, Value>,
    fields: impl IntoIterator<Item = (&'f String, &'f Value)>,
) {
    for (name, value) in fields {
        match value {
            Value::Null => {
                body.remove(name);
            }
            Value::Object(inner) => {
                let into = body.entry(name.clone()).or_insert(Value::Null);
                if !into.is_object() {
                    *into = Value::Object(Map::new());
                }
                if let Value::Object(into) = into {
                    merge(into, inner);
                }
            }
            value => {
                body.insert(name.clone(), value.clone());
            }
        }
    }
}

/// What ends the message of a refusal that may be about fields from outside.
const FROM_REQUEST: &str = "of `request`, which is merged into each body";

/// What a refusal's message lacks: which fields come from `request`, those that it
/// names, or all of them.
pub(crate) fn blamed(fields: &Map<String, Value>, message: &str) -> Option<String> {
    let mut all = Vec::new();
    names(fields, &mut all);
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let says = |name: &&str| message.split(|letter| !is_word(letter)).any(|word| word == *name);
    let named: Vec<&str> = all.iter().copied().filter(says).collect();
    let list = |names: &[&str]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    match &named[..] {
        [] if all.is_empty() => None,
        [] => {
            let sent = fields.iter().filter(|(_, value)| !value.is_null());
            let own: Vec<&str> = sent.map(|(name, _)| name.as_str()).collect();
            Some(format!("its body has {} {FROM_REQUEST}", list(&own)))
        }
        named => Some(format!("{} is a field {FROM_REQUEST}: correct it there", list(named))),
    }
}

/// Whether a message ends with what [`blamed`] found.
pub(crate) fn is_blamed(message: &str) -> bool {
    message.contains(FROM_REQUEST)
}

/// Names of fields that are sent, those of inner mappings among them.
fn names<'f>(fields: &'f Map<String, Value>, all: &mut Vec<&'f str>) {
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        all.push(name);
        if let Value::Object(inner) = value {
            names(inner, all);
        }
    }
}

/// One streamed request.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestSpec {
    /// The prompt.
    pub input: Input,
    /// Maximum number of generated tokens.
    pub max_tokens: u64,
    /// Generate exactly `max_tokens`: for speed, where the text does not matter.
    pub ignore_eos: bool,
    /// Sampling temperature; `None`: the server's default.
    pub temperature: Option<f64>,
    /// Seed of the sampling.
    pub seed: Option<u64>,
    /// Further fields, such as `tools` or `chat_template_kwargs`.
    pub extra: Map<String, Value>,
    /// Keep the answer's text, for workloads that score it.
    pub keep_answer: bool,
}

impl RequestSpec {
    /// A speed request: exactly `max_tokens` tokens, greedy, text not kept.
    pub fn speed(input: Input, max_tokens: u64) -> Self {
        Self {
            input,
            max_tokens,
            ignore_eos: true,
            temperature: Some(0.0),
            seed: None,
            extra: Map::new(),
            keep_answer: false,
        }
    }

    /// The same with a salt for the server's prefix cache: prompts with another salt never
    /// share its entries.
    #[must_use]
    pub fn salted(mut self, cache_salt: Option<u64>) -> Self {
        let salt = cache_salt.map(|salt| ("cache_salt".to_owned(), format!("{salt:016x}").into()));
        self.extra.extend(salt);
        self
    }

    /// The same with thinking asked for or forbidden; `None`: as the chat template has it.
    #[must_use]
    pub fn thinking(mut self, thinking: Option<bool>) -> Self {
        let arguments = thinking.map(|thinking| json!({"enable_thinking": thinking}));
        self.extra.extend(arguments.map(|value| ("chat_template_kwargs".to_owned(), value)));
        self
    }

    /// The bytes to send. The target's fields are over the request's own, but for what
    /// measuring depends on.
    pub fn prepare(&self, target: &Target) -> Prepared {
        let mut body = self.extra.clone();
        let path = match &self.input {
            Input::Chat(messages) => {
                body.insert("messages".to_owned(), Value::from(messages.clone()));
                "/v1/chat/completions"
            }
            Input::Completion(prompt) => {
                body.insert("prompt".to_owned(), Value::from(prompt.as_str()));
                "/v1/completions"
            }
        };
        body.insert("model".to_owned(), Value::from(target.model()));
        body.insert("max_tokens".to_owned(), Value::from(self.max_tokens));
        body.insert("stream".to_owned(), Value::from(true));
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        if self.ignore_eos {
            body.insert("ignore_eos".to_owned(), Value::from(true));
        }
        if let Some(temperature) = self.temperature {
            body.insert("temperature".to_owned(), Value::from(temperature));
        }
        if let Some(seed) = self.seed {
            body.insert("seed".to_owned(), Value::from(seed));
        }
        let fields = target.fields.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
        merge(&mut body, fields);
        let left_out = target.left_out.names();
        body.retain(|name, _| {
            !left_out.contains(name.as_str()) || target.fields.contains_key(name)
        });
        let ignores_eos = body.contains_key("ignore_eos");
        Prepared {
            path,
            body: Value::Object(body).to_string().into(),
            keep_answer: self.keep_answer,
            keep_last: None,
            max_tokens: self.max_tokens,
            must_have_tokens: ignores_eos && self.max_tokens > 1,
            fields: Arc::clone(&target.fields),
        }
    }
}

/// A request as bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
    pub(crate) keep_answer: bool,
    /// Keep about so many bytes of the answer's end, at the least.
    pub(crate) keep_last: Option<usize>,
    pub(crate) max_tokens: u64,
    /// An answer without a token is an error: with `ignore_eos` the model may not end at
    /// once. A single token may be invisible: a parser removes `<think>`.
    pub(crate) must_have_tokens: bool,
    /// Fields from outside that its body has.
    pub(crate) fields: Arc<Map<String, Value>>,
}

impl Prepared {
    /// The same without a field; `None` where its body has none of this name, or a person
    /// asked for it.
    pub(crate) fn without(&self, name: &str) -> Option<Self> {
        let key = format!("\"{name}\":");
        memmem::find(&self.body, key.as_bytes())?;
        let mut body: Map<String, Value> = serde_json::from_slice(&self.body).ok()?;
        (!self.fields.contains_key(name)).then_some(())?;
        body.remove(name)?;
        Some(Self { body: Value::Object(body).to_string().into(), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_a_chat_or_one_text() {
        let parts = json!([{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]);
        let messages = vec![
            json!({"role": "system", "content": "a"}),
            json!({"role": "user", "content": parts}),
            json!({"role": "assistant", "content": null}),
        ];
        let chat = Input::new(Route::Chat, messages.clone());
        assert_eq!(chat, Input::Chat(messages.clone()));
        let prepared = RequestSpec::speed(Input::new(Route::Completions, messages), 4)
            .prepare(&Target::new("m"));
        let body: Value = serde_json::from_slice(&prepared.body).expect("JSON");
        assert_eq!(prepared.path, "/v1/completions");
        assert_eq!((&body["prompt"], body.get("messages")), (&json!("a\n\nbc\n\n"), None));
    }

    #[test]
    fn fields_from_outside_are_over_the_requests_own_but_for_what_is_measured() {
        let Value::Object(fields) = json!({
            "temperature": 0.7, "top_k": 20, "max_tokens": 1, "stream": false, "seed": 1,
            "chat_template_kwargs": {"enable_thinking": true, "a": {"b": null, "c": 1}},
        }) else {
            panic!("an object")
        };
        let target = Target::new("m").with_fields(fields);
        let speed = RequestSpec::speed(Input::Completion("p".to_owned()), 16).thinking(Some(false));
        let body: Value = serde_json::from_slice(&speed.prepare(&target).body).expect("JSON");
        assert_eq!(
            body,
            json!({
                "prompt": "p", "model": "m", "max_tokens": 16, "stream": true,
                "stream_options": {"include_usage": true}, "ignore_eos": true,
                "temperature": 0.7, "top_k": 20,
                "chat_template_kwargs": {"enable_thinking": true, "a": {"c": 1}},
            })
        );
        let Value::Object(none) = json!({"temperature": null, "top_k": null}) else {
            panic!("an object")
        };
        let target = Target::new("m").with_fields(none);
        let body: Value = serde_json::from_slice(&speed.prepare(&target).body).expect("JSON");
        assert_eq!(body.get("temperature"), None, "the server's default");
        assert!(target.added().is_empty());
    }

    #[test]
    fn what_a_server_refuses_is_left_out_but_not_what_a_person_asked_for() {
        let Value::Object(own) = json!({"temperature": 0.7}) else { panic!("an object") };
        let left_out = LeftOut::default();
        let target = Target::new("m").with_fields(own).leaving_out(left_out.clone());
        let speed = RequestSpec::speed(Input::Completion("\"seed\": p".to_owned()), 4);
        let before = speed.prepare(&target);
        assert!(before.must_have_tokens);
        assert!(before.without("seed").is_none() && before.without("temperature").is_none());
        left_out.add(&["ignore_eos", "temperature"]);
        let after = speed.prepare(&target);
        assert_eq!(before.without("ignore_eos").expect("it has it").body, after.body);
        let body: Value = serde_json::from_slice(&after.body).expect("JSON");
        assert_eq!((body.get("ignore_eos"), &body["temperature"]), (None, &json!(0.7)));
        assert!(!after.must_have_tokens, "the model may end at once");
    }

    #[test]
    fn a_refusal_names_the_fields_from_outside_that_it_is_about() {
        let Value::Object(fields) = json!({
            "temperature": -1, "top_k": 20, "chat_template_kwargs": {"enable_thinking": true},
            "gone": null,
        }) else {
            panic!("an object")
        };
        let of = |message: &str| blamed(&fields, message).expect("there are fields");
        let named = of("temperature must be non-negative, got -1.0, gone");
        assert!(named.starts_with("`temperature` is a field of `request`"), "{named}");
        assert!(of("{'loc': ('body', 'enable_thinking')}").starts_with("`enable_thinking` is"));
        let all = of("top_kk: bad request");
        assert!(all.starts_with("its body has `temperature`, `top_k`"), "{all}");
        assert!(is_blamed(&all) && is_blamed(&named));
        assert_eq!(blamed(&Map::new(), "temperature"), None);
    }

    #[test]
    fn the_body_of_a_speed_request() {
        let input = Input::Chat(vec![json!({"role": "user", "content": "Hi"})]);
        let prepared = RequestSpec::speed(input, 16).prepare(&Target::new("m"));
        let body: Value = serde_json::from_slice(&prepared.body).expect("JSON");
        assert_eq!(
            body,
            json!({
                "messages": [{"role": "user", "content": "Hi"}], "model": "m", "max_tokens": 16,
                "stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true,
                "temperature": 0.0,
            })
        );
        assert_eq!(prepared.path, "/v1/chat/completions");
    }
}
