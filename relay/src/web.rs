//! What the relay itself says to HTTP clients, and what it says about them to the upstream.
//!
//! It answers with fixed pages only: parsing requests is the upstream's business.

use std::net::SocketAddr;

/// A fixed answer; the connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// No upstream is configured.
    Relay,
    /// The upstream does not answer.
    NoUpstream,
}

impl Page {
    /// The whole answer.
    pub fn bytes(self) -> Vec<u8> {
        let (status, body) = match self {
            Self::Relay => ("200 OK", "This is a MultiClaw relay. It speaks TURN.\n"),
            Self::NoUpstream => (
                "502 Bad Gateway",
                "The service behind this relay does not answer. Try again in a minute.\n",
            ),
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// The line that goes before a connection's first byte (PROXY protocol, version 1 §2.1).
pub fn proxy_line(client: SocketAddr, relay: SocketAddr) -> Vec<u8> {
    let family = match (client, relay) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return b"PROXY UNKNOWN\r\n".to_vec(),
    };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        client.ip(),
        relay.ip(),
        client.port(),
        relay.port()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_long_as_it_says() {
        for page in [Page::Relay, Page::NoUpstream] {
            let text = String::from_utf8(page.bytes()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let said = format!("Content-Length: {}\r\n", body.len());
            assert!(head.contains(&said), "{page:?}");
        }
    }

    #[test]
    fn the_upstream_is_told_who_the_client_is() {
        let line = |client: &str, relay: &str| {
            let line = proxy_line(client.parse().unwrap(), relay.parse().unwrap());
            String::from_utf8(line).unwrap()
        };
        assert_eq!(
            line("192.0.2.1:5", "192.0.2.2:443"),
            "PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\n"
        );
        assert_eq!(
            line("[2001:db8::1]:5", "[2001:db8::2]:443"),
            "PROXY TCP6 2001:db8::1 2001:db8::2 5 443\r\n"
        );
    }
}
