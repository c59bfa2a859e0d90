//! One WebSocket: bounds on size, rate, silence and slowness, the same for both kinds of client.
//!
//! Whatever breaks a bound closes this socket and no other, and is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use protocol::signal::{MESSAGE_LEN_MAX, PING_INTERVAL_SECS};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use super::service::close_code;
use crate::rate::Rate;

/// A client that has connected must say who it is within this.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// A client is gone when three of its pings are missing.
const SILENCE_MAX: Duration = Duration::from_secs(3 * PING_INTERVAL_SECS);
/// A client that does not take what was sent to it for so long is gone.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Messages that are not understood before the socket is closed: a newer client may send a few.
const MALFORMED_MAX: u32 = 8;

/// Something for a socket's task to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    Text(String),
    /// With a code of RFC 6455 §7.4.
    Close(u16),
}

/// Sockets closed, by reason; for metrics.
#[derive(Debug, Default)]
pub struct SocketCounters {
    pub malformed: AtomicU64,
    pub too_large: AtomicU64,
    pub too_fast: AtomicU64,
    pub silent: AtomicU64,
}

/// What a socket's task does next.
pub(super) enum Received {
    Text(String),
    TooLarge,
    TooFast,
    /// Text that is none, or a frame of another kind.
    Malformed,
    /// The socket is closed, or must be.
    Gone,
}

/// A WebSocket within its bounds.
pub(super) struct Socket {
    websocket: WebSocket,
    rate: Rate,
    malformed: u32,
    spoke: bool,
    /// Held as long as the socket lasts.
    _place: OwnedSemaphorePermit,
}

impl Socket {
    pub(super) fn new(websocket: WebSocket, place: OwnedSemaphorePermit) -> Self {
        Self {
            websocket,
            rate: Rate::new(Instant::now()),
            malformed: 0,
            spoke: false,
            _place: place,
        }
    }

    /// Sends what is due until something arrives.
    pub(super) async fn receive(
        &mut self,
        outbox: &mut mpsc::Receiver<Outgoing>,
        counters: &SocketCounters,
    ) -> Received {
        let mut silent_at = tokio::time::Instant::now() + self.silence_max();
        loop {
            tokio::select! {
                outgoing = outbox.recv() => match outgoing {
                    Some(Outgoing::Text(text)) => {
                        if !self.send(Message::text(text)).await {
                            return Received::Gone;
                        }
                    }
                    Some(Outgoing::Close(code)) => {
                        self.close(code).await;
                        return Received::Gone;
                    }
                    None => {
                        self.close(close_code::POLICY).await;
                        return Received::Gone;
                    }
                },
                message = self.websocket.recv() => match message {
                    // Pongs are automatic; any frame is a sign of life.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                        if !self.rate.allows(Instant::now()) {
                            return self.too_fast(counters);
                        }
                        silent_at = tokio::time::Instant::now() + self.silence_max();
                    }
                    Some(Ok(message)) => return self.judge(message, counters),
                    Some(Err(error)) => return broken(error, counters),
                    None => return Received::Gone,
                },
                () = tokio::time::sleep_until(silent_at) => {
                    counters.silent.fetch_add(1, Ordering::Relaxed);
                    self.close(close_code::POLICY).await;
                    return Received::Gone;
                }
            }
        }
    }

    /// Notes a message that was not understood; `false` when it was the last one tolerated.
    pub(super) fn tolerates(&mut self, counters: &SocketCounters) -> bool {
        counters.malformed.fetch_add(1, Ordering::Relaxed);
        self.malformed += 1;
        self.spoke && self.malformed < MALFORMED_MAX
    }

    /// The first message was understood: the socket is no longer a stranger's.
    pub(super) fn note_understood(&mut self) {
        self.spoke = true;
    }

    /// Sends a message from the socket's own task; `false` if the socket is gone.
    pub(super) async fn say(&mut self, message: &impl serde::Serialize) -> bool {
        match serde_json::to_string(message) {
            Ok(text) => self.send(Message::text(text)).await,
            Err(_) => false,
        }
    }

    pub(super) async fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        self.send(Message::Close(Some(frame))).await;
    }

    async fn send(&mut self, message: Message) -> bool {
        matches!(
            timeout(SEND_WITHIN, self.websocket.send(message)).await,
            Ok(Ok(()))
        )
    }

    fn judge(&mut self, message: Message, counters: &SocketCounters) -> Received {
        if !self.rate.allows(Instant::now()) {
            return self.too_fast(counters);
        }
        match message {
            Message::Text(text) if text.len() > MESSAGE_LEN_MAX => {
                counters.too_large.fetch_add(1, Ordering::Relaxed);
                Received::TooLarge
            }
            Message::Text(text) => Received::Text(text.as_str().to_owned()),
            Message::Binary(_) => Received::Malformed,
            Message::Close(_) => Received::Gone,
            Message::Ping(_) | Message::Pong(_) => Received::Malformed,
        }
    }

    fn too_fast(&self, counters: &SocketCounters) -> Received {
        counters.too_fast.fetch_add(1, Ordering::Relaxed);
        Received::TooFast
    }

    fn silence_max(&self) -> Duration {
        if self.spoke {
            SILENCE_MAX
        } else {
            FIRST_MESSAGE_WITHIN
        }
    }
}

/// The WebSocket layer gave up: counted by what the other side did, if it did something.
fn broken(error: axum::Error, counters: &SocketCounters) -> Received {
    let counter = match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => &counters.too_large,
        // A connection that just ends is no fault of anybody's.
        Some(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
            return Received::Gone;
        }
        Some(Error::Protocol(_) | Error::Utf8(_)) => &counters.malformed,
        _ => return Received::Gone,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    Received::Gone
}
