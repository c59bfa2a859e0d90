//! STUN and TURN as they appear on the wire (RFC 8489, RFC 8656).
//!
//! Views borrow from the datagram, builders write into the caller's buffer, and nothing here keeps
//! state: the relay and the TURN client of `peer` are both written on these modules.

pub mod channel;
pub mod cidr;
pub mod credential;
pub mod integrity;
pub mod message;
pub mod stream;

/// What a datagram or a frame is, by its first byte ([RFC 8656 §12], [RFC 7983 §7]).
///
/// [RFC 8656 §12]: https://www.rfc-editor.org/rfc/rfc8656#section-12
/// [RFC 7983 §7]: https://www.rfc-editor.org/rfc/rfc7983#section-7
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First two bits `00`: a STUN message.
    Stun,
    /// 64 to 127: channel numbers 0x4000 to 0x7FFF, see [`channel::ChannelNumber`].
    ChannelData,
    /// Neither; on a TURN port it is noise.
    Other,
}

/// Tells STUN from ChannelData from noise. Looks at one byte; an empty slice is noise.
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram.first() {
        Some(0..=3) => Kind::Stun,
        Some(64..=127) => Kind::ChannelData,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7983 §7: 0..3 is STUN, 64..79 is a TURN channel, up to 127 in RFC 5766.
    #[test]
    fn the_first_byte_decides_what_a_datagram_is() {
        for byte in 0..=u8::MAX {
            let expected = match byte {
                0..=3 => Kind::Stun,
                64..=127 => Kind::ChannelData,
                _ => Kind::Other,
            };
            assert_eq!(classify(&[byte]), expected, "{byte}");
        }
        assert_eq!(classify(&[]), Kind::Other);
    }
}
