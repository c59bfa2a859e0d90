//! The task that owns the switchboard: inputs in, stored effects and messages out.
//!
//! Inputs that arrive while the database is busy are handled as one batch with one commit, so the
//! rate of openings is not bound by the time of one commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use protocol::id::{InstanceId, SessionId};
use protocol::signal::{FromAgent, FromViewer, ToAgent, ToViewer};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};

use super::socket::{Outgoing, SocketCounters};
use crate::effect::{Effect, SessionRow};
use crate::grant::Granter;
use crate::instances::{InstanceRecord, Presence};
use crate::relays::{Disbelief, Heard};
use crate::switchboard::{Counters, Output, Registration, Switchboard};
use crate::{ConnectionId, refusal};

/// WebSockets of one process, each of which costs a file descriptor; above it upgrades are refused.
const SOCKETS_MAX: usize = 30_000;
/// Sockets get so long to close when the service drains.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// Inputs waiting for the switchboard; when full, sockets are read more slowly.
const INBOX_MAX: usize = 1024;
/// Inputs handled before their effects are stored together.
const BATCH_MAX: usize = 256;
/// Messages waiting for one socket: twice all candidates. When full the socket is closed, and its
/// owner comes back.
const OUTBOX_MAX: usize = 256;

/// News of agent hosts a watcher may be behind; one that is further behind is told that it missed
/// some, and asks.
const PRESENCE_NEWS_MAX: usize = 1024;

/// What the service needs from the room that owns the database.
#[derive(Debug)]
pub enum StoreRequest {
    /// Store all of it or nothing; `true` once it is durable.
    Commit {
        effects: Vec<Effect>,
        done: oneshot::Sender<bool>,
    },
    /// Look an instance up; dropped unanswered if the database fails.
    FindInstance {
        instance: InstanceId,
        found: oneshot::Sender<Option<InstanceRecord>>,
    },
}

pub(super) enum Input {
    Attached(ConnectionId, Side, mpsc::Sender<Outgoing>),
    Viewer(ConnectionId, FromViewer),
    Registration(ConnectionId, Registration, Option<InstanceRecord>),
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
    presence: broadcast::Sender<(InstanceId, Presence)>,
    granter: Arc<Granter>,
}

impl Service {
    /// Starts the task with what was stored when the service last ran.
    pub fn start(
        granter: Arc<Granter>,
        sessions: Vec<SessionRow>,
        spent_tickets: Vec<(SessionId, u64)>,
        store: mpsc::Sender<StoreRequest>,
    ) -> Self {
        let now = Instant::now();
        let mut switchboard = Switchboard::new(granter.clone(), rand::random(), now);
        switchboard.load(sessions, spent_tickets, unix_now(), now);
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        let (presence, _) = broadcast::channel(PRESENCE_NEWS_MAX);
        let task = Task {
            switchboard,
            sockets: HashMap::new(),
            presence: presence.clone(),
            store: store.clone(),
            draining: false,
        };
        tokio::spawn(task.run(inputs));
        Self {
            inbox,
            store,
            places: Arc::new(Semaphore::new(SOCKETS_MAX)),
            next_connection: Arc::default(),
            sockets: Arc::default(),
            presence,
            granter,
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

    /// How much of an instance is there.
    pub async fn presence(&self, instance: InstanceId) -> Presence {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Presence(instance, reply)).await;
        answer.await.unwrap_or(Presence::Absent)
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
        let connection = ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed));
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        self.send(Input::Attached(connection, side, outbox)).await;
        (connection, outgoing)
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

struct Task {
    switchboard: Switchboard,
    sockets: HashMap<ConnectionId, (Side, mpsc::Sender<Outgoing>)>,
    store: mpsc::Sender<StoreRequest>,
    presence: broadcast::Sender<(InstanceId, Presence)>,
    draining: bool,
}

/// What one input caused.
#[derive(Default)]
struct Turn {
    /// Whose input it was.
    origin: Option<ConnectionId>,
    effects: Vec<Effect>,
    sends: Vec<Output>,
}

impl Task {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let wake = tokio::time::Instant::from_std(self.switchboard.poll_timeout());
            tokio::select! {
                received = inputs.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
                () = tokio::time::sleep_until(wake) => {}
            }
            let mut turns: Vec<_> = batch.drain(..).map(|input| self.handle(input)).collect();
            self.switchboard.handle_timeout(unix_now(), Instant::now());
            turns.push(self.take_turn(None));
            self.finish(turns).await;
            while let Some(news) = self.switchboard.poll_presence() {
                // Nobody may be watching.
                let _ = self.presence.send(news);
            }
        }
    }

    fn handle(&mut self, input: Input) -> Turn {
        let (unix_now, now) = (unix_now(), Instant::now());
        let mut origin = None;
        match input {
            Input::Attached(connection, side, outbox) => self.attach(connection, side, outbox),
            Input::Viewer(viewer, message) => {
                origin = Some(viewer);
                self.switchboard
                    .handle_viewer(viewer, message, unix_now, now);
            }
            Input::Registration(agent, registration, record) => {
                origin = Some(agent);
                self.switchboard
                    .handle_registration(agent, &registration, record.as_ref(), now);
            }
            Input::Agent(agent, message) => {
                origin = Some(agent);
                self.switchboard.handle_agent(agent, message);
            }
            Input::Gone(connection) => self.forget(connection, now),
            Input::Presence(instance, reply) => {
                let _ = reply.send(self.switchboard.presence(&instance));
            }
            Input::Counters(reply) => {
                let _ = reply.send(self.figures());
            }
            Input::Directory(instances, revoked) => {
                self.switchboard.handle_directory(&instances, &revoked);
            }
            Input::RelayLost(region) => self.switchboard.handle_relay_lost(&region, now),
            Input::End(session) => {
                self.switchboard.handle_end(session);
            }
            Input::Drain(done) => {
                self.drain();
                let _ = done.send(());
            }
        }
        self.take_turn(origin)
    }

    fn take_turn(&mut self, origin: Option<ConnectionId>) -> Turn {
        let mut turn = Turn {
            origin,
            ..Turn::default()
        };
        while let Some(output) = self.switchboard.poll_output() {
            match output {
                Output::Persist(effect) => turn.effects.push(effect),
                send => turn.sends.push(send),
            }
        }
        turn
    }

    /// Stores what the turns changed, then sends what they said.
    async fn finish(&mut self, mut turns: Vec<Turn>) {
        let effects: Vec<_> = turns
            .iter_mut()
            .flat_map(|turn| turn.effects.clone())
            .collect();
        let stored = effects.is_empty() || self.commit(effects).await;
        for turn in turns {
            if stored || turn.effects.is_empty() || turn.origin.is_none() {
                turn.sends.into_iter().for_each(|send| self.deliver(send));
            } else if let Some(origin) = turn.origin {
                // Nobody is told of what could not be stored; whoever asked comes back.
                self.close(origin, refusal::not_stored(), close_code::ERROR);
            }
        }
    }

    async fn commit(&self, effects: Vec<Effect>) -> bool {
        let (done, stored) = oneshot::channel();
        let request = StoreRequest::Commit { effects, done };
        self.store.send(request).await.is_ok() && stored.await.unwrap_or(false)
    }

    fn deliver(&mut self, output: Output) {
        match output {
            Output::ToViewer(viewer, message) => self.post(viewer, &message),
            Output::ToAgent(agent, message) => self.post(agent, &message),
            Output::Disconnect(connection) => {
                if let Some((_, outbox)) = self.sockets.remove(&connection) {
                    let _ = outbox.try_send(Outgoing::Close(close_code::NORMAL));
                }
            }
            Output::Persist(_) => {}
        }
    }

    fn post(&mut self, connection: ConnectionId, message: &impl Serialize) {
        let Some((_, outbox)) = self.sockets.get(&connection) else {
            return;
        };
        let Ok(text) = serde_json::to_string(message) else {
            return;
        };
        if outbox.try_send(Outgoing::Text(text)).is_err() {
            tracing::debug!(?connection, "socket too slow or gone: closed");
            // Dropping the sender ends the socket's task, which reports it gone.
            self.sockets.remove(&connection);
        }
    }

    fn attach(&mut self, connection: ConnectionId, side: Side, outbox: mpsc::Sender<Outgoing>) {
        self.sockets.insert(connection, (side, outbox));
        if self.draining {
            self.close(connection, refusal::restarting(), close_code::RESTART);
        }
    }

    fn forget(&mut self, connection: ConnectionId, now: Instant) {
        self.sockets.remove(&connection);
        self.switchboard.handle_viewer_gone(connection, now);
        self.switchboard.handle_agent_gone(connection);
    }

    fn drain(&mut self) {
        self.draining = true;
        let everyone: Vec<_> = self.sockets.keys().copied().collect();
        for connection in everyone {
            self.close(connection, refusal::restarting(), close_code::RESTART);
        }
    }

    /// Says why the socket closes, without ending the session.
    fn close(&mut self, connection: ConnectionId, problem: protocol::problem::Problem, code: u16) {
        match self.sockets.get(&connection) {
            Some((Side::Viewer, _)) => self.post(connection, &ToViewer::Failed { problem }),
            Some((Side::Agent, _)) => self.post(connection, &ToAgent::Failed { problem }),
            None => {}
        }
        if let Some((_, outbox)) = self.sockets.remove(&connection) {
            let _ = outbox.try_send(Outgoing::Close(code));
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            counters: self.switchboard.counters(),
            sessions: self.switchboard.sessions().len(),
            instances: self.switchboard.instances().len(),
            sockets: self.sockets.len(),
        }
    }
}

/// Close codes of RFC 6455 §7.4 and the registry it opens.
pub(super) mod close_code {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const SIZE: u16 = 1009;
    pub(crate) const ERROR: u16 = 1011;
    pub(crate) const RESTART: u16 = 1012;
}
