//! The life of the service: start, ready line, drain, stop.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::middleware;
use axum::serve::ListenerExt;
use signalling::Granter;
use signalling::grant::Terms;
use signalling::io::{Origins, Service, StoreRequest, problem_response, unix_now};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing_subscriber::EnvFilter;

use super::args::LogFormat;
use super::container::Containers;
use super::desktops::EVENT_SOCKETS_MAX;
use super::embedded::Embedded;
use super::identity::{Identity, Outbox, name_nonce};
use super::keeper::Keeper;
use super::pages::Transport;
use super::state::StateFolder;
use super::status::{Status, Watched};
use super::store::{self, Store};
use super::{api, metrics, openapi, pages, pepper_file, problems};
use crate::config::{Bus, Config, RetentionConfig};
use crate::identity::Hosts;
use crate::identity::nonce::Nonces;
use crate::metrics::Metrics;

/// Requests under way get so long to finish when the service stops.
const FINISH_WITHIN: Duration = Duration::from_secs(5);
/// How soon a change made by a subcommand, or at another node, is noticed: access that was taken
/// back ends everywhere within a second, whatever the bus does.
const RECONCILE_EVERY: Duration = Duration::from_millis(700);
/// Expired rows cost room only.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// What the key of the nonces is derived for: nodes with one signing key know each other's.
const NONCES: &str = "nonces of device proofs";
/// Requests to the database that may wait.
const STORE_QUEUE_MAX: usize = 1024;

pub(super) fn init_logs(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("MULTICLAW_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Runs until the first SIGTERM or SIGINT, drains, and returns; a second one stops at once.
pub(super) async fn serve(config: &Config) -> Result<()> {
    let mut signals = Signals::new()?;
    let state = StateFolder::open(&config.state)?;
    let store = Store::open(config.database.expose()).await?;
    let store = store.remembering(&config.state);
    revoke_again(&store).await?;
    let listener = listen(config.listen).await?;
    let address = listener.local_addr()?;
    let url = config
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    let granter = granter(config, &state, &url)?;
    let signalling = start_node(&config.bus, granter.clone(), &store).await?;
    let metrics = Arc::new(Metrics::default());
    let keeper = start_keeper(config, &store, &signalling, address, &url)?;
    let outbox = Outbox::open(config, metrics.clone())?;
    let watched = Watched {
        store: store.clone(),
        signalling: signalling.clone(),
        keeper: keeper.clone(),
        granter: granter.clone(),
        regions: config.regions.clone(),
    };
    let api = api::Api {
        store: store.clone(),
        granter,
        signalling: signalling.clone(),
        identity: identity(config, &state, &store, outbox, &url)?,
        keeper,
        status: Status::start(config.status_folder(), watched)?,
        metrics,
        quota: config.quota,
        regions: config
            .regions
            .iter()
            .map(|region| region.id.clone())
            .collect(),
        event_sockets: Arc::new(Semaphore::new(EVENT_SOCKETS_MAX)),
    };
    serve_metrics(config, &api).await?;
    tokio::spawn(prune(store.clone(), config.retention, api.metrics.clone()));
    let router = router(api, &url);
    let reconciling = tokio::spawn(reconcile(store, signalling.clone(), config.bus.clone()));
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = listener.tap_io(|stream| {
        // Small messages must not wait for each other; a socket that refuses this still works.
        let _ = stream.set_nodelay(true);
    });
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    println!(
        "{}",
        serde_json::json!({ "ready": "cloud", "url": url, "pid": std::process::id() })
    );
    tracing::info!(%address, "ready");

    signals.received().await;
    tracing::info!("draining");
    reconciling.abort();
    // Nobody listens to this only if the server has ended by itself.
    let _ = stop.send(());
    tokio::select! {
        () = finish(signalling, server) => Ok(()),
        () = signals.received() => anyhow::bail!("stopped by a second signal before the drain was over"),
    }
}

/// A database that was restored from a backup does not know what ended after it.
pub(super) async fn revoke_again(store: &Store) -> Result<()> {
    let again = store.revoke_again(unix_now()).await;
    match again.context("what had been revoked cannot be looked up")? {
        0 => {}
        again => tracing::warn!(
            again,
            "the database had forgotten that sign-ins or access keys ended, as after a backup is restored: they ended again; members, roles and passwords are as they were then"
        ),
    }
    Ok(())
}

fn granter(config: &Config, state: &StateFolder, url: &str) -> Result<Arc<Granter>> {
    let terms = Terms {
        status_page: config.status_page(url),
        ..config.terms()
    };
    let granter =
        Granter::new(&state.key, config.regions(), terms).context("the signing key cannot sign")?;
    Ok(Arc::new(granter))
}

fn identity(
    config: &Config,
    state: &StateFolder,
    store: &Store,
    outbox: Outbox,
    url: &str,
) -> Result<Identity> {
    let nonces = Nonces::new(state.key.derive(NONCES));
    let hosts = Hosts::new(url, config.identity.host_suffix.as_deref());
    let peppers = pepper_file::read(&config.identity)?;
    let oidc = config.oidc.clone();
    Identity::new(store.clone(), hosts, outbox, oidc, peppers, nonces)
}

/// Every route, under the headers that every answer carries.
pub(super) fn router(api: api::Api, url: &str) -> Router {
    let transport = if url.starts_with("https://") {
        Transport::Https
    } else {
        Transport::Http
    };
    let signalling = signalling::io::routes(api.signalling.clone(), Origins::new([url]));
    let status = api.status.clone().routes();
    let nonces = middleware::from_fn_with_state(api.identity.clone(), name_nonce);
    let counting = middleware::from_fn_with_state(api.metrics.clone(), metrics::count);
    openapi::router(api)
        .merge(status)
        .merge(signalling)
        .merge(pages::routes())
        .fallback(async || problem_response(&problems::not_found()))
        .layer(nonces)
        .layer(middleware::from_fn(problems::say))
        .layer(middleware::from_fn(pages::refuse_nul))
        .layer(middleware::from_fn_with_state(
            transport,
            pages::add_headers,
        ))
        .layer(counting)
}

/// Signalling, alone or among other nodes.
async fn start_node(bus: &Bus, granter: Arc<Granter>, store: &Store) -> Result<Service> {
    match bus {
        Bus::Local => start_signalling(granter, store).await,
        Bus::Nats(url) => {
            let bus = signalling::io::Bus::connect(url.expose()).await?;
            Ok(Service::start_among(granter, start_answering(store), bus))
        }
    }
}

/// Signalling as it was when the service last ran.
pub(super) async fn start_signalling(granter: Arc<Granter>, store: &Store) -> Result<Service> {
    let (sessions, tickets) = store.load().await.context("the database cannot be read")?;
    Ok(Service::start(
        granter,
        sessions,
        tickets,
        start_answering(store),
    ))
}

fn start_answering(store: &Store) -> mpsc::Sender<StoreRequest> {
    let (requests, queue) = mpsc::channel(STORE_QUEUE_MAX);
    tokio::spawn(store::answer(store.clone(), queue));
    requests
}

async fn serve_metrics(config: &Config, api: &api::Api) -> Result<()> {
    let Some(wanted) = config.metrics else {
        return Ok(());
    };
    let listener = TcpListener::bind(wanted.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; set `metrics.listen` to another",
            wanted.listen
        )
    })?;
    let sources = metrics::Sources {
        metrics: api.metrics.clone(),
        signalling: api.signalling.clone(),
        keeper: api.keeper.clone(),
    };
    metrics::serve(listener, sources)
}

/// Deletes what has expired, now and then.
async fn prune(store: Store, retention: RetentionConfig, metrics: Arc<Metrics>) {
    let audit = Duration::from_secs(u64::from(retention.audit_days) * 24 * 3600);
    let mut ticks = tokio::time::interval(PRUNE_EVERY);
    loop {
        ticks.tick().await;
        match store.prune(audit, unix_now()).await {
            Ok(rows) => drop(metrics.rows_pruned.fetch_add(rows, Ordering::Relaxed)),
            Err(error) => tracing::error!("the database failed: {error:#}"),
        }
    }
}

/// Looks after the desktops of this machine, by the driver that is configured.
fn start_keeper(
    config: &Config,
    store: &Store,
    signalling: &Service,
    address: SocketAddr,
    url: &str,
) -> Result<Keeper> {
    if let Some(container) = config.container.clone() {
        let cloud_url = container.cloud_url.clone();
        let driver = Containers::new(container, cloud_url.unwrap_or_else(|| url.to_owned()));
        return Ok(Keeper::start(store.clone(), signalling.clone(), driver));
    }
    let Some(embedded) = config.embedded.clone() else {
        return Ok(Keeper::without_driver(signalling.clone()));
    };
    let cloud_url = embedded.cloud_url.clone();
    let cloud_url = cloud_url.unwrap_or_else(|| format!("http://{address}"));
    let driver = Embedded::open(&config.state.join("desktops"), embedded, cloud_url)?;
    Ok(Keeper::start(store.clone(), signalling.clone(), driver))
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}; stop whoever uses the port, or set `listen` to another"
        )
    })
}

/// Tells signalling what subcommands and other nodes changed in the database.
async fn reconcile(store: Store, signalling: Service, bus: Bus) {
    let mut ticks = tokio::time::interval(RECONCILE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.directory(unix_now()).await {
            Ok((instances, revoked)) => signalling.reconcile(instances, revoked).await,
            Err(error) => tracing::error!("the database failed: {error:#}"),
        }
        if let Bus::Nats(_) = bus {
            match store.claims().await {
                Ok(claims) => signalling.note_claims(claims).await,
                Err(error) => tracing::error!("the database failed: {error:#}"),
            }
        }
    }
}

async fn finish(signalling: Service, server: tokio::task::JoinHandle<std::io::Result<()>>) {
    signalling.drain().await;
    if tokio::time::timeout(FINISH_WITHIN, server).await.is_err() {
        tracing::info!("some requests did not finish in time");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
