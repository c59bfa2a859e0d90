//! The agent host's side of signalling: registered, or on the way back to it.
//!
//! Rule: media never waits for signalling. A lost socket is opened again with jittered back-off,
//! and the registration lists the sessions that still run, so that the service learns of them and
//! says which should not. What was to be said meanwhile is kept, newest last, in a bounded queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::signal::{FromAgent, MESSAGE_LEN_MAX, PING_INTERVAL_SECS, ToAgent, VERSION};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// First pause before the socket is opened again, and the longest.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(20);
const PING_INTERVAL: Duration = Duration::from_secs(PING_INTERVAL_SECS);
/// A service that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(3 * PING_INTERVAL_SECS);
/// Messages kept for the service. When full the oldest goes: candidates of a session long past.
const QUEUE_MAX: usize = 256;

/// What the socket is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketWish {
    /// Be open.
    Open,
    /// Be closed: wait for the time of [`Registration::poll_timeout`].
    Wait,
}

/// The registration of one instance.
pub struct Registration {
    instance: InstanceId,
    credential: Secret,
    state: State,
    attempts: u32,
    captured: bool,
    queue: VecDeque<FromAgent>,
    rng: StdRng,
}

enum State {
    Waiting {
        retry_at: Instant,
    },
    Opening,
    Open {
        registered: bool,
        ping_at: Instant,
        heard_at: Instant,
    },
}

impl Registration {
    pub fn new(instance: InstanceId, credential: Secret, seed: u64, now: Instant) -> Self {
        Self {
            instance,
            credential,
            state: State::Waiting { retry_at: now },
            attempts: 0,
            captured: false,
            queue: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    pub fn is_registered(&self) -> bool {
        matches!(
            self.state,
            State::Open {
                registered: true,
                ..
            }
        )
    }

    pub fn poll_wish(&mut self, now: Instant) -> SocketWish {
        match self.state {
            State::Waiting { retry_at } if now < retry_at => SocketWish::Wait,
            State::Waiting { .. } => {
                self.state = State::Opening;
                SocketWish::Open
            }
            State::Opening | State::Open { .. } => SocketWish::Open,
        }
    }

    /// The socket is open. Registers, with the sessions that still run.
    pub fn handle_open(&mut self, sessions: Vec<SessionId>, now: Instant) {
        self.state = State::Open {
            registered: false,
            ping_at: now + PING_INTERVAL,
            heard_at: now,
        };
        self.queue
            .retain(|m| !matches!(m, FromAgent::Captured { .. } | FromAgent::Ping));
        self.queue.push_front(FromAgent::Register {
            version: VERSION,
            instance: self.instance.clone(),
            credential: self.credential.clone(),
            sessions,
            captured: self.captured,
        });
    }

    /// The socket could not be opened, or is gone.
    pub fn handle_lost(&mut self, now: Instant) {
        self.queue
            .retain(|m| !matches!(m, FromAgent::Register { .. }));
        let longest = RETRY_MIN
            .saturating_mul(1 << self.attempts.min(10))
            .min(RETRY_MAX);
        self.attempts += 1;
        // Anywhere in the upper half: many agent hosts that lost one service come back apart.
        let share = self.rng.random_range(0.5..=1.0);
        self.state = State::Waiting {
            retry_at: now + longest.mul_f64(share),
        };
    }

    /// A text frame came. `None`: nothing for the owner, or nothing we understand.
    pub fn handle_text(&mut self, text: &str, now: Instant) -> Option<ToAgent> {
        if let State::Open { heard_at, .. } = &mut self.state {
            *heard_at = now;
        }
        if text.len() > MESSAGE_LEN_MAX {
            return None;
        }
        let message = serde_json::from_str(text).ok()?;
        match message {
            ToAgent::Registered => {
                self.attempts = 0;
                if let State::Open { registered, .. } = &mut self.state {
                    *registered = true;
                }
                Some(message)
            }
            ToAgent::Pong => None,
            other => Some(other),
        }
    }

    /// Has `message` said as soon as the service is there.
    pub fn say(&mut self, message: FromAgent) {
        if let FromAgent::Captured { captured } = message {
            self.captured = captured;
        }
        if self.queue.len() >= QUEUE_MAX {
            self.queue.pop_front();
        }
        self.queue.push_back(message);
    }

    /// What to write to the open socket. Before `Registered`, only the registration.
    pub fn poll_transmit(&mut self) -> Option<FromAgent> {
        let State::Open { registered, .. } = self.state else {
            return None;
        };
        let first = self.queue.front()?;
        let may_go = registered || matches!(first, FromAgent::Register { .. });
        may_go.then(|| self.queue.pop_front()).flatten()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { retry_at } => Some(retry_at),
            State::Opening => None,
            State::Open {
                ping_at, heard_at, ..
            } => Some(ping_at.min(heard_at + SILENCE_MAX)),
        }
    }

    /// Pings, or gives up a silent socket: then the wish is to wait, so drop it.
    pub fn handle_timeout(&mut self, now: Instant) {
        let State::Open {
            ping_at, heard_at, ..
        } = &mut self.state
        else {
            return;
        };
        if now >= *heard_at + SILENCE_MAX {
            return self.handle_lost(now);
        }
        if now >= *ping_at {
            *ping_at = now + PING_INTERVAL;
            self.say(FromAgent::Ping);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(now: Instant) -> Registration {
        let instance = InstanceId::new("desk").unwrap();
        Registration::new(instance, Secret::new("s"), 7, now)
    }

    fn session() -> SessionId {
        "00000000-0000-0000-0000-000000000001".parse().unwrap()
    }

    #[test]
    fn the_registration_is_said_first_and_the_rest_after_its_answer() {
        let now = Instant::now();
        let mut registration = registration(now);
        registration.say(FromAgent::Captured { captured: true });
        registration.say(FromAgent::Answer {
            session: session(),
            sdp: "v=0".into(),
        });
        assert_eq!(registration.poll_wish(now), SocketWish::Open);
        registration.handle_open(vec![session()], now);
        let first = registration.poll_transmit();
        assert!(
            matches!(&first, Some(FromAgent::Register { sessions, captured: true, .. }) if sessions == &[session()]),
            "{first:?}"
        );
        assert_eq!(registration.poll_transmit(), None);
        registration.handle_text(r#"{"type":"registered"}"#, now);
        assert!(matches!(
            registration.poll_transmit(),
            Some(FromAgent::Answer { .. })
        ));
    }

    #[test]
    fn pauses_grow_with_every_failure_and_a_registration_forgets_them() {
        let now = Instant::now();
        let mut registration = registration(now);
        let mut pause = || {
            registration.handle_lost(now);
            registration.poll_timeout().unwrap() - now
        };
        let pauses: Vec<_> = (0..12).map(|_| pause()).collect();
        assert!(pauses[0] <= RETRY_MIN);
        assert!(pauses[4] >= RETRY_MIN * 8);
        assert!(pauses.iter().all(|&p| p <= RETRY_MAX));
        registration.handle_open(Vec::new(), now);
        registration.handle_text(r#"{"type":"registered"}"#, now);
        registration.handle_lost(now);
        assert!(registration.poll_timeout().unwrap() - now <= RETRY_MIN);
    }

    #[test]
    fn a_silent_service_is_pinged_and_then_given_up() {
        let now = Instant::now();
        let mut registration = registration(now);
        registration.handle_open(Vec::new(), now);
        registration.poll_transmit();
        registration.handle_text(r#"{"type":"registered"}"#, now);
        registration.handle_timeout(now + PING_INTERVAL);
        assert_eq!(registration.poll_transmit(), Some(FromAgent::Ping));
        let late = now + SILENCE_MAX;
        registration.handle_timeout(late);
        assert_eq!(registration.poll_wish(late), SocketWish::Wait);
    }

    #[test]
    fn nonsense_from_the_service_is_ignored() {
        let now = Instant::now();
        let mut registration = registration(now);
        registration.handle_open(Vec::new(), now);
        for text in ["", "{", "[]", r#"{"type":"unheard_of"}"#] {
            assert_eq!(registration.handle_text(text, now), None);
        }
    }
}
