//! Samples become percentiles.

use std::time::Duration;

use serde_json::{Value, json};

/// `{"n", "p50", "p90", "p99", "max"}` in milliseconds; `null` fields if there are no samples.
pub fn milliseconds(mut samples: Vec<Duration>) -> Value {
    samples.sort_unstable();
    let at = |share: f64| {
        percentile(&samples, share).map(|sample| (sample.as_secs_f64() * 1e5).round() / 1e2)
    };
    json!({ "n": samples.len(), "p50": at(0.50), "p90": at(0.90), "p99": at(0.99), "max": at(1.0) })
}

/// Nearest rank in a sorted list.
fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let figures = milliseconds((1..=100).map(Duration::from_millis).collect());
        assert_eq!(
            (&figures["p50"], &figures["p99"], &figures["max"]),
            (&json!(50.0), &json!(99.0), &json!(100.0))
        );
    }

    #[test]
    fn no_samples_have_no_percentiles() {
        assert_eq!(milliseconds(Vec::new())["p50"], Value::Null);
    }
}
