//! TURN URLs (RFC 7065): which server, reached how.

use crate::config::RelayTransport;

/// A `turn:` or `turns:` URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceUrl {
    pub transport: RelayTransport,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

impl IceUrl {
    /// `None` for `stun:` (a relay tells the reflexive address as well), for DTLS, and for text
    /// that is no such URL.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let secure = match scheme {
            "turn" => false,
            "turns" => true,
            _ => return None,
        };
        let transport = match (secure, query) {
            (false, "" | "transport=udp") => RelayTransport::Udp,
            (false, "transport=tcp") => RelayTransport::Tcp,
            (true, "" | "transport=tcp") => RelayTransport::Tls,
            _ => return None,
        };
        let default_port = if secure { 5349 } else { 3478 };
        let (host, port) = split_port(authority, default_port)?;
        Some(Self {
            transport,
            host: host.to_owned(),
            port,
        })
    }
}

fn split_port(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']')?;
            (host, tail.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
    (!host.is_empty() && port != 0).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<(RelayTransport, &str, u16)>) {
        let found = IceUrl::parse(url);
        let found = found
            .as_ref()
            .map(|u| (u.transport, u.host.as_str(), u.port));
        assert_eq!(found, expected, "{url}");
    }

    #[test]
    fn urls_name_server_port_and_transport() {
        use RelayTransport::{Tcp, Tls, Udp};
        check("turn:relay.example", Some((Udp, "relay.example", 3478)));
        check(
            "turn:10.0.0.1:99?transport=udp",
            Some((Udp, "10.0.0.1", 99)),
        );
        check("turn:a:443?transport=tcp", Some((Tcp, "a", 443)));
        check("turns:a", Some((Tls, "a", 5349)));
        check("turns:[::1]:443?transport=tcp", Some((Tls, "::1", 443)));
        check("turns:a?transport=udp", None);
        check("stun:a", None);
        check("turn:", None);
        check("turn:a:0", None);
        check("turn:a:x", None);
        check("turn:[::1", None);
        check("", None);
    }
}
