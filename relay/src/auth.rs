//! Who may ask: long-term credentials (RFC 8489 §9.2), time-limited or static.
//!
//! Steps in the order that costs a stranger most and the relay least: the nonce first, because a
//! forged source address never has a genuine one; only then is a password derived. This is a
//! deviation from §9.2.4, which looks at the integrity first: a client with a wrong password *and*
//! a stale nonce learns of the password one round trip later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::Secret;
use protocol::turn::credential::{self, AllowedPeers, Grant};
use protocol::turn::integrity::Key;
use protocol::turn::message::{Attribute, Message, PASSWORD_ALGORITHMS, PasswordAlgorithm};

use crate::ledger::Ledger;
use crate::nonce::Nonces;

/// Credentials the relay accepts.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub realm: String,
    /// Newest first: the next one is live too while clients still hold passwords made with it.
    pub shared_secrets: Vec<Secret>,
    pub users: BTreeMap<String, Secret>,
}

/// Somebody who proved who they are.
#[derive(Clone, Debug)]
pub struct User {
    pub name: Arc<str>,
    /// What a quota is counted for, and what a revocation names: the session, or the user.
    pub session: Arc<str>,
    pub key: Key,
    pub peers: AllowedPeers,
}

/// Why a request is not believed, as the answer the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// 400: parts of the credential are missing or contradict each other.
    BadRequest,
    /// 401: no credential, an unknown one, a wrong one, or one past its time.
    Unauthorized,
    /// 438: genuine, but too old or made for somebody else.
    StaleNonce,
}

/// Checks everything but the password: shape, algorithms, nonce.
///
/// # Errors
///
/// [`Challenge`] to answer with.
pub fn check_shape<'a>(
    message: &Message<'a>,
    nonces: &Nonces,
    client: std::net::SocketAddr,
    unix_now: Duration,
) -> Result<(&'a str, PasswordAlgorithm), Challenge> {
    if !message.has_integrity() {
        return Err(Challenge::Unauthorized);
    }
    let username = message.username().ok_or(Challenge::BadRequest)?;
    let nonce = message.nonce().ok_or(Challenge::BadRequest)?;
    if !message.has(Attribute::REALM) {
        return Err(Challenge::BadRequest);
    }
    let algorithm = chosen_algorithm(message)?;
    if !nonces.check(nonce, client, unix_now) {
        return Err(Challenge::StaleNonce);
    }
    Ok((username, algorithm))
}

// RFC 8489 §9.2.4: neither attribute means MD5; one alone, another list than ours, or a choice
// outside the list is a bid-down in progress.
fn chosen_algorithm(message: &Message<'_>) -> Result<PasswordAlgorithm, Challenge> {
    let offered = message.first(Attribute::PASSWORD_ALGORITHMS);
    match (offered, message.has(Attribute::PASSWORD_ALGORITHM)) {
        (None, false) => Ok(PasswordAlgorithm::Md5),
        (Some(list), true) if list == PASSWORD_ALGORITHMS => {
            message.password_algorithm().ok_or(Challenge::BadRequest)
        }
        _ => Err(Challenge::BadRequest),
    }
}

impl Credentials {
    /// Finds the user whose password made this message's integrity.
    ///
    /// # Errors
    ///
    /// [`Challenge::Unauthorized`] for an unknown, expired, revoked or wrong credential alike: a
    /// stranger learns nothing about which.
    pub fn authenticate(
        &self,
        message: &Message<'_>,
        username: &str,
        algorithm: PasswordAlgorithm,
        ledger: &Ledger,
        unix_now: Duration,
    ) -> Result<User, Challenge> {
        if let Some(password) = self.users.get(username) {
            let key = Key::long_term(algorithm, username, &self.realm, password);
            return self.believe(message, username, username, key, AllowedPeers::default());
        }
        let grant = Grant::parse(username).map_err(|_| Challenge::Unauthorized)?;
        if grant.is_expired(unix_now) || ledger.is_revoked(grant.session) {
            return Err(Challenge::Unauthorized);
        }
        let session = if grant.session.is_empty() {
            username
        } else {
            grant.session
        };
        for secret in &self.shared_secrets {
            let key = credential::key(secret, username, &self.realm, algorithm);
            if message.verify(&key) {
                return self.believe(message, username, session, key, grant.peers);
            }
        }
        Err(Challenge::Unauthorized)
    }

    fn believe(
        &self,
        message: &Message<'_>,
        username: &str,
        session: &str,
        key: Key,
        peers: AllowedPeers,
    ) -> Result<User, Challenge> {
        if !message.verify(&key) {
            return Err(Challenge::Unauthorized);
        }
        Ok(User {
            name: username.into(),
            session: session.into(),
            key,
            peers,
        })
    }
}
