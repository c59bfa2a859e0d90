//! What a load test measured: a histogram for each latency, counters for the rest.
//!
//! Histograms hold µs with three significant digits, whatever the count.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency told apart; longer ones count as this.
const LONGEST: Duration = Duration::from_secs(3600);
const DIGITS: u8 = 3;
/// Single measurements kept for the plots. When full, new ones are in the histograms only.
const DOTS_MAX: usize = 50_000;
/// Lines of the timeline: three hours. When full, the rest is not drawn.
const SECONDS_MAX: usize = 10_800;
/// Different reasons of failures; more are counted as one.
const REASONS_MAX: usize = 64;
/// A frame that arrives so long after its capture is a stall.
pub const STALL_FROM: Duration = Duration::from_millis(250);

/// A latency that is measured. The first nine count from the intended arrival of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    Ticket,
    Socket,
    Granted,
    Gathered,
    Ice,
    Dtls,
    FirstPacket,
    FirstFrame,
    /// The session's start, late because the generator was busy.
    StartLag,
    /// Captured → whole frame here, in every session.
    Frame,
    /// Strip drawn → decoded here.
    Picture,
    /// Click intended → its answer decoded here.
    Input,
    RoundTrip,
    /// The generator's own clock: how late a timer of it rings.
    TimerLag,
}

impl Metric {
    pub const ALL: [Self; 14] = [
        Self::Ticket,
        Self::Socket,
        Self::Granted,
        Self::Gathered,
        Self::Ice,
        Self::Dtls,
        Self::FirstPacket,
        Self::FirstFrame,
        Self::Frame,
        Self::Picture,
        Self::Input,
        Self::RoundTrip,
        Self::StartLag,
        Self::TimerLag,
    ];

    /// The name in JSON, in the histogram log and in an SLO file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ticket => "ticket_ms",
            Self::Socket => "websocket_ms",
            Self::Granted => "granted_ms",
            Self::Gathered => "gathering_ms",
            Self::Ice => "ice_ms",
            Self::Dtls => "dtls_ms",
            Self::FirstPacket => "first_packet_ms",
            Self::FirstFrame => "first_frame_ms",
            Self::StartLag => "start_lag_ms",
            Self::Frame => "frame_ms",
            Self::Picture => "picture_ms",
            Self::Input => "input_ms",
            Self::RoundTrip => "round_trip_ms",
            Self::TimerLag => "timer_lag_ms",
        }
    }

    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Socket => "WebSocket open",
            Self::Granted => "session granted",
            Self::Gathered => "candidates gathered",
            Self::Ice => "ICE connected",
            Self::Dtls => "DTLS done",
            Self::FirstPacket => "first packet",
            Self::FirstFrame => "first frame",
            Self::StartLag => "session started late",
            Self::Frame => "captured → frame here",
            Self::Picture => "picture change → decoded",
            Self::Input => "input → picture",
            Self::RoundTrip => "round trip",
            Self::TimerLag => "timer rang late",
        }
    }
}

/// One measurement for a plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    pub metric: Metric,
    /// Since the load began.
    pub at: Duration,
    pub value: Duration,
}

/// The load in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    pub at: Duration,
    pub arrived: u64,
    pub live: u64,
    pub failed: u64,
    pub bits_per_second: u64,
}

/// What the books of one session add at its end.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// From its first frame to its end.
    pub live: Duration,
    pub media_bytes: u64,
    pub signalling_bytes: u64,
    pub nacks: u64,
    pub plis: u64,
    /// Fraction of packets lost, averaged over its seconds.
    pub loss: Option<f64>,
    /// As in [`Path`](crate::path::Path): `relay/tls`.
    pub path: Option<String>,
    /// Code and cause of the problem that ended it.
    pub failure: Option<(String, String)>,
}

/// The books.
#[derive(Debug)]
pub struct Ledger {
    histograms: BTreeMap<Metric, Histogram<u64>>,
    pub dots: Vec<Dot>,
    pub seconds: Vec<Second>,
    pub paths: BTreeMap<String, u64>,
    /// Count and first cause by code.
    pub failures: BTreeMap<String, (u64, String)>,
    pub arrived: u64,
    pub live: u64,
    pub live_most: u64,
    pub ended_well: u64,
    pub failed: u64,
    pub frames: u64,
    pub pictures: u64,
    pub stalls: u64,
    pub stalled: Duration,
    pub strips_missing: u64,
    pub clicks: u64,
    pub clicks_lost: u64,
    pub live_time: Duration,
    pub media_bytes: u64,
    /// Of the sessions that are still live, too.
    pub media_so_far: u64,
    pub signalling_bytes: u64,
    pub nacks: u64,
    pub plis: u64,
    losses: (f64, u64),
}

impl Default for Ledger {
    fn default() -> Self {
        let empty = |metric| (metric, new_histogram());
        Self {
            histograms: Metric::ALL.map(empty).into(),
            dots: Vec::new(),
            seconds: Vec::new(),
            paths: BTreeMap::new(),
            failures: BTreeMap::new(),
            arrived: 0,
            live: 0,
            live_most: 0,
            ended_well: 0,
            failed: 0,
            frames: 0,
            pictures: 0,
            stalls: 0,
            stalled: Duration::ZERO,
            strips_missing: 0,
            clicks: 0,
            clicks_lost: 0,
            live_time: Duration::ZERO,
            media_bytes: 0,
            media_so_far: 0,
            signalling_bytes: 0,
            nacks: 0,
            plis: 0,
            losses: (0.0, 0),
        }
    }
}

impl Ledger {
    /// A latency, measured `at` that time after the load began.
    pub fn record(&mut self, metric: Metric, value: Duration, at: Duration) {
        let us = u64::try_from(value.min(LONGEST).as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = self.histograms.get_mut(&metric) {
            histogram.saturating_record(us.max(1));
        }
        let plotted = matches!(
            metric,
            Metric::FirstFrame | Metric::Picture | Metric::Input | Metric::Frame
        );
        if plotted && self.dots.len() < DOTS_MAX {
            self.dots.push(Dot { metric, at, value });
        }
    }

    pub fn histogram(&self, metric: Metric) -> &Histogram<u64> {
        &self.histograms[&metric]
    }

    /// A whole frame came; `latency` since its capture, if the clocks can be compared.
    pub fn handle_frame(&mut self, latency: Option<Duration>, at: Duration) {
        self.frames += 1;
        let Some(latency) = latency else {
            return;
        };
        self.record(Metric::Frame, latency, at);
        if latency >= STALL_FROM {
            self.stalls += 1;
            self.stalled += latency;
        }
    }

    pub fn handle_live(&mut self) {
        self.live += 1;
        self.live_most = self.live_most.max(self.live);
    }

    /// A session is over; `was_live` if it had a frame.
    pub fn handle_end(&mut self, visit: Visit) {
        if !visit.live.is_zero() {
            self.live = self.live.saturating_sub(1);
        }
        self.live_time += visit.live;
        self.media_bytes += visit.media_bytes;
        self.signalling_bytes += visit.signalling_bytes;
        self.nacks += visit.nacks;
        self.plis += visit.plis;
        if let Some(loss) = visit.loss {
            self.losses = (self.losses.0 + loss, self.losses.1 + 1);
        }
        if let Some(path) = visit.path {
            *self.paths.entry(path).or_default() += 1;
        }
        match visit.failure {
            None => self.ended_well += 1,
            Some((code, cause)) => self.handle_failure(code, cause),
        }
    }

    fn handle_failure(&mut self, code: String, cause: String) {
        self.failed += 1;
        let full = self.failures.len() >= REASONS_MAX && !self.failures.contains_key(&code);
        let code = if full { "OTHER".to_owned() } else { code };
        self.failures.entry(code).or_insert((0, cause)).0 += 1;
    }

    /// A second of the load is over.
    pub fn handle_second(&mut self, at: Duration, bits_per_second: u64) {
        if self.seconds.len() < SECONDS_MAX {
            self.seconds.push(Second {
                at,
                arrived: self.arrived,
                live: self.live,
                failed: self.failed,
                bits_per_second,
            });
        }
    }

    /// In percent, averaged over the sessions; `None` if none was told.
    pub fn loss_percent(&self) -> Option<f64> {
        (self.losses.1 > 0).then(|| self.losses.0 / self.losses.1 as f64 * 100.0)
    }
}

fn new_histogram() -> Histogram<u64> {
    let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
    Histogram::new_with_max(longest, DIGITS).expect("the bounds are constants that fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_latency_is_told_to_three_digits() {
        let mut ledger = Ledger::default();
        for value in 1..=1000 {
            ledger.record(Metric::FirstFrame, ms(value), ms(0));
        }
        let histogram = ledger.histogram(Metric::FirstFrame);
        let p99 = histogram.value_at_quantile(0.99) as f64;
        assert!((p99 / 990_000.0 - 1.0).abs() < 0.001, "{p99}");
        assert_eq!(ledger.dots.len(), 1000);
    }

    #[test]
    fn a_frame_later_than_a_quarter_of_a_second_is_a_stall() {
        let mut ledger = Ledger::default();
        for latency in [Some(ms(249)), Some(ms(250)), None, Some(ms(1000))] {
            ledger.handle_frame(latency, ms(0));
        }
        assert_eq!((ledger.frames, ledger.stalls), (4, 2));
        assert_eq!(ledger.stalled, ms(1250));
    }

    #[test]
    fn failures_are_counted_by_reason_with_the_first_cause() {
        let mut ledger = Ledger::default();
        for cause in ["first", "second"] {
            ledger.handle_end(Visit {
                failure: Some(("NO_PATH".into(), cause.into())),
                ..Visit::default()
            });
        }
        assert_eq!(ledger.failures["NO_PATH"], (2, "first".to_owned()));
        assert_eq!((ledger.failed, ledger.ended_well), (2, 0));
    }

    #[test]
    fn more_reasons_than_fit_are_one() {
        let mut ledger = Ledger::default();
        for n in 0..REASONS_MAX + 10 {
            ledger.handle_end(Visit {
                failure: Some((format!("REASON_{n}"), String::new())),
                ..Visit::default()
            });
        }
        assert_eq!(ledger.failures["OTHER"].0, 10);
    }

    #[test]
    fn absurd_latencies_are_cut_and_nothing_overflows() {
        let mut ledger = Ledger::default();
        ledger.record(Metric::Input, Duration::MAX, Duration::MAX);
        assert_eq!(ledger.histogram(Metric::Input).len(), 1);
    }
}
