//! A long session: whether latency drifts and memory grows. A minute of work each minute, in bursts:
//! the picture changes, a terminal scrolls all along.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::verdict::median;
use super::{Options, meter, stage, turn, turn::Subject};

const MINUTE: Duration = Duration::from_secs(60);
/// Changes timed in each minute: fifteen seconds of work.
const SAMPLES: &str = "100";
/// The first and the last part of a session that are compared: one in so many.
const PART: usize = 4;
/// Bars: drift of the median, and growth that a later minute takes back.
const DRIFT_MS_MAX: f64 = 2.0;
const GROWTH_MB_MAX: f64 = 2.0;

/// One session of `minutes`; its figures minute by minute and what became of them.
pub(super) fn measure(
    subject: &Subject,
    options: &Options,
    folder: &Path,
    minutes: u32,
) -> Result<Value> {
    turn::with_browser(subject, options, folder, |displays, crew| {
        crew.start(stage::scroll(&displays.host))?;
        let mut rows = Vec::new();
        for minute in 1..=minutes {
            let due = Instant::now() + MINUTE;
            let latency = displays.probe(&["latency", "--samples", SAMPLES])?;
            let row = Minute {
                p50_ms: latency["propagation_ms"]["p50"].as_f64().context("p50")?,
                p99_ms: latency["propagation_ms"]["p99"].as_f64().context("p99")?,
                rss_mb: meter::resident_mb(subject.agent)?,
            };
            println!(
                "minute {minute:>3}: picture to pixel p50 {:>6} p99 {:>6} ms, agent {:>5} MB",
                row.p50_ms, row.p99_ms, row.rss_mb
            );
            rows.push(row);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(summary(&rows))
    })
}

struct Minute {
    p50_ms: f64,
    p99_ms: f64,
    rss_mb: f64,
}

/// The first part of the session beside the last.
fn summary(rows: &[Minute]) -> Value {
    let part = (rows.len() / PART).max(1);
    let change = |figure: fn(&Minute) -> f64| {
        let of = |rows: &[Minute]| median(&rows.iter().map(figure).collect::<Vec<_>>());
        let (first, last) = (of(rows.get(..part)?)?, of(rows.get(rows.len() - part..)?)?);
        Some(((last - first) * 100.0).round() / 100.0)
    };
    let (drift, growth) = (change(|row| row.p50_ms), change(|row| row.rss_mb));
    json!({
        "bench": "soak",
        "minutes": rows.len(),
        "p50_ms": rows.iter().map(|row| row.p50_ms).collect::<Vec<_>>(),
        "p99_ms": rows.iter().map(|row| row.p99_ms).collect::<Vec<_>>(),
        "agent_rss_mb": rows.iter().map(|row| row.rss_mb).collect::<Vec<_>>(),
        "drift_ms": drift,
        "growth_mb": growth,
        "met": drift.is_some_and(|drift| drift <= DRIFT_MS_MAX)
            && growth.is_some_and(|growth| growth <= GROWTH_MB_MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(figures: impl Iterator<Item = (f64, f64)>) -> Value {
        let minute = |(p50_ms, rss_mb)| Minute {
            p50_ms,
            p99_ms: p50_ms,
            rss_mb,
        };
        summary(&figures.map(minute).collect::<Vec<_>>())
    }

    #[test]
    fn a_session_that_stays_as_it_was_meets_the_bar() {
        let steady = session((0..8).map(|minute| (14.0 + f64::from(minute % 2), 50.0)));
        assert_eq!(
            (&steady["drift_ms"], &steady["met"]),
            (&json!(0.0), &json!(true))
        );
    }

    #[test]
    fn latency_that_creeps_and_memory_that_grows_are_said() {
        let creeping = session((0..8).map(|minute| (14.0 + f64::from(minute), 50.0)));
        assert_eq!(
            (&creeping["drift_ms"], &creeping["met"]),
            (&json!(6.0), &json!(false))
        );
        let leaking = session((0..8).map(|minute| (14.0, 50.0 + f64::from(minute))));
        assert_eq!(
            (&leaking["growth_mb"], &leaking["met"]),
            (&json!(6.0), &json!(false))
        );
    }
}
