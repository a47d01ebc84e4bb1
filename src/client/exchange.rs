//! One request and its response on an open connection. A single future writes,
//! reads and applies the time limits, and is woken by its socket alone: a chunk costs
//! one wake-up and one read. Opening and reusing connections is in `send`, the bytes
//! of HTTP in `http1`, what a stream contains in `stream`.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio_util::sync::CancellationToken;

use crate::client::clock::Clock;
use crate::client::connection::Connection;
use crate::client::error::{
    before_head, cancelled, in_body, is_stream, not_a_stream, of_http1, refusal_of,
};
use crate::client::flights::{Flight, Flights};
use crate::client::limits::Limits;
use crate::client::record::RequestError;
use crate::client::stream::StreamReader;
use crate::client::timeout::ResponseTimer;
use crate::server::head::{HeadLimits, HeadReader};
use crate::server::http1::{Body, Head, check_framing};

/// What a finished response leaves of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The connection can be used again.
    Reusable,
    /// The connection must be closed.
    Spent,
}

/// A request on its way.
pub(crate) struct Exchange<'a> {
    connection: &'a mut Connection,
    /// Head and body, as far as not yet written.
    message: &'a [u8],
    /// Why nothing more can be written. The server may have answered nevertheless.
    broken: Option<io::Error>,
    response: Response<'a>,
    timer: ResponseTimer,
}

/// The response as far as it was received.
struct Response<'a> {
    part: Part,
    /// Bytes so far, with their framing, and of the stream alone.
    bytes: u64,
    content: u64,
    reader: &'a mut StreamReader,
    flight: &'a Flight,
    clock: Clock,
    /// Bytes were read since this was last taken.
    has_read: bool,
    limits: Limits,
}

/// Which part of a response comes next.
enum Part {
    Head(HeadReader),
    Stream { body: Body, keeps_alive: bool },
    Refusal { what: Refusal, body: Body, text: Vec<u8> },
}

/// What an answer is that is no stream.
enum Refusal {
    /// A status that is not 200, and where it leads to.
    Status(u16, Option<String>),
    /// A body of another type, which may have the server's words.
    Type(Option<String>),
}

impl Refusal {
    fn error(&self, text: &[u8]) -> RequestError {
        match self {
            Self::Status(status, location) => refusal_of(*status, location.as_deref(), text),
            Self::Type(kind) => not_a_stream(kind.as_deref(), text),
        }
    }
}

impl<'a> Exchange<'a> {
    /// Sends nothing yet.
    pub(crate) fn new(
        connection: &'a mut Connection,
        message: &'a [u8],
        reader: &'a mut StreamReader,
        flight: &'a Flight,
        clock: Clock,
        limits: Limits,
    ) -> Self {
        let response = Response::new(reader, flight, clock, limits);
        let timer = ResponseTimer::new(clock, limits);
        Self { connection, message, broken: None, response, timer }
    }

    /// Sends the request and reads the response to its end.
    pub(crate) async fn run(mut self, cancel: &CancellationToken) -> Result<Ended, RequestError> {
        // Until the first byte is out: when it was tried.
        self.response.reader.record_mut().sent_ns = self.response.clock.elapsed_ns();
        let whole = self.message.len();
        let mut stop = pin!(cancel.cancelled());
        let mut woken_by: Option<Waker> = None;
        poll_fn(|cx| {
            // A waker of this task is registered already: no need to do it with every chunk.
            let known = woken_by.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            let stopped =
                if known { cancel.is_cancelled() } else { stop.as_mut().poll(cx).is_ready() };
            if stopped {
                return Poll::Ready(Err(cancelled()));
            }
            if !known {
                woken_by = Some(cx.waker().clone());
            }
            self.write(cx, whole);
            let read = match self.read(cx) {
                Poll::Ready(ended) => return Poll::Ready(ended),
                Poll::Pending => std::mem::take(&mut self.response.has_read) && known,
            };
            let is_known = self.response.is_known();
            match self.timer.poll(cx, read, is_known, self.response.reader) {
                // The answer is whole; its connection does not end it.
                Poll::Ready(_) if self.response.reader.is_done() => Poll::Ready(Ok(Ended::Spent)),
                polled => polled.map(|error| Err(self.response.late(error))),
            }
        })
        .await
    }

    fn write(&mut self, cx: &mut Context<'_>, whole: usize) {
        while !self.message.is_empty() && self.broken.is_none() {
            if self.message.len() == whole
                && let Some(now_ns) = self.connection.begin()
            {
                self.response.reader.record_mut().sent_ns = self.response.clock.since(now_ns);
            }
            match self.connection.poll_write(cx, self.message) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => self.broken = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.message = &self.message[written..],
                Poll::Ready(Err(error)) => self.broken = Some(error),
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ended, RequestError>> {
        loop {
            let Self { connection, response, .. } = self;
            let read = connection.poll_read(cx, |at_ns, bytes| {
                if bytes.is_empty() { response.close(at_ns) } else { response.take(at_ns, bytes) }
            });
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Ok(None))) => {}
                Poll::Ready(Ok(Ok(Some(ended)))) => return Poll::Ready(Ok(ended)),
                Poll::Ready(Ok(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Err(error)) => {
                    // Why writing failed came first.
                    let error = self.broken.take().unwrap_or(error);
                    return Poll::Ready(self.response.broke(&error));
                }
            }
        }
    }
}

/// Reads a response from pieces of its bytes, without a connection: what a socket would
/// have given. The last piece is followed by the end of the connection.
pub(crate) fn read_pieces(
    pieces: &[&[u8]],
    reader: &mut StreamReader,
    limits: Limits,
) -> Result<Ended, RequestError> {
    let clock = Clock::start();
    let at_ns = clock.elapsed_ns();
    let flight = &Flights::default().begin(0);
    let mut response = Response::new(reader, flight, clock, limits);
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if let Some(ended) = response.take(at_ns, piece)? {
            return Ok(ended);
        }
    }
    Ok(response.close(at_ns)?.unwrap_or(Ended::Spent))
}

impl<'a> Response<'a> {
    fn new(reader: &'a mut StreamReader, flight: &'a Flight, clock: Clock, limits: Limits) -> Self {
        let head = HeadLimits { bytes: limits.header_bytes, interim: limits.interim };
        let part = Part::Head(HeadReader::new(head));
        let (bytes, content, has_read) = (0, 0, false);
        Self { part, bytes, content, reader, flight, clock, has_read, limits }
    }

    /// Takes bytes that arrived at a time of `now_ns`; returns how the response
    /// ended, if they end it.
    fn take(&mut self, at_ns: u64, bytes: &[u8]) -> Result<Option<Ended>, RequestError> {
        self.has_read = true;
        self.bytes += bytes.len() as u64;
        let (head, token) = (self.reader.headers_ns(), self.reader.last_token_ns());
        let taken = self.part(self.clock.since(at_ns), bytes);
        // Other bytes merely keep the connection alive.
        if self.reader.last_token_ns() != token {
            self.flight.token(at_ns);
        } else if self.reader.headers_ns() != head {
            self.flight.begins(at_ns);
        }
        taken
    }

    /// The same, with the time since the repeat's start.
    fn part(&mut self, at_ns: u64, bytes: &[u8]) -> Result<Option<Ended>, RequestError> {
        match &mut self.part {
            Part::Head(head) => match head.take(bytes).map_err(|error| of_http1(&error))? {
                None => Ok(None),
                Some((head, behind)) => self.head(at_ns, head, behind),
            },
            Part::Stream { .. } => self.stream(at_ns, bytes),
            Part::Refusal { .. } => self.refusal(bytes),
        }
    }

    /// The head of the answer, and what came behind it.
    fn head(
        &mut self,
        at_ns: u64,
        head: Head,
        bytes: &[u8],
    ) -> Result<Option<Ended>, RequestError> {
        let record = self.reader.record_mut();
        record.headers_ns = Some(at_ns);
        record.http_status = Some(head.status);
        let Head { status, content_type, location, keeps_alive, body } = head;
        if status != 200 {
            let what = Refusal::Status(status, location);
            self.part = Part::Refusal { what, body, text: Vec::new() };
            return self.refusal(bytes);
        }
        if !is_stream(content_type.as_deref()) {
            let what = Refusal::Type(content_type);
            self.part = Part::Refusal { what, body, text: Vec::new() };
            return self.refusal(bytes);
        }
        self.part = Part::Stream { body, keeps_alive };
        self.stream(at_ns, bytes)
    }

    fn stream(&mut self, at_ns: u64, mut bytes: &[u8]) -> Result<Option<Ended>, RequestError> {
        let Part::Stream { body, keeps_alive } = &mut self.part else { return Ok(None) };
        while let Some(piece) = body.next(&mut bytes).map_err(|error| of_http1(&error))? {
            self.content += piece.len() as u64;
            self.reader.push(at_ns, piece)?;
        }
        if !body.is_over() {
            check_framing(self.bytes, self.content).map_err(|error| of_http1(&error))?;
            return Ok(None);
        }
        self.reader.record_mut().end_ns = Some(at_ns);
        // Bytes behind the response belong to nothing that we asked for.
        let ended = if *keeps_alive && bytes.is_empty() { Ended::Reusable } else { Ended::Spent };
        Ok(Some(ended))
    }

    /// A refusal is over with its body, or where its text is no message any more.
    fn refusal(&mut self, mut bytes: &[u8]) -> Result<Option<Ended>, RequestError> {
        let limit = self.limits.error_bytes;
        let Part::Refusal { what, body, text } = &mut self.part else { return Ok(None) };
        let mut over = false;
        while !over {
            match body.next(&mut bytes) {
                Ok(Some(piece)) => {
                    text.extend_from_slice(&piece[..piece.len().min(limit - text.len())]);
                    over = text.len() == limit;
                }
                Ok(None) if !body.is_over() => return Ok(None),
                // What has come of the message is worth more than why it broke off.
                Ok(None) | Err(_) => over = true,
            }
        }
        Err(what.error(text))
    }

    /// Whether only the end is missing: the stream is whole, or is none at all.
    fn is_known(&self) -> bool {
        let is_none = matches!(self.part, Part::Refusal { what: Refusal::Type(_), .. });
        is_none || self.reader.is_done()
    }

    /// The error of a response that took too long: what it is instead of a stream is known
    /// from its head.
    fn late(&self, error: RequestError) -> RequestError {
        match &self.part {
            Part::Refusal { what: what @ Refusal::Type(_), text, .. } => what.error(text),
            _ => error,
        }
    }

    /// The other side will send no more.
    fn close(&mut self, at_ns: u64) -> Result<Option<Ended>, RequestError> {
        if let Part::Stream { body: Body::UntilClose, .. } = self.part {
            self.reader.record_mut().end_ns = Some(self.clock.since(at_ns));
            return Ok(Some(Ended::Spent));
        }
        self.broke(&io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed")).map(Some)
    }

    fn broke(&self, error: &io::Error) -> Result<Ended, RequestError> {
        match &self.part {
            Part::Head(_) => Err(before_head(error)),
            Part::Stream { .. } if self.reader.is_done() => Ok(Ended::Spent),
            Part::Stream { .. } => Err(in_body(error)),
            Part::Refusal { what, text, .. } => Err(what.error(text)),
        }
    }
}
