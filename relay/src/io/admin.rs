//! What an operator asks over HTTP: metrics, health, readiness, allocations, revocation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get};
use protocol::Secret;
use protocol::exposition::{Exposition, Form};
use serde_json::json;
use tokio::sync::oneshot;

use super::gate::may_change;
use super::probe::Probe;
use super::web::WebTally;
use super::worker::{Control, Handle};
use crate::config::{Config, Listen};
use crate::ledger::Ledger;
use crate::metrics::{Counters, Drop, Traffic};
use crate::server::AllocationView;

/// Allocations listed for one question.
const LISTED_MAX: usize = 10_000;
/// A worker that does not answer within this time is not healthy.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Shared>);

struct Shared {
    handles: Vec<Handle>,
    ledger: Ledger,
    web: Arc<WebTally>,
    token: Option<Secret>,
    probes: Vec<Probe>,
}

impl Admin {
    pub(crate) fn new(
        config: &Config,
        handles: Vec<Handle>,
        ledger: Ledger,
        web: Arc<WebTally>,
        listens: &[Listen],
    ) -> Self {
        Self(Arc::new(Shared {
            handles,
            ledger,
            web,
            token: config.admin.as_ref().and_then(|admin| admin.token.clone()),
            probes: Probe::each(config, listens),
        }))
    }
}

pub(crate) async fn serve(listener: tokio::net::TcpListener, admin: Admin) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/allocations", get(allocations))
        .route("/sessions/{session}", delete(revoke))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the admin interface has stopped");
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> impl IntoResponse {
    let Some(counters) = total(&admin.0.handles).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new()).into_response();
    };
    let accept = headers.get(header::ACCEPT);
    let form = Form::accepted(accept.and_then(|accept| accept.to_str().ok()));
    let text = render(form, &counters, &admin.0.web);
    ([(header::CONTENT_TYPE, form.content_type())], text).into_response()
}

async fn healthz(State(admin): State<Admin>) -> StatusCode {
    match total(&admin.0.handles).await {
        Some(_) => StatusCode::OK,
        None => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Ready is who gives an allocation through every listener.
async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let (mut status, mut text) = (StatusCode::OK, String::new());
    for probe in &admin.0.probes {
        let (transport, address) = (probe.transport().name(), probe.listener());
        let outcome = match probe.allocate().await {
            Ok(probed) => format!("allocated {}", probed.relayed),
            Err(error) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                format!("failed: {error:#}")
            }
        };
        text += &format!("{transport} {address} {outcome}\n");
    }
    (status, text)
}

async fn allocations(State(admin): State<Admin>) -> impl IntoResponse {
    let mut all: Vec<AllocationView> = Vec::new();
    for handle in &admin.0.handles {
        let (sender, answer) = oneshot::channel();
        handle.send(Control::Allocations(LISTED_MAX, sender));
        all.extend(answered(answer).await.unwrap_or_default());
    }
    Json(all)
}

async fn revoke(
    State(admin): State<Admin>,
    Path(session): Path<String>,
    headers: HeaderMap,
) -> impl IntoResponse {
    if let Err(refused) = may_change(&headers, admin.0.token.as_ref()) {
        let body = json!({"code": "FORBIDDEN", "message": refused.sentence()});
        return (StatusCode::FORBIDDEN, Json(body));
    }
    admin.0.ledger.revoke(&session);
    let session: Arc<str> = session.into();
    let mut ended = 0;
    for handle in &admin.0.handles {
        let (sender, answer) = oneshot::channel();
        handle.send(Control::EndSession(session.clone(), sender));
        ended += answered(answer).await.unwrap_or_default();
    }
    (StatusCode::OK, Json(json!({ "ended": ended })))
}

/// All workers' counters; `None` if one does not answer.
pub(super) async fn total(handles: &[Handle]) -> Option<Counters> {
    let mut total = Counters::default();
    for handle in handles {
        let (sender, answer) = oneshot::channel();
        handle.send(Control::Counters(sender));
        total.add(&answered(answer).await?);
    }
    Some(total)
}

async fn answered<T>(answer: oneshot::Receiver<T>) -> Option<T> {
    tokio::time::timeout(ANSWER_TIME, answer).await.ok()?.ok()
}

fn render(form: Form, counters: &Counters, web: &WebTally) -> String {
    let mut text = Exposition::new("multiclaw_relay");
    write_traffic(&mut text, counters);
    write_refusals(&mut text, counters);
    for (name, help, value) in [
        (
            "allocations_made",
            "Allocations made",
            counters.allocations_made,
        ),
        (
            "allocations_ended",
            "Allocations ended",
            counters.allocations_ended,
        ),
        ("refreshes", "Refreshes granted", counters.refreshes),
        (
            "permissions_made",
            "Permissions made or renewed",
            counters.permissions_made,
        ),
        (
            "channels_bound",
            "Channels bound or renewed",
            counters.channels_bound,
        ),
        ("bindings", "Binding requests answered", counters.bindings),
    ] {
        text.counter(name, help, value);
    }
    text.gauge("allocations", "Allocations alive", counters.allocations);
    let outcomes = [
        ("passed", &web.passed),
        ("answered", &web.answered),
        ("refused", &web.refused),
    ];
    let outcomes = outcomes
        .map(|(outcome, count)| (Some(("outcome", outcome)), count.load(Ordering::Relaxed)));
    text.counters("web_connections", "HTTP connections of port 443", outcomes);
    text.finish(form)
}

fn write_traffic(text: &mut Exposition, counters: &Counters) {
    let directions = [
        ("to_peer", counters.to_peers),
        ("to_client", counters.to_clients),
        ("hairpin", counters.hairpinned),
    ];
    let each = |count: fn(&Traffic) -> u64| {
        directions.map(|(name, traffic)| (Some(("direction", name)), count(&traffic)))
    };
    text.counters("packets", "Packets relayed", each(|one| one.packets));
    let bytes = each(|one| one.bytes);
    text.counters("payload_bytes", "Bytes of payload relayed", bytes);
}

fn write_refusals(text: &mut Exposition, counters: &Counters) {
    let drops = Drop::ALL.map(|reason| {
        let label = Some(("reason", reason.label()));
        (label, counters.dropped(reason))
    });
    text.counters("drops", "Packets dropped", drops);
    let errors: Vec<(String, u64)> = counters
        .errors()
        .map(|(code, count)| match code {
            0 => ("other".to_owned(), count),
            code => (code.to_string(), count),
        })
        .collect();
    let errors = errors
        .iter()
        .map(|(code, count)| (Some(("code", code.as_str())), *count));
    text.counters("errors", "Requests refused", errors);
}
