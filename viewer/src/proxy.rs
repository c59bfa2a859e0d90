//! Which HTTP proxy, if any, stands between us and a service.
//!
//! The rules of curl: `HTTPS_PROXY` for secure services, `HTTP_PROXY` for plain ones, lower case
//! first; `NO_PROXY` is a list of hosts, domains and `*`. HTTP requests follow them through the
//! HTTP client; this module serves the WebSocket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::Secret;

/// The proxy variables, as found.
#[derive(Clone, Debug, Default)]
pub struct ProxyEnv {
    pub http: Option<String>,
    pub https: Option<String>,
    pub no_proxy: Option<String>,
}

/// Where to connect instead, and how to introduce oneself there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// Value of `Proxy-Authorization`, if the URL carries a user and a password.
    pub authorization: Option<Secret>,
}

/// Why a proxy variable cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    #[error("the proxy must be written http://host:port")]
    Shape,
    #[error("only http:// proxies are supported for the WebSocket, not {0}://")]
    Scheme(String),
}

impl ProxyEnv {
    /// Reads the variables through `var`, which is `std::env::var` in the program.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Self {
        let either = |lower: &str, upper: &str| {
            var(lower)
                .or_else(|| var(upper))
                .filter(|value| !value.is_empty())
        };
        Self {
            http: either("http_proxy", "HTTP_PROXY"),
            https: either("https_proxy", "HTTPS_PROXY"),
            no_proxy: either("no_proxy", "NO_PROXY"),
        }
    }

    /// The proxy for a plain service at `host`, or `None` for a direct connection.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] if the variable that applies is malformed.
    pub fn for_plain(&self, host: &str) -> Result<Option<Proxy>, ProxyError> {
        self.choose(self.http.as_deref(), host)
    }

    /// The same for a service behind TLS.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] if the variable that applies is malformed.
    pub fn for_tls(&self, host: &str) -> Result<Option<Proxy>, ProxyError> {
        self.choose(self.https.as_deref(), host)
    }

    fn choose(&self, url: Option<&str>, host: &str) -> Result<Option<Proxy>, ProxyError> {
        let Some(url) = url else {
            return Ok(None);
        };
        let exempt = self.no_proxy.as_deref().unwrap_or_default();
        if exempt.split(',').any(|entry| matches(entry.trim(), host)) {
            return Ok(None);
        }
        parse(url).map(Some)
    }
}

/// Whether an entry of `NO_PROXY` names the host: itself, a domain above it, or everything.
fn matches(entry: &str, host: &str) -> bool {
    let entry = entry.trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    if entry.is_empty() {
        return false;
    }
    entry == "*"
        || host == entry
        || host
            .strip_suffix(&entry)
            .is_some_and(|rest| rest.ends_with('.'))
}

fn parse(url: &str) -> Result<Proxy, ProxyError> {
    let rest = match url.split_once("://") {
        None => url,
        Some(("http", rest)) => rest,
        Some((scheme, _)) => return Err(ProxyError::Scheme(scheme.to_owned())),
    };
    let rest = rest.split('/').next().unwrap_or_default();
    let (userinfo, address) = match rest.rsplit_once('@') {
        Some((userinfo, address)) => (Some(userinfo), address),
        None => (None, rest),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().map_err(|_| ProxyError::Shape)?)
        }
        _ => (address, 80),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(ProxyError::Shape);
    }
    Ok(Proxy {
        host: host.to_owned(),
        port,
        authorization: userinfo.map(|plain| format!("Basic {}", STANDARD.encode(plain)).into()),
    })
}

impl Proxy {
    /// The request that asks for a tunnel to `host:port` (RFC 9110 §9.3.6).
    pub fn connect_request(&self, host: &str, port: u16) -> String {
        let authorization = self.authorization.as_ref().map_or(String::new(), |value| {
            format!("Proxy-Authorization: {}\r\n", value.expose())
        });
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}\r\n")
    }
}

/// The status of the proxy's answer, once its head is complete; `None` while it is not.
///
/// # Errors
///
/// [`ProxyError::Shape`] if this is no HTTP answer.
pub fn connect_status(head: &[u8]) -> Result<Option<u16>, ProxyError> {
    let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = head.get(..end).and_then(|head| str::from_utf8(head).ok());
    let line = head.and_then(|head| head.lines().next());
    let mut words = line.ok_or(ProxyError::Shape)?.split(' ');
    match (words.next(), words.next().map(str::parse)) {
        (Some(version), Some(Ok(status))) if version.starts_with("HTTP/1.") => Ok(Some(status)),
        _ => Err(ProxyError::Shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_follows_the_scheme_of_the_service() {
        let env = env("http://plain:1", "http://secure:2", "");
        assert_eq!(env.for_plain("a").unwrap().unwrap().host, "plain");
        assert_eq!(env.for_tls("a").unwrap().unwrap().port, 2);
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_everything() {
        for (list, host, direct) in [
            ("localhost", "localhost", true),
            ("example.com", "a.example.com", true),
            (".example.com", "a.example.com", true),
            ("example.com", "badexample.com", false),
            ("a, b", "b", true),
            ("*", "anything", true),
            ("", "a", false),
        ] {
            let chosen = env("http://p:1", "http://p:1", list).for_tls(host).unwrap();
            assert_eq!(chosen.is_none(), direct, "{list} {host}");
        }
    }

    #[test]
    fn user_and_password_become_a_header() {
        let proxy = env("", "http://user:pass@p:3128/", "")
            .for_tls("h")
            .unwrap()
            .unwrap();
        assert_eq!(
            proxy.connect_request("h", 443),
            "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"
        );
    }

    #[test]
    fn a_proxy_that_is_not_http_is_refused_by_name() {
        let refused = env("", "socks5://p:1080", "").for_tls("h");
        assert_eq!(refused, Err(ProxyError::Scheme("socks5".into())));
        assert_eq!(
            env("", "http://:1", "").for_tls("h"),
            Err(ProxyError::Shape)
        );
    }

    #[test]
    fn the_answer_of_the_proxy_is_read_when_complete() {
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nA: b\r\n\r\n";
        for end in 0..answer.len() {
            assert_eq!(connect_status(&answer[..end]), Ok(None));
        }
        assert_eq!(connect_status(answer), Ok(Some(407)));
        assert_eq!(connect_status(b"SSH-2.0\r\n\r\n"), Err(ProxyError::Shape));
    }

    fn env(http: &str, https: &str, no_proxy: &str) -> ProxyEnv {
        ProxyEnv::read(|name| match name {
            "http_proxy" => Some(http.to_owned()),
            "HTTPS_PROXY" => Some(https.to_owned()),
            "NO_PROXY" => Some(no_proxy.to_owned()),
            _ => None,
        })
    }
}
