//! One request being answered: from the engine's tokens to the chunks of a
//! stream or to a whole body. The content is made in `output`, the form of both
//! in `protocol`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;

use super::engine::{Answer, Ask, Engine};
use super::metrics::Finish;
use super::output::{Output, Piece};
use super::protocol::{
    ChatRequest, ChunkWriter, Envelope, Form, Refused, StreamOptions, Usage, finish_reason,
};
use super::scheduler::Produced;
use super::text;

/// Counts a request as under way, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    all: Arc<AtomicU64>,
    /// Requests under way when it came, itself included.
    pub count: u64,
}

impl UnderWay {
    /// One more of `all`.
    pub(super) fn begin(all: &Arc<AtomicU64>) -> Self {
        let count = all.fetch_add(1, Ordering::Relaxed) + 1;
        Self { all: Arc::clone(all), count }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is settled of a reply before its first token.
#[derive(Debug)]
pub(super) struct Outline {
    /// Chat or plain completion.
    pub form: Form,
    /// The model as the request names it.
    pub model: String,
    /// Unix time.
    pub created: u64,
    /// What the answer is drawn from.
    pub seed: u64,
    /// The content.
    pub output: Output,
    /// Whether an answer that ends with calls has that finish reason: that to a named call does
    /// not, as vLLM's.
    pub tell_calls: bool,
    /// Tokens at most.
    pub limit: u64,
    /// Whether usage reports cached tokens.
    pub tell_cached: bool,
    /// Tokens after which nothing more is sent.
    pub silent_after: u64,
}

/// A request that was accepted and is being answered.
#[derive(Debug)]
pub(super) struct Reply {
    outline: Outline,
    id: String,
    prompt_tokens: u64,
    /// The word for its end.
    end: &'static str,
    sent: u64,
    answer: Answer,
    /// `None` where its last token is there.
    under_way: Option<UnderWay>,
}

impl Reply {
    /// Decides how long the answer is and asks the engine for it.
    pub(super) fn ask(
        engine: &Engine,
        request: &ChatRequest,
        prompt: Vec<u32>,
        outline: Outline,
        under_way: UnderWay,
    ) -> Self {
        let seed = outline.seed;
        let natural = outline.output.length().max(request.min_tokens.unwrap_or(0));
        let cut = request.ignore_eos.unwrap_or(false) || natural >= outline.limit;
        let (output_tokens, finish) =
            if cut { (outline.limit, Finish::Length) } else { (natural, Finish::Stop) };
        let called = outline.tell_calls && outline.output.calls_tools();
        let end = match finish {
            Finish::Stop if called => "tool_calls",
            _ => finish_reason(finish),
        };
        let prompt_tokens = prompt.len() as u64;
        let cache_salt = request.cache_salt.clone();
        let answer =
            engine.ask(Ask { prompt, cache_salt, output_seed: seed, output_tokens, finish });
        let prefix = match outline.form {
            Form::Chat => "chatcmpl",
            Form::Completion => "cmpl",
        };
        let id = format!("{prefix}-{:016x}", text::mix(seed, answer.id()));
        Self { outline, id, prompt_tokens, end, sent: 0, answer, under_way: Some(under_way) }
    }

    /// The tokens that are there; `None` at the end.
    async fn next(&mut self) -> Option<Vec<Produced>> {
        if self.sent >= self.outline.silent_after {
            std::future::pending::<()>().await;
        }
        let mut produced = self.answer.next().await?;
        // A client that asks again at the last token is not two.
        if produced.last().is_some_and(|token| token.finished) {
            self.under_way = None;
        }
        produced.retain(|token| token.index < self.outline.silent_after);
        self.sent += produced.len() as u64;
        Some(produced)
    }

    fn usage(&self, last: Option<&Produced>) -> Usage {
        let completion = last.map_or(0, |token| token.index + 1);
        Usage {
            prompt: self.prompt_tokens,
            completion,
            reasoning: self.outline.output.thinking_among(completion),
            cached: last.filter(|_| self.outline.tell_cached).map(|token| token.cached_tokens),
        }
    }

    fn pieces(&self, produced: &[Produced]) -> Vec<Piece> {
        produced.iter().map(|token| self.outline.output.piece(token.index)).collect()
    }

    fn envelope(&self) -> Envelope<'_> {
        let Outline { form, model, created, .. } = &self.outline;
        let calls = self.answer.id();
        Envelope { form: *form, id: &self.id, created: *created, model, calls }
    }

    /// The answer in one piece: JSON.
    pub(super) async fn whole(mut self) -> Result<Bytes, Refused> {
        let mut produced = Vec::new();
        while let Some(mut tokens) = self.next().await {
            produced.append(&mut tokens);
        }
        let last = produced.last();
        if !last.is_some_and(|token| token.finished) {
            return Err(Refused::engine_dead());
        }
        let usage = self.usage(last);
        let body = self.envelope().whole(&self.pieces(&produced), self.end, usage);
        Ok(self.outline.output.on_wire(body.to_string()).into())
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
        let writer = ChunkWriter::new(reply.envelope(), continuous);
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
        // Tokens that were generated since the last chunk share one, as in vLLM.
        let last = produced.last();
        let usage = self.reply.usage(last);
        let finished = last.is_some_and(|token| token.finished);
        let end = finished.then_some(self.reply.end);
        self.writer.tokens(&mut out, &self.reply.pieces(&produced), end, usage);
        if finished {
            self.ended = true;
            if self.include_usage {
                self.writer.last_usage(&mut out, usage);
            }
            ChunkWriter::done(&mut out);
        }
        Some(Ok(self.reply.outline.output.on_wire(out).into()))
    }
}
