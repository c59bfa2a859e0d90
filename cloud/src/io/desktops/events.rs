//! News of the workspace's desktops over a WebSocket: first all of them, then each as it changes.
//!
//! ```text
//!  {"type":"all","instances":[…]}   at the start, and whenever some news was missed
//!  {"type":"one","instance":{…}}    it is new or has changed
//!  {"type":"gone","id":"…"}         it was deleted
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use protocol::id::InstanceId;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::view;
use crate::io::api::Api;
use crate::io::identity::{Caller, Refusal};
use crate::io::problems;

/// Sockets of one process; above it upgrades are refused, and pages ask again and again instead.
pub(in crate::io) const SOCKETS_MAX: usize = 2_000;
/// A page says nothing; what it says nevertheless is not read to its end, in bytes.
const MESSAGE_LEN_MAX: usize = 1024;
/// Whether the sign-in still holds is asked so often: an open socket is no way around its end.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// A socket that does not take a message within this is closed.
const SEND_WITHIN: Duration = Duration::from_secs(10);

/// News of the workspace's desktops, over a WebSocket that only our own page may open.
#[utoipa::path(
    get,
    path = "/api/v1/instances/events",
    responses((status = 101, description = "The socket; each message is one JSON object")),
    security(("session" = [])),
    extensions(("x-codes" = json!(["CROSS_SITE", "TOO_MANY"]))),
)]
pub(super) async fn accept(
    State(api): State<Api>,
    caller: Caller,
    upgrade: WebSocketUpgrade,
    request: Request,
) -> Result<Response, Refusal> {
    let parts = request.into_parts().0;
    api.identity.check_own_page(&parts)?;
    let place = Arc::clone(&api.event_sockets).try_acquire_owned();
    let place = place.map_err(|_| problems::too_many())?;
    let upgrade = upgrade.max_message_size(MESSAGE_LEN_MAX);
    Ok(upgrade.on_upgrade(async move |socket| {
        let _place = place;
        let news = api.keeper.watch();
        // Whoever is cut off comes back.
        let _ = serve(socket, api, caller, parts, news).await;
    }))
}

async fn serve(
    mut socket: WebSocket,
    api: Api,
    caller: Caller,
    parts: Parts,
    mut news: broadcast::Receiver<InstanceId>,
) -> Result<(), Gone> {
    let mut checks = tokio::time::interval(CHECK_EVERY);
    checks.tick().await;
    say(&mut socket, all(&api, &caller).await?).await?;
    loop {
        tokio::select! {
            changed = news.recv() => {
                let message = match changed {
                    Ok(instance) => one(&api, &caller, &instance).await?,
                    Err(RecvError::Lagged(_)) => Some(all(&api, &caller).await?),
                    Err(RecvError::Closed) => return Ok(()),
                };
                if let Some(message) = message {
                    say(&mut socket, message).await?;
                }
            }
            _ = checks.tick() => {
                if api.identity.caller(&parts).await.ok().flatten().is_none() {
                    return Ok(());
                }
                // Keeps proxies from closing a quiet socket.
                let ping = socket.send(Message::Ping(Vec::new().into()));
                tokio::time::timeout(SEND_WITHIN, ping).await??;
            }
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            }
        }
    }
}

async fn all(api: &Api, caller: &Caller) -> Result<Value, Gone> {
    let instances = view::all(api, caller).await.map_err(|_| Gone)?;
    Ok(json!({ "type": "all", "instances": instances }))
}

/// `None` for a desktop of another workspace.
async fn one(api: &Api, caller: &Caller, instance: &InstanceId) -> Result<Option<Value>, Gone> {
    let workspace = &caller.sign_in.workspace;
    let found = api.store.find_desktop(workspace, instance.as_str()).await;
    if let Some(desktop) = found.map_err(|_| Gone)? {
        let seen = view::one(api, caller, &desktop).await;
        return Ok(Some(json!({ "type": "one", "instance": seen })));
    }
    let was_ours = api.store.is_deleted_desktop(workspace, instance).await;
    let gone = was_ours.map_err(|_| Gone)?;
    Ok(gone.then(|| json!({ "type": "gone", "id": instance })))
}

async fn say(socket: &mut WebSocket, message: Value) -> Result<(), Gone> {
    let sent = socket.send(Message::text(message.to_string()));
    tokio::time::timeout(SEND_WITHIN, sent).await??;
    Ok(())
}

/// The socket or the database is of no more use.
struct Gone;

impl From<axum::Error> for Gone {
    fn from(_: axum::Error) -> Self {
        Self
    }
}

impl From<tokio::time::error::Elapsed> for Gone {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self
    }
}
