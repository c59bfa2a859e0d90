//! The caller's own sign-ins at browsers: where they are signed in, and the end of one.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use signalling::io::unix_now;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Caller, Identity, Refusal};
use crate::identity::sign_in::Verdict;
use crate::io::problems;

pub(super) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(end))
}

/// One place where the caller is signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = SignIn)]
struct Row {
    id: String,
    /// What the browser calls itself.
    client: String,
    created_unix: u64,
    used_unix: u64,
    /// It is the one that asks.
    current: bool,
}

/// Where the caller is signed in.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    responses((status = 200, description = "Every sign-in that holds", body = [Row])),
    security(("session" = [])),
)]
async fn list(State(identity): State<Identity>, caller: Caller) -> Result<Json<Vec<Row>>, Refusal> {
    let own = &caller.sign_in;
    let sign_ins = identity
        .store()
        .list_sign_ins(&own.workspace, &own.account)
        .await?;
    let now = unix_now();
    let rows = sign_ins
        .iter()
        .filter(|sign_in| sign_in.device.is_none())
        .filter(|sign_in| sign_in.judge(&sign_in.handle_hash, now) == Verdict::Current)
        .map(|sign_in| Row {
            id: sign_in.id.clone(),
            client: sign_in.client.clone(),
            created_unix: sign_in.created_unix,
            used_unix: sign_in.used_unix,
            current: sign_in.id == own.id,
        });
    Ok(Json(rows.collect()))
}

/// Ends one of the caller's sign-ins.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    params(("id" = String, Path)),
    responses((status = 204, description = "Ended")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_FOUND"]))),
)]
async fn end(
    State(identity): State<Identity>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let own = &caller.sign_in;
    let ended = identity
        .store()
        .end_sign_ins(&own.account, Some(&id), unix_now())
        .await?;
    if ended == 0 {
        return Err(problems::not_found().into());
    }
    identity.forget(&own.account);
    identity.note(own, "ended a sign-in", &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
