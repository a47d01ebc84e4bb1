//! The function gate's requests, and whether an answer is what a client relies on. Each check
//! is tried until it succeeds, three times at most.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Reply, send};
use crate::bench::session::Session;
use crate::client::request::{Input, RequestSpec};
use crate::gate::function::{self, Check, TRIES, Try};
use crate::gate::{GateOrder, GateReport};
use crate::server::brief;

/// For how long an answer is waited for.
const PATIENCE: Duration = Duration::from_mins(5);
/// Tokens of an answer, with room for thinking.
const ANSWER: u64 = 512;
/// Characters of an answer that a finding shows.
const SHOWN: usize = 120;

/// A picture of 32 x 32: red, green, blue and yellow quarters.
const PICTURE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAMAAABEpIrGAAAADFBMVEX/AAAAoAAAAP//5gDBBMcJAAAAHklEQVR42mNgQAOMaIBhVMGIUsCEBpjRwKiCEaUAADSYBgFI/0JWAAAAAElFTkSuQmCC";
/// What thinking is asked for.
const SPIDERS: &str = "How many legs have three spiders?";
const COLOURS: [&str; 4] = ["red", "green", "blue", "yellow"];

pub(super) async fn ask(session: &Session, order: &GateOrder) -> GateReport {
    let mut tried = Vec::new();
    for check in function::promised(&order.flags) {
        let mut tries = Vec::new();
        while tries.len() < TRIES && !session.cancel().is_cancelled() {
            let tried = once(session, order, check, tries.len()).await;
            let is_over = !matches!(tried, Try::Missed { .. });
            tries.push(tried);
            if is_over {
                break;
            }
        }
        tried.push((check, tries));
    }
    function::judge(&tried, &order.against)
}

async fn once(session: &Session, order: &GateOrder, check: Check, number: usize) -> Try {
    let asking = Asking { session, order, check, number };
    match check {
        Check::StreamingUsage => asking.streaming_usage().await,
        Check::JsonSchema => asking.json_schema().await,
        Check::ToolCall => asking.tool_call().await,
        Check::ThinkingOff => asking.thinking_off().await,
        Check::ThinkingKept => asking.thinking_kept().await,
        Check::Picture => asking.picture().await,
    }
}

/// One try of a check.
struct Asking<'s> {
    session: &'s Session,
    order: &'s GateOrder,
    check: Check,
    number: usize,
}

impl Asking<'_> {
    async fn ask(&self, messages: Vec<Value>, thinking: Option<bool>, extra: Value) -> Reply {
        let longest = self.session.server().max_model_len;
        let spec = RequestSpec {
            input: Input::Chat(messages),
            max_tokens: longest.map_or(ANSWER, |it| ANSWER.min(it / 2)).max(1),
            ignore_eos: false,
            temperature: None,
            seed: Some(self.number as u64 + 1),
            extra: extra.as_object().cloned().unwrap_or_default(),
            keep_answer: true,
        };
        send(self.session, self.order, self.check.as_str(), spec.thinking(thinking), PATIENCE).await
    }

    async fn streaming_usage(&self) -> Try {
        let reply = self.ask(vec![user("Say hello.")], None, Value::Null).await;
        judged(&reply, |reply| match reply.record.usage {
            None => Err("the stream ended without `usage`"),
            Some(usage) if usage.prompt_tokens == 0 => Err("`usage` counts no token of the prompt"),
            Some(_) => Ok(()),
        })
    }

    async fn json_schema(&self) -> Try {
        let city = json!({"type": "object", "additionalProperties": false,
            "properties": {"name": {"type": "string", "maxLength": 40},
                "inhabitants": {"type": "integer"}},
            "required": ["name", "inhabitants"]});
        let format =
            json!({"type": "json_schema", "json_schema": {"name": "city", "schema": city}});
        let asked = "Describe Paris as JSON: its name, and its number of inhabitants.";
        let extra = json!({"response_format": format});
        let reply = self.ask(vec![user(asked)], Some(false), extra).await;
        if reply.is_refused() {
            return not_taken(&reply);
        }
        judged(&reply, |reply| is_city(&reply.answer.content))
    }

    async fn tool_call(&self) -> Try {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}},
            "required": ["city"]});
        let tools = json!([{"type": "function", "function": {"name": "get_weather",
            "description": "The weather in a city, now.", "parameters": parameters}}]);
        let asked = "What is the weather in Paris now? Use the tool.";
        let extra = json!({"tools": tools, "tool_choice": "auto"});
        let reply = self.ask(vec![user(asked)], None, extra).await;
        judged(&reply, |reply| {
            let call = reply.answer.tool_calls.first().ok_or("no tool was called")?;
            if call.name != "get_weather" {
                return Err("another tool was called");
            }
            let arguments: Value = serde_json::from_str(&call.arguments)
                .map_err(|_| "the call's arguments are no JSON")?;
            arguments.get("city").map(|_| ()).ok_or("the call has no `city`")
        })
    }

    async fn thinking_off(&self) -> Try {
        let reply = self.ask(vec![user(SPIDERS)], Some(false), Value::Null).await;
        judged(&reply, |reply| match &reply.answer {
            answer if !answer.reasoning.trim().is_empty() => {
                Err("it thinks though thinking is off")
            }
            answer if answer.content.contains("<think>") => Err("thinking is in the answer"),
            answer if answer.content.trim().is_empty() => Err("the answer is empty"),
            _ => Ok(()),
        })
    }

    async fn thinking_kept(&self) -> Try {
        let first = self.ask(vec![user(SPIDERS)], Some(true), Value::Null).await;
        let thought = judged(&first, is_thought);
        if thought != Try::Done {
            return thought;
        }
        let answer = json!({"role": "assistant", "content": first.answer.content});
        let history = vec![user(SPIDERS), answer, user("And four spiders?")];
        judged(&self.ask(history, Some(true), Value::Null).await, is_thought)
    }

    async fn picture(&self) -> Try {
        let content = json!([{"type": "image_url", "image_url": {"url": PICTURE}},
            {"type": "text", "text": "Which colours does this picture have?"}]);
        let message = json!({"role": "user", "content": content});
        let reply = self.ask(vec![message], None, Value::Null).await;
        if reply.is_refused() {
            return not_taken(&reply);
        }
        judged(&reply, |reply| {
            let said = format!("{} {}", reply.answer.reasoning, reply.answer.content);
            let said = said.to_lowercase();
            let named = COLOURS.iter().filter(|it| said.contains(**it)).count();
            if named >= 2 { Ok(()) } else { Err("the picture's colours are not named") }
        })
    }
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// Thinking, and apart from the answer. An answer that was cut may be thinking alone.
fn is_thought(reply: &Reply) -> Result<(), &'static str> {
    let answer = &reply.answer;
    if answer.content.contains("<think>") || answer.content.contains("</think>") {
        return Err("thinking is in the answer");
    }
    if answer.reasoning.trim().is_empty() {
        Err("there is no thinking apart from the answer")
    } else {
        Ok(())
    }
}

fn is_city(text: &str) -> Result<(), &'static str> {
    let city: Value = serde_json::from_str(text.trim()).map_err(|_| "the answer is no JSON")?;
    let is_whole = city.get("name").is_some_and(Value::is_string)
        && city.get("inhabitants").is_some_and(Value::is_i64);
    if is_whole { Ok(()) } else { Err("the answer is not by the schema") }
}

fn judged(reply: &Reply, is_right: impl FnOnce(&Reply) -> Result<(), &'static str>) -> Try {
    if let Some(why) = reply.failure() {
        let why = format!("the request failed: {why}");
        return Try::Missed { why, evidence: String::new() };
    }
    match is_right(reply) {
        Ok(()) => Try::Done,
        Err(why) => Try::Missed { why: why.to_owned(), evidence: shown(reply) },
    }
}

fn not_taken(reply: &Reply) -> Try {
    Try::NotTaken(format!("the server does not take it: {}", reply.failure().unwrap_or_default()))
}

/// The beginning of what came back, in one line.
fn shown(reply: &Reply) -> String {
    let answer = &reply.answer;
    let is_answered = !answer.content.trim().is_empty();
    brief(if is_answered { &answer.content } else { &answer.reasoning }, SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_city_is_json_by_the_schema() {
        assert_eq!(is_city(" {\"name\": \"Paris\", \"inhabitants\": 2100000} "), Ok(()));
        for text in ["Paris", "{\"name\": \"Paris\"}", "{\"name\": 1, \"inhabitants\": 2}", ""] {
            assert!(is_city(text).is_err(), "{text}");
        }
    }
}
