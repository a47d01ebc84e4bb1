//! One request being answered: from the engine's tokens to the chunks of a
//! stream or to a whole body. The form of both is [`super::protocol`]'s.

use std::io;

use axum::body::Bytes;
use serde_json::Value;

use super::engine::{Answer, Ask, Engine};
use super::metrics::Finish;
use super::protocol::{
    CallWords, ChatRequest, ChunkWriter, Form, Refused, StreamOptions, Usage, Words, finish_reason,
};
use super::scheduler::Produced;
use super::speech::{Part, Speech};
use super::text;

/// What is settled of a reply before its first token.
#[derive(Debug)]
pub(super) struct Outline {
    /// Chat or plain completion.
    pub form: Form,
    /// The model as the request names it.
    pub model: String,
    /// Unix time.
    pub created: u64,
    /// What the engine draws the answer's tokens from.
    pub seed: u64,
    /// What is said.
    pub speech: Speech,
    /// Whether the end of a tool call is told as one.
    pub tells_calls: bool,
    /// Tokens at most.
    pub limit: u64,
    /// Whether usage tells cached tokens.
    pub tell_cached: bool,
    /// Tokens after which nothing comes any more.
    pub silent_after: u64,
}

/// A request that was accepted and is being answered.
#[derive(Debug)]
pub(super) struct Reply {
    outline: Outline,
    id: String,
    prompt_tokens: u64,
    /// The word for its end.
    finish: &'static str,
    sent: u64,
    answer: Answer,
}

impl Reply {
    /// Decides how long the answer is and asks the engine for it.
    pub(super) fn ask(
        engine: &Engine,
        request: &ChatRequest,
        prompt: Vec<u32>,
        outline: Outline,
    ) -> Self {
        let seed = outline.seed;
        let natural = outline.speech.length().max(request.min_tokens.unwrap_or(0));
        let cut = request.ignore_eos.unwrap_or(false) || natural >= outline.limit;
        let (output_tokens, finish) =
            if cut { (outline.limit, Finish::Length) } else { (natural, Finish::Stop) };
        let prompt_tokens = prompt.len() as u64;
        let cache_salt = request.cache_salt.clone();
        let answer =
            engine.ask(Ask { prompt, cache_salt, output_seed: seed, output_tokens, finish });
        let prefix = match outline.form {
            Form::Chat { .. } => "chatcmpl",
            Form::Completion => "cmpl",
        };
        let id = format!("{prefix}-{:016x}", text::mix(seed, answer.id()));
        let calls = outline.tells_calls && outline.speech.calls_tools();
        let finish = match finish {
            Finish::Stop if calls => "tool_calls",
            finish => finish_reason(finish),
        };
        Self { outline, id, prompt_tokens, finish, sent: 0, answer }
    }

    /// The tokens that are there; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Produced>> {
        if self.sent >= self.outline.silent_after {
            std::future::pending::<()>().await;
        }
        let mut produced = self.answer.next().await?;
        produced.retain(|token| token.index < self.outline.silent_after);
        self.sent += produced.len() as u64;
        Some(produced)
    }

    fn usage(&self, last: Option<&Produced>) -> Usage {
        let completion = last.map_or(0, |token| token.index + 1);
        Usage {
            prompt: self.prompt_tokens,
            completion,
            reasoning: self.outline.speech.thinking_among(completion),
            cached: last.filter(|_| self.outline.tell_cached).map(|token| token.cached_tokens),
        }
    }

    /// What these tokens say.
    fn words(&self, produced: &[Produced]) -> Words {
        let mut words = Words::default();
        for token in produced {
            let piece = self.outline.speech.piece(token.index);
            match piece.part {
                Part::Thinking => words.reasoning.push_str(&piece.text),
                Part::Content => words.content.push_str(&piece.text),
                Part::Call(index) => words.calls.push(CallWords {
                    index,
                    opening: Some((self.call_id(index), piece.text)),
                    arguments: String::new(),
                }),
                Part::Arguments(index) => {
                    match words.calls.last_mut().filter(|call| call.index == index) {
                        Some(call) => call.arguments.push_str(&piece.text),
                        None => words.calls.push(CallWords {
                            index,
                            opening: None,
                            arguments: piece.text,
                        }),
                    }
                }
            }
        }
        words
    }

    fn call_id(&self, index: usize) -> String {
        format!("chatcmpl-tool-{:016x}", text::mix(self.answer.id(), index as u64))
    }

    /// The answer in one piece.
    pub(super) async fn whole(mut self) -> Result<Value, Refused> {
        let mut produced = Vec::new();
        while let Some(mut tokens) = self.next().await {
            produced.append(&mut tokens);
        }
        let last = produced.last();
        if !last.is_some_and(|token| token.finished) {
            return Err(Refused::engine_dead());
        }
        let usage = self.usage(last);
        let Outline { form, model, created, .. } = &self.outline;
        Ok(form.whole(&self.id, *created, model, &self.words(&produced), self.finish, usage))
    }
}

/// Where a stream is.
#[derive(Debug)]
pub(super) struct Streaming {
    reply: Reply,
    writer: ChunkWriter,
    include_usage: bool,
    started: bool,
    ended: bool,
}

impl Streaming {
    /// A stream at its start.
    pub(super) fn new(reply: Reply, options: StreamOptions) -> Self {
        let include_usage = options.include_usage.unwrap_or(false);
        let continuous = include_usage && options.continuous_usage_stats.unwrap_or(false);
        let Outline { form, model, created, .. } = &reply.outline;
        let writer = ChunkWriter::new(*form, &reply.id, *created, model, continuous);
        Self { reply, writer, include_usage, started: false, ended: false }
    }

    /// The bytes that follow; `None` at the end, an error where the stream is cut.
    pub(super) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        let mut out = String::new();
        let Some(produced) = self.reply.next().await else {
            self.ended = true;
            if !self.reply.answer.engine_died() {
                return Some(Err(io::Error::other("the server stops")));
            }
            ChunkWriter::error(&mut out);
            ChunkWriter::done(&mut out);
            return Some(Ok(out.into()));
        };
        if !self.started {
            self.started = true;
            self.writer.role(&mut out, self.reply.usage(None));
        }
        // Tokens that came while nobody looked share a chunk, as in vLLM.
        let last = produced.last();
        let usage = self.reply.usage(last);
        let finished = last.is_some_and(|token| token.finished);
        let finish = finished.then_some(self.reply.finish);
        self.writer.tokens(&mut out, &self.reply.words(&produced), finish, usage);
        if finished {
            self.ended = true;
            if self.include_usage {
                self.writer.last_usage(&mut out, usage);
            }
            ChunkWriter::done(&mut out);
        }
        Some(Ok(out.into()))
    }
}
