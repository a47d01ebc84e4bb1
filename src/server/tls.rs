//! TLS as a state machine that is fed with the bytes of a connection: no socket is read here, so
//! that whoever reads knows when the bytes arrived that completed a record. What went wrong is
//! said in plain words here; which certificates are believed is in `trust`.

use std::io::{self, BufRead as _, IoSlice, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, Error};
use rustls::{InvalidMessage, PeerIncompatible};
use tokio::net::TcpStream;

use super::trust::is_of_an_authority;
use crate::clean;

/// Bytes that are encrypted at once: a record.
const RECORD: usize = 16 << 10;
/// Names of a certificate that a message shows.
const MAX_NAMES: usize = 5;

/// What a connection to one server needs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    configuration: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// For the host of this name or address.
    ///
    /// # Errors
    /// What no certificate can be for.
    pub(super) fn new(configuration: Arc<ClientConfig>, host: &str) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("a certificate cannot be for the host {}", clean::plain(host)))?;
        Ok(Self { configuration, name })
    }

    /// Shakes hands over a connection.
    ///
    /// # Errors
    /// Why the server is not believed, speaks no TLS, or broke off.
    pub(crate) async fn begin(&self, stream: &TcpStream) -> io::Result<Session> {
        let connection = ClientConnection::new(Arc::clone(&self.configuration), self.name.clone())
            .map_err(|error| io::Error::other(words(&error, false)))?;
        let mut session = Session { connection, accepted: 0, is_under_way: false, end: None };
        let (mut buffer, mut plain) = (vec![0; RECORD], Vec::new());
        loop {
            std::future::poll_fn(|cx| session.poll_flush(cx, stream)).await?;
            if !session.connection.is_handshaking() {
                break;
            }
            stream.readable().await?;
            match stream.try_read(&mut buffer) {
                Ok(0) => {
                    let words = if session.has_answered() { BROKEN_OFF } else { NO_HANDSHAKE };
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, words));
                }
                Ok(length) => session.take(&buffer[..length], &mut plain),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if let Some(end) = session.end() {
                // The server is told why, where it still listens.
                let _ = session.send(stream);
                return Err(end.err().unwrap_or_else(|| io::Error::other(BROKEN_OFF)));
            }
        }
        if plain.is_empty() { Ok(session) } else { Err(io::Error::other(UNASKED)) }
    }
}

const NO_HANDSHAKE: &str = "it closed the connection in the TLS handshake: if it speaks plain \
                            HTTP there, its address begins with http://";
const BROKEN_OFF: &str = "it closed the connection in the TLS handshake";
const UNASKED: &str = "it answered before it was asked";
const NO_TLS: &str = "it speaks no TLS there: a plain HTTP server's address begins with http://";

/// The TLS of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    connection: ClientConnection,
    /// Bytes of the caller that are encrypted and not yet reported as written.
    accepted: usize,
    /// Some of these were written.
    is_under_way: bool,
    end: Option<End>,
}

/// Why nothing more will come.
#[derive(Clone, Debug)]
enum End {
    Closed,
    Failed(String),
}

impl Session {
    /// Takes bytes as they came; what they decrypt to is appended to `plain`. What ends the
    /// session is kept, and shown by [`Session::end`]: what came before it is good.
    pub(crate) fn take(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) {
        while !bytes.is_empty() && self.end.is_none() {
            let read = self.connection.read_tls(&mut bytes);
            let processed = self.connection.process_new_packets();
            let mut reader = self.connection.reader();
            while let Ok(piece) = reader.fill_buf()
                && !piece.is_empty()
            {
                plain.extend_from_slice(piece);
                let length = piece.len();
                reader.consume(length);
            }
            self.end = match (processed, read) {
                (Err(error), _) => Some(End::Failed(words(&error, self.has_answered()))),
                (Ok(state), _) if state.peer_has_closed() => Some(End::Closed),
                (Ok(_), Err(error)) => Some(End::Failed(error.to_string())),
                (Ok(_), Ok(_)) => None,
            };
        }
    }

    /// Whether the server answered in TLS: then it speaks it, whatever came later.
    fn has_answered(&self) -> bool {
        self.connection.protocol_version().is_some()
    }

    /// How it ended, if it did: the server closed it, or it broke.
    pub(crate) fn end(&self) -> Option<io::Result<()>> {
        self.end.as_ref().map(|end| match end {
            End::Closed => Ok(()),
            End::Failed(words) => Err(io::Error::new(io::ErrorKind::InvalidData, words.clone())),
        })
    }

    /// Encrypts and writes what the socket takes of `bytes`. Until it is ready, the same bytes
    /// must be given again.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &TcpStream,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.accepted == 0 {
            let record = &bytes[..bytes.len().min(RECORD)];
            self.accepted = self.connection.writer().write(record)?;
        }
        ready!(self.poll_flush(cx, stream))?;
        self.is_under_way = false;
        Poll::Ready(Ok(std::mem::take(&mut self.accepted)))
    }

    /// Whether a part of the bytes that [`Session::poll_write`] was given is out, and the rest
    /// waits for the socket.
    pub(crate) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Writes what waits to be written.
    fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            ready!(stream.poll_write_ready(cx))?;
            match self.send(stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => sent?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits to be written, as far as the socket takes it at once: the answer to a
    /// server that changes its keys, for example. The rest goes with the next bytes.
    ///
    /// # Errors
    /// As writing to a socket that does not block.
    pub(crate) fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            let written = self.connection.write_tls(&mut AtOnce(stream))?;
            self.is_under_way |= written > 0 && self.accepted > 0;
        }
        Ok(())
    }
}

/// The connection ended, and TLS did not: what came may be cut off.
pub(crate) fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed without the end of TLS")
}

/// Writes to a socket without waiting.
struct AtOnce<'a>(&'a TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What went wrong, and what a person can do about it; `has_answered`: after the server had
/// answered in TLS.
fn words(error: &Error, has_answered: bool) -> String {
    match error {
        Error::InvalidCertificate(_) if is_of_an_authority(error) => UNKNOWN.to_owned(),
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) if !has_answered => NO_TLS.to_owned(),
        Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
        | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "it offers neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it asks for a certificate of ours, which is not supported".to_owned()
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "it serves no host of this name".to_owned()
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "it accepts none of our TLS ciphers, or asks for a certificate of ours".to_owned()
        }
        Error::AlertReceived(alert) => format!("it refused the TLS connection ({alert:?})"),
        Error::DecryptError | Error::InvalidMessage(_) if has_answered => {
            "bytes that do not belong to its TLS came".to_owned()
        }
        other => format!("TLS failed: {other}"),
    }
}

const UNKNOWN: &str = "no known authority issued its certificate, or the server does not send the \
                       authorities between: name a file with the authority's, or with the \
                       server's own, by --ca-file";

fn of_certificate(error: &CertificateError) -> String {
    match error {
        // An authority of the same name has another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => UNKNOWN.to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let host = expected.to_str();
            if presented.is_empty() {
                return format!("its certificate names no host (subjectAltName), so not {host}");
            }
            let mut names: Vec<_> =
                presented.iter().take(MAX_NAMES).map(|name| clean::plain(bare(name))).collect();
            if presented.len() > MAX_NAMES {
                names.push("...".into());
            }
            format!("its certificate is not for {host}, but for {}", names.join(", "))
        }
        CertificateError::NotValidForName => "its certificate is for another host".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate expired on {} (this machine's clock says {})",
            day(*not_after),
            day(*time)
        ),
        CertificateError::Expired => "its certificate expired".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is valid from {} on (this machine's clock says {})",
            day(*not_before),
            day(*time)
        ),
        CertificateError::NotValidYet => "its certificate is not valid yet".to_owned(),
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers".to_owned()
        }
        other if other.to_string().contains("UnsupportedCertVersion") => {
            "its certificate is of version 1, without the extensions that name its hosts: make one \
             of version 3 with a subjectAltName"
                .to_owned()
        }
        other => format!("its certificate cannot be used ({other})"),
    }
}

/// `box.example` of rustls's `DnsName("box.example")`.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

fn day(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second)
        .map_or_else(|_| "an unknown day".to_owned(), |it| it.strftime("%Y-%m-%d").to_string())
}
