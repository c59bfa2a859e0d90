//! The caller's own sign-ins: where they are signed in, and the end of one.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use signalling::io::unix_now;

use super::{Caller, Identity, Refusal};
use crate::identity::sign_in::Verdict;
use crate::io::problems;

pub(super) fn routes() -> Router<Identity> {
    Router::new()
        .route("/api/v1/sessions", get(list))
        .route("/api/v1/sessions/{id}", delete(end))
}

async fn list(
    State(identity): State<Identity>,
    caller: Caller,
) -> Result<Json<Vec<Value>>, Refusal> {
    let own = &caller.sign_in;
    let sign_ins = identity
        .store()
        .list_sign_ins(&own.workspace, &own.account)
        .await?;
    let now = unix_now();
    let rows = sign_ins
        .iter()
        .filter(|sign_in| sign_in.judge(&sign_in.handle_hash, now) == Verdict::Current)
        .map(|sign_in| {
            json!({
                "id": sign_in.id,
                "client": sign_in.client,
                "created_unix": sign_in.created_unix,
                "used_unix": sign_in.used_unix,
                "current": sign_in.id == own.id,
            })
        });
    Ok(Json(rows.collect()))
}

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
