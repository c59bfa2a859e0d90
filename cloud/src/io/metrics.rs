//! `/metrics` for Prometheus, on an address of its own: figures are for operators, not for whoever
//! reaches the service.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use protocol::exposition::{Exposition, Form};
use signalling::io::{Figures, Service};

use super::keeper::Keeper;
use crate::lifecycle::State as DesktopState;
use crate::metrics::Metrics;

const SIGN_IN_PATH: &str = "/api/v1/auth/sign-in";

/// What the page is made of.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) metrics: Arc<Metrics>,
    pub(super) signalling: Service,
    pub(super) keeper: Keeper,
}

/// Serves until the process ends.
pub(super) fn serve(listener: tokio::net::TcpListener, sources: Sources) -> Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "metrics");
    let router = Router::new()
        .route("/metrics", get(page))
        .with_state(sources);
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(())
}

/// Counts every request of the service.
pub(super) async fn count(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let is_sign_in = request.uri().path() == SIGN_IN_PATH;
    let response = next.run(request).await;
    metrics.note_request(response.status().as_u16(), began.elapsed());
    if is_sign_in {
        let counter = match response.status() {
            StatusCode::OK => &metrics.sign_ins,
            _ => &metrics.sign_ins_refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    response
}

async fn page(State(sources): State<Sources>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = Form::accepted(accept);
    let mut text = Exposition::new("multiclaw_cloud");
    sources.metrics.write(&mut text);
    let Some(figures) = sources.signalling.figures().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    write_signalling(&mut text, &figures);
    write_desktops(&mut text, &sources.keeper.states());
    ([(CONTENT_TYPE, form.content_type())], text.finish(form)).into_response()
}

fn write_signalling(text: &mut Exposition, figures: &Figures) {
    let counters = figures.counters;
    for (name, value, help) in [
        ("sessions_opened", counters.sessions_opened, "Opened"),
        ("sessions_expired", counters.sessions_expired, "Ran out"),
        ("opens_refused", counters.opens_refused, "Openings refused"),
        (
            "resumes_refused",
            counters.resumes_refused,
            "Resumptions refused",
        ),
        ("renewals", counters.renewals, "Session tokens renewed"),
        (
            "registrations",
            counters.registrations,
            "Agent hosts registered",
        ),
        (
            "registrations_refused",
            counters.registrations_refused,
            "Refused",
        ),
        (
            "agents_fenced",
            counters.agents_fenced,
            "Agent hosts replaced",
        ),
    ] {
        text.counter(name, help, value);
    }
    for (name, value, help) in [
        ("sessions", figures.sessions, "Sessions alive"),
        (
            "agent_hosts",
            figures.instances,
            "Agent hosts registered now",
        ),
        (
            "sockets",
            figures.sockets,
            "WebSockets of viewers and agent hosts",
        ),
    ] {
        text.gauge(name, help, value as u64);
    }
}

fn write_desktops(text: &mut Exposition, states: &[DesktopState]) {
    let by_state = DesktopState::ALL.map(|state| {
        let count = states.iter().filter(|found| **found == state).count();
        (Some(("state", state.as_str())), count as u64)
    });
    let help = "Desktops the driver looks after, by state";
    text.gauges("desktops", help, by_state);
}
