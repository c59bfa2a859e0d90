//! The result of a load test as one value: the table for people, the object for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::cost::Cost;
use super::ledger::{Ledger, Metric};

/// A generator whose timers ring later than this, at the 99th percentile, measures itself.
pub const LAG_MAX: Duration = Duration::from_millis(5);
/// Share of the machine's processors from which the generator has none to spare, in percent.
pub const GENERATOR_CPU_MAX: f64 = 70.0;

/// Quantiles of every latency.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// A latency, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub count: u64,
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p999: f64,
    pub max: f64,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Asked {
    pub sessions: usize,
    pub per_second: f64,
    /// `fixed` or `poisson`.
    pub arrivals: String,
    pub seed: u64,
    pub hold_secs: f64,
    pub decode_every: usize,
    pub mode: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    pub reason: String,
    pub count: u64,
    /// The first one, in words.
    pub cause: String,
}

/// Whether the figures are the service's, or the generator's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generator {
    pub cpu_percent: f64,
    pub start_lag_p99_ms: f64,
    pub timer_lag_p99_ms: f64,
    /// Why the generator was the limit; empty if it was not.
    pub limits: Vec<String>,
}

/// The whole result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub asked: Asked,
    pub took_secs: f64,
    pub arrived: u64,
    pub live_most: u64,
    pub ended_well: u64,
    pub failed: u64,
    pub failed_percent: f64,
    pub failures: Vec<Failure>,
    pub paths: BTreeMap<String, u64>,
    pub latencies: BTreeMap<&'static str, Latency>,
    pub frames: u64,
    pub frames_per_second_per_session: f64,
    pub pictures: u64,
    pub stalls: u64,
    /// Of the time sessions were live.
    pub stalled_percent: f64,
    pub strips_missing: u64,
    pub clicks: u64,
    pub clicks_lost: u64,
    pub bitrate_kbps_per_session: f64,
    pub loss_percent: Option<f64>,
    pub nacks: u64,
    pub key_frames_asked_for: u64,
    pub media_bytes_per_session: f64,
    pub signalling_bytes_per_session: f64,
    pub costs: Vec<Cost>,
    pub generator: Generator,
}

impl Report {
    /// `cpu` is the generator's own, `cores` what the machine has.
    pub fn new(
        asked: Asked,
        ledger: &Ledger,
        costs: Vec<Cost>,
        took: Duration,
        (cpu, cores): (Duration, usize),
    ) -> Self {
        let live_secs = ledger.live_time.as_secs_f64();
        let over = |total: f64, by: f64| if by > 0.0 { total / by } else { 0.0 };
        let sessions = (ledger.ended_well + ledger.failed) as f64;
        let latency = |metric: Metric| Some((metric.name(), latency(ledger, metric)?));
        Self {
            asked,
            took_secs: round(took.as_secs_f64()),
            arrived: ledger.arrived,
            live_most: ledger.live_most,
            ended_well: ledger.ended_well,
            failed: ledger.failed,
            failed_percent: round(over(ledger.failed as f64 * 100.0, sessions)),
            failures: failures(ledger),
            paths: ledger.paths.clone(),
            latencies: Metric::ALL.into_iter().filter_map(latency).collect(),
            frames: ledger.frames,
            frames_per_second_per_session: round(over(ledger.frames as f64, live_secs)),
            pictures: ledger.pictures,
            stalls: ledger.stalls,
            stalled_percent: round(over(ledger.stalled.as_secs_f64() * 100.0, live_secs)),
            strips_missing: ledger.strips_missing,
            clicks: ledger.clicks,
            clicks_lost: ledger.clicks_lost,
            bitrate_kbps_per_session: round(over(ledger.media_bytes as f64 * 0.008, live_secs)),
            loss_percent: ledger.loss_percent().map(round),
            nacks: ledger.nacks,
            key_frames_asked_for: ledger.plis,
            media_bytes_per_session: over(ledger.media_bytes as f64, sessions).round(),
            signalling_bytes_per_session: over(ledger.signalling_bytes as f64, sessions).round(),
            costs,
            generator: generator(ledger, took, (cpu, cores)),
        }
    }

    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// One latency of the report by its name.
    pub fn latency(&self, metric: Metric) -> Option<&Latency> {
        self.latencies.get(metric.name())
    }

    /// The table.
    pub fn text(&self) -> String {
        let mut text = self.headline();
        text += "\n\n                                 p50       p90       p99     p99.9       max     count\n";
        for (title, metrics) in SECTIONS {
            let rows: Vec<_> = metrics
                .iter()
                .filter_map(|metric| Some((metric, self.latency(*metric)?)))
                .collect();
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{title}");
            for (metric, all) in rows {
                let _ = writeln!(
                    text,
                    "  {:<26}{:>8.1}  {:>8.1}  {:>8.1}  {:>8.1}  {:>8.1}  {:>8}",
                    metric.words(),
                    all.p50,
                    all.p90,
                    all.p99,
                    all.p999,
                    all.max,
                    all.count
                );
            }
        }
        text += &self.counts();
        text += &self.spent();
        text + &self.verdict()
    }

    fn headline(&self) -> String {
        let asked = &self.asked;
        format!(
            "{} sessions, {} arrivals at {}/s (seed {}), {} s each, {}: {} ended well, {} failed, {} live at once, in {:.1} s",
            self.arrived,
            asked.arrivals,
            asked.per_second,
            asked.seed,
            asked.hold_secs,
            asked.mode,
            self.ended_well,
            self.failed,
            self.live_most,
            self.took_secs
        )
    }

    fn counts(&self) -> String {
        let mut text = String::from("per session\n");
        let loss = self
            .loss_percent
            .map_or("unknown".to_owned(), |loss| format!("{loss} %"));
        let _ = writeln!(
            text,
            "  {} kbit/s, {} frames/s, loss {loss}, {} retransmissions asked for, {} stalls ({} % of the time), {:.0} B of media, {:.0} B of signalling",
            self.bitrate_kbps_per_session,
            self.frames_per_second_per_session,
            self.nacks,
            self.stalls,
            self.stalled_percent,
            self.media_bytes_per_session,
            self.signalling_bytes_per_session
        );
        let paths: Vec<_> = self
            .paths
            .iter()
            .map(|(path, count)| format!("{path} {count}"))
            .collect();
        let _ = writeln!(text, "  paths: {}", paths.join(", "));
        if self.clicks > 0 {
            let _ = writeln!(
                text,
                "  {} clicks, {} never answered in the picture",
                self.clicks, self.clicks_lost
            );
        }
        for failure in &self.failures {
            let _ = writeln!(
                text,
                "  {} failed: {}: {}",
                failure.count, failure.reason, failure.cause
            );
        }
        text
    }

    fn spent(&self) -> String {
        let mut text = String::new();
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
        };
        let mebi = |bytes: Option<f64>| number(bytes.map(|bytes| bytes / 1_048_576.0), 2);
        for cost in &self.costs {
            if text.is_empty() {
                text += "spent by          CPU ms/session  CPU ms/session-minute  MiB before → most  MiB/session  bytes/session\n";
            }
            let _ = writeln!(
                text,
                "  {:<16}{:>14}  {:>21}  {:>17}  {:>11}  {:>13}",
                cost.part,
                number(cost.cpu_ms_per_session, 1),
                number(cost.cpu_ms_per_session_minute, 0),
                format!(
                    "{} → {}",
                    mebi(cost.memory_before_bytes.map(|bytes| bytes as f64)),
                    mebi(cost.memory_most_bytes.map(|bytes| bytes as f64))
                ),
                mebi(cost.memory_bytes_per_session),
                number(cost.bytes_per_session, 0)
            );
        }
        text
    }

    fn verdict(&self) -> String {
        let generator = &self.generator;
        let figures = format!(
            "generator: {:.0} % of the machine, sessions started {:.1} ms late and timers {:.1} ms (p99)",
            generator.cpu_percent, generator.start_lag_p99_ms, generator.timer_lag_p99_ms
        );
        if generator.limits.is_empty() {
            return figures + "\n";
        }
        format!(
            "{figures}\nTHE GENERATOR WAS THE LIMIT: {}. Use more machines, or load this one less.\n",
            generator.limits.join("; ")
        )
    }
}

/// The rows of the table.
const SECTIONS: [(&str, &[Metric]); 3] = [
    (
        "since the session was meant to arrive, ms",
        &[
            Metric::Ticket,
            Metric::Socket,
            Metric::Granted,
            Metric::Gathered,
            Metric::Ice,
            Metric::Dtls,
            Metric::FirstPacket,
            Metric::FirstFrame,
        ],
    ),
    (
        "while it was live, ms",
        &[
            Metric::Frame,
            Metric::Picture,
            Metric::Input,
            Metric::RoundTrip,
        ],
    ),
    (
        "the generator itself, ms",
        &[Metric::StartLag, Metric::TimerLag],
    ),
];

fn latency(ledger: &Ledger, metric: Metric) -> Option<Latency> {
    let histogram = ledger.histogram(metric);
    if histogram.is_empty() {
        return None;
    }
    let ms = |us: f64| (us / 10.0).round() / 100.0;
    let [p50, p90, p99, p999] =
        QUANTILES.map(|quantile| ms(histogram.value_at_quantile(quantile) as f64));
    Some(Latency {
        count: histogram.len(),
        min: ms(histogram.min() as f64),
        mean: ms(histogram.mean()),
        p50,
        p90,
        p99,
        p999,
        max: ms(histogram.max() as f64),
    })
}

fn failures(ledger: &Ledger) -> Vec<Failure> {
    let mut failures: Vec<_> = ledger
        .failures
        .iter()
        .map(|(reason, (count, cause))| Failure {
            reason: reason.clone(),
            count: *count,
            cause: cause.clone(),
        })
        .collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    failures
}

fn generator(ledger: &Ledger, took: Duration, (cpu, cores): (Duration, usize)) -> Generator {
    let machine = took.as_secs_f64() * cores.max(1) as f64;
    let cpu_percent = if machine > 0.0 {
        round(cpu.as_secs_f64() / machine * 100.0)
    } else {
        0.0
    };
    let p99 = |metric| latency(ledger, metric).map_or(0.0, |all| all.p99);
    let (start, timer) = (p99(Metric::StartLag), p99(Metric::TimerLag));
    let bound = LAG_MAX.as_secs_f64() * 1000.0;
    let mut limits = Vec::new();
    if start > bound {
        limits.push(format!("sessions started {start:.1} ms late (p99)"));
    }
    if timer > bound {
        limits.push(format!("its timers rang {timer:.1} ms late (p99)"));
    }
    if cpu_percent > GENERATOR_CPU_MAX {
        limits.push(format!("it took {cpu_percent:.0} % of the machine"));
    }
    Generator {
        cpu_percent,
        start_lag_p99_ms: start,
        timer_lag_p99_ms: timer,
        limits,
    }
}

/// Two digits after the point: more would claim more than was measured.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ledger::Visit;
    use super::*;

    pub(crate) fn asked() -> Asked {
        Asked {
            sessions: 4,
            per_second: 2.0,
            arrivals: "poisson".into(),
            seed: 7,
            hold_secs: 5.0,
            decode_every: 2,
            mode: "auto".into(),
        }
    }

    pub(crate) fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let at = Duration::from_secs(1);
        for ms in 1..=100 {
            for metric in Metric::ALL.into_iter().filter(|metric| !is_own(*metric)) {
                ledger.record(metric, Duration::from_millis(ms), at);
            }
        }
        ledger.arrived = 4;
        for n in 0..4_u64 {
            ledger.handle_live();
            ledger.handle_end(Visit {
                live: Duration::from_secs(5),
                media_bytes: 1000,
                path: Some("relay/tls".into()),
                loss: Some(0.01),
                failure: (n == 3).then(|| ("NO_PATH".into(), "No way <through>.".into())),
                ..Visit::default()
            });
            ledger.handle_second(Duration::from_secs(n), 8000);
        }
        ledger
    }

    fn is_own(metric: Metric) -> bool {
        matches!(metric, Metric::StartLag | Metric::TimerLag)
    }

    pub(crate) fn report() -> Report {
        let took = Duration::from_secs(10);
        Report::new(
            asked(),
            &ledger(),
            Vec::new(),
            took,
            (Duration::from_secs(2), 2),
        )
    }

    #[test]
    fn the_report_counts_and_shares() {
        let report = report();
        assert_eq!((report.ended_well, report.failed), (3, 1));
        assert_eq!(report.failed_percent, 25.0);
        assert_eq!(report.loss_percent, Some(1.0));
        assert_eq!(report.media_bytes_per_session, 1000.0);
        assert_eq!(report.bitrate_kbps_per_session, 1.6);
        let first = report.latency(Metric::FirstFrame).unwrap();
        assert!((first.p50 - 50.0).abs() < 0.1, "{first:?}");
        assert_eq!(report.generator.limits, Vec::<String>::new());
        assert_eq!(report.generator.cpu_percent, 10.0);
    }

    #[test]
    fn the_table_names_what_was_measured_and_nothing_else() {
        let text = report().text();
        for expected in ["first frame", "relay/tls 4", "1 failed: NO_PATH"] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        assert!(!text.contains("timer rang late"), "{text}");
        assert!(!text.contains("THE GENERATOR"), "{text}");
    }

    #[test]
    fn a_generator_that_is_late_or_busy_says_so() {
        let mut ledger = ledger();
        ledger.record(Metric::TimerLag, Duration::from_millis(9), Duration::ZERO);
        let took = Duration::from_secs(10);
        let busy = (Duration::from_secs(19), 2);
        let report = Report::new(asked(), &ledger, Vec::new(), took, busy);
        assert_eq!(report.generator.limits.len(), 2, "{:?}", report.generator);
        assert!(report.text().contains("THE GENERATOR WAS THE LIMIT"));
    }

    #[test]
    fn the_object_is_json_with_every_latency_by_name() {
        let value: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert!(value["latencies"]["first_frame_ms"]["p99.9"].is_f64());
        assert_eq!(value["failures"][0]["reason"], "NO_PATH");
    }
}
