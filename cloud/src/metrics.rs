//! What the service counts.
//!
//! Labels have few values, all known here: never an account, an address or an instance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::exposition::{Distribution, Exposition};

/// Upper bounds of the answer times, in seconds: a session check takes under a millisecond, a
/// sign-in waits for its hash.
const BOUNDS_SECS: [f64; 9] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0];
/// First digits of HTTP statuses, `1xx` to `5xx`.
const CLASSES: usize = 5;

/// Counters that handlers share.
#[derive(Debug, Default)]
pub struct Metrics {
    requests_by_class: [AtomicU64; CLASSES],
    answer_times: Histogram,
    pub sign_ins: AtomicU64,
    pub sign_ins_refused: AtomicU64,
    pub mails: AtomicU64,
    pub mails_failed: AtomicU64,
    pub rows_pruned: AtomicU64,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Not cumulative here; the last is for what is above every bound.
    counts: [AtomicU64; BOUNDS_SECS.len() + 1],
    sum_us: AtomicU64,
}

impl Metrics {
    /// One answered request.
    pub fn note_request(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        if let Some(counter) = self.requests_by_class.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.answer_times.note(took);
    }

    /// What was counted; what is measured only when somebody asks is added by the caller.
    pub fn write(&self, text: &mut Exposition) {
        let requests = (1..).zip(&self.requests_by_class);
        let requests: Vec<_> = requests
            .map(|(class, counter)| (format!("{class}xx"), counter.load(Ordering::Relaxed)))
            .collect();
        let requests = requests
            .iter()
            .map(|(class, count)| (Some(("status", class.as_str())), *count));
        text.counters("http_requests", "Requests by class of status", requests);
        text.histogram(
            "http_request_seconds",
            "From request to answer",
            self.answer_times.distribution(),
        );
        for (name, counter, help) in [
            ("sign_ins", &self.sign_ins, "People who signed in"),
            (
                "sign_ins_refused",
                &self.sign_ins_refused,
                "Attempts that failed",
            ),
            ("mails", &self.mails, "Mails handed over"),
            ("mails_failed", &self.mails_failed, "Mails given up"),
            ("rows_pruned", &self.rows_pruned, "Expired rows deleted"),
        ] {
            text.counter(name, help, counter.load(Ordering::Relaxed));
        }
    }
}

impl Histogram {
    fn note(&self, took: Duration) {
        let secs = took.as_secs_f64();
        let bucket = BOUNDS_SECS.iter().position(|bound| secs <= *bound);
        if let Some(counter) = self.counts.get(bucket.unwrap_or(BOUNDS_SECS.len())) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn distribution(&self) -> Distribution {
        let counts = self.counts.iter().map(|it| it.load(Ordering::Relaxed));
        let sum = Duration::from_micros(self.sum_us.load(Ordering::Relaxed));
        Distribution {
            buckets: BOUNDS_SECS
                .into_iter()
                .chain([f64::INFINITY])
                .zip(counts)
                .collect(),
            sum: sum.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::exposition::Form;

    use super::*;

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_everything() {
        let metrics = Metrics::default();
        for millis in [1, 3, 3000] {
            metrics.note_request(200, Duration::from_millis(millis));
        }
        metrics.note_request(503, Duration::ZERO);
        let mut text = Exposition::new("multiclaw_cloud");
        metrics.write(&mut text);
        let text = text.finish(Form::Prometheus);
        for line in [
            "# TYPE multiclaw_cloud_http_requests_total counter",
            "multiclaw_cloud_http_requests_total{status=\"2xx\"} 3",
            "multiclaw_cloud_http_requests_total{status=\"5xx\"} 1",
            "multiclaw_cloud_http_request_seconds_bucket{le=\"0.001\"} 2",
            "multiclaw_cloud_http_request_seconds_bucket{le=\"2\"} 3",
            "multiclaw_cloud_http_request_seconds_bucket{le=\"+Inf\"} 4",
            "multiclaw_cloud_http_request_seconds_sum 3.004",
            "multiclaw_cloud_http_request_seconds_count 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
