//! An endpoint: the address of a server, its API key, and which certificates are believed there.
//! Whether something answers there is found out in `open`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use url::Url;

use super::http1::is_header_value;
use super::tls::Tls;
use super::trust::Trust;

/// A bearer key. Never shown, never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself, for the `Authorization` header alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// Where a server is, which key it needs and how it is believed: the one definition of an
/// endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme (`http` or `https`), host and port, without a trailing slash: `http://127.0.0.1:8000`.
    pub base_url: String,
    /// The bearer key, where one is needed.
    pub api_key: Option<ApiKey>,
    /// Which certificates are believed, where the scheme is `https`.
    pub trust: Trust,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api_key, trust, .. } = self;
        let mut shown = f.debug_struct("Endpoint");
        shown.field("base_url", &self.shown()).field("api_key", api_key).field("trust", trust);
        shown.finish()
    }
}

/// An endpoint's address in parts, as connections and requests need them.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// The host to look up: without brackets.
    pub(crate) name: String,
    /// The port to connect to.
    pub(crate) port: u16,
    /// The host as requests name it.
    pub(crate) host: String,
    /// What stands before every path.
    pub(crate) prefix: String,
    /// What connections need besides, with `https`.
    pub(crate) tls: Option<Tls>,
}

impl Endpoint {
    /// A server at this URL, of which the system's authorities are believed.
    pub fn new(base_url: impl Into<String>, api_key: Option<ApiKey>) -> Self {
        Self { base_url: base_url.into(), api_key, trust: Trust::default() }
    }

    /// The address as messages may show it: credentials in it are `***`. They are refused, and
    /// the refusal names the address.
    pub fn shown(&self) -> String {
        without_credentials(&self.base_url).into_owned()
    }

    /// The address in parts.
    ///
    /// # Errors
    /// What is wrong with the address, or the key.
    pub(crate) fn address(&self) -> Result<Address, String> {
        let url =
            Url::parse(&self.base_url).map_err(|error| format!("it is not a URL ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("it must begin with http:// or https://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("credentials do not belong in a URL".to_owned());
        }
        if self.api_key.as_ref().is_some_and(|key| !is_header_value(key.reveal())) {
            return Err("the API key has characters that no header can carry".to_owned());
        }
        let host = url.host_str().ok_or("it has no host")?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = (url.scheme() == "https")
            .then(|| Tls::new(self.trust.configuration(), &name))
            .transpose()?;
        Ok(Address {
            // Both schemes have one.
            port: url.port_or_known_default().unwrap_or(80),
            host: url.port().map_or(host.to_owned(), |port| format!("{host}:{port}")),
            prefix: url.path().trim_end_matches('/').to_owned(),
            name,
            tls,
        })
    }

    /// Whether its host is a loopback address, or exactly `localhost`. What answers
    /// there may still be a tunnel to another machine.
    pub fn is_loopback(&self) -> bool {
        let Ok(url) = Url::parse(&self.base_url) else { return false };
        let Some(host) = url.host_str() else { return false };
        let address = host.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// A URL without user and password. Of what is no URL of ours, everything before the last `@`
/// may be one of them.
fn without_credentials(url: &str) -> Cow<'_, str> {
    let Some((before, host)) = url.rsplit_once('@') else { return url.into() };
    let parsed = Url::parse(url).ok().filter(|it| matches!(it.scheme(), "http" | "https"));
    let Some(mut parsed) = parsed else {
        let scheme = before.split_once("://").map(|(scheme, _)| scheme);
        let scheme = scheme.filter(|it| it.chars().all(char::is_alphanumeric));
        return scheme.map_or(format!("***@{host}"), |it| format!("{it}://***@{host}")).into();
    };
    if parsed.username().is_empty() && parsed.password().is_none() {
        return url.into();
    }
    // A URL that has credentials has a host, so that others can be set.
    let _ = parsed.set_username("***");
    let _ = parsed.set_password(None);
    parsed.as_str().trim_end_matches('/').to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_address_or_exactly_localhost() {
        let is_loopback =
            |host: &str| Endpoint::new(format!("http://{host}:8000"), None).is_loopback();
        for here in
            ["127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "LocalHost"]
        {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "localhost.example.org",
            "127.0.0.1.example.org",
            "127.example.org",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
            "gpu-box",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
        assert!(!Endpoint::new("no URL", None).is_loopback());
    }

    #[test]
    fn an_address_is_http_or_https_without_credentials() {
        let address = |base_url: &str| Endpoint::new(base_url, None).address();
        let parts = |base_url: &str| {
            let it = address(base_url).expect(base_url);
            (it.name, it.port, it.host, it.prefix, it.tls.is_some())
        };
        let of = |name: &str, port, host: &str, prefix: &str, tls| {
            (name.to_owned(), port, host.to_owned(), prefix.to_owned(), tls)
        };
        assert_eq!(parts("http://box:8000"), of("box", 8000, "box:8000", "", false));
        assert_eq!(parts("http://box/llm/"), of("box", 80, "box", "/llm", false));
        assert_eq!(parts("https://box"), of("box", 443, "box", "", true));
        assert_eq!(parts("HTTPS://[::1]:8443"), of("::1", 8443, "[::1]:8443", "", true));
        for (base_url, error) in [
            ("no URL", "it is not a URL ("),
            ("ftp://box", "it must begin with http:// or https://"),
            ("http://user@box", "credentials do not belong in a URL"),
            ("https://:secret@box", "credentials do not belong in a URL"),
            ("https://a_b..c", "a certificate cannot be for the host a_b..c"),
        ] {
            let message = address(base_url).expect_err(base_url);
            assert!(message.starts_with(error), "{base_url}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[tokio::test]
    async fn no_message_shows_the_credentials_of_a_url() {
        use crate::server::Server;

        for (url, shown) in [
            ("http://box:8000/a@b", "http://box:8000/a@b"),
            ("http://user:secret@box:8000", "http://***@box:8000"),
            ("https://:secret@box/v1", "https://***@box/v1"),
            ("http://secret@box/a@b", "http://***@box/a@b"),
            ("http:user:secret@box", "http://***@box"),
            ("http://user:se/secret@box", "http://***@box"),
            ("ftp://user:secret@box", "ftp://***@box"),
            ("user:secret@box", "***@box"),
        ] {
            assert_eq!(Endpoint::new(url, None).shown(), shown, "{url}");
        }
        for url in ["http://user:secret@box", "http://user:se/secret@box", "user:secret@box"] {
            let endpoint = Endpoint::new(url, None);
            let debug = format!("{endpoint:?}");
            let refused = Server::open(endpoint, None).await.expect_err("credentials");
            assert!(refused.to_string().contains("***@box"), "{refused}");
            for message in [refused.to_string(), debug] {
                assert!(!message.contains("secret"), "{message}");
            }
        }
    }
}
