//! What a scene costs on the wire and how well it is shown: the viewer's pixels beside the host's
//! at the same step, while it moves and after it stopped.

#![expect(
    clippy::disallowed_methods,
    reason = "a measuring program owns its clock and its waiting"
)]

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use x11rb::protocol::xproto::Rectangle;

use super::likeness::{Likeness, Luma};
use super::pattern::{self, Pixels, Place};
use super::scene::{AREA, Scene};
use super::screen::Screen;
use super::wire;

/// Steps per second: a wheel turned fast, and below what every peer can show.
const STEP_INTERVAL: Duration = Duration::from_millis(50);
/// Every so many steps one is compared: a pair of pictures takes 1.2 MB until the end.
const COMPARED_EVERY: u16 = 4;
/// Pairs of pictures kept at most.
const PAIRS_MAX: usize = 128;
/// A viewer that has not shown the last step by then never will; refinement ends within it too.
const STILL_TIME: Duration = Duration::from_millis(1_500);
/// The viewer shows the desktop one to one at the same place; found to a quarter of a cell.
const PLACE_TOLERANCE: f64 = 8.0;

/// Plays `steps` steps of the scene.
pub fn measure(scene: Scene, host: &str, viewer: &str, place: Place, steps: u16) -> Result<Value> {
    let off = [place.x - f64::from(AREA.x), place.y - f64::from(AREA.y)];
    ensure!(
        place.scale == 1.0 && off.iter().all(|off| off.abs() <= PLACE_TOLERANCE),
        "the viewer shows the desktop at {place:?}, not one to one"
    );
    let canvas = scene.open(host)?;
    let mut camera = Screen::open(host)?;
    scene.show(&canvas, 1)?;
    // The window itself is news; only what follows counts.
    thread::sleep(STILL_TIME);
    let seen = watch(viewer)?;
    let before = wire::bytes_so_far()?;
    let begun = Instant::now();
    let mut drawn = HashMap::new();
    for code in 2..=steps + 1 {
        scene.show(&canvas, code)?;
        if code % COMPARED_EVERY == 0 && drawn.len() < PAIRS_MAX {
            drawn.insert(code, Luma::of(camera.read(AREA)?));
        }
        let due = begun + STEP_INTERVAL * u32::from(code - 1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let moving_bytes = wire::bytes_so_far()? - before;
    thread::sleep(STILL_TIME);
    let all_bytes = wire::bytes_so_far()? - before;
    let still = compare(
        &Luma::of(camera.read(AREA)?),
        &Luma::of(Screen::open(viewer)?.read(AREA)?),
    );
    let still = still.context("both pictures have the size of the scene")?;
    let moving = pairs(&drawn, &seen);
    ensure!(!moving.is_empty(), "the viewer showed none of the steps");
    Ok(json!({
        "steps": steps,
        "moving_bytes_per_step": moving_bytes / u64::from(steps),
        "bytes_per_step": all_bytes / u64::from(steps),
        "compared": moving.len(),
        "moving_ssim_db": mean(&moving, Likeness::ssim_db),
        "moving_psnr_db": mean(&moving, |one| one.psnr_db),
        "still_ssim_db": hundredths(still.ssim_db()),
        "still_psnr_db": hundredths(still.psnr_db),
        "still_equal": hundredths(still.equal),
    }))
}

/// Reports the picture of every compared step when the viewer shows it. Ends with the process.
fn watch(viewer: &str) -> Result<Receiver<(u16, Luma)>> {
    let (sender, receiver) = channel();
    let mut screen = Screen::open(viewer)?;
    screen.watch()?;
    thread::spawn(move || -> Result<()> {
        let mut last = None;
        loop {
            screen.wait_for_change(CODE_AREA)?;
            let pixels = screen.read(AREA)?;
            let code = read_code(pixels);
            if code.is_some() && code != last {
                last = code;
                if let Some(code) = code.filter(|code| code % COMPARED_EVERY == 0) {
                    sender.send((code, Luma::of(pixels)))?;
                }
            }
        }
    });
    Ok(receiver)
}

/// Where the scene's code stands.
const CODE_AREA: Rectangle = Rectangle {
    x: AREA.x,
    y: AREA.y,
    width: pattern::WIDTH,
    height: pattern::HEIGHT,
};

fn read_code(pixels: Pixels<'_>) -> Option<u16> {
    let corner = Place {
        x: 0.0,
        y: 0.0,
        scale: 1.0,
    };
    pattern::read(pixels, corner)
}

fn pairs(drawn: &HashMap<u16, Luma>, seen: &Receiver<(u16, Luma)>) -> Vec<Likeness> {
    let pair = |(code, shown): (u16, Luma)| compare(drawn.get(&code)?, &shown);
    seen.try_iter().filter_map(pair).collect()
}

fn compare(drawn: &Luma, shown: &Luma) -> Option<Likeness> {
    Likeness::between(drawn, &shown.aligned_to(drawn))
}

fn mean(all: &[Likeness], figure: impl Fn(&Likeness) -> f64) -> f64 {
    hundredths(all.iter().map(figure).sum::<f64>() / all.len() as f64)
}

fn hundredths(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
