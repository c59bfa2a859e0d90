//! The text that Prometheus reads: its own form (0.0.4), or OpenMetrics 1.0 for who asks for it.
//!
//! Never a label per user or address: their number has no bound.

use std::fmt::Write as _;

/// In front of every name.
const PREFIX: &str = "multiclaw_relay";

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

/// One label and its value, if any; both are ours and need no escaping.
pub type Label<'a> = Option<(&'static str, &'a str)>;

/// A text under construction.
#[derive(Debug)]
pub struct Exposition {
    form: Form,
    text: String,
}

impl Exposition {
    pub fn new(form: Form) -> Self {
        Self {
            form,
            text: String::new(),
        }
    }

    /// Something that only grows. The name comes without `_total`.
    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<'a>, u64)>,
    ) {
        // In OpenMetrics the family has the bare name, its samples the suffix.
        let family = match self.form {
            Form::Prometheus => format!("{name}_total"),
            Form::OpenMetrics => name.to_owned(),
        };
        self.head(&family, help, "counter");
        for (label, value) in samples {
            self.sample(&format!("{name}_total"), label, value);
        }
    }

    /// [`Self::counters`] without a label.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(None, value)]);
    }

    /// Something that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.sample(name, None, value);
    }

    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn head(&mut self, family: &str, help: &str, kind: &str) {
        let head = format!("# HELP {PREFIX}_{family} {help}.\n# TYPE {PREFIX}_{family} {kind}\n");
        self.text.push_str(&head);
    }

    fn sample(&mut self, name: &str, label: Label<'_>, value: u64) {
        let label = label.map_or(String::new(), |(key, text)| format!("{{{key}=\"{text}\"}}"));
        writeln!(self.text, "{PREFIX}_{name}{label} {value}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form) -> String {
        let mut text = Exposition::new(form);
        text.counters("packets", "Packets", [(Some(("direction", "up")), 7)]);
        text.gauge("allocations", "Alive", 2);
        text.finish()
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
