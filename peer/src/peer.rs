//! The endpoint as a machine: str0m and TURN clients behind one set of verbs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::signal::Candidate;

use crate::config::{BitrateRange, Config, RelayServer};
use crate::event::{Channel, Event};

/// One WebRTC endpoint. See the crate's front page for the rule it keeps.
pub struct Peer {
    config: Config,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
}

/// A coded frame on its way out (host).
#[derive(Clone, Debug)]
pub struct OutgoingFrame {
    /// H.264 in Annex B; a key frame carries SPS and PPS.
    pub data: Arc<[u8]>,
    pub key: bool,
    /// When the pixels were captured: gives the RTP time.
    pub captured_at: Instant,
    /// The same moment on the wall clock, since the Unix epoch: abs-capture-time.
    pub captured_unix: Duration,
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
}

impl Peer {
    /// Events kept for an owner that does not take them. When full: video frames are dropped and
    /// a key frame is asked for; if that does not help the peer closes with `Backlog`.
    pub const EVENTS_MAX: usize = 1024;
    /// Bytes of messages kept per channel while SCTP has no room. When full: [`SendError::Full`];
    /// on the pointer channel the oldest message makes room, for the newest says it all.
    pub const QUEUE_BYTES_MAX: usize = 1024 * 1024;

    pub fn new(config: Config, now: Instant) -> Self {
        let _ = now;
        Self {
            config,
            events: VecDeque::new(),
            transmits: VecDeque::new(),
        }
    }

    /// The first offer, or an ICE restart once the session stands; both as SDP (viewer).
    ///
    /// # Errors
    ///
    /// [`NegotiationError::WrongSide`] on a host.
    pub fn create_offer(&mut self, now: Instant) -> Result<String, NegotiationError> {
        let _ = now;
        Err(NegotiationError::Closed)
    }

    /// An offer came; the result is the answer. A later offer restarts ICE if it says so; media
    /// goes on over the old path until the new one is found (host).
    ///
    /// # Errors
    ///
    /// [`NegotiationError`]; the session goes on as it was.
    pub fn handle_offer(&mut self, sdp: &str, now: Instant) -> Result<String, NegotiationError> {
        let _ = (sdp, now);
        Err(NegotiationError::Closed)
    }

    /// The answer to the last offer came (viewer).
    ///
    /// # Errors
    ///
    /// [`NegotiationError`]; the session goes on as it was.
    pub fn handle_answer(&mut self, sdp: &str, now: Instant) -> Result<(), NegotiationError> {
        let _ = (sdp, now);
        Err(NegotiationError::NoOffer)
    }

    /// A candidate of the other side came; one that makes no sense is counted and ignored. May
    /// come before the description it belongs to.
    pub fn handle_candidate(&mut self, candidate: &Candidate, now: Instant) {
        let _ = (candidate, now);
    }

    /// A datagram arrived at the socket bound to `local`.
    pub fn handle_datagram(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        let _ = (local, from, bytes, now);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come, or passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// What must be sent, in this order.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Packetises, paces and sends a frame (host). The first packets are ready for
    /// [`poll_transmit`](Self::poll_transmit) when this returns.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the frame is dropped; the next one should be a key frame.
    pub fn send_video(&mut self, frame: OutgoingFrame, now: Instant) -> Result<(), SendError> {
        let _ = (frame, now);
        Err(SendError::NotConnected)
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
        let _ = (channel, bytes, now);
        Err(SendError::NotConnected)
    }

    /// Asks the host for a key frame; repeated by itself until one arrives (viewer).
    pub fn request_key_frame(&mut self, now: Instant) {
        let _ = now;
    }

    /// New bounds for the bandwidth estimate.
    pub fn set_bitrate(&mut self, range: BitrateRange, now: Instant) {
        let _ = now;
        self.config.bitrate = range;
    }

    /// New relays or new credentials for the same ones (matched by address and transport).
    /// Allocations on servers that are no longer listed are kept until another path is in use.
    pub fn set_relays(&mut self, relays: Vec<RelayServer>, now: Instant) {
        let _ = now;
        self.config.relays = relays;
    }

    /// Says good-bye to the other side and to the relays.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
    }
}
