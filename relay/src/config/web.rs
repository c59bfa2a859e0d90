//! `[web]`: who answers HTTP and WebSocket on a listener that is `https`.

use std::fmt;

use serde::Deserialize;

/// HTTP connections that live at once, by default: each holds up to a quarter of a megabyte.
const CONNECTIONS: usize = 1024;

/// `[web]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Gets HTTP and WebSocket connections, in the clear; without it they get a page.
    pub upstream: Option<Upstream>,
    /// Connections at once; the newest is refused when there are more.
    pub connections: usize,
    /// Says who the client is in a line before its first byte (PROXY protocol, version 1).
    pub proxy_protocol: bool,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            upstream: None,
            connections: CONNECTIONS,
            proxy_protocol: false,
        }
    }
}

/// `name:port` or `address:port`; a name is resolved for each connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Upstream(String);

impl Upstream {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Upstream {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let port = text.rsplit_once(':').filter(|(host, _)| {
            let bare = !host.contains(['/', '@', ' ']) && !host.contains(':');
            let bracketed = host.starts_with('[') && host.ends_with(']');
            !host.is_empty() && (bare || bracketed)
        });
        match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
            Some(1..) => Ok(Self(text)),
            _ => Err(format!(
                "`{text}` is not a place such as \"127.0.0.1:8443\": a host and a port, without a scheme"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_host_and_a_port_and_nothing_else() {
        for good in ["127.0.0.1:8443", "[::1]:80", "cloud.internal:8080"] {
            assert!(Upstream::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "cloud", ":80", "a:0", "a:x", "http://a:80", "::1:80"] {
            assert!(Upstream::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
