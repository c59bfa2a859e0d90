//! Time-limited relay credentials, in the shape every TURN server and client knows ("TURN REST").
//!
//! ```text
//!  username   <unix expiry>:<session id>[:<allowed peers>]     peers: addresses or prefixes, ","
//!  password   base64(HMAC-SHA1(secret, username))
//! ```
//!
//! A credential is worth one session until its expiry. The relay additionally enforces the list of
//! allowed peers; another TURN server sees it as part of an opaque name.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::cidr::{Cidr, CidrError};
use super::integrity::Key;
use super::message::PasswordAlgorithm;
use crate::Secret;

/// RFC 8489 §14.3: a username has fewer than 509 bytes.
pub const USERNAME_LEN_MAX: usize = 508;
/// Prefixes in one username; more would not fit the name anyway.
pub const ALLOWED_PEERS_MAX: usize = 16;

/// What a TURN client logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub username: String,
    pub password: Secret,
}

/// Makes a credential for one session, valid until `expires_at` (since the Unix epoch).
///
/// An empty `allowed` means any peer that the relay's policy lets through.
pub fn derive(
    secret: &Secret,
    session: &str,
    allowed: &[Cidr],
    expires_at: Duration,
) -> Credential {
    let mut username = format!("{}:{session}", expires_at.as_secs());
    for (index, prefix) in allowed.iter().enumerate() {
        username.push(if index == 0 { ':' } else { ',' });
        username.push_str(&prefix.to_string());
    }
    let password = password(secret, &username);
    Credential { username, password }
}

/// The password that belongs to a username.
pub fn password(secret: &Secret, username: &str) -> Secret {
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(username.as_bytes());
    Secret::new(STANDARD.encode(mac.finalize().into_bytes()))
}

/// The long-term key a client of this username must have used, for one live secret.
pub fn key(secret: &Secret, username: &str, realm: &str, algorithm: PasswordAlgorithm) -> Key {
    Key::long_term(algorithm, username, realm, &password(secret, username))
}

/// A time-limited username taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// Since the Unix epoch.
    pub expires_at: Duration,
    pub session: &'a str,
    pub peers: AllowedPeers,
}

/// Peers a username allows; empty means no restriction of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedPeers(Vec<Cidr>);

impl AllowedPeers {
    pub fn allows(&self, peer: IpAddr) -> bool {
        self.0.is_empty() || self.0.iter().any(|prefix| prefix.contains(peer))
    }

    pub fn prefixes(&self) -> &[Cidr] {
        &self.0
    }
}

impl<'a> Grant<'a> {
    /// Takes a username apart without judging whether it has expired.
    ///
    /// # Errors
    ///
    /// [`GrantError`] unless the name has the shape above.
    pub fn parse(username: &'a str) -> Result<Self, GrantError> {
        if username.len() > USERNAME_LEN_MAX {
            return Err(GrantError::Long(username.len()));
        }
        let mut parts = username.splitn(3, ':');
        let expires_at = parts
            .next()
            .and_then(parse_decimal)
            .ok_or(GrantError::Expiry)?;
        let session = parts.next().unwrap_or_default();
        Ok(Self {
            expires_at: Duration::from_secs(expires_at),
            session,
            peers: parse_peers(parts.next())?,
        })
    }

    pub fn is_expired(&self, unix_now: Duration) -> bool {
        unix_now >= self.expires_at
    }
}

fn parse_peers(list: Option<&str>) -> Result<AllowedPeers, GrantError> {
    let Some(list) = list else {
        return Ok(AllowedPeers::default());
    };
    let prefixes: Vec<Cidr> = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
    if prefixes.len() > ALLOWED_PEERS_MAX {
        return Err(GrantError::ManyPeers(prefixes.len()));
    }
    Ok(AllowedPeers(prefixes))
}

/// Digits only: `parse` alone would accept a sign.
fn parse_decimal(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Why a username is not a time-limited one. The client is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("the username has {0} bytes, more than {USERNAME_LEN_MAX}")]
    Long(usize),
    #[error("the username does not begin with a Unix time and a colon")]
    Expiry,
    #[error("the allowed peers are malformed: {0}")]
    Peer(#[from] CidrError),
    #[error("{0} allowed peers, more than {ALLOWED_PEERS_MAX}")]
    ManyPeers(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_credential_is_taken_apart_again() {
        let peers = [
            "192.0.2.0/24".parse().unwrap(),
            "2001:db8::1".parse().unwrap(),
        ];
        let made = derive(
            &Secret::new("s"),
            "abc",
            &peers,
            Duration::from_secs(1700000000),
        );
        assert_eq!(made.username, "1700000000:abc:192.0.2.0/24,2001:db8::1/128");

        let grant = Grant::parse(&made.username).unwrap();
        assert_eq!(grant.session, "abc");
        assert_eq!(grant.expires_at, Duration::from_secs(1700000000));
        assert_eq!(grant.peers.prefixes(), peers);
    }

    // Value made with: printf 1700000000:abc | openssl dgst -sha1 -hmac secret -binary | base64
    #[test]
    fn the_password_is_the_one_every_turn_server_expects() {
        let made = derive(
            &Secret::new("secret"),
            "abc",
            &[],
            Duration::from_secs(1700000000),
        );
        assert_eq!(made.password, Secret::new("JHgegmW+/B84iarkT5SFAOC1Iqw="));
    }

    #[test]
    fn a_credential_expires_in_the_second_it_names() {
        let grant = Grant::parse("100:s").unwrap();
        assert!(!grant.is_expired(Duration::from_millis(99_999)));
        assert!(grant.is_expired(Duration::from_secs(100)));
    }

    #[test]
    fn a_list_of_peers_allows_exactly_its_prefixes_and_no_list_allows_all() {
        let peers = Grant::parse("1:s:10.0.0.0/8,192.0.2.7").unwrap().peers;
        assert!(peers.allows("10.9.8.7".parse().unwrap()));
        assert!(peers.allows("192.0.2.7".parse().unwrap()));
        assert!(!peers.allows("192.0.2.8".parse().unwrap()));
        assert!(
            Grant::parse("1:s")
                .unwrap()
                .peers
                .allows("8.8.8.8".parse().unwrap())
        );
    }

    #[test]
    fn names_of_another_shape_are_refused() {
        for name in [
            "",
            "alice",
            "+1:s",
            "-1:s",
            ":s",
            "1:s:",
            "1:s:nonsense",
            "1:s:10.0.0.0/8,",
        ] {
            assert!(Grant::parse(name).is_err(), "{name}");
        }
        assert!(Grant::parse(&"1".repeat(509)).is_err());
        let many = format!("1:s:{}", vec!["10.0.0.1"; 17].join(","));
        assert_eq!(Grant::parse(&many), Err(GrantError::ManyPeers(17)));
    }
}
