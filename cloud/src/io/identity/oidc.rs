//! Sign in with another provider (OpenID Connect, code flow with PKCE), and out again, from either
//! side.
//!
//! The provider knows one address of ours to send people back to. From there they go to their
//! workspace's own page, which brings the answer: so the cookie that binds it to the browser is the
//! workspace's, and nothing but our own page at the right host can finish it. No address to go to
//! is ever taken from a request.

mod provider;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use openidconnect::url::form_urlencoded;
use protocol::Secret;
use serde::{Deserialize, Serialize};
use signalling::io::unix_now;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Me;
use super::{Caller, CostlyVisit, Identity, Refusal, Visit};
use crate::access::secret_from;
use crate::identity::attempt::{self, Attempt, Bringer};
use crate::identity::sign_in::{SignIn, hash_of};
use crate::identity::{WorkspaceId, guard};
use crate::io::problems;
use provider::Person;
pub(super) use provider::Provider;

/// Where the provider sends people back to, below `public_url`.
pub(super) const CALLBACK: &str = "/api/v1/auth/oidc/callback";
/// Where it sends them after they signed out there.
pub(super) const SIGNED_OUT: &str = "/api/v1/auth/oidc/signed-out";
/// Longest value in an answer, in bytes; a code is some hundred.
const VALUE_LEN_MAX: usize = 4096;

pub(super) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(ways))
        .routes(routes!(start))
        .routes(routes!(callback))
        .routes(routes!(finish))
        .routes(routes!(signed_out))
        .routes(routes!(backchannel))
        .routes(routes!(linked, link, unlink))
}

/// Another provider people may sign in with, if there is one.
#[derive(Serialize, ToSchema)]
struct Ways {
    oidc: Option<Named>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Provider)]
struct Named {
    name: String,
}

/// Where the page sends the browser.
#[derive(Serialize, ToSchema)]
struct Away {
    url: String,
}

/// Whether the caller's account is linked to one of the provider.
#[derive(Serialize, ToSchema)]
struct Linked {
    linked: bool,
}

/// How people may sign in here besides email and password.
#[utoipa::path(
    get,
    path = "/api/v1/auth/ways",
    responses((status = 200, description = "The ways there are", body = Ways)),
)]
async fn ways(State(identity): State<Identity>) -> Json<Ways> {
    let provider = identity.0.oidc.as_ref();
    let name = |provider: &Provider| Named {
        name: provider.name().to_owned(),
    };
    Json(Ways {
        oidc: provider.map(name),
    })
}

/// Begins a sign-in with the provider.
#[utoipa::path(
    post,
    path = "/api/v1/auth/oidc/start",
    responses((status = 200, description = "Where the browser goes next", body = Away)),
    extensions(("x-codes" = json!(["NOT_FOUND", "PROVIDER_FAILED", "TOO_MANY"]))),
)]
async fn start(
    State(identity): State<Identity>,
    CostlyVisit(visit): CostlyVisit,
) -> Result<Response, Refusal> {
    identity.depart(&visit.workspace, None).await
}

/// Somebody who is signed in wants to sign in with the provider from now on.
#[utoipa::path(
    post,
    path = "/api/v1/me/oidc",
    responses((status = 200, description = "Where the browser goes next", body = Away)),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_FOUND", "PROVIDER_FAILED"]))),
)]
async fn link(State(identity): State<Identity>, caller: Caller) -> Result<Response, Refusal> {
    let SignIn {
        workspace, account, ..
    } = caller.sign_in;
    identity.depart(&workspace, Some(account)).await
}

/// Whether the caller's account is linked to the provider.
#[utoipa::path(
    get,
    path = "/api/v1/me/oidc",
    responses((status = 200, description = "Linked or not", body = Linked)),
    security(("session" = [])),
)]
async fn linked(State(identity): State<Identity>, caller: Caller) -> Result<Json<Linked>, Refusal> {
    let linked = identity.store().is_linked(&caller.sign_in.account).await?;
    Ok(Json(Linked { linked }))
}

/// Ends the link to the provider.
#[utoipa::path(
    delete,
    path = "/api/v1/me/oidc",
    responses((status = 204, description = "Ended")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_FOUND"]))),
)]
async fn unlink(State(identity): State<Identity>, caller: Caller) -> Result<StatusCode, Refusal> {
    let sign_in = &caller.sign_in;
    if !identity.store().unlink_account(&sign_in.account).await? {
        return Err(problems::not_found().into());
    }
    identity.note(sign_in, "unlinked the provider", "-").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a provider answers, by way of the browser. Everything in it may be made up.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct Answer {
    #[schema(value_type = String)]
    #[param(value_type = String)]
    state: Secret,
    #[schema(value_type = String)]
    #[param(value_type = String)]
    code: Secret,
    iss: Option<String>,
    error: Option<String>,
}

impl Answer {
    fn is_short(&self) -> bool {
        let optional = [&self.iss, &self.error].into_iter().flatten();
        let values = [self.state.expose(), self.code.expose()].into_iter();
        values
            .chain(optional.map(String::as_str))
            .all(|value| value.len() <= VALUE_LEN_MAX)
    }
}

/// Sends the answer on to the workspace it belongs to, in the fragment, which no server sees.
#[utoipa::path(
    get,
    path = "/api/v1/auth/oidc/callback",
    params(Answer),
    responses((status = 303, description = "On to the workspace")),
    extensions(("x-codes" = json!(["SESSION_MISMATCH"]))),
)]
async fn callback(
    State(identity): State<Identity>,
    Query(answer): Query<Answer>,
) -> Result<Redirect, Refusal> {
    if !answer.is_short() {
        return Err(problems::session_mismatch().into());
    }
    let attempt = identity
        .store()
        .find_attempt(&hash_of(&answer.state))
        .await?;
    let attempt = attempt.ok_or_else(problems::session_mismatch);
    let origin = match attempt {
        Ok(attempt) => identity.0.hosts.origin_of(&attempt.workspace),
        // The page says what is wrong, and offers email and password.
        Err(_) => identity.0.hosts.own_origin(),
    };
    let mut fragment = form_urlencoded::Serializer::new(String::new());
    fragment.append_pair("state", answer.state.expose());
    fragment.append_pair("code", answer.code.expose());
    for (key, value) in [("iss", &answer.iss), ("error", &answer.error)] {
        if let Some(value) = value {
            fragment.append_pair(key, value);
        }
    }
    Ok(Redirect::to(&format!(
        "{origin}/oidc#{}",
        fragment.finish()
    )))
}

/// The browser that brings an answer.
struct Browser {
    visit: Visit,
    cookie: Option<Secret>,
    caller: Option<Caller>,
}

impl FromRequestParts<Identity> for Browser {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, identity: &Identity) -> Result<Self, Refusal> {
        let CostlyVisit(visit) = CostlyVisit::from_request_parts(parts, identity).await?;
        Ok(Self {
            visit,
            cookie: identity.cookie(&parts.headers, guard::attempt_cookie(identity.https())),
            caller: identity.caller(parts).await?,
        })
    }
}

/// Finishes what was begun: signs in, or links.
#[utoipa::path(
    post,
    path = "/api/v1/auth/oidc/finish",
    request_body = Answer,
    responses((status = 200, description = "Signed in, with the cookie, or linked", content((Me), (Linked)))),
    extensions(("x-codes" = json!(["SESSION_MISMATCH", "PROVIDER_FAILED", "ACCOUNT_NOT_LINKED", "EMAIL_UNCONFIRMED", "NOT_FOUND", "TOO_MANY"]))),
)]
async fn finish(
    State(identity): State<Identity>,
    browser: Browser,
    Json(answer): Json<Answer>,
) -> Result<Response, Refusal> {
    // Used up whoever brings it: a second time it is worth nothing.
    let attempt = identity
        .store()
        .take_attempt(&hash_of(&answer.state))
        .await?;
    let caller = browser.caller.as_ref();
    let bringer = Bringer {
        workspace: &browser.visit.workspace,
        browser: browser.cookie.as_ref().map(hash_of),
        account: caller.map(|caller| caller.sign_in.account.as_str()),
    };
    let attempt = attempt
        .filter(|attempt| answer.is_short() && attempt.is_of(&bringer, unix_now()))
        .ok_or_else(problems::session_mismatch)?;
    let person = identity.ask(answer, &attempt).await?;
    match (&attempt.account, caller) {
        (Some(_), Some(caller)) => identity.link_to(&caller.sign_in, &person).await,
        _ => identity.enter(&browser.visit, &person).await,
    }
}

/// The workspace in `state` is one of ours or none: nobody is sent elsewhere.
#[utoipa::path(
    get,
    path = "/api/v1/auth/oidc/signed-out",
    params(Answer),
    responses((status = 303, description = "To the page to sign in")),
)]
async fn signed_out(State(identity): State<Identity>, Query(answer): Query<Answer>) -> Redirect {
    let hosts = &identity.0.hosts;
    let workspace = WorkspaceId::parse(answer.state.expose());
    let origin = workspace.map_or_else(|| hosts.own_origin(), |one| hosts.origin_of(&one));
    Redirect::to(&format!("{origin}/sign-in"))
}

/// What a provider sends to end sign-ins.
#[derive(ToSchema)]
struct LogoutToken {
    #[expect(
        dead_code,
        reason = "the form is read field by field; this is its shape"
    )]
    logout_token: String,
}

/// The provider itself says that somebody signed out there. Back-Channel Logout §2.8: 200 or 400.
#[utoipa::path(
    post,
    path = "/api/v1/auth/oidc/backchannel",
    request_body(content = LogoutToken, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Their sign-ins here are ended")),
    extensions(("x-codes" = json!(["NOT_FOUND"]))),
)]
async fn backchannel(State(identity): State<Identity>, body: Bytes) -> Result<StatusCode, Refusal> {
    let provider = identity.provider()?;
    let mut fields = form_urlencoded::parse(&body);
    let token = fields.find(|(key, _)| key == "logout_token");
    let (_, token) = token.unwrap_or_default();
    let person = provider.signed_out_elsewhere(&token).await;
    let Person { who, sid } = person.map_err(|error| {
        tracing::debug!("a logout token is not believed: {error:#}");
        problems::logout_token_refused()
    })?;
    let store = identity.store();
    let ended = store.end_from_provider(&who, sid.as_deref(), unix_now());
    for account in ended.await? {
        identity.forget(&account);
    }
    Ok(StatusCode::OK)
}

impl Identity {
    fn provider(&self) -> Result<&Provider, Refusal> {
        Ok(self.0.oidc.as_ref().ok_or_else(problems::not_found)?)
    }

    /// Notes the attempt, and tells the page where to go.
    async fn depart(
        &self,
        workspace: &WorkspaceId,
        account: Option<String>,
    ) -> Result<Response, Refusal> {
        let provider = self.provider()?;
        let departure = provider.depart().await.map_err(away)?;
        let browser = secret_from(rand::random());
        let now = unix_now();
        let attempt = Attempt {
            workspace: workspace.clone(),
            browser: hash_of(&browser),
            nonce: departure.nonce,
            verifier: departure.verifier,
            account,
            expires_unix: (now + attempt::LIFE).as_secs(),
        };
        self.store()
            .add_attempt(&hash_of(&departure.state), &attempt, now)
            .await?;
        let name = guard::attempt_cookie(self.https());
        let life = attempt::LIFE.as_secs();
        let cookie = guard::set_cookie(name, browser.expose(), life, self.https());
        Ok((
            [(SET_COOKIE, cookie)],
            Json(Away {
                url: departure.url.to_string(),
            }),
        )
            .into_response())
    }

    /// Who the provider says it is.
    async fn ask(&self, answer: Answer, attempt: &Attempt) -> Result<Person, Refusal> {
        let provider = self.provider()?;
        let checked = provider.check_issuer(answer.iss.as_deref()).await;
        checked.map_err(away)?;
        if answer.error.is_some() || answer.code.expose().is_empty() {
            return Err(problems::provider_declined(provider.name()).into());
        }
        let redeemed = provider.redeem(answer.code, &attempt.verifier, &attempt.nonce);
        redeemed.await.map_err(away)
    }

    /// Only an account that was linked from inside: an address proves nothing.
    async fn enter(&self, visit: &Visit, person: &Person) -> Result<Response, Refusal> {
        let provider = self.provider()?;
        let unlinked = || problems::account_not_linked(provider.name());
        let account = self.store().find_linked(&person.who).await?;
        let account = account.ok_or_else(unlinked)?;
        let member = self.store().find_member(&visit.workspace, &account.id);
        let member = member.await?.ok_or_else(unlinked)?;
        if !account.confirmed {
            return Err(problems::email_unconfirmed().into());
        }
        let (sign_in, response) = self.start(visit, &account, member.role).await?;
        self.store()
            .note_origin(&sign_in.id, &person.who, person.sid.as_deref())
            .await?;
        Ok(response)
    }

    async fn link_to(&self, sign_in: &SignIn, person: &Person) -> Result<Response, Refusal> {
        let store = self.store();
        let linked = store.link_account(&person.who, &sign_in.account, unix_now());
        if !linked.await? {
            return Err(problems::linked_elsewhere(self.provider()?.name()).into());
        }
        self.note(sign_in, "linked the provider", "-").await?;
        Ok(Json(Linked { linked: true }).into_response())
    }

    /// Where a browser that signs out goes on to, if it signed in at the provider.
    pub(super) async fn sign_out_elsewhere(&self, sign_in: &SignIn) -> Option<String> {
        let provider = self.0.oidc.as_ref()?;
        let from_there = self.store().came_from_provider(&sign_in.id).await;
        if !from_there.unwrap_or(false) {
            return None;
        }
        let state = sign_in.workspace.to_string();
        provider.sign_out_url(state).await
    }
}

/// What a provider or a stranger in its name sends is no fault of ours: it is not logged loudly.
fn away(error: anyhow::Error) -> Refusal {
    tracing::debug!("the provider did not vouch: {error:#}");
    problems::provider_failed().into()
}
