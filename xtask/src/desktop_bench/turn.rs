//! One turn of the laboratory in Chromium, the same for ours and for the peer: picture change and
//! click to pixel, processor time, bytes and likeness of two scenes; and the opening of the page in a
//! browser that has seen none.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::stage::{self, Displays};
use super::{Options, meter};
use crate::up::desktop;
use crate::up::part::Crew;

/// Every Chromium here is alone: the one before has ended.
const DEVTOOLS_PORT: u16 = 9377;
/// Chromium answers its DevTools in two seconds on a busy machine.
const BROWSER_PAUSE: Duration = Duration::from_secs(4);
/// It has to be there before the browser's window.
const MANAGER_PAUSE: Duration = Duration::from_secs(1);
/// What was drawn last is refined, and nothing moves any more.
const SETTLE_PAUSE: Duration = Duration::from_secs(4);
/// Between closing a page and opening it again.
const REOPEN_PAUSE_MS: &str = "1000";
/// Steps of a scene: four seconds.
const STEPS: &str = "80";

/// Who is measured.
pub(super) struct Subject<'a> {
    pub(super) host: &'a str,
    pub(super) url: &'a str,
    /// The program whose cost counts.
    pub(super) agent: u32,
}

/// All figures of one turn.
pub(super) fn measure(subject: &Subject, options: &Options, folder: &Path) -> Result<Value> {
    with_browser(subject, options, folder, |displays, crew| {
        let samples = options.samples.to_string();
        let latency = displays.probe(&["latency", "--samples", &samples])?;
        let click = displays.probe(&["click", "--samples", &samples])?;
        let scenes = scenes(displays)?;
        thread::sleep(SETTLE_PAUSE);
        let still = meter::cpu_percent(subject.agent)?;
        crew.start(stage::scroll(&displays.host))?;
        thread::sleep(SETTLE_PAUSE / 2);
        let scrolling = meter::cpu_percent(subject.agent)?;
        Ok(json!({
            "propagation_ms": latency["propagation_ms"],
            "lost": latency["lost"],
            "click_to_pixel_ms": click["click_to_pixel_ms"],
            "click_lost": click["lost"],
            "scenes": scenes,
            "agent_cpu_still_percent": still,
            "agent_cpu_scrolling_percent": scrolling,
            "agent_rss_mb": meter::resident_mb(subject.agent)?,
        }))
    })
}

/// Only the bytes and likeness of the scenes.
pub(super) fn measure_scenes(subject: &Subject, options: &Options, folder: &Path) -> Result<Value> {
    with_browser(subject, options, folder, |displays, _| {
        Ok(json!({ "scenes": scenes(displays)? }))
    })
}

/// How many frames of full motion arrive in a second.
pub(super) fn measure_motion(subject: &Subject, options: &Options, folder: &Path) -> Result<Value> {
    with_browser(subject, options, folder, |displays, _| {
        displays.probe(&["motion", "--samples", "600"])
    })
}

fn scenes(displays: &Displays) -> Result<Value> {
    let play = |scene| displays.probe(&["fidelity", "--scene", scene, "--samples", STEPS]);
    Ok(json!({ "scroll": play("scroll")?, "drag": play("drag")? }))
}

/// Opens the page in a Chromium of its own, which ends afterwards.
pub(super) fn with_browser(
    subject: &Subject,
    options: &Options,
    folder: &Path,
    measure: impl FnOnce(&Displays, &mut Crew) -> Result<Value>,
) -> Result<Value> {
    with_empty_browser(subject, options, folder, |displays, crew| {
        open(displays, subject, "1")?;
        measure(displays, crew)
    })
}

/// Opens the page `times` over in a browser that has seen none: the first opening is the cold one.
pub(super) fn measure_opening(
    subject: &Subject,
    options: &Options,
    folder: &Path,
    times: &str,
) -> Result<Value> {
    with_empty_browser(subject, options, folder, |displays, _| {
        open(displays, subject, times)
    })
}

fn with_empty_browser(
    subject: &Subject,
    options: &Options,
    folder: &Path,
    measure: impl FnOnce(&Displays, &mut Crew) -> Result<Value>,
) -> Result<Value> {
    let mut crew = Crew::new(folder.join("logs"))?;
    // A profile of an earlier turn would be warm.
    let _ = std::fs::remove_dir_all(folder.join("profile"));
    let displays = Displays {
        host: subject.host.to_owned(),
        viewer: desktop::free_display()?,
    };
    crew.start(stage::x_server(
        "viewer-display",
        &displays.viewer,
        options,
    )?)?;
    crew.start(stage::window_manager(&displays.viewer))?;
    thread::sleep(MANAGER_PAUSE);
    let browser = stage::Browser {
        folder,
        port: DEVTOOLS_PORT,
        url: subject.url,
    };
    crew.start(stage::chromium(&displays.viewer, &browser, options))?;
    thread::sleep(BROWSER_PAUSE);
    let figures = measure(&displays, &mut crew);
    crew.take_down();
    figures
}

fn open(displays: &Displays, subject: &Subject, times: &str) -> Result<Value> {
    let devtools = format!("127.0.0.1:{DEVTOOLS_PORT}");
    displays.probe(&[
        "first-frame",
        "--samples",
        times,
        "--devtools",
        &devtools,
        "--url",
        subject.url,
        "--pause-ms",
        REOPEN_PAUSE_MS,
    ])
}
