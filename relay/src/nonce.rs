//! Stateless nonces: the relay remembers nothing about a stranger it has challenged.
//!
//! ```text
//!  "obMatJos2" "AAAB" base64(unix seconds (4), tag (8))        29 bytes of text
//! ```
//!
//! The first nine characters and the feature bits behind them are the nonce cookie of RFC 8489
//! §9.2: they tell a client that SHA-256 is on offer, and because the tag only ever stands behind
//! them, nobody on the path can take the offer away. The tag is HMAC-SHA-256 over the client's
//! address and the time, so memory does not grow with strangers and any relay of a fleet that
//! shares the key can check it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Nonce cookie and the feature bit "password algorithms".
const COOKIE: &[u8; 13] = b"obMatJos2AAAB";
/// Characters of a nonce.
pub const NONCE_LEN: usize = COOKIE.len() + 16;
/// A nonce is good for so long; then the client is told 438 and tries again.
pub const NONCE_TTL: Duration = Duration::from_secs(3600);

/// Makes and checks nonces.
pub struct Nonces {
    mac: Hmac<Sha256>,
}

impl Nonces {
    /// Takes a random key; relays that share it accept each other's nonces.
    pub fn new(key: &[u8; 32]) -> Self {
        let mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
        Self { mac }
    }

    pub fn make(&self, client: SocketAddr, unix_now: Duration) -> [u8; NONCE_LEN] {
        let time = (unix_now.as_secs() as u32).to_be_bytes();
        let tag = self.tag(client, time);
        let mut raw = [0; 12];
        let (head, tail) = raw.split_at_mut(4);
        head.copy_from_slice(&time);
        tail.copy_from_slice(&tag);
        let mut nonce = [0; NONCE_LEN];
        let (cookie, text) = nonce.split_at_mut(COOKIE.len());
        cookie.copy_from_slice(COOKIE);
        let written = STANDARD.encode_slice(raw, text);
        debug_assert_eq!(written, Ok(16));
        nonce
    }

    /// True if the nonce was made for this client and is not stale.
    pub fn check(&self, nonce: &[u8], client: SocketAddr, unix_now: Duration) -> bool {
        let Some(text) = nonce.strip_prefix(COOKIE) else {
            return false;
        };
        let mut raw = [0; 12];
        if text.len() != 16 || STANDARD.decode_slice(text, &mut raw) != Ok(12) {
            return false;
        }
        let [t0, t1, t2, t3, tag @ ..] = raw;
        let time = [t0, t1, t2, t3];
        let genuine: bool = self.tag(client, time).ct_eq(&tag).into();
        let age = (unix_now.as_secs() as u32).wrapping_sub(u32::from_be_bytes(time));
        genuine && u64::from(age) <= NONCE_TTL.as_secs()
    }

    fn tag(&self, client: SocketAddr, time: [u8; 4]) -> [u8; 8] {
        let mut mac = self.mac.clone();
        match client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&client.port().to_be_bytes());
        mac.update(&time);
        let full = mac.finalize().into_bytes();
        let mut tag = [0; 8];
        for (to, from) in tag.iter_mut().zip(full) {
            *to = from;
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn a_nonce_is_good_for_its_client_and_its_time_only() {
        let nonces = Nonces::new(&[7; 32]);
        let nonce = nonces.make(client(1000), NOW);
        assert!(nonces.check(&nonce, client(1000), NOW));
        assert!(nonces.check(&nonce, client(1000), NOW + NONCE_TTL));
        assert!(!nonces.check(
            &nonce,
            client(1000),
            NOW + NONCE_TTL + Duration::from_secs(1)
        ));
        assert!(!nonces.check(&nonce, client(1001), NOW));
        assert!(!Nonces::new(&[8; 32]).check(&nonce, client(1000), NOW));
    }

    // RFC 8489 §9.2.1: without the cookie a man in the middle could hide SHA-256.
    #[test]
    fn no_single_character_of_a_nonce_can_be_changed_or_left_out() {
        let nonces = Nonces::new(&[7; 32]);
        let nonce = nonces.make(client(1000), NOW);
        for at in 0..nonce.len() {
            let mut forged = nonce;
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert!(!nonces.check(&forged, client(1000), NOW), "{at}");
            assert!(!nonces.check(&nonce[..at], client(1000), NOW), "{at}");
        }
    }

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }
}
