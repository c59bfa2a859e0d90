//! A run as a table for people and as one JSON object for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::opening;
use super::verdict::{Row, Turns};

/// Everything that was measured.
pub(super) struct Run<'a> {
    pub(super) machine: &'a str,
    pub(super) size: String,
    /// What is between hosts and viewers.
    pub(super) network: String,
    pub(super) turns: &'a Turns,
    /// What has no peer in this run.
    pub(super) alone: &'a Value,
}

impl Run<'_> {
    pub(super) fn table(&self) -> String {
        let (rounds, browsers) = (self.turns.ours.len(), self.turns.openings.len());
        let mut text = format!(
            "\n{} at {}, {}, medians of {rounds} rounds and {browsers} fresh browsers\n{:<44}{:>10}{:>12}{:>8}  {:<18}\n",
            self.machine, self.size, self.network, "", "ours", "Selkies", "ratio", "bar (stretch)"
        );
        let measured = |row: &Row| row.ours.or(row.peer).is_some();
        for row in self.turns.rows().into_iter().filter(measured) {
            let _ = writeln!(
                text,
                "{:<44}{:>10}{:>12}{:>8}  {:<18}{}",
                row.title,
                figure(row.ours),
                figure(row.peer),
                figure(row.ratio()),
                row.bar(),
                row.verdict().word(),
            );
        }
        for (title, pointer) in [
            (
                "frames a second at full motion, Chromium",
                "/motion/frames_per_second",
            ),
            (
                "the same, native window",
                "/native_motion/frames_per_second",
            ),
            (
                "connected to first picture, native, ms",
                "/native_first_picture_ms/p50",
            ),
        ] {
            let value = self.alone.pointer(pointer).and_then(Value::as_f64);
            if value.is_some() {
                let _ = writeln!(text, "{title:<44}{:>10}", figure(value));
            }
        }
        text += &opening::lines(self.turns);
        for turn in &self.turns.peer_default {
            let p50 = &turn["propagation_ms"]["p50"];
            let cpu = &turn["agent_cpu_still_percent"];
            let _ = writeln!(
                text,
                "Selkies as it comes: picture to pixel {p50} ms, still {cpu} % of a core"
            );
        }
        text
    }

    /// The last round's figures of ours stand in front, as other benches have them.
    pub(super) fn json(&self) -> Value {
        let last = |turns: &[Value]| turns.last().cloned().unwrap_or_default();
        let mut figures = last(&self.turns.ours);
        figures["bench"] = json!("latency");
        figures["machine"] = json!(self.machine);
        figures["size"] = json!(self.size);
        figures["network"] = json!(self.network);
        figures["native"] = last(&self.turns.native);
        figures["native"]["first_picture_ms"] = self.alone["native_first_picture_ms"].clone();
        figures["native"]["motion"] = self.alone["native_motion"].clone();
        figures["motion"] = self.alone["motion"].clone();
        figures["first_frame"] = opening::json(self.turns);
        figures["peer"] = json!("Selkies 2.1.0, WebRTC, --video-streaming-mode=false");
        figures["rows"] = self.turns.rows().iter().map(|row| row.json()).collect();
        figures["turns"] = json!({
            "ours": self.turns.ours,
            "native": self.turns.native,
            "selkies_best": self.turns.peer,
            "selkies_default": self.turns.peer_default,
            "selkies_curve": self.turns.peer_curve,
            "openings": self.turns.openings,
            "selkies_openings": self.turns.peer_openings,
        });
        figures
    }
}

pub(super) fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value}"))
}
