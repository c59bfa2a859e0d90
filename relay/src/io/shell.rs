//! From a configuration file to a running relay and down again.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use protocol::Secret;
use rand::Rng;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::admin::{self, Admin};
use super::announce::{Reporter, Service};
use super::exchange;
use super::listeners::{Bound, bind_all};
use super::streams::{Streams, TlsSettings};
use super::udp::{Segmentation, probe_segmentation};
use super::web::{self, Door, WebTally};
use super::worker::{Control, Handle, Worker, unix_now};
use crate::announce;
use crate::config::{Config, Listen, TlsConfig, WebConfig};
use crate::drain::Drain;
use crate::ledger::Ledger;
use crate::server::{Draining, Seed, Server};

/// While draining, allocations and bytes are counted this often.
const DRAIN_CHECK: Duration = Duration::from_millis(200);

/// The service is told so long that the relay leaves.
const FAREWELL: Duration = Duration::from_secs(2);

/// A page that is on its way may arrive; a WebSocket, which would stay for ever, is opened again by
/// its program.
const HTTP_FAREWELL: Duration = Duration::from_secs(5);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Start {
    /// Read again on SIGHUP.
    pub config_file: PathBuf,
    pub config: Config,
}

/// Reads and checks a configuration file, certificates included.
///
/// # Errors
///
/// One sentence with the file, the line and what to do.
pub fn load(file: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    let mut config = Config::parse(&text).with_context(|| file.display().to_string())?;
    // Relative to the file, so that the relay can be started from anywhere.
    let folder = file.parent().unwrap_or(Path::new("."));
    if let Some(admin) = &mut config.admin
        && let Some(token_file) = &admin.token_file
    {
        admin.token = Some(read_token(&folder.join(token_file))?);
    }
    if let Some(tls) = &mut config.tls {
        tls.certificate = folder.join(&tls.certificate);
        tls.key = folder.join(&tls.key);
    }
    load_tls(config.tls.as_ref())?;
    Ok(config)
}

fn unreadable(file: &Path, error: &std::io::Error) -> anyhow::Error {
    let shown = file.display();
    anyhow!("cannot read {shown}: {error}; pass another file with --config")
}

fn read_token(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the admin token {}", file.display()))?;
    match text.trim() {
        "" => bail!("the admin token {} is empty", file.display()),
        token => Ok(Secret::new(token)),
    }
}

/// Runs the relay until SIGTERM has drained it or a second one stops it.
///
/// # Errors
///
/// Whatever keeps it from starting: a taken port, an unreadable certificate.
pub fn run(start: Start) -> Result<()> {
    let config = &start.config;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = config.worker_count(cores);
    let descriptors = super::epoll::raise_descriptor_limit();
    if (config.limits.allocations as u64) > descriptors {
        tracing::warn!(
            descriptors,
            allocations = config.limits.allocations,
            "fewer file descriptors than allocations: raise the limit (LimitNOFILE in systemd)"
        );
    }
    let bound = bind_all(&config.listen, workers)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let admin = runtime.block_on(bind_admin(config))?;
    let endpoints = own_endpoints(&bound.listens, admin.as_ref());
    let listens = bound.listens.clone();
    let ledger = new_ledger(config);
    let (web, web_config) = watch::channel(config.web.clone());
    let (service, _) = watch::channel(None);
    let door = web::open(web_config)?;
    let (handles, threads) = start_workers(config, bound, &endpoints, &ledger, &door)?;

    let relay = Relay {
        start: start.clone(),
        handles,
        ledger,
        endpoints,
        listens,
        web,
        service,
        tally: door.tally(),
    };
    runtime.block_on(relay.serve(admin))?;
    for thread in threads {
        match thread.join() {
            Ok(outcome) => outcome?,
            Err(_) => bail!("a worker panicked; please report the message above"),
        }
    }
    Ok(())
}

/// A started relay, as its control thread sees it.
struct Relay {
    start: Start,
    handles: Vec<Handle>,
    ledger: Ledger,
    endpoints: Vec<SocketAddr>,
    listens: Vec<Listen>,
    web: watch::Sender<WebConfig>,
    service: watch::Sender<Option<Service>>,
    tally: Arc<WebTally>,
}

impl Relay {
    async fn serve(mut self, admin: Option<tokio::net::TcpListener>) -> Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let admin_address = admin.as_ref().and_then(|one| one.local_addr().ok());
        if let Some(listener) = admin {
            let state = Admin::new(
                &self.start.config,
                self.handles.clone(),
                self.ledger.clone(),
                self.tally.clone(),
                &self.listens,
            );
            tokio::task::spawn(admin::serve(listener, state));
        }
        let (draining, told) = watch::channel(false);
        let (say, mut said) = watch::channel(false);
        self.service.send_replace(self.find_service());
        let reporter = Reporter::new(self.service.subscribe(), self.ledger.clone())?;
        tokio::task::spawn(reporter.run(told, say));
        self.announce(admin_address);
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        draining.send_replace(true);
        self.drain(&mut terminate, &mut interrupt).await;
        // Even a relay without allocations says that it leaves.
        let _ = tokio::time::timeout(FAREWELL, said.wait_for(|said| *said)).await;
        for handle in &self.handles {
            handle.send(Control::Stop);
        }
        Ok(())
    }

    fn find_service(&self) -> Option<Service> {
        let config = &self.start.config;
        let host = config
            .cloud
            .as_ref()
            .and_then(|cloud| cloud.host.as_deref());
        let public = config.relay_addresses().first()?.public;
        Service::of(config, announce::urls(&self.listens, host, public))
    }

    /// The one line on stdout.
    fn announce(&self, admin: Option<SocketAddr>) {
        let line = json!({
            "ready": "relay",
            "region": self.start.config.region,
            "listen": self.listens.iter().map(|listen| json!({
                "transport": listen.transport,
                "address": listen.address,
            })).collect::<Vec<_>>(),
            "admin": admin,
            "pid": std::process::id(),
        });
        println!("{line}");
        tracing::info!(workers = self.handles.len(), "relay is ready");
    }

    /// A bad file changes nothing: the relay goes on with what it has.
    fn reload(&mut self) {
        let reloaded = load(&self.start.config_file)
            .and_then(|config| Ok((load_tls(config.tls.as_ref())?, config)));
        let (tls, config) = match reloaded {
            Ok(reloaded) => reloaded,
            Err(error) => {
                return tracing::warn!("configuration not reloaded: {error:#}");
            }
        };
        self.ledger.set_quotas(config.quotas());
        let settings = config.settings(self.handles.len(), &[], &self.endpoints);
        for handle in &self.handles {
            handle.send(Control::Reload(Box::new(settings.clone()), tls.clone()));
        }
        self.web.send_replace(config.web.clone());
        self.start.config = config;
        let service = self.find_service();
        self.service.send_if_modified(|known| {
            let before = std::mem::replace(known, service);
            before != *known
        });
        tracing::info!("configuration reloaded");
    }

    /// Serves on until nobody uses the relay, the deadline passes, or somebody insists.
    async fn drain(&self, terminate: &mut Signal, interrupt: &mut Signal) {
        let config = self.start.config.drain;
        for handle in &self.handles {
            handle.send(Control::Drain(Draining {
                alternate: config.alternate,
            }));
        }
        tracing::info!(allocations = self.ledger.allocations(), "draining");
        let limit = Duration::from_secs(config.deadline_secs);
        let mut drain = Drain::new(limit, Instant::now());
        loop {
            let carried = admin::total(&self.handles).await.unwrap_or_default();
            let bytes = carried.to_peers.bytes + carried.to_clients.bytes;
            if drain.is_over(self.ledger.allocations(), bytes, Instant::now()) {
                break;
            }
            tokio::select! {
                _ = tokio::time::sleep(DRAIN_CHECK) => {}
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
            }
        }
        tokio::select! {
            () = self.tally.wait_until_idle() => {}
            _ = tokio::time::sleep(HTTP_FAREWELL) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

async fn bind_admin(config: &Config) -> Result<Option<tokio::net::TcpListener>> {
    let Some(admin) = &config.admin else {
        return Ok(None);
    };
    let listener = tokio::net::TcpListener::bind(admin.address)
        .await
        .with_context(|| format!("cannot listen on {} for the admin", admin.address))?;
    Ok(Some(listener))
}

fn own_endpoints(listens: &[Listen], admin: Option<&tokio::net::TcpListener>) -> Vec<SocketAddr> {
    let admin = admin.and_then(|listener| listener.local_addr().ok());
    let listens = listens.iter().map(|listen| listen.address);
    listens.chain(admin).collect()
}

fn new_ledger(config: &Config) -> Ledger {
    let addresses = config.relay_addresses().len();
    let ports = config.relay_ports.0.clone();
    Ledger::new(config.quotas(), addresses, ports, random())
}

type Threads = Vec<std::thread::JoinHandle<Result<()>>>;

fn start_workers(
    config: &Config,
    bound: Bound,
    endpoints: &[SocketAddr],
    ledger: &Ledger,
    door: &Door,
) -> Result<(Vec<Handle>, Threads)> {
    let segmentation = probe_segmentation();
    if segmentation == Segmentation::ByUs {
        tracing::warn!("the kernel does not segment UDP (GSO): relaying costs about twice as much");
    }
    let tls = load_tls(config.tls.as_ref())?;
    let own: [IpAddr; 0] = [];
    let settings = config.settings(bound.udp.len(), &own, endpoints);
    let nonce_key = nonce_key(config)?;
    let (mut handles, mut threads) = (Vec::new(), Vec::new());
    let seats = exchange::seats(bound.udp.len()).context("wake-up sockets")?;
    let sockets = bound.udp.into_iter().zip(bound.tcp);
    for (index, ((udp, tcp), seat)) in sockets.zip(seats).enumerate() {
        let seed = Seed {
            nonce_key,
            hash_keys: [rand::random(), rand::random()],
        };
        let now = Instant::now();
        let server = Server::new(settings.clone(), ledger.clone(), seed, unix_now(), now);
        let strangers = config.limits.unauthenticated_connections;
        let streams = Streams::new(tcp, tls.clone(), door.clone(), strangers);
        let (worker, handle) = Worker::new(server, udp, streams, segmentation, seat)?;
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker.run())?;
        handles.push(handle);
        threads.push(thread);
    }
    Ok((handles, threads))
}

fn nonce_key(config: &Config) -> Result<[u8; 32]> {
    let Some(text) = &config.auth.nonce_key else {
        return Ok(random());
    };
    let digits = text.expose();
    let mut key = [0; 32];
    let pairs = digits.as_bytes().chunks_exact(2);
    let whole = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !whole {
        bail!("`nonce_key` has to be 64 hexadecimal digits");
    }
    for (byte, pair) in key.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
    }
    Ok(key)
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn load_tls(config: Option<&TlsConfig>) -> Result<Option<TlsSettings>> {
    let Some(config) = config else {
        return Ok(None);
    };
    let chain = read_chain(&config.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .with_context(|| format!("cannot read {}", config.key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and its key do not belong together")?;
    Ok(Some(Arc::new(settings)))
}

/// The certificates in a file, the server's own first.
pub(super) fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read {}", file.display()))
}
