//! How a relay tells the service that it is there: a signed report, every few seconds.
//!
//! ```text
//!  POST {cloud}/api/v1/relays
//!  multiclaw-signature: base64(HMAC-SHA256(shared secret, "multiclaw relay report\n" body))
//!  body: a Report as JSON
//! ```
//!
//! The secret is the one relay credentials are made with: who knows it can relay anyway. `sent_ms`
//! only grows, so that a report that was overheard is worth nothing.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::Secret;

/// Where reports go, below the service's URL.
pub const REPORT_PATH: &str = "/api/v1/relays";
/// The header of the signature.
pub const SIGNATURE_HEADER: &str = "multiclaw-signature";
/// Seconds between two reports.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Longest report, in bytes.
pub const REPORT_LEN_MAX: usize = 4 * 1024;
/// Addresses in one report; more cost every session gathering time.
pub const URLS_MAX: usize = 6;
/// Longest of them, in bytes.
pub const URL_LEN_MAX: usize = 256;

/// Keeps a signature of this from being one of anything else.
const CONTEXT: &[u8] = b"multiclaw relay report\n";

/// What a relay says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub region: String,
    /// As clients take them; the first one names the relay.
    pub urls: Vec<String>,
    /// It takes no new allocations and wants its sessions to move.
    pub draining: bool,
    /// Allocations alive.
    pub allocations: u64,
    /// Of a thousand allocations that it may hold.
    pub load_permille: u16,
    /// Milliseconds since the Unix epoch.
    pub sent_ms: u64,
}

/// The signature of a report's bytes.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    STANDARD.encode(mac(secret, body).finalize().into_bytes())
}

/// Whether the bytes were signed with this secret; takes the same time either way.
pub fn is_signed(secret: &Secret, body: &[u8], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    mac(secret, body).verify_slice(&signature).is_ok()
}

fn mac(secret: &Secret, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(CONTEXT);
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_only_unchanged_and_with_the_secret_it_was_signed_with() {
        let (secret, other) = (Secret::new("secret"), Secret::new("other"));
        let signature = sign(&secret, b"body");
        assert!(is_signed(&secret, b"body", &signature));
        assert!(!is_signed(&secret, b"bodY", &signature));
        assert!(!is_signed(&other, b"body", &signature));
        for wrong in ["", "%", "AAAA"] {
            assert!(!is_signed(&secret, b"body", wrong), "{wrong}");
        }
    }
}
