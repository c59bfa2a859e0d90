//! The service as its sockets, its room and other nodes see it: a handle, and what can be asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use protocol::id::{InstanceId, SessionId};
use protocol::signal::{FromAgent, FromViewer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};

use super::bus::{Ask, Bus, News};
use super::nodes;
use super::socket::{Outgoing, SocketCounters};
use super::task::Task;
use crate::ConnectionId;
use crate::effect::{Effect, SessionRow};
use crate::grant::Granter;
use crate::instances::{InstanceRecord, Presence};
use crate::relays::{Disbelief, Heard};
use crate::switchboard::{Claim, Counters, Registration, Switchboard};

/// WebSockets of one process, each of which costs a file descriptor; above it upgrades are refused.
const SOCKETS_MAX: usize = 30_000;
/// Sockets get so long to close when the service drains.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// Inputs waiting for the switchboard; when full, sockets are read more slowly.
const INBOX_MAX: usize = 1024;
/// Messages waiting for one socket: twice all candidates. When full the socket is closed, and its
/// owner comes back.
pub(super) const OUTBOX_MAX: usize = 256;

/// News of agent hosts a watcher may be behind; one that is further behind is told that it missed
/// some, and asks.
const PRESENCE_NEWS_MAX: usize = 1024;

/// What the service needs from the room that owns the database.
#[derive(Debug)]
pub enum StoreRequest {
    /// Store all of it or nothing, and nothing if one of these is not the highest claim.
    Commit {
        effects: Vec<Effect>,
        claims: HashMap<InstanceId, Claim>,
        done: oneshot::Sender<Committed>,
    },
    /// Look an instance up; dropped unanswered if the database fails.
    FindInstance {
        instance: InstanceId,
        found: oneshot::Sender<Option<InstanceRecord>>,
    },
    /// Take the next claim of an instance for this node; dropped unanswered if the database fails.
    Claim {
        instance: InstanceId,
        claimed: oneshot::Sender<Claimed>,
    },
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// All of it is durable.
    Stored,
    /// Nothing was stored: other nodes claimed these since, with these claims.
    Fenced(HashMap<InstanceId, Claim>),
    /// Nothing was stored: the database failed.
    Failed,
}

/// What a node takes over with an instance.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// Higher than every one before.
    pub claim: Claim,
    /// Its sessions, as stored.
    pub sessions: Vec<SessionRow>,
    /// Spent tickets that have not expired, with the Unix second at which they do.
    pub spent_tickets: Vec<(SessionId, u64)>,
}

pub(super) enum Input {
    Attached(ConnectionId, Side, mpsc::Sender<Outgoing>),
    Viewer(ConnectionId, FromViewer),
    Registration(
        ConnectionId,
        Registration,
        Option<InstanceRecord>,
        Option<Claimed>,
    ),
    /// What is claimed, here and at other nodes.
    Claims(HashMap<InstanceId, Claim>),
    /// Whether an instance's agent host is here, or a session of it.
    Holds(InstanceId, Option<SessionId>, oneshot::Sender<bool>),
    Registered(oneshot::Sender<HashSet<InstanceId>>),
    Agent(ConnectionId, FromAgent),
    Gone(ConnectionId),
    Presence(InstanceId, oneshot::Sender<Presence>),
    Counters(oneshot::Sender<Figures>),
    Directory(HashSet<InstanceId>, HashSet<String>),
    /// A relay of this region wants to be left.
    RelayLost(String),
    End(SessionId),
    Drain(oneshot::Sender<()>),
}

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Viewer,
    Agent,
}

/// What the service counts, and how much there is of it now.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub counters: Counters,
    pub sessions: usize,
    pub instances: usize,
    pub sockets: usize,
}

/// A handle to the running service; cheap to clone.
#[derive(Clone)]
pub struct Service {
    inbox: mpsc::Sender<Input>,
    store: mpsc::Sender<StoreRequest>,
    places: Arc<Semaphore>,
    next_connection: Arc<AtomicU64>,
    sockets: Arc<SocketCounters>,
    /// Of every node.
    presence: broadcast::Sender<(InstanceId, Presence)>,
    local_presence: broadcast::Sender<(InstanceId, Presence)>,
    granter: Arc<Granter>,
    bus: Option<Bus>,
}

impl Service {
    /// Starts the task with what was stored when the service last ran.
    pub fn start(
        granter: Arc<Granter>,
        sessions: Vec<SessionRow>,
        spent_tickets: Vec<(SessionId, u64)>,
        store: mpsc::Sender<StoreRequest>,
    ) -> Self {
        Self::start_node(granter, sessions, spent_tickets, store, None)
    }

    /// Starts the task as one node of several. Sessions are taken over with their agent hosts.
    pub fn start_among(granter: Arc<Granter>, store: mpsc::Sender<StoreRequest>, bus: Bus) -> Self {
        let service = Self::start_node(granter, vec![], vec![], store, Some(bus.clone()));
        tokio::spawn(nodes::take_part(service.clone(), bus));
        service
    }

    fn start_node(
        granter: Arc<Granter>,
        sessions: Vec<SessionRow>,
        spent_tickets: Vec<(SessionId, u64)>,
        store: mpsc::Sender<StoreRequest>,
        bus: Option<Bus>,
    ) -> Self {
        let now = Instant::now();
        let mut switchboard = Switchboard::new(granter.clone(), rand::random(), now);
        switchboard.load(sessions, spent_tickets, unix_now(), now);
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        let (presence, _) = broadcast::channel(PRESENCE_NEWS_MAX);
        let (local_presence, _) = broadcast::channel(PRESENCE_NEWS_MAX);
        let watchers = [presence.clone(), local_presence.clone()];
        let task = Task::new(switchboard, store.clone(), watchers);
        tokio::spawn(task.run(inputs));
        Self {
            inbox,
            store,
            places: Arc::new(Semaphore::new(SOCKETS_MAX)),
            next_connection: Arc::default(),
            sockets: Arc::default(),
            presence,
            local_presence,
            granter,
            bus,
        }
    }

    /// Agent hosts that come, go or see their screen, from now on.
    pub fn watch_presence(&self) -> broadcast::Receiver<(InstanceId, Presence)> {
        self.presence.subscribe()
    }

    /// A relay's report, as it came.
    ///
    /// # Errors
    ///
    /// [`Disbelief`].
    pub(super) async fn report(&self, body: &[u8], signature: &str) -> Result<(), Disbelief> {
        let (unix_now, now) = (unix_now(), Instant::now());
        let heard = self
            .granter
            .relays()
            .handle_report(body, signature, unix_now, now);
        match heard? {
            (region, Heard::Drains) => self.send(Input::RelayLost(region)).await,
            (_, Heard::Nothing) => {}
        }
        Ok(())
    }

    pub(super) fn watch_local_presence(&self) -> broadcast::Receiver<(InstanceId, Presence)> {
        self.local_presence.subscribe()
    }

    /// News of another node.
    pub(super) fn note_presence(&self, instance: InstanceId, presence: Presence) {
        // Nobody may be watching.
        let _ = self.presence.send((instance, presence));
    }

    /// How much of an instance is there, at any node.
    pub async fn presence(&self, instance: InstanceId) -> Presence {
        let here = self.local_presence(instance.clone()).await;
        match &self.bus {
            Some(bus) if here == Presence::Absent => {
                let there = bus.ask(&instance, &Ask::Presence).await;
                there.ok().flatten().unwrap_or(Presence::Absent)
            }
            _ => here,
        }
    }

    pub(super) async fn local_presence(&self, instance: InstanceId) -> Presence {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Presence(instance, reply)).await;
        answer.await.unwrap_or(Presence::Absent)
    }

    /// The agent hosts that are here.
    pub(super) async fn registered(&self) -> HashSet<InstanceId> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Registered(reply)).await;
        answer.await.unwrap_or_default()
    }

    pub(super) async fn holds(&self, instance: &InstanceId, session: Option<SessionId>) -> bool {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Holds(instance.clone(), session, reply))
            .await;
        answer.await.unwrap_or(true)
    }

    pub(super) fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    pub(super) fn granter(&self) -> &Granter {
        &self.granter
    }

    /// Says who claims what, as stored, in case news of it were lost.
    pub async fn note_claims(&self, claims: HashMap<InstanceId, Claim>) {
        self.send(Input::Claims(claims)).await;
    }

    /// Makes this node the one that speaks for the instance; `None` if there is only one node.
    pub(super) async fn claim(&self, instance: InstanceId) -> Result<Option<Claimed>, ()> {
        let Some(bus) = &self.bus else {
            return Ok(None);
        };
        let (claimed, answer) = oneshot::channel();
        let request = StoreRequest::Claim {
            instance: instance.clone(),
            claimed,
        };
        self.store.send(request).await.map_err(|_| ())?;
        let claimed = answer.await.map_err(|_| ())?;
        bus.tell(&News::Claimed(instance, claimed.claim)).await;
        Ok(Some(claimed))
    }

    /// `None` once the service has stopped.
    pub async fn figures(&self) -> Option<Figures> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Counters(reply)).await;
        answer.await.ok()
    }

    pub fn socket_counters(&self) -> &SocketCounters {
        &self.sockets
    }

    /// Says which instances exist and whose access was taken back.
    pub async fn reconcile(
        &self,
        instances: HashSet<InstanceId>,
        revoked_subjects: HashSet<String>,
    ) {
        self.send(Input::Directory(instances, revoked_subjects))
            .await;
    }

    /// Ends a session from outside.
    pub async fn end(&self, session: SessionId) {
        self.send(Input::End(session)).await;
    }

    /// Sends every socket away, to come back to whoever listens then; returns when all are gone.
    pub async fn drain(&self) {
        let (reply, done) = oneshot::channel();
        self.send(Input::Drain(reply)).await;
        // A task that is gone has no sockets left.
        let _ = done.await;
        let all = u32::try_from(SOCKETS_MAX).unwrap_or(u32::MAX);
        // Whoever does not take its farewell in time goes with the process.
        let _ = tokio::time::timeout(DRAIN_WITHIN, self.places.acquire_many(all)).await;
    }

    pub(super) fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    pub(super) async fn attach(&self, side: Side) -> (ConnectionId, mpsc::Receiver<Outgoing>) {
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        (self.attach_as(side, outbox).await, outgoing)
    }

    pub(super) async fn attach_as(
        &self,
        side: Side,
        outbox: mpsc::Sender<Outgoing>,
    ) -> ConnectionId {
        let connection = ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed));
        self.send(Input::Attached(connection, side, outbox)).await;
        connection
    }

    /// `Err` if the database failed.
    pub(super) async fn find_instance(
        &self,
        instance: InstanceId,
    ) -> Result<Option<InstanceRecord>, ()> {
        let (found, answer) = oneshot::channel();
        let request = StoreRequest::FindInstance { instance, found };
        self.store.send(request).await.map_err(|_| ())?;
        answer.await.map_err(|_| ())
    }

    pub(super) async fn send(&self, input: Input) {
        // The task ends only with the process; then nobody is left to hear.
        let _ = self.inbox.send(input).await;
    }
}

/// Wall-clock time since the Unix epoch.
pub fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Close codes of RFC 6455 §7.4 and the registry it opens.
pub(super) mod close_code {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const SIZE: u16 = 1009;
    pub(crate) const ERROR: u16 = 1011;
    pub(crate) const RESTART: u16 = 1012;
}
