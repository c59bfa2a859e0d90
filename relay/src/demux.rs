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

/// Longest head of a connection's first HTTP request, in bytes; a longer one is closed.
pub const HTTP_HEAD_MAX: usize = 8 << 10;

/// How much of the head of an HTTP request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    Partial,
    Whole,
    TooLong,
}

/// Looks for the end of the head.
pub fn http_head(bytes: &[u8]) -> Head {
    let searched = bytes.get(..HTTP_HEAD_MAX).unwrap_or(bytes);
    if searched.windows(4).any(|four| four == b"\r\n\r\n") {
        Head::Whole
    } else if bytes.len() >= HTTP_HEAD_MAX {
        Head::TooLong
    } else {
        Head::Partial
    }
}

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
    fn a_head_ends_with_an_empty_line_within_its_limit() {
        let filled = |len: usize| [&vec![b'a'; len][..], b"\r\n\r\n"].concat();
        for (bytes, expected) in [
            (b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec(), Head::Partial),
            (b"GET / HTTP/1.1\r\n\r\nbody".to_vec(), Head::Whole),
            (filled(HTTP_HEAD_MAX - 4), Head::Whole),
            (filled(HTTP_HEAD_MAX - 3), Head::TooLong),
        ] {
            assert_eq!(http_head(&bytes), expected, "{} bytes", bytes.len());
        }
    }
}
