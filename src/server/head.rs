//! The head of an answer from pieces of its bytes, with the responses of 1xx before it and a
//! bound on both. Plain answers (`reply`) and measured streams (`client`) begin with it. Pure;
//! the syntax is in `http1`.

use super::http1::{Head, Http1Error};

/// Bounds on what a server sends before the body of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Bytes of a head.
    pub(crate) bytes: usize,
    /// Responses of 1xx before the answer.
    pub(crate) interim: u32,
}

/// Reads the head of an answer from pieces of its bytes, and passes over the responses of 1xx
/// before it.
#[derive(Debug)]
pub(crate) struct HeadReader {
    /// What has come of a head that is not whole.
    bytes: Vec<u8>,
    /// Responses of 1xx so far.
    interim: u32,
    limits: HeadLimits,
}

impl HeadReader {
    /// Nothing has come.
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { bytes: Vec::new(), interim: 0, limits }
    }

    /// Takes the next piece: the head of the answer where the piece ends it, and what of the
    /// piece comes after it. It is not to be used after that.
    ///
    /// # Errors
    /// More than the limits allow, or something else than HTTP.
    pub(crate) fn take<'b>(
        &mut self,
        piece: &'b [u8],
    ) -> Result<Option<(Head, &'b [u8])>, Http1Error> {
        // A head that comes byte by byte is read with each of its lines only.
        let is_due = self.bytes.is_empty()
            || piece.contains(&b'\n')
            || self.bytes.len() + piece.len() > self.limits.bytes;
        self.bytes.extend_from_slice(piece);
        if !is_due {
            return Ok(None);
        }
        let mut read = 0;
        loop {
            let Some((head, length)) = Head::read(&self.bytes[read..], self.limits.bytes)? else {
                self.bytes.drain(..read);
                return Ok(None);
            };
            read += length;
            // 100 and 103 announce the answer; after 101 it is not HTTP any more.
            if !(100..200).contains(&head.status) || head.status == 101 {
                // A head ends with its last line, which this piece has brought: nothing that
                // came before the piece is behind it.
                let behind = self.bytes.len() - read;
                return Ok(Some((head, &piece[piece.len().saturating_sub(behind)..])));
            }
            self.interim += 1;
            if self.interim > self.limits.interim {
                return Err(Http1Error::Endless("it sends one 1xx after the other"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 256, interim: 2 };
    const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
    const BODY: &str = "a body\n\n\n";

    /// Status and what was behind the head in its last piece.
    fn read(pieces: &[&str]) -> Result<Option<(u16, String)>, Http1Error> {
        let mut reader = HeadReader::new(LIMITS);
        for (at, piece) in pieces.iter().enumerate() {
            if let Some((head, behind)) = reader.take(piece.as_bytes())? {
                let behind = std::str::from_utf8(behind).expect("text").to_owned();
                return Ok(Some((head.status, behind + &pieces[at + 1..].concat())));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_head_ends_at_the_same_byte_however_it_is_cut() {
        let text = [INTERIM, INTERIM, ANSWER, BODY].concat();
        let expected = Ok(Some((200, BODY.to_owned())));
        for first in 0..text.len() {
            for second in (first..text.len()).step_by(7) {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(read(&pieces), expected, "{first}, {second}");
            }
        }
        assert_eq!(read(&[INTERIM, &ANSWER[..ANSWER.len() - 1]]), Ok(None));
    }

    #[test]
    fn what_comes_before_the_answer_is_bounded() {
        let endless = Http1Error::Endless("it sends one 1xx after the other");
        assert_eq!(read(&[&INTERIM.repeat(3)]), Err(endless.clone()));
        assert_eq!(read(&[INTERIM, INTERIM, INTERIM]), Err(endless));
        let line = "a: b\r\n".repeat(20);
        let begun = "HTTP/1.1 200 OK\r\n";
        assert_eq!(read(&[begun, &line, &line, &line]), Err(Http1Error::HeadTooLarge));
        // Without the end of a line, too.
        let word = "x".repeat(200);
        assert_eq!(read(&[begun, &word, &word]), Err(Http1Error::HeadTooLarge));
        // What switches to another protocol is no answer that could be waited for.
        let switches = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        assert_eq!(read(&[switches, "x"]), Ok(Some((101, "x".to_owned()))));
    }
}
