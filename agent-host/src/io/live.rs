//! One viewer as the task knows it: its session, its peer, and whether it can be reached.
//!
//! Rule: who cannot be reached is sent nothing and holds no key; its session stays, so that it goes on
//! where it was when it is back (RFC 7675 §5.1: no consent, no traffic).

use std::time::Instant;

use peer::io::Handle;
use peer::{Channel, OutgoingAudio, OutgoingFrame};
use protocol::control::{Chroma, FromHost};
use protocol::signal::AgentSession;

use crate::io::screen::{CodedFrame, Delivery, Viewer};
use crate::io::sound::{CodedSound, Listener};
use crate::offer::Offerer;
use crate::session::Session;

pub(super) struct Live {
    pub(super) session: Session,
    /// As signalling told it last: what a fresh peer is made of.
    pub(super) told: AgentSession,
    pub(super) generation: u64,
    /// The viewer's peer; another one means the viewer started afresh.
    pub(super) offerer: Option<Offerer>,
    pub(super) peer: Handle,
    pub(super) presence: Presence,
    /// It asked for sound.
    pub(super) hears: bool,
    /// It is sent sound.
    pub(super) listening: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Its peer was never connected.
    Awaited,
    /// It is sent the picture.
    Here,
    /// Its peer was connected and fell silent.
    Away { since: Instant },
}

impl Live {
    pub(super) fn is_here(&self) -> bool {
        self.presence == Presence::Here
    }

    /// Since when it cannot be reached.
    pub(super) fn away_since(&self) -> Option<Instant> {
        match self.presence {
            Presence::Away { since } => Some(since),
            Presence::Awaited | Presence::Here => None,
        }
    }
}

/// Sends to one viewer, from the screen thread.
pub(super) struct PeerViewer(pub(super) Handle);

impl Viewer for PeerViewer {
    fn chroma(&self) -> Chroma {
        self.0.chroma()
    }

    fn send_video(&self, frame: &CodedFrame) -> Delivery {
        let outgoing = OutgoingFrame {
            data: frame.data.clone(),
            key: frame.key,
            chroma: frame.chroma,
            captured_at: frame.captured_at,
            captured_unix: frame.captured_unix,
        };
        match self.0.send_video(outgoing) {
            Ok(()) => Delivery::Sent,
            Err(error) => {
                tracing::debug!(%error, "a frame was not sent");
                Delivery::Dropped
            }
        }
    }

    fn send_control(&self, message: &FromHost) {
        // Not open yet: it is introduced when it opens. Full: the next statistics will do.
        let _ = self.0.send_message(Channel::Control, &message.encode());
    }
}

impl Listener for PeerViewer {
    fn send_sound(&self, sound: &CodedSound) {
        let outgoing = OutgoingAudio {
            data: sound.data.clone(),
            captured_at: sound.captured_at,
            begins: sound.begins,
        };
        if let Err(error) = self.0.send_audio(outgoing) {
            tracing::trace!(%error, "sound was not sent");
        }
    }
}
