//! Who calls by a device: its token, and a proof by its key for this one request (RFC 9449).
//!
//! In this order: the proof itself, the token's key, how often, whether the proof was used before,
//! the token. So whoever has no key changes nothing and ends nothing, and fills no table.

use std::time::{Duration, Instant};

use axum::extract::{FromRef, FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, ORIGIN, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use protocol::Secret;
use protocol::problem::{Code, Problem};
use protocol::proof::{Expected, NONCE_HEADER, PROOF_HEADER, Proof, SCHEME};
use signalling::io::unix_now;

use super::{Caller, Identity, Refusal, Visit, failed, header, locked};
use crate::identity::device::PROOF_KEPT;
use crate::identity::sign_in::{SignIn, hash_of};
use crate::io::problems;

/// Letters of a token: 256 bits in base64url, and room.
const TOKEN_LEN_MAX: usize = 64;

/// A program at the door: it has a key and no token yet. Counted per network, as it costs a hash.
pub(super) struct Newcomer {
    pub(super) visit: Visit,
    pub(super) proof: Proof,
}

impl FromRequestParts<Identity> for Newcomer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, identity: &Identity) -> Result<Self, Refusal> {
        let mut visit = identity.visit_by_program(parts)?;
        if !locked(&identity.0.rates).allows(visit.network, Instant::now()) {
            return Err(problems::too_many().into());
        }
        let proof = identity.proof(parts, &visit, None)?;
        visit.device = Some(*proof.key().as_bytes());
        Ok(Self { visit, proof })
    }
}

/// A member who is signed in, at a browser or by a device.
pub(in crate::io) struct Member(pub(in crate::io) Caller);

impl<S> FromRequestParts<S> for Member
where
    S: Sync,
    Identity: FromRef<S>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let member = Identity::from_ref(state).member(parts).await?;
        Ok(Self(member.ok_or_else(problems::sign_in_required)?))
    }
}

/// A device that is signed in.
pub(super) struct ByDevice(pub(super) Caller);

impl FromRequestParts<Identity> for ByDevice {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, identity: &Identity) -> Result<Self, Refusal> {
        if !shows_token(&parts.headers) {
            return Err(problems::device_ended().into());
        }
        Ok(Self(identity.device_caller(parts).await?))
    }
}

/// Whether the caller claims to be a device, and nothing else then.
pub(in crate::io) fn shows_token(headers: &HeaderMap) -> bool {
    header(headers, AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
}

impl Identity {
    /// Whoever is signed in; `None` for nobody.
    pub(in crate::io) async fn member(&self, parts: &Parts) -> Result<Option<Caller>, Problem> {
        if shows_token(&parts.headers) {
            return Ok(Some(self.device_caller(parts).await?));
        }
        self.caller(parts).await
    }

    async fn device_caller(&self, parts: &Parts) -> Result<Caller, Problem> {
        let visit = self.visit_by_program(parts)?;
        let token = token(&parts.headers).ok_or_else(problems::device_ended)?;
        let proof = self.proof(parts, &visit, Some(&token))?;
        let hash = hash_of(&token);
        let found = self
            .find(&hash, &visit.workspace, Some(proof.key()))
            .await?;
        let found = found.filter(|found| found.device.is_some());
        let found = found.ok_or_else(problems::device_ended)?;
        if found.key() != Some(proof.key()) {
            self.note_misuse(&found, &visit).await.map_err(failed)?;
            return Err(problems::proof_refused(
                "its key is not the one the token is bound to",
            ));
        }
        if !locked(&self.0.device_rates).allows(proof.key(), Instant::now()) {
            return Err(problems::too_many());
        }
        self.spend(&proof).await?;
        let sign_in = self.judge(found, &hash).await?;
        let sign_in = sign_in.ok_or_else(problems::device_ended)?;
        Ok(Caller {
            sign_in,
            handle: token,
        })
    }

    /// A program has no page; a page that is not ours has no business with it.
    fn visit_by_program(&self, parts: &Parts) -> Result<Visit, Problem> {
        let visit = self
            .visited(parts)
            .ok_or_else(problems::workspace_unknown)?;
        let own = self.0.hosts.origin_of(&visit.workspace);
        match header(&parts.headers, ORIGIN) {
            Some(origin) if !origin.eq_ignore_ascii_case(&own) => Err(problems::cross_site()),
            _ => Ok(visit),
        }
    }

    /// The proof that came with a request, made for it, with a nonce of ours.
    fn proof(
        &self,
        parts: &Parts,
        visit: &Visit,
        token: Option<&Secret>,
    ) -> Result<Proof, Problem> {
        let mut shown = parts.headers.get_all(PROOF_HEADER).iter();
        let one = shown.next().filter(|_| shown.next().is_none());
        let text = one.and_then(|value| value.to_str().ok());
        let text = text.ok_or_else(|| problems::proof_refused("there is none, or several"))?;
        let refused =
            |error: protocol::proof::ProofError| problems::proof_refused(&error.to_string());
        let proof = Proof::read(text).map_err(refused)?;
        let url = format!(
            "{}{}",
            self.0.hosts.origin_of(&visit.workspace),
            parts.uri.path()
        );
        let expected = Expected {
            method: parts.method.as_str(),
            url: &url,
            token,
        };
        let now = unix_now();
        proof.judge(&expected, now).map_err(refused)?;
        match proof.nonce() {
            Some(nonce) if self.0.nonces.accepts(nonce, now) => Ok(proof),
            _ => Err(problems::nonce_needed()),
        }
    }

    /// Takes a proof, which is worth nothing from now on.
    pub(super) async fn spend(&self, proof: &Proof) -> Result<(), Problem> {
        let expires = Duration::from_secs(proof.expires_unix()) + PROOF_KEPT;
        let fingerprint = proof.fingerprint();
        let spent = self.store().spend_proof(&fingerprint, expires);
        if spent.await.map_err(failed)? {
            Ok(())
        } else {
            Err(problems::proof_refused("it was used before"))
        }
    }

    /// Somebody has the token and not the key. Written down now and then: a thief writes no more of
    /// the log than that.
    async fn note_misuse(&self, sign_in: &SignIn, visit: &Visit) -> anyhow::Result<()> {
        let may_ask = locked(&self.0.rates).allows(visit.network, Instant::now());
        if !may_ask || !self.store().note_misuse(&sign_in.id, unix_now()).await? {
            return Ok(());
        }
        let action = "device token used with a wrong key";
        let subject = super::devices::subject(sign_in);
        self.audit(&sign_in.workspace, "-", action, &subject).await
    }
}

/// Names the nonce for the next proof in every answer to whoever sent one, refused or not.
pub(in crate::io) async fn name_nonce(
    State(identity): State<Identity>,
    request: Request,
    next: Next,
) -> Response {
    let proves = request.headers().contains_key(PROOF_HEADER) || shows_token(request.headers());
    let mut response = next.run(request).await;
    let nonce = identity.0.nonces.current(unix_now());
    if let (true, Ok(nonce)) = (proves, HeaderValue::from_str(&nonce)) {
        let name = HeaderName::from_static(NONCE_HEADER);
        response.headers_mut().insert(name, nonce);
    }
    response
}

/// What a refusal says to clients that know RFC 9449 §7.1 and §9, and not our codes.
pub(super) fn challenge(code: Code) -> Option<(HeaderName, HeaderValue)> {
    let value = match code {
        Code::DeviceNonceNeeded => r#"DPoP error="use_dpop_nonce", algs="ES256 EdDSA""#,
        Code::DeviceProofRefused => r#"DPoP error="invalid_dpop_proof", algs="ES256 EdDSA""#,
        Code::DeviceEnded => r#"DPoP error="invalid_token", algs="ES256 EdDSA""#,
        _ => return None,
    };
    Some((WWW_AUTHENTICATE, HeaderValue::from_static(value)))
}

fn token(headers: &HeaderMap) -> Option<Secret> {
    let (_, token) = header(headers, AUTHORIZATION)?.split_once(' ')?;
    let token = token.trim();
    (token.len() <= TOKEN_LEN_MAX).then(|| Secret::new(token))
}
