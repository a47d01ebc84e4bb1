use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener as Listener, TcpStream as Stream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use socket2::{Domain, Socket, Type};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::client::clock::Clock;
use crate::client::exchange::Exchange;
use crate::client::flights::Flights;
use crate::client::limits::Limits;
use crate::client::record::RequestRecord;
use crate::client::stream::StreamReader;
use crate::server::{Endpoint, Trust};

/// Where a server listens that takes a few KB before it reads.
fn narrow() -> (Listener, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // Connections have it from their listener.
    socket.set_recv_buffer_size(4096).expect("a small window");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    socket.listen(8).expect("it listens");
    let listener = Listener::from(socket);
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[tokio::test]
async fn what_arrives_while_a_request_waits_to_be_written_has_its_own_time() {
    const LATE: Duration = Duration::from_millis(20);
    let (listener, address) = narrow();
    let mut connection = Connection::open(&[address], None).await.expect("it listens");
    let (mut server, _) = listener.accept().expect("connected");
    let request = vec![b'x'; 1 << 20];
    connection.begin().expect("nothing is out");
    let fill = |cx: &mut Context<'_>, connection: &mut Connection| {
        while connection.poll_write(cx, &request).is_ready() {}
    };
    poll_fn(|cx| {
        fill(cx, &mut connection);
        Poll::Ready(())
    })
    .await;
    // Two clocks are compared, which is right to some microseconds.
    let slack_ns = LATE.as_nanos() as u64 / 2;
    let mut is_own = false;
    // A kernel that has stamped nothing so far begins to some time after it was asked to.
    for _ in 0..1000 {
        let before_ns = now_ns();
        server.write_all(b"abc").expect("connected");
        let after_ns = now_ns();
        std::thread::sleep(LATE);
        let read = poll_fn(|cx| {
            fill(cx, &mut connection);
            connection.poll_read(cx, |at_ns, bytes| (at_ns, bytes.len()))
        });
        let (at_ns, length) = read.await.expect("it is there");
        assert_eq!(length, 3);
        is_own = (before_ns.saturating_sub(slack_ns)..=after_ns + slack_ns).contains(&at_ns);
        if is_own {
            break;
        }
    }
    assert!(is_own, "it has the time at which it was polled");
}

/// A TLS server that reads nothing behind the handshake until it is released; the time of
/// [`now_ns`] at which it began to read. Its authority is in a file of that folder.
fn late_reader(
    release: mpsc::Receiver<()>,
) -> (SocketAddr, tempfile::TempDir, std::thread::JoinHandle<u64>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.pem"), own.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der());
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.expect("a key"))
            .expect("the key is the certificate's");
    let (listener, address) = narrow();
    let server = std::thread::spawn(move || {
        let (mut stream, _): (Stream, _) = listener.accept().expect("connected");
        let mut tls = ServerConnection::new(Arc::new(config)).expect("a configuration");
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).expect("shaken");
        }
        release.recv().expect("released");
        let began_ns = now_ns();
        let mut tls = rustls::Stream::new(&mut tls, &mut stream);
        let mut asked = Vec::new();
        while !asked.ends_with(b"}") {
            let mut piece = [0; 4096];
            let length = tls.read(&mut piece).expect("a request");
            asked.extend_from_slice(&piece[..length]);
        }
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 14\r\n\r\n";
        let _ = tls.write_all(format!("{answer}data: [DONE]\n\n").as_bytes());
        began_ns
    });
    (address, folder, server)
}

#[tokio::test]
async fn a_request_is_sent_when_the_first_piece_of_its_record_is() {
    let (release, released) = mpsc::channel();
    let (address, folder, server) = late_reader(released);
    let trust = Trust::with_file(&folder.path().join("ca.pem")).expect("it has a certificate");
    let endpoint = Endpoint { trust, ..Endpoint::new("https://localhost:1", None) };
    let tls = endpoint.address().expect("an address").tls.expect("TLS");
    let mut connection = Connection::open(&[address], Some(&tls)).await.expect("it is believed");
    // A record is larger than what both sides keep.
    SockRef::from(&connection.stream).set_send_buffer_size(4096).expect("a small buffer");
    let message = [vec![b'x'; 16 << 10], b"}".to_vec()].concat();
    let (clock, limits) = (Clock::start(), Limits::default());
    let mut reader = StreamReader::new(RequestRecord::default(), limits.stream, false);
    let flight = Flights::default().begin(message.len() as u64);
    let exchange = Exchange::new(&mut connection, &message, &mut reader, &flight, clock, limits);
    let stop = CancellationToken::new();
    let reads = async {
        // The request waits by then.
        tokio::time::sleep(Duration::from_millis(50)).await;
        release.send(()).expect("it waits");
    };
    let _ = tokio::join!(exchange.run(&stop), reads);
    let began_ns = clock.since(server.join().expect("no panic"));
    let sent_ns = reader.record_mut().sent_ns;
    assert!(sent_ns < began_ns, "sent at {sent_ns}, read from {began_ns} on");
}
