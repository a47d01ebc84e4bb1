//! TLS as a server speaks it, for tests and the client's benchmark: certificates that nobody else
//! knows, one accepted connection, and a forwarder that ends TLS before a server of plain HTTP.

use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A certificate of a server, and the file that names who issued it.
pub struct Identity {
    folder: tempfile::TempDir,
    pub config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn configuration(
    versions: &[&'static SupportedProtocolVersion],
    leaf: &CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.clone()], key.clone_key())
        .expect("the key is the certificate's");
    Arc::new(config)
}

impl Identity {
    /// For `localhost` and 127.0.0.1, issued by an authority of its own.
    pub fn new() -> Self {
        Self::with(&["localhost", "127.0.0.1"], |_| {})
    }

    /// For hosts of these names, with other differences.
    pub fn with(hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut authority = CertificateParams::new([]).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("a certificate");
        let hosts: Vec<String> = hosts.iter().map(|it| (*it).to_owned()).collect();
        let mut leaf = CertificateParams::new(hosts).expect("names");
        change(&mut leaf);
        let key = KeyPair::generate().expect("a key");
        let leaf = leaf.signed_by(&key, &authority).expect("a certificate");
        Self::of(leaf.der().clone(), &key, &authority.pem())
    }

    /// As `openssl req -x509` makes it: its own authority.
    pub fn self_made() -> Self {
        let mut own = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let own = own.self_signed(&key).expect("a certificate");
        Self::of(own.der().clone(), &key, &own.pem())
    }

    fn of(leaf: CertificateDer<'static>, key: &KeyPair, authority: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), authority).expect("written");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = configuration(rustls::DEFAULT_VERSIONS, &leaf, &key);
        Self { folder, config, leaf, key }
    }

    /// The same that speaks one version alone.
    pub fn speaking(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.config = configuration(&[version], &self.leaf, &self.key);
        self
    }

    /// What `--ca-file` wants.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The same as a file of another place.
    pub fn write_to(&self, path: &Path) {
        std::fs::copy(self.file(), path).expect("written");
    }
}

/// An accepted connection.
pub struct Accepted {
    pub stream: TcpStream,
    pub tls: ServerConnection,
    /// What came together with the handshake's end.
    pub early: Vec<u8>,
    /// Bytes that are written at once, and the pause between two writes; 0: all.
    pub pieces: (usize, Duration),
}

impl Accepted {
    /// Shakes hands.
    pub async fn new(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut this = Self { stream, tls, early: Vec::new(), pieces: (0, Duration::ZERO) };
        let mut plain = Vec::new();
        while this.tls.is_handshaking() {
            if this.stream.readable().await.is_ok() && !this.take_ready(&mut plain)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            this.flush().await?;
        }
        this.early = plain;
        Ok(this)
    }

    /// Takes what there is, without waiting; false: the client sends no more.
    fn take_ready(&mut self, plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let read = match self.stream.try_read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let mut bytes = &buffer[..read];
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes)?;
            if let Err(error) = self.tls.process_new_packets() {
                // The alert.
                let mut out = Vec::new();
                let _ = self.tls.write_tls(&mut out);
                let _ = self.stream.try_write(&out);
                return Err(io::Error::other(error));
            }
            let mut reader = self.tls.reader();
            loop {
                let length = match reader.fill_buf() {
                    Ok([]) => return Ok(false),
                    Ok(piece) => {
                        plain.extend_from_slice(piece);
                        piece.len()
                    }
                    Err(_) => break,
                };
                reader.consume(length);
            }
        }
        Ok(true)
    }

    /// Appends what the client sends next; false: nothing more.
    pub async fn read(&mut self, plain: &mut Vec<u8>) -> io::Result<bool> {
        let before = plain.len();
        plain.append(&mut self.early);
        while plain.len() == before {
            self.stream.readable().await?;
            if !self.take_ready(plain)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes all of it, in one record where it fits.
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.tls.writer().write(bytes)?;
            bytes = &bytes[written..];
            self.flush().await?;
        }
        Ok(())
    }

    /// Says that nothing more comes, as TLS has it.
    pub async fn close(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        let out = self.record(&[])?;
        self.write_raw(&out).await
    }

    /// Encrypts bytes into a record, which the caller writes.
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.tls.writer().write_all(bytes)?;
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out)?;
        }
        Ok(out)
    }

    /// Writes bytes that are encrypted already, or are no TLS at all.
    pub async fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (size, pause) = self.pieces;
        for piece in bytes.chunks(if size == 0 { usize::MAX } else { size }) {
            self.stream.write_all(piece).await?;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }
}

/// Ends TLS before a server of plain HTTP. It ends with its runtime.
pub struct Forwarder {
    pub address: SocketAddr,
    pub url: String,
    connections: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Forwarder {
    /// Before the server at `to`; `closes`: whether its end is said as TLS has it.
    pub async fn start(identity: &Identity, to: SocketAddr, closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (connections, failed) = <(Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>)>::default();
        let config = Arc::clone(&identity.config);
        let (count, errors) = (Arc::clone(&connections), Arc::clone(&failed));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (config, errors) = (Arc::clone(&config), Arc::clone(&errors));
                tokio::spawn(async move {
                    if let Err(error) = forward(stream, config, to, closes).await {
                        errors.lock().expect("no panic").push(error.to_string());
                    }
                });
            }
        });
        let url = format!("https://localhost:{}", address.port());
        Self { address, url, connections, failed }
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What went wrong so far, as this side saw it.
    pub fn failed(&self) -> Vec<String> {
        self.failed.lock().expect("no panic").clone()
    }
}

async fn forward(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    to: SocketAddr,
    closes: bool,
) -> io::Result<()> {
    let mut accepted = Accepted::new(stream, config).await?;
    let mut upstream = TcpStream::connect(to).await?;
    upstream.set_nodelay(true)?;
    let (mut asked, mut answer) = (std::mem::take(&mut accepted.early), vec![0; 64 << 10]);
    upstream.write_all(&asked).await?;
    asked.clear();
    loop {
        tokio::select! {
            ready = accepted.stream.readable() => {
                ready?;
                let goes_on = accepted.take_ready(&mut asked)?;
                upstream.write_all(&asked).await?;
                asked.clear();
                if !goes_on {
                    return Ok(());
                }
            }
            read = upstream.read(&mut answer) => match read? {
                0 if closes => return accepted.close().await,
                0 => return Ok(()),
                read => accepted.write(&answer[..read]).await?,
            },
        }
    }
}
