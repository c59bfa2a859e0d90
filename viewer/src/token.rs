//! Keeps one session token fresh.
//!
//! Two rules live here and nowhere else: a token is replaced well before it expires, and two
//! refreshes never run at once. [`TokenKeeper`] is told the time and the answers; it performs no IO.

use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::signal::Grant;

/// Part of a token's lifetime, in percent, after which it is replaced.
///
/// 80 % of a 10-minute token leaves 2 minutes of retries, longer than a signalling failover.
const REFRESH_AT_PERCENT: u32 = 80;

/// First wait after a failed refresh; doubles per failure up to [`RETRY_WAIT_MAX`].
const RETRY_WAIT_MIN: Duration = Duration::from_millis(500);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(15);

/// A refresh that is not answered within this time counts as failed. Asking again is safe: the
/// service gives the same successor for 30 s.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Longest lifetime believed, so that arithmetic on it cannot overflow.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// A bearer token, the handle that replaces it, and when it stops working on the caller's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub bearer: Secret,
    pub refresh_handle: Secret,
    pub expires_at: Instant,
}

impl Token {
    /// The token of a grant that arrived just now.
    pub fn of(grant: &Grant, now: Instant) -> Self {
        let lifetime = Duration::from_secs(grant.expires_in_secs).min(LIFETIME_MAX);
        Self {
            bearer: grant.token.clone(),
            refresh_handle: grant.refresh_handle.clone(),
            expires_at: now + lifetime,
        }
    }
}

/// Decides when the session token is used, replaced or given up.
#[derive(Debug)]
pub struct TokenKeeper {
    token: Token,
    refresh: Refresh,
}

#[derive(Clone, Copy, Debug)]
enum Refresh {
    /// Ask again at `at`; `failures` in a row so far.
    Waiting { at: Instant, failures: u32 },
    /// One request is under way; its answer moves us on, or `deadline` does.
    InFlight { deadline: Instant, failures: u32 },
}

impl TokenKeeper {
    pub fn new(token: Token, now: Instant) -> Self {
        let refresh = Refresh::Waiting {
            at: refresh_at(&token, now),
            failures: 0,
        };
        Self { token, refresh }
    }

    /// The token to show now, or `None` once it has expired.
    pub fn bearer(&self, now: Instant) -> Option<&Secret> {
        (now < self.token.expires_at).then_some(&self.token.bearer)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn poll_timeout(&self) -> Instant {
        match self.refresh {
            Refresh::Waiting { at, .. } => at,
            Refresh::InFlight { deadline, .. } => deadline,
        }
    }

    /// Returns the handle when the caller must send exactly one refresh request.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Secret> {
        if let Refresh::InFlight { deadline, .. } = self.refresh
            && now >= deadline
        {
            self.handle_failed(now);
        }
        let Refresh::Waiting { at, failures } = self.refresh else {
            return None;
        };
        if now < at {
            return None;
        }
        let deadline = now + ANSWER_WAIT_MAX;
        self.refresh = Refresh::InFlight { deadline, failures };
        Some(self.token.refresh_handle.clone())
    }

    /// The signalling service granted a new token.
    pub fn handle_granted(&mut self, token: Token, now: Instant) {
        *self = Self::new(token, now);
    }

    /// The refresh request failed in a way that may pass: network, timeout, restart.
    pub fn handle_failed(&mut self, now: Instant) {
        let Refresh::InFlight { failures, .. } = self.refresh else {
            return;
        };
        let wait = RETRY_WAIT_MIN
            .saturating_mul(1 << failures.min(16))
            .min(RETRY_WAIT_MAX);
        self.refresh = Refresh::Waiting {
            at: now + wait,
            failures: failures.saturating_add(1),
        };
    }

    /// Whether an answer is awaited.
    pub fn in_flight(&self) -> bool {
        matches!(self.refresh, Refresh::InFlight { .. })
    }

    /// Someone refused the current token early (revoked, or clocks disagree): replace it at once.
    ///
    /// While backing off the wait stands, so a stream of refusals cannot turn into a stream of
    /// requests.
    pub fn handle_refused(&mut self, now: Instant) {
        if let Refresh::Waiting { failures: 0, .. } = self.refresh {
            self.refresh = Refresh::Waiting {
                at: now,
                failures: 0,
            };
        }
    }
}

fn refresh_at(token: &Token, now: Instant) -> Instant {
    let lifetime = token.expires_at.saturating_duration_since(now);
    now + lifetime / 100 * REFRESH_AT_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_once_at_80_percent_of_the_lifetime() {
        let (mut keeper, start) = keeper(100);

        assert!(keeper.handle_timeout(start + secs(79)).is_none());
        assert_eq!(
            keeper.handle_timeout(start + secs(80)),
            Some(Secret::new("h"))
        );
        assert!(
            keeper.handle_timeout(start + secs(81)).is_none(),
            "a refresh is already in flight"
        );
    }

    #[test]
    fn failures_back_off_up_to_the_cap() {
        let (mut keeper, start) = keeper(1_000);
        let mut now = start + secs(800);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(keeper.handle_timeout(now).is_some());
            keeper.handle_failed(now);
            let next = keeper.poll_timeout();
            waits.push((next - now).as_millis());
            now = next;
        }

        assert_eq!(
            waits,
            [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]
        );
    }

    #[test]
    fn a_refresh_without_an_answer_is_asked_again() {
        let (mut keeper, start) = keeper(100);
        assert!(keeper.handle_timeout(start + secs(80)).is_some());
        assert!(keeper.handle_timeout(start + secs(85)).is_none());
        assert!(!keeper.in_flight());
        assert!(keeper.handle_timeout(start + secs(86)).is_some());
    }

    #[test]
    fn a_refused_token_is_replaced_at_once_but_never_twice() {
        let (mut keeper, start) = keeper(100);
        keeper.handle_refused(start);
        assert!(keeper.handle_timeout(start).is_some());
        keeper.handle_refused(start);
        assert!(keeper.handle_timeout(start).is_none(), "already in flight");
        keeper.handle_failed(start);
        keeper.handle_refused(start);
        assert!(
            keeper.handle_timeout(start).is_none(),
            "the back-off stands"
        );
    }

    #[test]
    fn an_expired_token_is_never_shown() {
        let (keeper, start) = keeper(100);
        assert!(keeper.bearer(start + secs(99)).is_some());
        assert!(keeper.bearer(start + secs(100)).is_none());
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the epoch of a test"
    )]
    fn keeper(lifetime_secs: u64) -> (TokenKeeper, Instant) {
        let start = Instant::now();
        let token = Token {
            bearer: Secret::new("t"),
            refresh_handle: Secret::new("h"),
            expires_at: start + secs(lifetime_secs),
        };
        (TokenKeeper::new(token, start), start)
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }
}
