//! A plain answer from the bytes of its connection, with a bound on everything that a server
//! may send: its body and the framing around it here, what comes before them in `head`. Pure;
//! the socket is in `http`, the syntax in `http1`.

use super::head::{HeadLimits, HeadReader};
use super::http1::{Body, Head, Http1Error, check_framing};

/// Bounds on what comes before the body.
const HEAD: HeadLimits = HeadLimits { bytes: 64 << 10, interim: 32 };
/// So many reads may bring as little as they like.
const MAX_SMALL_READS: u64 = 16 << 10;
/// Bytes that each further read is to bring on average.
const SMALL: u64 = 16;

/// An answer as far as it has come.
#[derive(Debug)]
pub(super) struct Reply {
    part: Part,
    /// Bytes so far, and in how many pieces they came.
    read: u64,
    reads: u64,
    largest: usize,
}

#[derive(Debug)]
enum Part {
    Head(HeadReader),
    Body { status: u16, keeps_alive: bool, body: Body, content: Vec<u8> },
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether its connection can be used again.
    pub(super) keeps_alive: bool,
}

impl Reply {
    /// Nothing has come; the body may have `largest` bytes.
    pub(super) fn new(largest: usize) -> Self {
        Self { part: Part::Head(HeadReader::new(HEAD)), read: 0, reads: 0, largest }
    }

    /// Whether nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.read == 0
    }

    /// Takes what was read; the answer, where that ends it.
    ///
    /// # Errors
    /// What the server did that no answer does.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Option<Whole>, String> {
        self.read += bytes.len() as u64;
        self.reads += 1;
        if self.reads > MAX_SMALL_READS && self.read < self.reads * SMALL {
            let error = Http1Error::Endless("it sends its answer in pieces of a few bytes");
            return Err(error.to_string());
        }
        match &mut self.part {
            Part::Head(head) => match head.take(bytes).map_err(|error| error.to_string())? {
                None => Ok(None),
                Some((Head { status, keeps_alive, body, .. }, behind)) => {
                    self.part = Part::Body { status, keeps_alive, body, content: Vec::new() };
                    self.body(behind)
                }
            },
            Part::Body { .. } => self.body(bytes),
        }
    }

    /// The other side sends no more; `is_tls`: of a connection with TLS.
    ///
    /// # Errors
    /// The answer is not whole.
    pub(super) fn closed(&mut self, is_tls: bool) -> Result<Whole, String> {
        match &mut self.part {
            Part::Body { status, body: Body::UntilClose, content, .. } => {
                let body = std::mem::take(content);
                Ok(Whole { status: *status, body, keeps_alive: false })
            }
            _ if self.read == 0 && is_tls => {
                Err("the connection was closed without an answer".to_owned())
            }
            _ if self.read == 0 => {
                Err("the connection was closed without an answer (a server that \
                                        expects TLS does that: its address begins with https://)"
                    .to_owned())
            }
            _ => Err("the connection was closed before the answer was whole".to_owned()),
        }
    }

    fn body(&mut self, mut bytes: &[u8]) -> Result<Option<Whole>, String> {
        let Part::Body { status, keeps_alive, body, content } = &mut self.part else {
            return Ok(None);
        };
        while let Some(piece) = body.next(&mut bytes).map_err(|error| error.to_string())? {
            if content.len() + piece.len() > self.largest {
                return Err(format!("the answer is larger than {} bytes", self.largest));
            }
            content.extend_from_slice(piece);
        }
        if !body.is_over() {
            return match check_framing(self.read, content.len() as u64) {
                Ok(()) => Ok(None),
                Err(error) => Err(error.to_string()),
            };
        }
        // Bytes behind the answer belong to nothing that was asked for.
        let keeps_alive = *keeps_alive && bytes.is_empty();
        Ok(Some(Whole { status: *status, body: std::mem::take(content), keeps_alive }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `head`, then `text` again and again in pieces of `size` bytes: how many bytes were
    /// taken, and what ended it.
    fn endless(head: &str, text: &str, size: usize) -> (usize, String) {
        let mut reply = Reply::new(4 << 20);
        let mut taken = head.len();
        if !head.is_empty() {
            assert_eq!(reply.take(head.as_bytes()), Ok(None));
        }
        let text = text.repeat(size.div_ceil(text.len()).max(1));
        for piece in text.as_bytes().chunks(size).cycle() {
            taken += piece.len();
            match reply.take(piece) {
                Ok(None) => assert!(taken < 64 << 20, "no end: {head}"),
                Ok(Some(whole)) => panic!("an answer: {}", whole.status),
                Err(error) => return (taken, error),
            }
        }
        unreachable!("it has no end")
    }

    #[test]
    fn what_a_server_sends_around_its_answer_is_bounded_in_bytes() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let plain = "HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n";
        let one_xx = "one 1xx after the other";
        let small = "in pieces of a few bytes";
        for (head, text, size, most, says) in [
            ("", "HTTP/1.1 103 Early\r\n\r\n", 8192, 16 << 10, one_xx),
            ("", "HTTP/1.1 100 \r\n\r\n", 1, 16 << 10, one_xx),
            ("HTTP/1.1 200 OK\r\n", "a: b\r\n", 8192, 128 << 10, "the head of the response"),
            ("HTTP/1.1 200 OK\r\na: ", "b", 8192, 128 << 10, "the head of the response"),
            // One byte of content in each chunk; the whole body would be 24 MiB of them.
            (chunked, "1\r\nx\r\n", 6 << 10, 512 << 10, small),
            (chunked, "1;extension\r\nx\r\n", 1 << 10, 512 << 10, small),
            // One byte in each packet.
            (plain, "x", 1, 32 << 10, small),
            (
                chunked,
                &format!("1000\r\n{}\r\n", "x".repeat(4096)),
                4104,
                5 << 20,
                "larger than 4194304",
            ),
        ] {
            let (taken, error) = endless(head, text, size);
            assert!(error.contains(says), "{error}");
            assert!(taken <= most, "{taken} bytes of {text:?}");
        }
    }

    #[test]
    fn an_answer_is_whole_however_it_is_cut_and_framed() {
        let whole = |text: &str, size: usize| {
            let mut reply = Reply::new(1 << 20);
            let taken = text.as_bytes().chunks(size).find_map(|it| reply.take(it).expect("well"));
            taken
                .or_else(|| reply.closed(false).ok())
                .map(|it| (it.status, String::from_utf8(it.body).expect("text"), it.keeps_alive))
        };
        for size in [1, 3, 1000] {
            let interim =
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
            assert_eq!(whole(interim, size), Some((200, "hi".to_owned(), true)));
            let chunks = "HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n";
            assert_eq!(whole(chunks, size), Some((503, "hi".to_owned(), true)));
            let closes = "HTTP/1.1 200 OK\r\n\r\nhi";
            assert_eq!(whole(closes, size), Some((200, "hi".to_owned(), false)));
            let cut = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi";
            assert_eq!(whole(cut, size), None);
        }
    }

    #[test]
    fn the_other_scheme_is_suggested_only_where_it_is_not_used() {
        let closed = |is_tls| Reply::new(1 << 20).closed(is_tls).expect_err("no answer");
        assert!(closed(false).contains("its address begins with https://"), "{}", closed(false));
        assert_eq!(closed(true), "the connection was closed without an answer");
    }
}
