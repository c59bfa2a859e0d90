//! What is done through a link in a mail: sign-up and confirmation, a new password, an invitation.
//!
//! Asking for a mail answers the same for every address. Sign-up here makes an account; a place in
//! the workspace comes with an invitation only.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use protocol::Secret;
use serde::Deserialize;
use signalling::io::unix_now;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Credentials, Me};
use super::{CostlyVisit, Identity, Refusal, Visit};
use crate::access::secret_from;
use crate::identity::link::Purpose;
use crate::identity::sign_in::hash_of;
use crate::identity::{Email, MemberRole, WorkspaceId};
use crate::io::problems;
use crate::io::store::identity::{Account, Link};

/// No second mail of a kind to an address within so many seconds: nobody's mailbox is flooded.
const MAIL_EVERY_SECS: u64 = 60;

pub(super) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(sign_up))
        .routes(routes!(resend))
        .routes(routes!(confirm))
        .routes(routes!(forgot))
        .routes(routes!(reset))
        .routes(routes!(accept))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Address {
    email: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Token {
    #[schema(value_type = String)]
    token: Secret,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    #[schema(value_type = String)]
    token: Secret,
    #[schema(value_type = String)]
    password: Secret,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    #[schema(value_type = String)]
    token: Secret,
    /// Of somebody who has no account yet.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
}

/// Makes an account; the answer is the same for every address.
#[utoipa::path(
    post,
    path = "/api/v1/auth/sign-up",
    request_body = Credentials,
    responses((status = 202, description = "A mail is on its way if the address needs one")),
    extensions(("x-codes" = json!(["PASSWORD_UNSUITABLE", "TOO_MANY", "SERVICE_BUSY"]))),
)]
async fn sign_up(
    State(identity): State<Identity>,
    CostlyVisit(visit): CostlyVisit,
    Json(asked): Json<Credentials>,
) -> Result<StatusCode, Refusal> {
    let email = address(&asked.email)?;
    let password = identity.hash_new(asked.password, &email).await?;
    let account = identity
        .store()
        .ensure_account(&email, Some(&password), unix_now())
        .await?;
    let wanted = (!account.confirmed).then_some(Purpose::Confirm);
    identity.mail_if(&visit, &email, wanted).await
}

/// Sends the confirmation mail again.
#[utoipa::path(
    post,
    path = "/api/v1/auth/resend",
    request_body = Address,
    responses((status = 202, description = "A mail is on its way if the address needs one")),
    extensions(("x-codes" = json!(["TOO_MANY"]))),
)]
async fn resend(
    State(identity): State<Identity>,
    CostlyVisit(visit): CostlyVisit,
    Json(asked): Json<Address>,
) -> Result<StatusCode, Refusal> {
    let email = address(&asked.email)?;
    let account = identity.store().find_account(&email).await?;
    let wanted = account.filter(|account| !account.confirmed);
    let wanted = wanted.map(|_| Purpose::Confirm);
    identity.mail_if(&visit, &email, wanted).await
}

/// Confirms an address by the token of a mail.
#[utoipa::path(
    post,
    path = "/api/v1/auth/confirm",
    request_body = Token,
    responses((status = 204, description = "Confirmed")),
    extensions(("x-codes" = json!(["LINK_INVALID", "TOO_MANY"]))),
)]
async fn confirm(
    State(identity): State<Identity>,
    CostlyVisit(visit): CostlyVisit,
    Json(asked): Json<Token>,
) -> Result<StatusCode, Refusal> {
    let link = identity
        .consume(&visit, &asked.token, Purpose::Confirm)
        .await?;
    let account = identity.account_of(&link).await?;
    let store = identity.store();
    store.confirm_account(&account.id, unix_now()).await?;
    identity.note_link(&link, "address confirmed").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for a mail to choose a new password by.
#[utoipa::path(
    post,
    path = "/api/v1/auth/forgot",
    request_body = Address,
    responses((status = 202, description = "A mail is on its way if the address has an account")),
    extensions(("x-codes" = json!(["TOO_MANY"]))),
)]
async fn forgot(
    State(identity): State<Identity>,
    CostlyVisit(visit): CostlyVisit,
    Json(asked): Json<Address>,
) -> Result<StatusCode, Refusal> {
    let email = address(&asked.email)?;
    let account = identity.store().find_account(&email).await?;
    let wanted = account.map(|_| Purpose::Reset);
    identity.mail_if(&visit, &email, wanted).await
}

/// Takes a new password.
///
/// It ends every sign-in: whoever knew the old one is out. Whoever reads the mail owns the address,
/// so it is confirmed too.
#[utoipa::path(
    post,
    path = "/api/v1/auth/reset",
    request_body = NewPassword,
    responses((status = 204, description = "Taken")),
    extensions(("x-codes" = json!(["LINK_INVALID", "PASSWORD_UNSUITABLE", "TOO_MANY", "SERVICE_BUSY"]))),
)]
async fn reset(
    State(identity): State<Identity>,
    CostlyVisit(visit): CostlyVisit,
    Json(asked): Json<NewPassword>,
) -> Result<StatusCode, Refusal> {
    let link = identity.peek(&visit, &asked.token, Purpose::Reset).await?;
    let password = identity.hash_new(asked.password, &link.email).await?;
    let link = identity
        .consume(&visit, &asked.token, Purpose::Reset)
        .await?;
    let account = identity.account_of(&link).await?;
    let store = identity.store();
    store.set_password(&account.id, &password).await?;
    store.confirm_account(&account.id, unix_now()).await?;
    store.end_sign_ins(&account.id, None, unix_now()).await?;
    identity.forget(&account.id);
    store.unlock(link.email.as_str()).await?;
    identity.note_link(&link, "password reset").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the place in the workspace and signs in.
///
/// An account that nobody confirmed may have been made by a stranger with this address: its password
/// is replaced, never kept.
#[utoipa::path(
    post,
    path = "/api/v1/auth/accept",
    request_body = Acceptance,
    responses((status = 200, description = "Signed in; the cookie is set", body = Me)),
    extensions(("x-codes" = json!(["LINK_INVALID", "PASSWORD_UNSUITABLE", "SIGN_IN_REQUIRED", "TOO_MANY", "SERVICE_BUSY"]))),
)]
async fn accept(
    State(identity): State<Identity>,
    CostlyVisit(visit): CostlyVisit,
    Json(asked): Json<Acceptance>,
) -> Result<Response, Refusal> {
    let link = identity.peek(&visit, &asked.token, Purpose::Invite).await?;
    let known = identity.store().find_account(&link.email).await?;
    let confirmed = known.is_some_and(|account| account.confirmed && account.password.is_some());
    let password = match asked.password {
        _ if confirmed => None,
        Some(password) => Some(identity.hash_new(password, &link.email).await?),
        None => return Err(problems::password_needed().into()),
    };
    let link = identity
        .consume(&visit, &asked.token, Purpose::Invite)
        .await?;
    let role = link.role.unwrap_or(MemberRole::Member);
    let store = identity.store();
    let account = store
        .ensure_account(&link.email, password.as_deref(), unix_now())
        .await?;
    if let Some(password) = &password {
        store.set_password(&account.id, password).await?;
    }
    store.confirm_account(&account.id, unix_now()).await?;
    store
        .add_member(&visit.workspace, &account.id, role, unix_now())
        .await?;
    identity.note_link(&link, "invitation accepted").await?;
    if confirmed {
        // The link proves the address, not the person at this browser: they sign in as usual.
        return Err(problems::sign_in_required().into());
    }
    let (_, response) = identity.start(&visit, &account, role).await?;
    Ok(response)
}

fn address(text: &str) -> Result<Email, Refusal> {
    Ok(Email::parse(text).ok_or_else(problems::email_unsound)?)
}

impl Identity {
    /// Answers the same whether or not there is a mail to send.
    async fn mail_if(
        &self,
        visit: &Visit,
        email: &Email,
        wanted: Option<Purpose>,
    ) -> Result<StatusCode, Refusal> {
        if let Some(purpose) = wanted {
            self.mail_link(&visit.workspace, email, purpose, None)
                .await?;
        }
        Ok(StatusCode::ACCEPTED)
    }

    async fn account_of(&self, link: &Link) -> Result<Account, Refusal> {
        let found = self.store().find_account(&link.email).await?;
        Ok(found.ok_or_else(problems::link_invalid)?)
    }

    async fn note_link(&self, link: &Link, action: &str) -> anyhow::Result<()> {
        self.audit(&link.workspace, link.email.as_str(), action, "-")
            .await
    }

    async fn peek(&self, visit: &Visit, token: &Secret, of: Purpose) -> Result<Link, Refusal> {
        let found = self
            .store()
            .find_link(&hash_of(token), of, &visit.workspace, unix_now())
            .await?;
        Ok(found.ok_or_else(problems::link_invalid)?)
    }

    async fn consume(&self, visit: &Visit, token: &Secret, of: Purpose) -> Result<Link, Refusal> {
        let found = self
            .store()
            .consume_link(&hash_of(token), of, &visit.workspace, unix_now())
            .await?;
        Ok(found.ok_or_else(problems::link_invalid)?)
    }

    /// Sends a link unless one went to this address a moment ago.
    pub(super) async fn mail_link(
        &self,
        workspace: &WorkspaceId,
        email: &Email,
        purpose: Purpose,
        role: Option<MemberRole>,
    ) -> Result<(), Refusal> {
        let last = self.store().last_link_unix(email, purpose).await?;
        let now = unix_now();
        if last.is_some_and(|last| now.as_secs().saturating_sub(last) < MAIL_EVERY_SECS) {
            return Ok(());
        }
        let token = secret_from(rand::random());
        let link = Link {
            workspace: workspace.clone(),
            email: email.clone(),
            role,
        };
        self.store()
            .add_link(&hash_of(&token), purpose, &link, now)
            .await?;
        let url = format!(
            "{}/{}#token={}",
            self.0.hosts.origin_of(workspace),
            purpose.page(),
            token.expose()
        );
        let (subject, text) = words(purpose, &url);
        Ok(self.0.outbox.send(email, subject, &text)?)
    }
}

fn words(purpose: Purpose, url: &str) -> (&'static str, String) {
    let (subject, cause) = match purpose {
        Purpose::Confirm => (
            "Confirm your email address",
            "Open this page and press Confirm:",
        ),
        Purpose::Reset => (
            "Choose a new password",
            "Open this page to choose a new password. If you did not ask for it, do nothing:",
        ),
        Purpose::Invite => (
            "You are invited to a workspace",
            "Open this page to accept. Its address is your workspace's: keep it.",
        ),
    };
    (subject, format!("{cause}\r\n\r\n{url}\r\n"))
}
