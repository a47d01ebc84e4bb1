//! A request to the server: the prompt and its parameters, serialised before the request
//! is due. Sending it is in `send`.

use bytes::Bytes;
use serde_json::{Map, Value, json};

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

    /// The bytes to send, for the server's `model`.
    pub fn prepare(&self, model: &str) -> Prepared {
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
        body.insert("model".to_owned(), Value::from(model));
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
        Prepared {
            path,
            body: Value::Object(body).to_string().into(),
            keep_answer: self.keep_answer,
            max_tokens: self.max_tokens,
            must_have_tokens: self.ignore_eos && self.max_tokens > 1,
        }
    }
}

/// A request as bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
    pub(crate) keep_answer: bool,
    pub(crate) max_tokens: u64,
    /// An answer without a token is an error: with `ignore_eos` the model may not end at
    /// once. A single token may be invisible: a parser removes `<think>`.
    pub(crate) must_have_tokens: bool,
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
        let prepared = RequestSpec::speed(Input::new(Route::Completions, messages), 4).prepare("m");
        let body: Value = serde_json::from_slice(&prepared.body).expect("JSON");
        assert_eq!(prepared.path, "/v1/completions");
        assert_eq!((&body["prompt"], body.get("messages")), (&json!("a\n\nbc\n\n"), None));
    }

    #[test]
    fn the_body_of_a_speed_request() {
        let input = Input::Chat(vec![json!({"role": "user", "content": "Hi"})]);
        let prepared = RequestSpec::speed(input, 16).prepare("m");
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
