//! Medians, ratios and verdicts, as a table and as one JSON object.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::rows::{Bar, Row, Sample, Samples};

/// Other programs using more than this of one processor make a round suspect.
const FOREIGN_TOLERATED_PERCENT: f64 = 10.0;

pub(crate) struct Report {
    rounds: usize,
    lines: Vec<Line>,
}

struct Line {
    row: Row,
    ours: Summary,
    peer: Summary,
    floor: Option<Summary>,
    ratio: f64,
    met: bool,
}

/// Medians over the rounds, and the worst of what must not happen.
struct Summary {
    figure: f64,
    rounds: Vec<f64>,
    server_us_per_packet: Option<f64>,
    machine_us_per_packet: Option<f64>,
    direct_p99_us: Option<f64>,
    lost_percent_max: Option<f64>,
    foreign_percent_max: f64,
    generator_saturated: bool,
}

impl Report {
    pub(crate) fn new(samples: &[Samples], rounds: usize) -> Result<Self> {
        let lines = samples.iter().map(Line::new).collect::<Result<_>>()?;
        Ok(Self { rounds, lines })
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "medians of {} rounds, coturn 4.6.1 beside ours\n{:<58} {:>22} {:>11} {:>11} {:>7}  bar\n",
            self.rounds, "", "figure", "ours", "coturn", "ratio"
        );
        for line in &self.lines {
            text.push_str(&line.text());
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "bench": "relay",
            "peer": "coturn 4.6.1",
            "wire": "veth between network namespaces, offloads as the kernel sets them",
            "machine": machine(),
            "rounds": self.rounds,
            "rows": self.lines.iter().map(Line::json).collect::<Vec<_>>(),
        })
    }
}

impl Line {
    fn new(samples: &Samples) -> Result<Self> {
        let ours = Summary::of(&samples.ours).context("no rounds")?;
        let peer = Summary::of(&samples.peer).context("no rounds")?;
        let ratio = ours.figure / peer.figure;
        let met = match samples.row.bar() {
            Bar::RatioAtMost(bar) => ratio <= bar,
            Bar::RatioAtLeast(bar) => ratio >= bar,
            Bar::AtMostAndNotAbovePeer(bar) => ours.figure <= bar && ours.figure <= peer.figure,
            Bar::AtMost(bar) => ours.figure <= bar,
            Bar::AtLeast(bar) => ours.figure >= bar,
        };
        Ok(Self {
            row: samples.row,
            ours,
            peer,
            floor: Summary::of(&samples.floor),
            ratio,
            met,
        })
    }

    fn text(&self) -> String {
        let verdict = if self.met { "met" } else { "MISSED" };
        let mut notes = String::new();
        if let Some(floor) = &self.floor {
            notes.push_str(&format!("; floor {:.2}", floor.figure));
        }
        if let Some(direct) = self.ours.direct_p99_us {
            notes.push_str(&format!("; past the server {direct:.0}"));
        }
        for (who, summary) in [("ours", &self.ours), ("coturn", &self.peer)] {
            if summary.generator_saturated {
                notes.push_str(&format!("; generator saturated ({who})"));
            }
            if let Some(lost) = summary.lost_percent_max.filter(|&lost| lost > 0.0) {
                notes.push_str(&format!("; {who} lost up to {lost:.2} %"));
            }
            if summary.foreign_percent_max > FOREIGN_TOLERATED_PERCENT {
                let foreign = summary.foreign_percent_max;
                notes.push_str(&format!(
                    "; other programs used up to {foreign:.0} % ({who})"
                ));
            }
        }
        format!(
            "{:<58} {:>22} {:>11.2} {:>11.2} {:>7.3}  {} {verdict}{notes}\n",
            self.row.title(),
            self.row.figure(),
            self.ours.figure,
            self.peer.figure,
            self.ratio,
            bar_text(self.row.bar()),
        )
    }

    fn json(&self) -> Value {
        json!({
            "name": format!("{:?}", self.row).to_lowercase(),
            "title": self.row.title(),
            "figure": self.row.figure(),
            "ours": self.ours.figure,
            "peer": self.peer.figure,
            "ratio": self.ratio,
            "bar": bar_text(self.row.bar()),
            "met": self.met,
            "floor": self.floor.as_ref().map(|floor| floor.figure),
            "floor_detail": self.floor.as_ref().map(Summary::json),
            "ours_detail": self.ours.json(),
            "peer_detail": self.peer.json(),
        })
    }
}

impl Summary {
    fn of(samples: &[Sample]) -> Option<Self> {
        let rounds: Vec<f64> = samples.iter().map(|sample| sample.figure).collect();
        let optional = |pick: fn(&Sample) -> Option<f64>| {
            median(&samples.iter().filter_map(pick).collect::<Vec<_>>())
        };
        let highest = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN, f64::max);
        Some(Self {
            figure: median(&rounds)?,
            rounds,
            server_us_per_packet: optional(|sample| sample.server_us_per_packet),
            machine_us_per_packet: optional(|sample| sample.machine_us_per_packet),
            direct_p99_us: optional(|sample| sample.direct_p99_us),
            lost_percent_max: samples
                .iter()
                .filter_map(|it| it.lost_percent)
                .reduce(f64::max),
            foreign_percent_max: highest(&mut samples.iter().map(|it| it.foreign_percent)),
            generator_saturated: samples.iter().any(|it| it.generator_saturated),
        })
    }

    fn json(&self) -> Value {
        json!({
            "rounds": self.rounds,
            "server_us_per_packet": self.server_us_per_packet,
            "machine_us_per_packet": self.machine_us_per_packet,
            "direct_p99_us": self.direct_p99_us,
            "lost_percent_max": self.lost_percent_max,
            "foreign_percent_max": self.foreign_percent_max,
            "generator_saturated": self.generator_saturated,
        })
    }
}

fn bar_text(bar: Bar) -> String {
    match bar {
        Bar::RatioAtMost(bar) => format!("<= {bar} x coturn"),
        Bar::RatioAtLeast(bar) => format!(">= {bar} x coturn"),
        Bar::AtMostAndNotAbovePeer(bar) => format!("<= {bar} and <= coturn"),
        Bar::AtMost(bar) => format!("<= {bar}"),
        Bar::AtLeast(bar) => format!(">= {bar}"),
    }
}

pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => sorted.get(middle).copied(),
        _ => Some((sorted.get(middle - 1)? + sorted.get(middle)?) / 2.0),
    }
}

fn machine() -> Value {
    let field = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default();
        line.split_once(':')
            .map_or(line, |(_, value)| value)
            .trim()
            .to_owned()
    };
    json!({
        "cpu": field("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": field("/proc/sys/kernel/osrelease", ""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_row_is_met_only_inside_its_bar() {
        let line = |row, ours, peer| {
            let sample = |figure| {
                vec![Sample {
                    figure,
                    ..Sample::default()
                }]
            };
            let mut samples = Samples::new(row);
            (samples.ours, samples.peer) = (sample(ours), sample(peer));
            Line::new(&samples).unwrap().met
        };
        assert!(line(Row::Burst, 2.0, 4.0));
        assert!(!line(Row::Burst, 2.1, 4.0));
        assert!(line(Row::Churn, 50.0, 10.0));
        assert!(!line(Row::Latency, 90.0, 80.0));
        assert!(!line(Row::Idle, 7000.0, 18_000.0));
    }
}
