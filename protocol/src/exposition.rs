//! The text that Prometheus reads: its own form (0.0.4), or OpenMetrics 1.0 for who asks for it.
//!
//! Families are gathered here and written by the two client libraries, which disagree about names:
//! a counter's family carries `_total` in the one, only its samples do in the other. Never a label
//! per user or address: their number has no bound.

use std::fmt;

use prometheus::TextEncoder;
use prometheus::proto;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Prometheus,
    OpenMetrics,
}

impl Form {
    /// By the `Accept` header of the request.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One label and its value, if any.
pub type Label<'a> = Option<(&'static str, &'a str)>;

/// What one process tells about itself.
#[derive(Debug)]
pub struct Exposition {
    /// In front of every name.
    prefix: &'static str,
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    /// Without `_total`.
    name: String,
    help: String,
    samples: Samples,
}

#[derive(Debug)]
enum Samples {
    Counters(Vec<Sample>),
    Gauges(Vec<Sample>),
    Histogram(Distribution),
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: u64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bound, and how many were above the bound before and not above this one; the last
    /// bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
}

impl Distribution {
    fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

impl Exposition {
    pub fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            families: Vec::new(),
        }
    }

    /// Something that only grows. The name comes without `_total`, the help without a full stop.
    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<'a>, u64)>,
    ) {
        self.add(name, help, Samples::Counters(owned(samples)));
    }

    /// [`Self::counters`] without a label.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(None, value)]);
    }

    /// Something that goes up and down.
    pub fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<'a>, u64)>,
    ) {
        self.add(name, help, Samples::Gauges(owned(samples)));
    }

    /// [`Self::gauges`] without a label.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.gauges(name, help, [(None, value)]);
    }

    pub fn histogram(&mut self, name: &str, help: &str, distribution: Distribution) {
        self.add(name, help, Samples::Histogram(distribution));
    }

    /// The whole text.
    pub fn finish(self, form: Form) -> String {
        match form {
            Form::Prometheus => {
                let families: Vec<_> = self.families.iter().map(Family::proto).collect();
                let text = TextEncoder::new().encode_to_string(&families);
                text.expect("every family has a name and samples")
            }
            Form::OpenMetrics => {
                let mut registry = Registry::default();
                registry.register_collector(Box::new(self));
                let mut text = String::new();
                encode(&mut text, &registry).expect("a String takes everything");
                text
            }
        }
    }

    fn add(&mut self, name: &str, help: &str, samples: Samples) {
        let none = match &samples {
            Samples::Counters(samples) | Samples::Gauges(samples) => samples.is_empty(),
            Samples::Histogram(distribution) => distribution.buckets.is_empty(),
        };
        if !none {
            self.families.push(Family {
                name: format!("{}_{name}", self.prefix),
                help: format!("{help}."),
                samples,
            });
        }
    }
}

fn owned<'a>(samples: impl IntoIterator<Item = (Label<'a>, u64)>) -> Vec<Sample> {
    let sample = |(label, value): (Label<'a>, u64)| Sample {
        labels: label
            .map(|(key, text)| (key, text.to_owned()))
            .into_iter()
            .collect(),
        value,
    };
    samples.into_iter().map(sample).collect()
}

impl Family {
    /// As the library for Prometheus' own form has it.
    fn proto(&self) -> proto::MetricFamily {
        let mut family = proto::MetricFamily::default();
        let (name, kind, metrics) = match &self.samples {
            Samples::Counters(samples) => (
                format!("{}_total", self.name),
                proto::MetricType::COUNTER,
                samples.iter().map(Sample::counter).collect(),
            ),
            Samples::Gauges(samples) => (
                self.name.clone(),
                proto::MetricType::GAUGE,
                samples.iter().map(Sample::gauge).collect(),
            ),
            Samples::Histogram(distribution) => (
                self.name.clone(),
                proto::MetricType::HISTOGRAM,
                vec![distribution.proto()],
            ),
        };
        family.set_name(name);
        family.set_help(self.help.clone());
        family.set_field_type(kind);
        family.set_metric(metrics);
        family
    }
}

impl Sample {
    fn counter(&self) -> proto::Metric {
        let mut counter = proto::Counter::default();
        counter.set_value(self.value as f64);
        let mut metric = self.metric();
        metric.set_counter(counter);
        metric
    }

    fn gauge(&self) -> proto::Metric {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(self.value as f64);
        let mut metric = self.metric();
        metric.set_gauge(gauge);
        metric
    }

    fn metric(&self) -> proto::Metric {
        let pair = |(key, text): &(&str, String)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*key).to_owned());
            pair.set_value(text.clone());
            pair
        };
        proto::Metric::from_label(self.labels.iter().map(pair).collect())
    }
}

impl Distribution {
    fn proto(&self) -> proto::Metric {
        let mut below = 0;
        let bucket = |&(bound, count): &(f64, u64)| {
            below += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(below);
            bucket
        };
        let mut histogram = proto::Histogram::default();
        // The infinite bucket is the library's to add.
        let finite = self.buckets.iter().filter(|(bound, _)| bound.is_finite());
        histogram.set_bucket(finite.map(bucket).collect());
        histogram.set_sample_count(self.count());
        histogram.set_sample_sum(self.sum);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        metric
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            let kind = match &family.samples {
                Samples::Counters(_) => MetricType::Counter,
                Samples::Gauges(_) => MetricType::Gauge,
                Samples::Histogram(_) => MetricType::Histogram,
            };
            let metric = encoder.encode_descriptor(&family.name, &family.help, None, kind)?;
            family.samples.encode(metric)?;
        }
        Ok(())
    }
}

impl Samples {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counters(samples) => encode_each(samples, encoder, ConstCounter::new),
            Self::Gauges(samples) => encode_each(samples, encoder, ConstGauge::new),
            Self::Histogram(it) => {
                encoder.encode_histogram::<NoLabelSet>(it.sum, it.count(), &it.buckets, None)
            }
        }
    }
}

fn encode_each<M: EncodeMetric>(
    samples: &[Sample],
    mut encoder: MetricEncoder<'_>,
    metric: impl Fn(u64) -> M,
) -> fmt::Result {
    for Sample { labels, value } in samples {
        let metric = metric(*value);
        // Who has no label is alone in its family, and an empty set would be written as `{}`.
        if labels.is_empty() {
            return metric.encode(encoder);
        }
        metric.encode(encoder.encode_family(labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form) -> String {
        let mut text = Exposition::new("multiclaw_relay");
        text.counters("packets", "Packets", [(Some(("direction", "up")), 7)]);
        text.gauge("allocations", "Alive", 2);
        text.finish(form)
    }

    #[test]
    fn a_counter_says_total_in_its_family_for_prometheus_and_in_its_sample_for_open_metrics() {
        assert_eq!(
            written(Form::Prometheus),
            "# HELP multiclaw_relay_packets_total Packets.\n\
             # TYPE multiclaw_relay_packets_total counter\n\
             multiclaw_relay_packets_total{direction=\"up\"} 7\n\
             # HELP multiclaw_relay_allocations Alive.\n\
             # TYPE multiclaw_relay_allocations gauge\n\
             multiclaw_relay_allocations 2\n"
        );
        assert_eq!(
            written(Form::OpenMetrics),
            "# HELP multiclaw_relay_packets Packets.\n\
             # TYPE multiclaw_relay_packets counter\n\
             multiclaw_relay_packets_total{direction=\"up\"} 7\n\
             # HELP multiclaw_relay_allocations Alive.\n\
             # TYPE multiclaw_relay_allocations gauge\n\
             multiclaw_relay_allocations 2\n\
             # EOF\n"
        );
    }

    #[test]
    fn what_a_label_says_cannot_break_out_of_its_quotes() {
        for form in [Form::Prometheus, Form::OpenMetrics] {
            let mut text = Exposition::new("test");
            text.gauges("states", "States", [(Some(("state", "a\"\n\\b")), 1)]);
            let text = text.finish(form);
            let line = r#"test_states{state="a\"\n\\b"} 1"#;
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn who_asks_for_open_metrics_gets_it_and_everybody_else_the_older_form() {
        for (accept, form) in [
            (None, Form::Prometheus),
            (Some("*/*"), Form::Prometheus),
            (Some("text/plain;version=0.0.4"), Form::Prometheus),
            (
                Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
                Form::OpenMetrics,
            ),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept:?}");
        }
    }
}
