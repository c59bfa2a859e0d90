//! What a connection to port 443 is, by its first bytes.
//!
//! Never by ALPN: browsers send none for TURN over TLS. The first byte on the wire tells TLS from
//! TURN in the clear; after the handshake the first byte of plaintext tells TURN from HTTP. A TURN
//! conversation begins with a STUN request, so the letters of an HTTP method are free.

/// What a connection turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Tls,
    Turn,
    Http,
    /// Nothing we speak: close without a word.
    Unknown,
}

/// Decides by the first byte on the wire.
pub fn on_the_wire(first: u8) -> Speech {
    match first {
        // RFC 8446 §5.1: a handshake record.
        0x16 => Speech::Tls,
        0..=3 => Speech::Turn,
        _ => Speech::Unknown,
    }
}

/// Decides by the first byte behind the TLS handshake.
pub fn in_plaintext(first: u8) -> Speech {
    match first {
        0..=3 => Speech::Turn,
        b'A'..=b'Z' => Speech::Http,
        _ => Speech::Unknown,
    }
}

/// Longest head of an HTTP request that is read, in bytes; a longer one is closed.
pub const HTTP_HEAD_MAX: usize = 8 << 10;

/// True once the head of an HTTP request is complete.
pub fn http_head_is_complete(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| four == b"\r\n\r\n")
}

/// What anybody who comes with a browser is shown.
pub const HTTP_PAGE: &str = "HTTP/1.1 200 OK\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 43\r\n\
    Cache-Control: no-store\r\n\
    Connection: close\r\n\
    \r\n\
    This is a MultiClaw relay. It speaks TURN.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_tls_turn_and_http_apart() {
        for (byte, wire, plaintext) in [
            (0x00, Speech::Turn, Speech::Turn),
            (0x16, Speech::Tls, Speech::Unknown),
            (b'G', Speech::Unknown, Speech::Http),
            (b'P', Speech::Unknown, Speech::Http),
            (0x05, Speech::Unknown, Speech::Unknown),
        ] {
            assert_eq!(on_the_wire(byte), wire, "{byte}");
            assert_eq!(in_plaintext(byte), plaintext, "{byte}");
        }
    }

    #[test]
    fn the_page_is_as_long_as_it_says() {
        let (head, body) = HTTP_PAGE.split_once("\r\n\r\n").unwrap();
        let said = format!("Content-Length: {}\r\n", body.len());
        assert!(head.contains(&said), "{}", body.len());
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert!(!http_head_is_complete(b"GET / HTTP/1.1\r\nHost: a\r\n"));
        assert!(http_head_is_complete(b"GET / HTTP/1.1\r\n\r\n"));
    }
}
