//! Ten thousand of one kind, in a process of their own because of the files a process may have open:
//! agent hosts that beat and answer, or viewers that come back when their node dies.
//!
//! Says `{"ready":…}` once all are there, and what became of them when its input ends (agent hosts) or
//! when all are back (viewers).

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use protocol::id::{InstanceId, SessionId};
use protocol::signal::{
    AGENT_PATH, FromAgent, FromViewer, Grant, PING_INTERVAL_SECS, PathMode, Role, ToAgent,
    ToViewer, VERSION, VIEWER_PATH,
};
use protocol::token::SigningKey;
use serde_json::json;
use signalling::grant::{Granter, Terms};
use signalling::io::unix_now;
use tests::cloud_program::SIGNING_SEED;
use tokio::sync::Semaphore;
use viewer::backoff::Backoff;

use crate::socket::{Socket, registration};

/// At the beginning no more than these connect at once: the flood comes later.
const CONNECTING: usize = 128;
/// An answer that has not come by then is asked for again.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Whoever is not back by then is lost.
const BACK_WITHIN: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Kind {
    Agents,
    Viewers,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    kind: Kind,
    #[arg(long)]
    count: usize,
    /// Agent hosts are spread over them; viewers begin at the first.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,
}

/// What all of them did so far.
#[derive(Default)]
struct Tally {
    /// Of agent hosts: those registered now. Of viewers: those that were answered.
    here: AtomicUsize,
    /// Of viewers: those that were answered again after their node died.
    back: AtomicUsize,
    /// Milliseconds the slowest of these took.
    slowest_ms: AtomicU64,
    beats: AtomicU64,
    /// Sessions somebody was told are over.
    ended: AtomicU64,
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let tally = Arc::new(Tally::default());
    let nodes: Arc<[String]> = options.nodes.clone().into();
    let places = Arc::new(Semaphore::new(CONNECTING));
    let key = SigningKey::from_seed(SIGNING_SEED).context("a key")?;
    let granter = Arc::new(Granter::new(&key, vec![], Terms::default())?);
    for number in 0..options.count {
        let one = One {
            number,
            instance: InstanceId::new(&format!("desk-{number}"))?,
            nodes: nodes.clone(),
            tally: tally.clone(),
        };
        let (places, granter) = (places.clone(), granter.clone());
        match options.kind {
            Kind::Agents => drop(tokio::spawn(one.serve(places))),
            Kind::Viewers => drop(tokio::spawn(one.view(granter, places))),
        }
    }
    reached(&tally.here, options.count, Duration::MAX).await;
    println!("{}", json!({ "ready": options.count }));
    match options.kind {
        Kind::Agents => {
            let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut vec![]));
            let _ = ended.await?;
        }
        Kind::Viewers => reached(&tally.back, options.count, BACK_WITHIN).await,
    }
    println!("{}", tally.json());
    Ok(())
}

async fn reached(counter: &AtomicUsize, count: usize, within: Duration) {
    let began = Instant::now();
    while counter.load(Ordering::Relaxed) < count && began.elapsed() < within {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Tally {
    fn json(&self) -> serde_json::Value {
        json!({
            "here": self.here.load(Ordering::Relaxed),
            "back": self.back.load(Ordering::Relaxed),
            "slowest_ms": self.slowest_ms.load(Ordering::Relaxed),
            "beats": self.beats.load(Ordering::Relaxed),
            "ended": self.ended.load(Ordering::Relaxed),
        })
    }
}

struct One {
    number: usize,
    instance: InstanceId,
    nodes: Arc<[String]>,
    tally: Arc<Tally>,
}

impl One {
    fn node(&self, turn: usize) -> &str {
        &self.nodes[turn % self.nodes.len()]
    }

    /// An agent host, for ever.
    async fn serve(self, places: Arc<Semaphore>) {
        let mut sessions = Vec::new();
        let mut backoff = Backoff::new(rand::random());
        let mut place = places.acquire_owned().await.ok();
        for turn in self.number.. {
            if let Ok(mut socket) = self.register(turn, &sessions).await {
                drop(place.take());
                backoff.handle_success();
                self.tally.here.fetch_add(1, Ordering::Relaxed);
                // However it ended.
                let _ = self.answer(&mut socket, &mut sessions).await;
                self.tally.here.fetch_sub(1, Ordering::Relaxed);
            }
            tokio::time::sleep(backoff.handle_failure()).await;
        }
    }

    async fn register(&self, turn: usize, sessions: &[SessionId]) -> Result<Socket> {
        let mut socket = Socket::open(self.node(turn), AGENT_PATH).await?;
        socket.say(&registration(&self.instance, sessions)).await?;
        match socket.hear().await? {
            ToAgent::Registered => Ok(socket),
            other => bail!("not registered: {other:?}"),
        }
    }

    async fn answer(&self, socket: &mut Socket, sessions: &mut Vec<SessionId>) -> Result<()> {
        let mut beats = tokio::time::interval(Duration::from_secs(PING_INTERVAL_SECS));
        loop {
            let told = tokio::select! {
                told = socket.hear() => told?,
                _ = beats.tick() => {
                    socket.say(&FromAgent::Ping).await?;
                    continue;
                }
            };
            match told {
                ToAgent::Pong => drop(self.tally.beats.fetch_add(1, Ordering::Relaxed)),
                ToAgent::SessionOpened { session } => sessions.push(session.session),
                ToAgent::SessionClosed { session, .. } => {
                    sessions.retain(|known| *known != session);
                    self.tally.ended.fetch_add(1, Ordering::Relaxed);
                }
                ToAgent::Offer { session, sdp } => {
                    socket.say(&FromAgent::Answer { session, sdp }).await?;
                }
                _ => {}
            }
        }
    }

    /// A viewer: opens at the first node, waits for it to die, and comes back.
    async fn view(self, granter: Arc<Granter>, places: Arc<Semaphore>) {
        let place = places.acquire_owned().await;
        let mut backoff = Backoff::new(rand::random());
        let (mut socket, grant) = loop {
            match self.open(&granter).await {
                Ok(opened) => break opened,
                Err(_) => tokio::time::sleep(backoff.handle_failure()).await,
            }
        };
        drop(place);
        self.tally.here.fetch_add(1, Ordering::Relaxed);
        self.until_gone(&mut socket).await;
        // Two for each would be more files than this process may have open.
        drop(socket);
        let lost_at = Instant::now();
        backoff.handle_success();
        for turn in self.number + 1.. {
            tokio::time::sleep(backoff.handle_failure()).await;
            if let Ok(mut socket) = self.resume(turn, &grant).await {
                let took = u64::try_from(lost_at.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.tally.slowest_ms.fetch_max(took, Ordering::Relaxed);
                self.tally.back.fetch_add(1, Ordering::Relaxed);
                self.until_gone(&mut socket).await;
                return;
            }
        }
    }

    async fn open(&self, granter: &Granter) -> Result<(Socket, Grant)> {
        let id = SessionId::from_uuid(uuid::Uuid::from_u128(rand::random()));
        let (instance, subject) = (self.instance.clone(), "bench".to_owned());
        let ticket = granter.ticket(id, instance, Role::Control, subject, unix_now())?;
        let mut socket = Socket::open(self.node(0), VIEWER_PATH).await?;
        let message = FromViewer::Open {
            version: VERSION,
            ticket,
            mode: PathMode::Auto,
            round_trips_ms: std::collections::BTreeMap::new(),
        };
        socket.say(&message).await?;
        match socket.hear().await? {
            ToViewer::Granted { grant } => {
                exchange(&mut socket).await?;
                Ok((socket, grant))
            }
            other => bail!("not granted: {other:?}"),
        }
    }

    async fn resume(&self, turn: usize, grant: &Grant) -> Result<Socket> {
        let mut socket = Socket::open(self.node(turn), VIEWER_PATH).await?;
        let token = grant.token.clone();
        let message = FromViewer::Resume {
            version: VERSION,
            token,
        };
        socket.say(&message).await?;
        match socket.hear().await? {
            ToViewer::Resumed => {}
            ToViewer::Closed { problem } => {
                self.tally.ended.fetch_add(1, Ordering::Relaxed);
                bail!("ended: {}", problem.code)
            }
            other => bail!("not resumed: {other:?}"),
        }
        exchange(&mut socket).await?;
        Ok(socket)
    }

    async fn until_gone(&self, socket: &mut Socket) {
        let mut beats = tokio::time::interval(Duration::from_secs(PING_INTERVAL_SECS));
        loop {
            let alive = tokio::select! {
                told = socket.hear::<ToViewer>() => told.is_ok(),
                _ = beats.tick() => socket.say(&FromViewer::Ping).await.is_ok(),
            };
            if !alive {
                return;
            }
        }
    }
}

/// An offer and its answer.
async fn exchange(socket: &mut Socket) -> Result<()> {
    let sdp = "v=0".to_owned();
    socket.say(&FromViewer::Offer { sdp }).await?;
    let answered = async {
        loop {
            match socket.hear().await? {
                ToViewer::Answer { .. } => return Ok(()),
                ToViewer::Failed { problem } | ToViewer::Closed { problem } => {
                    bail!("{}", problem.code)
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(ANSWER_WITHIN, answered).await?
}
