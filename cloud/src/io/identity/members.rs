//! The members of the workspace, and its audit log. Everything here is found by workspace first:
//! an id of another workspace is an id that does not exist.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;
use signalling::io::unix_now;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Admin, Caller, Identity, Refusal};
use crate::identity::link::Purpose;
use crate::identity::sign_in::SignIn;
use crate::identity::{Email, MemberRole};
use crate::io::problems;
use crate::io::store::identity::{AuditEntry, Member};

/// Pages of the audit log in one export: 100,000 entries.
const EXPORT_PAGES_MAX: usize = 500;

pub(super) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(invite))
        .routes(routes!(remove, change_role))
        .routes(routes!(unlock))
        .routes(routes!(audit))
        .routes(routes!(export))
}

/// A member, as the others see them.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
struct Row {
    id: String,
    email: String,
    role: MemberRole,
    confirmed: bool,
    /// Too many attempts to sign in failed, somewhere.
    locked: bool,
}

/// The members of the workspace.
#[utoipa::path(
    get,
    path = "/api/v1/members",
    responses((status = 200, description = "All of them", body = [Row])),
    security(("session" = [])),
)]
async fn list(State(identity): State<Identity>, caller: Caller) -> Result<Json<Vec<Row>>, Refusal> {
    let members = identity
        .store()
        .list_members(&caller.sign_in.workspace)
        .await?;
    let locked = identity
        .store()
        .list_locked(&caller.sign_in.workspace, unix_now())
        .await?;
    let rows = members.into_iter().map(|member| Row {
        locked: locked.contains(&member.email),
        id: member.account,
        email: member.email,
        role: member.role,
        confirmed: member.confirmed,
    });
    Ok(Json(rows.collect()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Invitation {
    email: String,
    role: MemberRole,
}

/// Sends somebody an invitation.
#[utoipa::path(
    post,
    path = "/api/v1/members/invitations",
    request_body = Invitation,
    responses((status = 202, description = "It is on its way")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED"]))),
)]
async fn invite(
    State(identity): State<Identity>,
    Admin(caller): Admin,
    Json(asked): Json<Invitation>,
) -> Result<StatusCode, Refusal> {
    if !caller.sign_in.role.may_change(asked.role) {
        return Err(problems::not_permitted().into());
    }
    let email = Email::parse(&asked.email).ok_or_else(problems::email_unsound)?;
    let workspace = &caller.sign_in.workspace;
    identity
        .mail_link(workspace, &email, Purpose::Invite, Some(asked.role))
        .await?;
    identity
        .note(&caller.sign_in, "invited", email.as_str())
        .await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRole {
    role: MemberRole,
}

/// Gives a member another role.
#[utoipa::path(
    patch,
    path = "/api/v1/members/{id}",
    params(("id" = String, Path)),
    request_body = NewRole,
    responses((status = 204, description = "Changed")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED", "NOT_FOUND", "LAST_OWNER"]))),
)]
async fn change_role(
    State(identity): State<Identity>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Json(asked): Json<NewRole>,
) -> Result<StatusCode, Refusal> {
    let member = identity.changeable(&caller, &id).await?;
    if !caller.sign_in.role.may_change(asked.role) {
        return Err(problems::not_permitted().into());
    }
    let workspace = &caller.sign_in.workspace;
    let store = identity.store();
    let done = store.set_role(workspace, &member.account, asked.role);
    let action = "changed the role of";
    identity
        .changed(&caller, &member, done.await?, action)
        .await
}

/// Takes a member's place in the workspace away.
#[utoipa::path(
    delete,
    path = "/api/v1/members/{id}",
    params(("id" = String, Path)),
    responses((status = 204, description = "Removed")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED", "NOT_FOUND", "LAST_OWNER"]))),
)]
async fn remove(
    State(identity): State<Identity>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let member = identity.changeable(&caller, &id).await?;
    let workspace = &caller.sign_in.workspace;
    let store = identity.store();
    let done = store.remove_member(workspace, &member.account, unix_now());
    identity
        .changed(&caller, &member, done.await?, "removed")
        .await
}

/// Lets a member sign in again whose attempts failed too often.
#[utoipa::path(
    post,
    path = "/api/v1/members/{id}/unlock",
    params(("id" = String, Path)),
    responses((status = 204, description = "Unlocked")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED", "NOT_FOUND"]))),
)]
async fn unlock(
    State(identity): State<Identity>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let member = identity.changeable(&caller, &id).await?;
    identity.store().unlock(&member.email).await?;
    identity
        .note(&caller.sign_in, "unlocked", &member.email)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
struct AuditPage {
    /// The id of an entry: older ones than this.
    before: Option<String>,
}

/// What was done in the workspace, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    params(AuditPage),
    responses((status = 200, description = "One page", body = [AuditEntry])),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED"]))),
)]
async fn audit(
    State(identity): State<Identity>,
    Admin(caller): Admin,
    Query(page): Query<AuditPage>,
) -> Result<impl IntoResponse, Refusal> {
    let workspace = &caller.sign_in.workspace;
    let entries = identity
        .store()
        .list_audit(workspace, page.before.as_deref())
        .await?;
    Ok(Json(entries))
}

/// The whole audit log: one JSON object per line, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit/export",
    responses((status = 200, description = "A file", body = String, content_type = "application/x-ndjson")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED"]))),
)]
async fn export(
    State(identity): State<Identity>,
    Admin(caller): Admin,
) -> Result<impl IntoResponse, Refusal> {
    let mut lines = String::new();
    let mut before = None;
    for _ in 0..EXPORT_PAGES_MAX {
        let page = identity
            .store()
            .list_audit(&caller.sign_in.workspace, before.as_deref())
            .await?;
        let Some(last) = page.last() else {
            break;
        };
        before = Some(last.id.clone());
        for entry in &page {
            lines += &json!(entry).to_string();
            lines.push('\n');
        }
    }
    identity
        .note(&caller.sign_in, "exported", "audit log")
        .await?;
    let headers = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CONTENT_DISPOSITION, "attachment; filename=\"audit.ndjson\""),
    ];
    Ok((headers, lines))
}

impl Identity {
    /// The member of this id in the caller's workspace whom the caller may change.
    async fn changeable(&self, caller: &Caller, id: &str) -> Result<Member, Refusal> {
        let member = self
            .store()
            .find_member(&caller.sign_in.workspace, id)
            .await?
            .ok_or_else(problems::not_found)?;
        if !caller.sign_in.role.may_change(member.role) {
            return Err(problems::not_permitted().into());
        }
        Ok(member)
    }

    /// Makes what was done to a member hold at once, and writes it down; the last owner stays.
    async fn changed(
        &self,
        caller: &Caller,
        member: &Member,
        done: bool,
        action: &str,
    ) -> Result<StatusCode, Refusal> {
        if !done {
            return Err(problems::last_owner().into());
        }
        self.forget(&member.account);
        self.note(&caller.sign_in, action, &member.email).await?;
        Ok(StatusCode::NO_CONTENT)
    }

    /// Writes down what somebody did.
    pub(in crate::io) async fn note(
        &self,
        sign_in: &SignIn,
        action: &str,
        subject: &str,
    ) -> Result<(), Refusal> {
        Ok(self
            .audit(&sign_in.workspace, sign_in.email.as_str(), action, subject)
            .await?)
    }
}
