//! The endpoint as a machine: str0m and TURN clients behind one set of verbs.
//!
//! Every verb mutates once and then drains str0m until it wants to wait, which is the contract str0m
//! is built on. What it wants to send goes straight to a socket's queue or, if it leaves from a
//! relayed address, through that relay.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::control::{Chroma, MESSAGE_LEN_MAX};
use protocol::signal::PathMode;
use str0m::bwe::BweKind;
use str0m::media::{Direction, MediaData, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{IceConnectionState, Input, Output, Rtc};

use crate::audio::Audio;
use crate::candidates::RemoteCandidates;
use crate::channels::Channels;
use crate::config::{BitrateRange, Config, RelayServer, RelayTransport, Side, Sound};
use crate::congestion::Congestion;
use crate::early::Early;
use crate::engine;
use crate::event::{Channel, CloseReason, Event, IceState};
use crate::negotiation::Negotiation;
use crate::path::{Change, Liveness, Selected};
use crate::probing::Probing;
use crate::relays::{RelayEvent, Relays};
use crate::repair::Repair;
use crate::rest::{Reception, Rest};
use crate::stats::Collector;
use crate::tail::Tail;
use crate::video::Video;
use crate::window::Window;

mod estimate;
mod sending;

/// Turns of str0m in one drain; one turn sends one paced packet. When used up, the next turn comes
/// a millisecond later.
const DRAIN_TURNS_MAX: usize = 8192;
/// While candidates are new, a check goes out this often (RFC 8445 §14.2: not more often than 5 ms).
const CHECK_PACE: Duration = Duration::from_millis(5);
/// So long after the last new candidate.
const CHECK_HURRY: Duration = Duration::from_secs(3);
/// Frames waiting for a slow consumer. More would be latency; when full, frames are dropped until
/// the next key frame.
const VIDEO_EVENTS_MAX: usize = 64;

/// Packets of sound waiting for a slow consumer, 10 ms each. When full the newest is dropped.
const AUDIO_EVENTS_MAX: usize = 32;

/// One WebRTC endpoint. See the crate's front page for the rule it keeps.
pub struct Peer {
    pub(crate) side: Side,
    pub(crate) mode: PathMode,
    pub(crate) rtc: Rtc,
    pub(crate) negotiation: Negotiation,
    pub(crate) remote: RemoteCandidates,
    pub(crate) relays: Relays,
    pub(crate) video: Video,
    pub(crate) window: Window,
    pub(crate) audio: Audio,
    pub(crate) sound: Sound,
    pub(crate) events: VecDeque<Event>,
    channels: Channels,
    bitrate: BitrateRange,
    /// As str0m has it.
    estimate_bps: u64,
    congestion: Congestion,
    probing: Probing,
    pub(crate) repair: Repair,
    liveness: Liveness,
    rest: Rest,
    tail: Tail,
    early: Early,
    collector: Collector,
    selected: Option<Selected>,
    ice: IceState,
    connected: bool,
    closed: bool,
    engine_timeout: Option<Instant>,
    hurry_until: Option<Instant>,
    transmits: VecDeque<Transmit>,
    videos_queued: usize,
    audios_queued: usize,
    datagrams_ignored: u64,
}

/// A coded frame on its way out (host).
#[derive(Clone, Debug)]
pub struct OutgoingFrame {
    /// H.264 in Annex B; a key frame carries SPS and PPS.
    pub data: Arc<[u8]>,
    pub key: bool,
    /// Finer than [`Peer::chroma`] is refused.
    pub chroma: Chroma,
    /// When the pixels were captured: gives the RTP time.
    pub captured_at: Instant,
    /// The same moment on the wall clock, since the Unix epoch: abs-capture-time.
    pub captured_unix: Duration,
}

/// 10 ms of sound on their way out (host).
#[derive(Clone, Debug)]
pub struct OutgoingAudio {
    /// Opus, 48 kHz.
    pub data: Arc<[u8]>,
    /// When its first sample was played: gives the RTP time.
    pub captured_at: Instant,
    /// Before it was silence.
    pub begins: bool,
}

/// Where bytes leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// The UDP socket bound to this address.
    Udp(SocketAddr),
    /// A TCP or TLS connection to a relay, opened by the shell on request.
    Stream(StreamId),
}

/// Names a stream between core and shell; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// What the shell must do with a stream to a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamRequest {
    /// Connect, for `Tls` with a certificate check against `name`; then
    /// [`Peer::handle_stream_open`] or [`Peer::handle_stream_closed`].
    Open {
        id: StreamId,
        transport: RelayTransport,
        server: SocketAddr,
        name: String,
    },
    Close {
        id: StreamId,
    },
}

/// Bytes to send now. In a stream they are one framed TURN message.
#[derive(Debug)]
pub struct Transmit {
    pub via: Via,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// Why an offer or answer was refused. The peer goes on as if it had not come.
#[derive(Debug, thiserror::Error)]
pub enum NegotiationError {
    /// The text is not SDP, or asks for what we do not speak. The sender is at fault.
    #[error("the session description is refused: {0}")]
    Sdp(String),
    /// An answer without an offer, or to an offer that was replaced since. Ignore it.
    #[error("an answer to no offer of ours")]
    NoOffer,
    /// Hosts answer, viewers offer.
    #[error("this side does not make offers")]
    WrongSide,
    #[error("the peer is closed")]
    Closed,
}

/// Why something was not sent. The caller may drop it or try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Before `Connected` or `ChannelOpen`, or after `Closed`.
    #[error("not connected yet")]
    NotConnected,
    /// The channel's queue is full ([`Peer::QUEUE_BYTES_MAX`]). Nothing of the message was sent.
    #[error("the send queue is full")]
    Full,
    #[error("{len} bytes, more than a message may have")]
    TooLarge { len: usize },
    /// The other side did not agree to H.264 as we speak it.
    #[error("no video was negotiated")]
    NoVideo,
    /// The other side did not ask for sound, or does not any more.
    #[error("no sound was negotiated")]
    NoAudio,
}

impl Peer {
    /// Events kept for an owner that does not take them. When full the peer closes with `Backlog`;
    /// video frames are dropped long before.
    pub const EVENTS_MAX: usize = 1024;
    /// Bytes of messages kept per channel while SCTP has no room. When full: [`SendError::Full`];
    /// on the pointer channel the newest message replaces what waits, for it says it all.
    pub const QUEUE_BYTES_MAX: usize = 1024 * 1024;

    pub fn new(mut config: Config, now: Instant) -> Self {
        if config.path_mode == PathMode::Direct {
            config.relays.clear();
        }
        let mut peer = Self {
            side: config.side,
            mode: config.path_mode,
            rtc: engine::build(&config, now),
            negotiation: Negotiation::default(),
            remote: RemoteCandidates::new(config.path_mode),
            relays: Relays::new(&config, now),
            video: Video::new(config.bitrate.start_bps, now),
            window: Window::new(config.bitrate.start_bps, config.seed),
            audio: Audio::default(),
            sound: config.sound,
            events: VecDeque::new(),
            channels: Channels::default(),
            bitrate: config.bitrate,
            estimate_bps: config.bitrate.start_bps,
            congestion: Congestion::default(),
            probing: Probing::default(),
            repair: Repair::default(),
            liveness: Liveness::default(),
            rest: Rest::default(),
            tail: Tail::default(),
            early: Early::default(),
            collector: Collector::default(),
            selected: None,
            ice: IceState::New,
            connected: false,
            closed: false,
            engine_timeout: Some(now),
            hurry_until: None,
            transmits: VecDeque::new(),
            videos_queued: 0,
            audios_queued: 0,
            datagrams_ignored: 0,
        };
        if config.side == Side::Host {
            peer.tell_estimate(now);
        }
        peer.drain(now);
        peer.add_host_candidates(&config, now);
        peer
    }

    fn add_host_candidates(&mut self, config: &Config, now: Instant) {
        if self.mode == PathMode::Relay {
            return;
        }
        for &address in config.sockets.iter().take(Config::SOCKETS_MAX) {
            // Link-local and the like are no candidates.
            if let Ok(candidate) = str0m::Candidate::host(address, "udp") {
                self.add_local_candidate(candidate, now);
            }
        }
    }

    /// A datagram arrived at the socket bound to `local`.
    pub fn handle_datagram(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        match self.relays.handle_datagram(local, from, bytes, now) {
            Ok(Some(data)) => self.receive(data.peer, data.relayed, data.payload, now),
            Ok(None) => self.drain(now),
            Err(_) => self.receive(from, local, bytes, now),
        }
    }

    /// The stream to a relay is open, for TLS after its handshake; `local` is our end.
    pub fn handle_stream_open(&mut self, id: StreamId, local: SocketAddr, now: Instant) {
        self.relays.handle_stream_open(id, local, now);
        self.drain(now);
    }

    /// Bytes came over a stream, cut anyhow.
    pub fn handle_stream_bytes(&mut self, id: StreamId, bytes: &[u8], now: Instant) {
        for (relayed, peer, payload) in self.relays.handle_stream_bytes(id, bytes, now) {
            self.receive(peer, relayed, &payload, now);
        }
        self.drain(now);
    }

    /// The stream could not be opened, or ended. `problem` is one sentence for people.
    pub fn handle_stream_closed(&mut self, id: StreamId, problem: &str, now: Instant) {
        self.relays.handle_stream_closed(id, problem.to_owned());
        self.drain(now);
    }

    /// Gives the engine a packet that came to `to`, a socket's address or a relayed one.
    fn receive(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], now: Instant) {
        match self.rest.handle_datagram(from, to, bytes, now) {
            Reception::NextTurn => self.engine_timeout = Some(now),
            Reception::Now => self.receive_now(from, to, bytes, now),
        }
    }

    fn receive_now(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], now: Instant) {
        if self.closed {
            return;
        }
        if self.window.handle_answer(bytes, now) {
            return self.send_video_packets(now);
        }
        let Ok(receive) = Receive::new(Protocol::Udp, from, to, bytes) else {
            self.datagrams_ignored += 1;
            return;
        };
        let input = Input::Receive(now, receive);
        // Nobody but the other side may touch DTLS or SRTP; STUN proves itself.
        if !self.rtc.accepts(&input) {
            let kept = self.is_checking() && self.early.handle_refused(from, to, bytes);
            self.datagrams_ignored += u64::from(!kept);
            return self.drain(now);
        }
        if self.rtc.handle_input(input).is_err() {
            self.datagrams_ignored += 1;
            return self.drain(now);
        }
        // Another path may live on while the one in use is dead.
        let way = Selected {
            source: to,
            destination: from,
        };
        let in_use = self.selected.is_none_or(|selected| selected == way);
        if in_use && self.liveness.handle_heard(bytes, now) == Some(Change::SpokeAgain) {
            self.tell_ice(IceState::Connected);
        }
        self.drain(now);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come, or passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let in_use = self.selected.map(|selected| selected.source);
        self.relays.handle_timeout(in_use, now);
        if !self.closed {
            self.handle_engine_timeout(now);
        }
        self.drain(now);
    }

    fn handle_engine_timeout(&mut self, now: Instant) {
        if self.liveness.handle_timeout(now) == Some(Change::FellSilent) {
            // Perhaps it is the relay that died.
            self.relays.handle_silence(now);
            self.tell_ice(IceState::Disconnected);
        }
        if self.video.poll_timeout().is_some_and(|at| at <= now) {
            self.video.request_key(&mut self.rtc, now);
            self.drain(now);
        }
        self.repeat_tail(now);
        if self.rest.handle_turn(now) {
            engine::set_desired(&mut self.rtc, 0);
            self.drain(now);
        }
        for report in self.rest.take_reports() {
            self.receive_now(report.from, report.to, &report.bytes, now);
        }
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            self.end(CloseReason::Engine(error.to_string()), now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let relays = self.relays.poll_timeout();
        if self.closed {
            return relays;
        }
        [
            relays,
            self.rest.poll_timeout(self.engine_timeout),
            self.liveness.poll_timeout(),
            self.video.poll_timeout(),
            self.tail.poll_timeout(),
            self.window.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What must be sent, in this order.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What must happen to a stream; the simulated and the real shell do it.
    pub fn poll_stream_request(&mut self) -> Option<StreamRequest> {
        self.relays.poll_stream_request()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        match event {
            Some(Event::Video(_)) => self.videos_queued -= 1,
            Some(Event::Audio(_)) => self.audios_queued -= 1,
            _ => {}
        }
        event
    }

    /// [`poll_event`](Self::poll_event) has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Packetises, paces and sends a frame (host). The first packets are ready for
    /// [`poll_transmit`](Self::poll_transmit) when this returns.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the frame is dropped; the next one should be a key frame.
    pub fn send_video(&mut self, frame: OutgoingFrame, now: Instant) -> Result<(), SendError> {
        if self.closed || !self.connected {
            return Err(SendError::NotConnected);
        }
        self.video.handle_round_trip(self.liveness.round_trip());
        self.window
            .handle_round_trip(self.liveness.usual_round_trip());
        if self.rest.handle_frame(frame.data.len(), now) {
            self.probe(now);
        }
        let sent = self.video.send(&mut self.rtc, frame);
        // A frame is packetised by a turn of str0m, not by the write.
        self.drain(now);
        sent
    }

    /// The finest chroma the viewer takes (host).
    pub fn chroma(&mut self) -> Chroma {
        self.video.chroma(&mut self.rtc)
    }

    /// Sends 10 ms of sound, before any video that waits in the pacer (host).
    ///
    /// # Errors
    ///
    /// [`SendError`]: the packet is dropped.
    pub fn send_audio(&mut self, packet: OutgoingAudio, now: Instant) -> Result<(), SendError> {
        if self.closed || !self.connected {
            return Err(SendError::NotConnected);
        }
        let sent = self.audio.send(&mut self.rtc, packet);
        self.drain(now);
        sent
    }

    /// Sends one message, before any video that waits in the pacer.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_message(
        &mut self,
        channel: Channel,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::NotConnected);
        }
        self.channels.push(channel, bytes)?;
        // A pointer that moved moves again.
        if channel != Channel::Pointer {
            self.tail.keep(true);
        }
        self.drain(now);
        Ok(())
    }

    /// Asks the host for a key frame; repeated by itself until one arrives (viewer).
    pub fn request_key_frame(&mut self, now: Instant) {
        if self.side == Side::Viewer && !self.closed && !self.video.is_waiting_for_key() {
            self.video.request_key(&mut self.rtc, now);
            self.drain(now);
        }
    }

    /// New bounds for the bandwidth estimate (host).
    pub fn set_bitrate(&mut self, range: BitrateRange, now: Instant) {
        self.bitrate = range;
        if self.side == Side::Host && !self.closed {
            self.tell_estimate(now);
            self.drain(now);
        }
    }

    /// New relays or new credentials for the same ones (matched by address and transport).
    /// Allocations on servers that are no longer listed are kept until another path is in use.
    pub fn set_relays(&mut self, relays: &[RelayServer], now: Instant) {
        if self.mode == PathMode::Direct || self.closed {
            return;
        }
        self.relays.set_servers(relays, now);
        self.drain(now);
    }

    /// Says good-bye to the other side and to the relays.
    pub fn close(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        // Fails when there is nobody to say good-bye to.
        let _ = self.rtc.close();
        self.drain(now);
        self.end(CloseReason::Local, now);
        self.drain(now);
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Closed, and the relays have been told: nothing will be sent any more.
    pub fn is_finished(&self) -> bool {
        self.closed && self.relays.is_gone() && self.transmits.is_empty()
    }

    /// Nothing follows this event.
    pub(crate) fn end(&mut self, reason: CloseReason, now: Instant) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.engine_timeout = None;
        self.relays.release(now);
        self.events.push_back(Event::Closed(reason));
    }

    /// Candidates are new: check them at the pace RFC 8445 allows, not at str0m's 50 ms.
    pub(crate) fn hurry_checks(&mut self, now: Instant) {
        self.hurry_until = Some(now + CHECK_HURRY);
    }

    /// The rule of this crate: after any mutation, until str0m wants to wait.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.drain_engine(now);
        self.send_video_packets(now);
        self.drain_relays(now);
        self.tail.keep(!self.channels.are_open());
        if !self.is_checking() {
            for early in self.early.take() {
                self.receive_now(early.from, early.to, &early.bytes, now);
            }
        }
        if self.events.len() > Self::EVENTS_MAX {
            self.end(CloseReason::Backlog, now);
        }
    }

    fn drain_engine(&mut self, now: Instant) {
        for _ in 0..DRAIN_TURNS_MAX {
            if self.closed {
                return;
            }
            let Some(timeout) = self.drain_outputs(now) else {
                return;
            };
            if self.channels.flush_one(&mut self.rtc) {
                continue;
            }
            if timeout > now {
                self.engine_timeout = Some(self.in_a_hurry(timeout, now));
                return;
            }
            if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
                return self.end(CloseReason::Engine(error.to_string()), now);
            }
        }
        self.engine_timeout = Some(now + Duration::from_millis(1));
    }

    fn is_checking(&self) -> bool {
        matches!(self.ice, IceState::New | IceState::Checking)
    }

    fn in_a_hurry(&self, timeout: Instant, now: Instant) -> Instant {
        if self.is_checking() && self.hurry_until.is_some_and(|until| now < until) {
            return timeout.min(now + CHECK_PACE);
        }
        timeout
    }

    /// Until str0m says when it wants to be called; `None` if it died.
    fn drain_outputs(&mut self, now: Instant) -> Option<Instant> {
        while !self.closed {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(timeout)) => return Some(timeout),
                Ok(Output::Transmit(transmit)) => self.transmit(transmit, now),
                Ok(Output::Event(event)) => self.handle_engine_event(event, now),
                Err(error) => self.end(CloseReason::Engine(error.to_string()), now),
            }
        }
        None
    }

    fn drain_relays(&mut self, now: Instant) {
        while let Some(event) = self.relays.poll_event(now) {
            self.handle_relay_event(event, now);
        }
        self.collect_relay_transmits();
    }

    fn handle_relay_event(&mut self, event: RelayEvent, now: Instant) {
        match event {
            RelayEvent::Allocated {
                relayed,
                base,
                reflexive,
            } => {
                if let Ok(candidate) = str0m::Candidate::relayed(relayed, base, "udp") {
                    self.add_local_candidate(candidate, now);
                }
                if self.mode != PathMode::Relay
                    && let Some(reflexive) = reflexive
                    && let Ok(c) = str0m::Candidate::server_reflexive(reflexive, base, "udp")
                {
                    self.add_local_candidate(c, now);
                }
            }
            RelayEvent::Withdrawn { relayed } => self.withdraw(relayed, now),
            RelayEvent::Failed {
                server,
                code,
                problem,
            } => self.events.push_back(Event::RelayFailed {
                server: server.server,
                transport: server.transport,
                region: server.region,
                code,
                problem,
            }),
        }
        self.tell_end_of_candidates();
    }

    /// ICE forgets the relayed candidate; packets keep the path until another is nominated.
    fn withdraw(&mut self, relayed: SocketAddr, now: Instant) {
        // The local address is not compared, so any will do.
        if let Ok(candidate) = str0m::Candidate::relayed(relayed, relayed, "udp") {
            self.rtc.direct_api().invalidate_candidate(&candidate);
            self.hurry_checks(now);
            self.drain_engine(now);
        }
    }

    fn handle_engine_event(&mut self, event: str0m::Event, now: Instant) {
        use str0m::Event as Engine;
        match event {
            Engine::Connected => self.handle_connected(now),
            Engine::IceConnectionStateChange(state) => self.handle_ice_state(state),
            Engine::MediaAdded(media) => match media.kind {
                MediaKind::Video => self.video.handle_media(media.mid),
                MediaKind::Audio => self.handle_audio_line(media.mid, media.direction),
            },
            Engine::MediaChanged(media) if self.audio.is(media.mid) => {
                self.handle_audio_line(media.mid, media.direction);
            }
            Engine::MediaData(data) if self.audio.is(data.mid) => self.handle_sound(data),
            Engine::MediaData(data) => self.handle_media(data, now),
            Engine::ChannelOpen(id, label) => {
                let opened = self.channels.handle_open(id, &label);
                self.events.extend(opened.map(Event::ChannelOpen));
                if self.channels.are_too_many() {
                    self.end(CloseReason::TooManyChannels, now);
                }
            }
            Engine::ChannelData(data) => self.handle_message(data, now),
            Engine::ChannelClose(id) => self.channels.handle_close(id),
            Engine::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.estimate_bps = estimate.as_u64();
                self.tell_estimate(now);
            }
            Engine::RawPacket(packet) => self.handle_raw_packet(&packet, now),
            Engine::KeyframeRequest(_) => self.events.push_back(Event::KeyFrameWanted),
            Engine::PeerStats(stats) => self.tell_stats(&stats),
            Engine::MediaEgressStats(stats) if !self.audio.is(stats.mid) => {
                self.collector.handle_egress(&stats);
            }
            Engine::MediaIngressStats(stats) if !self.audio.is(stats.mid) => {
                self.collector.handle_ingress(&stats);
            }
            Engine::Closed => self.end(CloseReason::Remote, now),
            _ => {}
        }
    }

    fn handle_connected(&mut self, now: Instant) {
        self.connected = true;
        // DTLS has sent by now, so the path is known.
        if let Some(path) = self.path() {
            self.events.push_back(Event::Connected(path));
        }
        match self.side {
            Side::Host => self.events.push_back(Event::KeyFrameWanted),
            // The host starts with one; if that one is lost, nothing else would ask again.
            Side::Viewer => self.video.expect_key(now),
        }
    }

    fn handle_ice_state(&mut self, state: IceConnectionState) {
        let state = match state {
            IceConnectionState::New => IceState::New,
            IceConnectionState::Checking => IceState::Checking,
            IceConnectionState::Connected | IceConnectionState::Completed => IceState::Connected,
            IceConnectionState::Disconnected => IceState::Disconnected,
        };
        let silent = state == IceState::Connected && self.liveness.is_silent();
        if !silent {
            self.tell_ice(state);
        }
    }

    fn tell_ice(&mut self, state: IceState) {
        if self.ice != state {
            self.ice = state;
            self.events.push_back(Event::IceState(state));
        }
    }

    fn handle_media(&mut self, data: MediaData, now: Instant) {
        let frame = self.video.receive(data);
        let room = self.videos_queued < VIDEO_EVENTS_MAX;
        let useful = frame.key || (frame.contiguous && room);
        if !useful && !self.video.is_waiting_for_key() {
            self.video.request_key(&mut self.rtc, now);
        }
        if room {
            self.videos_queued += 1;
            self.events.push_back(Event::Video(frame));
        }
    }

    fn handle_audio_line(&mut self, mid: Mid, direction: Direction) {
        let before = self.audio.is_wanted();
        self.audio.handle_media(mid, direction);
        let wanted = self.audio.is_wanted();
        if wanted != before {
            self.events.push_back(Event::AudioWanted(wanted));
        }
    }

    fn handle_sound(&mut self, data: MediaData) {
        let packet = self.audio.receive(data);
        if self.audios_queued < AUDIO_EVENTS_MAX {
            self.audios_queued += 1;
            self.events.push_back(Event::Audio(packet));
        }
    }

    fn handle_message(&mut self, data: str0m::channel::ChannelData, now: Instant) {
        let Some(channel) = self.channels.of_id(data.id) else {
            return;
        };
        let (len, bytes) = (data.data.len(), data.data);
        if len > MESSAGE_LEN_MAX {
            return self.end(CloseReason::MessageTooLarge { len }, now);
        }
        self.events.push_back(Event::Message { channel, bytes });
    }

    fn tell_stats(&mut self, peer: &str0m::stats::PeerStats) {
        let round_trip = self.liveness.round_trip();
        self.video.handle_round_trip(round_trip);
        let mut stats = self.collector.handle_peer(peer, round_trip);
        stats.path = self.path();
        stats.mdns_ignored = self.remote.mdns_ignored;
        stats.datagrams_ignored = self.datagrams_ignored;
        self.events.push_back(Event::Stats(stats));
    }
}

#[cfg(test)]
mod tests;
