//! Which certificates of servers are believed: those that the system's authorities issued, and
//! those of a file that a person names. The configuration of TLS is made here, once for all
//! connections, so that sessions are resumed; a connection itself is in `tls`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::input::{self, InputError};

/// Bytes of a file of certificates: the system's own has some 250 KB.
const MAX_FILE: u64 = 16 << 20;

/// Which certificates are believed. Cheap to clone; by default those of the system's authorities.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<ClientConfig>>);

/// Why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: InputError,
    },
    /// It has none.
    #[error("{} has no certificate: one in PEM form begins with `-----BEGIN CERTIFICATE-----` (`openssl x509 -inform der` converts a file in DER form)", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// What should be one is none.
    #[error("{}: certificate {number} cannot be read ({error})", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        error: String,
    },
}

/// The system's authorities alone. Where the system has none, no certificate is believed.
static SYSTEM: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| configuration(system(), Vec::new()));

impl Trust {
    /// The system's authorities, and the certificates of a file in PEM form: of authorities, or of
    /// servers themselves.
    ///
    /// # Errors
    /// A file that cannot be read, has no certificate, or one that is none.
    pub fn with_file(path: &Path) -> Result<Self, TrustError> {
        let broken = |number: usize, error: String| {
            let number = number + 1;
            TrustError::Broken { path: path.to_owned(), number, error }
        };
        let text = input::read(path, MAX_FILE)
            .map_err(|error| TrustError::Unreadable { path: path.to_owned(), error })?;
        let (mut roots, mut named) = (system(), Vec::new());
        for (number, read) in CertificateDer::pem_slice_iter(&text).enumerate() {
            let certificate = read.map_err(|error| broken(number, error.to_string()))?;
            roots.add(certificate.clone()).map_err(|error| broken(number, error.to_string()))?;
            named.push(certificate);
        }
        if named.is_empty() {
            return Err(TrustError::Empty { path: path.to_owned() });
        }
        Ok(Self(Some(configuration(roots, named))))
    }

    /// What all connections that trust this share.
    pub(super) fn configuration(&self) -> Arc<ClientConfig> {
        self.0.as_ref().map_or_else(|| Arc::clone(&SYSTEM), Arc::clone)
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Trust(system, file)" } else { "Trust(system)" })
    }
}

/// The system's authorities, as far as they can be read.
fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn configuration(roots: RootCertStore, named: Vec<CertificateDer<'static>>) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let roots = Arc::new(roots);
    // It refuses to be built without roots, as on a system that has none.
    let by_roots =
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let verifier = Verifier { by_roots: by_roots.ok(), named, algorithms };
    let mut configuration = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers of both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(configuration)
}

/// Verifies as usual, and believes a server's own certificate that a person named: `openssl req
/// -x509` makes one that is an authority's by its form, which no server may use otherwise.
#[derive(Debug)]
struct Verifier {
    /// `None`: no authority is known.
    by_roots: Option<Arc<WebPkiServerVerifier>>,
    named: Vec<CertificateDer<'static>>,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(by_roots) = &self.by_roots else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let verified =
            by_roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // Its time was looked at before its form.
            Err(error) if is_of_an_authority(&error) && self.named.contains(end_entity) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&parsed, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a server has an authority's certificate, which may be what it made for itself.
pub(super) fn is_of_an_authority(error: &Error) -> bool {
    // The library behind rustls has a type for it that rustls does not offer.
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other))
        if other.to_string().contains("CaUsedAsEndEntity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            let path = folder.path().join("ca.pem");
            std::fs::write(&path, text).unwrap();
            Trust::with_file(&path).expect_err(text).to_string()
        };
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for text in ["", "no certificate", &key] {
            assert!(refused(text).contains("ca.pem has no certificate"), "{}", refused(text));
        }
        let good = rcgen::generate_simple_self_signed(vec!["box".to_owned()]).unwrap().cert.pem();
        let broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let second = refused(&format!("{good}{broken}"));
        assert!(second.contains("certificate 2 cannot be read"), "{second}");
        let cut = refused(&good[..good.len() / 2]);
        assert!(cut.contains("certificate 1 cannot be read"), "{cut}");
        let missing = Trust::with_file(Path::new("/nonexistent/ca.pem")).expect_err("missing");
        assert!(missing.to_string().contains("there is no such file"), "{missing}");
        let path = folder.path().join("good.pem");
        std::fs::write(&path, format!("# ours\n{good}{key}{good}")).unwrap();
        assert!(Trust::with_file(&path).unwrap() != Trust::default());
    }
}
