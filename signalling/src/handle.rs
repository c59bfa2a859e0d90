//! Refresh handles: opaque to the viewer, derived and not stored.
//!
//! ```text
//!  base64url( session id, 16 B | generation, 4 B big-endian | HMAC-SHA-256 of both, 32 B )
//! ```
//!
//! Because the successor of a handle is a function of the handle, giving the same successor twice
//! needs no memory, and a stolen database gives no handle away.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use protocol::Secret;
use protocol::id::SessionId;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;

const ID_LEN: usize = 16;
const BODY_LEN: usize = ID_LEN + 4;
const MAC_LEN: usize = 32;

/// Makes and checks refresh handles.
pub struct HandleKey([u8; 32]);

impl HandleKey {
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub fn handle(&self, session: SessionId, generation: u32) -> Secret {
        let mut bytes = Vec::with_capacity(BODY_LEN + MAC_LEN);
        bytes.extend_from_slice(Uuid::from(session).as_bytes());
        bytes.extend_from_slice(&generation.to_be_bytes());
        let mac = self.mac(&bytes);
        bytes.extend_from_slice(&mac);
        Secret::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The session and generation of a genuine handle, `None` for anything else.
    pub fn open(&self, handle: &Secret) -> Option<(SessionId, u32)> {
        let bytes = URL_SAFE_NO_PAD.decode(handle.expose()).ok()?;
        let (body, mac) = bytes.split_last_chunk::<MAC_LEN>()?;
        let (id, generation) = body.split_first_chunk::<ID_LEN>()?;
        let generation = u32::from_be_bytes(generation.try_into().ok()?);
        bool::from(self.mac(body).ct_eq(mac))
            .then(|| (SessionId::from_uuid(Uuid::from_bytes(*id)), generation))
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC_LEN] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_opens_to_what_it_was_made_for() {
        let key = HandleKey::new([1; 32]);
        assert_eq!(key.open(&key.handle(session(), 7)), Some((session(), 7)));
    }

    #[test]
    fn a_forged_or_cut_handle_opens_to_nothing() {
        let key = HandleKey::new([1; 32]);
        let handle = key.handle(session(), 7);
        let foreign = HandleKey::new([2; 32]).handle(session(), 7);
        assert_eq!(key.open(&foreign), None);
        for end in 0..handle.expose().len() {
            assert_eq!(key.open(&Secret::new(&handle.expose()[..end])), None);
        }
        for text in ["", "=", "ä", "not base64!"] {
            assert_eq!(key.open(&Secret::new(text)), None);
        }
    }

    fn session() -> SessionId {
        SessionId::from_uuid(Uuid::from_u128(0x1234))
    }
}
