//! The description of the HTTP API (OpenAPI 3.1): made from the handlers and the types they take and
//! give, by the same tables that route requests to them.
//!
//! An operation names the codes that are its own (`x-codes`); those it shares with others follow from
//! what it takes: a sign-in, a body, a change. Each becomes an answer with its HTTP status.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use protocol::problem::Code;
use serde_json::{Map, Value, json};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{self, Api};
use super::identity::Identity;
use super::status::Status;

/// No request here has a body worth the name, in bytes.
const BODY_LEN_MAX: usize = 64 * 1024;
const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// Every route that the document describes, apart from signalling's own.
pub(super) fn router(api: Api) -> Router {
    let (identity, status) = (api.identity.clone(), api.status.clone());
    let described = api::routes()
        .with_state(api)
        .merge(Identity::routes().with_state(identity))
        .merge(Status::api().with_state(status))
        .merge(own())
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX));
    described.split_for_parts().0
}

/// The whole document.
pub(super) fn document() -> Value {
    let mut described = api::routes().into_openapi();
    described.merge(Identity::routes().into_openapi());
    described.merge(Status::api().into_openapi());
    described.merge(own::<()>().into_openapi());
    described.merge(signalling().into_openapi());
    let mut document = json!(described);
    document["info"] = json!({
        "title": "MultiClaw cloud",
        "version": "1",
        "summary": "Sign-in, workspaces, cloud desktops and who may connect to them.",
        "description": "Every refusal is a `Problem`: a stable code, the cause, and the next step.",
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/" }]);
    document["components"]["schemas"]["Problem"] = problem_schema();
    document["components"]["securitySchemes"] = security();
    for operation in operations(&mut document) {
        say_refusals(operation);
    }
    document
}

/// The schema of a problem, for fields that hold one.
pub(super) fn problem() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name("Problem"))
}

fn own<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::new().routes(routes!(served))
}

/// This description.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((status = 200, description = "An OpenAPI document", body = Object)),
)]
async fn served() -> impl IntoResponse {
    let json = [(CONTENT_TYPE, "application/json")];
    (json, DOCUMENT.as_str())
}

/// What signalling serves: here only described.
fn signalling() -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(viewer))
        .routes(routes!(agent_host))
        .routes(routes!(relay))
}

/// A viewer's WebSocket; its first message shows a connect ticket.
#[utoipa::path(
    get,
    path = "/api/v1/signal",
    responses((status = 101, description = "The socket; each message is one JSON object")),
    extensions(("x-codes" = json!(["CROSS_SITE", "BAD_MESSAGE"]))),
)]
async fn viewer() {}

/// An agent host's WebSocket; its first message shows its credential.
#[utoipa::path(
    get,
    path = "/api/v1/agent",
    responses((status = 101, description = "The socket; each message is one JSON object")),
    extensions(("x-codes" = json!(["CROSS_SITE", "BAD_MESSAGE"]))),
)]
async fn agent_host() {}

/// How a relay stands, signed with a secret of its region.
#[utoipa::path(
    post,
    path = "/api/v1/relays",
    request_body = Object,
    responses((status = 204, description = "Heard")),
    extensions(("x-codes" = json!(["ACCESS_DENIED"]))),
)]
async fn relay() {}

/// Every operation of every path.
fn operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let items = paths.filter_map(|(_, item)| item.as_object_mut());
    items
        .flatten()
        .filter(|(method, _)| METHODS.contains(&method.as_str()))
        .filter_map(|(method, operation)| {
            let operation = operation.as_object_mut()?;
            operation.insert("x-method".into(), method.as_str().into());
            Some(operation)
        })
}

fn say_refusals(operation: &mut Map<String, Value>) {
    let codes = codes(operation);
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        let group = by_status.entry(code.http_status()).or_default();
        if !group.contains(&code.as_str()) {
            group.push(code.as_str());
        }
    }
    operation.remove("x-codes");
    operation.remove("x-method");
    for (status, codes) in by_status {
        let answer = json!({
            "description": codes.join(", "),
            "content": { "application/json": { "schema": {
                "allOf": [
                    { "$ref": "#/components/schemas/Problem" },
                    { "properties": { "code": { "enum": codes } } },
                ],
            } } },
        });
        operation["responses"][status.to_string()] = answer;
    }
}

/// Its own codes, and those that follow from what it takes.
fn codes(operation: &Map<String, Value>) -> Vec<Code> {
    let named = operation.get("x-codes").cloned().unwrap_or_default();
    let mut codes: Vec<Code> = serde_json::from_value(named).unwrap_or_default();
    let takes = |key| operation.get(key).is_some();
    let schemes = operation.get("security").map(Value::to_string);
    let schemes = schemes.unwrap_or_default();
    if schemes.contains("key") {
        codes.push(Code::AccessDenied);
    } else if schemes.contains("session") {
        codes.push(Code::SignInRequired);
    }
    if schemes.contains("device") {
        codes.extend([Code::DeviceProofRefused, Code::DeviceNonceNeeded]);
        codes.extend([Code::DeviceEnded, Code::TooMany, Code::WorkspaceUnknown]);
    }
    if takes("requestBody") {
        codes.extend([Code::BadMessage, Code::MessageTooLarge]);
    }
    if takes("parameters") {
        codes.push(Code::BadMessage);
    }
    if operation.get("x-method") != Some(&json!("get")) {
        codes.extend([Code::CrossSite, Code::WorkspaceUnknown]);
    }
    codes.extend([Code::DatabaseUnavailable, Code::Internal]);
    codes
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong, told the same way everywhere.",
        "required": ["code", "cause", "next_step"],
        "properties": {
            "code": {
                "type": "string",
                "description": "Stable: a code, once published, keeps its meaning.",
                "enum": Code::ALL.map(Code::as_str).as_slice(),
            },
            "cause": { "type": "string", "description": "One sentence: what happened." },
            "next_step": { "type": "string", "description": "One sentence: what to do now." },
        },
    })
}

fn security() -> Value {
    json!({
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-multiclaw-session",
            "description": "Set at sign-in; without HTTPS it is called `multiclaw-session`. Requests that change something must come from the workspace's own page.",
        },
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access key, which opens one instance.",
        },
        "device": {
            "type": "http",
            "scheme": "DPoP",
            "description": "The token of a device, with a proof by its key in the header `DPoP` (RFC 9449; ES256 or EdDSA with Ed25519). Every answer names the nonce of the next proof in `DPoP-Nonce`.",
        },
    })
}

#[cfg(test)]
mod tests;
