//! The native viewer on the same stage: its window on a display of its own, watched by the same
//! probe, and headless for the time to the first picture.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Options, probe, spec, x_server};
use crate::repository::program;
use crate::run;
use crate::up::desktop;
use crate::up::part::{Crew, Ready};

/// Headless sessions for the time to the first picture, after one that warms everything.
const FIRST_PICTURES: usize = 5;
/// One of them, in seconds: a busy machine has its picture before the last line of statistics.
const SESSION: &str = "2.5";
const SESSION_LIMIT: Duration = Duration::from_secs(30);

/// Figures of the native viewer on the desktop `up` made.
pub(super) fn measure(options: &Options, folder: &Path, up: &Value) -> Result<Value> {
    let mut crew = Crew::new(folder.join("native-logs"))?;
    let figures = measure_with(options, folder, up, &mut crew);
    crew.take_down();
    figures
}

fn measure_with(options: &Options, folder: &Path, up: &Value, crew: &mut Crew) -> Result<Value> {
    let text = |name: &str| up[name].as_str().context("up names its parts");
    let key = folder.join("state/access-key").display().to_string();
    let viewer = program("multiclaw-viewer").display().to_string();
    let connect = [
        "connect",
        "--cloud",
        text("cloud")?,
        "--instance",
        text("instance")?,
        "--token-file",
        &key,
    ];
    let first_picture = first_pictures(&viewer, &connect)?;
    let display = desktop::free_display()?;
    crew.start(x_server(&display, options)?)?;
    crew.start(spec(
        "native-viewer",
        &viewer,
        &connect,
        &display,
        Ready::AtOnce,
    ))?;
    thread::sleep(Duration::from_secs(3));
    let samples = options.samples.to_string();
    let probe = |args: &[&str]| probe(args, text("display")?, &display);
    let latency = probe(&["latency", "--samples", &samples])?;
    let click = probe(&["click", "--samples", &samples])?;
    let motion = probe(&["motion", "--samples", "600"])?;
    Ok(json!({
        "propagation_ms": latency["propagation_ms"],
        "lost": latency["lost"],
        "click_to_pixel_ms": click["click_to_pixel_ms"],
        "first_picture_ms": first_picture,
        "motion": motion,
    }))
}

/// From the start of the connection to the first decoded picture, as the viewer itself says.
fn first_pictures(viewer: &str, connect: &[&str]) -> Result<Value> {
    let mut waits = Vec::new();
    for _ in 0..=FIRST_PICTURES {
        let mut command = Command::new(viewer);
        command.args(connect);
        command.args(["--headless", "--stats", "json", "--duration", SESSION]);
        let lines = run::quiet(command, SESSION_LIMIT)?;
        let last = lines
            .lines()
            .last()
            .context("the viewer prints statistics")?;
        let line: Value = serde_json::from_str(last).context("they are JSON")?;
        let wait = line["first_frame_ms"].as_f64();
        waits.push(wait.context("a picture came")?);
    }
    // The first one warms what every later one finds warm.
    waits.remove(0);
    waits.sort_by(f64::total_cmp);
    let (median, worst) = (waits.get(FIRST_PICTURES / 2), waits.last());
    Ok(json!({ "p50": median, "max": worst }))
}
