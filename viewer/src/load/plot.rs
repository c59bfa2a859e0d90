//! Plots as SVG text: percentile curves, dots over time, a heat map, steps over time.
//!
//! Nothing is fetched and nothing runs: the drawing is all there is. Colours are CSS variables of
//! the page, so a plot follows its light or dark theme.

use std::fmt::Write as _;

/// Size of a plot in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// Room for the labels: left, top, right, bottom.
const MARGIN: [f64; 4] = [56.0, 12.0, 12.0, 34.0];
/// Colours that stand apart, one for each curve; `--c0` … in the page.
pub(super) const COLOURS: usize = 6;
/// Columns and rows of a heat map.
const HEAT: (usize, usize) = (60, 24);

/// A curve or a cloud of dots.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// How an axis goes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Linear,
    /// Each decade as wide as the next; from 0.1.
    Log,
}

struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    /// On the paper.
    start: f64,
    end: f64,
}

/// No axis is longer: eleven days in milliseconds.
const VALUE_MAX: f64 = 1e9;

impl Axis {
    fn new(scale: Scale, most: f64, (start, end): (f64, f64)) -> Self {
        let most = most.clamp(0.0, VALUE_MAX);
        let (from, to) = match scale {
            Scale::Linear => (0.0, nice(most)),
            Scale::Log => (0.1, 10_f64.powf(most.max(1.0).log10().ceil().max(1.0))),
        };
        Self {
            scale,
            from,
            to,
            start,
            end,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => {
                let decades = (self.to / self.from).log10();
                (value.max(self.from) / self.from).log10() / decades
            }
        };
        self.start + part.clamp(0.0, 1.0) * (self.end - self.start)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => (0..=5).map(|n| self.to * f64::from(n) / 5.0).collect(),
            Scale::Log => std::iter::successors(Some(self.from), |at| Some(at * 10.0))
                .take_while(|at| *at <= self.to * 1.001)
                .collect(),
        }
    }
}

/// The next round number.
fn nice(most: f64) -> f64 {
    let most = most.max(1e-3);
    let decade = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|bound| *bound >= most)
        .unwrap_or(most)
}

/// Time, or a share, from left to right.
fn across(scale: Scale, most: f64) -> Axis {
    Axis::new(scale, most, (MARGIN[0], WIDTH - MARGIN[2]))
}

fn upwards(scale: Scale, most: f64) -> Axis {
    Axis::new(scale, most, (HEIGHT - MARGIN[3], MARGIN[1]))
}

/// Latency over the share of samples above it: `quantile` → 1/(1 − quantile), so that each further
/// nine has the same room. Points are (quantile, ms).
pub(super) fn percentiles(series: &[Series]) -> String {
    let most = most(series, |point| point.1);
    let (x, y) = (across(Scale::Log, 10_000.0), upwards(Scale::Log, most));
    let mut svg = open("Latency by percentile");
    for (value, label) in [
        (1.0, "0 %"),
        (2.0, "50 %"),
        (10.0, "90 %"),
        (100.0, "99 %"),
        (1000.0, "99.9 %"),
        (10_000.0, "99.99 %"),
    ] {
        tick_below(&mut svg, nines(&x, value), label);
    }
    ticks_left(&mut svg, &y, "ms");
    for (index, one) in series.iter().enumerate() {
        let path: Vec<_> = one
            .points
            .iter()
            .map(|(quantile, ms)| {
                let above = 1.0 / (1.0 - quantile).max(1e-4);
                (nines(&x, above), y.place(*ms))
            })
            .collect();
        line(&mut svg, &path, index);
    }
    close(svg, series)
}

/// From 1, not from 0.1.
fn nines(x: &Axis, value: f64) -> f64 {
    let part = value.max(1.0).log10() / 4.0;
    x.start + part.clamp(0.0, 1.0) * (x.end - x.start)
}

/// Dots over seconds.
pub(super) fn dots(title: &str, series: &[Series], seconds: f64) -> String {
    let (x, y) = (
        across(Scale::Linear, seconds),
        upwards(Scale::Log, most(series, |point| point.1)),
    );
    let mut svg = open(title);
    ticks_across(&mut svg, &x);
    ticks_left(&mut svg, &y, "ms");
    for (index, one) in series.iter().enumerate() {
        let colour = index % COLOURS;
        let _ = write!(svg, "<g fill=\"var(--c{colour})\" fill-opacity=\"0.55\">");
        for (at, value) in &one.points {
            let (at, value) = (x.place(*at), y.place(*value));
            let _ = write!(svg, "<circle cx=\"{at:.1}\" cy=\"{value:.1}\" r=\"2\"/>");
        }
        svg += "</g>";
    }
    close(svg, series)
}

/// Steps over seconds.
pub(super) fn steps(title: &str, series: &[Series], seconds: f64) -> String {
    let (x, y) = (
        across(Scale::Linear, seconds),
        upwards(Scale::Linear, most(series, |point| point.1)),
    );
    let mut svg = open(title);
    ticks_across(&mut svg, &x);
    ticks_left(&mut svg, &y, "");
    for (index, one) in series.iter().enumerate() {
        let mut path = Vec::new();
        for (at, value) in &one.points {
            let (at, value) = (x.place(*at), y.place(*value));
            if let Some((_, before)) = path.last().copied() {
                path.push((at, before));
            }
            path.push((at, value));
        }
        line(&mut svg, &path, index);
    }
    close(svg, series)
}

/// How many of the points fall where: seconds across, milliseconds upwards, both in equal cells.
pub(super) fn heat(title: &str, points: &[(f64, f64)], seconds: f64) -> String {
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let (x, y) = (across(Scale::Linear, seconds), upwards(Scale::Log, most));
    let (columns, rows) = HEAT;
    let mut cells = vec![0_u32; columns * rows];
    let index = |value: f64, axis: &Axis, count: usize| {
        let part = (axis.place(value) - axis.start) / (axis.end - axis.start);
        ((part * count as f64) as usize).min(count - 1)
    };
    for (at, value) in points {
        cells[index(*value, &y, rows) * columns + index(*at, &x, columns)] += 1;
    }
    let fullest = f64::from(cells.iter().copied().max().unwrap_or(1).max(1));
    let (width, height) = (
        (x.end - x.start) / columns as f64,
        (y.start - y.end) / rows as f64,
    );
    let mut svg = open(title);
    for (cell, count) in cells.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (row, column) = (cell / columns, cell % columns);
        let left = x.start + column as f64 * width;
        let top = y.start - (row + 1) as f64 * height;
        // The square root lets a single late one be seen beside thousands.
        let shade = (f64::from(*count) / fullest).sqrt().max(0.15);
        let _ = write!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"var(--c0)\" fill-opacity=\"{shade:.2}\"><title>{count}</title></rect>"
        );
    }
    ticks_across(&mut svg, &x);
    ticks_left(&mut svg, &y, "ms");
    close(svg, &[])
}

fn most(series: &[Series], of: impl Fn(&(f64, f64)) -> f64) -> f64 {
    let all = series.iter().flat_map(|one| one.points.iter().map(&of));
    all.fold(0.0, f64::max)
}

fn open(title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    )
}

fn ticks_across(svg: &mut String, x: &Axis) {
    for value in x.ticks() {
        tick_below(svg, x.place(value), &format!("{} s", short(value)));
    }
}

fn tick_below(svg: &mut String, at: f64, label: &str) {
    let (top, bottom) = (MARGIN[1], HEIGHT - MARGIN[3]);
    let _ = write!(
        svg,
        "<path class=\"grid\" d=\"M{at:.1} {top}V{bottom}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
        bottom + 18.0
    );
}

fn ticks_left(svg: &mut String, y: &Axis, unit: &str) {
    for value in y.ticks() {
        let at = y.place(value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{} {at:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} {unit}</text>",
            MARGIN[0],
            WIDTH - MARGIN[2],
            MARGIN[0] - 6.0,
            at + 4.0,
            short(value)
        );
    }
}

fn line(svg: &mut String, path: &[(f64, f64)], index: usize) {
    let mut d = String::new();
    for (i, (x, y)) in path.iter().enumerate() {
        let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    let colour = index % COLOURS;
    let _ = write!(
        svg,
        "<path d=\"{d}\" fill=\"none\" stroke=\"var(--c{colour})\" stroke-width=\"2\"/>"
    );
}

/// The plot's end, and what its colours mean.
fn close(svg: String, series: &[Series]) -> String {
    let mut plot = svg + "</svg>";
    if !series.is_empty() {
        plot += "<p class=\"legend\">";
        for (index, one) in series.iter().enumerate() {
            let (colour, name) = (index % COLOURS, escape(&one.name));
            let _ = write!(
                plot,
                "<span><i style=\"background:var(--c{colour})\"></i>{name}</span> "
            );
        }
        plot += "</p>";
    }
    plot
}

fn short(value: f64) -> String {
    if value >= 1000.0 && value % 1000.0 == 0.0 {
        return format!("{}k", value / 1000.0);
    }
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text for HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '&' => "&amp;".to_owned(),
            '"' => "&quot;".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(svg: &str) -> Vec<f64> {
        svg.split(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-')))
            .filter_map(|word| word.parse().ok())
            .collect()
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, bound) in [
            (0.0, 1e-3),
            (0.7, 1.0),
            (12.0, 20.0),
            (41.0, 50.0),
            (99.0, 100.0),
        ] {
            assert!((nice(most) - bound).abs() < 1e-9, "{most}");
        }
    }

    #[test]
    fn every_point_lies_on_the_paper_whatever_its_value() {
        let wild = [f64::MAX, -5.0, 0.0, 1e-9, 3.0];
        let points: Vec<_> = wild.iter().map(|value| (value.min(1e9), *value)).collect();
        let series = [Series {
            name: "a".into(),
            points: points.clone(),
        }];
        let axis = upwards(Scale::Log, 100.0);
        for (_, value) in &points {
            assert!((MARGIN[1]..=HEIGHT).contains(&axis.place(*value)));
        }
        for svg in [
            dots("t", &series, 10.0),
            steps("t", &series, 10.0),
            percentiles(&series),
            heat("t", &points, 10.0),
        ] {
            assert!(numbers(&svg).iter().all(|n| n.is_finite()), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
