//! Scripted answers: the answer to a prompt that contains a certain text, in place of
//! random words. For tests of clients that score answers; the simulator does not
//! understand the question.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

/// Answers by a text in the last message. The first that matches is sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script(Arc<Vec<Scripted>>);

/// One scripted answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    /// The last message contains this text.
    pub when: String,
    /// Thinking; a field of its own where there is a reasoning parser.
    #[serde(default)]
    pub reasoning: String,
    /// The answer's text.
    #[serde(default)]
    pub content: String,
    /// Tool calls.
    #[serde(default)]
    pub tool_calls: Vec<Call>,
}

/// A tool call of an answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The function.
    pub name: String,
    /// Its arguments: as JSON, or a text that is sent as it is.
    pub arguments: Value,
}

impl Call {
    /// The arguments as the model wrote them.
    pub fn text(&self) -> String {
        match &self.arguments {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        }
    }
}

impl Script {
    /// Reads a JSON list of answers.
    ///
    /// # Errors
    /// A text that is none.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        Ok(Self(Arc::new(serde_json::from_str(json)?)))
    }

    /// The answer to a last message.
    pub fn answer(&self, last: &str) -> Option<&Scripted> {
        self.0.iter().find(|scripted| last.contains(&scripted.when))
    }
}
