//! STUN messages: a borrowed view to read, a builder to write.
//!
//! Layout ([RFC 8489 §5], [§14]), all integers big-endian:
//!
//! ```text
//!  byte 0..2    00 + method and class, interleaved
//!  byte 2..4    length of what follows the header, a multiple of 4
//!  byte 4..8    magic cookie 0x2112A442
//!  byte 8..20   transaction id
//!  byte 20..    attributes: type (2), length (2), value, zero padding to a multiple of 4
//! ```
//!
//! [`Message::parse`] walks every attribute once; whatever it returns can be read without bounds
//! to check. Attributes behind MESSAGE-INTEGRITY do not exist for the reader (§14.5).
//!
//! [RFC 8489 §5]: https://www.rfc-editor.org/rfc/rfc8489#section-5
//! [§14]: https://www.rfc-editor.org/rfc/rfc8489#section-14

mod attribute;
mod builder;
#[cfg(test)]
mod tests;

pub use attribute::{
    AddressFamily, Attribute, ErrorCode, MalformedAddress, PASSWORD_ALGORITHMS, PasswordAlgorithm,
    UDP,
};
pub use builder::{BufferFull, Builder};

use super::integrity;

/// Bytes in front of the attributes.
pub const HEADER_LEN: usize = 20;
/// Tells STUN from everything else that starts with two zero bits.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;
/// A message with more attributes is refused: no real one comes near, and reading is O(n).
pub const ATTRIBUTES_MAX: usize = 64;

/// Chosen by the client; an answer carries the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

/// What a message asks for or is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    Data,
    CreatePermission,
    ChannelBind,
    /// 12 bits.
    Other(u16),
}

impl Method {
    fn from_code(code: u16) -> Self {
        match code {
            0x001 => Self::Binding,
            0x003 => Self::Allocate,
            0x004 => Self::Refresh,
            0x006 => Self::Send,
            0x007 => Self::Data,
            0x008 => Self::CreatePermission,
            0x009 => Self::ChannelBind,
            other => Self::Other(other),
        }
    }

    fn code(self) -> u16 {
        match self {
            Self::Binding => 0x001,
            Self::Allocate => 0x003,
            Self::Refresh => 0x004,
            Self::Send => 0x006,
            Self::Data => 0x007,
            Self::CreatePermission => 0x008,
            Self::ChannelBind => 0x009,
            Self::Other(code) => code & 0x0FFF,
        }
    }
}

/// Who speaks: a question, its answer, or a message that is never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// One whole, well-formed STUN message, borrowed from the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    transaction: TransactionId,
    /// Attributes the reader sees end here: at MESSAGE-INTEGRITY, or at the end.
    readable_end: usize,
    /// Offset of the MESSAGE-INTEGRITY attribute.
    integrity_sha1: Option<usize>,
    /// Offset and value length of the MESSAGE-INTEGRITY-SHA256 attribute.
    integrity_sha256: Option<(usize, usize)>,
}

impl<'a> Message<'a> {
    /// Reads a datagram that must be exactly one message.
    ///
    /// A FINGERPRINT, if there is one, is checked here.
    ///
    /// # Errors
    ///
    /// [`MessageError`]: the sender is at fault; drop the bytes and count them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let transaction = parse_header(bytes)?;
        let mut message = Self {
            bytes,
            transaction,
            readable_end: bytes.len(),
            integrity_sha1: None,
            integrity_sha256: None,
        };
        message.walk()?;
        Ok(message)
    }

    pub fn class(&self) -> Class {
        match (self.type_bits() >> 7 & 0b10) | (self.type_bits() >> 4 & 0b01) {
            0b00 => Class::Request,
            0b01 => Class::Indication,
            0b10 => Class::Success,
            _ => Class::Error,
        }
    }

    pub fn method(&self) -> Method {
        let bits = self.type_bits();
        Method::from_code((bits & 0x000F) | (bits >> 1 & 0x0070) | (bits >> 2 & 0x0F80))
    }

    pub fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// The whole message, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes in front of MESSAGE-INTEGRITY, in order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes {
            bytes: self.bytes.get(..self.readable_end).unwrap_or_default(),
            at: HEADER_LEN,
        }
    }

    /// The value of the first attribute of this type: later duplicates are ignored (§14).
    pub fn first(&self, kind: Attribute) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(found, value)| (found == kind).then_some(value))
    }

    pub fn has(&self, kind: Attribute) -> bool {
        self.first(kind).is_some()
    }

    /// Comprehension-required attributes that the reader does not know: answer 420 with them.
    pub fn unknown_required(&self, known: &'a [Attribute]) -> impl Iterator<Item = Attribute> + 'a {
        self.attributes()
            .map(|(kind, _)| kind)
            .filter(move |kind| kind.is_comprehension_required() && !known.contains(kind))
    }

    pub fn has_integrity(&self) -> bool {
        self.integrity_sha1.is_some() || self.integrity_sha256.is_some()
    }

    pub fn has_integrity_sha256(&self) -> bool {
        self.integrity_sha256.is_some()
    }

    /// True if the message carries integrity made with this key; constant time in the tag.
    ///
    /// With both kinds present the stronger one decides (RFC 8489 §9.2.4).
    pub fn verify(&self, key: &integrity::Key) -> bool {
        if let Some((at, len)) = self.integrity_sha256 {
            return self.verify_sha256(key, at, len);
        }
        let Some(at) = self.integrity_sha1 else {
            return false;
        };
        let tag = self.bytes.get(at + 4..at + 4 + integrity::SHA1_LEN);
        let covered = self.bytes.get(..at).unwrap_or_default();
        tag.is_some_and(|tag| integrity::verify_sha1(key, covered, tag))
    }

    fn verify_sha256(&self, key: &integrity::Key, at: usize, len: usize) -> bool {
        let tag = self.bytes.get(at + 4..at + 4 + len);
        let covered = self.bytes.get(..at).unwrap_or_default();
        tag.is_some_and(|tag| integrity::verify_sha256(key, covered, tag))
    }

    fn type_bits(&self) -> u16 {
        read_u16(self.bytes, 0).unwrap_or_default()
    }

    /// Bounds of every attribute, place of the integrity, truth of the fingerprint.
    fn walk(&mut self) -> Result<(), MessageError> {
        let mut count = 0;
        let mut attributes = Attributes {
            bytes: self.bytes,
            at: HEADER_LEN,
        };
        loop {
            let at = attributes.at;
            let Some((kind, value)) = attributes.next() else {
                break;
            };
            count += 1;
            if count > ATTRIBUTES_MAX {
                return Err(MessageError::TooManyAttributes);
            }
            self.note(kind, value, at)?;
        }
        if attributes.at != self.bytes.len() {
            return Err(MessageError::Attribute { at: attributes.at });
        }
        Ok(())
    }

    // RFC 8489 §14.5, §14.6: behind MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and
    // FINGERPRINT count; behind MESSAGE-INTEGRITY-SHA256 only FINGERPRINT.
    fn note(&mut self, kind: Attribute, value: &[u8], at: usize) -> Result<(), MessageError> {
        match kind {
            Attribute::MESSAGE_INTEGRITY if !self.has_integrity() => {
                if value.len() != integrity::SHA1_LEN {
                    return Err(MessageError::Attribute { at });
                }
                self.integrity_sha1 = Some(at);
                self.readable_end = at;
            }
            Attribute::MESSAGE_INTEGRITY_SHA256 if self.integrity_sha256.is_none() => {
                if !integrity::SHA256_LENS.contains(&value.len()) || !value.len().is_multiple_of(4)
                {
                    return Err(MessageError::Attribute { at });
                }
                self.integrity_sha256 = Some((at, value.len()));
                self.readable_end = self.readable_end.min(at);
            }
            Attribute::FINGERPRINT => self.check_fingerprint(value, at)?,
            _ => {}
        }
        Ok(())
    }

    // RFC 8489 §14.7: the last attribute, CRC-32 over all before it.
    fn check_fingerprint(&self, value: &[u8], at: usize) -> Result<(), MessageError> {
        let covered = self.bytes.get(..at).unwrap_or_default();
        let expected = integrity::fingerprint(covered).to_be_bytes();
        let last = at + 8 == self.bytes.len();
        (last && value == expected)
            .then_some(())
            .ok_or(MessageError::Fingerprint)
    }
}

/// The attributes of a message, as `(type, value)`.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (Attribute, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = read_u16(self.bytes, self.at)?;
        let len = usize::from(read_u16(self.bytes, self.at + 2)?);
        let start = self.at + 4;
        let value = self.bytes.get(start..start + len)?;
        let end = start + len.next_multiple_of(4);
        if end > self.bytes.len() {
            return None;
        }
        self.at = end;
        Some((Attribute(kind), value))
    }
}

fn parse_header(bytes: &[u8]) -> Result<TransactionId, MessageError> {
    let header = bytes
        .first_chunk::<HEADER_LEN>()
        .ok_or(MessageError::Short {
            have: bytes.len(),
            need: HEADER_LEN,
        })?;
    let [t0, _, l0, l1, c0, c1, c2, c3, transaction @ ..] = *header;
    if t0 & 0xC0 != 0 || u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
        return Err(MessageError::NotStun);
    }
    let declared = HEADER_LEN + usize::from(u16::from_be_bytes([l0, l1]));
    if !declared.is_multiple_of(4) || declared != bytes.len() {
        return Err(MessageError::Length {
            have: bytes.len(),
            declared,
        });
    }
    Ok(TransactionId(transaction))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

/// Why bytes are not a STUN message. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("{have} bytes where a header has {need}")]
    Short { have: usize, need: usize },
    #[error("no STUN magic cookie")]
    NotStun,
    #[error("the header declares {declared} bytes and {have} arrived")]
    Length { have: usize, declared: usize },
    #[error("the attribute at byte {at} is malformed")]
    Attribute { at: usize },
    #[error("more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    #[error("the fingerprint is wrong or not at the end")]
    Fingerprint,
}
