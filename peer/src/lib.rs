//! One WebRTC endpoint, shared by the agent host (answers, sends video and sound) and the viewer
//! (offers, receives them).
//!
//! [`Peer`] is the machine: str0m and the TURN clients behind one set of verbs. It owns no socket
//! and no clock, so two of them and a relay run in one thread with a virtual clock. [`io`] is the
//! shell that runs one `Peer` on real sockets.
//!
//! Invariant: str0m wants to be drained to its timeout after every mutation. Every public verb of
//! [`Peer`] does that before it returns, so no caller can forget. Nothing outside this crate names
//! str0m.

pub mod config;
pub mod event;
pub mod ice_url;
pub mod peer;
pub mod stream_queue;
pub mod turn_client;

mod audio;
mod candidates;
mod channels;
mod congestion;
mod dtls;
mod early;
mod engine;
mod negotiation;
mod path;
mod probing;
mod relays;
mod repair;
mod rest;
mod sdp;
mod shortest;
mod stats;
mod tail;
#[cfg(test)]
mod testing;
mod video;
mod window;

#[cfg(feature = "io")]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell owns the clock and the tasks"
)]
pub mod io;

pub use config::{BitrateRange, Certificate, Config, RelayServer, RelayTransport, Side, Sound};
pub use event::{
    AudioPacket, Channel, CloseReason, Event, IceState, Path, PathEnd, PathKind, Stats, VideoFrame,
};
pub use peer::{
    NegotiationError, OutgoingAudio, OutgoingFrame, Peer, SendError, StreamId, StreamRequest,
    Transmit, Via,
};
