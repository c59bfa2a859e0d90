//! The shell: two WebSocket routes, one for relays' reports, one task that owns the [`Switchboard`](crate::Switchboard),
//! and requests to whoever stores things.
//!
//! ```text
//!  socket task ─ Input ─▶ ┌─────────┐ ─ StoreRequest ─▶ the room that owns the database
//!  socket task ─ Input ─▶ │ service │ ◀──── done ──────
//!  socket task ◀ Outgoing └─────────┘      only then are messages sent
//! ```

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use protocol::problem::Problem;
use protocol::relay::REPORT_PATH;
use protocol::signal::{AGENT_PATH, MESSAGE_LEN_MAX, VIEWER_PATH};

mod agent;
mod bus;
mod nodes;
mod origin;
mod pipe;
mod relay;
mod service;
mod socket;
mod task;
mod viewer;

pub use bus::Bus;
pub use origin::Origins;
pub use service::{Claimed, Committed, Figures, Service, StoreRequest, unix_now};
pub use socket::SocketCounters;

use crate::refusal;

/// The WebSocket layer gives up on a message of this size without reading on. Messages between
/// the bound and this are read and refused in words.
const FRAME_LEN_MAX: usize = 4 * MESSAGE_LEN_MAX;
/// Memory each socket keeps for reading, in bytes: an idle agent host says little, and a longer
/// message grows it for as long as it takes.
const READ_LEN: usize = 4 * 1024;

#[derive(Clone)]
struct Shared {
    service: Service,
    origins: Arc<Origins>,
}

/// The routes for viewers and agent hosts.
pub fn routes(service: Service, origins: Origins) -> Router {
    let shared = Shared {
        service,
        origins: Arc::new(origins),
    };
    Router::new()
        .route(VIEWER_PATH, get(accept_viewer))
        .route(AGENT_PATH, get(accept_agent))
        .route(REPORT_PATH, relay::route())
        .with_state(shared)
}

/// A problem as an HTTP answer: its status and its JSON.
pub fn problem_response(problem: &Problem) -> Response {
    let status = axum::http::StatusCode::from_u16(problem.code.http_status())
        .unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(problem)).into_response()
}

async fn accept_viewer(
    State(shared): State<Shared>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match shared.origins.check_viewer(&headers) {
        Ok(()) => accept(shared.service, upgrade, viewer::serve),
        Err(problem) => problem_response(&problem),
    }
}

async fn accept_agent(
    State(shared): State<Shared>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match origin::check_agent(&headers) {
        Ok(()) => accept(shared.service, upgrade, agent::serve),
        Err(problem) => problem_response(&problem),
    }
}

fn accept<F>(
    service: Service,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    serve: fn(socket::Socket, Service) -> F,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(upgrade) = upgrade else {
        return problem_response(&refusal::out_of_order("This address speaks WebSocket only"));
    };
    let Some(place) = service.take_place() else {
        return problem_response(&refusal::too_many("connections"));
    };
    upgrade
        .read_buffer_size(READ_LEN)
        .max_message_size(FRAME_LEN_MAX)
        .max_frame_size(FRAME_LEN_MAX)
        .on_upgrade(async move |websocket| {
            serve(socket::Socket::new(websocket, place), service).await;
        })
}

#[cfg(test)]
mod tests;
