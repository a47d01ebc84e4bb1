//! The canary's requests: all prompts at both temperatures, side by side, so that it takes
//! no longer than one answer. By messages, and as plain text where the model has no chat
//! template.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, json};

use super::{Reply, send};
use crate::bench::session::Session;
use crate::client::request::{Input, RequestSpec};
use crate::gate::canary::{self, Answer, MAX_TOKENS, PROMPTS, Prompt, Temperature};
use crate::gate::{Finding, GateOrder, GateReport};
use crate::route::Route;

/// For how long an answer is waited for: the first requests of a launch may compile.
const PATIENCE: Duration = Duration::from_mins(5);

pub(super) async fn ask(session: &Session, order: &GateOrder) -> GateReport {
    let mut replies = all(session, order, Route::Chat).await;
    if replies.iter().all(|(_, _, reply)| reply.is_refused()) {
        replies = all(session, order, Route::Completions).await;
    }
    let (failed, answered): (Vec<_>, Vec<_>) =
        replies.iter().partition(|(_, _, reply)| reply.failure().is_some());
    let answers: Vec<Answer<'_>> = answered.into_iter().map(answer_of).collect();
    let failures = failed.into_iter().filter_map(|(prompt, temperature, reply)| {
        let what = format!("{}, the request failed: {}", temperature.words(), reply.failure()?);
        Some(Finding::failing(prompt.name, "request", what, String::new()))
    });
    canary::judge(&answers, failures.collect(), &order.against)
}

fn answer_of<'a>((prompt, temperature, reply): &'a (&'a Prompt, Temperature, Reply)) -> Answer<'a> {
    let Reply { record, answer } = reply;
    Answer {
        prompt,
        temperature: *temperature,
        thinking: &answer.reasoning,
        text: &answer.content,
        // What the client could not read it has replaced: that is counted in the text.
        broken: 0,
        was_cut: record.is_truncated(u64::from(MAX_TOKENS)),
    }
}

async fn all(
    session: &Session,
    order: &GateOrder,
    route: Route,
) -> Vec<(&'static Prompt, Temperature, Reply)> {
    let each = PROMPTS.iter().flat_map(|prompt| Temperature::ALL.map(|at| (prompt, at)));
    let asked = each.map(|(prompt, temperature)| async move {
        let spec = request(session, route, prompt, temperature);
        (prompt, temperature, send(session, order, prompt.name, spec, PATIENCE).await)
    });
    join_all(asked).await
}

fn request(
    session: &Session,
    route: Route,
    prompt: &Prompt,
    temperature: Temperature,
) -> RequestSpec {
    // A short context has room for half of it.
    let longest = session.server().max_model_len.map_or(u64::MAX, |longest| (longest / 2).max(1));
    RequestSpec {
        input: Input::new(route, vec![json!({"role": "user", "content": prompt.text})]),
        max_tokens: u64::from(MAX_TOKENS).min(longest),
        ignore_eos: false,
        temperature: match temperature {
            Temperature::Zero => Some(0.0),
            Temperature::Default => None,
        },
        seed: None,
        extra: Map::new(),
        keep_answer: true,
    }
}
