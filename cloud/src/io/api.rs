//! The HTTP API under `/api/v1`: thin handlers, `Problem` JSON for every refusal.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::problem::Problem;
use protocol::signal::Role;
use protocol::token::TICKET_TTL;
use serde::Serialize;
use signalling::Granter;
use signalling::io::{Service, problem_response, unix_now};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::desktops;
use super::identity::{Identity, Refusal, shows_token};
use super::keeper::Keeper;
use super::problems;
use super::status::Status;
use super::store::Store;
use crate::access::AccessKey;
use crate::config::QuotaConfig;
use crate::metrics::Metrics;

#[derive(Clone)]
pub(super) struct Api {
    pub(super) store: Store,
    pub(super) granter: Arc<Granter>,
    pub(super) signalling: Service,
    pub(super) identity: Identity,
    pub(super) keeper: Keeper,
    pub(super) status: Status,
    pub(super) metrics: Arc<Metrics>,
    pub(super) quota: QuotaConfig,
    /// The first is where desktops are created unless somebody says otherwise.
    pub(super) regions: Arc<[String]>,
    /// Places for sockets that watch desktops.
    pub(super) event_sockets: Arc<Semaphore>,
}

impl FromRef<Api> for Identity {
    fn from_ref(api: &Api) -> Self {
        api.identity.clone()
    }
}

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(desktops::routes())
        .routes(routes!(instance))
        .routes(routes!(ticket))
        .routes(routes!(health))
}

/// Shown to signalling once, soon.
#[derive(Serialize, ToSchema)]
struct Ticket {
    #[schema(value_type = String)]
    ticket: Secret,
    expires_in_secs: u64,
    /// To be measured, and shown with the ticket; empty if there is nothing to choose.
    regions: Vec<Region>,
}

/// Where the way to a region can be measured.
#[derive(Serialize, ToSchema)]
#[schema(as = MeasurableRegion)]
struct Region {
    id: String,
    /// RFC 7064: `stun:host:port`.
    stun: String,
}

/// A connect ticket for the instance that the access key, or the member's sign-in, opens.
#[utoipa::path(
    post,
    path = "/api/v1/instances/{id}/tickets",
    params(("id" = String, Path)),
    responses((status = 200, description = "Good once, and for a minute", body = Ticket)),
    security(("session" = []), ("key" = []), ("device" = [])),
    extensions(("x-codes" = json!(["INSTANCE_UNKNOWN"]))),
)]
async fn ticket(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let ticket = match api.admit(&id, &parts).await {
        Ok(access) => api.granter.ticket(
            SessionId::from_uuid(Uuid::new_v4()),
            access.instance,
            access.role,
            access.id,
            unix_now(),
        ),
        Err(problem) => return Refusal::from(problem).into_response(),
    };
    match ticket {
        Ok(ticket) => Json(Ticket {
            ticket,
            expires_in_secs: TICKET_TTL.as_secs(),
            regions: measurable(&api),
        })
        .into_response(),
        Err(_) => problem_response(&problems::internal()),
    }
}

/// Where the viewer may measure its way to each region.
fn measurable(api: &Api) -> Vec<Region> {
    let regions = api.granter.relays().measurable();
    if regions.len() < 2 {
        return vec![];
    }
    let region = |(id, stun)| Region { id, stun };
    regions.into_iter().map(region).collect()
}

/// What whoever may use an instance is told of it.
#[derive(Serialize, ToSchema)]
struct Instance {
    #[schema(value_type = String)]
    instance: InstanceId,
    state: crate::lifecycle::State,
    region: Option<String>,
    /// `control` or `view`.
    #[schema(value_type = String)]
    role: Role,
}

/// The instance's state, for whoever may use it.
#[utoipa::path(
    get,
    path = "/api/v1/instances/{id}",
    params(("id" = String, Path)),
    responses((status = 200, description = "As it is now", body = Instance)),
    security(("session" = []), ("key" = []), ("device" = [])),
    extensions(("x-codes" = json!(["INSTANCE_UNKNOWN"]))),
)]
async fn instance(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let access = match api.admit(&id, &parts).await {
        Ok(access) => access,
        Err(problem) => return Refusal::from(problem).into_response(),
    };
    let region = match api.store.find_instance(&access.instance).await {
        Ok(record) => record.map(|record| record.region),
        Err(error) => return problem_response(&failed(&error)),
    };
    let state = api.keeper.see(&access.instance).await.state;
    Json(Instance {
        instance: access.instance,
        state,
        region,
        role: access.role,
    })
    .into_response()
}

/// The service answers and can use its database.
#[derive(Serialize, ToSchema)]
struct Sound {
    ok: bool,
}

/// Whether the service can do its work.
#[utoipa::path(
    get,
    path = "/healthz",
    responses((status = 200, description = "It can", body = Sound)),
)]
async fn health(State(api): State<Api>) -> Response {
    match (api.signalling.figures().await, api.store.check().await) {
        (Some(_), Ok(())) => Json(Sound { ok: true }).into_response(),
        (_, Err(error)) => problem_response(&problems::database(&error)),
        (None, Ok(())) => problem_response(&problems::internal()),
    }
}

impl Api {
    /// Who calls and what it opens. First the key is judged, then the name: so neither a wrong key
    /// nor a right one tells whether another instance exists.
    async fn admit(&self, id: &str, parts: &Parts) -> Result<Admitted, Problem> {
        if parts.headers.contains_key(AUTHORIZATION) && !shows_token(&parts.headers) {
            return self.admit_key(id, &parts.headers).await;
        }
        let caller = self.identity.member(parts).await?;
        let caller = caller.ok_or_else(problems::key_refused)?.sign_in;
        let own = self.store.list_instances_of(&caller.workspace).await;
        let found = own.map_err(|error| failed(&error))?;
        let found = found
            .into_iter()
            .find(|record| record.instance.as_str() == id)
            .ok_or_else(problems::instance_unknown)?;
        Ok(Admitted {
            instance: found.instance,
            role: Role::Control,
            id: format!("member:{}", caller.account),
        })
    }

    async fn admit_key(&self, id: &str, headers: &HeaderMap) -> Result<Admitted, Problem> {
        let key = bearer(headers)
            .and_then(AccessKey::parse)
            .ok_or_else(problems::key_refused)?;
        let access = self
            .store
            .find_access(&key.id)
            .await
            .map_err(|error| failed(&error))?
            .filter(|access| access.admits(&key, unix_now()))
            .ok_or_else(problems::key_refused)?;
        let named = InstanceId::new(id).map_err(|_| problems::instance_unknown())?;
        if access.instance == named {
            Ok(Admitted {
                instance: access.instance,
                role: access.role,
                id: access.id,
            })
        } else {
            Err(problems::instance_unknown())
        }
    }
}

/// What the caller opens, as what, and the name that revokes it.
struct Admitted {
    instance: InstanceId,
    role: Role,
    id: String,
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn failed(error: &anyhow::Error) -> Problem {
    tracing::error!("the database failed: {error:#}");
    problems::database(error)
}
