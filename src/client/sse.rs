//! Splits a byte stream into server-sent events, wherever its chunks end.
//!
//! The data of events is yielded, with whether the event is named `error`. So are lines
//! that are no part of an event: some servers write their failures there. Comments, ids
//! and retries are skipped, as no inference server gives them a meaning. What the data
//! contain is read in `stream`.

use memchr::memchr2;

/// An event that is larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {limit} bytes")]
pub(crate) struct EventTooLarge {
    /// The limit in bytes.
    pub(crate) limit: usize,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// The data of an event.
    Data(&'a [u8]),
    /// The data of an event that is named `error`; empty where it has none.
    Failed(&'a [u8]),
    /// A line of no event: of a field that is none, or of no field at all.
    Stray(&'a [u8]),
}

/// The state between two chunks of bytes.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is of another part of the syntax")]
pub(crate) struct Splitter {
    /// A line whose end has not arrived yet.
    line: Vec<u8>,
    /// Data lines of the event so far, joined by `\n`.
    data: Vec<u8>,
    has_data: bool,
    /// The event is named `error`.
    is_error: bool,
    /// The last byte was `\r`: a `\n` that follows belongs to it.
    after_cr: bool,
    /// The first line has been seen, so no byte order mark can follow.
    started: bool,
    limit: usize,
}

impl Splitter {
    /// Events of more than `limit` bytes are refused.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            is_error: false,
            after_cr: false,
            started: false,
            limit,
        }
    }

    /// Takes the next bytes and passes every event and stray line that they end to `take`.
    ///
    /// # Errors
    /// An event over the limit, or what `take` returns; the splitter is not to be used after that.
    pub(crate) fn push<E: From<EventTooLarge>>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (head, rest) = bytes.split_at(end);
            let carriage = rest[0] == b'\r';
            bytes = &rest[1..];
            if carriage {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            if self.line.is_empty() {
                // The common case: `data: ...\n\n` in one piece needs no copy.
                let begun = self.has_data || self.is_error;
                if let (Some(data), false, true, Some((b'\n', after))) =
                    (data_of(head), begun, self.started, bytes.split_first())
                {
                    self.check(data.len())?;
                    bytes = after;
                    take(Part::Data(data))?;
                    continue;
                }
                self.end_line(head, &mut take)?;
            } else {
                self.check(self.line.len() + head.len())?;
                self.line.extend_from_slice(head);
                let mut line = std::mem::take(&mut self.line);
                self.end_line(&line, &mut take)?;
                line.clear();
                self.line = line;
            }
        }
        self.check(self.line.len() + bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// The stream is over: what stands behind its last line end counts as well. Servers
    /// leave the last empty line out.
    pub(crate) fn end<E: From<EventTooLarge>>(
        mut self,
        mut take: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, &mut take)?;
        }
        self.end_line(b"", &mut take)
    }

    fn end_line<E: From<EventTooLarge>>(
        &mut self,
        line: &[u8],
        take: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = if self.started { line } else { line.strip_prefix(BOM).unwrap_or(line) };
        self.started = true;
        if line.is_empty() {
            let (has_data, is_error) = (self.has_data, self.is_error);
            (self.has_data, self.is_error) = (false, false);
            if has_data || is_error {
                let mut data = std::mem::take(&mut self.data);
                take(if is_error { Part::Failed(&data) } else { Part::Data(&data) })?;
                data.clear();
                self.data = data;
            }
        } else if let Some(data) = data_of(line) {
            self.check(self.data.len() + data.len())?;
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data.extend_from_slice(data);
        } else if let Some(name) = value_of(line, b"event") {
            self.is_error = name.trim_ascii().eq_ignore_ascii_case(b"error");
        } else if !is_known(line) {
            take(Part::Stray(line))?;
        }
        Ok(())
    }

    fn check(&self, size: usize) -> Result<(), EventTooLarge> {
        if size > self.limit { Err(EventTooLarge { limit: self.limit }) } else { Ok(()) }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The value of a `data` line.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    value_of(line, b"data")
}

/// Whether a line is a comment, or of a field that means nothing here.
fn is_known(line: &[u8]) -> bool {
    line.starts_with(b":") || [&b"id"[..], b"retry"].iter().any(|it| value_of(line, it).is_some())
}

/// The value of a line of this field.
fn value_of<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(field)?;
    match rest.split_first() {
        None => Some(rest),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventsource_stream::Eventsource;
    use futures_util::StreamExt;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]], limit: usize) -> Result<Vec<String>, EventTooLarge> {
        let mut splitter = Splitter::new(limit);
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |part| {
                if let Part::Data(data) | Part::Failed(data) = part {
                    events.push(String::from_utf8(data.to_vec()).expect("UTF-8 in, UTF-8 out"));
                }
                Ok::<(), EventTooLarge>(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn every_line_end_and_comment() {
        let text =
            ":hello\ndata: a\r\n\r\ndata:b\rdata:  c\r\revent: x\ndata\n\nid: 7\n\ndata: lost";
        let expected = ["a", "b\n c", ""];
        assert_eq!(split(&[text.as_bytes()], 100).expect("small"), expected);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(split(&bytes, 100).expect("small"), expected);
    }

    #[test]
    fn errors_and_stray_lines_are_told_from_data() {
        let text = "event: error\ndata: {\"a\":1}\n\ndata: b\n\nerror: c\nid: 1\nretry: 5\n: d\n\n\
                    {\"e\":2}\n\nevent: message\ndata: f\n\nevent: error\n\ndata: g";
        let of = |pieces: &[&[u8]]| {
            let (mut splitter, mut parts) = (Splitter::new(100), Vec::new());
            let mut take = |part: Part<'_>| {
                let (kind, data) = match part {
                    Part::Data(data) => ("data", data),
                    Part::Failed(data) => ("failed", data),
                    Part::Stray(data) => ("stray", data),
                };
                parts.push(format!("{kind} {}", String::from_utf8_lossy(data)));
                Ok::<(), EventTooLarge>(())
            };
            for piece in pieces {
                splitter.push(piece, &mut take).expect("small");
            }
            splitter.end(&mut take).expect("small");
            parts
        };
        let expected = [
            "failed {\"a\":1}",
            "data b",
            "stray error: c",
            "stray {\"e\":2}",
            "data f",
            "failed ",
            "data g",
        ];
        assert_eq!(of(&[text.as_bytes()]), expected);
        assert_eq!(of(&text.as_bytes().chunks(1).collect::<Vec<_>>()), expected);
    }

    /// The other parser cannot read a byte order mark.
    #[test]
    fn a_byte_order_mark_is_skipped() {
        let bytes = "\u{feff}data: a\n\n".as_bytes();
        assert_eq!(split(&[bytes], 100).expect("small"), ["a"]);
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(split(&pieces, 100).expect("small"), ["a"]);
    }

    #[test]
    fn an_event_over_the_limit_is_refused_wherever_it_grows() {
        let long = format!("data: {}\n\n", "x".repeat(50));
        assert_eq!(split(&[b"data: a\n\n", long.as_bytes()], 49), Err(EventTooLarge { limit: 49 }));
        let endless = "x".repeat(20);
        assert!(split(&[endless.as_bytes(); 5], 60).is_err());
        let lines = "data: 0123456789\n".repeat(10);
        assert!(split(&[lines.as_bytes()], 60).is_err());
        assert!(split(&[long.as_bytes()], 56).is_ok());
    }

    proptest! {
        /// The same events as another parser, wherever the chunks end.
        #[test]
        fn agrees_with_another_parser(
            lines in prop::collection::vec(
                prop_oneof![
                    3 => Just(String::new()),
                    4 => "data: ?[a-zé{}\":]{0,6}",
                    1 => "data", 1 => ":[a-z ]{0,4}", 1 => "(event|id|datax): ?[a-z]{0,4}",
                ],
                0..24,
            ),
            ends in prop::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 24),
            cuts in prop::collection::vec(1usize..9, 0..200),
        ) {
            let mut text = String::new();
            for (line, end) in lines.iter().zip(&ends) {
                text.push_str(line);
                text.push_str(end);
            }
            // The other parser wants something after a lone `\r`.
            text.push_str(":\n");
            let bytes = text.as_bytes();
            let mut chunks: Vec<&[u8]> = Vec::new();
            let mut rest = bytes;
            for cut in cuts {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            chunks.push(rest);
            let whole = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(bytes)]);
            let expected: Vec<String> = tokio::runtime::Builder::new_current_thread()
                .build().expect("a runtime")
                .block_on(whole.eventsource().map(|event| event.expect("valid").data).collect());
            prop_assert_eq!(split(&chunks, 1 << 20).expect("small"), expected);
        }
    }
}
