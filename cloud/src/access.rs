//! Access keys and agent host credentials: random secrets of which only a hash is kept.
//!
//! ```text
//!  access key    <id, 16 hex digits>.<secret, 43 characters of base64url = 256 bits>
//! ```
//!
//! The id finds the row, the secret is compared with its hash in constant time. 256 random bits
//! need neither salt nor a slow hash.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::Secret;
use protocol::id::InstanceId;
use protocol::signal::Role;
use signalling::instances::hash;
use subtle::ConstantTimeEq;

/// Hex digits of an access key's id.
const ID_LEN: usize = 16;

/// A secret of 256 random bits as text.
pub fn secret_from(random: [u8; 32]) -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(random))
}

/// What a person shows to use an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Names the key in lists, logs and sessions; no secret.
    pub id: String,
    secret: Secret,
}

impl AccessKey {
    pub fn from_random(id: [u8; 8], secret: [u8; 32]) -> Self {
        Self {
            id: format!("{:016x}", u64::from_be_bytes(id)),
            secret: secret_from(secret),
        }
    }

    /// Takes a key apart; `None` for anything of another shape.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let sound = id.len() == ID_LEN
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && secret.len() <= 64;
        sound.then(|| Self {
            id: id.into(),
            secret: Secret::new(secret),
        })
    }

    /// The key as its owner keeps it.
    pub fn to_text(&self) -> Secret {
        Secret::new(format!("{}.{}", self.id, self.secret.expose()))
    }

    /// What is stored of it.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.secret)
    }
}

/// What is stored about an access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    pub id: String,
    pub instance: InstanceId,
    pub role: Role,
    pub key_hash: [u8; 32],
    /// Unix seconds; `None` for a key that does not expire.
    pub expires_unix: Option<u64>,
    pub revoked: bool,
}

impl AccessRecord {
    /// Whether this key opens something now.
    pub fn admits(&self, key: &AccessKey, unix_now: Duration) -> bool {
        let genuine: bool = self.key_hash.ct_eq(&key.hash()).into();
        let in_time = self.expires_unix.is_none_or(|at| unix_now.as_secs() < at);
        genuine && in_time && !self.revoked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart_into_what_it_was_made_of() {
        let key = AccessKey::from_random([1; 8], [2; 32]);
        assert_eq!(AccessKey::parse(key.to_text().expose()), Some(key));
    }

    #[test]
    fn text_that_is_no_key_is_none() {
        for text in [
            "",
            ".",
            "abc",
            "0123456789abcdef",
            "0123456789abcdeg.x",
            "é.x",
        ] {
            assert_eq!(AccessKey::parse(text), None, "{text}");
        }
        let long = format!("0123456789abcdef.{}", "x".repeat(65));
        assert_eq!(AccessKey::parse(&long), None);
    }

    #[test]
    fn only_the_genuine_unexpired_unrevoked_key_is_admitted() {
        let now = Duration::from_secs(1_000);
        let key = AccessKey::from_random([1; 8], [2; 32]);
        let record = AccessRecord {
            id: key.id.clone(),
            instance: InstanceId::new("desk").unwrap(),
            role: Role::Control,
            key_hash: key.hash(),
            expires_unix: Some(1_001),
            revoked: false,
        };
        assert!(record.admits(&key, now));
        assert!(!record.admits(&AccessKey::from_random([1; 8], [3; 32]), now));
        assert!(!record.admits(&key, now + Duration::from_secs(1)));
        let revoked = AccessRecord {
            revoked: true,
            ..record
        };
        assert!(!revoked.admits(&key, now));
    }
}
