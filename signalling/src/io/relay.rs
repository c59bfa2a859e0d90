//! Reports of relays.
//!
//! Whoever cannot sign learns nothing, and costs one hash per secret of a region.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::handler::Handler as _;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use protocol::relay::{REPORT_LEN_MAX, SIGNATURE_HEADER};

use super::{Shared, problem_response};
use crate::refusal;

pub(super) fn route() -> MethodRouter<Shared> {
    post(report.layer(DefaultBodyLimit::max(REPORT_LEN_MAX)))
}

async fn report(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let signature = headers.get(SIGNATURE_HEADER);
    let signature = signature.and_then(|value| value.to_str().ok());
    match shared.service.report(&body, signature.unwrap_or("")).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(disbelief) => {
            tracing::debug!(%disbelief, "report of a relay refused");
            problem_response(&refusal::relay_report(disbelief))
        }
    }
}
