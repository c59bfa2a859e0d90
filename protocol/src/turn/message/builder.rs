//! Writes a message into a buffer the caller owns: no allocation, padding always zero.

use std::net::SocketAddr;
use std::time::Duration;

use super::attribute::{encode_address, xor};
use super::{
    AddressFamily, Attribute, Class, HEADER_LEN, MAGIC_COOKIE, Method, PasswordAlgorithm,
    TransactionId, UDP,
};
use crate::turn::channel::ChannelNumber;
use crate::turn::integrity;

/// A message being written. Attributes appear in the order of the calls.
///
/// A buffer that is too small is remembered and reported once, by [`Builder::finish`].
pub struct Builder<'b> {
    buf: &'b mut [u8],
    len: usize,
    full: bool,
    transaction: TransactionId,
}

/// The caller's buffer cannot hold the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer of {have} bytes is too small for the message")]
pub struct BufferFull {
    pub have: usize,
}

impl<'b> Builder<'b> {
    pub fn new(
        buf: &'b mut [u8],
        class: Class,
        method: Method,
        transaction: TransactionId,
    ) -> Self {
        let mut builder = Self {
            buf,
            len: 0,
            full: false,
            transaction,
        };
        builder.push(&type_bits(class, method).to_be_bytes());
        builder.push(&[0, 0]);
        builder.push(&MAGIC_COOKIE.to_be_bytes());
        builder.push(&transaction.0);
        builder
    }

    /// Any attribute, by type and raw value (at most 65,535 bytes).
    pub fn attribute(&mut self, kind: Attribute, value: &[u8]) -> &mut Self {
        let Ok(len) = u16::try_from(value.len()) else {
            self.full = true;
            return self;
        };
        self.push(&kind.0.to_be_bytes());
        self.push(&len.to_be_bytes());
        self.push(value);
        let padding = value.len().next_multiple_of(4) - value.len();
        self.push([0; 3].get(..padding).unwrap_or_default());
        self
    }

    pub fn username(&mut self, username: &str) -> &mut Self {
        self.attribute(Attribute::USERNAME, username.as_bytes())
    }

    pub fn realm(&mut self, realm: &str) -> &mut Self {
        self.attribute(Attribute::REALM, realm.as_bytes())
    }

    pub fn nonce(&mut self, nonce: &[u8]) -> &mut Self {
        self.attribute(Attribute::NONCE, nonce)
    }

    /// Whole seconds; the rest is dropped.
    pub fn lifetime(&mut self, lifetime: Duration) -> &mut Self {
        let secs = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        self.attribute(Attribute::LIFETIME, &secs.to_be_bytes())
    }

    pub fn requested_transport_udp(&mut self) -> &mut Self {
        self.attribute(Attribute::REQUESTED_TRANSPORT, &[UDP, 0, 0, 0])
    }

    pub fn requested_family(&mut self, family: AddressFamily) -> &mut Self {
        self.attribute(
            Attribute::REQUESTED_ADDRESS_FAMILY,
            &[family.code(), 0, 0, 0],
        )
    }

    pub fn channel_number(&mut self, number: ChannelNumber) -> &mut Self {
        let [n0, n1] = number.get().to_be_bytes();
        self.attribute(Attribute::CHANNEL_NUMBER, &[n0, n1, 0, 0])
    }

    pub fn data(&mut self, payload: &[u8]) -> &mut Self {
        self.attribute(Attribute::DATA, payload)
    }

    pub fn xor_mapped_address(&mut self, addr: SocketAddr) -> &mut Self {
        self.xor_address(Attribute::XOR_MAPPED_ADDRESS, addr)
    }

    pub fn xor_relayed_address(&mut self, addr: SocketAddr) -> &mut Self {
        self.xor_address(Attribute::XOR_RELAYED_ADDRESS, addr)
    }

    pub fn xor_peer_address(&mut self, addr: SocketAddr) -> &mut Self {
        self.xor_address(Attribute::XOR_PEER_ADDRESS, addr)
    }

    /// ALTERNATE-SERVER carries its address in the clear (RFC 8489 §14.15).
    pub fn alternate_server(&mut self, addr: SocketAddr) -> &mut Self {
        self.address(Attribute::ALTERNATE_SERVER, addr)
    }

    pub fn password_algorithm(&mut self, algorithm: PasswordAlgorithm) -> &mut Self {
        let [c0, c1] = algorithm.code().to_be_bytes();
        self.attribute(Attribute::PASSWORD_ALGORITHM, &[c0, c1, 0, 0])
    }

    /// ERROR-CODE; `code` is 300..=699 and `reason` may be empty.
    pub fn error(&mut self, code: u16, reason: &str) -> &mut Self {
        debug_assert!((300..700).contains(&code), "{code}");
        let mut value = [0; 4 + REASON_LEN_MAX];
        let [_, _, class, number, text @ ..] = &mut value;
        *class = (code / 100) as u8;
        *number = (code % 100) as u8;
        let reason = reason.as_bytes();
        let len = reason.len().min(text.len());
        for (to, from) in text.iter_mut().zip(reason) {
            *to = *from;
        }
        self.attribute(
            Attribute::ERROR_CODE,
            value.get(..4 + len).unwrap_or_default(),
        )
    }

    /// Closes the message with MESSAGE-INTEGRITY (SHA-1).
    pub fn integrity(&mut self, key: &integrity::Key) -> &mut Self {
        self.set_length();
        let tag = integrity::tag_sha1(key, self.written());
        self.attribute(Attribute::MESSAGE_INTEGRITY, &tag)
    }

    /// Closes the message with MESSAGE-INTEGRITY-SHA256, not truncated.
    pub fn integrity_sha256(&mut self, key: &integrity::Key) -> &mut Self {
        self.set_length();
        let tag = integrity::tag_sha256(key, self.written());
        self.attribute(Attribute::MESSAGE_INTEGRITY_SHA256, &tag)
    }

    /// FINGERPRINT: the very last attribute.
    pub fn fingerprint(&mut self) -> &mut Self {
        let crc = integrity::fingerprint(self.written());
        self.attribute(Attribute::FINGERPRINT, &crc.to_be_bytes())
    }

    /// The number of bytes written, header included.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] if the buffer was too small; its content is then meaningless.
    pub fn finish(&mut self) -> Result<usize, BufferFull> {
        self.set_length();
        if self.full {
            return Err(BufferFull {
                have: self.buf.len(),
            });
        }
        Ok(self.len)
    }

    fn xor_address(&mut self, kind: Attribute, addr: SocketAddr) -> &mut Self {
        let transaction = self.transaction;
        self.address(kind, xor(addr, transaction))
    }

    fn address(&mut self, kind: Attribute, addr: SocketAddr) -> &mut Self {
        let mut value = [0; 20];
        let len = encode_address(addr, &mut value);
        self.attribute(kind, value.get(..len).unwrap_or_default())
    }

    fn written(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    fn set_length(&mut self) {
        let Ok(len) = u16::try_from(self.len.saturating_sub(HEADER_LEN)) else {
            self.full = true;
            return;
        };
        if let Some(field) = self.buf.get_mut(2..4) {
            field.copy_from_slice(&len.to_be_bytes());
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        match self.buf.get_mut(self.len..self.len + bytes.len()) {
            Some(room) if !self.full => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => self.full = true,
        }
    }
}

/// Longest reason phrase written, in bytes; RFC 8489 §14.8 allows 763.
const REASON_LEN_MAX: usize = 64;

fn type_bits(class: Class, method: Method) -> u16 {
    let class: u16 = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    let method = method.code();
    class | (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2
}
