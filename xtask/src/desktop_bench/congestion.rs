//! A path that loses nine tenths of its rate: how soon less is sent, and how much waits on the way
//! meanwhile. Once while the whole screen moves and fills the path; once while a terminal scrolls, and
//! needs a quarter more than what is left.
//!
//! The bucket's own counters are read every few milliseconds: what left it and what waits in it,
//! together what the agent host offered.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{Stream, network, stage};
use crate::repository::program;
use crate::up::part::{Crew, Ready};

/// Kilobits a second before and after the drop.
const RATE_KBIT: u64 = 20_000;
const DROPPED_KBIT: u64 = 2_000;
/// Until the rate has been looked for (probes of 65 kB, 5 s apart: one that meets the drop would wait
/// 260 ms by itself), and how long the low rate is looked at.
const BEFORE: Duration = Duration::from_secs(16);
const AFTER: Duration = Duration::from_secs(8);
/// Over which the offered rate is counted.
const RATE_WINDOW: Duration = Duration::from_millis(100);
/// Less than this share of the rate before is a cut, and so is no more than the path carries: who
/// needed little more than that has nothing else to cut.
const CUT_SHARE: f64 = 0.5;
/// Bars of the design.
const CUT_MS_MAX: f64 = 300.0;
const QUEUE_MS_MAX: f64 = 150.0;

/// What the desktop does meanwhile: a name, and what stirs it.
const LOADS: [(&str, &[&str]); 2] = [
    ("scroll", &["--scene", "scroll", "--hertz", "60"]),
    ("motion", &["--hertz", "60"]),
];

/// One look at the bucket.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Duration,
    sent: u64,
    backlog: u64,
}

/// A session for each load, the drop, and what became of it.
pub(super) fn measure(folder: &Path, stream: &Stream, cable: network::Cable) -> Result<Value> {
    network::set_rate("add", RATE_KBIT)?;
    let measured = LOADS.into_iter().map(|(name, stir)| {
        let logs = folder.join("congestion-logs").join(name);
        let mut crew = Crew::new(logs.clone())?;
        let looks = network::set_rate("change", RATE_KBIT)
            .and_then(|()| start(stream, stir, &mut crew))
            .and_then(|()| watch_the_drop());
        crew.take_down();
        let (dropped_at, looks) = looks?;
        fs::write(logs.join("looks.csv"), table(dropped_at, &looks))?;
        anyhow::Ok((name.to_owned(), summary(dropped_at, &looks)))
    });
    Ok(json!({
        "bench": "congestion",
        "network": cable.to_string(),
        "kbit": [RATE_KBIT, DROPPED_KBIT],
        "loads": measured.collect::<Result<Map<_, _>>>()?,
    }))
}

fn start(stream: &Stream, stir: &[&str], crew: &mut Crew) -> Result<()> {
    let probe = program("lab-probe").display().to_string();
    let stir = [&["stir", "--display", &stream.display], stir].concat();
    crew.start(stage::spec("stir", &probe, &stir, "", Ready::AtOnce))?;
    let viewer = program("multiclaw-viewer").display().to_string();
    let connect = stream.connect_args();
    let mut args: Vec<&str> = connect.iter().map(String::as_str).collect();
    args.extend(["--headless", "--stats", "json", "--duration", "60"]);
    crew.start(stage::spec("viewer", &viewer, &args, "", Ready::AtOnce))?;
    Ok(())
}

fn watch_the_drop() -> Result<(Duration, Vec<Look>)> {
    let begun = Instant::now();
    let mut looks = Vec::new();
    while begun.elapsed() < BEFORE {
        looks.push(look(begun)?);
    }
    network::set_rate("change", DROPPED_KBIT)?;
    let dropped_at = begun.elapsed();
    while begun.elapsed() < dropped_at + AFTER {
        looks.push(look(begun)?);
    }
    Ok((dropped_at, looks))
}

fn look(begun: Instant) -> Result<Look> {
    let show = [
        "-n",
        network::HOSTS,
        "-s",
        "-j",
        "qdisc",
        "show",
        "dev",
        "lab0",
    ];
    let text = network::call("tc", &show)?;
    let at = begun.elapsed();
    let all: Value = serde_json::from_str(&text).context("tc answers with JSON")?;
    let bucket = all.as_array().into_iter().flatten();
    let bucket = bucket.into_iter().find(|one| one["kind"] == "tbf");
    let bucket = bucket.context("the bucket is there")?;
    let counter = |name: &str| bucket[name].as_u64().context("tc counts");
    thread::sleep(Duration::from_millis(5));
    Ok(Look {
        at,
        sent: counter("bytes")?,
        backlog: counter("backlog")?,
    })
}

/// Every look, for whoever wants to see what happened: seconds since the drop, bytes.
fn table(dropped_at: Duration, looks: &[Look]) -> String {
    let line = |look: &Look| {
        let since = look.at.as_secs_f64() - dropped_at.as_secs_f64();
        format!("{since:.3},{},{}\n", look.sent, look.backlog)
    };
    let lines: String = looks.iter().map(line).collect();
    format!("since_drop_s,sent_bytes,backlog_bytes\n{lines}")
}

fn summary(dropped_at: Duration, looks: &[Look]) -> Value {
    let offered = |look: &Look| look.sent + look.backlog;
    let rate_at = |index: usize| {
        let now = looks.get(index)?;
        let from = looks[..index]
            .iter()
            .rfind(|look| look.at + RATE_WINDOW <= now.at)?;
        let bytes = offered(now).saturating_sub(offered(from)) as f64;
        Some(bytes * 8.0 / 1000.0 / (now.at - from.at).as_secs_f64())
    };
    let split = looks.partition_point(|look| look.at <= dropped_at);
    let before: Vec<f64> = (split / 2..split).filter_map(rate_at).collect();
    let before = before.iter().sum::<f64>() / before.len().max(1) as f64;
    let cut_kbit = (before * CUT_SHARE).max(DROPPED_KBIT as f64);
    let cut = (split..looks.len()).find(|&index| {
        looks[index].at >= dropped_at + RATE_WINDOW
            && rate_at(index).is_some_and(|rate| rate <= cut_kbit)
    });
    let queue_ms = |looks: &[Look], kbit: u64| {
        let most = looks.iter().map(|look| look.backlog).max();
        most.unwrap_or(0) as f64 * 8.0 / kbit as f64
    };
    let round = |figure: f64| (figure * 10.0).round() / 10.0;
    let settled = looks.partition_point(|look| look.at <= dropped_at + AFTER / 2);
    let cut_ms = cut.map(|index| round((looks[index].at - dropped_at).as_secs_f64() * 1000.0));
    let peak = round(queue_ms(&looks[split..], DROPPED_KBIT));
    json!({
        "offered_kbit_before": round(before),
        "first_cut_ms": cut_ms,
        "queue_peak_ms_before": round(queue_ms(&looks[split / 2..split], RATE_KBIT)),
        "queue_peak_ms": peak,
        "queue_peak_ms_settled": round(queue_ms(&looks[settled..], DROPPED_KBIT)),
        "looks": looks.len(),
        "met": cut_ms.is_some_and(|cut| cut <= CUT_MS_MAX) && peak <= QUEUE_MS_MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look each 10 ms at a bucket into which `offered` kilobits a second are poured.
    fn looks(kbit: impl Fn(u64) -> (u64, u64)) -> Vec<Look> {
        let (mut sent, mut all) = (0, 0);
        (0..200)
            .map(|step| {
                let (offered, carried) = kbit(step);
                all += offered * 10 / 8;
                sent = (sent + carried * 10 / 8).min(all);
                Look {
                    at: Duration::from_millis(step * 10),
                    sent,
                    backlog: all - sent,
                }
            })
            .collect()
    }

    #[test]
    fn the_cut_and_the_queue_are_read_from_the_buckets_counters() {
        // 10 Mbit/s; at 1 s the path carries 1 Mbit/s; at 1.1 s the sender obeys.
        let looks = looks(|step| match step {
            0..=100 => (10_000, 10_000),
            101..=110 => (10_000, 1_000),
            _ => (500, 1_000),
        });
        let found = summary(Duration::from_millis(1_000), &looks);
        assert_eq!(found["offered_kbit_before"], json!(10_000.0));
        let cut = found["first_cut_ms"].as_f64().unwrap();
        assert!((100.0..=180.0).contains(&cut), "{found}");
        // 100 ms at 9 Mbit/s too much is 112,500 bytes, at 2 Mbit/s 450 ms.
        assert_eq!(found["queue_peak_ms"], json!(450.0));
        assert_eq!(found["met"], json!(false));
    }
}
