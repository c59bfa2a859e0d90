//! What came of it, as a table and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::clients::Attempt;

/// Longest remark in the table, in characters; the JSON has all of it.
const REMARK_MAX: usize = 60;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed(String),
    NotSpoken,
}

/// One row.
pub(crate) struct Outcome {
    title: String,
    verdict: Verdict,
    pub(crate) packets: u64,
    pub(crate) took: Duration,
    /// The client's last line.
    pub(crate) said: String,
}

impl Outcome {
    pub(crate) fn new(attempt: &Attempt, verdict: Verdict) -> Self {
        Self {
            title: attempt.title(),
            verdict,
            packets: 0,
            took: Duration::ZERO,
            said: String::new(),
        }
    }

    pub(crate) fn line(&self) -> String {
        match &self.verdict {
            Verdict::Passed => format!("passed in {:.1} s", self.took.as_secs_f64()),
            Verdict::Failed(reason) => format!("FAILED: {reason}"),
            Verdict::NotSpoken => "not spoken by this client".into(),
        }
    }

    fn result(&self) -> &'static str {
        match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::NotSpoken => "not_spoken",
        }
    }

    fn remark(&self) -> &str {
        match &self.verdict {
            Verdict::Failed(reason) => reason.lines().next().unwrap_or_default(),
            Verdict::Passed | Verdict::NotSpoken => &self.said,
        }
    }
}

#[derive(Default)]
pub(crate) struct Report {
    outcomes: Vec<Outcome>,
}

#[derive(Serialize)]
struct Row<'a> {
    attempt: &'a str,
    result: &'static str,
    relayed_packets: u64,
    seconds: f64,
    said: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Report {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    pub(crate) fn failed(&self) -> usize {
        self.count("failed")
    }

    fn count(&self, result: &str) -> usize {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.result() == result)
            .count()
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "\n{:<54} {:<10} {:>8} {:>8}  said\n",
            "client", "result", "relayed", "seconds"
        );
        for outcome in &self.outcomes {
            let remark: String = outcome.remark().chars().take(REMARK_MAX).collect();
            let _ = writeln!(
                text,
                "{:<54} {:<10} {:>8} {:>8.1}  {remark}",
                outcome.title,
                outcome.result(),
                outcome.packets,
                outcome.took.as_secs_f64(),
            );
        }
        let _ = write!(
            text,
            "{} passed, {} failed, {} not spoken by the client",
            self.count("passed"),
            self.failed(),
            self.count("not_spoken")
        );
        text
    }

    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Row<'_>> = self.outcomes.iter().map(Row::of).collect();
        serde_json::json!({
            "interop": rows,
            "passed": self.count("passed"),
            "failed": self.failed(),
            "not_spoken": self.count("not_spoken"),
        })
    }
}

impl<'a> Row<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        Self {
            attempt: &outcome.title,
            result: outcome.result(),
            relayed_packets: outcome.packets,
            seconds: outcome.took.as_secs_f64(),
            said: serde_json::from_str(&outcome.said)
                .unwrap_or_else(|_| Value::String(outcome.said.clone())),
            reason: match &outcome.verdict {
                Verdict::Failed(reason) => Some(reason),
                Verdict::Passed | Verdict::NotSpoken => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::clients::Client;

    #[test]
    fn a_failure_is_counted_and_told_and_an_unspoken_transport_is_neither() {
        let attempts = Client::TurnCrate.attempts();
        let mut report = Report::default();
        report.add(Outcome::new(
            &attempts[0],
            Verdict::Failed("no answer\nmore".into()),
        ));
        report.add(Outcome::new(&attempts[1], Verdict::NotSpoken));
        assert_eq!(report.failed(), 1);
        assert!(report.table().contains("no answer"));
        let json = report.json();
        assert_eq!(json["failed"], 1);
        assert_eq!(json["interop"][0]["reason"], "no answer\nmore");
        assert_eq!(json["interop"][1]["result"], "not_spoken");
    }
}
