//! One viewer's session as the desktop sees it: what this viewer may do, and for how long.
//!
//! Rule: nothing a viewer sends reaches the X server, the clipboard or the screen's size unless
//! [`Session::handle_message`] returned it as a [`Deed`]. Floods are dropped and counted; past a
//! bound the session ends with a reason.

use std::time::{Duration, Instant};

use peer::Channel;
use protocol::control::{FromViewer, ImageParts, Quality};
use protocol::problem::{Code, Problem};
use protocol::signal::{AgentSession, Policy, Role};

use crate::input::InputEvent;

/// Messages per second a viewer may send for long: a mouse of 1,000 Hz and all keys.
const MESSAGES_PER_SECOND: u32 = 2000;
/// Messages that may come at once after a stall of the network.
const MESSAGES_BURST: u32 = 1000;
/// Messages dropped as too many before the session ends.
const DROPPED_MAX: u32 = 10_000;
/// Messages that make no sense before the session ends: a correct viewer sends none.
const MALFORMED_MAX: u32 = 16;
/// Clipboards, resizes and qualities per second; more are dropped.
const HEAVY_PER_SECOND: u32 = 10;

/// Key frames a viewer may ask for: a few at a time on a bad network, for long one a second. More
/// would make the picture coarse for everybody; a viewer that still cannot decode asks again.
const KEY_FRAMES_PER_SECOND: u32 = 1;
const KEY_FRAMES_BURST: u32 = 20;

/// What a message is allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    Inject(InputEvent),
    SetClipboard(String),
    /// A PNG.
    SetImage(Vec<u8>),
    Resize {
        width: u16,
        height: u16,
    },
    Pong {
        sent_us: u64,
    },
}

/// The session's rules and counters.
#[derive(Debug)]
pub struct Session {
    policy: Policy,
    expires_at: Instant,
    active_at: Instant,
    messages: Bucket,
    heavy: Bucket,
    key_frames: Bucket,
    image: ImageParts,
    quality: Quality,
    dropped: u32,
    malformed: u32,
    pointer_seq: Option<u32>,
    pointer_total: (i32, i32),
    end: Option<Problem>,
}

impl Session {
    pub fn new(session: &AgentSession, now: Instant) -> Self {
        Self {
            policy: session.policy.clone(),
            expires_at: now + Duration::from_secs(session.expires_in_secs),
            active_at: now,
            messages: Bucket::new(MESSAGES_PER_SECOND, MESSAGES_BURST, now),
            heavy: Bucket::new(HEAVY_PER_SECOND, HEAVY_PER_SECOND, now),
            key_frames: Bucket::new(KEY_FRAMES_PER_SECOND, KEY_FRAMES_BURST, now),
            image: ImageParts::default(),
            quality: Quality::default(),
            dropped: 0,
            malformed: 0,
            pointer_seq: None,
            pointer_total: (0, 0),
            end: None,
        }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What this viewer chose; nothing if it has no say.
    pub fn quality(&self) -> Quality {
        match self.policy.role {
            Role::Control => self.quality,
            Role::View => Quality::Auto,
        }
    }

    /// Signalling renewed the session, or its policy changed.
    pub fn handle_renewed(&mut self, session: &AgentSession, now: Instant) {
        self.policy = session.policy.clone();
        self.expires_at = now + Duration::from_secs(session.expires_in_secs);
    }

    /// A message came over a data channel. `None`: it is not allowed, or not now.
    pub fn handle_message(&mut self, channel: Channel, bytes: &[u8], now: Instant) -> Option<Deed> {
        if self.end.is_some() || now >= self.expires_at {
            return None;
        }
        if !self.messages.take(now) {
            self.handle_dropped();
            return None;
        }
        let Some(message) = FromViewer::decode(bytes)
            .ok()
            .filter(|message| Channel::of(message) == channel)
        else {
            self.handle_malformed();
            return None;
        };
        self.allow(message, now)
    }

    /// The viewer asks for a key frame; whether it may have one.
    pub fn handle_key_frame_wanted(&mut self, now: Instant) -> bool {
        let allowed = self.end.is_none() && now < self.expires_at && self.key_frames.take(now);
        if !allowed {
            self.handle_dropped();
        }
        allowed
    }

    /// Why the session is over, once it is. Tell the viewer, then close.
    pub fn poll_end(&mut self) -> Option<Problem> {
        self.end.take()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = self.idle_at();
        Some(idle.map_or(self.expires_at, |at| at.min(self.expires_at)))
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.expires_at {
            self.end_with(
                Code::SessionExpired,
                "The session was not renewed in time.",
                "Connect again.",
            );
        } else if self.idle_at().is_some_and(|at| now >= at) {
            self.end_with(
                Code::SessionIdle,
                "There was no input for longer than the workspace allows.",
                "Connect again.",
            );
        }
    }

    fn allow(&mut self, message: FromViewer, now: Instant) -> Option<Deed> {
        let controls = self.policy.role == Role::Control;
        match message {
            FromViewer::Ping { sent_us } => Some(Deed::Pong { sent_us }),
            FromViewer::ClipboardText(text) => {
                let allowed = controls && self.policy.clipboard_to_host && self.heavy.take(now);
                allowed.then_some(Deed::SetClipboard(text))
            }
            FromViewer::ClipboardImage { left, part } => {
                let allowed = controls && self.policy.clipboard_to_host;
                let begins = self.image.begins(left, &part);
                if !allowed || begins && !self.heavy.take(now) {
                    return None;
                }
                self.image.handle_part(left, &part).map(Deed::SetImage)
            }
            FromViewer::Resize { width, height, .. } => {
                let allowed = controls && self.heavy.take(now);
                allowed.then_some(Deed::Resize { width, height })
            }
            FromViewer::Quality(quality) => {
                if controls && self.heavy.take(now) {
                    self.quality = quality;
                }
                None
            }
            input => {
                let event = self.event(input)?;
                self.active_at = now;
                controls.then_some(Deed::Inject(event))
            }
        }
    }

    /// The input in a message; `None` if it is older than what was seen.
    fn event(&mut self, message: FromViewer) -> Option<InputEvent> {
        match message {
            FromViewer::Key { down, keysym, code } => Some(InputEvent::Key { down, keysym, code }),
            FromViewer::Button { down, button, x, y } => Some(InputEvent::Button {
                down,
                button,
                at: position(x, y),
            }),
            FromViewer::Wheel { dx, dy, x, y } => Some(InputEvent::Wheel {
                dx,
                dy,
                at: position(x, y),
            }),
            FromViewer::Text(text) => Some(InputEvent::Text(text)),
            FromViewer::ReleaseAll => Some(InputEvent::ReleaseAll),
            FromViewer::PointerMove { seq, x, y } => {
                self.is_newer(seq).then_some(InputEvent::MoveTo { x, y })
            }
            FromViewer::PointerRelative {
                seq,
                total_dx,
                total_dy,
            } => self
                .is_newer(seq)
                .then(|| self.moved_by(total_dx, total_dy)),
            FromViewer::Resize { .. }
            | FromViewer::ClipboardText(_)
            | FromViewer::ClipboardImage { .. }
            | FromViewer::Quality(_)
            | FromViewer::Ping { .. } => None,
        }
    }

    fn is_newer(&mut self, seq: u32) -> bool {
        // RFC 1982: newer if less than half the space ahead.
        let newer = self
            .pointer_seq
            .is_none_or(|last| seq.wrapping_sub(last).wrapping_sub(1) < 1 << 31);
        if newer {
            self.pointer_seq = Some(seq);
        }
        newer
    }

    fn moved_by(&mut self, total_dx: i32, total_dy: i32) -> InputEvent {
        let (dx, dy) = (
            total_dx.wrapping_sub(self.pointer_total.0),
            total_dy.wrapping_sub(self.pointer_total.1),
        );
        self.pointer_total = (total_dx, total_dy);
        InputEvent::MoveBy { dx, dy }
    }

    fn handle_dropped(&mut self) {
        self.dropped += 1;
        if self.dropped > DROPPED_MAX {
            self.end_with(
                Code::TooMany,
                "The viewer sent more input, or asked for more pictures, than anybody can use.",
                "Connect again with a viewer that works.",
            );
        }
    }

    fn handle_malformed(&mut self) {
        self.malformed += 1;
        if self.malformed > MALFORMED_MAX {
            self.end_with(
                Code::BadMessage,
                "The viewer sent messages that make no sense.",
                "Update the viewer and connect again.",
            );
        }
    }

    fn end_with(&mut self, code: Code, cause: &str, next_step: &str) {
        self.end = Some(Problem::new(code, cause, next_step));
    }

    fn idle_at(&self) -> Option<Instant> {
        let timeout = self.policy.idle_timeout_secs;
        (timeout > 0).then(|| self.active_at + Duration::from_secs(timeout))
    }
}

/// `0xFFFF` for both: where the pointer is.
fn position(x: u16, y: u16) -> Option<(u16, u16)> {
    ((x, y) != (u16::MAX, u16::MAX)).then_some((x, y))
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    per_second: u32,
    burst: u32,
    level: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self {
            per_second,
            burst,
            level: burst.into(),
            filled_at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.level = (self.level + passed * f64::from(self.per_second)).min(self.burst.into());
        self.filled_at = now;
        let free = self.level >= 1.0;
        if free {
            self.level -= 1.0;
        }
        free
    }
}

#[cfg(test)]
mod tests;
