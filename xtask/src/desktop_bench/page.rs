//! The report as one page that needs nothing else: a table, a bar for each figure as a share of the
//! peer's, every round as a point, and bytes over likeness.

use std::fmt::Write as _;

use super::report::{Run, figure};
use super::verdict::{Row, Verdict, points};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
table{border-collapse:collapse;width:100%}th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid #e3e7ee}
th:first-child,td:first-child{text-align:left}.stretch,.met{color:#176b3a}.MISSED{color:#b3261e;font-weight:600}
svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#1c2430}
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e6eaf0}th,td{border-color:#2b323d}text{fill:#e6eaf0}.stretch,.met{color:#6fce94}.MISSED{color:#ff8a80}}";
const OURS: &str = "#2f6fde";
const PEER: &str = "#d9822b";
/// The plots' width and the part of it that names rows.
const WIDTH: f64 = 900.0;
const NAMES: f64 = 300.0;
const ROW_HEIGHT: f64 = 26.0;

pub(super) fn html(run: &Run) -> String {
    let rows = run.turns.rows();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Latency laboratory</title><style>{STYLE}</style>\
         <h1>Latency laboratory</h1><p>{} at {}, {}; medians of {} rounds in turns with Selkies 2.1.0 \
         (WebRTC, <code>--video-streaming-mode=false</code>).</p>",
        escaped(run.machine),
        run.size,
        escaped(&run.network),
        run.turns.ours.len()
    );
    page.push_str(&table(&rows));
    page.push_str("<h2>Ours as a share of the peer’s</h2>");
    page.push_str(&ratios(&rows));
    page.push_str("<h2>Every round</h2>");
    page.push_str(&rounds(&rows));
    for (title, scene) in [
        ("Scroll: bytes a step over likeness", "/scenes/scroll"),
        ("Window drag: bytes a step over likeness", "/scenes/drag"),
    ] {
        let _ = write!(page, "<h2>{title}</h2>");
        page.push_str(&curve(run, scene));
    }
    page.push_str("</html>\n");
    page
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "<table><tr><th>figure<th>ours<th>Selkies<th>ratio<th>bar (stretch)<th></tr>".to_owned();
    for row in rows {
        let word = row.verdict().word();
        let _ = write!(
            text,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"{word}\">{word}</tr>",
            row.title,
            figure(row.ours),
            figure(row.peer),
            figure(row.ratio()),
            row.bar(),
        );
    }
    text + "</table>"
}

/// A bar for each ratio; the line is where both are equal.
fn ratios(rows: &[Row]) -> String {
    let shown: Vec<(&Row, f64)> = rows
        .iter()
        .filter_map(|row| Some((row, row.ratio()?)))
        .collect();
    let most = shown.iter().map(|row| row.1).fold(1.0, f64::max);
    let scale = (WIDTH - NAMES - 60.0) / most;
    let mut plot = Plot::new(shown.len());
    for (index, (row, ratio)) in shown.iter().enumerate() {
        let y = plot.name(index, row.title);
        let fill = if row.verdict() == Verdict::Missed {
            PEER
        } else {
            OURS
        };
        plot.add(format!(
            "<rect x=\"{NAMES}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" rx=\"2\" fill=\"{fill}\"/>",
            y - 7.0,
            ratio * scale
        ));
        plot.label(NAMES + ratio * scale + 6.0, y, &format!("{ratio}×"));
    }
    plot.vertical(NAMES + scale);
    plot.finish()
}

/// Each round of both, on a line of its own scale from 0 to the largest.
fn rounds(rows: &[Row]) -> String {
    let mut plot = Plot::new(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let y = plot.name(index, row.title);
        let all = row.ours_rounds.iter().chain(&row.peer_rounds);
        let most = all.copied().fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - NAMES - 80.0) / most;
        for (figures, fill) in [(&row.ours_rounds, OURS), (&row.peer_rounds, PEER)] {
            for figure in figures {
                plot.dot(NAMES + figure * scale, y, fill);
            }
        }
        plot.label(WIDTH - 72.0, y, &format!("{most:.1}"));
    }
    plot.finish() + &legend()
}

/// Likeness to the right, bytes upwards, both from nothing.
fn curve(run: &Run, scene: &str) -> String {
    let series = [
        (points(&run.turns.ours, scene), OURS),
        (points(&run.turns.peer_curve, scene), PEER),
        (points(&run.turns.peer, scene), PEER),
    ];
    let all = || series.iter().flat_map(|one| &one.0);
    let right = all().map(|point| point.0).fold(1.0, f64::max) * 1.1;
    let top = all().map(|point| point.1).fold(1.0, f64::max) * 1.1;
    let (left, height) = (60.0, 240.0);
    let mut plot = Plot::of_height(height + 30.0);
    for (points, fill) in &series {
        for (likeness, bytes) in points {
            let x = left + likeness / right * (WIDTH - left);
            plot.dot(x, height - bytes / top * height, fill);
            plot.label(
                x + 8.0,
                height - bytes / top * height,
                &format!("{bytes:.0} B, {likeness:.1} dB"),
            );
        }
    }
    plot.add(format!(
        "<path d=\"M{left} 0V{height}H{WIDTH}\" fill=\"none\" stroke=\"#8892a0\"/>"
    ));
    plot.label(left, height + 18.0, "likeness while it moves, dB of SSIM →");
    plot.finish() + &legend()
}

fn legend() -> String {
    format!("<p><b style=\"color:{OURS}\">●</b> ours <b style=\"color:{PEER}\">●</b> Selkies</p>")
}

/// An SVG that grows.
struct Plot {
    height: f64,
    parts: String,
}

impl Plot {
    fn new(rows: usize) -> Self {
        Self::of_height(rows as f64 * ROW_HEIGHT)
    }

    fn of_height(height: f64) -> Self {
        Self {
            height,
            parts: String::new(),
        }
    }

    fn add(&mut self, part: String) {
        self.parts.push_str(&part);
    }

    /// Names a row; the height of its middle.
    fn name(&mut self, index: usize, title: &str) -> f64 {
        let y = (index as f64 + 0.5) * ROW_HEIGHT;
        self.label(0.0, y, title);
        y
    }

    fn label(&mut self, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        self.add(format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\">{text}</text>",
            y + 4.0
        ));
    }

    fn dot(&mut self, x: f64, y: f64, fill: &str) {
        self.add(format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{fill}\" fill-opacity=\".75\"/>"
        ));
    }

    fn vertical(&mut self, x: f64) {
        self.add(format!(
            "<path d=\"M{x:.1} 0V{:.1}\" stroke=\"#8892a0\" stroke-dasharray=\"3 3\"/>",
            self.height
        ));
    }

    fn finish(self) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\">{}</svg>",
            self.height.max(ROW_HEIGHT),
            self.parts
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::verdict::Turns;
    use super::*;

    #[test]
    fn the_page_has_every_row_and_refers_to_nothing_outside() {
        let turn = json!({ "propagation_ms": { "p50": 12.0, "p99": 20.0 } });
        let turns = Turns {
            ours: vec![turn.clone()],
            peer: vec![turn],
            ..Turns::default()
        };
        let run = Run {
            machine: "a <machine>",
            size: "1920x1080".into(),
            network: "loopback".into(),
            turns: &turns,
            alone: &Value::Null,
        };
        let page = html(&run);
        for row in turns.rows() {
            assert!(page.contains(row.title), "{}", row.title);
        }
        assert!(page.contains("a &lt;machine&gt;"));
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("NaN"));
    }
}
