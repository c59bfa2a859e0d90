//! The shell: one [`Peer`](crate::Peer) on real sockets.
//!
//! A session has one OS thread that waits for packets and timers, and a [`Handle`] whose verbs run
//! on the caller's thread under the session's lock: `send_video` packetises, encrypts and hands the
//! packets to the kernel before it returns, so no thread has to wake up between the encoder and the
//! wire. The thread takes over for what the pacer held back. Events come out of a bounded queue,
//! from the thread only.

use std::net::IpAddr;

use protocol::signal::{Candidate, IceServer, PathMode};

use crate::config::{BitrateRange, Side};
use crate::event::{Channel, Event};
use crate::peer::{NegotiationError, OutgoingFrame, SendError};

/// What a session needs; names in `ice_servers` are resolved here.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub side: Side,
    pub path_mode: PathMode,
    /// Local addresses to bind; empty means every address of every interface, loopback included.
    pub addresses: Vec<IpAddr>,
    pub ice_servers: Vec<IceServer>,
    pub bitrate: BitrateRange,
    /// For the name of the thread, at most 15 bytes.
    pub name: String,
}

/// Events waiting for their consumer; see [`Events`].
pub const EVENTS_QUEUED_MAX: usize = 256;

/// Controls a session. Clones share it; the last one dropped closes it.
#[derive(Clone, Debug)]
pub struct Handle {}

/// The events of a session, in order, from async code or from a thread.
///
/// When the consumer is slow: events wait in the queue ([`EVENTS_QUEUED_MAX`]), then in the core
/// ([`Peer::EVENTS_MAX`](crate::Peer::EVENTS_MAX)), whose rule says what happens then.
#[derive(Debug)]
pub struct Events(tokio::sync::mpsc::Receiver<Event>);

impl Events {
    /// `None` after `Closed` was taken. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The same from a thread; panics inside a runtime.
    pub fn blocking_recv(&mut self) -> Option<Event> {
        self.0.blocking_recv()
    }

    /// What is there now, if anything.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}

/// Binds the sockets and starts the session's thread.
///
/// # Errors
///
/// No address could be bound, or the system has no thread left.
pub fn start(config: SessionConfig) -> anyhow::Result<(Handle, Events)> {
    anyhow::bail!("no session for {}", config.name)
}

impl Handle {
    /// See [`Peer::create_offer`](crate::Peer::create_offer).
    ///
    /// # Errors
    ///
    /// [`NegotiationError`].
    pub fn create_offer(&self) -> Result<String, NegotiationError> {
        Err(NegotiationError::Closed)
    }

    /// See [`Peer::handle_offer`](crate::Peer::handle_offer).
    ///
    /// # Errors
    ///
    /// [`NegotiationError`].
    pub fn handle_offer(&self, sdp: &str) -> Result<String, NegotiationError> {
        let _ = sdp;
        Err(NegotiationError::Closed)
    }

    /// See [`Peer::handle_answer`](crate::Peer::handle_answer).
    ///
    /// # Errors
    ///
    /// [`NegotiationError`].
    pub fn handle_answer(&self, sdp: &str) -> Result<(), NegotiationError> {
        let _ = sdp;
        Err(NegotiationError::Closed)
    }

    pub fn handle_candidate(&self, candidate: &Candidate) {
        let _ = candidate;
    }

    /// Sends the frame; returns when its first burst is with the kernel (tens of µs).
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_video(&self, frame: OutgoingFrame) -> Result<(), SendError> {
        let _ = frame;
        Err(SendError::NotConnected)
    }

    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_message(&self, channel: Channel, bytes: &[u8]) -> Result<(), SendError> {
        let _ = (channel, bytes);
        Err(SendError::NotConnected)
    }

    pub fn request_key_frame(&self) {}

    pub fn set_bitrate(&self, range: BitrateRange) {
        let _ = range;
    }

    /// New relays or credentials, after a refresh or when a relay drains.
    pub fn set_ice_servers(&self, ice_servers: &[IceServer]) {
        let _ = ice_servers;
    }

    /// Says good-bye; `Closed` follows.
    pub fn close(&self) {}
}
