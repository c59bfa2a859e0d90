//! The life of the signalling socket: wanted, opening, greeting, up, lost, wanted again.
//!
//! Two rules live here: a lost socket is opened again after a jittered wait, for ever, because
//! media goes on without it; and a socket that says nothing for [`SILENCE_MAX`] is lost, whatever
//! TCP thinks of it. What is said on the socket is [`session`](crate::session)'s business.

use std::time::{Duration, Instant};

use protocol::signal::PING_INTERVAL_SECS;

use crate::backoff::Backoff;

/// Longest wait for a socket to open or for the answer to its first message.
pub const OPEN_MAX: Duration = Duration::from_secs(10);
/// Pause between two pings.
pub const PING_INTERVAL: Duration = Duration::from_secs(PING_INTERVAL_SECS);
/// A socket silent for this long is lost: three pings went unanswered.
pub const SILENCE_MAX: Duration = Duration::from_secs(3 * PING_INTERVAL_SECS);

/// What the caller does to the socket now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Open,
    Ping,
    /// Drop the socket; no further word of it is expected.
    Drop,
}

/// One socket at a time, and when to make the next.
#[derive(Debug)]
pub struct Link {
    state: State,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Unwanted,
    Down { retry_at: Instant },
    Opening { deadline: Instant },
    Open { deadline: Instant },
    Up { heard_at: Instant, ping_at: Instant },
}

impl Link {
    pub fn new(seed: u64) -> Self {
        Self {
            state: State::Unwanted,
            backoff: Backoff::new(seed),
        }
    }

    /// The first message was answered: requests may be sent.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// The socket is open and has yet to be greeted, or to answer the greeting.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Open a socket at the next [`handle_timeout`](Self::handle_timeout).
    pub fn handle_wanted(&mut self, now: Instant) {
        if matches!(self.state, State::Unwanted | State::Down { .. }) {
            self.state = State::Down { retry_at: now };
        }
    }

    /// No socket is wanted any more.
    pub fn handle_unwanted(&mut self) {
        self.state = State::Unwanted;
    }

    /// The socket opened; the caller greets.
    pub fn handle_opened(&mut self, now: Instant) {
        if matches!(self.state, State::Opening { .. }) {
            let deadline = now + OPEN_MAX;
            self.state = State::Open { deadline };
        }
    }

    /// The greeting was answered well.
    pub fn handle_welcomed(&mut self, now: Instant) {
        self.backoff.handle_success();
        self.state = State::Up {
            heard_at: now,
            ping_at: now + PING_INTERVAL,
        };
    }

    /// Something arrived.
    pub fn handle_heard(&mut self, now: Instant) {
        if let State::Up { heard_at, .. } = &mut self.state {
            *heard_at = now;
        }
    }

    /// The socket closed, failed, or never opened: another will be opened after a wait.
    pub fn handle_lost(&mut self, now: Instant) {
        if !matches!(self.state, State::Unwanted | State::Down { .. }) {
            let retry_at = now + self.backoff.handle_failure();
            self.state = State::Down { retry_at };
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Unwanted => None,
            State::Down { retry_at } => Some(retry_at),
            State::Opening { deadline } | State::Open { deadline } => Some(deadline),
            State::Up { heard_at, ping_at } => Some(ping_at.min(heard_at + SILENCE_MAX)),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Option<Action> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return None;
        }
        match self.state {
            State::Unwanted => None,
            State::Down { .. } => {
                let deadline = now + OPEN_MAX;
                self.state = State::Opening { deadline };
                Some(Action::Open)
            }
            State::Opening { .. } | State::Open { .. } => {
                self.handle_lost(now);
                Some(Action::Drop)
            }
            State::Up { heard_at, .. } if now >= heard_at + SILENCE_MAX => {
                self.handle_lost(now);
                Some(Action::Drop)
            }
            State::Up { heard_at, .. } => {
                let ping_at = now + PING_INTERVAL;
                self.state = State::Up { heard_at, ping_at };
                Some(Action::Ping)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::WAIT_MIN;

    #[test]
    fn a_lost_socket_is_opened_again_after_a_wait() {
        let (mut link, start) = link_up();
        link.handle_lost(start);
        assert!(!link.is_up());
        let retry_at = link.poll_timeout().unwrap();
        assert!(retry_at > start && retry_at <= start + WAIT_MIN);
        assert_eq!(link.handle_timeout(retry_at), Some(Action::Open));
    }

    #[test]
    fn a_silent_socket_is_dropped_after_three_unanswered_pings() {
        let (mut link, start) = link_up();
        let mut actions = Vec::new();
        while let Some(at) = link.poll_timeout() {
            let action = link.handle_timeout(at).unwrap();
            actions.push((action, (at - start).as_secs()));
            if action == Action::Drop {
                break;
            }
        }
        assert_eq!(
            actions,
            [(Action::Ping, 10), (Action::Ping, 20), (Action::Drop, 30)]
        );
    }

    #[test]
    fn a_socket_that_answers_is_kept() {
        let (mut link, start) = link_up();
        for n in 1..20 {
            let now = start + PING_INTERVAL * n;
            assert_eq!(link.handle_timeout(now), Some(Action::Ping));
            link.handle_heard(now);
        }
        assert!(link.is_up());
    }

    #[test]
    fn an_unwanted_socket_is_never_opened() {
        let (mut link, start) = link_up();
        link.handle_unwanted();
        link.handle_lost(start);
        assert_eq!(link.poll_timeout(), None);
        assert_eq!(link.handle_timeout(start + SILENCE_MAX), None);
    }

    fn link_up() -> (Link, Instant) {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as the epoch of a test"
        )]
        let start = Instant::now();
        let mut link = Link::new(1);
        link.handle_wanted(start);
        assert_eq!(link.handle_timeout(start), Some(Action::Open));
        link.handle_opened(start);
        link.handle_welcomed(start);
        (link, start)
    }
}
