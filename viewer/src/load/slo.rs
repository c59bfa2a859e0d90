//! What a load must fulfil: a TOML file of bounds, checked against the report.
//!
//! ```toml
//! failed_percent = 1
//! loss_percent = 0.5
//! stalled_percent = 1
//! [first_frame_ms]
//! p50 = 250
//! p99 = 1000
//! [picture_ms]
//! p99 = 60
//! ```
//!
//! Rule: a bound on what was not measured is missed, and so is every bound if the generator was the
//! limit: such figures prove nothing.

use protocol::mistake::closest;
use serde_json::Value;

use super::ledger::Metric;
use super::report::Report;

/// Bounds that are one figure of the report.
const SINGLE: [&str; 6] = [
    "failed_percent",
    "loss_percent",
    "stalled_percent",
    "clicks_lost",
    "strips_missing",
    "bitrate_kbps_per_session",
];
/// Figures of a latency that can be bound.
const FIGURES: [&str; 6] = ["mean", "p50", "p90", "p99", "p99.9", "max"];

/// One figure and its bound: at most so much.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub name: String,
    pub figure: Option<String>,
    pub most: f64,
}

/// A file of bounds that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SloError {
    #[error("not TOML: {0}")]
    Syntax(String),
    #[error("unknown key {key}{}", close(.closest))]
    Unknown {
        key: String,
        closest: Option<String>,
    },
    #[error("{0} must be a number")]
    NotANumber(String),
    #[error("there is no bound in it")]
    Empty,
}

fn close(closest: &Option<String>) -> String {
    let mean = |name| format!("; did you mean {name}?");
    closest.as_ref().map(mean).unwrap_or_default()
}

/// # Errors
///
/// [`SloError`], naming the key.
pub fn parse(text: &str) -> Result<Vec<Bound>, SloError> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| SloError::Syntax(error.to_string()))?;
    let mut bounds = Vec::new();
    for (key, value) in table {
        if SINGLE.contains(&key.as_str()) {
            let most = number(&key, &value)?;
            bounds.push(Bound {
                name: key,
                figure: None,
                most,
            });
            continue;
        }
        if !Metric::ALL.iter().any(|metric| metric.name() == key) {
            let names = Metric::ALL.map(Metric::name);
            return Err(unknown(&key, names.into_iter().chain(SINGLE)));
        }
        let Some(figures) = value.as_table() else {
            return Err(SloError::Unknown {
                closest: Some(format!("[{key}]")),
                key,
            });
        };
        for (figure, value) in flatten(figures) {
            let name = format!("{key}.{figure}");
            if !FIGURES.contains(&figure.as_str()) {
                return Err(unknown(&name, FIGURES.into_iter()));
            }
            bounds.push(Bound {
                name: key.clone(),
                figure: Some(figure),
                most: number(&name, value)?,
            });
        }
    }
    if bounds.is_empty() {
        return Err(SloError::Empty);
    }
    Ok(bounds)
}

/// `p99.9 = 5` is `p99` with a `9` inside, to TOML.
fn flatten(figures: &toml::Table) -> Vec<(String, &toml::Value)> {
    let mut flat = Vec::new();
    for (figure, value) in figures {
        match value.as_table() {
            Some(inner) => flat.extend(
                inner
                    .iter()
                    .map(|(rest, value)| (format!("{figure}.{rest}"), value)),
            ),
            None => flat.push((figure.clone(), value)),
        }
    }
    flat
}

fn number(name: &str, value: &toml::Value) -> Result<f64, SloError> {
    let whole = value.as_integer().map(|whole| whole as f64);
    let number = value.as_float().or(whole).filter(|value| value.is_finite());
    number.ok_or_else(|| SloError::NotANumber(name.to_owned()))
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> SloError {
    let last = key.rsplit('.').next().unwrap_or(key);
    let closest = closest(last, known).map(str::to_owned);
    SloError::Unknown {
        key: key.to_owned(),
        closest,
    }
}

/// What was missed, one sentence each; empty if all was fulfilled.
pub fn check(bounds: &[Bound], report: &Report) -> Vec<String> {
    let figures = serde_json::to_value(report).unwrap_or_default();
    let mut missed: Vec<_> = bounds
        .iter()
        .filter_map(|bound| miss(bound, &figures))
        .collect();
    if !report.generator.limits.is_empty() {
        missed.push(format!(
            "the generator was the limit, so the figures prove nothing: {}",
            report.generator.limits.join("; ")
        ));
    }
    missed
}

fn miss(bound: &Bound, report: &Value) -> Option<String> {
    let Bound { name, figure, most } = bound;
    let (words, value) = match figure {
        None => (name.clone(), &report[name]),
        Some(figure) => (
            format!("{name} {figure}"),
            &report["latencies"][name][figure],
        ),
    };
    match value.as_f64() {
        None => Some(format!("{words} was not measured")),
        Some(value) if value > *most => Some(format!("{words} is {value}, at most {most}")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    fn missed(text: &str) -> Vec<String> {
        check(&parse(text).unwrap(), &report())
    }

    #[test]
    fn bounds_that_hold_are_silent() {
        let none: [String; 0] = [];
        assert_eq!(
            missed("failed_percent = 25\n[first_frame_ms]\np50 = 51\np99.9 = 101"),
            none
        );
    }

    #[test]
    fn a_missed_bound_says_figure_and_bound() {
        assert_eq!(
            missed("failed_percent = 1"),
            ["failed_percent is 25, at most 1"]
        );
        let late = missed("[input_ms]\np99 = 20");
        assert!(late[0].starts_with("input_ms p99 is 99"), "{late:?}");
    }

    #[test]
    fn a_bound_on_what_was_not_measured_is_missed() {
        assert_eq!(
            missed("[timer_lag_ms]\np99 = 5"),
            ["timer_lag_ms p99 was not measured"]
        );
    }

    #[test]
    fn if_the_generator_was_the_limit_nothing_is_proven() {
        let mut report = report();
        report.generator.limits.push("it was busy".into());
        let bounds = parse("failed_percent = 90").unwrap();
        assert_eq!(check(&bounds, &report).len(), 1);
    }

    #[test]
    fn an_unknown_key_names_the_closest() {
        let said = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            said("failed_precent = 1"),
            "unknown key failed_precent; did you mean failed_percent?"
        );
        assert_eq!(
            said("[first_frames_ms]\np50 = 1"),
            "unknown key first_frames_ms; did you mean first_frame_ms?"
        );
        assert_eq!(
            said("[ice_ms]\np98 = 1"),
            "unknown key ice_ms.p98; did you mean p99?"
        );
        assert_eq!(
            said("ice_ms = 5"),
            "unknown key ice_ms; did you mean [ice_ms]?"
        );
        assert_eq!(
            said("loss_percent = \"none\""),
            "loss_percent must be a number"
        );
        assert_eq!(said(""), "there is no bound in it");
        assert!(said("[").starts_with("not TOML"));
    }
}
