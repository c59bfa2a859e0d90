//! Keys, integrity tags and fingerprints (RFC 8489 §9.2.2, §14.5 to §14.7).
//!
//! Tags cover the message as if it ended with the integrity attribute, so the length in the header
//! is replaced while hashing; the message itself is never changed or copied.

use std::fmt;
use std::ops::RangeInclusive;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::message::{HEADER_LEN, PasswordAlgorithm};
use crate::Secret;

/// Bytes of a MESSAGE-INTEGRITY value.
pub const SHA1_LEN: usize = 20;
/// Bytes of a whole MESSAGE-INTEGRITY-SHA256 value.
pub const SHA256_LEN: usize = 32;
/// Lengths a MESSAGE-INTEGRITY-SHA256 value may have, multiples of 4 (§14.6).
pub const SHA256_LENS: RangeInclusive<usize> = 16..=32;

/// What both sides derive from a password: 16 or 32 bytes for long-term credentials.
///
/// `Debug` prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; 32],
    len: u8,
}

impl Key {
    /// The long-term key of RFC 8489 §9.2.2: `hash(username ":" realm ":" password)`.
    ///
    /// The strings are used as they are: relay credentials are ASCII, where OpaqueString changes
    /// nothing.
    pub fn long_term(
        algorithm: PasswordAlgorithm,
        username: &str,
        realm: &str,
        password: &Secret,
    ) -> Self {
        let parts = [username, ":", realm, ":", password.expose()];
        match algorithm {
            PasswordAlgorithm::Md5 => {
                let mut hash = Md5::new();
                parts.iter().for_each(|part| hash.update(part));
                Self::from_slice(&hash.finalize())
            }
            PasswordAlgorithm::Sha256 => {
                let mut hash = Sha256::new();
                parts.iter().for_each(|part| hash.update(part));
                Self::from_slice(&hash.finalize())
            }
        }
    }

    /// The short-term key: the password itself (§9.1.1), here at most 32 bytes.
    pub fn short_term(password: &Secret) -> Option<Self> {
        let bytes = password.expose().as_bytes();
        (bytes.len() <= 32).then(|| Self::from_slice(bytes))
    }

    fn from_slice(slice: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(slice) {
            *to = *from;
        }
        Self {
            bytes,
            len: slice.len().min(32) as u8,
        }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.len))
            .unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

pub(super) fn tag_sha1(key: &Key, covered: &[u8]) -> [u8; SHA1_LEN] {
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key.as_slice())
        .expect("HMAC takes keys of any length");
    feed(&mut mac, covered, SHA1_LEN);
    mac.finalize().into_bytes().into()
}

pub(super) fn tag_sha256(key: &Key, covered: &[u8]) -> [u8; SHA256_LEN] {
    tag_sha256_of_len(key, covered, SHA256_LEN)
}

pub(super) fn verify_sha1(key: &Key, covered: &[u8], tag: &[u8]) -> bool {
    tag_sha1(key, covered).as_slice().ct_eq(tag).into()
}

pub(super) fn verify_sha256(key: &Key, covered: &[u8], tag: &[u8]) -> bool {
    let expected = tag_sha256_of_len(key, covered, tag.len());
    expected
        .get(..tag.len())
        .is_some_and(|expected| expected.ct_eq(tag).into())
}

fn tag_sha256_of_len(key: &Key, covered: &[u8], tag_len: usize) -> [u8; SHA256_LEN] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_slice())
        .expect("HMAC takes keys of any length");
    feed(&mut mac, covered, tag_len);
    mac.finalize().into_bytes().into()
}

/// Hashes the message with the length it would have if it ended with this tag.
fn feed<M: Mac>(mac: &mut M, covered: &[u8], tag_len: usize) {
    let Some((&[t0, t1, _, _], rest)) = covered.split_first_chunk::<4>() else {
        return;
    };
    let length = (covered.len() + 4 + tag_len).saturating_sub(HEADER_LEN) as u16;
    let [l0, l1] = length.to_be_bytes();
    mac.update(&[t0, t1, l0, l1]);
    mac.update(rest);
}

/// The FINGERPRINT value of a message that so far consists of `covered` (§14.7).
pub(super) fn fingerprint(covered: &[u8]) -> u32 {
    let Some((&[t0, t1, _, _], rest)) = covered.split_first_chunk::<4>() else {
        return 0;
    };
    let [l0, l1] = ((covered.len() + 8).saturating_sub(HEADER_LEN) as u16).to_be_bytes();
    let crc = crc32(crc32(u32::MAX, &[t0, t1, l0, l1]), rest);
    !crc ^ 0x5354_554E
}

fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        // The index is a byte and the table has 256 entries.
        CRC_TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    })
}

/// CRC-32 of ISO 3309, reflected polynomial 0xEDB88320.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                0xEDB8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};
