//! A viewer in the simulated world: the real session machine, a real peer, the real queue in front
//! of a decoder that is not there. The shell's part is to carry commands out, nothing more.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use peer::{Channel, Config, Event, Peer, Side, Transmit, Via};
use protocol::control::FromViewer as Input;
use protocol::signal::{IceServer, PathMode};
use signalling::ConnectionId;
use viewer::decode::{Admission, DecodeQueue};
use viewer::mode::Attempt;
use viewer::news::PeerNews;
use viewer::session::{Command, PeerCommand, PeerEvent, Session, State};

use super::cloud::{Cloud, End, NO_SOCKET, ToEnd};
use super::network::Packet;
use super::{config, relays};

pub struct Seat {
    number: usize,
    address: SocketAddr,
    pub session: Session,
    news: PeerNews,
    peer: Option<Peer>,
    queue: DecodeQueue,
    socket: Option<ConnectionId>,
    /// Frames that a decoder would have shown.
    pub frames: usize,
    /// Peers made so far.
    pub peers: usize,
    /// Keys that wait for their channel, and those that were handed to it.
    typing: VecDeque<u32>,
    pub typed: Vec<u32>,
    input_open: bool,
}

impl Seat {
    pub(super) fn new(number: usize, address: SocketAddr, mode: PathMode, seed: u64) -> Self {
        Self {
            number,
            address,
            session: Session::new(mode, seed),
            news: PeerNews::default(),
            peer: None,
            queue: DecodeQueue::default(),
            socket: None,
            frames: 0,
            peers: 0,
            typing: VecDeque::new(),
            typed: Vec::new(),
            input_open: false,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The code of the problem that ended the session.
    pub fn end(&self) -> Option<protocol::problem::Code> {
        match self.session.state() {
            State::Closed { problem } => Some(problem.code),
            _ => None,
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self.session.state(), State::Live { .. })
    }

    pub fn is_relayed(&self) -> bool {
        matches!(self.session.state(), State::Live { path } if path.is_relayed())
    }

    /// Presses keys, one keysym after the other; each is sent as soon as its channel takes it.
    pub fn press(&mut self, keysyms: impl IntoIterator<Item = u32>) {
        self.typing.extend(keysyms);
    }

    pub(super) fn handle_arrival(&mut self, from: ConnectionId, what: ToEnd, now: Instant) {
        match what {
            ToEnd::Opened => {
                self.socket = Some(from);
                self.session.handle_socket_opened(now);
            }
            ToEnd::Lost if from == NO_SOCKET || self.socket == Some(from) => {
                self.socket = None;
                let gone = protocol::problem::Problem::new(
                    protocol::problem::Code::ServiceUnreachable,
                    "The socket broke.",
                    "Wait.",
                );
                self.session.handle_socket_lost(gone, now);
            }
            ToEnd::Viewer(message) if self.socket == Some(from) => {
                self.session.handle_signal(*message, now);
            }
            ToEnd::Ticket(ticket) => self.session.handle_ticket(ticket.map(Into::into), now),
            ToEnd::Lost | ToEnd::Viewer(_) | ToEnd::Agent(_) => {}
        }
    }

    pub(super) fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        if let Some(peer) = &mut self.peer {
            peer.handle_datagram(self.address, from, bytes, now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let peer = self.peer.as_ref().and_then(Peer::poll_timeout);
        peer.into_iter().chain(self.session.poll_timeout()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        if let Some(peer) = &mut self.peer
            && peer.poll_timeout().is_some_and(|at| at <= now)
        {
            peer.handle_timeout(now);
        }
    }

    /// Carries out what is wanted; `true` if anything was.
    pub(super) fn carry_out(&mut self, cloud: &mut Cloud, now: Instant) -> bool {
        let mut busy = self.handle_events(now);
        while let Some(command) = self.session.poll_command() {
            busy = true;
            match command {
                Command::FetchTicket => cloud.fetch_ticket(self.number, now),
                Command::OpenSocket => cloud.open_socket(End::Seat(self.number), now),
                Command::DropSocket => {
                    if let Some(socket) = self.socket.take() {
                        cloud.drop_socket(socket, now);
                    }
                }
                Command::Signal(message) => {
                    if let Some(socket) = self.socket {
                        cloud.say_as_viewer(socket, message, now);
                    }
                }
                Command::Peer(command) => self.command_peer(command, now),
                Command::Notice(_) => {}
            }
        }
        self.type_on(now);
        busy
    }

    fn command_peer(&mut self, command: PeerCommand, now: Instant) {
        let address = self.address;
        match (command, &mut self.peer) {
            (
                PeerCommand::Start {
                    ice_servers,
                    attempt,
                },
                _,
            ) => self.start_peer(&ice_servers, attempt, now),
            (PeerCommand::Restart { ice_servers, .. }, Some(peer)) => {
                peer.set_relays(&relays(&ice_servers, address), now);
                if let Ok(sdp) = peer.create_offer(now) {
                    self.session.handle_peer(PeerEvent::Offer { sdp }, now);
                }
            }
            (PeerCommand::RenewRelays { ice_servers }, Some(peer)) => {
                peer.set_relays(&relays(&ice_servers, address), now);
            }
            (PeerCommand::Answer { sdp }, Some(peer)) => {
                // An answer to an offer that was replaced since is refused; the next one comes.
                let _ = peer.handle_answer(&sdp, now);
            }
            (PeerCommand::Candidate(candidate), Some(peer)) => {
                peer.handle_candidate(&candidate, now);
            }
            (PeerCommand::Close, Some(peer)) => peer.close(now),
            (_, None) => {}
        }
    }

    fn start_peer(&mut self, ice_servers: &[IceServer], attempt: Attempt, now: Instant) {
        let mode = match attempt {
            Attempt::Any => PathMode::Auto,
            Attempt::DirectOnly => PathMode::Direct,
            Attempt::RelayOnly => PathMode::Relay,
        };
        let servers = relays(ice_servers, self.address);
        let config: Config = config(Side::Viewer, self.address, mode, servers);
        let mut peer = Peer::new(config, now);
        let sdp = peer.create_offer(now).expect("a viewer offers");
        self.peer = Some(peer);
        self.peers += 1;
        self.queue = DecodeQueue::default();
        self.input_open = false;
        self.session.handle_peer(PeerEvent::Offer { sdp }, now);
    }

    fn handle_events(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(event) = self.peer.as_mut().and_then(Peer::poll_event) {
            busy = true;
            if let Event::ChannelOpen(Channel::Input) = event {
                self.input_open = true;
            }
            if let Some(news) = self.news.handle_event(&event, self.session.state()) {
                self.session.handle_peer(news, now);
            }
            if let Event::Video(frame) = event {
                let admission = self.queue.handle_frame(frame);
                if let (Admission::AskForKeyFrame, Some(peer)) = (admission, &mut self.peer) {
                    peer.request_key_frame(now);
                }
                while self.queue.poll_frame().is_some() {
                    self.frames += 1;
                }
            }
        }
        busy
    }

    fn type_on(&mut self, now: Instant) {
        let Some(peer) = self.peer.as_mut().filter(|_| self.input_open) else {
            return;
        };
        while let Some(&keysym) = self.typing.front() {
            let key = Input::Key {
                down: true,
                keysym,
                code: 0,
            };
            if peer
                .send_message(Channel::Input, &key.encode(), now)
                .is_err()
            {
                return;
            }
            self.typing.pop_front();
            self.typed.push(keysym);
        }
    }

    pub(super) fn take_packets(&mut self, packets: &mut Vec<Packet>) {
        while let Some(Transmit { via, to, bytes }) =
            self.peer.as_mut().and_then(Peer::poll_transmit)
        {
            if let Via::Udp(from) = via {
                packets.push(Packet { from, to, bytes });
            }
        }
    }
}
