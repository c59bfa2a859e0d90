//! Identity over HTTP: who calls, from which workspace, and whether the request is our own page's.
//!
//! The rules are `crate::identity`; here are the database, the clock, the hashing pool and the mail.

mod attempt;
mod auth;
mod devices;
mod hashing;
mod links;
mod mail;
mod members;
mod oidc;
mod possession;
mod sign_ins;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use protocol::Secret;
use protocol::problem::Problem;
use protocol::proof::Thumbprint;
use signalling::io::{problem_response, unix_now};
use utoipa_axum::router::OpenApiRouter;

use super::problems;
use super::store::Store;
use crate::config::oidc::OidcConfig;
use crate::identity::lockout::{Place, Prefix, Uncounted};
use crate::identity::nonce::Nonces;
use crate::identity::password::Peppers;
use crate::identity::rate::Rates;
use crate::identity::sign_in::{HandleHash, SignIn, Verdict, hash_of};
use crate::identity::sign_in_cache::{Seen, SignInCache};
use crate::identity::{Hosts, WorkspaceId, guard};
use hashing::Hashing;
pub(super) use mail::Outbox;
pub(super) use possession::{Member, name_nonce, shows_token};

/// How exact the time of last use is, in seconds: so seldom a busy sign-in writes.
const TOUCH_EVERY_SECS: u64 = 60;

/// Everything about people; cheap to clone.
#[derive(Clone)]
pub(super) struct Identity(Arc<Tools>);

struct Tools {
    store: Store,
    hosts: Hosts,
    hashing: Hashing,
    outbox: Outbox,
    rates: Mutex<Rates<Prefix>>,
    device_rates: Mutex<Rates<Thumbprint>>,
    nonces: Nonces,
    uncounted: Mutex<Uncounted>,
    cache: Mutex<SignInCache>,
    oidc: Option<oidc::Provider>,
}

impl Identity {
    pub(super) fn new(
        store: Store,
        hosts: Hosts,
        outbox: Outbox,
        oidc: Option<OidcConfig>,
        peppers: Peppers,
        nonces: Nonces,
    ) -> Result<Self> {
        let at = |path| format!("{}{path}", hosts.own_origin());
        let back = [oidc::CALLBACK, oidc::SIGNED_OUT].map(at);
        let [callback, signed_out] = back;
        let oidc = oidc.map(|oidc| oidc::Provider::new(oidc, callback, signed_out));
        Ok(Self(Arc::new(Tools {
            store,
            hosts,
            hashing: Hashing::new(peppers)?,
            outbox,
            rates: Mutex::default(),
            device_rates: Mutex::default(),
            nonces,
            uncounted: Mutex::default(),
            cache: Mutex::default(),
            oidc: oidc.transpose()?,
        })))
    }

    pub(super) fn routes() -> OpenApiRouter<Self> {
        OpenApiRouter::new()
            .merge(auth::routes())
            .merge(devices::routes())
            .merge(links::routes())
            .merge(members::routes())
            .merge(oidc::routes())
            .merge(sign_ins::routes())
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    /// Makes what changed about an account hold at once.
    fn forget(&self, account: &str) {
        locked(&self.0.cache).forget(account);
    }

    fn https(&self) -> bool {
        self.0.hosts.is_https()
    }

    /// Who shows this cookie at this host; `None` for nobody. A device's token is no cookie.
    pub(super) async fn caller(&self, parts: &Parts) -> Result<Option<Caller>, Problem> {
        let Some(visit) = self.visit(parts)? else {
            return Ok(None);
        };
        let Some(handle) = self.handle(&parts.headers) else {
            return Ok(None);
        };
        let hash = hash_of(&handle);
        let found = self.find(&hash, &visit.workspace, None).await?;
        let Some(found) = found.filter(|found| found.key().is_none()) else {
            return Ok(None);
        };
        let sign_in = self.judge(found, &hash).await?;
        Ok(sign_in.map(|sign_in| Caller { sign_in, handle }))
    }

    /// The workspace asked, if the host means one; a request that changes something must be ours.
    fn visit(&self, parts: &Parts) -> Result<Option<Visit>, Problem> {
        let Some(visit) = self.visited(parts) else {
            return Ok(None);
        };
        let own = self.0.hosts.origin_of(&visit.workspace);
        let origin = header(&parts.headers, ORIGIN);
        let site = header(&parts.headers, "sec-fetch-site");
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        if !reads && !guard::is_own_page(&own, origin, site) {
            return Err(problems::cross_site());
        }
        Ok(Some(visit))
    }

    /// The workspace asked, by whomever, if the host means one.
    fn visited(&self, parts: &Parts) -> Option<Visit> {
        let host = header(&parts.headers, HOST).unwrap_or_default();
        let address = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::from([0, 0, 0, 0]), |info| info.0.ip());
        let device = self.cookie(&parts.headers, guard::device_cookie(self.https()));
        Some(Visit {
            workspace: self.0.hosts.workspace_at(host)?,
            network: Prefix::of(address),
            device: device.as_ref().map(hash_of),
            client: client_of(&parts.headers),
        })
    }

    /// A WebSocket is opened by a GET, and other pages' sockets carry our cookie too.
    pub(super) fn check_own_page(&self, parts: &Parts) -> Result<(), Problem> {
        let host = header(&parts.headers, HOST).unwrap_or_default();
        let workspace = self.0.hosts.workspace_at(host);
        let own = workspace.map(|workspace| self.0.hosts.origin_of(&workspace));
        let origin = header(&parts.headers, ORIGIN);
        match (own, origin) {
            (Some(own), Some(origin)) if origin.eq_ignore_ascii_case(&own) => Ok(()),
            _ => Err(problems::cross_site()),
        }
    }

    fn handle(&self, headers: &HeaderMap) -> Option<Secret> {
        self.cookie(headers, guard::session_cookie(self.https()))
    }

    fn cookie(&self, headers: &HeaderMap, name: &str) -> Option<Secret> {
        let value = guard::cookie(header(headers, COOKIE)?, name)?;
        (value.len() <= 64).then(|| Secret::new(value))
    }

    /// The sign-in that a handle belongs to, or belonged to; what it is worth is still to be judged.
    /// `key` is the one the caller proved to have: only with the right one it counts as used.
    async fn find(
        &self,
        hash: &HandleHash,
        workspace: &WorkspaceId,
        key: Option<Thumbprint>,
    ) -> Result<Option<SignIn>, Problem> {
        let seen = locked(&self.0.cache).find(hash, Instant::now());
        let found = match seen {
            Some(Seen::Fresh(sign_in)) => Some(sign_in),
            Some(Seen::Due(sign_in)) => {
                tokio::spawn(self.clone().read_again(*hash, key));
                Some(sign_in)
            }
            None => self.read(hash, key).await?,
        };
        Ok(found.filter(|found| found.workspace == *workspace))
    }

    /// The same if it holds; a handle that only a thief can have ends it.
    async fn judge(&self, sign_in: SignIn, hash: &HandleHash) -> Result<Option<SignIn>, Problem> {
        match sign_in.judge(hash, unix_now()) {
            Verdict::Current | Verdict::JustRotated => Ok(Some(sign_in)),
            Verdict::Replayed => {
                self.end_stolen(&sign_in).await.map_err(failed)?;
                Ok(None)
            }
            Verdict::Nothing => Ok(None),
        }
    }

    /// If it fails, whoever asks next reads for themselves and hears of it.
    async fn read_again(self, hash: HandleHash, key: Option<Thumbprint>) {
        match self.read(&hash, key).await {
            Ok(Some(sign_in)) if sign_in.judge(&hash, unix_now()) == Verdict::Current => {}
            Ok(_) => locked(&self.0.cache).forget_handle(&hash),
            Err(problem) => tracing::debug!("a sign-in could not be read again: {}", problem.cause),
        }
    }

    /// From the database; what holds is remembered.
    async fn read(
        &self,
        hash: &HandleHash,
        key: Option<Thumbprint>,
    ) -> Result<Option<SignIn>, Problem> {
        let asked = locked(&self.0.cache).ask(Instant::now());
        let found = self.store().find_sign_in(hash).await.map_err(failed)?;
        let Some(mut sign_in) = found else {
            return Ok(None);
        };
        let now = unix_now();
        if sign_in.key() == key && sign_in.judge(hash, now) == Verdict::Current {
            self.touch(&mut sign_in, now).await?;
            locked(&self.0.cache).remember(sign_in.clone(), asked);
        }
        Ok(Some(sign_in))
    }

    async fn touch(&self, sign_in: &mut SignIn, now: Duration) -> Result<(), Problem> {
        if now.as_secs().saturating_sub(sign_in.used_unix) < TOUCH_EVERY_SECS {
            return Ok(());
        }
        let touched = self.store().touch_sign_in(&sign_in.id, now).await;
        touched.map_err(failed)?;
        sign_in.used_unix = now.as_secs();
        Ok(())
    }

    async fn end_stolen(&self, sign_in: &SignIn) -> Result<()> {
        self.store()
            .end_sign_ins(&sign_in.account, Some(&sign_in.id), unix_now())
            .await?;
        self.forget(&sign_in.account);
        let who = sign_in.email.as_str();
        self.audit(&sign_in.workspace, who, "sign-in replayed", &sign_in.id)
            .await
    }

    pub(super) async fn audit(
        &self,
        workspace: &WorkspaceId,
        actor: &str,
        action: &str,
        subject: &str,
    ) -> Result<()> {
        self.store()
            .audit(workspace, actor, action, subject, unix_now())
            .await
    }
}

/// A request at the host of a workspace.
struct Visit {
    workspace: WorkspaceId,
    network: Prefix,
    /// The cookie of a browser, or the key of a device.
    device: Option<HandleHash>,
    client: String,
}

impl FromRequestParts<Identity> for Visit {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, identity: &Identity) -> Result<Self, Refusal> {
        Ok(identity
            .visit(parts)?
            .ok_or_else(problems::workspace_unknown)?)
    }
}

/// A visit that costs a hash or a mail: counted per network.
struct CostlyVisit(Visit);

impl FromRequestParts<Identity> for CostlyVisit {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, identity: &Identity) -> Result<Self, Refusal> {
        let visit = Visit::from_request_parts(parts, identity).await?;
        if locked(&identity.0.rates).allows(visit.network, Instant::now()) {
            Ok(Self(visit))
        } else {
            Err(problems::too_many().into())
        }
    }
}

impl Visit {
    /// A device only counts as one if it signed in to this account before.
    fn place(&self, known_device: bool) -> Place {
        match self.device {
            Some(device) if known_device => Place::Device(device),
            _ => Place::Network(self.network),
        }
    }
}

/// A member who is signed in, at a browser unless [`Member`] says otherwise.
pub(super) struct Caller {
    pub(super) sign_in: SignIn,
    handle: Secret,
}

impl<S> FromRequestParts<S> for Caller
where
    S: Sync,
    Identity: FromRef<S>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Ok(Identity::from_ref(state)
            .caller(parts)
            .await?
            .ok_or_else(problems::sign_in_required)?)
    }
}

/// A member who may administer the workspace.
pub(super) struct Admin(pub(super) Caller);

impl<S> FromRequestParts<S> for Admin
where
    S: Sync,
    Identity: FromRef<S>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.sign_in.role.may_administer() {
            Ok(Self(caller))
        } else {
            Err(problems::not_permitted().into())
        }
    }
}

/// A problem as the answer of a handler.
#[derive(Debug)]
pub(super) struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(failed(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = problem_response(&self.0);
        response
            .headers_mut()
            .extend(possession::challenge(self.0.code));
        response
    }
}

fn failed(error: anyhow::Error) -> Problem {
    tracing::error!("the database failed: {error:#}");
    problems::database(&error)
}

/// A panic elsewhere leaves these tables whole: they are changed in one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn header(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What the browser calls itself, bounded: it is shown to its owner.
fn client_of(headers: &HeaderMap) -> String {
    let agent = header(headers, "user-agent").unwrap_or_default();
    agent
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}
