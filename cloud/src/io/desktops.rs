//! Desktops over HTTP: list, create, start, stop, restart, delete, and their news over a WebSocket.
//!
//! Everything is found by the caller's workspace first: a desktop of another one does not exist. A
//! member starts and stops; who administers the workspace also creates and deletes.

mod events;
mod view;

pub(super) use events::SOCKETS_MAX as EVENT_SOCKETS_MAX;
use view::DesktopView;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use protocol::id::InstanceId;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use signalling::io::unix_now;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::Api;
use super::identity::{Admin, Caller, Member, Refusal};
use super::problems;
use super::store::desktops::{Desktop, Keeper, Limited, Wish};
use crate::lifecycle::{Desired, Generation, Order, Size};

/// Letters of a desktop's id after its name: with 32⁶ ids of one name nobody guesses another's, and
/// no name is ever taken.
const SUFFIX_LEN: usize = 6;
/// Without letters that look alike.
const SUFFIX_LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// Longest name of a desktop: its id fits a host name's label.
const NAME_LEN_MAX: usize = 40;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(events::accept))
        .routes(routes!(remove))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(restart))
        .routes(routes!(log))
}

/// The desktops of the workspace.
#[utoipa::path(
    get,
    path = "/api/v1/instances",
    responses((status = 200, description = "All of them", body = [DesktopView])),
    security(("session" = []), ("device" = [])),
)]
async fn list(
    State(api): State<Api>,
    Member(caller): Member,
) -> Result<Json<Vec<DesktopView>>, Refusal> {
    Ok(Json(view::all(&api, &caller).await?))
}

/// What a person asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDesktop {
    name: String,
    #[serde(default)]
    size: Size,
    /// Default: the first of the configuration.
    region: Option<String>,
}

/// Makes a desktop and starts it.
#[utoipa::path(
    post,
    path = "/api/v1/instances",
    request_body = NewDesktop,
    responses((status = 201, description = "It is being started", body = DesktopView)),
    security(("session" = [])),
    extensions(("x-codes" = json!(["NOT_PERMITTED", "NOT_MANAGED", "QUOTA_REACHED"]))),
)]
async fn create(
    State(api): State<Api>,
    Admin(caller): Admin,
    Json(asked): Json<NewDesktop>,
) -> Result<(StatusCode, Json<DesktopView>), Refusal> {
    if !api.keeper.has_driver() {
        return Err(problems::no_driver().into());
    }
    let desktop = api.new_desktop(&caller, asked)?;
    let created = api
        .store
        .create_desktop(&desktop, api.quota.desktops, unix_now());
    if created.await? == Limited::Full {
        return Err(problems::quota("desktops", api.quota.desktops).into());
    }
    let subject = desktop.instance.to_string();
    api.identity
        .note(&caller.sign_in, "created desktop", &subject)
        .await?;
    api.keeper.nudge().await;
    api.keeper.announce(&desktop.instance);
    let seen = view::one(&api, &caller, &desktop).await;
    Ok((StatusCode::CREATED, Json(seen)))
}

/// Wants a desktop to run.
#[utoipa::path(
    post,
    path = "/api/v1/instances/{id}/start",
    params(("id" = String, Path)),
    responses((status = 202, description = "Wanted")),
    security(("session" = []), ("device" = [])),
    extensions(("x-codes" = json!(["INSTANCE_UNKNOWN", "NOT_MANAGED", "QUOTA_REACHED"]))),
)]
async fn start(state: State<Api>, member: Member, id: Path<String>) -> Result<StatusCode, Refusal> {
    wish(state, member, id, Wish::Start).await
}

/// Wants a desktop to be stopped; its files stay.
#[utoipa::path(
    post,
    path = "/api/v1/instances/{id}/stop",
    params(("id" = String, Path)),
    responses((status = 202, description = "Wanted")),
    security(("session" = []), ("device" = [])),
    extensions(("x-codes" = json!(["INSTANCE_UNKNOWN", "NOT_MANAGED"]))),
)]
async fn stop(state: State<Api>, member: Member, id: Path<String>) -> Result<StatusCode, Refusal> {
    wish(state, member, id, Wish::Stop).await
}

/// Wants a desktop to begin anew.
#[utoipa::path(
    post,
    path = "/api/v1/instances/{id}/restart",
    params(("id" = String, Path)),
    responses((status = 202, description = "Wanted")),
    security(("session" = []), ("device" = [])),
    extensions(("x-codes" = json!(["INSTANCE_UNKNOWN", "NOT_MANAGED", "QUOTA_REACHED"]))),
)]
async fn restart(
    state: State<Api>,
    member: Member,
    id: Path<String>,
) -> Result<StatusCode, Refusal> {
    wish(state, member, id, Wish::Restart).await
}

async fn wish(
    State(api): State<Api>,
    Member(caller): Member,
    Path(id): Path<String>,
    wish: Wish,
) -> Result<StatusCode, Refusal> {
    let desktop = api.desktop_of(&caller, &id).await?;
    if desktop.keeper == Keeper::External {
        return Err(problems::not_managed().into());
    }
    let stored = api.store.wish(&desktop, wish, api.quota.running).await?;
    if stored == Limited::Full {
        return Err(problems::quota("running desktops", api.quota.running).into());
    }
    let action = match wish {
        Wish::Start => "started desktop",
        Wish::Stop => "stopped desktop",
        Wish::Restart => "restarted desktop",
    };
    api.identity.note(&caller.sign_in, action, &id).await?;
    api.keeper.nudge().await;
    Ok(StatusCode::ACCEPTED)
}

/// The second step of a deletion: the id once more.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    confirm: Option<String>,
}

/// Deletes a desktop and all its files, for good.
#[utoipa::path(
    delete,
    path = "/api/v1/instances/{id}",
    params(("id" = String, Path)),
    request_body = Confirmation,
    responses((status = 202, description = "It is gone for good")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["INSTANCE_UNKNOWN", "NOT_PERMITTED", "CONFIRMATION_NEEDED"]))),
)]
async fn remove(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let desktop = api.desktop_of(&caller, &id).await?;
    let confirmation: Confirmation = serde_json::from_slice(&body).unwrap_or_default();
    let confirmed = confirmation.confirm;
    if confirmed.as_deref() != Some(desktop.instance.as_str()) {
        return Err(problems::confirmation_needed(&desktop.instance).into());
    }
    api.store
        .delete_instance(&desktop.instance, unix_now())
        .await?;
    api.identity
        .note(&caller.sign_in, "deleted desktop", &id)
        .await?;
    api.keeper.nudge().await;
    api.keeper.announce(&desktop.instance);
    Ok(StatusCode::ACCEPTED)
}

/// The end of what the parts of a desktop said.
#[derive(Serialize, ToSchema)]
struct Log {
    log: String,
}

/// The end of what a desktop's programs said.
#[utoipa::path(
    get,
    path = "/api/v1/instances/{id}/log",
    params(("id" = String, Path)),
    responses((status = 200, description = "Plain text, in lines", body = Log)),
    security(("session" = []), ("device" = [])),
    extensions(("x-codes" = json!(["INSTANCE_UNKNOWN"]))),
)]
async fn log(
    State(api): State<Api>,
    Member(caller): Member,
    Path(id): Path<String>,
) -> Result<Json<Log>, Refusal> {
    let desktop = api.desktop_of(&caller, &id).await?;
    let log = api.keeper.log(&desktop.instance).await;
    Ok(Json(Log { log }))
}

impl Api {
    async fn desktop_of(&self, caller: &Caller, id: &str) -> Result<Desktop, Refusal> {
        let workspace = &caller.sign_in.workspace;
        let found = self.store.find_desktop(workspace, id).await?;
        Ok(found.ok_or_else(problems::desktop_unknown)?)
    }

    fn new_desktop(&self, caller: &Caller, asked: NewDesktop) -> Result<Desktop, Refusal> {
        let sound = asked.name.len() <= NAME_LEN_MAX && InstanceId::new(&asked.name).is_ok();
        if !sound {
            return Err(problems::desktop_name(NAME_LEN_MAX).into());
        }
        let known = |id: &String| self.regions.contains(id);
        let region = match asked.region {
            None => self.regions.first().cloned(),
            Some(region) => Some(region).filter(known),
        };
        let instance = format!("{}-{}", asked.name, suffix());
        Ok(Desktop {
            instance: InstanceId::new(&instance).map_err(|_| problems::internal())?,
            name: asked.name,
            workspace: caller.sign_in.workspace.to_string(),
            region: region.ok_or_else(problems::region_unknown)?,
            keeper: Keeper::Driver,
            order: Order {
                desired: Desired::Running,
                generation: Generation(1),
                size: asked.size,
            },
        })
    }
}

fn suffix() -> String {
    let mut rng = rand::rng();
    (0..SUFFIX_LEN)
        .map(|_| char::from(SUFFIX_LETTERS[rng.random_range(0..SUFFIX_LETTERS.len())]))
        .collect()
}
