//! The provider as it is asked: discovery, the way there, the code, and what its tokens say.
//!
//! What is believed: tokens of the configured issuer, for this client, signed with one of its own
//! keys by an algorithm of the list. OpenID Connect Core §3.1.3.7, Back-Channel Logout §2.6, RFC 9207.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use openidconnect::core::*;
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AdditionalProviderMetadata, AuthorizationCode,
    ClaimsVerificationError, Client, ClientId, ClientSecret, CsrfToken, EmptyExtraTokenFields,
    EndSessionUrl, HttpRequest, HttpResponse, IdToken, IdTokenClaims, IdTokenFields, IssuerUrl,
    JsonWebTokenType, LogoutRequest, Nonce, NonceVerifier, OAuth2TokenResponse, PkceCodeChallenge,
    PkceCodeVerifier, PostLogoutRedirectUrl, ProviderMetadata, RedirectUrl, StandardErrorResponse,
    StandardTokenResponse, TokenResponse, http,
};
use protocol::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::config::oidc::OidcConfig;
use crate::io::store::oidc::Subject;

/// A provider that does not answer in this time is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes; key sets are some kilobytes.
const ANSWER_LEN_MAX: usize = 256 * 1024;
/// What the provider says of itself, keys included, is asked again after so long.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// A token signed with an unknown key makes us ask again, but no sooner: forged tokens are cheap.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Asymmetric ones only: a secret that both sides know signs nothing here.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 4] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EdDsa,
];
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What the discovery document says beyond the crate's own fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct More {
    end_session_endpoint: Option<EndSessionUrl>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

/// What tokens say beyond the crate's own fields.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    sid: Option<String>,
    events: Option<serde_json::Map<String, serde_json::Value>>,
}

impl AdditionalClaims for Claims {}

type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;
type Token =
    IdToken<Claims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type Tokens = StandardTokenResponse<
    IdTokenFields<
        Claims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;
type Asked = Client<
    Claims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    openidconnect::EndpointSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointMaybeSet,
    openidconnect::EndpointMaybeSet,
>;

/// The configured provider.
pub(in crate::io::identity) struct Provider {
    config: OidcConfig,
    redirect: RedirectUrl,
    signed_out: PostLogoutRedirectUrl,
    http: reqwest::Client,
    known: Mutex<Option<(Instant, Arc<Metadata>)>>,
}

/// The way to the provider, and what is needed to believe whoever comes back.
pub(super) struct Departure {
    pub(super) url: String,
    pub(super) state: Secret,
    pub(super) nonce: Secret,
    pub(super) verifier: Secret,
}

/// Who somebody is, as the provider vouches, and in which session of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) who: Subject,
    pub(super) sid: Option<String>,
}

impl Provider {
    /// `callback` and `signed_out` are the exact addresses the provider may send people back to.
    pub(in crate::io::identity) fn new(
        config: OidcConfig,
        callback: String,
        signed_out: String,
    ) -> Result<Self> {
        let http = reqwest::Client::builder()
            // What the provider's metadata names is asked, and nothing it redirects to.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN)
            .build()?;
        Ok(Self {
            config,
            redirect: RedirectUrl::new(callback).context("`public_url` is no address")?,
            signed_out: PostLogoutRedirectUrl::new(signed_out)?,
            http,
            known: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    pub(super) async fn depart(&self) -> Result<Departure> {
        let metadata = self.metadata(KNOWN_FOR).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = self
            .client(&metadata)
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .set_pkce_challenge(challenge)
            .url();
        Ok(Departure {
            url: url.to_string(),
            state: Secret::new(state.into_secret()),
            nonce: Secret::new(nonce.secret()),
            verifier: Secret::new(verifier.into_secret()),
        })
    }

    /// RFC 9207: the answer says who gave it; another provider's is not ours.
    pub(super) async fn check_issuer(&self, issuer: Option<&str>) -> Result<()> {
        let metadata = self.metadata(KNOWN_FOR).await?;
        let more = metadata.additional_metadata();
        match issuer {
            Some(issuer) => ensure!(issuer == self.config.issuer, "the answer is of {issuer:?}"),
            None if more.authorization_response_iss_parameter_supported => {
                bail!("the answer does not say whose it is")
            }
            None => {}
        }
        Ok(())
    }

    /// Who the code stands for.
    pub(super) async fn redeem(
        &self,
        code: Secret,
        verifier: &Secret,
        nonce: &Secret,
    ) -> Result<Person> {
        let metadata = self.metadata(KNOWN_FOR).await?;
        let client = self.client(&metadata);
        let http = self.http.clone();
        let send = move |request| send(http.clone(), request);
        let tokens = client
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()))
            .request_async(&send)
            .await
            .map_err(|error| anyhow!("the code was refused: {error}"))?;
        let token = tokens.id_token().context("there is no ID token")?;
        let nonce = Nonce::new(nonce.expose().to_owned());
        let (claims, client) = self
            .believed(token, "jwt", |given| nonce.verify(given))
            .await?;
        if let Some(expected) = claims.access_token_hash() {
            let verifier = client.id_token_verifier();
            let key = token.signing_key(&verifier)?;
            let found =
                AccessTokenHash::from_token(tokens.access_token(), token.signing_alg()?, key)?;
            ensure!(found == *expected, "the access token is another's");
        }
        Ok(self.person(&claims))
    }

    /// Whose sessions a back-channel logout token ends; a session of the provider, or all of them.
    pub(super) async fn signed_out_elsewhere(&self, token: &str) -> Result<Person> {
        let token = Token::from_str(token)?;
        // Back-Channel Logout §2.4: a nonce is prohibited, so that no ID token is taken for one.
        let no_nonce = |nonce: Option<&Nonce>| match nonce {
            None => Ok(()),
            Some(_) => Err("a logout token has no nonce".to_owned()),
        };
        let (claims, _) = self.believed(&token, "logout+jwt", no_nonce).await?;
        let events = claims.additional_claims().events.as_ref();
        let is_logout = events.is_some_and(|events| events.contains_key(LOGOUT_EVENT));
        ensure!(is_logout, "it is no logout token");
        Ok(self.person(&claims))
    }

    /// Where the browser goes to end the provider's own session; back to us with `state`.
    pub(super) async fn sign_out_url(&self, state: String) -> Option<String> {
        let metadata = self.metadata(KNOWN_FOR).await.ok()?;
        let end_session = metadata
            .additional_metadata()
            .end_session_endpoint
            .clone()?;
        let request = LogoutRequest::from(end_session)
            .set_client_id(ClientId::new(self.config.client_id.clone()))
            .set_post_logout_redirect_uri(self.signed_out.clone())
            .set_state(CsrfToken::new(state));
        Some(request.http_get_url().to_string())
    }

    /// What a token claims, if it is to be believed. The keys may have changed since they were
    /// asked for.
    async fn believed(
        &self,
        token: &Token,
        kind: &str,
        nonce: impl Fn(Option<&Nonce>) -> Result<(), String>,
    ) -> Result<(IdTokenClaims<Claims, CoreGenderClaim>, Asked)> {
        let mut known_for = KNOWN_FOR;
        loop {
            let metadata = self.metadata(known_for).await?;
            let client = self.client(&metadata);
            let kinds =
                ["jwt", kind].map(|kind| JsonWebTokenType::new(kind.to_owned()).normalize());
            let kinds = kinds.into_iter().collect::<Result<Vec<_>, _>>();
            let verifier = client
                .id_token_verifier()
                .set_allowed_algs(ALGORITHMS)
                .set_allowed_jose_types(kinds.map_err(|_| anyhow!("{kind} is no type"))?);
            match token.claims(&verifier, &nonce) {
                Ok(claims) => return Ok((claims.clone(), client.clone())),
                Err(ClaimsVerificationError::SignatureVerification(_))
                    if known_for != ASKED_AGAIN_AFTER =>
                {
                    known_for = ASKED_AGAIN_AFTER;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn person(&self, claims: &IdTokenClaims<Claims, CoreGenderClaim>) -> Person {
        Person {
            who: Subject {
                issuer: self.config.issuer.clone(),
                subject: claims.subject().to_string(),
            },
            sid: claims.additional_claims().sid.clone(),
        }
    }

    fn client(&self, metadata: &Metadata) -> Asked {
        Asked::from_provider_metadata(
            metadata.clone(),
            ClientId::new(self.config.client_id.clone()),
            Some(ClientSecret::new(
                self.config.client_secret.expose().to_owned(),
            )),
        )
        .set_redirect_uri(self.redirect.clone())
    }

    /// What the provider says of itself, no older than this; older if it does not answer.
    async fn metadata(&self, age_max: Duration) -> Result<Arc<Metadata>> {
        let mut known = self.known.lock().await;
        if let Some((asked_at, metadata)) = &*known
            && asked_at.elapsed() < age_max
        {
            return Ok(metadata.clone());
        }
        let http = self.http.clone();
        let send = move |request| send(http.clone(), request);
        let issuer = IssuerUrl::new(self.config.issuer.clone())?;
        match Metadata::discover_async(issuer, &send).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *known = Some((Instant::now(), metadata.clone()));
                Ok(metadata)
            }
            Err(error) => match &*known {
                Some((_, metadata)) => Ok(metadata.clone()),
                None => bail!("the provider does not answer: {error}"),
            },
        }
    }
}

/// Why the provider could not be asked.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is longer than {ANSWER_LEN_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Malformed(#[from] http::Error),
}

async fn send(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
    let mut answer = client.execute(request.try_into()?).await?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_LEN_MAX {
            return Err(Unanswered::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = http::Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    Ok(response.body(body)?)
}
