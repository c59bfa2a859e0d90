//! What every turn of the laboratory stands on: a display for the viewer, a Chromium that really
//! paints on it, programs that keep the desktop busy, and the probe that watches both displays.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Options;
use crate::repository::program;
use crate::run;
use crate::up::desktop;
use crate::up::part::{Ready, Spec};

/// One measurement; the longest takes a minute.
const PROBE_LIMIT: Duration = Duration::from_secs(180);
const X_LIMIT: Duration = Duration::from_secs(15);
/// How every test starts Chromium, as a list in JSON.
const CHROMIUM_FLAGS: &str = include_str!("../../../tests/chromium.json");
/// What a bench needs beside: one page on the whole display, never slowed down.
const KIOSK_FLAGS: [&str; 6] = [
    "--kiosk",
    "--window-position=0,0",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
];

/// A host's display and the one its viewer is shown on.
#[derive(Clone, Debug)]
pub(super) struct Displays {
    pub(super) host: String,
    pub(super) viewer: String,
}

impl Displays {
    /// Runs the probe on both; its answer.
    pub(super) fn probe(&self, args: &[&str]) -> Result<Value> {
        let mut command = Command::new(program("lab-probe"));
        command
            .args(args)
            .args(["--host", &self.host, "--viewer", &self.viewer]);
        eprintln!("  {}", args[..args.len().min(3)].join(" "));
        let output = run::quiet(command, PROBE_LIMIT)?;
        serde_json::from_str(output.lines().last().unwrap_or_default())
            .context("the probe answers with JSON")
    }
}

pub(super) fn x_server(name: &'static str, display: &str, options: &Options) -> Result<Spec> {
    let screen = format!("{}x24", options.size);
    let args = [
        display,
        "-screen",
        "0",
        &screen,
        "-noreset",
        "-nolisten",
        "tcp",
    ];
    let ready = Ready::Socket(desktop::socket(display)?, X_LIMIT);
    Ok(spec(name, "Xvfb", &args, "", ready))
}

/// Without one a kiosk Chromium is a pixel smaller than the display and scales the picture.
pub(super) fn window_manager(display: &str) -> Spec {
    spec("window-manager", "openbox", &[], display, Ready::AtOnce)
}

/// A browser to be started.
pub(super) struct Browser<'a> {
    pub(super) folder: &'a Path,
    /// Where its DevTools listen.
    pub(super) port: u16,
    /// What it will open. Browsers trust loopback more than what comes over a cable; not this page.
    pub(super) url: &'a str,
}

pub(super) fn chromium(display: &str, browser: &Browser, options: &Options) -> Spec {
    let profile = format!(
        "--user-data-dir={}",
        browser.folder.join("profile").display()
    );
    let trusted = format!(
        "--unsafely-treat-insecure-origin-as-secure={}",
        origin(browser.url)
    );
    let size = format!(
        "--window-size={},{}",
        options.size.width, options.size.height
    );
    let port = format!("--remote-debugging-port={}", browser.port);
    let mut args: Vec<&str> =
        serde_json::from_str(CHROMIUM_FLAGS).expect("a list of flags stands in the file");
    args.extend(KIOSK_FLAGS);
    args.extend([profile.as_str(), &size, &port, &trusted, "about:blank"]);
    spec("chromium", "chromium", &args, display, Ready::AtOnce)
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let end = url.match_indices('/').nth(2).map_or(url.len(), |at| at.0);
    &url[..end]
}

/// A terminal that scrolls fifty lines a second.
pub(super) fn scroll(display: &str) -> Spec {
    let script = "i=0; while :; do i=$((i+1)); echo \"line $i of many, as a build prints them\"; sleep 0.02; done";
    let args = ["-geometry", "100x40+40+40", "-e", "sh", "-c", script];
    spec("scroll", "xterm", &args, display, Ready::AtOnce)
}

pub(super) fn spec(
    name: &'static str,
    program: &str,
    args: &[&str],
    display: &str,
    ready: Ready,
) -> Spec {
    let env = if display.is_empty() {
        Vec::new()
    } else {
        vec![("DISPLAY".into(), display.to_owned())]
    };
    Spec {
        name,
        program: program.into(),
        args: args.iter().map(ToString::to_string).collect(),
        env,
        ready,
        must_run: false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_origin_of_a_page_ends_before_its_path() {
        for url in ["http://10.77.0.1:8080", "http://10.77.0.1:8080/view/#x/y"] {
            assert_eq!(super::origin(url), "http://10.77.0.1:8080");
        }
    }
}
