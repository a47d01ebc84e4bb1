//! An endpoint: the address of a server and its API key. Whether something answers there
//! is found out in `open`.

use std::fmt;
use std::net::IpAddr;

use url::Url;

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

/// Where a server is and which key it needs: the one definition of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host and port, without a trailing slash: `http://127.0.0.1:8000`.
    pub base_url: String,
    /// The bearer key, where one is needed.
    pub api_key: Option<ApiKey>,
}

impl Endpoint {
    /// The address as a URL of plain HTTP, which is all that this program supports.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub(crate) fn http_url(&self) -> Result<Url, String> {
        let url =
            Url::parse(&self.base_url).map_err(|error| format!("it is not a URL ({error})"))?;
        match url.scheme() {
            "http" if url.username().is_empty() && url.password().is_none() => Ok(url),
            "http" => Err("credentials do not belong in a URL".to_owned()),
            "https" => Err("https is not supported; give the server's plain http address, or a \
                            tunnel to it"
                .to_owned()),
            _ => Err("it must begin with http://".to_owned()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_address_or_exactly_localhost() {
        let is_loopback = |host: &str| {
            Endpoint { base_url: format!("http://{host}:8000"), api_key: None }.is_loopback()
        };
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
        assert!(!Endpoint { base_url: "no URL".to_owned(), api_key: None }.is_loopback());
    }

    #[test]
    fn an_address_is_plain_http_without_credentials() {
        let url =
            |base_url: &str| Endpoint { base_url: base_url.to_owned(), api_key: None }.http_url();
        assert_eq!(url("http://box:8000").expect("plain").port(), Some(8000));
        for (address, error) in [
            ("no URL", "it is not a URL ("),
            ("https://box", "https is not supported"),
            ("ftp://box", "it must begin with http://"),
            ("http://user@box", "credentials do not belong in a URL"),
            ("http://:secret@box", "credentials do not belong in a URL"),
        ] {
            let message = url(address).expect_err(address);
            assert!(message.starts_with(error), "{address}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
