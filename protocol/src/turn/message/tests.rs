//! The RFCs' own vectors, and what must hold for any bytes.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Secret;
use crate::turn::channel::ChannelNumber;
use crate::turn::integrity::Key;

// RFC 5769 §2.1.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69\
    656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70c\
    bfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
// RFC 5769 §2.2.
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
// RFC 5769 §2.3.
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed41\
    80280004c8fb0b4c";
// RFC 5769 §2.4.
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383\
    e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b65786\
    16d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";
// RFC 8489 Appendix B.1 as corrected by erratum 6268.
const SHA256: &str = "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417\
    da0f24819415569e60b205c46e41407f1704001500296f624d61744a6f733241414143662f2f3439396b393534643\
    64f4c33346f4c394653547679363473410000000014000b6578616d706c652e6f726700001d000400020000001c0020\
    b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

const ICE_PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const MATRIX: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";

#[test]
fn the_request_of_rfc_5769_is_read_and_verified() {
    let bytes = hex(REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Request, Method::Binding)
    );
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(
        message.first(Attribute::SOFTWARE),
        Some(&b"STUN test client"[..])
    );
    assert!(message.verify(&short_term(ICE_PASSWORD)));
    assert!(!message.verify(&short_term("VOkJxbRl1RmTxUk/WvJxBT")));
}

#[test]
fn the_responses_of_rfc_5769_carry_their_addresses() {
    for (text, addr) in [
        (RESPONSE_V4, "192.0.2.1:32853"),
        (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let bytes = hex(text);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.xor_mapped_address(), Some(addr.parse().unwrap()));
        assert!(message.verify(&short_term(ICE_PASSWORD)));
    }
}

#[test]
fn the_long_term_request_of_rfc_5769_is_verified() {
    let bytes = hex(LONG_TERM);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.username(), Some(MATRIX));
    assert_eq!(message.realm(), Some("example.org"));
    assert!(message.verify(&matrix_key(PasswordAlgorithm::Md5)));
}

#[test]
fn the_sha256_request_of_rfc_8489_is_verified() {
    let bytes = hex(SHA256);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        message.password_algorithm(),
        Some(PasswordAlgorithm::Sha256)
    );
    assert!(message.has_integrity_sha256());
    assert!(message.verify(&matrix_key(PasswordAlgorithm::Sha256)));
    assert!(!message.verify(&matrix_key(PasswordAlgorithm::Md5)));
}

// RFC 5769 §2.2 again, from the other side: apart from the padding, which the RFC fills with
// spaces and we with zeros, the builder writes what the vector holds.
#[test]
fn the_builder_writes_the_vector_of_rfc_5769_with_zero_padding() {
    let vector = hex(RESPONSE_V4);
    let transaction = Message::parse(&vector).unwrap().transaction();
    let mut buf = [0xAA; 128];
    let len = Builder::new(&mut buf, Class::Success, Method::Binding, transaction)
        .attribute(Attribute::SOFTWARE, b"test vector")
        .xor_mapped_address("192.0.2.1:32853".parse().unwrap())
        .integrity(&short_term(ICE_PASSWORD))
        .fingerprint()
        .finish()
        .unwrap();
    let mut expected = vector.clone();
    expected[35] = 0;
    assert_eq!(buf[..48], expected[..48]);
    assert_eq!(len, vector.len());
    assert!(
        Message::parse(&buf[..len])
            .unwrap()
            .verify(&short_term(ICE_PASSWORD))
    );
}

// CVE-2020-4067: padding must not carry what was in the buffer before.
#[test]
fn padding_is_zero_whatever_the_buffer_held() {
    let mut buf = [0xAA; 64];
    let len = Builder::new(&mut buf, Class::Request, Method::Binding, ID)
        .attribute(Attribute::SOFTWARE, b"a")
        .finish()
        .unwrap();
    assert_eq!(buf[24..len], [b'a', 0, 0, 0]);
}

// coturn ab762f33: an attribute behind MESSAGE-INTEGRITY is nobody's word.
#[test]
fn attributes_behind_the_integrity_do_not_exist() {
    let mut buf = [0; 256];
    let key = short_term("k");
    let len = Builder::new(&mut buf, Class::Request, Method::Refresh, ID)
        .username("alice")
        .integrity(&key)
        .lifetime(Duration::ZERO)
        .username("mallory")
        .finish()
        .unwrap();
    let message = Message::parse(&buf[..len]).unwrap();
    assert!(message.verify(&key));
    assert_eq!(message.lifetime(), None);
    assert_eq!(message.username(), Some("alice"));
    assert_eq!(message.attributes().count(), 1);
}

// RFC 8489 §9.2.4: with both integrities present, the stronger one decides.
#[test]
fn the_stronger_integrity_decides_when_both_are_there() {
    let (right, wrong) = (short_term("right"), short_term("wrong"));
    for (sha1, sha256, accepted) in [
        (&right, &right, true),
        (&wrong, &right, true),
        (&right, &wrong, false),
    ] {
        let mut buf = [0; 256];
        let len = Builder::new(&mut buf, Class::Request, Method::Refresh, ID)
            .integrity(sha1)
            .integrity_sha256(sha256)
            .fingerprint()
            .finish()
            .unwrap();
        assert_eq!(
            Message::parse(&buf[..len]).unwrap().verify(&right),
            accepted
        );
    }
}

// RFC 8489 §14: of duplicates the first counts.
#[test]
fn the_first_of_two_equal_attributes_wins() {
    let bytes = built(|builder| {
        builder.username("first").username("second");
    });
    assert_eq!(Message::parse(&bytes).unwrap().username(), Some("first"));
}

#[test]
fn unknown_required_attributes_are_listed_and_optional_ones_are_not() {
    let bytes = built(|builder| {
        builder
            .attribute(Attribute(0x7777), b"")
            .attribute(Attribute(0x8777), b"")
            .username("u");
    });
    let message = Message::parse(&bytes).unwrap();
    let unknown: Vec<_> = message.unknown_required(&[Attribute::USERNAME]).collect();
    assert_eq!(unknown, [Attribute(0x7777)]);
}

#[test]
fn every_prefix_of_a_vector_is_an_error_and_never_a_panic() {
    for text in [REQUEST, RESPONSE_V4, RESPONSE_V6, LONG_TERM, SHA256] {
        let bytes = hex(text);
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_err(), "{end}");
        }
    }
}

#[test]
fn no_flipped_bit_of_a_covered_byte_passes_the_integrity() {
    let bytes = hex(LONG_TERM);
    let key = matrix_key(PasswordAlgorithm::Md5);
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let accepted = Message::parse(&forged).is_ok_and(|message| message.verify(&key));
        assert!(!accepted, "bit {bit}");
    }
}

#[test]
fn a_wrong_fingerprint_and_a_fingerprint_in_the_middle_are_refused() {
    let mut wrong = hex(REQUEST);
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(
        Message::parse(&wrong).err(),
        Some(MessageError::Fingerprint)
    );
    let middle = built(|builder| {
        builder.fingerprint().username("u");
    });
    assert_eq!(
        Message::parse(&middle).err(),
        Some(MessageError::Fingerprint)
    );
}

#[test]
fn more_attributes_than_the_cap_are_refused() {
    for (count, accepted) in [(ATTRIBUTES_MAX, true), (ATTRIBUTES_MAX + 1, false)] {
        let bytes = built(|builder| {
            for _ in 0..count {
                builder.attribute(Attribute::SOFTWARE, b"");
            }
        });
        assert_eq!(Message::parse(&bytes).is_ok(), accepted, "{count}");
    }
}

#[test]
fn a_buffer_that_is_too_small_is_said_once_at_the_end() {
    let mut buf = [0; 24];
    let built = Builder::new(&mut buf, Class::Request, Method::Binding, ID)
        .username("too long for it")
        .finish();
    assert_eq!(built, Err(BufferFull { have: 24 }));
}

#[test]
fn an_error_code_survives_the_round_trip() {
    let bytes = built(|builder| {
        builder.error(438, "Stale Nonce");
    });
    let error = Message::parse(&bytes).unwrap().error();
    assert_eq!(
        error,
        Some(ErrorCode {
            code: 438,
            reason: "Stale Nonce"
        })
    );
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_everything(&bytes);
    }

    // Random bytes never reach the attributes: give them a true header.
    #[test]
    fn any_attributes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 20..200)) {
        bytes.truncate(bytes.len() / 4 * 4);
        bytes[0] &= 0x3F;
        let len = (bytes.len() - HEADER_LEN) as u16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        read_everything(&bytes);
    }

    #[test]
    fn addresses_survive_the_round_trip(v6: bool, ip: u128, port: u16, id: [u8; 12]) {
        let addr = match v6 {
            true => SocketAddr::from((Ipv6Addr::from_bits(ip), port)),
            false => SocketAddr::from(((ip as u32).to_be_bytes(), port)),
        };
        let mut buf = [0; 64];
        let len = Builder::new(&mut buf, Class::Request, Method::CreatePermission, TransactionId(id))
            .xor_peer_address(addr)
            .finish()
            .unwrap();
        let message = Message::parse(&buf[..len]).unwrap();
        prop_assert_eq!(message.xor_peer_address(), Some(addr));
        prop_assert_eq!(message.peers().collect::<Vec<_>>(), vec![Ok(addr)]);
        prop_assert_eq!(message.transaction(), TransactionId(id));
    }

    #[test]
    fn every_method_and_class_survives_the_round_trip(code in 0u16..0x1000) {
        for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
            let mut buf = [0; 20];
            let method = Method::from_code(code);
            Builder::new(&mut buf, class, method, ID).finish().unwrap();
            let message = Message::parse(&buf).unwrap();
            prop_assert_eq!((message.class(), message.method()), (class, method));
        }
    }
}

fn read_everything(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let key = short_term("k");
    let _ = (message.class(), message.method(), message.verify(&key));
    let _ = (message.username(), message.error(), message.lifetime());
    let _ = (message.peers().count(), message.even_port());
    let _ = (message.channel_number(), message.password_algorithm());
    let _ = (message.alternate_server(), message.xor_relayed_address());
}

fn built(write: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut buf = vec![0; 1024];
    let mut builder = Builder::new(&mut buf, Class::Request, Method::Binding, ID);
    write(&mut builder);
    let len = builder.finish().unwrap();
    buf.truncate(len);
    buf
}

#[test]
fn a_channel_number_outside_the_range_is_not_one() {
    for (raw, expected) in [
        (0x3FFF_u16, None),
        (0x4000, ChannelNumber::new(0x4000)),
        (0x8000, None),
    ] {
        let [n0, n1] = raw.to_be_bytes();
        let bytes = built(|builder| {
            builder.attribute(Attribute::CHANNEL_NUMBER, &[n0, n1, 0, 0]);
        });
        assert_eq!(Message::parse(&bytes).unwrap().channel_number(), expected);
    }
}

const ID: TransactionId = TransactionId(*b"transaction!");

fn short_term(password: &str) -> Key {
    Key::short_term(&Secret::new(password)).unwrap()
}

fn matrix_key(algorithm: PasswordAlgorithm) -> Key {
    Key::long_term(algorithm, MATRIX, "example.org", &Secret::new("TheMatrIX"))
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
