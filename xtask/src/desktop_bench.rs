//! `cargo xtask bench desktop`: the latency laboratory's stage. A desktop of its own through `up`, a
//! Chromium that really paints on a second display, and the probe that watches both with one clock.

mod native;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process;
use crate::repository::{program, target};
use crate::run;
use crate::up::desktop;
use crate::up::part::{Crew, Ready, Spec};

/// One measurement; the longest takes a minute.
const PROBE_LIMIT: Duration = Duration::from_secs(180);
const UP_LIMIT: Duration = Duration::from_secs(90);
const X_LIMIT: Duration = Duration::from_secs(15);
/// How long CPU time is added up.
const CPU_WINDOW: Duration = Duration::from_secs(10);
/// Kernel ticks per second of `/proc/PID/stat` on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const DEVTOOLS: &str = "127.0.0.1:9377";

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Print the figures as one JSON object in the last line.
    #[arg(long)]
    json: bool,
    /// Use the programs as they were built last.
    #[arg(long)]
    no_build: bool,
    /// Changes of the picture to time.
    #[arg(long, default_value_t = 200)]
    samples: u32,
    /// Size of the desktop and of the viewer's display.
    #[arg(long, value_name = "WxH", default_value = "1920x1080", value_parser = desktop::Size::parse)]
    size: desktop::Size,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    process::adopt_orphans();
    let folder = target().join("bench/desktop");
    // A fresh browser profile and state each time: caches are a part of what is measured.
    let _ = fs::remove_dir_all(&folder);
    let mut crew = Crew::new(folder.join("logs"))?;
    let figures = measure(options, &folder, &mut crew);
    crew.take_down();
    process::sweep();
    report(options, &figures?);
    Ok(())
}

fn measure(options: &Options, folder: &Path, crew: &mut Crew) -> Result<Value> {
    let up = crew.start(up_spec(options, folder)?)?;
    let host = up["display"]
        .as_str()
        .context("up names its display")?
        .to_owned();
    eprintln!("the native viewer");
    let native = native::measure(options, folder, &up)?;
    eprintln!("Chromium");
    let viewer = desktop::free_display()?;
    crew.start(x_server(&viewer, options)?)?;
    crew.start(chromium(&viewer, folder, options))?;
    thread::sleep(Duration::from_secs(4));
    let url = up["viewer_url"]
        .as_str()
        .context("up names the viewer's URL")?;
    let probe = |args: &[&str]| probe(args, &host, &viewer);
    let first_frame = probe(&[
        "first-frame",
        "--samples",
        "6",
        "--devtools",
        DEVTOOLS,
        "--url",
        url,
    ])?;
    let samples = options.samples.to_string();
    let latency = probe(&["latency", "--samples", &samples])?;
    let click = probe(&["click", "--samples", &samples])?;
    let agent_host = u32::try_from(
        up["pids"]["agent-host"]
            .as_u64()
            .context("up names its parts")?,
    )?;
    thread::sleep(Duration::from_secs(5));
    let still = cpu_percent(agent_host)?;
    crew.start(scroll(&host))?;
    let scrolling = cpu_percent(agent_host)?;
    let motion = probe(&["motion", "--samples", "600"])?;
    Ok(json!({
        "machine": machine(),
        "size": options.size.to_string(),
        "propagation_ms": latency["propagation_ms"],
        "lost": latency["lost"],
        "click_to_pixel_ms": click["click_to_pixel_ms"],
        "first_frame_ms": first_frame["first_frame_ms"],
        "first_frame_cold_ms": first_frame["first_frame_cold_ms"],
        "agent_cpu_still_percent": still,
        "agent_cpu_scrolling_percent": scrolling,
        "agent_rss_mb": resident_mb(agent_host)?,
        "motion": motion,
        "native": native,
    }))
}

fn up_spec(options: &Options, folder: &Path) -> Result<Spec> {
    let state = folder.join("state").display().to_string();
    let size = options.size.to_string();
    let mut args = vec!["up", "--json", "--state", &state, "--size", &size];
    args.extend(options.no_build.then_some("--no-build"));
    Ok(spec(
        "up",
        &std::env::current_exe()?.display().to_string(),
        &args,
        "",
        Ready::Line(UP_LIMIT + crate::lint::COMPILE_LIMIT),
    ))
}

fn x_server(display: &str, options: &Options) -> Result<Spec> {
    let screen = format!("{}x24", options.size);
    let ready = Ready::Socket(desktop::socket(display)?, X_LIMIT);
    Ok(spec(
        "viewer-display",
        "Xvfb",
        &[
            display,
            "-screen",
            "0",
            &screen,
            "-noreset",
            "-nolisten",
            "tcp",
        ],
        "",
        ready,
    ))
}

fn chromium(display: &str, folder: &Path, options: &Options) -> Spec {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let size = format!(
        "--window-size={},{}",
        options.size.width, options.size.height
    );
    let port = format!(
        "--remote-debugging-port={}",
        DEVTOOLS.rsplit(':').next().unwrap_or_default()
    );
    let mut args = vec![
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--kiosk",
        "--window-position=0,0",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-background-timer-throttling",
        "--disable-renderer-backgrounding",
        "--disable-backgrounding-occluded-windows",
    ];
    args.extend([profile.as_str(), &size, &port, "about:blank"]);
    spec("chromium", "chromium", &args, display, Ready::AtOnce)
}

/// A terminal that scrolls fifty lines a second.
fn scroll(display: &str) -> Spec {
    let script = "i=0; while :; do i=$((i+1)); echo \"line $i of many, as a build prints them\"; sleep 0.02; done";
    spec(
        "scroll",
        "xterm",
        &["-geometry", "100x40+40+40", "-e", "sh", "-c", script],
        display,
        Ready::AtOnce,
    )
}

fn spec(name: &'static str, program: &str, args: &[&str], display: &str, ready: Ready) -> Spec {
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

fn probe(args: &[&str], host: &str, viewer: &str) -> Result<Value> {
    let mut command = Command::new(program("lab-probe"));
    command
        .args(args)
        .args(["--host", host, "--viewer", viewer]);
    eprintln!("measuring: {}", args[0]);
    let output = run::quiet(command, PROBE_LIMIT)?;
    serde_json::from_str(output.lines().last().unwrap_or_default())
        .context("the probe answers with JSON")
}

/// Share of one core a process uses, over a window.
fn cpu_percent(pid: u32) -> Result<f64> {
    let before = ticks(pid)?;
    thread::sleep(CPU_WINDOW);
    let used = (ticks(pid)? - before) / TICKS_PER_SECOND;
    Ok((used / CPU_WINDOW.as_secs_f64() * 10_000.0).round() / 100.0)
}

/// User and system time so far.
fn ticks(pid: u32) -> Result<f64> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).context("the agent host has gone")?;
    let (_, rest) = stat.rsplit_once(')').context("a process has a name")?;
    Ok(rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum())
}

fn resident_mb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("a process has memory")?;
    Ok(line
        .split_whitespace()
        .next()
        .context("a number")?
        .parse::<u64>()?
        / 1024)
}

/// Processor, cores, and how busy the machine was before: figures mean nothing without.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(" unknown")
        .trim_start_matches([' ', '\t', ':']);
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{model}, {cores} cores, load {}",
        load.split(' ').next().unwrap_or("unknown")
    )
}

fn report(options: &Options, figures: &Value) {
    println!(
        "\n{} at {}",
        figures["machine"].as_str().unwrap_or_default(),
        options.size
    );
    let row = |name: &str, value: &Value| {
        println!(
            "{name:<42} p50 {:>8} p90 {:>8} p99 {:>8}",
            value["p50"], value["p90"], value["p99"]
        )
    };
    row(
        "picture change to pixel in Chromium, ms",
        &figures["propagation_ms"],
    );
    row(
        "click to pixel in Chromium, ms",
        &figures["click_to_pixel_ms"],
    );
    row(
        "page opened to first frame, warm, ms",
        &figures["first_frame_ms"],
    );
    row(
        "picture change to pixel, native window, ms",
        &figures["native"]["propagation_ms"],
    );
    row(
        "click to pixel, native window, ms",
        &figures["native"]["click_to_pixel_ms"],
    );
    println!(
        "{:<42} p50 {:>8}",
        "connected to first picture, native, ms", figures["native"]["first_picture_ms"]["p50"]
    );
    println!(
        "{:<42} {}",
        "agent host, still screen, % of a core", figures["agent_cpu_still_percent"]
    );
    println!(
        "{:<42} {}",
        "agent host, terminal scrolls, % of a core", figures["agent_cpu_scrolling_percent"]
    );
    println!(
        "{:<42} {}",
        "frames a second at full motion (60 drawn)", figures["motion"]["frames_per_second"]
    );
    println!(
        "{:<42} {}",
        "the same in the native window", figures["native"]["motion"]["frames_per_second"]
    );
    if options.json {
        println!("{figures}");
    }
}
