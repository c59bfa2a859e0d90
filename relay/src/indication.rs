//! The bytes in front of a payload that travels as a Data indication (RFC 8656 §11.4).
//!
//! DATA is the last attribute, so the payload can stay where it was received: only what stands in
//! front of it, and the padding behind it, is written.

use std::net::{IpAddr, SocketAddr};

use protocol::turn::message::{Attribute, Builder, Class, HEADER_LEN, Method, TransactionId};

/// Header, XOR-PEER-ADDRESS for IPv6, and the head of DATA.
pub const PREFIX_LEN_MAX: usize = HEADER_LEN + 4 + 20 + 4;

/// Writes the prefix for a payload of `len` bytes; returns its length and the padding after it.
pub fn write_prefix(
    peer: SocketAddr,
    len: u16,
    transaction: TransactionId,
    out: &mut [u8; PREFIX_LEN_MAX],
) -> (usize, usize) {
    let head = Builder::new(out, Class::Indication, Method::Data, transaction)
        .xor_peer_address(peer)
        .attribute(Attribute::DATA, b"")
        .finish();
    debug_assert!(head.is_ok(), "the buffer is as long as the longest prefix");
    let head = match peer.ip() {
        IpAddr::V4(_) => PREFIX_LEN_MAX - 12,
        IpAddr::V6(_) => PREFIX_LEN_MAX,
    };
    let padding = usize::from(len).next_multiple_of(4) - usize::from(len);
    let total = (head - HEADER_LEN + usize::from(len) + padding) as u16;
    let fields = [(2, total), (head - 2, len)];
    for (at, value) in fields {
        if let Some(field) = out.get_mut(at..at + 2) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    }
    (head, padding)
}

#[cfg(test)]
mod tests {
    use protocol::turn::message::Message;

    use super::*;

    #[test]
    fn prefix_payload_and_padding_are_one_data_indication() {
        for peer in ["192.0.2.1:5000", "[2001:db8::1]:5000"] {
            for len in 0..9_u16 {
                let mut prefix = [0xAA; PREFIX_LEN_MAX];
                let peer: SocketAddr = peer.parse().unwrap();
                let (head, padding) = write_prefix(peer, len, TransactionId([5; 12]), &mut prefix);
                let payload = vec![7; len.into()];
                let bytes = [&prefix[..head], &payload, &vec![0; padding]].concat();
                let message = Message::parse(&bytes).unwrap();
                assert_eq!(message.method(), Method::Data);
                assert_eq!(message.class(), Class::Indication);
                assert_eq!(message.xor_peer_address(), Some(peer));
                assert_eq!(message.data(), Some(&payload[..]));
            }
        }
    }
}
