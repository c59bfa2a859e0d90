//! The browser viewer's and the dashboard's files, under headers that let a page do only what ours does.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    self, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use protocol::id::InstanceId;
use sha2::{Digest, Sha256};
use signalling::io::problem_response;

use super::problems;
use crate::assets::{self, Asset, CONNECT_PAGE, DASHBOARD_PAGE, DASHBOARD_PATHS};

/// The routes of all assets and of the connect page.
pub(super) fn routes() -> Router {
    let mut router = Router::new();
    let mut page = None;
    for asset in assets::all() {
        let served = Arc::new(Served::new(asset));
        if asset.path == CONNECT_PAGE {
            page = Some(served);
            continue;
        }
        let respond = move |headers: HeaderMap| async move { served.respond(&headers) };
        if asset.path == DASHBOARD_PAGE {
            for path in DASHBOARD_PATHS {
                router = router.route(path, get(respond.clone()));
            }
            continue;
        }
        router = router.route(asset.path, get(respond));
    }
    router.route("/connect/{instance}", get(connect).with_state(page))
}

/// The same page for every instance, existing or not: it says nothing that the URL does not.
async fn connect(
    State(page): State<Option<Arc<Served>>>,
    Path(instance): Path<String>,
    headers: HeaderMap,
) -> Response {
    match page.filter(|_| InstanceId::new(&instance).is_ok()) {
        Some(page) => page.respond(&headers),
        None => problem_response(&problems::not_found()),
    }
}

struct Served {
    asset: &'static Asset,
    etag: String,
}

impl Served {
    fn new(asset: &'static Asset) -> Self {
        let hash = Sha256::digest(asset.bytes);
        let short = hash
            .iter()
            .take(8)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        Self {
            asset,
            etag: format!("\"{short:016x}\""),
        }
    }

    fn respond(&self, headers: &HeaderMap) -> Response {
        // Asked every time, answered with 304: an update of the service shows at once.
        let caching = [(CACHE_CONTROL, "no-cache"), (ETAG, self.etag.as_str())];
        let known = headers.get(IF_NONE_MATCH);
        if known.is_some_and(|tag| tag.as_bytes() == self.etag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        let kind = [(CONTENT_TYPE, self.asset.content_type)];
        (caching, kind, self.asset.bytes).into_response()
    }
}

/// Nothing is called by a name with a NUL in it, and PostgreSQL refuses to look for one.
pub(super) async fn refuse_nul(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let named = uri.path_and_query().map(PathAndQuery::as_str);
    if named.is_some_and(|named| named.contains("%00")) {
        return problem_response(&problems::not_found());
    }
    next.run(request).await
}

/// Headers that every answer carries.
pub(super) async fn add_headers(
    State(secure): State<Transport>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            web::CONTENT_SECURITY_POLICY,
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if secure == Transport::Https {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(STRICT_TRANSPORT_SECURITY, year);
    }
    // Answers of the API are nobody's to keep.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// How people reach the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Http,
    Https,
}
