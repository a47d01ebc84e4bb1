//! The client itself: resolves a server's address once, opens connections ahead of time,
//! and sends one request on one connection. A request is sent once, whatever happens, but
//! for one that was refused for a field that can be left out. Arrivals and concurrency are decided by the caller; the bytes are moved in `exchange`.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::answer::Answer;
use crate::client::clock::Clock;
use crate::client::connection::Connection;
use crate::client::error::{cancelled, is_too_long};
use crate::client::exchange::{Ended, Exchange};
use crate::client::flights::Flights;
use crate::client::limits::Limits;
use crate::client::optional::{self, LeftOut};
use crate::client::record::RequestErrorClass::{self, MissingUsage};
use crate::client::record::{RequestError, RequestRecord};
use crate::client::request::{Prepared, blamed};
use crate::client::stream::StreamReader;
use crate::server::http1::post_head;
use crate::server::tls::Tls;
use crate::server::{Address, ApiKey, Server};
use crate::shortage;

/// Why there is no client for a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("cannot measure {url}: {reason}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Sends requests to one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    addresses: Vec<SocketAddr>,
    prefix: String,
    host: String,
    tls: Option<Tls>,
    api_key: Option<ApiKey>,
    limits: Limits,
    /// Whether an answer of the server had `usage`.
    reports_usage: Arc<AtomicBool>,
    /// Whether one had a `finish_reason`.
    reports_end: Arc<AtomicBool>,
    /// Fields that the server refuses.
    left_out: LeftOut,
    flights: Flights,
    /// What this process lacked when a request was due.
    shortage: Arc<OnceLock<String>>,
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

/// The result of a request.
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

/// The address that answers first comes first: a name may have several, and some may be
/// unreachable.
async fn first_to_answer(mut addresses: Vec<SocketAddr>, patience: Duration) -> Vec<SocketAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let tries = addresses
        .clone()
        .into_iter()
        .map(|address| Box::pin(async move { TcpStream::connect(address).await.map(|_| address) }));
    let tried = timeout(patience, futures_util::future::select_ok(tries)).await;
    if let Ok(Ok((first, _))) = tried {
        addresses.sort_by_key(|address| *address != first);
    }
    addresses
}

impl Client {
    /// A client for `server`; its name is looked up once, here.
    ///
    /// # Errors
    /// An address that no request can be sent to, or a name that is not known.
    pub async fn new(server: &Server, limits: Limits) -> Result<Self, ClientError> {
        let url = server.endpoint.shown();
        let error = |reason: &str| ClientError::Address { url: url.clone(), reason: reason.into() };
        let address = server.endpoint.address().map_err(|reason| error(&reason))?;
        let Address { name, port, host, prefix, tls } = address;
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), port))
            .await
            .map_err(|source| error(&format!("its host is not known ({source})")))?
            .collect();
        let addresses = first_to_answer(addresses, limits.connect).await;
        Ok(Self {
            addresses,
            prefix,
            host,
            tls,
            api_key: server.endpoint.api_key.clone(),
            limits,
            reports_usage: Arc::default(),
            reports_end: Arc::default(),
            left_out: LeftOut::default(),
            flights: Flights::default(),
            shortage: Arc::default(),
        })
    }

    /// What this process itself lacked when a request was due, if it ever did: that says
    /// nothing of the server.
    pub fn shortage(&self) -> Option<&str> {
        self.shortage.get().map(String::as_str)
    }

    /// Fields that the server refuses, as far as it was asked.
    pub(crate) fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Its requests in flight.
    pub(crate) fn flights(&self) -> &Flights {
        &self.flights
    }

    /// Opens the slot's connection, unless it is open and fresh. To be called
    /// before the clock matters; [`Client::send`] does it otherwise.
    ///
    /// # Errors
    /// No connection.
    pub async fn ready(&self, slot: &mut Slot) -> Result<(), RequestError> {
        self.ready_for(slot, Duration::ZERO).await.map(|_| ())
    }

    /// As [`Client::ready`], for a request that is sent after `ahead`; whether it had to
    /// be opened.
    ///
    /// # Errors
    /// No connection.
    pub async fn ready_for(&self, slot: &mut Slot, ahead: Duration) -> Result<bool, RequestError> {
        if self.is_ready_for(slot, ahead) {
            return Ok(false);
        }
        slot.connection = None;
        let error = |message: String| RequestError { class: RequestErrorClass::Connect, message };
        match timeout(self.limits.connect, Connection::open(&self.addresses, self.tls.as_ref()))
            .await
        {
            Ok(Ok(connection)) => {
                slot.connection = Some(connection);
                Ok(true)
            }
            Ok(Err(source)) => {
                if let Some(what) = shortage::of(&source) {
                    // The first is the one to report.
                    let _ = self.shortage.set(what);
                }
                Err(error(format!("no connection: {source}")))
            }
            Err(_) => {
                let seconds = self.limits.connect.as_secs_f64();
                Err(error(format!("no connection within {seconds} s")))
            }
        }
    }

    /// Whether the slot's connection is open, and still fresh after `ahead`.
    pub fn is_ready_for(&self, slot: &mut Slot, ahead: Duration) -> bool {
        slot.connection.as_mut().is_some_and(|connection| connection.is_usable(ahead))
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
    ///
    /// A field that can be left out, and that the server refuses by name, is left out of
    /// this request and of all later ones, if it is served without.
    pub async fn send(
        &self,
        slot: &mut Slot,
        request: &Prepared,
        order: Order<'_>,
        clock: Clock,
        cancel: &CancellationToken,
    ) -> Outcome {
        let mut request = Cow::Borrowed(request);
        for name in self.left_out.names() {
            request = request.without(name).map_or(request, Cow::Owned);
        }
        let mut refused = Vec::new();
        loop {
            let mut outcome = self.send_once(slot, &request, order, clock, cancel).await;
            let name = refusal(&outcome.record)
                .and_then(|error| optional::named(&error.message, &request.fields));
            if let Some((name, without)) = name.and_then(|it| Some((it, request.without(it)?))) {
                refused.push(name);
                request = Cow::Owned(without);
                continue;
            }
            if outcome.record.http_status == Some(200) {
                self.left_out.add(&refused);
            }
            name_fields(&mut outcome.record, &request);
            return outcome;
        }
    }

    async fn send_once(
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
            request_bytes: request.body.len() as u64,
            ..RequestRecord::default()
        };
        let mut reader = StreamReader::new(record, self.limits.stream, request.keep_answer)
            .at_most(request.max_tokens);
        if let Some(bytes) = request.keep_last {
            reader = reader.keeping_last(bytes);
        }
        let message = self.message(request);
        let ready = cancel.run_until_cancelled(self.ready(slot)).await;
        let outcome = match (ready, slot.connection.take()) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(())), Some(mut connection)) => {
                let flight = self.flights.begin(request.body.len() as u64);
                let exchange = Exchange::new(
                    &mut connection,
                    &message,
                    &mut reader,
                    &flight,
                    clock,
                    self.limits,
                );
                let ended = exchange.run(cancel).await;
                let record = reader.record_mut();
                if let Some(first_ns) = record.first_token_ns {
                    flight.first_token(first_ns.saturating_sub(record.sent_ns));
                }
                ended.map(|ended| {
                    if ended == Ended::Reusable {
                        connection.mark_idle();
                        slot.connection = Some(connection);
                    }
                })
            }
            (None | Some(Ok(())), _) => Err(cancelled()),
        };
        let record = reader.record_mut();
        record.end_ns.get_or_insert(clock.elapsed_ns());
        if order.scheduled_ns.is_none() {
            record.scheduled_ns = record.sent_ns;
        }
        let (mut record, answer) = reader.finish(outcome);
        self.check_end(&mut record, request.max_tokens);
        self.excuse(&mut record);
        self.hide_key(&mut record);
        Outcome { record, answer }
    }

    /// An answer without a `finish_reason` has broken off where others have one, unless it
    /// has all its tokens.
    fn check_end(&self, record: &mut RequestRecord, max_tokens: u64) {
        if record.finish_reason.is_some() {
            self.reports_end.store(true, Ordering::Relaxed);
            return;
        }
        let is_over = record.error.as_ref().is_none_or(|e| e.class == MissingUsage);
        let is_whole = record.usage.is_some_and(|usage| usage.completion_tokens >= max_tokens);
        if is_over && !is_whole && self.reports_end.load(Ordering::Relaxed) {
            let message = "the answer broke off: it has no `finish_reason`, which other answers \
                           of this server have";
            let message = message.to_owned();
            record.error = Some(RequestError { class: RequestErrorClass::Cut, message });
        }
    }

    /// A missing `usage` is an error of the request only where the server supports it.
    fn excuse(&self, record: &mut RequestRecord) {
        if record.usage.is_some() {
            self.reports_usage.store(true, Ordering::Relaxed);
        }
        record.is_excused = record.error.as_ref().is_some_and(|e| e.class == MissingUsage)
            && !self.reports_usage.load(Ordering::Relaxed);
    }

    /// A server's or a proxy's message may repeat the key that it was sent.
    fn hide_key(&self, record: &mut RequestRecord) {
        let key = self.api_key.as_ref().map(ApiKey::reveal).filter(|key| !key.is_empty());
        if let (Some(error), Some(key)) = (&mut record.error, key) {
            error.message = error.message.replace(key, "***");
        }
    }

    /// Head and body, in one piece: one write sends what fits the socket.
    fn message(&self, request: &Prepared) -> Vec<u8> {
        let key = self.api_key.as_ref().map(ApiKey::reveal);
        let path = format!("{}{}", self.prefix, request.path);
        let (host, length) = (&self.host, request.body.len());
        let mut message = post_head(&path, host, key, "text/event-stream", length).into_bytes();
        message.extend_from_slice(&request.body);
        message
    }
}

/// The error of a request that was refused for its body, but not for its length.
fn refusal(record: &RequestRecord) -> Option<&RequestError> {
    let is_refused = matches!(record.http_status, Some(400 | 422));
    record.error.as_ref().filter(|error| is_refused && !is_too_long(error))
}

/// A refused body may have been refused for a field that a person added to all of them, or
/// for one that no measurement can do without.
fn name_fields(record: &mut RequestRecord, request: &Prepared) {
    let Some(RequestError { class, message }) = refusal(record).cloned() else { return };
    let fields =
        optional::needed(&message, &request.fields).or_else(|| blamed(&request.fields, &message));
    if let Some(fields) = fields {
        record.error = Some(RequestError { class, message: format!("{message}; {fields}") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_answers_comes_first() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let answers = listener.local_addr().expect("bound");
        // Nobody listens there any more.
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let refuses = closed.local_addr().expect("bound");
        drop(closed);
        // For documentation: packets to it lead nowhere.
        let silent = "192.0.2.1:9".parse().expect("an address");
        let patience = Duration::from_secs(20);
        let sorted = first_to_answer(vec![silent, refuses, answers], patience).await;
        assert_eq!(sorted, [answers, silent, refuses]);
        let patience = Duration::from_millis(50);
        let unsorted = first_to_answer(vec![refuses, silent], patience).await;
        assert_eq!(unsorted, [refuses, silent], "as the name has them");
    }

    #[tokio::test]
    async fn no_message_shows_the_credentials_of_a_url() {
        let server = Server {
            endpoint: crate::server::Endpoint::new("http://user:secret@box:8000", None),
            model: "m".to_owned(),
            choice: crate::server::ModelChoice::Clear,
            max_model_len: None,
            version: None,
            simulated: false,
        };
        let refused = Client::new(&server, Limits::default()).await.expect_err("credentials");
        let expected =
            "cannot measure http://***@box:8000: credentials do not belong in a URL".to_owned();
        assert_eq!(refused.to_string(), expected);
    }
}
