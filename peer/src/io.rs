//! The shell: one [`Peer`] on real sockets.
//!
//! A session has one OS thread that waits for packets and timers, and a [`Handle`] whose verbs run
//! on the caller's thread under the session's lock: `send_video` packetises, encrypts and hands the
//! packets to the kernel before it returns, so no thread has to wake up between the encoder and the
//! wire. The thread takes over for what pacer and window held back. Events come out of a bounded queue,
//! from the thread only.

mod bucket;
mod resolve;
mod session;
mod socket;
mod stream;
#[expect(
    unsafe_code,
    reason = "system calls the standard library does not have"
)]
mod sys;
#[cfg(test)]
mod tests;
mod trust;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use protocol::control::Chroma;
use protocol::signal::{Candidate, IceServer, PathMode};

use crate::config::{BitrateRange, Side, Sound};
use crate::event::{Channel, Event, Path};
use crate::peer::{NegotiationError, OutgoingAudio, OutgoingFrame, Peer, SendError};
use session::Shared;

pub use trust::Trust;

/// What a session needs; names in `ice_servers` are resolved here.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub side: Side,
    pub path_mode: PathMode,
    /// Local addresses to bind; empty means every address of every interface, loopback included.
    pub addresses: Vec<IpAddr>,
    pub ice_servers: Vec<IceServer>,
    pub bitrate: BitrateRange,
    /// Whether to ask for sound (viewer).
    pub sound: Sound,
    /// Whose certificates relays may show.
    pub trust: Trust,
    /// For the name of the thread, at most 15 bytes.
    pub name: String,
}

/// Events waiting for their consumer; see [`Events`].
pub const EVENTS_QUEUED_MAX: usize = 256;

/// Controls a session. Clones share it; the last one dropped closes it.
#[derive(Clone)]
pub struct Handle(Arc<Owner>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Closes the session when the last handle goes.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.with(|peer, now| peer.close(now));
        self.0.wake();
    }
}

/// The events of a session, in order, from async code or from a thread.
///
/// When the consumer is slow: events wait in the queue ([`EVENTS_QUEUED_MAX`]), then in the core
/// ([`Peer::EVENTS_MAX`]), whose rule says what happens then.
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
    let (sender, receiver) = tokio::sync::mpsc::channel(EVENTS_QUEUED_MAX);
    let shared = session::start(config, sender)?;
    Ok((Handle(Arc::new(Owner(shared))), Events(receiver)))
}

impl Handle {
    /// See [`Peer::create_offer`].
    ///
    /// # Errors
    ///
    /// [`NegotiationError`].
    pub fn create_offer(&self) -> Result<String, NegotiationError> {
        self.with(|peer, now| peer.create_offer(now))
            .unwrap_or(Err(NegotiationError::Closed))
    }

    /// See [`Peer::handle_offer`].
    ///
    /// # Errors
    ///
    /// [`NegotiationError`].
    pub fn handle_offer(&self, sdp: &str) -> Result<String, NegotiationError> {
        self.with(|peer, now| peer.handle_offer(sdp, now))
            .unwrap_or(Err(NegotiationError::Closed))
    }

    /// See [`Peer::handle_answer`].
    ///
    /// # Errors
    ///
    /// [`NegotiationError`].
    pub fn handle_answer(&self, sdp: &str) -> Result<(), NegotiationError> {
        self.with(|peer, now| peer.handle_answer(sdp, now))
            .unwrap_or(Err(NegotiationError::Closed))
    }

    pub fn handle_candidate(&self, candidate: &Candidate) {
        self.with(|peer, now| peer.handle_candidate(candidate, now));
    }

    /// See [`Peer::chroma`].
    pub fn chroma(&self) -> Chroma {
        self.with(|peer, _| peer.chroma()).unwrap_or_default()
    }

    /// Sends the frame; returns when its first burst is with the kernel (tens of µs).
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_video(&self, frame: OutgoingFrame) -> Result<(), SendError> {
        self.with(|peer, now| peer.send_video(frame, now))
            .unwrap_or(Err(SendError::NotConnected))
    }

    /// Sends 10 ms of sound; returns when they are with the kernel.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_audio(&self, packet: OutgoingAudio) -> Result<(), SendError> {
        self.with(|peer, now| peer.send_audio(packet, now))
            .unwrap_or(Err(SendError::NotConnected))
    }

    /// # Errors
    ///
    /// [`SendError`].
    pub fn send_message(&self, channel: Channel, bytes: &[u8]) -> Result<(), SendError> {
        self.with(|peer, now| peer.send_message(channel, bytes, now))
            .unwrap_or(Err(SendError::NotConnected))
    }

    pub fn request_key_frame(&self) {
        self.with(Peer::request_key_frame);
    }

    pub fn set_bitrate(&self, range: BitrateRange) {
        self.with(|peer, now| peer.set_bitrate(range, now));
    }

    /// The path packets take now.
    pub fn path(&self) -> Option<Path> {
        self.with(|peer, _| peer.path()).flatten()
    }

    /// New relays or credentials, after a refresh or when a relay drains. Names are resolved on a
    /// thread of their own.
    pub fn set_ice_servers(&self, ice_servers: &[IceServer]) {
        session::set_ice_servers(&self.0.0, ice_servers.to_vec());
    }

    /// Says good-bye; `Closed` follows.
    pub fn close(&self) {
        self.with(|peer, now| peer.close(now));
    }

    fn with<R>(&self, verb: impl FnOnce(&mut Peer, Instant) -> R) -> Option<R> {
        self.0.0.with(verb)
    }
}

/// A seed for what need not be secret but must differ: the clock and a counter's address.
fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    (nanos as u64) ^ u64::from(rand::random::<u32>()).rotate_left(32)
}
