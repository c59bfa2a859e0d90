//! Nonces that a device signs with its proof, so that none is made ahead of its time (RFC 9449 §8).
//!
//! A nonce is the minute it was made in under a MAC of a key that all nodes have: every node knows
//! every other's, and nobody keeps any.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Good for five minutes and what was left of the one it was made in.
const LIFE_MINUTES: u64 = 5;
/// The clock of another node may be ahead.
const AHEAD_MINUTES: u64 = 1;
const MINUTE_LEN: usize = 8;
const MAC_LEN: usize = 32;

#[derive(Clone)]
pub struct Nonces([u8; 32]);

impl Nonces {
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The one to sign now.
    pub fn current(&self, unix_now: Duration) -> String {
        let minute = minute(unix_now).to_be_bytes();
        let mac = self.mac(&minute).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([minute.as_slice(), mac.as_slice()].concat())
    }

    /// Whether it is one of ours and still good.
    pub fn accepts(&self, nonce: &str, unix_now: Duration) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else {
            return false;
        };
        let Ok(bytes) = <[u8; MINUTE_LEN + MAC_LEN]>::try_from(bytes) else {
            return false;
        };
        let Some((minute_bytes, mac)) = bytes.split_first_chunk::<MINUTE_LEN>() else {
            return false;
        };
        let made = u64::from_be_bytes(*minute_bytes);
        let now = minute(unix_now);
        let good = (now.saturating_sub(LIFE_MINUTES)..=now + AHEAD_MINUTES).contains(&made);
        good && self.mac(minute_bytes).verify_slice(mac).is_ok()
    }

    fn mac(&self, minute: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0);
        mac.expect("HMAC takes a key of any length")
            .chain_update(minute)
    }
}

fn minute(unix: Duration) -> u64 {
    unix.as_secs() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_nonce_is_good_at_every_node_for_some_minutes() {
        let (here, there) = (Nonces::new([1; 32]), Nonces::new([1; 32]));
        let nonce = here.current(NOW);
        assert!(there.accepts(&nonce, NOW));
        assert!(there.accepts(&nonce, NOW + 5 * MINUTE));
        assert!(!there.accepts(&nonce, NOW + 6 * MINUTE));
        // A node whose clock is behind, and a clock that is an hour behind.
        assert!(there.accepts(&nonce, NOW - MINUTE));
        assert!(!there.accepts(&nonce, NOW - 60 * MINUTE));
    }

    #[test]
    fn a_nonce_of_nobody_is_none() {
        let nonces = Nonces::new([1; 32]);
        let foreign = Nonces::new([2; 32]).current(NOW);
        let good = nonces.current(NOW);
        let other = if good.ends_with('A') { "Q" } else { "A" };
        let changed = format!("{}{other}", &good[..good.len() - 1]);
        for text in ["", "x", "ä", &good[1..], &foreign, &changed] {
            assert!(!nonces.accepts(text, NOW), "{text}");
        }
    }
}
