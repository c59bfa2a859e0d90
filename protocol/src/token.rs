//! Tokens: EdDSA JWTs, short, each bound to one audience (RFC 7519, RFC 8037).
//!
//! ```text
//!  connect ticket   aud "ticket"    ≤ 60 s   spent once, opens a session
//!  session token    aud "session"   ≤ 10 min refreshed before expiry, resumes a session
//! ```
//!
//! A token made for one purpose is never valid for another: the audience is checked before
//! anything else is believed.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::Secret;
use crate::id::{InstanceId, SessionId};
use crate::signal::Role;

/// Lifetime of a connect ticket.
pub const TICKET_TTL: Duration = Duration::from_secs(60);
/// Longest lifetime of a session token.
pub const SESSION_TTL_MAX: Duration = Duration::from_secs(600);
/// Clocks of two services may differ by so much before a token counts as expired.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5);
/// Longest token looked at, in bytes: ours are under 500, and a stranger's cost nothing.
pub const TOKEN_LEN_MAX: usize = 2048;

/// What a connect ticket says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketClaims {
    pub aud: TicketAudience,
    /// Unix seconds.
    pub exp: u64,
    /// Names this ticket, so that it is spent once.
    pub jti: SessionId,
    pub instance: InstanceId,
    pub role: Role,
    /// Who it was made for: opaque, for the audit log.
    pub sub: String,
}

/// What a session token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionClaims {
    pub aud: SessionAudience,
    /// Unix seconds.
    pub exp: u64,
    pub session: SessionId,
    pub instance: InstanceId,
    pub role: Role,
}

/// The one audience of a connect ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketAudience {
    #[default]
    #[serde(rename = "ticket")]
    Ticket,
}

/// The one audience of a session token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionAudience {
    #[default]
    #[serde(rename = "session")]
    Session,
}

/// Claims that may be signed: each type knows its audience and its expiry.
pub trait Claims: Serialize + for<'de> Deserialize<'de> {
    const AUDIENCE: &'static str;
    /// Unix seconds.
    fn expires_at(&self) -> u64;
}

impl Claims for TicketClaims {
    const AUDIENCE: &'static str = "ticket";

    fn expires_at(&self) -> u64 {
        self.exp
    }
}

impl Claims for SessionClaims {
    const AUDIENCE: &'static str = "session";

    fn expires_at(&self) -> u64 {
        self.exp
    }
}

/// Length of the random seed an Ed25519 key is made from, in bytes.
pub const SEED_LEN: usize = 32;

/// The key of one deployment, from which everything it signs or derives comes.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: [u8; SEED_LEN],
}

impl SigningKey {
    /// Takes 32 random bytes, as made once at the first start.
    ///
    /// # Errors
    ///
    /// [`TokenError::Key`] if the cryptographic library refuses the seed.
    pub fn from_seed(seed: [u8; SEED_LEN]) -> Result<Self, TokenError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| TokenError::Key)?;
        Ok(Self { pair, seed })
    }

    /// # Errors
    ///
    /// [`TokenError::Key`] if the key cannot be encoded.
    pub fn signer(&self) -> Result<Signer, TokenError> {
        let der = self.pair.to_pkcs8v1().map_err(|_| TokenError::Key)?;
        Ok(Signer::from_pkcs8(der.as_ref()))
    }

    pub fn verifier(&self) -> Verifier {
        Verifier(DecodingKey::from_ed_der(self.pair.public_key().as_ref()))
    }

    /// A symmetric key for one purpose: HMAC-SHA-256 of the purpose under the seed.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.seed).expect("HMAC takes a key of any length");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Signs tokens. Holds the private key.
pub struct Signer(EncodingKey);

impl Signer {
    /// Takes an Ed25519 private key in PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Self {
        Self(EncodingKey::from_ed_der(der))
    }

    /// # Errors
    ///
    /// [`TokenError::Key`] if the key is not an Ed25519 private key.
    pub fn sign<C: Claims>(&self, claims: &C) -> Result<Secret, TokenError> {
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &self.0)
            .map(Secret::from)
            .map_err(|_| TokenError::Key)
    }
}

/// Verifies tokens. Holds the public key.
pub struct Verifier(DecodingKey);

impl Verifier {
    /// Takes the 32 raw bytes of an Ed25519 public key.
    pub fn from_public(raw: &[u8; 32]) -> Self {
        Self(DecodingKey::from_ed_der(raw))
    }

    /// # Errors
    ///
    /// [`TokenError::Invalid`] for anything forged, malformed or made for another audience;
    /// [`TokenError::Expired`] for a genuine token past its time.
    pub fn verify<C: Claims>(&self, token: &Secret, unix_now: Duration) -> Result<C, TokenError> {
        let claims = self.dangerous_verify_at_any_age::<C>(token)?;
        if is_expired(&claims, unix_now) {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }

    /// Verifies everything but the expiry: for the one caller that has another authority for it.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`] for anything forged, malformed or made for another audience.
    pub fn dangerous_verify_at_any_age<C: Claims>(&self, token: &Secret) -> Result<C, TokenError> {
        if token.expose().len() > TOKEN_LEN_MAX {
            return Err(TokenError::Invalid);
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[C::AUDIENCE]);
        // The clock belongs to the caller, who compares the expiry with its own `unix_now`.
        validation.validate_exp = false;
        jsonwebtoken::decode::<C>(token.expose(), &self.0, &validation)
            .map(|data| data.claims)
            .map_err(|_| TokenError::Invalid)
    }
}

/// Whether a token's time has passed by more than [`CLOCK_SKEW`].
pub fn is_expired<C: Claims>(claims: &C, unix_now: Duration) -> bool {
    unix_now.as_secs() > claims.expires_at().saturating_add(CLOCK_SKEW.as_secs())
}

/// Why a token was refused or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is malformed, forged or meant for somebody else")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    #[error("the signing key is not an Ed25519 key")]
    Key,
}

#[cfg(test)]
mod tests;
