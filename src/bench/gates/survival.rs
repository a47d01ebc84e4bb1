//! The survival gate's requests: each long prompt twice, never the same text, and a short one
//! after each. What they come to is judged in [`crate::gate::survival`].

use std::time::Duration;

use serde_json::Value;

use super::{Reply, send};
use crate::bench::prompt::generate::{MAX_BYTES_PER_TOKEN, derive, messages};
use crate::bench::session::Session;
use crate::client::error::is_too_long;
use crate::client::request::{Input, RequestSpec};
use crate::gate::survival::{self, Came, Passage, lengths, role_of};
use crate::gate::{Gate, GateOrder, GateReport};
use crate::route::Route;

/// The first prompt of a length may compile for so long; the second has as much.
const PATIENCE: Duration = Duration::from_mins(10);
/// What follows a long prompt is to be answered within this.
const SHORT_PATIENCE: Duration = Duration::from_mins(2);
/// Bytes of the text that shows how many tokens a byte has.
const SAMPLE: usize = 4000;
/// Tokens of an answer.
const ANSWER: u64 = 8;

pub(super) async fn ask(session: &Session, order: &GateOrder) -> GateReport {
    let Some(settings) = &order.settings.survival else {
        return GateReport::skipped(Gate::Survival, "the grid has none".to_owned());
    };
    let all = lengths(settings, order.batched_tokens, session.server().max_model_len);
    let mut asking = Asking { session, order, route: Route::Chat, asked: 0 };
    let density = match asking.density().await {
        Ok(density) => density,
        Err(why) => return survival::judge_sample(&why, &order.against),
    };
    let mut passages = Vec::new();
    for tokens in all {
        let role = role_of(tokens, order.batched_tokens, session.server().max_model_len);
        for pass in [1, 2] {
            let long = asking.long(tokens, density).await;
            let is_refused = matches!(long, Came::TooLong(_));
            let short = came(&asking.short().await);
            let is_over = matches!(long, Came::Failed(_)) || matches!(short, Came::Failed(_));
            passages.push(Passage { tokens, role, pass, long, short: Some(short) });
            // One failure is enough, and a server that died answers nothing more.
            if is_over || session.cancel().is_cancelled() {
                return survival::judge(&passages, &order.against);
            }
            if is_refused {
                break;
            }
        }
    }
    if passages.is_empty() {
        let why = "the context has no room for any of its prompts".to_owned();
        return GateReport::skipped(Gate::Survival, why);
    }
    survival::judge(&passages, &order.against)
}

struct Asking<'s> {
    session: &'s Session,
    order: &'s GateOrder,
    route: Route,
    /// Prompts so far: each is another one.
    asked: u32,
}

impl Asking<'_> {
    /// Tokens of a byte of our texts on this server.
    async fn density(&mut self) -> Result<f64, String> {
        if let Some(known) = self.session.tokens_per_byte() {
            return Ok(known);
        }
        let longest = self.session.server().max_model_len;
        // A byte has a token at most.
        let size =
            longest.map_or(SAMPLE, |it| SAMPLE.min(usize::try_from(it / 2).unwrap_or(SAMPLE)));
        let mut reply = self.send("sample", size, ANSWER, PATIENCE).await;
        if reply.is_refused() {
            // Without a chat template.
            self.route = Route::Completions;
            reply = self.send("sample", size, ANSWER, PATIENCE).await;
        }
        if let Some(why) = reply.failure() {
            return Err(why.to_owned());
        }
        // Where nothing is counted, four bytes of English are a token, about.
        let counted = reply.record.usage.map(|usage| usage.prompt_tokens as f64);
        Ok(counted.filter(|it| *it > 0.0).map_or(0.25, |tokens| tokens / size as f64))
    }

    async fn long(&mut self, tokens: u64, density: f64) -> Came {
        let size = bytes_of(tokens, density);
        came(&self.send("long", size, ANSWER, PATIENCE).await)
    }

    async fn short(&mut self) -> Reply {
        self.send("short", 200, 1, SHORT_PATIENCE).await
    }

    async fn send(&mut self, purpose: &str, size: usize, answer: u64, patience: Duration) -> Reply {
        self.asked += 1;
        let settings = self.session.settings();
        let parts = [&settings.salt, &settings.launch.to_string(), &self.asked.to_string()];
        let number = derive(&parts.map(String::as_str));
        let messages: Vec<Value> = messages(number, settings.seed ^ number, size);
        let spec = RequestSpec {
            ignore_eos: false,
            ..RequestSpec::speed(Input::new(self.route, messages), answer)
        };
        send(self.session, self.order, purpose, spec, patience).await
    }
}

/// Bytes of a prompt of so many tokens, by tokens per byte. A server may count what it likes:
/// no text has more bytes per token than the bound, so no prompt is larger in memory.
fn bytes_of(tokens: u64, density: f64) -> usize {
    (tokens as f64 / density.max(1.0 / MAX_BYTES_PER_TOKEN as f64)) as usize
}

fn came(reply: &Reply) -> Came {
    let Some(why) = reply.failure() else {
        return Came::Answer {
            prompt_tokens: reply.record.usage.map(|usage| usage.prompt_tokens),
            ttft_ms: reply.record.ttft_ms(),
        };
    };
    let why = why.to_owned();
    match reply.record.failure() {
        Some(error) if is_too_long(error) => Came::TooLong(why),
        _ => Came::Failed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_counts_too_little_gets_no_prompt_of_any_size() {
        assert_eq!(bytes_of(100_000, 0.25), 400_000);
        // One token of 4000 bytes.
        for density in [0.00025, 0.0, -1.0, f64::NAN] {
            assert_eq!(bytes_of(100_000, density), 1_600_000, "{density}");
        }
    }
}
