//! The report as one page that needs nothing else: no script, no font, no address to fetch from.

use std::fmt::Write as _;
use std::time::Duration;

use super::ledger::{Dot, Ledger, Metric};
use super::plot::{self, Series, escape};
use super::report::Report;

/// Points of a percentile curve, per halving of what is above.
const TICKS_PER_HALF: u32 = 5;
/// Dots drawn per plot; of more, every n-th.
const DOTS_DRAWN_MAX: usize = 4000;

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1a1d21;--dim:#667;--line:#dde;--c0:#2563eb;--c1:#059669;--c2:#d97706;--c3:#9333ea;--c4:#dc2626;--c5:#0891b2}
@media(prefers-color-scheme:dark){:root{--bg:#14161a;--fg:#e8eaed;--dim:#99a;--line:#2c3038;--c0:#60a5fa;--c1:#34d399;--c2:#fbbf24;--c3:#c084fc;--c4:#f87171;--c5:#22d3ee}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;background:var(--bg);color:var(--fg);max-width:1080px;margin:0 auto;padding:24px}
h1{font-size:24px;margin:0}h2{font-size:17px;margin:32px 0 8px}table{border-collapse:collapse;width:100%}.wide{overflow-x:auto}
th,td{text-align:right;padding:3px 10px;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums;white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{color:var(--dim);font-weight:500}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--dim)}svg .grid{stroke:var(--line);fill:none}
.legend span{margin-right:14px;color:var(--dim)}.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.warn{border-left:4px solid var(--c4);padding:8px 14px;background:color-mix(in srgb,var(--c4) 10%,transparent)}
.good{border-left:4px solid var(--c1);padding:8px 14px}.dim{color:var(--dim)}
";

/// The page. `missed` is what an SLO file found wanting; `None` if there was none.
pub fn page(report: &Report, ledger: &Ledger, missed: Option<&[String]>) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Load test</title><style>{STYLE}</style><h1>Load test</h1>"
    );
    page += &headline(report);
    page += &verdicts(report, missed);
    page += &latencies(report);
    page += "<h2>Latency by percentile</h2>";
    page += &plot::percentiles(&curves(ledger));
    page += &over_time(report, ledger);
    page += &counts(report);
    page += &costs(report);
    page
}

fn headline(report: &Report) -> String {
    let asked = &report.asked;
    format!(
        "<p class=\"dim\">{} sessions, {} arrivals at {}/s (seed {}), {} s each, path {}. {} ended well, {} failed, {} live at once; it took {:.1} s.</p>",
        report.arrived,
        escape(&asked.arrivals),
        asked.per_second,
        asked.seed,
        asked.hold_secs,
        escape(&asked.mode),
        report.ended_well,
        report.failed,
        report.live_most,
        report.took_secs
    )
}

fn verdicts(report: &Report, missed: Option<&[String]>) -> String {
    let mut text = String::new();
    if !report.generator.limits.is_empty() {
        let why = escape(&report.generator.limits.join("; "));
        let _ = write!(
            text,
            "<p class=\"warn\"><b>The generator was the limit:</b> {why}. These figures are its own as much as the service's.</p>"
        );
    }
    match missed {
        None => {}
        Some([]) => text += "<p class=\"good\">Every bound of the SLO file is kept.</p>",
        Some(missed) => {
            text += "<p class=\"warn\"><b>Bounds missed:</b> ";
            text += &escape(&missed.join("; "));
            text += "</p>";
        }
    }
    text
}

fn latencies(report: &Report) -> String {
    let mut text = String::from(
        "<h2>Latencies in milliseconds</h2><div class=\"wide\"><table><thead><tr><th>from the intended instant<th>p50<th>p90<th>p99<th>p99.9<th>max<th>mean<th>count</thead><tbody>",
    );
    for metric in Metric::ALL {
        if let Some(all) = report.latency(metric) {
            let _ = write!(
                text,
                "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}",
                metric.words(),
                all.p50,
                all.p90,
                all.p99,
                all.p999,
                all.max,
                all.mean,
                all.count
            );
        }
    }
    text + "</tbody></table></div>"
}

/// The curves people ask for first, as far as there are any.
fn curves(ledger: &Ledger) -> Vec<Series> {
    let wanted = [
        Metric::FirstFrame,
        Metric::Frame,
        Metric::Picture,
        Metric::Input,
        Metric::RoundTrip,
        Metric::Dtls,
    ];
    wanted
        .into_iter()
        .filter(|metric| !ledger.histogram(*metric).is_empty())
        .map(|metric| Series {
            name: metric.words().to_owned(),
            points: ledger
                .histogram(metric)
                .iter_quantiles(TICKS_PER_HALF)
                .map(|step| (step.quantile(), step.value_iterated_to() as f64 / 1000.0))
                .collect(),
        })
        .collect()
}

fn over_time(report: &Report, ledger: &Ledger) -> String {
    let seconds = report.took_secs;
    let mut text = String::from("<h2>Sessions over time</h2>");
    let of = |name: &str, value: fn(&super::ledger::Second) -> u64| Series {
        name: name.to_owned(),
        points: ledger
            .seconds
            .iter()
            .map(|second| (second.at.as_secs_f64(), value(second) as f64))
            .collect(),
    };
    let counts = [
        of("arrived", |second| second.arrived),
        of("live", |second| second.live),
        of("failed", |second| second.failed),
    ];
    text += &plot::steps("Sessions over time", &counts, seconds);
    text += "<h2>First frame of each session</h2>";
    text += &plot::dots(
        "First frames",
        &series(ledger, &[Metric::FirstFrame]),
        seconds,
    );
    let inputs = series(ledger, &[Metric::Picture, Metric::Input]);
    if !inputs.is_empty() {
        text += "<h2>Picture changes and clicks</h2>";
        text += &plot::dots("Picture changes and clicks", &inputs, seconds);
    }
    let frames = points(&ledger.dots, Metric::Frame);
    if !frames.is_empty() {
        text += "<h2>Captured → frame here, all sessions</h2>";
        text += &plot::heat("Frames over time", &frames, seconds);
    }
    text
}

fn series(ledger: &Ledger, metrics: &[Metric]) -> Vec<Series> {
    metrics
        .iter()
        .map(|metric| Series {
            name: metric.words().to_owned(),
            points: thinned(points(&ledger.dots, *metric)),
        })
        .filter(|series| !series.points.is_empty())
        .collect()
}

fn points(dots: &[Dot], metric: Metric) -> Vec<(f64, f64)> {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    dots.iter()
        .filter(|dot| dot.metric == metric)
        .map(|dot| (dot.at.as_secs_f64(), ms(dot.value)))
        .collect()
}

fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(DOTS_DRAWN_MAX).max(1);
    points.into_iter().step_by(every).collect()
}

fn counts(report: &Report) -> String {
    let mut text = String::from("<h2>Counts</h2><div class=\"wide\"><table><tbody>");
    let mut row = |name: &str, value: String| {
        let _ = write!(text, "<tr><td>{}<td>{}", escape(name), escape(&value));
    };
    for (path, count) in &report.paths {
        row(&format!("path {path}"), count.to_string());
    }
    for failure in &report.failures {
        row(
            &format!("failed: {} ({})", failure.reason, failure.cause),
            failure.count.to_string(),
        );
    }
    row(
        "bitrate per session",
        format!("{} kbit/s", report.bitrate_kbps_per_session),
    );
    row(
        "frames per second and session",
        report.frames_per_second_per_session.to_string(),
    );
    row(
        "stalls",
        format!(
            "{} ({} % of the time)",
            report.stalls, report.stalled_percent
        ),
    );
    let loss = report.loss_percent;
    row(
        "packets lost",
        loss.map_or("unknown".into(), |loss| format!("{loss} %")),
    );
    row("retransmissions asked for", report.nacks.to_string());
    row("clicks", report.clicks.to_string());
    row("clicks never answered", report.clicks_lost.to_string());
    row(
        "media per session",
        format!("{} B", report.media_bytes_per_session),
    );
    row(
        "signalling per session",
        format!("{} B", report.signalling_bytes_per_session),
    );
    row(
        "generator",
        format!("{} % of the machine", report.generator.cpu_percent),
    );
    text + "</tbody></table></div>"
}

fn costs(report: &Report) -> String {
    if report.costs.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<h2>What each part spent</h2><div class=\"wide\"><table><thead><tr><th>part<th>CPU ms<th>per session<th>per session-minute<th>memory before, MiB<th>at most, MiB<th>per session, MiB<th>bytes per session</thead><tbody>",
    );
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1}"));
    let mebi = |value: Option<f64>| number(value.map(|bytes| bytes / 1_048_576.0));
    for cost in &report.costs {
        let _ = write!(
            text,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}",
            escape(&cost.part),
            number(cost.cpu_ms),
            number(cost.cpu_ms_per_session),
            number(cost.cpu_ms_per_session_minute),
            mebi(cost.memory_before_bytes.map(|bytes| bytes as f64)),
            mebi(cost.memory_most_bytes.map(|bytes| bytes as f64)),
            mebi(cost.memory_bytes_per_session),
            number(cost.bytes_per_session)
        );
    }
    text + "</tbody></table></div>"
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{ledger, report};
    use super::*;

    #[test]
    fn the_page_fetches_and_runs_nothing() {
        let page = page(&report(), &ledger(), None);
        for foreign in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<svg").count(), 5);
    }

    #[test]
    fn words_of_the_service_are_text() {
        let page = page(&report(), &ledger(), Some(&["a < b".to_owned()]));
        assert!(page.contains("No way &lt;through&gt;."));
        assert!(page.contains("a &lt; b"));
    }

    #[test]
    fn of_very_many_dots_some_are_drawn() {
        let many = vec![(1.0, 1.0); 3 * DOTS_DRAWN_MAX + 1];
        assert!(thinned(many).len() <= DOTS_DRAWN_MAX);
    }
}
