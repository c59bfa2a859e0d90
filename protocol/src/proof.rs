//! Proofs that whoever sends a request holds the key its token is bound to (DPoP, RFC 9449).
//!
//! One JWT per request, signed by the key of a device, which travels in its header: ES256 or Ed25519.
//! It names the method, the address, the token and a nonce of the service. What is judged here needs
//! no memory: that a proof is taken once, by its [`Proof::fingerprint`], is for who keeps one.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Secret;

/// The header of a request that holds its one proof.
pub const PROOF_HEADER: &str = "dpop";
/// The header of an answer that holds the nonce for the next proof.
pub const NONCE_HEADER: &str = "dpop-nonce";
/// The scheme of `Authorization` under which a bound token is shown.
pub const SCHEME: &str = "DPoP";
/// Longest proof looked at, in bytes: one with an address of 1 KiB fits.
pub const PROOF_LEN_MAX: usize = 2048;
/// How far the clocks of a device and of the service may be apart.
pub const SKEW_MAX: Duration = Duration::from_secs(60);
/// Longest name of a proof (`jti`), in bytes: a UUID has 36.
const ID_LEN_MAX: usize = 128;
/// RFC 9449 §4.2.
const TYPE: &str = "dpop+jwt";
/// A coordinate of a point on either curve: 32 bytes in base64url.
const COORDINATE_LEN: usize = 43;
/// What a JWK has that is nobody's but its owner's, RFC 7518 §6.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key by the SHA-256 of its canonical form, RFC 7638.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// As `jkt` is written: base64url, 43 letters.
impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// A proof whose signature holds; what it was made for is still to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    key: Thumbprint,
    claims: Claims,
}

/// RFC 9449 §4.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    /// Unix seconds.
    iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

/// The request that a proof came with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub method: &'a str,
    /// As the service is known outside; query and fragment do not count.
    pub url: &'a str,
    /// The token shown beside it, if there is one.
    pub token: Option<&'a Secret>,
}

impl Proof {
    /// # Errors
    ///
    /// If it is malformed, too long, signed by no key that may sign, or not by the key it shows.
    pub fn read(text: &str) -> Result<Self, ProofError> {
        if text.len() > PROOF_LEN_MAX {
            return Err(ProofError::TooLong { have: text.len() });
        }
        let header = jsonwebtoken::decode_header(text).map_err(|_| ProofError::Malformed)?;
        let typed = header.typ.as_deref().unwrap_or_default();
        if !typed.eq_ignore_ascii_case(TYPE) || header.crit.is_some() {
            return Err(ProofError::Malformed);
        }
        let jwk = header.jwk.as_ref().ok_or(ProofError::Malformed)?;
        if shows_private_key(text) {
            return Err(ProofError::PrivateKey);
        }
        if !may_sign(header.alg, jwk) {
            return Err(ProofError::Key);
        }
        let public = DecodingKey::from_jwk(jwk).map_err(|_| ProofError::Key)?;
        let claims = jsonwebtoken::decode::<Claims>(text, &public, &by(header.alg));
        let claims = claims.map_err(|error| refused(&error))?.claims;
        if claims.jti.is_empty() || claims.jti.len() > ID_LEN_MAX {
            return Err(ProofError::Malformed);
        }
        let key = thumbprint(jwk).ok_or(ProofError::Key)?;
        Ok(Self { key, claims })
    }

    /// Whether it was made for this request and now.
    ///
    /// # Errors
    ///
    /// What it was not made for.
    pub fn judge(&self, expected: &Expected<'_>, unix_now: Duration) -> Result<(), ProofError> {
        if self.claims.htm != expected.method {
            return Err(ProofError::Method);
        }
        let address = target(expected.url);
        if address.is_none() || target(&self.claims.htu) != address {
            return Err(ProofError::Address);
        }
        if unix_now.as_secs().abs_diff(self.claims.iat) > SKEW_MAX.as_secs() {
            return Err(ProofError::Clock);
        }
        // RFC 9449 §4.3 (11): with a token, `ath` is its hash.
        match expected.token {
            Some(token) if self.claims.ath.as_deref() != Some(&hash_of(token)) => {
                Err(ProofError::Token)
            }
            _ => Ok(()),
        }
    }

    /// The key that signed it.
    pub fn key(&self) -> Thumbprint {
        self.key
    }

    /// What the service gave to be signed.
    pub fn nonce(&self) -> Option<&str> {
        self.claims.nonce.as_deref()
    }

    /// Tells it from every other proof, of this key and of others.
    pub fn fingerprint(&self) -> [u8; 32] {
        let digest = Sha256::new().chain_update(self.key.as_bytes());
        digest.chain_update(&self.claims.jti).finalize().into()
    }

    /// When [`Proof::judge`] has refused it for good, in Unix seconds.
    pub fn expires_unix(&self) -> u64 {
        self.claims.iat.saturating_add(SKEW_MAX.as_secs())
    }
}

/// The library does not look: it would take the public part and be content.
fn shows_private_key(text: &str) -> bool {
    let header = text.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    PRIVATE.iter().any(|part| header["jwk"].get(part).is_some())
}

/// One algorithm per kind of key: a proof cannot choose how it is verified.
fn may_sign(algorithm: Algorithm, jwk: &Jwk) -> bool {
    let sound = |coordinate: &String| coordinate.len() == COORDINATE_LEN;
    match (algorithm, &jwk.algorithm) {
        (Algorithm::ES256, AlgorithmParameters::EllipticCurve(key)) => {
            key.curve == EllipticCurve::P256 && sound(&key.x) && sound(&key.y)
        }
        (Algorithm::EdDSA, AlgorithmParameters::OctetKeyPair(key)) => {
            key.curve == EllipticCurve::Ed25519 && sound(&key.x)
        }
        _ => false,
    }
}

/// The claims of a proof are its own: `exp` and `aud` say nothing in it.
fn by(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

fn refused(error: &jsonwebtoken::errors::Error) -> ProofError {
    match error.kind() {
        ErrorKind::Json(_) => ProofError::Malformed,
        _ => ProofError::Signature,
    }
}

fn thumbprint(jwk: &Jwk) -> Option<Thumbprint> {
    let text = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    bytes.try_into().ok().map(Thumbprint)
}

/// RFC 9449 §4.2: base64url of the SHA-256 of the token's letters.
fn hash_of(token: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.expose().as_bytes()))
}

/// Origin and path, so that two spellings of one address are the same (RFC 9449 §4.3, RFC 3986
/// §6.2): letters of scheme and host, a port that goes without saying.
fn target(url: &str) -> Option<(String, String)> {
    let url = url.split(['?', '#']).next()?;
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let usual = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let authority = authority.strip_suffix(usual).unwrap_or(&authority);
    let path = if path.is_empty() { "/" } else { path };
    Some((format!("{scheme}://{authority}"), path.to_owned()))
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("it is no JWT of the type {TYPE} with a key and the claims it needs")]
    Malformed,
    #[error("it has {have} bytes of {PROOF_LEN_MAX} at most")]
    TooLong { have: usize },
    #[error("its key is neither P-256 with ES256 nor Ed25519 with EdDSA")]
    Key,
    #[error("it shows a private key, which is not private any more")]
    PrivateKey,
    #[error("its signature is not of the key it shows")]
    Signature,
    #[error("it was made for another method")]
    Method,
    #[error("it was made for another address")]
    Address,
    #[error("it was made more than {} s before or after now", SKEW_MAX.as_secs())]
    Clock,
    #[error("it was made for another token")]
    Token,
}

#[cfg(test)]
mod tests;
