//! The streaming client of every workload: one request on one connection of our
//! own, with the times at which its bytes passed. Arrivals and concurrency are
//! the workloads'; a request is sent once, whatever happens.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, Uri};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bench::clock::{Clock, now_ns};
use crate::bench::connection::{Connection, Stamps};
use crate::bench::fault::{before_head, cancelled, check_type, cut, in_body, refusal_of};
use crate::bench::record::{RequestError, RequestErrorClass, RequestRecord};
use crate::bench::request::Prepared;
use crate::bench::silence::Timer;
use crate::bench::stream::{Answer, StreamLimits, StreamReader};
use crate::server::Server;

/// What a server may do to us at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a response's head.
    pub header_bytes: usize,
    /// Bytes of an event and of a whole stream.
    pub stream: StreamLimits,
    /// Bytes of an error's body; what is beyond is not read.
    pub error_bytes: usize,
    /// Time to connect.
    pub connect: Duration,
    /// Time from the send to the first token.
    pub first_token: Duration,
    /// Time in which nothing arrives, after the first token.
    pub silence: Duration,
    /// Time for the response to end after `[DONE]`, before the connection is given up.
    pub after_done: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 << 10,
            stream: StreamLimits { event: 1 << 20, total: 64 << 20 },
            error_bytes: 64 << 10,
            connect: Duration::from_secs(10),
            first_token: Duration::from_mins(10),
            silence: Duration::from_mins(2),
            after_done: Duration::from_millis(250),
        }
    }
}

/// Why there is no client for a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address is none that can be talked to.
    #[error("cannot measure {url}: {reason}")]
    Address {
        /// The address as it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Talks to one server. Cheap to share.
#[derive(Clone, Debug)]
pub struct Client {
    addresses: Vec<SocketAddr>,
    prefix: String,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    limits: Limits,
}

/// A place for a connection: kept open between the requests of one worker.
#[derive(Default)]
pub struct Slot {
    connection: Option<Connection>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot(open: {})", self.connection.is_some())
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its times, counts and error.
    pub record: RequestRecord,
    /// The answer, where it was to be kept.
    pub answer: Option<Answer>,
}

/// When and for what a request is sent.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Position in the repeat, from 0.
    pub index: u32,
    /// `miss`, `resent`, ...
    pub purpose: &'a str,
    /// When it was to be sent, in nanoseconds since the repeat's start; `None` in a closed loop.
    pub scheduled_ns: Option<u64>,
}

impl Client {
    /// A client for `server`; its name is looked up once, here.
    ///
    /// # Errors
    /// An address that is not plain HTTP, or a name that is not known.
    pub async fn new(server: &Server, limits: Limits) -> Result<Self, ClientError> {
        let url = &server.endpoint.base_url;
        let fault = |reason: &str| ClientError::Address { url: url.clone(), reason: reason.into() };
        let uri: Uri = url.parse().map_err(|_| fault("it is no URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(fault(
                    "https is not supported; give the server's plain http address, or a tunnel to it",
                ));
            }
            _ => return Err(fault("it must begin with http://")),
        }
        let authority = uri.authority().ok_or_else(|| fault("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(fault("credentials do not belong into a URL"));
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((name, authority.port_u16().unwrap_or(80)))
                .await
                .map_err(|error| fault(&format!("its host is not known ({error})")))?
                .collect();
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| fault("bad host"))?;
        let authorization = match &server.endpoint.api_key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))
                    .map_err(|_| fault("the API key has characters that no header can carry"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { addresses, prefix, host, authorization, limits })
    }

    /// Opens the slot's connection, unless it is open and fresh. To be called
    /// before the clock matters; [`Client::send`] does it otherwise.
    ///
    /// # Errors
    /// No connection.
    pub async fn ready(&self, slot: &mut Slot) -> Result<(), RequestError> {
        if let Some(connection) = &mut slot.connection
            && connection.is_usable().await
        {
            return Ok(());
        }
        slot.connection = None;
        let error = |message: String| RequestError { class: RequestErrorClass::Connect, message };
        let opening = Connection::open(&self.addresses, self.limits.header_bytes);
        match timeout(self.limits.connect, opening).await {
            Ok(Ok(connection)) => slot.connection = Some(connection),
            Ok(Err(fault)) => return Err(error(format!("no connection: {fault}"))),
            Err(_) => {
                let seconds = self.limits.connect.as_secs_f64();
                return Err(error(format!("no connection within {seconds} s")));
            }
        }
        Ok(())
    }

    /// `count` slots, all open: a few at a time, so that no burst of connects
    /// meets the server's backlog.
    ///
    /// # Errors
    /// The first connection that could not be opened.
    pub async fn open(&self, count: usize) -> Result<Vec<Slot>, RequestError> {
        let mut slots: Vec<Slot> = Vec::new();
        slots.resize_with(count, Slot::default);
        for batch in slots.chunks_mut(64) {
            futures_util::future::try_join_all(batch.iter_mut().map(|slot| self.ready(slot)))
                .await?;
        }
        Ok(slots)
    }

    /// Sends a request and reads its stream. Cancelling drops the connection at once.
    pub async fn send(
        &self,
        slot: &mut Slot,
        request: &Prepared,
        order: Order<'_>,
        clock: Clock,
        cancel: &CancellationToken,
    ) -> Outcome {
        let now = clock.elapsed_ns();
        let record = RequestRecord {
            index: order.index,
            purpose: order.purpose.to_owned(),
            scheduled_ns: order.scheduled_ns.unwrap_or(now),
            sent_ns: now,
            ..RequestRecord::default()
        };
        let mut reader = StreamReader::new(record, self.limits.stream, request.keep_answer);
        let outcome = match cancel.run_until_cancelled(self.ready(slot)).await {
            None => Err(cancelled()),
            Some(Err(error)) => Err(error),
            Some(Ok(())) => self.exchange(slot, request, clock, cancel, &mut reader).await,
        };
        if outcome.is_err() {
            slot.connection = None;
        }
        let record = reader.record_mut();
        record.end_ns.get_or_insert(clock.elapsed_ns());
        if order.scheduled_ns.is_none() {
            record.scheduled_ns = record.sent_ns;
        }
        let (record, answer) = reader.finish(outcome);
        Outcome { record, answer }
    }

    async fn exchange(
        &self,
        slot: &mut Slot,
        request: &Prepared,
        clock: Clock,
        cancel: &CancellationToken,
        reader: &mut StreamReader,
    ) -> Result<(), RequestError> {
        let Some(connection) = &mut slot.connection else {
            return Err(cut("the connection is gone"));
        };
        let stamps = std::sync::Arc::clone(&connection.stamps);
        stamps.arm();
        let started_ns = now_ns();
        let response = connection.sender.send_request(self.request(request));
        let mut timer = Timer::new(started_ns, self.limits);
        let head = {
            let mut response = pin!(response);
            let mut stop = pin!(cancel.cancelled());
            poll_fn(|cx| {
                if stop.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(cancelled()));
                }
                let broken = connection.drive(cx);
                if let Poll::Ready(head) = response.as_mut().poll(cx) {
                    return Poll::Ready(head.map_err(|error| before_head(&error)));
                }
                if let Some(error) = broken {
                    return Poll::Ready(Err(before_head(&error)));
                }
                timer.poll(cx, &stamps, reader).map(Err)
            })
            .await
        };
        let record = reader.record_mut();
        record.sent_ns = clock.since(stamps.wrote().unwrap_or(started_ns));
        let head = head?;
        let headers_ns = clock.since(stamps.read().unwrap_or_else(now_ns));
        record.headers_ns = Some(headers_ns);
        record.http_status = Some(head.status().as_u16());
        if head.status() != hyper::StatusCode::OK {
            return Err(self.refusal(connection, head, &mut timer, reader, cancel).await);
        }
        check_type(&head)?;
        let mut exchange =
            Exchange { connection, stamps: &stamps, clock, reader, timer: &mut timer };
        let ended = exchange.read(head.into_body(), cancel).await;
        record_end(reader, &stamps, clock);
        if ended? == Ended::ByUs || connection.ready_soon().await.is_err() {
            slot.connection = None;
        }
        Ok(())
    }

    fn request(&self, request: &Prepared) -> Request<Full<Bytes>> {
        let mut message = Request::new(Full::new(request.body.clone()));
        *message.method_mut() = hyper::Method::POST;
        // A path of ours behind the prefix of a parsed URL is a path.
        *message.uri_mut() = format!("{}{}", self.prefix, request.path).parse().unwrap_or_default();
        let headers = message.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        message
    }

    /// The error that a status other than 200 stands for, with the server's message.
    async fn refusal(
        &self,
        connection: &mut Connection,
        head: Response<Incoming>,
        timer: &mut Timer,
        reader: &mut StreamReader,
        cancel: &CancellationToken,
    ) -> RequestError {
        let status = head.status();
        let location = head.headers().get(header::LOCATION).cloned();
        let mut body = head.into_body();
        let mut bytes: Vec<u8> = Vec::new();
        let stamps = std::sync::Arc::clone(&connection.stamps);
        let limit = self.limits.error_bytes;
        let mut stop = pin!(cancel.cancelled());
        let given_up = poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(cancelled()));
            }
            loop {
                let _ = connection.drive(cx);
                match std::pin::Pin::new(&mut body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) if bytes.len() < limit => {
                        let data = frame.into_data().unwrap_or_default();
                        bytes.extend_from_slice(&data[..data.len().min(limit - bytes.len())]);
                    }
                    // What has come of the message is worth more than why it broke off.
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => return timer.poll(cx, &stamps, reader).map(Some),
                }
            }
        })
        .await;
        if let Some(error) = given_up {
            return error;
        }
        refusal_of(status, location.as_ref(), &bytes)
    }
}

/// How a stream was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The response is over: the connection can be used again.
    Cleanly,
    /// `[DONE]` came and the response did not end: the connection is given up.
    ByUs,
}

/// Reading the body of one response.
struct Exchange<'a> {
    connection: &'a mut Connection,
    stamps: &'a Stamps,
    clock: Clock,
    reader: &'a mut StreamReader,
    timer: &'a mut Timer,
}

impl Exchange<'_> {
    async fn read(
        &mut self,
        mut body: Incoming,
        cancel: &CancellationToken,
    ) -> Result<Ended, RequestError> {
        let mut stop = pin!(cancel.cancelled());
        poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(cancelled()));
            }
            loop {
                let broken = self.connection.drive(cx);
                let done = self.reader.is_done();
                match std::pin::Pin::new(&mut body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let Some(bytes) = frame.data_ref() else { continue };
                        let at = self.clock.since(self.stamps.read().unwrap_or_else(now_ns));
                        self.reader.push(at, bytes)?;
                    }
                    Poll::Ready(None) => return Poll::Ready(Ok(Ended::Cleanly)),
                    Poll::Ready(Some(Err(_))) if done => return Poll::Ready(Ok(Ended::ByUs)),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(in_body(&error))),
                    Poll::Pending => {
                        if let Some(error) = broken {
                            return Poll::Ready(Err(in_body(&error)));
                        }
                        return match self.timer.poll(cx, self.stamps, self.reader) {
                            Poll::Ready(_) if self.reader.is_done() => Poll::Ready(Ok(Ended::ByUs)),
                            polled => polled.map(Err),
                        };
                    }
                }
            }
        })
        .await
    }
}

fn record_end(reader: &mut StreamReader, stamps: &Stamps, clock: Clock) {
    let end = clock.since(stamps.read().unwrap_or_else(now_ns));
    reader.record_mut().end_ns = Some(end);
}
