//! What an operator asks over HTTP: metrics, health, readiness, allocations, revocation.

use std::net::SocketAddr;
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
use protocol::turn::credential;
use protocol::turn::integrity::Key;
use protocol::turn::message::{Builder, Class, Message, Method, PasswordAlgorithm, TransactionId};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::gate::may_change;
use super::web::WebTally;
use super::worker::{Control, Handle, unix_now};
use crate::config::{Config, Listen, Transport};
use crate::exposition::{Exposition, Form};
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
    /// A UDP listener to try, and how to log in there.
    probe: Option<Probe>,
}

struct Probe {
    listener: SocketAddr,
    realm: String,
    secret: Option<Secret>,
    user: Option<(String, Secret)>,
}

impl Admin {
    pub(crate) fn new(
        config: &Config,
        handles: Vec<Handle>,
        ledger: Ledger,
        web: Arc<WebTally>,
        listens: &[Listen],
    ) -> Self {
        let udp = listens
            .iter()
            .find(|listen| listen.transport == Transport::Udp);
        let probe = udp.map(|listen| Probe {
            listener: reachable(listen.address),
            realm: config.realm.clone(),
            secret: config.auth.shared_secrets.first().cloned(),
            user: config
                .auth
                .users
                .iter()
                .next()
                .map(|(name, password)| (name.clone(), password.clone())),
        });
        Self(Arc::new(Shared {
            handles,
            ledger,
            web,
            token: config.admin.as_ref().and_then(|admin| admin.token.clone()),
            probe,
        }))
    }
}

/// A wildcard listener is asked over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
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

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let Some(probe) = &admin.0.probe else {
        return (StatusCode::OK, "no UDP listener to try\n".to_owned());
    };
    match tokio::time::timeout(ANSWER_TIME, probe.allocate()).await {
        Ok(Ok(relayed)) => (StatusCode::OK, format!("allocated {relayed}\n")),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no answer\n".to_owned()),
    }
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

impl Probe {
    /// A real Allocate through our own listener, given back at once.
    async fn allocate(&self) -> anyhow::Result<SocketAddr> {
        let unspecified: SocketAddr = match self.listener {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(unspecified).await?;
        socket.connect(self.listener).await?;
        let challenge = ask(&socket, Method::Allocate, |builder| {
            builder.requested_transport_udp();
        })
        .await?;
        let challenge = Message::parse(&challenge)?;
        let nonce = challenge.nonce().unwrap_or_default().to_vec();
        let (username, key) = self.login();
        let sign = |builder: &mut Builder<'_>| {
            builder
                .username(&username)
                .realm(&self.realm)
                .nonce(&nonce)
                .integrity(&key);
        };
        let answer = ask(&socket, Method::Allocate, |builder| {
            builder.requested_transport_udp();
            sign(builder);
        })
        .await?;
        let relayed = relayed_address(&answer)?;
        ask(&socket, Method::Refresh, |builder| {
            builder.lifetime(Duration::ZERO);
            sign(builder);
        })
        .await?;
        Ok(relayed)
    }

    fn login(&self) -> (String, Key) {
        let (username, password) = match (&self.secret, &self.user) {
            (Some(secret), _) => {
                let until = unix_now() + Duration::from_secs(60);
                let made = credential::derive(secret, "readyz", &[], until);
                (made.username, made.password)
            }
            (None, Some(user)) => user.clone(),
            (None, None) => (String::new(), Secret::default()),
        };
        let key = Key::long_term(PasswordAlgorithm::Md5, &username, &self.realm, &password);
        (username, key)
    }
}

fn relayed_address(answer: &[u8]) -> anyhow::Result<SocketAddr> {
    let answer = Message::parse(answer)?;
    if let Some(error) = answer.error() {
        anyhow::bail!("refused with {} {}", error.code, error.reason);
    }
    answer
        .xor_relayed_address()
        .ok_or_else(|| anyhow::anyhow!("an answer without a relayed address"))
}

async fn ask(
    socket: &UdpSocket,
    method: Method,
    write: impl FnOnce(&mut Builder<'_>),
) -> anyhow::Result<Vec<u8>> {
    let mut buf = vec![0; 1024];
    let transaction = TransactionId(rand::random());
    let mut builder = Builder::new(&mut buf, Class::Request, method, transaction);
    write(&mut builder);
    let len = builder.finish()?;
    socket.send(buf.get(..len).unwrap_or_default()).await?;
    let count = socket.recv(&mut buf).await?;
    buf.truncate(count);
    Ok(buf)
}

fn render(form: Form, counters: &Counters, web: &WebTally) -> String {
    let mut text = Exposition::new(form);
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
    text.finish()
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
