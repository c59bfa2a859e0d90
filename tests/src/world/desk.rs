//! The desktop in the simulated world: the real registration, session rules, pipeline and peers; a
//! screen and an encoder that are only said to be there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use agent_host::damage::Rect;
use agent_host::encode::FrameKind;
use agent_host::input::InputEvent;
use agent_host::offer::Offerer;
use agent_host::picture::Pass;
use agent_host::pipeline::{Pipeline, Plan, Step, Watchers};
use agent_host::registration::{Registration, SocketWish};
use agent_host::session::{Deed, Session};
use peer::{BitrateRange, Channel, CloseReason, Event, OutgoingFrame, Peer, Side, Transmit, Via};
use protocol::control::Chroma;
use protocol::id::SessionId;
use protocol::problem::{Code, Problem};
use protocol::signal::{AgentSession, FromAgent, ToAgent};
use signalling::ConnectionId;

use super::cloud::{Cloud, End, NO_SOCKET, ToEnd};
use super::network::Packet;
use super::{AGENT_CREDENTIAL, HOST, INSTANCE, UNIX_START, access_unit, address, config, relays};

/// The screen that changes, and its macroblocks.
const SCREEN: Rect = Rect::new(0, 0, 1280, 720);
const BLOCKS: usize = 80 * 45;
/// What the encoder that is not there makes of a change, in bytes.
const FRAME_LEN: usize = 6_000;

pub struct Desk {
    registration: Registration,
    socket: Option<ConnectionId>,
    opening: bool,
    live: BTreeMap<SessionId, Live>,
    pipeline: Pipeline,
    ports: u16,
    start: Instant,
    /// Frames made for at least one viewer.
    pub frames: u64,
    /// Keysyms that were allowed to reach the X server, in order.
    pub injected: Vec<u32>,
    /// Keys that are down.
    pub held: Vec<u32>,
}

struct Live {
    session: Session,
    told: AgentSession,
    peer: Peer,
    address: SocketAddr,
    offerer: Option<Offerer>,
    watching: bool,
}

impl Desk {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        let instance = INSTANCE.parse().expect("a valid id");
        let mut registration = Registration::new(instance, AGENT_CREDENTIAL.into(), seed, now);
        registration.say(FromAgent::Captured { captured: true });
        Self {
            registration,
            socket: None,
            opening: false,
            live: BTreeMap::new(),
            pipeline: Pipeline::new(BitrateRange::default().start_bps, now),
            ports: 0,
            start: now,
            frames: 0,
            injected: Vec::new(),
            held: Vec::new(),
        }
    }

    pub fn sessions(&self) -> usize {
        self.live.len()
    }

    /// The service knows it.
    pub fn is_online(&self) -> bool {
        self.registration.is_registered()
    }

    pub(super) fn is_at(&self, to: SocketAddr) -> bool {
        to.ip() == address(HOST).ip()
    }

    /// Something is drawn.
    pub fn draw(&mut self, now: Instant) {
        self.pipeline.handle_damage(SCREEN, now);
    }

    pub(super) fn handle_arrival(&mut self, from: ConnectionId, what: ToEnd, now: Instant) {
        match what {
            ToEnd::Opened => {
                (self.socket, self.opening) = (Some(from), false);
                let sessions = self.live.keys().copied().collect();
                self.registration.handle_open(sessions, now);
            }
            ToEnd::Lost if from == NO_SOCKET || self.socket == Some(from) => {
                (self.socket, self.opening) = (None, false);
                self.registration.handle_lost(now);
            }
            ToEnd::Agent(message) if self.socket == Some(from) => {
                let text = serde_json::to_string(&*message).expect("a message is JSON");
                if let Some(message) = self.registration.handle_text(&text, now) {
                    self.handle_signal(message, now);
                }
            }
            ToEnd::Lost | ToEnd::Agent(_) | ToEnd::Viewer(_) | ToEnd::Ticket(_) => {}
        }
    }

    fn handle_signal(&mut self, message: ToAgent, now: Instant) {
        match message {
            ToAgent::SessionOpened { session } => self.open(session, now),
            ToAgent::SessionRenewed { session } => {
                if let Some(live) = self.live.get_mut(&session.session) {
                    live.session.handle_renewed(&session, now);
                    let servers = relays(&session.ice_servers, live.address);
                    live.peer.set_relays(&servers, now);
                    live.told = session;
                }
            }
            ToAgent::SessionClosed { session, .. } => self.forget(session, now),
            ToAgent::Offer { session, sdp } => self.answer(session, &sdp, now),
            ToAgent::Candidate { session, candidate } => {
                if let Some(live) = self.live.get_mut(&session) {
                    live.peer.handle_candidate(&candidate, now);
                }
            }
            ToAgent::Registered | ToAgent::Failed { .. } | ToAgent::Pong => {}
        }
    }

    fn open(&mut self, told: AgentSession, now: Instant) {
        if let Some(live) = self.live.get_mut(&told.session) {
            return live.session.handle_renewed(&told, now);
        }
        let (peer, address) = self.peer(&told, now);
        let live = Live {
            session: Session::new(&told, now),
            peer,
            address,
            offerer: None,
            watching: false,
            told,
        };
        self.live.insert(live.told.session, live);
    }

    /// A peer on a port of its own.
    fn peer(&mut self, told: &AgentSession, now: Instant) -> (Peer, SocketAddr) {
        self.ports += 1;
        let mut at = address(HOST);
        at.set_port(at.port() + self.ports);
        let servers = relays(&told.ice_servers, at);
        (
            Peer::new(config(Side::Host, at, told.path_mode, servers), now),
            at,
        )
    }

    fn answer(&mut self, session: SessionId, sdp: &str, now: Instant) {
        let offered = Offerer::of(sdp);
        let Some(live) = self.live.get_mut(&session) else {
            return;
        };
        let before = live.offerer.replace(offered.clone());
        if before.is_some_and(|before| before != offered) {
            // A viewer that starts afresh: no peer can take that over.
            let told = live.told.clone();
            let (peer, address) = self.peer(&told, now);
            if let Some(live) = self.live.get_mut(&session) {
                (live.peer, live.address, live.watching) = (peer, address, false);
            }
        }
        let answer = self
            .live
            .get_mut(&session)
            .map(|live| live.peer.handle_offer(sdp, now));
        if let Some(Ok(sdp)) = answer {
            self.registration.say(FromAgent::Answer { session, sdp });
        }
    }

    fn forget(&mut self, session: SessionId, now: Instant) {
        if let Some(mut live) = self.live.remove(&session) {
            live.peer.close(now);
            self.held.clear();
            self.count_watchers(now);
        }
    }

    fn count_watchers(&mut self, now: Instant) {
        let watching = self.live.values().filter(|live| live.watching).count();
        self.pipeline.handle_watchers(Watchers(watching), now);
    }

    pub(super) fn handle_datagram(
        &mut self,
        to: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        if let Some(live) = self.live.values_mut().find(|live| live.address == to) {
            live.peer.handle_datagram(to, from, bytes, now);
        }
    }

    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let peers = self
            .live
            .values()
            .filter_map(|live| live.peer.poll_timeout());
        let sessions = self
            .live
            .values()
            .filter_map(|live| live.session.poll_timeout());
        let own = [
            self.registration.poll_timeout(),
            self.pipeline.poll_timeout(now),
        ];
        peers.chain(sessions).chain(own.into_iter().flatten()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.registration.handle_timeout(now);
        let mut ended = Vec::new();
        for (&id, live) in &mut self.live {
            if live.peer.poll_timeout().is_some_and(|at| at <= now) {
                live.peer.handle_timeout(now);
            }
            live.session.handle_timeout(now);
            ended.extend(live.session.poll_end().map(|problem| (id, problem)));
        }
        for (session, problem) in ended {
            self.end(session, problem, now);
        }
    }

    fn end(&mut self, session: SessionId, problem: Problem, now: Instant) {
        self.forget(session, now);
        self.registration.say(FromAgent::Close { session, problem });
    }

    /// Carries out what is wanted; `true` if anything was.
    pub(super) fn carry_out(&mut self, cloud: &mut Cloud, now: Instant) -> bool {
        let mut busy = self.handle_events(now);
        match self.registration.poll_wish(now) {
            SocketWish::Wait => {
                if let Some(socket) = self.socket.take() {
                    cloud.drop_socket(socket, now);
                }
            }
            SocketWish::Open if self.socket.is_none() && !self.opening => {
                self.opening = true;
                cloud.open_socket(End::Desk, now);
            }
            SocketWish::Open => {}
        }
        while let (Some(socket), Some(message)) = (self.socket, self.registration.poll_transmit()) {
            cloud.say_as_agent(socket, message, now);
            busy = true;
        }
        while let Some(step) = self.pipeline.poll_step(now) {
            self.make_frame(step, now);
            busy = true;
        }
        busy
    }

    fn make_frame(&mut self, step: Step, now: Instant) {
        let (pass, kind, captured_at, blocks, len) = match step {
            Step::Frame { kind, seen_at, .. } => {
                (Pass::Interactive, kind, seen_at, BLOCKS, FRAME_LEN)
            }
            // A screen that is only said to be there has nothing to refine.
            Step::Refine => return self.pipeline.handle_unchanged(Pass::Refine, now),
            Step::KeepAlive => (Pass::Interactive, FrameKind::Delta, now, 0, 20),
        };
        let qp = self.pipeline.qp_for(kind, blocks);
        let data = access_unit(len, kind == FrameKind::Key);
        let plan = Plan {
            pass,
            kind,
            blocks,
            qp,
            finer_than: None,
        };
        self.pipeline.handle_coded(plan, data.len(), now);
        self.frames += 1;
        let frame = OutgoingFrame {
            data: data.into(),
            key: kind == FrameKind::Key,
            chroma: Chroma::Yuv420,
            captured_at,
            captured_unix: UNIX_START + (captured_at - self.start),
        };
        let mut missed = false;
        for live in self.live.values_mut().filter(|live| live.watching) {
            missed |= live.peer.send_video(frame.clone(), now).is_err();
        }
        if missed {
            self.pipeline.handle_key_wanted(now);
        }
    }

    fn handle_events(&mut self, now: Instant) -> bool {
        let ids: Vec<SessionId> = self.live.keys().copied().collect();
        let mut busy = false;
        for id in ids {
            while let Some(event) = self
                .live
                .get_mut(&id)
                .and_then(|live| live.peer.poll_event())
            {
                busy = true;
                self.handle_event(id, event, now);
            }
        }
        busy
    }

    fn handle_event(&mut self, id: SessionId, event: Event, now: Instant) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        match event {
            Event::Candidate(candidate) => self.registration.say(FromAgent::Candidate {
                session: id,
                candidate,
            }),
            Event::Connected(_) => {
                live.watching = true;
                self.pipeline.handle_key_at_once(now);
                self.count_watchers(now);
            }
            Event::KeyFrameWanted => self.pipeline.handle_key_wanted(now),
            Event::EgressEstimate { bitrate_bps } => {
                self.pipeline.handle_estimate(bitrate_bps, now)
            }
            Event::Message { channel, bytes } => self.handle_message(id, channel, &bytes, now),
            Event::Closed(CloseReason::Local) => {}
            Event::Closed(reason) => {
                let left = Problem::new(
                    Code::SessionEnded,
                    format!("The connection was closed: {reason:?}."),
                    "Connect again.",
                );
                self.end(id, left, now);
            }
            _ => {}
        }
    }

    fn handle_message(&mut self, id: SessionId, channel: Channel, bytes: &[u8], now: Instant) {
        let live = self.live.get_mut(&id);
        let deed = live.and_then(|live| live.session.handle_message(channel, bytes, now));
        match deed {
            Some(Deed::Inject(InputEvent::Key { down, keysym, .. })) => {
                self.held.retain(|held| *held != keysym);
                if down {
                    self.held.push(keysym);
                    self.injected.push(keysym);
                }
                self.pipeline.handle_input(now);
            }
            Some(Deed::Inject(InputEvent::ReleaseAll)) => self.held.clear(),
            _ => {}
        }
    }

    pub(super) fn take_packets(&mut self, packets: &mut Vec<Packet>) {
        for live in self.live.values_mut() {
            while let Some(Transmit { via, to, bytes }) = live.peer.poll_transmit() {
                if let Via::Udp(from) = via {
                    packets.push(Packet { from, to, bytes });
                }
            }
        }
    }
}
