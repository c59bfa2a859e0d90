//! The native viewer on the same stage: its window on a display of its own, watched by the same
//! probe, and headless for the time to the first picture.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::stage::{Displays, spec, x_server};
use super::{Options, Stream};
use crate::repository::program;
use crate::run;
use crate::up::desktop;
use crate::up::part::{Crew, Ready};

/// Headless sessions for the time to the first picture, after one that warms everything.
const FIRST_PICTURES: usize = 5;
/// One of them, in seconds: a busy machine has its picture before the last line of statistics.
const SESSION: &str = "2.5";
const SESSION_LIMIT: Duration = Duration::from_secs(30);
/// The window is there and has its picture.
const WINDOW_PAUSE: Duration = Duration::from_secs(3);

/// One turn: picture change and click to pixel.
pub(super) fn measure(options: &Options, folder: &Path, stream: &Stream) -> Result<Value> {
    with_window(options, folder, stream, |displays| {
        let samples = options.samples.to_string();
        let latency = displays.probe(&["latency", "--samples", &samples])?;
        let click = displays.probe(&["click", "--samples", &samples])?;
        Ok(json!({
            "propagation_ms": latency["propagation_ms"],
            "lost": latency["lost"],
            "click_to_pixel_ms": click["click_to_pixel_ms"],
        }))
    })
}

/// How many frames of full motion arrive in a second.
pub(super) fn measure_motion(options: &Options, folder: &Path, stream: &Stream) -> Result<Value> {
    with_window(options, folder, stream, |displays| {
        displays.probe(&["motion", "--samples", "600"])
    })
}

fn with_window(
    options: &Options,
    folder: &Path,
    stream: &Stream,
    measure: impl FnOnce(&Displays) -> Result<Value>,
) -> Result<Value> {
    let mut crew = Crew::new(folder.join("native-logs"))?;
    let displays = Displays {
        host: stream.display.clone(),
        viewer: desktop::free_display()?,
    };
    crew.start(x_server("viewer-display", &displays.viewer, options)?)?;
    let viewer = program("multiclaw-viewer").display().to_string();
    let args = stream.connect_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let window = spec(
        "native-viewer",
        &viewer,
        &args,
        &displays.viewer,
        Ready::AtOnce,
    );
    crew.start(window)?;
    thread::sleep(WINDOW_PAUSE);
    let figures = measure(&displays);
    crew.take_down();
    figures
}

/// From the start of the connection to the first decoded picture, as the viewer itself says.
pub(super) fn first_pictures(stream: &Stream) -> Result<Value> {
    let mut waits = Vec::new();
    for _ in 0..=FIRST_PICTURES {
        let mut command = Command::new(program("multiclaw-viewer"));
        command.args(stream.connect_args());
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
