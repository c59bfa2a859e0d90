//! Signalling messages: JSON text frames over one WebSocket per viewer and one per agent host.
//!
//! ```text
//!  viewer                     signalling                     agent host
//!    │                            │ ◀── Register{credential} ─── │   once, and after every reconnect
//!    │ ── Open{ticket} ─────────▶ │ ── SessionOpened ──────────▶ │
//!    │ ◀──────────── Granted ──── │                              │
//!    │ ── Offer ────────────────▶ │ ── Offer{session} ─────────▶ │
//!    │ ◀───────────── Answer ──── │ ◀── Answer{session} ──────── │
//!    │ ◀─▶ Candidate ───────────▶ │ ◀─▶ Candidate{session} ────▶ │
//!    │ ── Refresh{handle} ──────▶ │ ── SessionRenewed ─────────▶ │   before the token expires
//! ```
//!
//! The viewer always offers, the agent host always answers; an ICE restart is another offer. The
//! first message on a socket authenticates it; nothing secret stands in the URL. When a socket is
//! lost, media goes on; the viewer comes back with `Resume`, the agent host with `Register` that
//! lists the sessions it still serves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::id::{InstanceId, SessionId};
use crate::problem::Problem;

/// Version of this protocol. A peer of another version is refused with `PROTOCOL_VERSION`.
pub const VERSION: u32 = 1;

/// Largest signalling message, in bytes. A Chromium offer with everything on is about 12 KB.
pub const MESSAGE_LEN_MAX: usize = 64 * 1024;

/// Most candidates one side may send per ICE generation; more are dropped and counted.
pub const CANDIDATES_MAX: usize = 64;

/// Seconds between `Ping`s of a client; the service closes a socket silent for three of them.
pub const PING_INTERVAL_SECS: u64 = 10;

/// Where a viewer connects, below the service's URL.
pub const VIEWER_PATH: &str = "/api/v1/signal";
/// Where an agent host connects, below the service's URL.
pub const AGENT_PATH: &str = "/api/v1/agent";

/// Which paths a session may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathMode {
    /// Direct if the network allows it, the relay otherwise.
    #[default]
    Auto,
    /// Never the relay.
    Direct,
    /// Only the relay (`iceTransportPolicy: "relay"`).
    Relay,
}

/// What a viewer may do on the desktop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees the picture and controls the desktop.
    #[default]
    Control,
    /// Sees the picture; its input never reaches the X server.
    View,
}

/// What the session is allowed to do; enforced by the agent host, shown by the viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub role: Role,
    /// The viewer's clipboard may reach the desktop.
    pub clipboard_to_host: bool,
    /// The desktop's clipboard may reach the viewer.
    pub clipboard_to_viewer: bool,
    /// The session ends after so many seconds without input; 0 means never.
    pub idle_timeout_secs: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            role: Role::Control,
            clipboard_to_host: true,
            clipboard_to_viewer: true,
            idle_timeout_secs: 0,
        }
    }
}

/// A STUN or TURN server in the shape of WebRTC's `RTCIceServer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `turn:host:port?transport=udp`, `turn:…?transport=tcp`, `turns:…?transport=tcp`, `stun:…`.
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(default)]
    pub credential: Secret,
    /// Region of the relay, for words like "Using the relay in eu-west".
    pub region: String,
}

/// What a viewer is given when its session opens, and again at each refresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub session: SessionId,
    pub instance: InstanceId,
    /// Session token: an EdDSA JWT, shown at `Resume`.
    pub token: Secret,
    /// Seconds until the token expires, counted from when the grant was made.
    pub expires_in_secs: u64,
    /// Opaque, rotates at every refresh; a lost answer may be asked for again for 30 s.
    pub refresh_handle: Secret,
    pub ice_servers: Vec<IceServer>,
    pub path_mode: PathMode,
    pub policy: Policy,
    /// Region of the instance.
    pub region: String,
}

/// One ICE candidate as the browser spells it (`candidate:…` without `a=`); empty means the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub candidate: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

/// Viewer → signalling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromViewer {
    /// First message of a new session: spends the connect ticket.
    Open {
        version: u32,
        ticket: Secret,
        #[serde(default)]
        mode: PathMode,
        /// Milliseconds to each region the viewer has measured; the ticket's answer says where.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        round_trips_ms: BTreeMap<String, u32>,
    },
    /// First message on a new socket of a session that exists: shows the session token.
    Resume {
        version: u32,
        token: Secret,
    },
    Offer {
        sdp: String,
    },
    Candidate {
        candidate: Candidate,
    },
    /// Asks for a new token; media is not touched.
    Refresh {
        handle: Secret,
    },
    /// The viewer leaves; the session ends.
    Close,
    Ping,
}

/// Signalling → viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToViewer {
    Granted {
        grant: Grant,
    },
    /// The socket belongs to the session again.
    Resumed,
    Answer {
        sdp: String,
    },
    Candidate {
        candidate: Candidate,
    },
    /// The answer to `Refresh`: new token, new relay credentials, same session.
    Refreshed {
        grant: Grant,
    },
    /// Use these relays from now on and restart ICE, make before break.
    MoveRelay {
        ice_servers: Vec<IceServer>,
    },
    /// The agent host's socket came or went; media may go on without it.
    AgentOnline {
        online: bool,
    },
    /// The request before failed; the socket stays.
    Failed {
        problem: Problem,
    },
    /// The session is over; the socket closes.
    Closed {
        problem: Problem,
    },
    Pong,
}

/// One session as the agent host is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSession {
    pub session: SessionId,
    pub policy: Policy,
    pub path_mode: PathMode,
    /// Relays the agent host itself may use, with credentials of its own.
    pub ice_servers: Vec<IceServer>,
    /// Seconds until the session expires unless it is renewed.
    pub expires_in_secs: u64,
}

/// Agent host → signalling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromAgent {
    /// First message on the socket.
    Register {
        version: u32,
        instance: InstanceId,
        credential: Secret,
        /// Sessions this agent host still serves; those it should not are answered `SessionClosed`.
        sessions: Vec<SessionId>,
        /// The agent host has captured a frame of its display since it started.
        captured: bool,
    },
    Answer {
        session: SessionId,
        sdp: String,
    },
    Candidate {
        session: SessionId,
        candidate: Candidate,
    },
    /// The display is there (`true`, a frame was captured) or gone.
    Captured {
        captured: bool,
    },
    /// The session ended here: idle, failed, refused.
    Close {
        session: SessionId,
        problem: Problem,
    },
    Ping,
}

/// Signalling → agent host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    Registered,
    SessionOpened {
        session: AgentSession,
    },
    SessionRenewed {
        session: AgentSession,
    },
    SessionClosed {
        session: SessionId,
        problem: Problem,
    },
    Offer {
        session: SessionId,
        sdp: String,
    },
    Candidate {
        session: SessionId,
        candidate: Candidate,
    },
    Failed {
        problem: Problem,
    },
    Pong,
}
