//! `/metrics` for Prometheus, on an address of its own: figures are for operators, not for whoever
//! reaches the service.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use signalling::io::{Figures, Service};

use super::keeper::Keeper;
use crate::lifecycle::State as DesktopState;
use crate::metrics::{Kind, Metrics, Page};

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

async fn page(State(sources): State<Sources>) -> Response {
    let mut page = Page::default();
    sources.metrics.write(&mut page);
    let Some(figures) = sources.signalling.figures().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    write_signalling(&mut page, &figures);
    write_desktops(&mut page, &sources.keeper.states());
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        page.into_text(),
    )
        .into_response()
}

fn write_signalling(page: &mut Page, figures: &Figures) {
    let counters = figures.counters;
    for (name, value, help) in [
        ("sessions_opened_total", counters.sessions_opened, "Opened."),
        (
            "sessions_expired_total",
            counters.sessions_expired,
            "Ran out.",
        ),
        (
            "opens_refused_total",
            counters.opens_refused,
            "Openings refused.",
        ),
        (
            "resumes_refused_total",
            counters.resumes_refused,
            "Resumptions refused.",
        ),
        (
            "renewals_total",
            counters.renewals,
            "Session tokens renewed.",
        ),
        (
            "registrations_total",
            counters.registrations,
            "Agent hosts registered.",
        ),
        (
            "registrations_refused_total",
            counters.registrations_refused,
            "Refused.",
        ),
        (
            "agents_fenced_total",
            counters.agents_fenced,
            "Agent hosts replaced.",
        ),
    ] {
        page.family(name, Kind::Counter, help);
        page.sample(&[], value);
    }
    for (name, value, help) in [
        ("sessions", figures.sessions, "Sessions alive."),
        (
            "agent_hosts",
            figures.instances,
            "Agent hosts registered now.",
        ),
        (
            "sockets",
            figures.sockets,
            "WebSockets of viewers and agent hosts.",
        ),
    ] {
        page.family(name, Kind::Gauge, help);
        page.sample(&[], value);
    }
}

fn write_desktops(page: &mut Page, states: &[DesktopState]) {
    page.family(
        "desktops",
        Kind::Gauge,
        "Desktops the driver looks after, by state.",
    );
    for state in DesktopState::ALL {
        let count = states.iter().filter(|found| **found == state).count();
        page.sample(&[("state", state.as_str())], count);
    }
}
