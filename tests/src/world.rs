//! The whole path in one thread: signalling, relay, agent host and viewer without a socket, under a
//! virtual clock.
//!
//! The cores are the real ones; only the network between them is made up. A seed makes losses and
//! delays, and every failure prints it. The agent host's and the viewer's part here is the least
//! that a shell does: carry messages, make peers, send frames.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peer::ice_url::IceUrl;
use peer::{Certificate, Config, Event, OutgoingFrame, Peer, RelayServer, Side, Transmit, Via};
use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::signal::{
    AgentSession, FromAgent, FromViewer, Grant, IceServer, PathMode, Role, ToAgent, ToViewer,
    VERSION,
};
use protocol::token::SigningKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use signalling::ConnectionId;
use signalling::effect::{Effect, SessionRow};
use signalling::grant::{Granter, Region, Relay as RegionRelay, Terms};
use signalling::instances::{InstanceRecord, hash};
use signalling::switchboard::{Output, Registration, Switchboard};

use crate::relay_node::RelayNode;

/// One way, with up to as much again added at random.
const LATENCY: Duration = Duration::from_millis(8);
/// One way of a signalling message.
const SIGNAL_LATENCY: Duration = Duration::from_millis(12);
/// 2026-01-01T00:00:00Z: the wall clock at the start.
const UNIX_START: Duration = Duration::from_secs(1_767_225_600);
const AGENT_CREDENTIAL: &str = "the agent host's credential";
const RELAY_SECRET: &str = "the relay's secret";
/// No scenario takes longer; more means it hangs.
const RUN_MAX: Duration = Duration::from_secs(120);

pub const HOST: &str = "192.0.2.10:5000";
pub const VIEWER: &str = "192.0.2.20:6000";
pub const RELAY: &str = "192.0.2.30:3478";

/// A message on its way over a signalling socket.
enum Signal {
    FromViewer(FromViewer),
    FromAgent(FromAgent),
    ToViewer(ToViewer),
    ToAgent(ToAgent),
}

pub struct World {
    pub now: Instant,
    start: Instant,
    seed: u64,
    rng: StdRng,
    flying: Vec<(Instant, Packet)>,
    /// When the last packet on each way arrives.
    arrivals_by_way: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    signals: VecDeque<(Instant, Signal)>,
    pub relay: RelayNode,
    cloud: Cloud,
    pub host: Option<Peer>,
    pub viewer: Option<Peer>,
    pub host_events: Vec<Event>,
    pub viewer_events: Vec<Event>,
    pub grant: Option<Grant>,
    /// Every grant came from here; the newest is `grant`.
    pub refreshes: usize,
    /// The session as the agent host was told of it.
    agent_session: Option<AgentSession>,
    pub rules: Rules,
    frames_sent: u64,
}

/// What the network lets through.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Packets between host and viewer; false leaves only the way over the relay.
    pub direct: bool,
    pub loss: f64,
}

pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// The signalling core, and what its database would hold.
struct Cloud {
    granter: Arc<Granter>,
    switchboard: Option<Switchboard>,
    rows: BTreeMap<SessionId, SessionRow>,
    agent: ConnectionId,
    viewer: ConnectionId,
    next_connection: u64,
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address in the source")
}

impl World {
    pub fn new(seed: u64, relay_ttl: Duration) -> Self {
        let now = start();
        let terms = Terms {
            relay_ttl,
            ..Terms::default()
        };
        let mut world = Self {
            now,
            start: now,
            seed,
            rng: StdRng::seed_from_u64(seed),
            flying: Vec::new(),
            arrivals_by_way: BTreeMap::new(),
            signals: VecDeque::new(),
            relay: RelayNode::new(address(RELAY), RELAY_SECRET, UNIX_START, now),
            cloud: Cloud::new(terms, now),
            host: None,
            viewer: None,
            host_events: Vec::new(),
            viewer_events: Vec::new(),
            grant: None,
            refreshes: 0,
            agent_session: None,
            rules: Rules {
                direct: true,
                loss: 0.0,
            },
            frames_sent: 0,
        };
        world.register_agent();
        world
    }

    pub fn unix_now(&self) -> Duration {
        UNIX_START + (self.now - self.start)
    }

    /// The viewer spends a ticket; everything else follows from it.
    pub fn open(&mut self, mode: PathMode) {
        let instance: InstanceId = INSTANCE.parse().expect("a valid id");
        let ticket = self.cloud.granter.ticket(
            ticket_id(),
            instance,
            Role::Control,
            "somebody".into(),
            self.unix_now(),
        );
        let ticket = ticket.expect("the key signs");
        self.send(Signal::FromViewer(FromViewer::Open {
            version: VERSION,
            ticket,
            mode,
        }));
    }

    /// As [`Self::open`], until the first frame is there.
    pub fn connect(&mut self, mode: PathMode) {
        self.open(mode);
        self.run_until("the first frame", |world| world.frames() > 0);
    }

    pub fn frames(&self) -> usize {
        let video = |event: &&Event| matches!(event, Event::Video(_));
        self.viewer_events.iter().filter(video).count()
    }

    /// The viewer's packets leave through the relay.
    pub fn is_relayed(&self) -> bool {
        let path = self.viewer.as_ref().and_then(Peer::path);
        path.is_some_and(|path| path.is_relayed())
    }

    /// # Panics
    ///
    /// If it does not happen within two minutes of virtual time; says the seed.
    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + RUN_MAX;
        while !done(self) {
            assert!(self.now < deadline, "SEED={}: {what} never came", self.seed);
            self.step(deadline);
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step(until);
        }
    }

    /// Sends frames at 20 per second for so long, then counts how many arrived since.
    pub fn stream(&mut self, time: Duration) -> Flow {
        let (before, sent) = (self.frames(), self.frames_sent);
        let until = self.now + time;
        while self.now < until {
            self.send_frame(false);
            self.run_for(Duration::from_millis(50));
        }
        Flow {
            sent: self.frames_sent - sent,
            arrived: self.frames() - before,
        }
    }

    /// The relay loses its memory and its ports.
    pub fn restart_relay(&mut self) {
        self.relay = RelayNode::new(address(RELAY), RELAY_SECRET, self.unix_now(), self.now);
    }

    /// Signalling is gone until [`Self::start_signalling`]; its rows stay.
    pub fn stop_signalling(&mut self) {
        self.cloud.switchboard = None;
        self.signals.clear();
    }

    /// Comes back with what was stored; both ends come back to it.
    pub fn start_signalling(&mut self) {
        let unix_now = self.unix_now();
        self.cloud.start(unix_now, self.now);
        self.register_agent();
        if let Some(grant) = &self.grant {
            let token = grant.token.clone();
            self.send(Signal::FromViewer(FromViewer::Resume {
                version: VERSION,
                token,
            }));
        }
    }

    /// The viewer asks for a new token and new relay credentials.
    pub fn refresh(&mut self) {
        let handle = self
            .grant
            .as_ref()
            .map(|grant| grant.refresh_handle.clone());
        if let Some(handle) = handle {
            self.send(Signal::FromViewer(FromViewer::Refresh { handle }));
        }
    }

    /// The viewer offers again, as it does when the path died.
    pub fn restart_ice(&mut self) {
        let now = self.now;
        let offer = self.viewer.as_mut().map(|viewer| viewer.create_offer(now));
        if let Some(Ok(sdp)) = offer {
            self.send(Signal::FromViewer(FromViewer::Offer { sdp }));
        }
    }

    fn register_agent(&mut self) {
        let sessions = self.agent_session.iter().map(|s| s.session).collect();
        let registration = Registration {
            version: VERSION,
            instance: INSTANCE.parse().expect("a valid id"),
            credential: AGENT_CREDENTIAL.into(),
            sessions,
            captured: true,
        };
        self.cloud.register(&registration, self.now);
        self.collect_cloud();
    }

    fn send(&mut self, signal: Signal) {
        self.signals.push_back((self.now + SIGNAL_LATENCY, signal));
    }

    fn send_frame(&mut self, key: bool) {
        let frame = OutgoingFrame {
            data: access_unit(6_000, key).into(),
            key,
            captured_at: self.now,
            captured_unix: self.unix_now(),
        };
        let Some(host) = &mut self.host else { return };
        if host.send_video(frame, self.now).is_ok() {
            self.frames_sent += 1;
        }
    }

    /// Everything that happens at the next moment at which something happens.
    fn step(&mut self, until: Instant) {
        self.collect();
        let peers = [&self.host, &self.viewer].map(|peer| peer.as_ref()?.poll_timeout());
        let packets = self.flying.iter().map(|(at, _)| *at).min();
        let signals = self.signals.front().map(|(at, _)| *at);
        let relay = self.relay.poll_timeout();
        let times = peers.into_iter().chain([packets, signals, relay]);
        let next = times.flatten().min().unwrap_or(until);
        self.now = next.clamp(self.now, until);
        self.deliver_packets();
        self.deliver_signals();
        self.run_timers();
        self.collect();
    }

    fn run_timers(&mut self) {
        let now = self.now;
        for peer in [&mut self.host, &mut self.viewer].into_iter().flatten() {
            if peer.poll_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now);
            }
        }
        self.relay.handle_timeout(now);
    }

    fn deliver_packets(&mut self) {
        let now = self.now;
        let flying = std::mem::take(&mut self.flying);
        let (due, later) = flying.into_iter().partition(|(at, _)| *at <= now);
        self.flying = later;
        for (_, packet) in due {
            self.deliver(packet);
        }
    }

    fn deliver(&mut self, Packet { from, to, bytes }: Packet) {
        let (host, viewer) = (address(HOST), address(VIEWER));
        let direct = [(host, viewer), (viewer, host)].contains(&(from, to));
        if (direct && !self.rules.direct) || self.rng.random_bool(self.rules.loss) {
            return;
        }
        let now = self.now;
        if to == host {
            let peer = self.host.as_mut();
            peer.into_iter()
                .for_each(|p| p.handle_datagram(to, from, &bytes, now));
        } else if to == viewer {
            let peer = self.viewer.as_mut();
            peer.into_iter()
                .for_each(|p| p.handle_datagram(to, from, &bytes, now));
        } else {
            self.relay.handle_datagram(to, from, bytes, now);
        }
    }

    fn collect(&mut self) {
        let now = self.now;
        let mut sent: Vec<Packet> = self.relay.take_packets();
        for peer in [&mut self.host, &mut self.viewer].into_iter().flatten() {
            while let Some(Transmit { via, to, bytes }) = peer.poll_transmit() {
                if let Via::Udp(from) = via {
                    sent.push(Packet { from, to, bytes });
                }
            }
        }
        for packet in sent {
            let jitter = LATENCY.mul_f64(self.rng.random::<f64>());
            let way = (packet.from, packet.to);
            // A queue on the way delays; it does not overtake itself.
            let last = self.arrivals_by_way.get(&way).copied();
            let arrives = (now + LATENCY + jitter).max(last.unwrap_or(now));
            self.arrivals_by_way.insert(way, arrives);
            self.flying.push((arrives, packet));
        }
        self.collect_events();
    }

    fn collect_events(&mut self) {
        while let Some(event) = self.host.as_mut().and_then(Peer::poll_event) {
            if let (Event::Candidate(candidate), Some(session)) = (&event, &self.agent_session) {
                let (session, candidate) = (session.session, candidate.clone());
                self.send(Signal::FromAgent(FromAgent::Candidate {
                    session,
                    candidate,
                }));
            }
            if let Event::KeyFrameWanted = event {
                self.send_frame(true);
            }
            self.host_events.push(event);
        }
        while let Some(event) = self.viewer.as_mut().and_then(Peer::poll_event) {
            if let Event::Candidate(candidate) = &event {
                let candidate = candidate.clone();
                self.send(Signal::FromViewer(FromViewer::Candidate { candidate }));
            }
            self.viewer_events.push(event);
        }
    }

    fn deliver_signals(&mut self) {
        while self.signals.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, signal)) = self.signals.pop_front() else {
                return;
            };
            match signal {
                Signal::FromViewer(message) => {
                    let unix_now = self.unix_now();
                    self.cloud.handle_viewer(message, unix_now, self.now);
                }
                Signal::FromAgent(message) => self.cloud.handle_agent(message),
                Signal::ToViewer(message) => self.handle_as_viewer(message),
                Signal::ToAgent(message) => self.handle_as_agent(message),
            }
            self.collect_cloud();
        }
    }

    fn collect_cloud(&mut self) {
        for signal in self.cloud.take_signals() {
            self.send(signal);
        }
    }

    fn handle_as_viewer(&mut self, message: ToViewer) {
        let now = self.now;
        match message {
            ToViewer::Granted { grant } => {
                let relays = relays(&grant.ice_servers, address(VIEWER));
                let mode = grant.path_mode;
                let mut viewer = Peer::new(config(Side::Viewer, VIEWER, mode, relays), now);
                let sdp = viewer.create_offer(now).expect("a viewer offers");
                self.viewer = Some(viewer);
                self.grant = Some(grant);
                self.send(Signal::FromViewer(FromViewer::Offer { sdp }));
            }
            ToViewer::Refreshed { grant } => {
                let relays = relays(&grant.ice_servers, address(VIEWER));
                if let Some(viewer) = &mut self.viewer {
                    viewer.set_relays(&relays, now);
                }
                self.grant = Some(grant);
                self.refreshes += 1;
            }
            ToViewer::Answer { sdp } => {
                let viewer = self.viewer.as_mut();
                // An answer to an offer that was replaced since is refused; the next one comes.
                viewer.map(|viewer| viewer.handle_answer(&sdp, now));
            }
            ToViewer::Candidate { candidate } => {
                if let Some(viewer) = &mut self.viewer {
                    viewer.handle_candidate(&candidate, now);
                }
            }
            ToViewer::Failed { problem } | ToViewer::Closed { problem } => {
                panic!("SEED={}: the viewer is told {problem:?}", self.seed)
            }
            _ => {}
        }
    }

    fn handle_as_agent(&mut self, message: ToAgent) {
        let now = self.now;
        match message {
            ToAgent::SessionOpened { session } => {
                let relays = relays(&session.ice_servers, address(HOST));
                let config = config(Side::Host, HOST, session.path_mode, relays);
                self.host = Some(Peer::new(config, now));
                self.agent_session = Some(session);
            }
            ToAgent::SessionRenewed { session } => {
                let relays = relays(&session.ice_servers, address(HOST));
                if let Some(host) = &mut self.host {
                    host.set_relays(&relays, now);
                }
                self.agent_session = Some(session);
            }
            ToAgent::Offer { session, sdp } => {
                let answer = self.host.as_mut().map(|host| host.handle_offer(&sdp, now));
                if let Some(Ok(sdp)) = answer {
                    self.send(Signal::FromAgent(FromAgent::Answer { session, sdp }));
                }
            }
            ToAgent::Candidate { candidate, .. } => {
                if let Some(host) = &mut self.host {
                    host.handle_candidate(&candidate, now);
                }
            }
            ToAgent::SessionClosed { problem, .. } | ToAgent::Failed { problem } => {
                panic!("SEED={}: the agent host is told {problem:?}", self.seed)
            }
            _ => {}
        }
    }
}

fn ticket_id() -> SessionId {
    "018f4e2a-7c1d-7a30-8e5f-0123456789ab"
        .parse()
        .expect("a UUID")
}

/// Frames sent and arrived in the same stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub sent: u64,
    pub arrived: usize,
}

impl Cloud {
    fn new(terms: Terms, now: Instant) -> Self {
        let key = SigningKey::from_seed([7; 32]).expect("a seed is a key");
        let region = Region {
            id: "test".into(),
            relays: vec![RegionRelay {
                urls: vec![format!("turn:{RELAY}?transport=udp")],
                shared_secrets: vec![RELAY_SECRET.into()],
            }],
        };
        let granter = Granter::new(&key, vec![region], terms).expect("the key signs");
        let mut cloud = Self {
            granter: Arc::new(granter),
            switchboard: None,
            rows: BTreeMap::new(),
            agent: ConnectionId(0),
            viewer: ConnectionId(0),
            next_connection: 1,
        };
        cloud.start(UNIX_START, now);
        cloud
    }

    fn start(&mut self, unix_now: Duration, now: Instant) {
        let mut switchboard = Switchboard::new(Arc::clone(&self.granter), [9; 32], now);
        switchboard.load(self.rows.values().cloned(), [], unix_now, now);
        self.switchboard = Some(switchboard);
        self.agent = self.connection();
        self.viewer = self.connection();
    }

    fn connection(&mut self) -> ConnectionId {
        self.next_connection += 1;
        ConnectionId(self.next_connection)
    }

    fn register(&mut self, registration: &Registration, now: Instant) {
        let record = InstanceRecord {
            instance: registration.instance.clone(),
            region: "test".into(),
            credential_hash: hash(&Secret::new(AGENT_CREDENTIAL)),
        };
        let agent = self.agent;
        if let Some(switchboard) = &mut self.switchboard {
            switchboard.handle_registration(agent, registration, Some(&record), now);
        }
    }

    fn handle_viewer(&mut self, message: FromViewer, unix_now: Duration, now: Instant) {
        let viewer = self.viewer;
        if let Some(switchboard) = &mut self.switchboard {
            switchboard.handle_viewer(viewer, message, unix_now, now);
        }
    }

    fn handle_agent(&mut self, message: FromAgent) {
        let agent = self.agent;
        if let Some(switchboard) = &mut self.switchboard {
            switchboard.handle_agent(agent, message);
        }
    }

    fn take_signals(&mut self) -> Vec<Signal> {
        let mut signals = Vec::new();
        while let Some(output) = self.switchboard.as_mut().and_then(Switchboard::poll_output) {
            match output {
                Output::Persist(Effect::SessionStored(row)) => {
                    self.rows.insert(row.session, row);
                }
                Output::Persist(Effect::SessionRemoved(session)) => {
                    self.rows.remove(&session);
                }
                Output::Persist(_) | Output::Disconnect(_) => {}
                Output::ToViewer(_, message) => signals.push(Signal::ToViewer(message)),
                Output::ToAgent(_, message) => signals.push(Signal::ToAgent(message)),
            }
        }
        signals
    }
}

const INSTANCE: &str = "desk";

fn config(side: Side, socket: &str, path_mode: PathMode, relays: Vec<RelayServer>) -> Config {
    Config {
        path_mode,
        relays,
        certificate: Certificate::of_this_process(),
        ..Config::new(side, vec![address(socket)])
    }
}

fn relays(servers: &[IceServer], base: SocketAddr) -> Vec<RelayServer> {
    let urls = servers.iter().flat_map(|server| {
        let urls = server.urls.iter().filter_map(|url| IceUrl::parse(url));
        urls.map(move |url| (server, url))
    });
    urls.map(|(server, url)| RelayServer {
        transport: url.transport,
        server: SocketAddr::new(url.host.parse().expect("an address"), url.port),
        name: url.host,
        base,
        username: server.username.clone(),
        credential: server.credential.clone(),
        region: server.region.clone(),
    })
    .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a virtual clock starts somewhere"
)]
fn start() -> Instant {
    Instant::now()
}

/// An H.264 access unit in Annex B: SPS, PPS and an IDR slice, or one other slice.
pub fn access_unit(len: usize, key: bool) -> Vec<u8> {
    let mut data = Vec::new();
    if key {
        data.extend([0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40]);
        data.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80]);
    }
    data.extend([0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
    data.extend(std::iter::repeat_n(0xAB, len));
    data
}
