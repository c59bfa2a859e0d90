//! Direct or relay: what to try first, for how long, and what to fall back to.
//!
//! In `auto` the first attempt offers every kind of candidate at once, so the direct path wins
//! wherever it works and the relay is ready where it does not. Some firewalls let a direct path
//! come up and then starve it, or drop so much that checks never end: the second attempt therefore
//! uses the relay alone. `direct` and `relay` have one attempt each and never the other.

use std::fmt;
use std::time::{Duration, Instant};

use protocol::signal::{Candidate, PathMode};

/// Longest one attempt may take from offer to a connected path.
///
/// A TURN allocation over TLS on a slow link takes about 3 s, ICE checks over a lossy one as much.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// Which candidates one attempt may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// Direct and relayed together; ICE prefers the direct one.
    Any,
    DirectOnly,
    RelayOnly,
}

impl Attempt {
    /// Whether a candidate of this kind may be offered to, or taken from, the other side.
    ///
    /// Relay-only restricts our own candidates: what the relay then talks to is the other side's
    /// affair.
    pub fn allows_remote(self, candidate: &Candidate) -> bool {
        match self {
            Self::Any | Self::RelayOnly => true,
            Self::DirectOnly => !candidate.candidate.contains(" typ relay"),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "direct or relay",
            Self::DirectOnly => "direct",
            Self::RelayOnly => "relay",
        })
    }
}

/// Walks through the attempts a [`PathMode`] allows.
#[derive(Debug)]
pub struct ModeSelector {
    mode: PathMode,
    attempt: Attempt,
    deadline: Option<Instant>,
}

impl ModeSelector {
    pub fn new(mode: PathMode) -> Self {
        Self {
            mode,
            attempt: first(mode),
            deadline: None,
        }
    }

    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Starts from the first choice, which is returned.
    pub fn handle_start(&mut self, now: Instant) -> Attempt {
        self.attempt = first(self.mode);
        self.deadline = Some(now + ATTEMPT_MAX);
        self.attempt
    }

    /// A path is up: no more deadlines.
    pub fn handle_connected(&mut self) {
        self.deadline = None;
    }

    /// The attempt failed or its time is over: the next one, or `None` if there is none.
    pub fn handle_failed(&mut self, now: Instant) -> Option<Attempt> {
        if self.mode != PathMode::Auto || self.attempt != Attempt::Any {
            self.deadline = None;
            return None;
        }
        self.attempt = Attempt::RelayOnly;
        self.deadline = Some(now + ATTEMPT_MAX);
        Some(self.attempt)
    }

    /// Whether the attempt under way has used up its time.
    pub fn expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

fn first(mode: PathMode) -> Attempt {
    match mode {
        PathMode::Auto => Attempt::Any,
        PathMode::Direct => Attempt::DirectOnly,
        PathMode::Relay => Attempt::RelayOnly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_tries_everything_first_and_the_relay_alone_second() {
        let (mut selector, start) = selector(PathMode::Auto);
        assert_eq!(selector.handle_start(start), Attempt::Any);
        assert!(!selector.expired(start + ATTEMPT_MAX / 2));
        assert!(selector.expired(start + ATTEMPT_MAX));
        assert_eq!(selector.handle_failed(start), Some(Attempt::RelayOnly));
        assert_eq!(selector.handle_failed(start), None);
    }

    #[test]
    fn a_forced_mode_never_becomes_the_other() {
        for (mode, only) in [
            (PathMode::Direct, Attempt::DirectOnly),
            (PathMode::Relay, Attempt::RelayOnly),
        ] {
            let (mut selector, start) = selector(mode);
            assert_eq!(selector.handle_start(start), only);
            assert_eq!(selector.handle_failed(start), None);
        }
    }

    #[test]
    fn direct_refuses_the_other_sides_relay() {
        let relay = Candidate {
            candidate: "candidate:1 1 udp 1 10.0.0.1 5 typ relay raddr 0.0.0.0 rport 0".into(),
            mid: None,
            username_fragment: None,
        };
        assert!(!Attempt::DirectOnly.allows_remote(&relay));
        assert!(Attempt::Any.allows_remote(&relay));
    }

    #[test]
    fn a_connected_path_has_no_deadline() {
        let (mut selector, start) = selector(PathMode::Auto);
        selector.handle_start(start);
        selector.handle_connected();
        assert_eq!(selector.poll_timeout(), None);
        assert!(!selector.expired(start + ATTEMPT_MAX));
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the epoch of a test"
    )]
    fn selector(mode: PathMode) -> (ModeSelector, Instant) {
        (ModeSelector::new(mode), Instant::now())
    }
}
