//! The browser viewer's and the dashboard's files, under headers that let a page do only what ours does.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    self, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use protocol::id::InstanceId;
use sha2::{Digest, Sha256};
use signalling::io::problem_response;

use super::problems;
use crate::assets::{self, Asset, BUNDLE, CONNECT_PAGE, DASHBOARD_PAGE, DASHBOARD_PATHS};

/// Asked every time, answered with 304: an update of the service shows at once.
const ASKED_EVERY_TIME: &str = "no-cache";
/// For a name that carries the hash of its content: never asked again.
const KEPT: &str = "public, max-age=31536000, immutable";

/// The routes of all assets and of the connect page.
pub(super) fn routes() -> Router {
    let mut router = Router::new();
    let mut page = None;
    let mut bundle = BTreeMap::new();
    for asset in assets::all() {
        if asset.path == CONNECT_PAGE {
            page = Some(Arc::new(connect_page(asset)));
            continue;
        }
        let served = Arc::new(Served::new(asset));
        if let Some(file) = asset.path.strip_prefix(BUNDLE) {
            bundle.insert(file, served.clone());
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
    router
        .route("/connect/{instance}", get(connect).with_state(page))
        .route(
            &format!("{BUNDLE}{{file}}"),
            get(named).with_state(Arc::new(bundle)),
        )
}

/// The page names its files by their content, so that a browser that has them asks for none.
fn connect_page(asset: &'static Asset) -> Served {
    let mut text = String::from_utf8_lossy(asset.bytes).into_owned();
    for other in assets::all() {
        if let Some(path) = name_by_content(other) {
            text = text.replace(&format!("\"{}\"", other.path), &format!("\"{path}\""));
        }
    }
    Served::of(asset.content_type, text.into())
}

/// `/viewer/bundle/page.js` as `/viewer/bundle/page-0123456789abcdef.js`; only files there have one.
fn name_by_content(asset: &Asset) -> Option<String> {
    let file = asset.path.strip_prefix(BUNDLE)?;
    let (name, ending) = file.split_once('.')?;
    Some(format!("{BUNDLE}{name}-{}.{ending}", version(asset.bytes)))
}

/// Of a file name like that, the plain one and the version.
fn plain_name(file: &str) -> Option<(String, &str)> {
    let (stem, ending) = file.split_once('.')?;
    let (name, version) = stem.rsplit_once('-')?;
    Some((format!("{name}.{ending}"), version))
}

fn version(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
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

/// A file by the name of its content. A node of another version may have named it: then this one's
/// serves the page, but is not kept under that name.
async fn named(
    State(bundle): State<Arc<BTreeMap<&'static str, Arc<Served>>>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some((plain, version)) = plain_name(&file) else {
        return problem_response(&problems::not_found());
    };
    match bundle.get(plain.as_str()) {
        Some(served) if served.version == version => served.respond_for_good(&headers),
        Some(served) => served.respond(&headers),
        None => problem_response(&problems::not_found()),
    }
}

struct Served {
    content_type: &'static str,
    bytes: Bytes,
    /// In gzip, once for all, where that is shorter: over a long path it is round trips.
    packed: Option<Bytes>,
    /// Of the content: what names and ETags carry.
    version: String,
}

impl Served {
    fn new(asset: &'static Asset) -> Self {
        Self::of(asset.content_type, Bytes::from_static(asset.bytes))
    }

    fn of(content_type: &'static str, bytes: Bytes) -> Self {
        Self {
            content_type,
            packed: packed(&bytes),
            version: version(&bytes),
            bytes,
        }
    }

    fn respond(&self, headers: &HeaderMap) -> Response {
        // Weak: packed and plain mean the same (RFC 9110 §8.8.1).
        let etag = format!("W/\"{}\"", self.version);
        let caching = [(CACHE_CONTROL, ASKED_EVERY_TIME), (ETAG, etag.as_str())];
        let known = headers.get(IF_NONE_MATCH);
        if known.is_some_and(|tag| tag.as_bytes() == etag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, caching).into_response();
        }
        (caching, self.content(headers)).into_response()
    }

    fn respond_for_good(&self, headers: &HeaderMap) -> Response {
        ([(CACHE_CONTROL, KEPT)], self.content(headers)).into_response()
    }

    fn content(&self, headers: &HeaderMap) -> Response {
        let kind = [(CONTENT_TYPE, self.content_type)];
        let Some(packed) = &self.packed else {
            return (kind, self.bytes.clone()).into_response();
        };
        let varies = [(VARY, ACCEPT_ENCODING.as_str())];
        if takes_gzip(headers) {
            let coded = [(CONTENT_ENCODING, "gzip")];
            return (kind, varies, coded, packed.clone()).into_response();
        }
        (kind, varies, self.bytes.clone()).into_response()
    }
}

fn packed(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < bytes.len()).then(|| packed.into())
}

/// RFC 9110 §12.5.3. Who wants it less than something else gets it all the same.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter();
    let codings = values.filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().trim_start_matches("q=");
        let is_refused = weight.parse::<f32>().is_ok_and(|weight| weight == 0.0);
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn asking(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accept))])
    }

    #[test]
    fn a_browser_gets_text_in_gzip_and_everybody_else_as_it_is() {
        for accept in ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, GZIP; q=0.5"] {
            assert!(takes_gzip(&asking(accept)), "{accept}");
        }
        for accept in ["", "identity", "br", "gzip;q=0", "gzip; q=0.0", "xgzip"] {
            assert!(!takes_gzip(&asking(accept)), "{accept}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn what_is_packed_is_the_same_and_never_longer() {
        for asset in assets::all() {
            let served = Served::new(asset);
            let Some(packed) = served.packed else {
                continue;
            };
            assert!(packed.len() < asset.bytes.len(), "{}", asset.path);
            let mut plain = Vec::new();
            GzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, asset.bytes, "{}", asset.path);
        }
        assert_eq!(packed(b"short"), None);
    }
}
