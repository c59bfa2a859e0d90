//! Devices over HTTP: a member signs a program in once, sees what is signed in, and ends it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use protocol::Secret;
use serde::{Deserialize, Serialize};
use signalling::io::unix_now;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::auth::Credentials;
use super::possession::{ByDevice, Newcomer};
use super::{Admin, Identity, Member, Refusal};
use crate::access::secret_from;
use crate::identity::WorkspaceId;
use crate::identity::device::{DEVICES_MAX, Device, DeviceName, IDLE_MAX, NAME_LEN_MAX};
use crate::identity::sign_in::{SignIn, Verdict, hash_of};
use crate::io::problems;
use crate::io::store::desktops::Limited;

pub(super) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(refresh))
        .routes(routes!(end))
        .routes(routes!(list_of_member))
}

/// Who signs a device in, and what they call it. Its key is the one of the proof.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDevice {
    email: String,
    #[schema(value_type = String)]
    password: Secret,
    /// Shown wherever devices are listed.
    name: String,
}

/// The token of a device: worth nothing without a proof by its key.
#[derive(Serialize, ToSchema)]
struct DeviceToken {
    /// Of the device.
    id: String,
    #[schema(value_type = String)]
    token: Secret,
    /// `DPoP`: the scheme of the header `Authorization` it is shown under.
    token_type: &'static str,
    /// Unless it is used before.
    expires_in_secs: u64,
    workspace: String,
    /// Of its key (RFC 7638).
    thumbprint: String,
}

impl DeviceToken {
    fn new(sign_in: &SignIn, token: Secret) -> Self {
        Self {
            id: sign_in.id.clone(),
            token,
            token_type: protocol::proof::SCHEME,
            expires_in_secs: IDLE_MAX.as_secs(),
            workspace: sign_in.workspace.to_string(),
            thumbprint: thumbprint(sign_in),
        }
    }
}

/// Signs a device in with email and password, and binds what it gets to its key.
#[utoipa::path(
    post,
    path = "/api/v1/devices",
    params(("DPoP" = String, Header, description = "A proof (RFC 9449), without `ath`")),
    request_body = NewDevice,
    responses((status = 201, description = "Signed in", body = DeviceToken)),
    extensions(("x-codes" = json!(["SIGN_IN_FAILED", "EMAIL_UNCONFIRMED", "ACCOUNT_LOCKED", "TOO_MANY", "SERVICE_BUSY", "QUOTA_REACHED", "DEVICE_PROOF_REFUSED", "DEVICE_NONCE_NEEDED"]))),
)]
async fn add(
    State(identity): State<Identity>,
    Newcomer { visit, proof }: Newcomer,
    Json(asked): Json<NewDevice>,
) -> Result<(StatusCode, Json<DeviceToken>), Refusal> {
    let unnamed = || problems::device_name(NAME_LEN_MAX);
    let name = DeviceName::parse(&asked.name).ok_or_else(unnamed)?;
    let credentials = Credentials {
        email: asked.email,
        password: asked.password,
    };
    let (account, role) = identity.authenticate(&visit, credentials).await?;
    identity.spend(&proof).await?;
    let device = Device {
        name,
        key: proof.key(),
    };
    let token = secret_from(rand::random());
    let now = unix_now();
    let sign_in = SignIn {
        id: Uuid::now_v7().to_string(),
        workspace: visit.workspace,
        account: account.id,
        email: account.email,
        role,
        handle_hash: hash_of(&token),
        previous: None,
        created_unix: now.as_secs(),
        used_unix: now.as_secs(),
        ended: false,
        client: visit.client,
        device: Some(device.clone()),
    };
    let store = identity.store();
    if store.start_device(&sign_in, &device, now).await? == Limited::Full {
        return Err(problems::devices_full(DEVICES_MAX).into());
    }
    // Its key is a place of its own from now on: a stranger's failures do not lock it out.
    store
        .add_device(device.key.as_bytes(), &sign_in.account, now)
        .await?;
    identity.forget(&sign_in.account);
    let subject = subject(&sign_in);
    identity.note(&sign_in, "added a device", &subject).await?;
    Ok((StatusCode::CREATED, Json(DeviceToken::new(&sign_in, token))))
}

/// The next token of a device, bound to the same key. A lost answer is answered again for 30 s.
#[utoipa::path(
    post,
    path = "/api/v1/devices/refresh",
    responses((status = 200, description = "The token before it ends", body = DeviceToken)),
    security(("device" = [])),
)]
async fn refresh(
    State(identity): State<Identity>,
    ByDevice(caller): ByDevice,
) -> Result<Json<DeviceToken>, Refusal> {
    let next = identity.rotate(&caller).await?;
    let next = next.ok_or_else(problems::device_ended)?;
    Ok(Json(DeviceToken::new(&caller.sign_in, next)))
}

/// A device that is signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
struct Row {
    id: String,
    name: String,
    /// Of its key (RFC 7638).
    thumbprint: String,
    created_unix: u64,
    used_unix: u64,
    /// It is the one that asks.
    current: bool,
}

/// The caller's devices.
#[utoipa::path(
    get,
    path = "/api/v1/devices",
    responses((status = 200, description = "Every device that is signed in", body = [Row])),
    security(("session" = []), ("device" = [])),
)]
async fn list(
    State(identity): State<Identity>,
    Member(caller): Member,
) -> Result<Json<Vec<Row>>, Refusal> {
    let own = &caller.sign_in;
    let mut rows = identity.devices(&own.workspace, &own.account).await?;
    for row in &mut rows {
        row.current = row.id == own.id;
    }
    Ok(Json(rows))
}

/// The devices of a member.
#[utoipa::path(
    get,
    path = "/api/v1/members/{id}/devices",
    params(("id" = String, Path)),
    responses((status = 200, description = "Every device that is signed in", body = [Row])),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED", "NOT_FOUND"]))),
)]
async fn list_of_member(
    State(identity): State<Identity>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Result<Json<Vec<Row>>, Refusal> {
    let workspace = &caller.sign_in.workspace;
    let member = identity.store().find_member(workspace, &id).await?;
    let member = member.ok_or_else(problems::not_found)?;
    Ok(Json(identity.devices(workspace, &member.account).await?))
}

/// Signs a device out: one's own, and that of a member whom the caller may remove. A device may only
/// sign itself out.
#[utoipa::path(
    delete,
    path = "/api/v1/devices/{id}",
    params(("id" = String, Path)),
    responses((status = 204, description = "Signed out")),
    security(("session" = []), ("device" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED", "NOT_FOUND"]))),
)]
async fn end(
    State(identity): State<Identity>,
    Member(caller): Member,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let own = &caller.sign_in;
    let found = identity.store().find_device(&own.workspace, &id).await?;
    let is_own = found
        .as_ref()
        .is_some_and(|found| found.account == own.account);
    let found = found
        .filter(|_| is_own || own.role.may_administer())
        .ok_or_else(problems::not_found)?;
    let by_another_device = own.device.is_some() && found.id != own.id;
    if by_another_device || !(is_own || own.role.may_change(found.role)) {
        return Err(problems::not_permitted().into());
    }
    let store = identity.store();
    let ended = store
        .end_sign_ins(&found.account, Some(&id), unix_now())
        .await?;
    if ended == 0 {
        return Err(problems::not_found().into());
    }
    identity.forget(&found.account);
    identity
        .note(own, "ended a device", &subject(&found))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Identity {
    /// The devices of an account that are signed in to a workspace, newest first.
    async fn devices(&self, workspace: &WorkspaceId, account: &str) -> Result<Vec<Row>, Refusal> {
        let sign_ins = self.store().list_sign_ins(workspace, account).await?;
        let now = unix_now();
        let holds = |one: &&SignIn| one.judge(&one.handle_hash, now) == Verdict::Current;
        let row = |one: &SignIn| {
            let device = one.device.as_ref()?;
            Some(Row {
                id: one.id.clone(),
                name: device.name.as_str().to_owned(),
                thumbprint: device.key.to_string(),
                created_unix: one.created_unix,
                used_unix: one.used_unix,
                current: false,
            })
        };
        Ok(sign_ins.iter().filter(holds).filter_map(row).collect())
    }
}

/// As the audit log names a device.
pub(super) fn subject(sign_in: &SignIn) -> String {
    let device = sign_in.device.as_ref();
    let name = device.map_or("-", |device| device.name.as_str());
    format!("{name} of {} ({})", sign_in.email, sign_in.id)
}

fn thumbprint(sign_in: &SignIn) -> String {
    let key = sign_in.key();
    key.map(|key| key.to_string()).unwrap_or_default()
}
