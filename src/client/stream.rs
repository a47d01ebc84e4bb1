//! Reads a stream of chunks into a request record: the times of its tokens, its usage,
//! its end, its answer. It gets bytes and the time at which they arrived, and uses no
//! socket and no clock. A single chunk is read in `chunk`.

use crate::client::answer::Answer;
use crate::client::calls::Calls;
use crate::client::chunk::{self, Template, TextKind};
use crate::client::failing::{self, Strays};
use crate::client::limits::StreamLimits;
use crate::client::record::{Chunk, RequestError, RequestErrorClass, RequestRecord};
use crate::client::sse::{EventTooLarge, Part, Splitter};
use crate::server::brief;

/// More characters than any server's identifier has.
const MAX_ID: usize = 256;
/// Characters that a message repeats of what a server sent.
const MAX_SHOWN: usize = 300;

/// Reads one stream into a record.
#[derive(Debug)]
pub(crate) struct StreamReader {
    splitter: Splitter,
    events: Events,
    bytes: usize,
    limit: usize,
    /// Chunks with text that an answer of its length may have.
    max_chunks: usize,
}

/// What was read from the events so far.
#[derive(Debug)]
struct Events {
    record: RequestRecord,
    template: Template,
    answer: Option<Answer>,
    /// Bytes of the answer that are kept, about.
    most_kept: usize,
    calls: Calls,
    /// What has no known form.
    strays: Strays,
    done: bool,
    /// Usage came, and no text behind it: nothing is missing but `[DONE]`.
    closed: bool,
    /// When bytes arrived last.
    last_ns: u64,
}

/// How long a text is.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    bytes: usize,
    characters: usize,
}

impl Size {
    fn of(text: &str) -> Self {
        Self { bytes: text.len(), characters: text.chars().count() }
    }

    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.characters += other.characters;
    }
}

impl StreamReader {
    /// Reads into `record`; keeps the answer's text only where asked.
    pub(crate) fn new(record: RequestRecord, limits: StreamLimits, keep_answer: bool) -> Self {
        let events = Events {
            record,
            template: Template::default(),
            answer: keep_answer.then(Answer::default),
            most_kept: usize::MAX,
            calls: Calls::default(),
            strays: Strays::default(),
            done: false,
            closed: false,
            last_ns: 0,
        };
        let splitter = Splitter::new(limits.event);
        Self { splitter, events, bytes: 0, limit: limits.total, max_chunks: usize::MAX }
    }

    /// Keeps the last bytes of the answer, about so many of thinking and of text each.
    pub(crate) fn keeping_last(mut self, bytes: usize) -> Self {
        self.events.answer.get_or_insert_default();
        self.events.most_kept = bytes;
        self
    }

    /// Ends an answer that continues far beyond its `max_tokens`. A chunk for each letter,
    /// which some servers send, stays within the limit.
    pub(crate) fn at_most(mut self, max_tokens: u64) -> Self {
        self.max_chunks = 1024usize.saturating_add((max_tokens as usize).saturating_mul(16));
        self
    }

    pub(crate) fn record_mut(&mut self) -> &mut RequestRecord {
        &mut self.events.record
    }

    /// When the head of the answer arrived.
    pub(crate) fn headers_ns(&self) -> Option<u64> {
        self.events.record.headers_ns
    }

    /// When the last token arrived. Comments, and chunks without text, merely keep a
    /// connection alive: what watches for progress asks for this time only.
    pub(crate) fn last_token_ns(&self) -> Option<u64> {
        self.events.record.last_token_ns
    }

    /// Whether everything of the answer has arrived, with `[DONE]` or without.
    pub(crate) fn is_done(&self) -> bool {
        let is_ended = self.events.record.finish_reason.is_some();
        self.events.done || (is_ended && self.events.closed)
    }

    /// Takes bytes of the body that arrived at `at_ns`.
    pub(crate) fn push(&mut self, at_ns: u64, bytes: &[u8]) -> Result<(), RequestError> {
        self.events.record.first_byte_ns.get_or_insert(at_ns);
        self.bytes += bytes.len();
        if self.bytes > self.limit {
            return Err(too_large(format!("the stream is larger than {} bytes", self.limit)));
        }
        let events = &mut self.events;
        events.last_ns = at_ns;
        self.splitter.push(bytes, |part| events.take(at_ns, part))?;
        if self.events.record.chunks.len() > self.max_chunks {
            let count = self.events.record.chunks.len();
            return Err(too_large(format!(
                "the answer continues beyond its `max_tokens`: {count} chunks so far"
            )));
        }
        Ok(())
    }

    /// The body is over: the record, with the error if the stream is incomplete, and the
    /// answer.
    pub(crate) fn finish(
        self,
        outcome: Result<(), RequestError>,
    ) -> (RequestRecord, Option<Answer>) {
        let Self { splitter, mut events, .. } = self;
        let outcome = outcome.and_then(|()| events.end(splitter));
        events.record.error = outcome.and_then(|()| events.check()).err();
        events.record.chunks.shrink_to_fit();
        let Events { record, answer, calls, .. } = events;
        (record, answer.map(|answer| Answer { tool_calls: calls.into_calls(), ..answer }))
    }
}

impl Events {
    /// Takes what stands behind the last line end. Half an event is none.
    fn end(&mut self, splitter: Splitter) -> Result<(), RequestError> {
        let at_ns = self.last_ns;
        match splitter.end(|part| self.take(at_ns, part)) {
            Err(error) if error.class == RequestErrorClass::Malformed => Ok(()),
            ended => ended,
        }
    }

    /// What an answer lacks whose stream is over.
    fn check(&self) -> Result<(), RequestError> {
        let (words, record) = (self.strays.words(), &self.record);
        let is_ended = self.closed || record.finish_reason.is_some();
        if let (Some(words), true, None) = (&words, self.done && !is_ended, record.first_token_ns) {
            return Err(failing::failed(words.clone()));
        }
        if !self.done && !is_ended {
            let carried = words.map_or_else(String::new, |words| format!("; it carried: {words}"));
            return Err(RequestError {
                class: RequestErrorClass::Cut,
                message: format!("the stream ended without `[DONE]`{carried}"),
            });
        }
        if record.usage.is_none() {
            return Err(RequestError {
                class: RequestErrorClass::MissingUsage,
                message: "the stream ended without `usage`".to_owned(),
            });
        }
        Ok(())
    }

    fn take(&mut self, at_ns: u64, part: Part<'_>) -> Result<(), RequestError> {
        if self.done {
            return Ok(());
        }
        let data = match part {
            Part::Data(data) => data,
            Part::Failed(data) => return Err(failing::event(data)),
            Part::Stray(line) => return self.strays.take(line),
        };
        if let Some((kind, text)) = self.template.text(data) {
            self.text(at_ns, kind, text);
            return Ok(());
        }
        match data.trim_ascii() {
            b"" => return Ok(()),
            b"[DONE]" => {
                self.done = true;
                return Ok(());
            }
            _ => {}
        }
        let chunk = chunk::Chunk::read(data).map_err(|error| malformed(data, &error))?;
        if let Some(message) = chunk.error() {
            return Err(failing::failed(message));
        }
        if chunk.is_strange() {
            self.strays.keep(data);
        }
        if self.record.response_id.is_none() && !chunk.id().is_empty() {
            self.record.response_id = Some(brief(chunk.id(), MAX_ID));
        }
        if let Some(usage) = chunk.usage() {
            self.record.usage = Some(usage);
            self.closed = true;
        }
        if let Some(reason) = chunk.finish_reason() {
            self.record.finish_reason = Some(brief(reason, MAX_ID));
        }
        self.text(at_ns, TextKind::Reasoning, chunk.reasoning());
        self.text(at_ns, TextKind::Content, chunk.content());
        self.tools(at_ns, &chunk)?;
        self.template.learn(data, &chunk);
        Ok(())
    }

    fn text(&mut self, at_ns: u64, kind: TextKind, text: &str) {
        if text.is_empty() {
            return;
        }
        self.token(at_ns, Size::of(text), kind == TextKind::Content);
        if let Some(answer) = &mut self.answer {
            answer.push(kind, text, self.most_kept);
        }
    }

    fn tools(&mut self, at_ns: u64, chunk: &chunk::Chunk<'_>) -> Result<(), RequestError> {
        let mut size = Size::default();
        for piece in chunk.tools() {
            size.add(Size::of(piece.name));
            size.add(Size::of(piece.arguments));
            if self.answer.is_some() {
                self.calls.push(piece).map_err(|error| too_large(error.to_string()))?;
            }
        }
        if size.bytes > 0 {
            self.token(at_ns, size, true);
        }
        Ok(())
    }

    fn token(&mut self, at_ns: u64, size: Size, of_answer: bool) {
        // Some count with each chunk.
        self.closed = false;
        let record = &mut self.record;
        record.first_token_ns.get_or_insert(at_ns);
        if of_answer {
            record.first_answer_ns.get_or_insert(at_ns);
        }
        record.last_token_ns = Some(at_ns);
        *record.output_characters.get_or_insert(0) += size.characters as u64;
        let bytes = u32::try_from(size.bytes).unwrap_or(u32::MAX);
        record.chunks.push(Chunk { at_ns, bytes });
    }
}

impl From<EventTooLarge> for RequestError {
    fn from(error: EventTooLarge) -> Self {
        too_large(error.to_string())
    }
}

fn too_large(message: String) -> RequestError {
    RequestError { class: RequestErrorClass::TooLarge, message }
}

fn malformed(data: &[u8], error: &serde_json::Error) -> RequestError {
    let shown = String::from_utf8_lossy(&data[..data.len().min(200)]);
    let shown = crate::clean::plain(&shown);
    RequestError {
        class: RequestErrorClass::Malformed,
        // The library's message may repeat a text of any length.
        message: format!(
            "an event of the stream is not a chunk ({}): {shown}",
            brief(&error.to_string(), MAX_SHOWN)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StreamLimits = StreamLimits { event: 1 << 20, total: 64 << 20 };

    fn chat(delta: &str) -> String {
        format!(
            "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"
        )
    }

    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":21,\"completion_tokens\":8,\
        \"prompt_tokens_details\":{\"cached_tokens\":16}}}\n\n";

    fn read(events: &[String]) -> (RequestRecord, Answer) {
        let mut reader = StreamReader::new(RequestRecord::default(), LIMITS, true);
        let mut outcome = Ok(());
        for (at, event) in events.iter().enumerate() {
            outcome = reader.push(at as u64, event.as_bytes());
            if outcome.is_err() {
                break;
            }
        }
        let (record, answer) = reader.finish(outcome);
        (record, answer.expect("kept"))
    }

    #[test]
    fn a_role_chunk_is_not_a_token_and_thinking_is_not_an_answer() {
        let (record, answer) = read(&[
            chat(r#"{"role":"assistant","content":""}"#),
            chat(r#"{"reasoning":"hm"}"#),
            chat(r#"{"reasoning":"so"}"#),
            chat(r#"{"content":"Yes"}"#),
            chat(r#"{"content":"\n\"é\""}"#),
            chat(r#"{"content":"!"}"#),
            USAGE.to_owned(),
            "data: [DONE]\n\n".to_owned(),
        ]);
        assert_eq!(record.error, None);
        assert_eq!(
            (record.first_byte_ns, record.first_token_ns, record.first_answer_ns),
            (Some(0), Some(1), Some(3))
        );
        assert_eq!(record.last_token_ns, Some(5));
        assert_eq!(record.response_id.as_deref(), Some("c"));
        let bytes: Vec<u32> = record.chunks.iter().map(|chunk| chunk.bytes).collect();
        assert_eq!(bytes, [2, 2, 3, 5, 1]);
        assert_eq!(record.output_characters, Some(12), "a character of two bytes is one");
        assert_eq!((answer.content.as_str(), answer.reasoning.as_str()), ("Yes\n\"é\"!", "hmso"));
        let usage = record.usage.expect("usage");
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (21, 8));
        assert_eq!((usage.cached_tokens, usage.reasoning_tokens), (Some(16), None));
    }

    #[test]
    fn the_old_name_of_thinking_and_completions() {
        let (record, answer) = read(&[
            chat(r#"{"reasoning_content":"a"}"#),
            chat(r#"{"reasoning_content":"b"}"#),
            "data: {\"choices\":[{\"text\":\"c\",\"finish_reason\":null}]}\n\n".to_owned(),
            "data: {\"choices\":[{\"text\":\"d\",\"finish_reason\":null}]}\n\n".to_owned(),
            "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n".to_owned(),
        ]);
        assert_eq!((answer.reasoning.as_str(), answer.content.as_str()), ("ab", "cd"));
        assert_eq!((record.first_token_ns, record.first_answer_ns), (Some(0), Some(2)));
        assert_eq!(record.finish_reason.as_deref(), Some("length"));
        assert_eq!(record.error.expect("no usage").class, RequestErrorClass::MissingUsage);
    }

    #[test]
    fn a_missing_usage_a_bad_chunk_and_an_error_in_the_stream() {
        let class = |events: &[String]| read(events).0.error.expect("an error");
        let done = "data: [DONE]\n\n".to_owned();
        let error = class(&[chat(r#"{"content":"a"}"#), done.clone()]);
        assert_eq!(error.class, RequestErrorClass::MissingUsage);
        let error = class(&["data: {\"choices\": [\n\n".to_owned(), done.clone()]);
        assert_eq!(error.class, RequestErrorClass::Malformed);
        let error = class(&[
            chat(r#"{"content":"a"}"#),
            "data: {\"error\": {\"message\": \"EngineCore died\", \"code\": 500}}\n\n".to_owned(),
            done.clone(),
        ]);
        assert_eq!(error.class, RequestErrorClass::InStream);
        assert_eq!(error.message, "EngineCore died");
        for itself in [
            r#"{"object":"error","message":"died","type":"InternalServerError","code":500}"#,
            r#"{"detail":"died"}"#,
        ] {
            let error = class(&[
                chat(r#"{"content":"a"}"#),
                format!("data: {itself}\n\n"),
                USAGE.to_owned(),
                done.clone(),
            ]);
            let expected = (RequestErrorClass::InStream, "died");
            assert_eq!((error.class, error.message.as_str()), expected);
        }
        let calls = (0..2000).map(|n| chat(&format!(r#"{{"tool_calls":[{{"index":{n}}}]}}"#)));
        let error = class(&calls.collect::<Vec<_>>());
        assert_eq!(error.class, RequestErrorClass::TooLarge);
    }

    #[test]
    fn a_count_that_is_not_reported_is_missing_and_not_zero() {
        for usage in [
            r#"{"total_tokens":9}"#,
            r#"{"prompt_tokens":9,"completion_tokens":null}"#,
            r#"{"completion_tokens":9,"prompt_tokens":null}"#,
            "{}",
            "null",
        ] {
            let (record, answer) = read(&[
                chat(r#"{"content":"a"}"#),
                format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n"),
                "data: [DONE]\n\n".to_owned(),
            ]);
            assert_eq!((record.usage, answer.content.as_str()), (None, "a"), "{usage}");
            let class = record.error.expect("no usage").class;
            assert_eq!(class, RequestErrorClass::MissingUsage, "{usage}");
        }
        // Reported counts are kept, whatever follows.
        let (record, _) = read(&[
            USAGE.to_owned(),
            "data: {\"choices\":[],\"usage\":{\"total_tokens\":29}}\n\n".to_owned(),
            "data: [DONE]\n\n".to_owned(),
        ]);
        assert_eq!(record.usage.map(|usage| usage.completion_tokens), Some(8));
        assert_eq!(record.error, None);
    }

    #[test]
    fn characters_of_tool_calls_count_and_no_text_has_none() {
        let call =
            r#"{"tool_calls":[{"index":0,"id":"x","function":{"name":"né","arguments":"{}"}}]}"#;
        let (record, _) = read(&[chat(call), chat(r#"{"content":"日本"}"#)]);
        assert_eq!(record.output_characters, Some(6));
        let (record, _) = read(&[chat(r#"{"role":"assistant","content":""}"#)]);
        assert_eq!(record.output_characters, None);
    }

    /// A chunk that only looks like the one before must not be read as it.
    #[test]
    fn the_template_changes_nothing() {
        let tricky = [
            r#"{"content":"plain"}"#,
            r#"{"content":"a","reasoning":"b"}"#,
            r#"{"content":"c"}"#,
            r#"{"content":"a\" b"}"#,
            r#"{"content":"d","note":"\"content\":\"x\""}"#,
            r#"{"content":"e","note":"\"content\":\"x\""}"#,
            r#"{"content":""}"#,
            r#"{"content":null}"#,
            r#"{"content":"f","x":{"content":"g"}}"#,
            r#"{"content":"h","x":{"content":"i"}}"#,
            r#"{"content":"\u00e9\ud83d\ude00"}"#,
        ];
        let (record, with) = read(&tricky.map(chat));
        let mut without = Answer::default();
        for delta in tricky {
            without.content += read(&[chat(delta)]).1.content.as_str();
            without.reasoning += read(&[chat(delta)]).1.reasoning.as_str();
        }
        assert_eq!(with, without);
        assert_eq!(with.content, "plainaca\" bdefhé😀");
        let texts = with.content.chars().chain(with.reasoning.chars());
        assert_eq!(record.output_characters, Some(texts.count() as u64));
    }

    proptest::proptest! {
        /// Arbitrary bytes end in a record.
        #[test]
        fn never_panics(
            pieces in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::strategy::Just(&b"data: "[..]),
                    proptest::strategy::Just(&b"\n\n"[..]),
                    proptest::strategy::Just(&b"{\"choices\":[{\"delta\":{\"content\":\""[..]),
                    proptest::strategy::Just(&b"\"}}]}"[..]),
                    proptest::strategy::Just(&b"a"[..]),
                    proptest::strategy::Just(&b"\xc3"[..]),
                    proptest::strategy::Just(&b"\"tool_calls\":[{\"index\":9}]"[..]),
                    proptest::strategy::Just(&b"[DONE]"[..]),
                ],
                0..60,
            ),
        ) {
            let mut reader = StreamReader::new(RequestRecord::default(), LIMITS, true);
            let outcome = pieces.iter().try_for_each(|piece| reader.push(1, piece));
            let (record, _) = reader.finish(outcome);
            // Without usage no stream is good.
            proptest::prop_assert!(record.error.is_some());
        }
    }

    #[test]
    fn an_answer_far_beyond_its_max_tokens_is_ended() {
        let mut reader = StreamReader::new(RequestRecord::default(), LIMITS, false).at_most(4);
        let event = chat(r#"{"content":"a"}"#);
        let ended =
            (0..2000).find_map(|at| reader.push(at, event.as_bytes()).err().map(|e| (at, e)));
        let (at, error) = ended.expect("given up");
        assert_eq!((at, error.class), (1024 + 64, RequestErrorClass::TooLarge));
        assert!(error.message.contains("beyond its `max_tokens`"), "{}", error.message);
    }

    #[test]
    fn the_total_is_limited() {
        let limits = StreamLimits { event: 1 << 20, total: 300 };
        let mut reader = StreamReader::new(RequestRecord::default(), limits, false);
        let event = chat(r#"{"content":"a"}"#);
        let failed = (0..5).find_map(|at| reader.push(at, event.as_bytes()).err());
        assert_eq!(failed.expect("over the limit").class, RequestErrorClass::TooLarge);
    }
}
