//! What a [`Peer`](crate::Peer) tells its owner.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::control::{CONTROL_CHANNEL, FromViewer, INPUT_CHANNEL, POINTER_CHANNEL};
use protocol::signal::Candidate;

use crate::config::RelayTransport;

/// Taken with [`Peer::poll_event`](crate::Peer::poll_event), in the order things happened.
#[derive(Debug)]
pub enum Event {
    /// Send it to the other side over signalling. The candidate with the empty string is the end.
    Candidate(Candidate),
    /// ICE changed its mind about the connection.
    IceState(IceState),
    /// ICE and DTLS are done for the first time: video may be sent from now on.
    Connected(Path),
    /// The packets take another path now (a better pair, or an ICE restart).
    PathChanged(Path),
    /// A data channel can be written to.
    ChannelOpen(Channel),
    /// A whole message arrived, at most [`MESSAGE_LEN_MAX`](protocol::control::MESSAGE_LEN_MAX).
    Message { channel: Channel, bytes: Vec<u8> },
    /// A frame arrived, complete and in decoding order (viewer).
    Video(VideoFrame),
    /// 10 ms of sound arrived, in order (viewer).
    Audio(AudioPacket),
    /// The viewer listens, or does not any more (host).
    AudioWanted(bool),
    /// The viewer needs a key frame (host). Comes again while it is not served: coalesce.
    KeyFrameWanted,
    /// What may be sent from now on, in bits per second, inside the bounds of the configuration.
    EgressEstimate { bitrate_bps: u64 },
    /// Once a second.
    Stats(Stats),
    /// A relay gave no allocation, or took it back. `problem` is one sentence for people.
    RelayFailed {
        server: SocketAddr,
        transport: RelayTransport,
        region: String,
        /// The STUN error code, 0 if there was no answer.
        code: u16,
        problem: String,
    },
    /// Nothing will follow. Comes exactly once.
    Closed(CloseReason),
}

/// State of ICE. `Disconnected` may heal by itself; after some seconds restart ICE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceState {
    New,
    Checking,
    Connected,
    Disconnected,
}

/// A frame as the decoder wants it.
#[derive(Clone)]
pub struct VideoFrame {
    /// H.264 in Annex B, the parameter sets in front of each key frame.
    pub data: Arc<[u8]>,
    pub key: bool,
    /// False if packets before this frame are missing: ask for a key frame.
    pub contiguous: bool,
    /// RTP time in units of 1/90,000 s, extended to 64 bits.
    pub rtp_time: u64,
    /// When the host captured it, on the host's clock since the Unix epoch.
    pub captured_unix: Option<Duration>,
    /// When its first packet arrived here.
    pub received_at: Instant,
}

impl std::fmt::Debug for VideoFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VideoFrame")
            .field("len", &self.data.len())
            .field("key", &self.key)
            .field("contiguous", &self.contiguous)
            .field("rtp_time", &self.rtp_time)
            .finish_non_exhaustive()
    }
}

/// 10 ms of sound as the decoder wants it.
#[derive(Clone)]
pub struct AudioPacket {
    /// Opus, 48 kHz.
    pub data: Arc<[u8]>,
    /// RTP time in units of 1/48,000 s, extended to 64 bits. It jumps where there was silence.
    pub rtp_time: u64,
    /// Packets missing right before this one.
    pub missing: u64,
    /// Packets missing since the start.
    pub lost: u64,
    pub received_at: Instant,
}

impl std::fmt::Debug for AudioPacket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AudioPacket")
            .field("len", &self.data.len())
            .field("rtp_time", &self.rtp_time)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// The three data channels; what goes over each is written in [`protocol::control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Ordered, reliable: keys, buttons, wheel, text.
    Input,
    /// Unordered, never resent: pointer motion.
    Pointer,
    /// Ordered, reliable: everything else.
    Control,
}

impl Channel {
    pub const ALL: [Self; 3] = [Self::Input, Self::Pointer, Self::Control];

    /// Each kind of message has its channel; on another one it breaks the order it relies on.
    pub fn of(message: &FromViewer) -> Self {
        match message {
            FromViewer::Key { .. }
            | FromViewer::Button { .. }
            | FromViewer::Wheel { .. }
            | FromViewer::Text(_)
            | FromViewer::ReleaseAll => Self::Input,
            FromViewer::PointerMove { .. } | FromViewer::PointerRelative { .. } => Self::Pointer,
            FromViewer::Resize { .. }
            | FromViewer::ClipboardText(_)
            | FromViewer::ClipboardImage { .. }
            | FromViewer::Quality(_)
            | FromViewer::Ping { .. } => Self::Control,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Input => INPUT_CHANNEL,
            Self::Pointer => POINTER_CHANNEL,
            Self::Control => CONTROL_CHANNEL,
        }
    }

    /// `None` for a label that is not ours; such a channel is ignored.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.label() == label)
    }
}

/// The pair of addresses the packets take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub local: PathEnd,
    pub remote: PathEnd,
    /// How our own relay is reached, and where it is, if the path goes through it.
    pub relay: Option<(RelayTransport, String)>,
}

impl Path {
    /// The packets go through a relay, ours or theirs.
    pub fn is_relayed(&self) -> bool {
        self.local.kind == PathKind::Relayed || self.remote.kind == PathKind::Relayed
    }
}

/// One end of a [`Path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathEnd {
    pub kind: PathKind,
    pub address: SocketAddr,
}

/// Candidate types of RFC 8445 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathKind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relayed,
}

/// Figures of the last second unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Round trip of the last ICE check or RTCP report on the selected path.
    pub round_trip: Option<Duration>,
    /// Fraction of packets we sent that were lost, 0.0–1.0.
    pub egress_loss: Option<f32>,
    /// Fraction of packets sent to us that were lost, 0.0–1.0.
    pub ingress_loss: Option<f32>,
    /// Wire bits per second sent and received.
    pub egress_bps: u64,
    pub ingress_bps: u64,
    /// Bytes since the start.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// What the bandwidth estimate is, before it is cut to our bounds (host).
    pub estimate_bps: Option<u64>,
    /// Since the start: packets asked for again, and key frames asked for.
    pub nacks: u64,
    pub plis: u64,
    pub path: Option<Path>,
    /// Remote candidates with an mDNS name, ignored since the start.
    pub mdns_ignored: u64,
    /// Datagrams from strangers or that made no sense, since the start.
    pub datagrams_ignored: u64,
}

/// Why a peer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// [`Peer::close`](crate::Peer::close) was called.
    Local,
    /// The other side closed DTLS or the data channels.
    Remote,
    /// The other side sent a message over the limit.
    MessageTooLarge { len: usize },
    /// The other side opened many channels besides the three.
    TooManyChannels,
    /// The owner did not take events; see [`Peer::EVENTS_MAX`](crate::Peer::EVENTS_MAX).
    Backlog,
    /// The engine gave up: fingerprint mismatch, broken DTLS, or a bug.
    Engine(String),
}
