//! Figures of the turns become rows: the median of ours, of the peer, their ratio, and whether the
//! bar is met. Pure: turns come as JSON, so that a row names its figure by a JSON pointer.

use serde_json::{Value, json};

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
enum Bar {
    /// Ours over the peer's: first bar and stretch.
    Ratio(f64, f64),
    /// Ours alone.
    Most(f64, f64),
    /// Over a cable: the path's own time is in both figures.
    Nothing,
}

/// The turns of a run.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Hosts and viewers are apart.
    pub(super) has_cable: bool,
    pub(super) ours: Vec<Value>,
    pub(super) native: Vec<Value>,
    /// Ours and the peer's, each in a fresh browser.
    pub(super) openings: Vec<Value>,
    pub(super) peer_openings: Vec<Value>,
    /// The peer at its best.
    pub(super) peer: Vec<Value>,
    /// The peer as it comes.
    pub(super) peer_default: Vec<Value>,
    /// The peer at several constant qualities.
    pub(super) peer_curve: Vec<Value>,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) name: &'static str,
    pub(super) ours: Option<f64>,
    pub(super) peer: Option<f64>,
    /// Every round's figure, for the plots.
    pub(super) ours_rounds: Vec<f64>,
    pub(super) peer_rounds: Vec<f64>,
    bar: Bar,
}

/// Whether a bar is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stretch,
    Met,
    Missed,
    /// Nothing to compare with was measured, or nothing to be met.
    Open,
}

const ROWS: [(&str, &str, Who, &str, Bar); 12] = [
    (
        "picture to pixel in Chromium, p50, ms",
        "propagation_ms_p50",
        Who::Chromium,
        "/propagation_ms/p50",
        Bar::Ratio(0.8, 0.6),
    ),
    (
        "picture to pixel in Chromium, p99, ms",
        "propagation_ms_p99",
        Who::Chromium,
        "/propagation_ms/p99",
        Bar::Ratio(0.8, 0.6),
    ),
    (
        "picture to pixel, native window, p50, ms",
        "native_propagation_ms_p50",
        Who::Native,
        "/propagation_ms/p50",
        Bar::Ratio(0.5, 0.35),
    ),
    (
        "picture to pixel, native window, p99, ms",
        "native_propagation_ms_p99",
        Who::Native,
        "/propagation_ms/p99",
        Bar::Ratio(0.5, 0.35),
    ),
    (
        "click to pixel in Chromium, p50, ms",
        "click_to_pixel_ms_p50",
        Who::Chromium,
        "/click_to_pixel_ms/p50",
        Bar::Ratio(0.8, 0.6),
    ),
    (
        "click to pixel in Chromium, p99, ms",
        "click_to_pixel_ms_p99",
        Who::Chromium,
        "/click_to_pixel_ms/p99",
        Bar::Ratio(0.8, 0.6),
    ),
    (
        "page opened to first frame, fresh browser, ms",
        "first_frame_cold_ms",
        Who::Opening,
        "/cold/ms",
        Bar::Ratio(0.6, 0.3),
    ),
    (
        "agent, still screen, % of a core",
        "agent_cpu_still_percent",
        Who::Chromium,
        "/agent_cpu_still_percent",
        Bar::Most(1.0, 0.3),
    ),
    (
        "agent, terminal scrolls, % of a core",
        "agent_cpu_scrolling_percent",
        Who::Chromium,
        "/agent_cpu_scrolling_percent",
        Bar::Ratio(0.7, 0.5),
    ),
    (
        "agent, resident, MB",
        "agent_rss_mb",
        Who::Chromium,
        "/agent_rss_mb",
        Bar::Most(60.0, 40.0),
    ),
    (
        "scroll, bytes a step at equal quality",
        "scroll_bytes_at_equal_quality",
        Who::Chromium,
        "/scenes/scroll",
        Bar::Ratio(0.8, 0.6),
    ),
    (
        "window drag, bytes a step at equal quality",
        "drag_bytes_at_equal_quality",
        Who::Chromium,
        "/scenes/drag",
        Bar::Ratio(0.8, 0.6),
    ),
];

#[derive(Clone, Copy, Debug)]
enum Who {
    Chromium,
    Native,
    Opening,
}

impl Turns {
    pub(super) fn rows(&self) -> Vec<Row> {
        let row =
            |(title, name, who, pointer, bar): (&'static str, &'static str, Who, &str, Bar)| {
                let (ours, peer) = match who {
                    Who::Chromium => (&self.ours, &self.peer),
                    Who::Native => (&self.native, &self.peer),
                    Who::Opening => (&self.openings, &self.peer_openings),
                };
                let (ours_rounds, peer_rounds) = if pointer.starts_with("/scenes/") {
                    self.bytes_at_equal_quality(pointer)
                } else {
                    (figures(ours, pointer), figures(peer, pointer))
                };
                Row {
                    title,
                    name,
                    ours: median(&ours_rounds),
                    peer: median(&peer_rounds),
                    ours_rounds,
                    peer_rounds,
                    bar: if self.has_cable { Bar::Nothing } else { bar },
                }
            };
        ROWS.into_iter().map(row).collect()
    }

    /// What the peer would send for pictures as good as ours, from its curve.
    fn bytes_at_equal_quality(&self, scene: &str) -> (Vec<f64>, Vec<f64>) {
        let ours = points(&self.ours, scene);
        let curve = points(&self.peer_curve, scene);
        let peer = ours
            .iter()
            .filter_map(|&(likeness, _)| bytes_on_curve(&curve, likeness));
        let peer = peer.collect();
        (ours.into_iter().map(|point| point.1).collect(), peer)
    }
}

impl Row {
    pub(super) fn ratio(&self) -> Option<f64> {
        let peer = self.peer.filter(|peer| *peer > 0.0)?;
        Some((self.ours? / peer * 1000.0).round() / 1000.0)
    }

    pub(super) fn verdict(&self) -> Verdict {
        let (figure, first, stretch) = match self.bar {
            Bar::Ratio(first, stretch) => (self.ratio(), first, stretch),
            Bar::Most(first, stretch) => (self.ours, first, stretch),
            Bar::Nothing => return Verdict::Open,
        };
        match figure {
            None => Verdict::Open,
            Some(figure) if figure <= stretch => Verdict::Stretch,
            Some(figure) if figure <= first => Verdict::Met,
            Some(_) => Verdict::Missed,
        }
    }

    pub(super) fn bar(&self) -> String {
        match self.bar {
            Bar::Ratio(first, stretch) => format!("≤ {first}× ({stretch}×)"),
            Bar::Most(first, stretch) => format!("≤ {first} ({stretch})"),
            Bar::Nothing => "–".to_owned(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio(),
            "bar": self.bar(),
            "verdict": self.verdict().word(),
            "ours_rounds": self.ours_rounds,
            "peer_rounds": self.peer_rounds,
        })
    }
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Open => "–",
        }
    }
}

pub(super) fn figures(turns: &[Value], pointer: &str) -> Vec<f64> {
    let figure = |turn: &Value| turn.pointer(pointer)?.as_f64();
    turns.iter().filter_map(figure).collect()
}

/// Likeness in motion (decibels of SSIM) and bytes a step, of each turn.
pub(super) fn points(turns: &[Value], scene: &str) -> Vec<(f64, f64)> {
    let of = |turn: &Value| {
        let scene = turn.pointer(scene)?;
        let likeness = scene["moving_ssim_db"].as_f64()?;
        Some((likeness, scene["moving_bytes_per_step"].as_f64()?))
    };
    turns.iter().filter_map(of).collect()
}

/// The curve at `likeness`: the logarithm of the bytes is a straight line over decibels, drawn
/// between the two points that enclose it, or the two nearest ones.
fn bytes_on_curve(curve: &[(f64, f64)], likeness: f64) -> Option<f64> {
    let mut sorted = curve.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let above = sorted.partition_point(|point| point.0 < likeness);
    let low = above.saturating_sub(1).min(sorted.len().checked_sub(2)?);
    let [(x0, y0), (x1, y1)] = [sorted[low], sorted[low + 1]];
    if x1 <= x0 || y0 <= 0.0 || y1 <= 0.0 {
        return None;
    }
    let slope = (y1.ln() - y0.ln()) / (x1 - x0);
    Some((y0.ln() + slope * (likeness - x0)).exp().round())
}

pub(super) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    let lower = if sorted.len().is_multiple_of(2) {
        sorted[middle - 1]
    } else {
        upper
    };
    Some(((lower + upper) / 2.0 * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_between_the_middle_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn bytes_double_evenly_along_the_curve() {
        let curve = [(20.0, 4000.0), (10.0, 1000.0)];
        assert_eq!(bytes_on_curve(&curve, 15.0), Some(2000.0));
        assert_eq!(bytes_on_curve(&curve, 25.0), Some(8000.0));
        assert_eq!(bytes_on_curve(&curve[..1], 15.0), None);
    }

    #[test]
    fn a_ratio_is_ours_over_the_peers_of_the_same_run() {
        let turn = |p50: f64| json!({ "propagation_ms": { "p50": p50 }, "agent_rss_mb": 50.0 });
        let turns = Turns {
            ours: vec![turn(10.0), turn(14.0)],
            peer: vec![turn(20.0), turn(20.0)],
            ..Turns::default()
        };
        let rows = turns.rows();
        assert_eq!(
            (rows[0].ratio(), rows[0].verdict()),
            (Some(0.6), Verdict::Stretch)
        );
        assert_eq!(rows[1].verdict(), Verdict::Open);
        let apart = Turns {
            has_cable: true,
            ours: vec![turn(10.0)],
            ..Turns::default()
        };
        assert_eq!(apart.rows()[0].verdict(), Verdict::Open);
        let memory = rows.iter().find(|row| row.name == "agent_rss_mb").unwrap();
        assert_eq!(memory.verdict(), Verdict::Met);
    }
}
