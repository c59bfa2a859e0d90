//! What the service counts, and the text that Prometheus reads: one family after the other, each
//! with its type and meaning before its samples (text format 0.0.4).
//!
//! Labels have few values, all known here: never an account, an address or an instance.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

    /// Counters as text; what is measured only when somebody asks is added by the caller.
    pub fn write(&self, page: &mut Page) {
        page.family(
            "http_requests_total",
            Kind::Counter,
            "Requests by class of status.",
        );
        for (class, counter) in (1..).zip(&self.requests_by_class) {
            page.sample(
                &[("status", &format!("{class}xx"))],
                counter.load(Ordering::Relaxed),
            );
        }
        self.answer_times.write(page);
        for (name, counter, help) in [
            ("sign_ins_total", &self.sign_ins, "People who signed in."),
            (
                "sign_ins_refused_total",
                &self.sign_ins_refused,
                "Attempts that failed.",
            ),
            ("mails_total", &self.mails, "Mails handed over."),
            ("mails_failed_total", &self.mails_failed, "Mails given up."),
            (
                "rows_pruned_total",
                &self.rows_pruned,
                "Expired rows deleted.",
            ),
        ] {
            page.family(name, Kind::Counter, help);
            page.sample(&[], counter.load(Ordering::Relaxed));
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

    fn write(&self, page: &mut Page) {
        page.family(
            "http_request_seconds",
            Kind::Histogram,
            "From request to answer.",
        );
        let mut sum = 0;
        let bounds = BOUNDS_SECS.iter().map(ToString::to_string);
        for (bound, counter) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            sum += counter.load(Ordering::Relaxed);
            page.suffixed("_bucket", &[("le", &bound)], sum);
        }
        let secs = Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        page.suffixed("_sum", &[], secs);
        page.suffixed("_count", &[], sum);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text as it grows.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    family: String,
}

impl Page {
    /// `name` without the prefix all of ours have.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.family = format!("multiclaw_cloud_{name}");
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let name = &self.family;
        self.text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.suffixed("", labels, value);
    }

    pub fn into_text(self) -> String {
        self.text
    }

    fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{value}\""))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            some => format!("{{{}}}", some.join(",")),
        };
        let written = writeln!(self.text, "{}{suffix}{labels} {value}", self.family);
        debug_assert!(written.is_ok(), "a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_everything() {
        let metrics = Metrics::default();
        for millis in [1, 3, 3000] {
            metrics.note_request(200, Duration::from_millis(millis));
        }
        metrics.note_request(503, Duration::ZERO);
        let mut page = Page::default();
        metrics.write(&mut page);
        let text = page.into_text();
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
