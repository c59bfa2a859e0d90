//! What is done through a link in a mail: sign-up and confirmation, a new password, an invitation.
//!
//! Asking for a mail answers the same for every address. Sign-up here makes an account; a place in
//! the workspace comes with an invitation only.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use protocol::Secret;
use serde::Deserialize;
use signalling::io::unix_now;

use super::auth::Credentials;
use super::{CostlyVisit, Identity, Refusal, Visit};
use crate::access::secret_from;
use crate::identity::link::Purpose;
use crate::identity::sign_in::hash_of;
use crate::identity::{Email, MemberRole, WorkspaceId};
use crate::io::problems;
use crate::io::store::identity::{Account, Link};

/// No second mail of a kind to an address within so many seconds: nobody's mailbox is flooded.
const MAIL_EVERY_SECS: u64 = 60;

pub(super) fn routes() -> Router<Identity> {
    Router::new()
        .route("/api/v1/auth/sign-up", post(sign_up))
        .route("/api/v1/auth/resend", post(resend))
        .route("/api/v1/auth/confirm", post(confirm))
        .route("/api/v1/auth/forgot", post(forgot))
        .route("/api/v1/auth/reset", post(reset))
        .route("/api/v1/auth/accept", post(accept))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    token: Secret,
    password: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    token: Secret,
    /// Of somebody who has no account yet.
    password: Option<Secret>,
}

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

/// A new password ends every sign-in: whoever knew the old one is out. Whoever reads the mail owns
/// the address, so it is confirmed too.
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
    identity.lockout().unlock(link.email.as_str());
    identity.note_link(&link, "password reset").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the place in the workspace and signs in. An account that nobody confirmed may have been
/// made by a stranger with this address: its password is replaced, never kept.
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
