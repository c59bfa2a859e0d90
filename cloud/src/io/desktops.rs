//! Desktops over HTTP: list, create, start, stop, restart, delete, and their news over a WebSocket.
//!
//! Everything is found by the caller's workspace first: a desktop of another one does not exist. A
//! member starts and stops; who administers the workspace also creates and deletes.

mod events;
mod view;

pub(super) use events::SOCKETS_MAX as EVENT_SOCKETS_MAX;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use protocol::id::InstanceId;
use rand::RngExt;
use serde::Deserialize;
use serde_json::{Value, json};
use signalling::io::unix_now;

use super::api::Api;
use super::identity::{Admin, Caller, Refusal};
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

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/instances", get(list).post(create))
        .route("/api/v1/instances/events", get(events::accept))
        .route("/api/v1/instances/{id}", delete(remove))
        .route("/api/v1/instances/{id}/start", post(start))
        .route("/api/v1/instances/{id}/stop", post(stop))
        .route("/api/v1/instances/{id}/restart", post(restart))
        .route("/api/v1/instances/{id}/log", get(log))
}

async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Vec<Value>>, Refusal> {
    Ok(Json(view::all(&api, &caller).await?))
}

/// What a person asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDesktop {
    name: String,
    #[serde(default)]
    size: Size,
    /// Default: the first of the configuration.
    region: Option<String>,
}

async fn create(
    State(api): State<Api>,
    Admin(caller): Admin,
    Json(asked): Json<NewDesktop>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
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

async fn start(state: State<Api>, caller: Caller, id: Path<String>) -> Result<StatusCode, Refusal> {
    wish(state, caller, id, Wish::Start).await
}

async fn stop(state: State<Api>, caller: Caller, id: Path<String>) -> Result<StatusCode, Refusal> {
    wish(state, caller, id, Wish::Stop).await
}

async fn restart(
    state: State<Api>,
    caller: Caller,
    id: Path<String>,
) -> Result<StatusCode, Refusal> {
    wish(state, caller, id, Wish::Restart).await
}

async fn wish(
    State(api): State<Api>,
    caller: Caller,
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
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    confirm: Option<String>,
}

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

async fn log(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let desktop = api.desktop_of(&caller, &id).await?;
    let log = api.keeper.log(&desktop.instance).await;
    Ok(Json(json!({ "log": log })))
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
