//! What one HTTP request did: raw times, taken when bytes arrived, counts and the
//! error. Latencies are computed from it; statistics over several records are made in
//! `statistics` and by the workloads.

use serde::{Deserialize, Serialize};

/// What a request was for, inside its workload.
pub type Purpose = String;

/// Classes of request errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestErrorClass {
    /// No connection.
    Connect,
    /// 4xx, with the server's message.
    ClientError,
    /// 5xx.
    ServerError,
    /// An error object inside a 200 stream.
    InStream,
    /// The stream ended before its end.
    Cut,
    /// Nothing arrived for too long.
    Silent,
    /// Bytes that are not a chunk.
    Malformed,
    /// No usage in the stream. Where no answer of the server has any, the request is
    /// [excused](RequestRecord::is_excused): its token counts are unknown.
    MissingUsage,
    /// A limit on header, chunk or body size was passed.
    TooLarge,
    /// Stopped by the client.
    Cancelled,
}

/// An error of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestError {
    /// Its class.
    pub class: RequestErrorClass,
    /// The server's message, or the client's.
    pub message: String,
}

/// Token counts as the server reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Tokens of thinking among them, where reported.
    pub reasoning_tokens: Option<u64>,
    /// Prompt tokens from the cache, where known: from the usage, or from the server's
    /// counters where only one request ran at a time.
    pub cached_tokens: Option<u64>,
}

impl Usage {
    /// Whether `prompt_tokens` leaves out what came from the cache: more came from there
    /// than the prompt has, or the server is `known` to do so and does not say that nothing
    /// came from there.
    pub fn leaves_out_cached(&self, known: bool) -> bool {
        self.cached_tokens.is_some_and(|cached| cached > self.prompt_tokens)
            || (known && self.cached_tokens != Some(0))
    }
}

/// One chunk of a stream that carried text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Nanoseconds since the repeat's start.
    pub at_ns: u64,
    /// Bytes of its text.
    pub bytes: u32,
}

/// One request. Times are nanoseconds of a monotonic clock since the repeat's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Position in the repeat, from 0.
    pub index: u32,
    /// `miss`, `resent`, `turn 3`, ...; `calibration` in all workloads: sent to learn
    /// a length or a pace, and part of no metric.
    pub purpose: Purpose,
    /// When it was to be sent: by the schedule of an open loop, or when the slot of a
    /// closed loop was free. Equals `sent_ns` where nothing was due.
    pub scheduled_ns: u64,
    /// When its bytes were written to the socket.
    pub sent_ns: u64,
    /// Bytes of its body: no less than its prompt has tokens.
    #[serde(default)]
    pub request_bytes: u64,
    /// When the response head arrived.
    pub headers_ns: Option<u64>,
    /// When the first byte of the body arrived.
    pub first_byte_ns: Option<u64>,
    /// When the first token of any kind arrived (content, reasoning or tool call).
    pub first_token_ns: Option<u64>,
    /// When the first token of the answer arrived (content or tool call).
    pub first_answer_ns: Option<u64>,
    /// When the last token arrived.
    pub last_token_ns: Option<u64>,
    /// When the response was over.
    pub end_ns: Option<u64>,
    /// The server's identifier of the answer, to find the request in its log.
    pub response_id: Option<String>,
    /// Every chunk that carried text.
    pub chunks: Vec<Chunk>,
    /// Characters (Unicode scalar values) of the texts in them: of the answer, of thinking
    /// and of tool calls. `None` where no text came, and in records of older versions.
    #[serde(default)]
    pub output_characters: Option<u64>,
    /// Token counts.
    pub usage: Option<Usage>,
    /// `stop`, `length`, `tool_calls`, ...
    pub finish_reason: Option<String>,
    /// HTTP status.
    pub http_status: Option<u16>,
    /// What went wrong.
    pub error: Option<RequestError>,
    /// The error is a missing `usage`, and no answer of this server had one so far: what a
    /// server does not support is not counted as a failed request. Not stored.
    #[serde(default)]
    pub is_excused: bool,
}

impl RequestRecord {
    /// Why the request failed.
    pub fn failure(&self) -> Option<&RequestError> {
        self.error.as_ref().filter(|_| !self.is_excused)
    }

    /// Time to first token of any kind, from the send, in milliseconds.
    pub fn ttft_ms(&self) -> Option<f64> {
        Some(self.first_token_ns?.saturating_sub(self.sent_ns) as f64 / 1e6)
    }

    /// Time from the send to the last token, in milliseconds.
    pub fn e2e_ms(&self) -> Option<f64> {
        Some(self.last_token_ns?.saturating_sub(self.sent_ns) as f64 / 1e6)
    }

    /// Whether the answer did not end by itself: it was cut at `max_tokens`, by the finish
    /// reason or by its token count, or there is no finish reason.
    pub fn is_truncated(&self, max_tokens: u64) -> bool {
        match self.finish_reason.as_deref() {
            None | Some("length") => true,
            Some(_) => self.usage.is_some_and(|usage| usage.completion_tokens >= max_tokens),
        }
    }

    /// Whether all of several tokens arrived at once: something on the way buffers them,
    /// and the time of each token is not known.
    pub fn is_in_one_piece(&self) -> bool {
        self.first_token_ns.is_some()
            && self.first_token_ns == self.last_token_ns
            && self.usage.is_some_and(|usage| usage.completion_tokens >= 2)
    }

    /// Time per output token after the first, in milliseconds:
    /// (E2E - TTFT) / (n - 1); `None` for fewer than two tokens, and for several that
    /// [came in one piece](RequestRecord::is_in_one_piece).
    pub fn tpot_ms(&self) -> Option<f64> {
        let tokens = self.usage?.completion_tokens;
        (tokens >= 2 && !self.is_in_one_piece()).then_some(())?;
        Some((self.e2e_ms()? - self.ttft_ms()?) / (tokens - 1) as f64)
    }

    /// Characters of its texts in the chunks that `is_counted` takes, by their bytes: a
    /// record keeps no text. `None` where its characters are not known.
    pub fn characters_of(&self, is_counted: impl Fn(&Chunk) -> bool) -> Option<f64> {
        let characters = self.output_characters? as f64;
        let all: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
        let counted = self.chunks.iter().filter(|chunk| is_counted(chunk));
        let counted: u64 = counted.map(|chunk| u64::from(chunk.bytes)).sum();
        Some(if all == 0 { 0.0 } else { characters * (counted as f64 / all as f64) })
    }

    /// Characters per second after the first chunk, up to the last one; `None` for an answer
    /// that [came in one piece](RequestRecord::is_in_one_piece) or has one chunk only.
    pub fn characters_per_second(&self) -> Option<f64> {
        let (first, last) = self.first_token_ns.zip(self.last_token_ns)?;
        let seconds = last.checked_sub(first).filter(|ns| *ns > 0)? as f64 / 1e9;
        Some(self.characters_of(|chunk| chunk.at_ns > first)? / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_arrived_at_once_have_no_tpot() {
        let of = |last: u64, tokens: u64| RequestRecord {
            first_token_ns: Some(5_000_000),
            last_token_ns: Some(last),
            usage: Some(Usage { completion_tokens: tokens, ..Usage::default() }),
            ..RequestRecord::default()
        };
        assert_eq!(of(8_000_000, 4).tpot_ms(), Some(1.0));
        assert_eq!((of(5_000_000, 4).tpot_ms(), of(5_000_000, 1).tpot_ms()), (None, None));
        assert!(of(5_000_000, 4).is_in_one_piece() && !of(5_000_000, 1).is_in_one_piece());
    }

    #[test]
    fn characters_are_those_after_the_first_chunk_over_the_time_that_they_took() {
        let chunk = |at_ns, bytes| Chunk { at_ns, bytes };
        let of = |characters, chunks: Vec<Chunk>| RequestRecord {
            first_token_ns: chunks.first().map(|chunk| chunk.at_ns),
            last_token_ns: chunks.last().map(|chunk| chunk.at_ns),
            output_characters: characters,
            chunks,
            ..RequestRecord::default()
        };
        // Two bytes each: 6 characters in 12 bytes, 4 of them in half a second.
        let chunks =
            vec![chunk(1_000_000_000, 4), chunk(1_200_000_000, 6), chunk(1_500_000_000, 2)];
        let record = of(Some(6), chunks.clone());
        assert_eq!(record.characters_per_second(), Some(8.0));
        assert_eq!(record.characters_of(|chunk| chunk.bytes == 6), Some(3.0));
        assert_eq!(of(None, chunks).characters_per_second(), None, "not known, and not zero");
        assert_eq!(of(Some(6), vec![chunk(5, 6), chunk(5, 6)]).characters_per_second(), None);
        assert_eq!(RequestRecord::default().characters_per_second(), None);
    }

    #[test]
    fn counts_that_leave_out_the_cache_are_told_by_themselves_or_by_the_server() {
        let of = |prompt_tokens, cached_tokens| Usage {
            prompt_tokens,
            cached_tokens,
            ..Usage::default()
        };
        assert!(of(0, Some(400)).leaves_out_cached(false));
        assert!(
            !of(400, Some(384)).leaves_out_cached(false) && !of(4, None).leaves_out_cached(false)
        );
        assert!(of(4, None).leaves_out_cached(true) && !of(400, Some(0)).leaves_out_cached(true));
    }

    #[test]
    fn an_answer_is_whole_when_it_ended_by_itself_within_its_limit() {
        let truncated = |reason: Option<&str>, tokens: Option<u64>| {
            let usage =
                tokens.map(|tokens| Usage { completion_tokens: tokens, ..Usage::default() });
            let finish_reason = reason.map(str::to_owned);
            RequestRecord { usage, finish_reason, ..RequestRecord::default() }.is_truncated(100)
        };
        for whole in ["stop", "tool_calls", "eos_token"] {
            assert!(!truncated(Some(whole), Some(99)), "{whole}");
            assert!(!truncated(Some(whole), None), "{whole}");
            assert!(truncated(Some(whole), Some(100)), "some servers report `stop` always");
        }
        assert!(truncated(Some("length"), Some(7)), "the context was full");
        assert!(truncated(None, Some(7)));
    }
}
