//! The time to the first frame: browsers that have seen no page yet, ours and the peer's in turns,
//! each with a profile of its own; and where ours spends it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::report::figure;
use super::verdict::{Turns, figures, median};
use super::{Options, Stream, selkies, turn};

/// Ours is opened twice in each browser: fresh, and with its files and connections known.
const OURS: &str = "2";

/// As many fresh browsers for each as the options say.
pub(super) fn measure(
    options: &Options,
    folder: &Path,
    stream: &Stream,
    peer: Option<&Path>,
    turns: &mut Turns,
) -> Result<()> {
    for browser in 1..=options.browsers {
        eprintln!("first frame, browser {browser} of {}", options.browsers);
        // In alternate order: what the machine does meanwhile hits both.
        let ours_first = browser % 2 == 1;
        if !ours_first {
            theirs(options, folder, peer, turns)?;
        }
        let folder_of_ours = folder.join("ours");
        let ours = turn::measure_opening(&stream.subject(), options, &folder_of_ours, OURS)?;
        turns.openings.push(ours);
        if ours_first {
            theirs(options, folder, peer, turns)?;
        }
    }
    Ok(())
}

fn theirs(options: &Options, folder: &Path, peer: Option<&Path>, turns: &mut Turns) -> Result<()> {
    if let Some(program) = peer {
        let opening = selkies::measure_opening(options, folder, program)?;
        turns.peer_openings.push(opening);
    }
    Ok(())
}

/// Both sides' openings, summed up.
pub(super) fn json(turns: &Turns) -> Value {
    json!({ "ours": summary(&turns.openings), "peer": summary(&turns.peer_openings) })
}

/// Lines for the table.
pub(super) fn lines(turns: &Turns) -> String {
    let mut text = String::new();
    for (name, openings) in [("ours", &turns.openings), ("Selkies", &turns.peer_openings)] {
        let told = summary(openings);
        if openings.is_empty() {
            continue;
        }
        let of = |pointer: &str| figure(told.pointer(pointer).and_then(Value::as_f64));
        let _ = writeln!(
            text,
            "first frame, {name}: {} ms ({} to {}, {} browsers), again {} ms, {} requests",
            of("/cold_ms/p50"),
            of("/cold_ms/min"),
            of("/cold_ms/max"),
            openings.len(),
            of("/warm_ms/p50"),
            of("/requests"),
        );
        let _ = writeln!(text, "  {}", steps(&told["at_ms"]));
    }
    text
}

/// What happened until then, in its order.
fn steps(at: &Value) -> String {
    let moments = at.as_object().into_iter().flatten();
    let mut moments: Vec<(&String, f64)> = moments
        .filter_map(|(name, at)| Some((name, at.as_f64()?)))
        .collect();
    moments.sort_by(|a, b| a.1.total_cmp(&b.1));
    let words = moments.iter().map(|(name, at)| format!("{name} {at}"));
    words.collect::<Vec<_>>().join(", ")
}

/// Medians over the browsers: the whole with its spread, and each moment of the cold opening.
fn summary(openings: &[Value]) -> Value {
    let mut at = Map::new();
    let cold = openings.iter().map(|opening| &opening["cold"]["at"]);
    for name in cold.filter_map(Value::as_object).flat_map(Map::keys) {
        let moments = figures(openings, &format!("/cold/at/{name}"));
        at.insert(name.clone(), json!(median(&moments)));
    }
    json!({
        "browsers": openings.len(),
        "cold_ms": spread(&figures(openings, "/cold/ms")),
        "warm_ms": spread(&figures(openings, "/warm/0/ms")),
        "requests": median(&figures(openings, "/cold/requests")),
        "at_ms": at,
    })
}

fn spread(all: &[f64]) -> Value {
    let least = all.iter().copied().reduce(f64::min);
    let most = all.iter().copied().reduce(f64::max);
    json!({ "p50": median(all), "min": least, "max": most, "all": all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(ms: f64, begun: f64) -> Value {
        let at = json!({ "begun": begun, "picture": ms - 10.0 });
        json!({ "cold": { "ms": ms, "requests": 3, "at": at }, "warm": [{ "ms": ms / 2.0 }] })
    }

    #[test]
    fn openings_become_medians_with_their_spread_and_their_moments() {
        let turns = Turns {
            openings: vec![
                opening(400.0, 90.0),
                opening(300.0, 80.0),
                opening(500.0, 70.0),
            ],
            ..Turns::default()
        };
        let told = &json(&turns)["ours"];
        assert_eq!(
            (&told["cold_ms"]["p50"], &told["cold_ms"]["max"]),
            (&json!(400.0), &json!(500.0))
        );
        assert_eq!(told["warm_ms"]["p50"], json!(200.0));
        assert_eq!(
            lines(&turns),
            "first frame, ours: 400 ms (300 to 500, 3 browsers), again 200 ms, 3 requests\n  begun 80, picture 390\n"
        );
    }

    #[test]
    fn a_peer_that_was_not_measured_has_no_line() {
        let turns = Turns {
            openings: vec![opening(400.0, 90.0)],
            ..Turns::default()
        };
        assert!(!lines(&turns).contains("Selkies"));
        assert_eq!(json(&turns)["peer"]["cold_ms"]["p50"], Value::Null);
    }
}
