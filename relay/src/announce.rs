//! What the relay tells the service of itself, and when: at once when something changes, and every
//! few seconds otherwise.
//!
//! A service that does not hear us changes nothing here: relaying goes on without it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use protocol::relay::{REPORT_INTERVAL, Report, URLS_MAX};

use crate::config::{Listen, Transport};

/// Reports in a row that must fail before an operator is told: the service may be restarting.
pub const FAILURES_TOLD: u32 = 3;

/// The addresses clients are given, UDP first.
///
/// `host` is the name in the certificate; without it a wildcard listener is reached at `public`.
pub fn urls(listens: &[Listen], host: Option<&str>, public: IpAddr) -> Vec<String> {
    let mut listens: Vec<&Listen> = listens.iter().collect();
    listens.sort_by_key(|listen| rank(listen.transport));
    let mut urls: Vec<String> = listens
        .into_iter()
        .map(|one| url(one, host, public))
        .collect();
    urls.dedup();
    urls.truncate(URLS_MAX);
    urls
}

fn rank(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Https => 2,
        Transport::Tls => 3,
    }
}

fn url(listen: &Listen, host: Option<&str>, public: IpAddr) -> String {
    let port = listen.address.port();
    let place = match host {
        Some(host) => format!("{host}:{port}"),
        None if listen.address.ip().is_unspecified() => SocketAddr::new(public, port).to_string(),
        None => listen.address.to_string(),
    };
    match listen.transport {
        Transport::Udp => format!("turn:{place}?transport=udp"),
        Transport::Tcp => format!("turn:{place}?transport=tcp"),
        Transport::Tls | Transport::Https => format!("turns:{place}?transport=tcp"),
    }
}

/// What changes from report to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub draining: bool,
    pub allocations: usize,
    pub allocations_max: usize,
}

/// Where this relay stands: its region, and the addresses clients are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub region: String,
    pub urls: Vec<String>,
}

/// When the next report is due, and how the last ones went.
#[derive(Debug)]
pub struct Announcer {
    place: Place,
    next_at: Instant,
    sent_ms: u64,
    failures: u32,
    heard: bool,
}

/// Something an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Registered,
    /// The service has not heard us for a while.
    Unheard,
}

impl Announcer {
    pub fn new(place: Place, now: Instant) -> Self {
        Self {
            place,
            next_at: now,
            sent_ms: 0,
            failures: 0,
            heard: false,
        }
    }

    /// The configuration names another service, or says something else of the relay: it is told at
    /// once. Reports stay numbered, because it may be the same service.
    pub fn handle_change(&mut self, place: Place, now: Instant) {
        let sent_ms = self.sent_ms;
        *self = Self::new(place, now);
        self.sent_ms = sent_ms;
    }

    pub fn poll_timeout(&self) -> Instant {
        self.next_at
    }

    /// The report to send now; the next one follows after the interval, however this one ends.
    pub fn report(&mut self, standing: Standing, unix_now: Duration, now: Instant) -> Report {
        self.next_at = now + REPORT_INTERVAL;
        // A clock that was set back must not make us look like a copy of ourselves.
        self.sent_ms = (unix_now.as_millis() as u64).max(self.sent_ms + 1);
        let load = standing.allocations * 1000 / standing.allocations_max.max(1);
        Report {
            region: self.place.region.clone(),
            urls: self.place.urls.clone(),
            draining: standing.draining,
            allocations: standing.allocations as u64,
            load_permille: load.min(1000) as u16,
            sent_ms: self.sent_ms,
        }
    }

    pub fn handle_accepted(&mut self) -> Option<News> {
        let news = !self.heard;
        self.failures = 0;
        self.heard = true;
        news.then_some(News::Registered)
    }

    pub fn handle_failed(&mut self) -> Option<News> {
        self.failures = self.failures.saturating_add(1);
        if self.failures != FAILURES_TOLD {
            return None;
        }
        self.heard = false;
        Some(News::Unheard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str, transport: Transport) -> Listen {
        Listen {
            address: address.parse().unwrap(),
            transport,
        }
    }

    #[test]
    fn clients_are_given_every_listener_by_the_name_in_the_certificate() {
        let listens = [
            listen("0.0.0.0:443", Transport::Https),
            listen("0.0.0.0:3478", Transport::Tcp),
            listen("[::]:3478", Transport::Udp),
            listen("0.0.0.0:3478", Transport::Udp),
        ];
        let public = "203.0.113.5".parse().unwrap();
        assert_eq!(
            urls(&listens, Some("turn.example"), public),
            [
                "turn:turn.example:3478?transport=udp",
                "turn:turn.example:3478?transport=tcp",
                "turns:turn.example:443?transport=tcp",
            ]
        );
        assert_eq!(
            urls(&listens[..1], None, public),
            ["turns:203.0.113.5:443?transport=tcp"]
        );
        let own = [listen("[2001:db8::5]:3478", Transport::Udp)];
        assert_eq!(
            urls(&own, None, public),
            ["turn:[2001:db8::5]:3478?transport=udp"]
        );
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the epoch of a test"
    )]
    fn announcer() -> (Announcer, Instant) {
        let now = Instant::now();
        (Announcer::new(place("eu"), now), now)
    }

    fn place(region: &str) -> Place {
        Place {
            region: region.into(),
            urls: vec!["turn:a".into()],
        }
    }

    #[test]
    fn what_changed_is_told_at_once_and_by_a_later_number() {
        let (mut announcer, now) = announcer();
        let clock = Duration::from_secs(100);
        let first = announcer.report(Standing::default(), clock, now);
        assert_eq!(announcer.handle_accepted(), Some(News::Registered));
        announcer.handle_change(place("us"), now);
        assert_eq!(announcer.poll_timeout(), now);
        let second = announcer.report(Standing::default(), clock, now);
        assert_eq!(
            (second.region.as_str(), second.sent_ms > first.sent_ms),
            ("us", true)
        );
        assert_eq!(announcer.handle_accepted(), Some(News::Registered));
    }

    #[test]
    fn reports_are_numbered_by_a_clock_that_never_goes_back() {
        let (mut announcer, now) = announcer();
        let standing = Standing {
            allocations: 5,
            allocations_max: 10,
            draining: false,
        };
        let first = announcer.report(standing, Duration::from_secs(100), now);
        let second = announcer.report(standing, Duration::from_secs(90), now);
        assert_eq!((first.sent_ms, second.sent_ms), (100_000, 100_001));
        assert_eq!(first.load_permille, 500);
        assert_eq!(announcer.poll_timeout(), now + REPORT_INTERVAL);
    }

    #[test]
    fn an_operator_is_told_once_that_nobody_hears_us_and_once_that_they_do() {
        let (mut announcer, _) = announcer();
        assert_eq!(announcer.handle_accepted(), Some(News::Registered));
        assert_eq!(announcer.handle_accepted(), None);
        let told: Vec<_> = (0..10).filter_map(|_| announcer.handle_failed()).collect();
        assert_eq!(told, [News::Unheard]);
        assert_eq!(announcer.handle_accepted(), Some(News::Registered));
    }
}
