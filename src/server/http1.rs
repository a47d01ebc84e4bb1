//! HTTP/1.1 as far as it is needed: the text of a request's head, and the head and body
//! framing of a response, from bytes that were read elsewhere.
//!
//! It exists because a general client wakes a task of its own for every chunk, which
//! delays the time stamp of a token, and puts no bound on what a server sends before and
//! around its answer. Pure: no socket here. Plain answers are read in `http`, streams in
//! `client`.

use std::fmt::Write as _;

/// A response with more headers than this is refused.
const MAX_HEADERS: usize = 128;
/// Bytes of framing that are no sign of harm; more of them than of content, and these, are.
const MAX_FRAMING: u64 = 256 << 10;
/// Limit in bytes of a chunk's extension, and of the trailer after the last chunk.
const MAX_ASIDE: usize = 16 << 10;

/// Why bytes are not a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Http1Error {
    /// The head is over the limit.
    #[error("the head of the response is too large")]
    HeadTooLarge,
    /// Something else than HTTP/1.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
    /// Something without an end.
    #[error("the server does not come to its answer: {0}")]
    Endless(&'static str),
    /// A body that does not follow its own framing.
    #[error("the response's framing is broken: {0}")]
    Framing(&'static str),
}

/// # Errors
/// More bytes of framing than of content, by far: chunks of one byte each keep a core busy for
/// as long as their server likes.
pub(crate) fn check_framing(read: u64, content: u64) -> Result<(), Http1Error> {
    if read.saturating_sub(content) > content.saturating_add(MAX_FRAMING) {
        return Err(Http1Error::Endless("it sends its answer in pieces of a few bytes"));
    }
    Ok(())
}

/// The head of a GET request. What is put in must have no line ends: see [`is_header_value`].
pub(crate) fn get_head(path: &str, host: &str, key: Option<&str>) -> String {
    let mut head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n");
    if let Some(key) = key {
        let _ = write!(head, "authorization: Bearer {key}\r\n");
    }
    head.push_str("\r\n");
    head
}

/// The head of a POST request with a body of `length` bytes, whose answer is to be of the type
/// `accept`. What is put in must have no line ends: see [`is_header_value`].
pub(crate) fn post_head(
    path: &str,
    host: &str,
    key: Option<&str>,
    accept: &str,
    length: usize,
) -> String {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         accept: {accept}\r\ncontent-length: {length}\r\n"
    );
    if let Some(key) = key {
        let _ = write!(head, "authorization: Bearer {key}\r\n");
    }
    head.push_str("\r\n");
    head
}

/// Whether a header can carry this text.
pub(crate) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// The fields of a response's head that matter here.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
    /// The connection can serve another request after this response.
    pub(crate) keeps_alive: bool,
    pub(crate) body: Body,
}

impl Head {
    /// Reads a head from the start of `bytes`; returns it with its length in bytes.
    /// `None`: its end has not arrived yet.
    ///
    /// # Errors
    /// More than `limit` bytes, or something else than HTTP.
    pub(crate) fn read(bytes: &[u8], limit: usize) -> Result<Option<(Self, usize)>, Http1Error> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() <= limit => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Http1Error::HeadTooLarge);
            }
            Err(_) if is_tls(bytes) => {
                let what = "it speaks TLS there: its address begins with https://";
                return Err(Http1Error::NotHttp(what.to_owned()));
            }
            Err(error) => return Err(Http1Error::NotHttp(error.to_string())),
        };
        if length > limit {
            return Err(Http1Error::HeadTooLarge);
        }
        let status = response.code.unwrap_or_default();
        let values = |name: &'static str| {
            let of_name = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
            response.headers.iter().filter(of_name).map(|header| header.value)
        };
        let text = |name| values(name).next().map(|value| String::from_utf8_lossy(value).into());
        let closes = words(values("connection")).any(|word| word.eq_ignore_ascii_case("close"));
        let (body, clear) = framing(status, values("transfer-encoding"), values("content-length"))?;
        let head = Self {
            status,
            content_type: text("content-type"),
            location: text("location"),
            keeps_alive: response.version == Some(1) && !closes && clear,
            body,
        };
        Ok(Some((head, length)))
    }
}

/// Whether bytes begin as an alert of TLS does, by which servers refuse what is no TLS.
fn is_tls(bytes: &[u8]) -> bool {
    bytes.starts_with(&[21, 3])
}

/// The words of a header that is a list, in lower case or not.
fn words<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a str> {
    let texts = values.filter_map(|value| std::str::from_utf8(value).ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// How the body ends (RFC 9112, 6.3), and whether that is unambiguous.
fn framing<'a>(
    status: u16,
    codings: impl Iterator<Item = &'a [u8]>,
    lengths: impl Iterator<Item = &'a [u8]>,
) -> Result<(Body, bool), Http1Error> {
    if status < 200 || matches!(status, 204 | 304) {
        return Ok((Body::Length(0), true));
    }
    let mut lengths = words(lengths);
    let length = lengths.next();
    if let Some(last) = words(codings).last() {
        return if last.eq_ignore_ascii_case("chunked") {
            Ok((Body::Chunked(State::Size { size: 0, digits: 0 }), length.is_none()))
        } else {
            Ok((Body::UntilClose, false))
        };
    }
    let Some(length) = length else { return Ok((Body::UntilClose, false)) };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    match length.parse() {
        Ok(count) if digits && lengths.all(|other| other == length) => {
            Ok((Body::Length(count), true))
        }
        _ => Err(Http1Error::NotHttp(format!("content-length: {length}"))),
    }
}

/// The body of a response: what of it has not been read yet.
#[derive(Debug)]
pub(crate) enum Body {
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked(State),
    /// Until the connection is closed.
    UntilClose,
}

/// Where in a chunked body we are (RFC 9112, 7.1).
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64, seen: usize },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataEnd { seen: u8 },
    Trailer { line: usize, seen: usize },
    Over,
}

impl Body {
    /// Whether all of it was read. Never true where the end is the connection's.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(State::Over))
    }

    /// Takes the next piece of content out of `bytes`; `None` when no more is in
    /// them. What is left in `bytes` then comes after the body.
    ///
    /// # Errors
    /// Bytes that no chunked body has there.
    pub(crate) fn next<'b>(
        &mut self,
        bytes: &mut &'b [u8],
    ) -> Result<Option<&'b [u8]>, Http1Error> {
        match self {
            Self::UntilClose => Ok(Some(std::mem::take(bytes)).filter(|piece| !piece.is_empty())),
            Self::Length(left) => Ok(piece(left, bytes)),
            Self::Chunked(state) => loop {
                if let State::Data { left } = state {
                    if *left > 0 {
                        return Ok(piece(left, bytes));
                    }
                    *state = State::DataEnd { seen: 0 };
                }
                if matches!(state, State::Over) {
                    return Ok(None);
                }
                let Some((byte, rest)) = bytes.split_first() else { return Ok(None) };
                *state = state.after(*byte)?;
                *bytes = rest;
            },
        }
    }
}

/// As much of `bytes` as belongs to what is left.
fn piece<'b>(left: &mut u64, bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    let (piece, rest) = bytes.split_at(length);
    *bytes = rest;
    *left -= length as u64;
    (length > 0).then_some(piece)
}

impl State {
    /// The state after a byte of framing.
    fn after(self, byte: u8) -> Result<Self, Http1Error> {
        Ok(match (self, byte) {
            (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == 15 {
                    return Err(Http1Error::Framing("a chunk of more bytes than there are"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => {
                return Err(Http1Error::Framing("a chunk without a size"));
            }
            (Self::Size { size, .. } | Self::Extension { size, .. }, b'\r') => {
                Self::SizeEnd { size }
            }
            (Self::Size { size, .. }, b' ' | b'\t' | b';') => Self::Extension { size, seen: 1 },
            (Self::Extension { seen: MAX_ASIDE, .. }, _) => {
                return Err(Http1Error::Framing("an endless extension of a chunk"));
            }
            (Self::Extension { size, seen }, byte) if byte != b'\n' => {
                Self::Extension { size, seen: seen + 1 }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer { line: 0, seen: 0 },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataEnd { seen: 0 }, b'\r') => Self::DataEnd { seen: 1 },
            (Self::DataEnd { seen: 1 }, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::DataEnd { .. }, _) => {
                return Err(Http1Error::Framing("a chunk that is longer than its size"));
            }
            (Self::Trailer { seen: MAX_ASIDE, .. }, _) => {
                return Err(Http1Error::Framing("an endless trailer"));
            }
            (Self::Trailer { line: 0, .. }, b'\n') => Self::Over,
            (Self::Trailer { seen, .. }, b'\n') => Self::Trailer { line: 0, seen: seen + 1 },
            // The end of a line is no content of it.
            (Self::Trailer { line, seen }, b'\r') => Self::Trailer { line, seen: seen + 1 },
            (Self::Trailer { line, seen }, _) => Self::Trailer { line: line + 1, seen: seen + 1 },
            _ => return Err(Http1Error::Framing("a size of a chunk that is no number")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Head {
        let (head, length) = Head::read(text.as_bytes(), 4096).expect("HTTP").expect("whole");
        assert_eq!(length, text.len());
        head
    }

    /// The content of a body, the bytes behind it, and whether it is over.
    fn content(text: &str, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), Http1Error> {
        let mut body = head(text).body;
        let (mut content, mut behind) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while let Some(data) = body.next(&mut rest)? {
                content.extend_from_slice(data);
            }
            behind.extend_from_slice(rest);
        }
        Ok((content, behind, body.is_over()))
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn a_head_is_read_when_its_end_has_arrived() {
        let text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: Close\r\n\
                    content-length: 5\r\n\r\n";
        for end in 0..text.len() {
            assert!(Head::read(&text.as_bytes()[..end], 4096).expect("no error").is_none());
        }
        let read = head(text);
        assert_eq!((read.status, read.keeps_alive), (200, false));
        assert_eq!(read.content_type.as_deref(), Some("text/event-stream"));
        assert!(matches!(read.body, Body::Length(5)));
    }

    #[test]
    fn how_a_body_ends() {
        let framed = |headers: &str| head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n"));
        assert!(matches!(framed("").body, Body::UntilClose));
        assert!(matches!(
            framed("content-length: 3\r\ncontent-length: 3\r\n").body,
            Body::Length(3)
        ));
        let both = framed("transfer-encoding: gzip, Chunked\r\ncontent-length: 3\r\n");
        assert!(matches!((both.body, both.keeps_alive), (Body::Chunked(_), false)));
        assert!(matches!(framed("transfer-encoding: gzip\r\n").body, Body::UntilClose));
        let none = head("HTTP/1.1 204 No Content\r\n\r\n");
        assert!(none.body.is_over() && none.keeps_alive);
        assert!(!head("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n").keeps_alive);
        for bad in ["content-length: 3\r\ncontent-length: 4\r\n", "content-length: +3\r\n"] {
            let text = format!("HTTP/1.1 200 OK\r\n{bad}\r\n");
            assert!(
                matches!(Head::read(text.as_bytes(), 4096), Err(Http1Error::NotHttp(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_head_has_limits() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(5000));
        assert_eq!(Head::read(long.as_bytes(), 4096).expect_err("long"), Http1Error::HeadTooLarge);
        let whole = format!("{long}\r\n\r\n");
        assert_eq!(Head::read(whole.as_bytes(), 4096).expect_err("long"), Http1Error::HeadTooLarge);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(Head::read(many.as_bytes(), 4096).expect_err("many"), Http1Error::HeadTooLarge);
        assert!(matches!(
            Head::read(b"SSH-2.0-OpenSSH\r\n\r\n", 4096),
            Err(Http1Error::NotHttp(_))
        ));
    }

    #[test]
    fn chunks_with_extensions_and_trailers() {
        let text = b"5;a=b\r\nhello\r\n1 \r\n!\r\n000\r\nx: y\r\n\r\nnext";
        let expected = (b"hello!".to_vec(), b"next".to_vec(), true);
        assert_eq!(content(CHUNKED, &[text]).expect("chunks"), expected);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(content(CHUNKED, &bytes).expect("chunks"), expected);
        let unfinished = content(CHUNKED, &[b"5\r\nhel"]).expect("chunks");
        assert_eq!(unfinished, (b"hel".to_vec(), Vec::new(), false));
    }

    #[test]
    fn broken_framing_is_an_error() {
        for bad in [
            "zz\r\n",
            "\r\n",
            "5\nhello",
            "5\r\nhello!\r\n",
            "fffffffffffffffff\r\n",
            "5\rx",
            "5;\n",
        ] {
            let error = content(CHUNKED, &[bad.as_bytes()]).expect_err(bad);
            assert!(matches!(error, Http1Error::Framing(_)), "{bad}");
        }
        let extension = format!("5;{}", "x".repeat(MAX_ASIDE + 1));
        assert!(content(CHUNKED, &[extension.as_bytes()]).is_err());
        let trailer = format!("0\r\n{}", "x: y\r\n".repeat(MAX_ASIDE));
        assert!(content(CHUNKED, &[trailer.as_bytes()]).is_err());
    }

    #[test]
    fn a_key_with_a_line_end_is_not_a_header_value() {
        assert!(is_header_value("sk-abc é"));
        assert!(!is_header_value("sk\r\nx: y") && !is_header_value("a\u{7f}"));
        let head = post_head("/v1/x", "h:1", Some("k"), "text/event-stream", 7);
        assert!(head.starts_with("POST /v1/x HTTP/1.1\r\nhost: h:1\r\n"));
        assert!(head.ends_with("content-length: 7\r\nauthorization: Bearer k\r\n\r\n"));
    }

    proptest! {
        /// Whatever is sent in whatever chunks, cut anywhere, is what is read.
        #[test]
        fn content_survives_any_chunks_and_cuts(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(1usize..30, 0..60),
            behind in "[a-z]{0,5}",
        ) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            wire.extend_from_slice(behind.as_bytes());
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut rest = &wire[..];
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let expected = (parts.concat(), behind.into_bytes(), true);
            prop_assert_eq!(content(CHUNKED, &pieces).expect("well framed"), expected);
        }

        /// Arbitrary bytes are content, an error or incomplete, never a panic.
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::read(&bytes, 100);
            let _ = content(CHUNKED, &[&bytes]);
        }
    }
}
