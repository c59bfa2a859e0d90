//! The programs of a desktop, each within limits and as the desktop's user, in a process group of
//! its own and with nothing of our environment.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::UnixStream;
use tokio::process::Command;

use super::place::Place;
use super::processes::{MARK, Process};
use super::xauthority::{self, COOKIE_LEN};
use super::{Record, Start, sound};

/// Displays of desktops; those below belong to people and to tests.
const DISPLAYS: std::ops::Range<u32> = 1_000..20_000;
/// An X server is up in a tenth of a second on an idle machine.
const X_READY_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// An X server in memory never grows past the size it starts with; a viewer's window may.
const SCREEN: &str = "3840x2160x24";
/// What a screen shows until a viewer says what fits its window.
const FIRST_SIZE: [&str; 3] = ["1280x800", "1280", "800"];
/// Where the programs of desktops are looked for.
pub(super) const PROGRAMS: &str = "/usr/local/bin:/usr/bin:/bin:/usr/games";
/// Files open at once, per program.
const FILES_MAX: u32 = 8192;

/// Somebody else may take a display between our look and our X server's.
const DISPLAY_TRIES: usize = 5;

/// Starts an X server on a free display, with a key of its own, and waits until it answers.
pub(super) async fn start_x_server(place: &Place, start: &Start) -> Result<Record> {
    for _ in 1..DISPLAY_TRIES {
        if let Ok(record) = try_x_server(place, start).await {
            return Ok(record);
        }
    }
    try_x_server(place, start).await
}

async fn try_x_server(place: &Place, start: &Start) -> Result<Record> {
    let display = free_display()?;
    let cookie: [u8; COOKIE_LEN] = rand::random();
    place.write_secret("xauthority", &xauthority::entry(display, cookie))?;
    let mut command = part(place, start, "Xvfb", None)?;
    command
        .arg(format!(":{display}"))
        .args(["-screen", "0", SCREEN, "-dpi", "96", "-noreset"]);
    command.args(["-nolisten", "tcp", "-nolisten", "local", "-auth"]);
    command.arg(place.run("xauthority"));
    let log = place.log("x-server.log");
    let x_server = spawn(command, Some(&log), "Xvfb")?
        .with_context(|| format!("The X server ended at once; see {}.", log.display()))?;
    wait_for(display, x_server).await?;
    set_first_size(place, start, display).await?;
    Ok(Record {
        generation: start.generation,
        display,
        x_server,
        sound_server: None,
        window_manager: None,
        agent_host: None,
    })
}

/// A window manager, a background and a terminal; the last two a person may close.
pub(super) fn start_session(place: &Place, start: &Start, x: u32) -> Result<Option<Process>> {
    let window_manager = part(place, start, "openbox", Some(x))?;
    let window_manager = spawn(window_manager, None, "openbox")?;
    let mut background = part(place, start, "xsetroot", Some(x))?;
    background.args(["-solid", "#24405c"]);
    let mut terminal = part(place, start, "xterm", Some(x))?;
    terminal.args(["-geometry", "100x30+40+40", "-title", "Terminal"]);
    terminal.args(["-fa", "DejaVu Sans Mono", "-fs", "10"]);
    for (command, name) in [(background, "xsetroot"), (terminal, "xterm")] {
        // A desktop without it is a desktop.
        if let Err(error) = spawn(command, None, name) {
            tracing::debug!("{error:#}");
        }
    }
    Ok(window_manager)
}

pub(super) fn start_agent_host(
    place: &Place,
    start: &Start,
    x: u32,
    program: &Path,
) -> Result<Option<Process>> {
    let mut command = part(place, start, &program.display().to_string(), Some(x))?;
    command.arg("--config").arg(place.run("agent-host.toml"));
    let name = program.display().to_string();
    spawn(command, Some(&place.log("agent-host.log")), &name)
}

/// The socket of a display.
pub(super) fn socket(display: u32) -> PathBuf {
    format!("/tmp/.X11-unix/X{display}").into()
}

/// A program that will run as the desktop's user: limits and user are set by programs of util-linux
/// that become it.
pub(super) fn part(
    place: &Place,
    start: &Start,
    program: &str,
    display: Option<u32>,
) -> Result<Command> {
    let user = place.user()?;
    let own = std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
    let mut command = Command::new("prlimit");
    command.args(["--core=0", &format!("--nofile={FILES_MAX}")]);
    command.arg(format!("--data={}", start.size.program_memory_max()));
    if own.is_ok_and(|own| own != user) {
        // Counted per user: only for one that has no other desktop.
        command.arg(format!("--nproc={}", start.size.tasks_max()));
        command.args(["setpriv", "--clear-groups", "--no-new-privs"]);
        command.args([format!("--reuid={user}"), format!("--regid={user}")]);
    }
    command.arg(program);
    command.env_clear().envs([
        ("PATH", PROGRAMS),
        ("LANG", "C.UTF-8"),
        ("SHELL", "/bin/bash"),
    ]);
    command.env("HOME", place.home()).current_dir(place.home());
    command.env("XAUTHORITY", place.run("xauthority"));
    command.env(MARK, place.folder());
    if let Some(display) = display {
        command.env("DISPLAY", format!(":{display}"));
        sound::lead(&mut command, place);
    }
    command.stdin(Stdio::null()).process_group(0);
    Ok(command)
}

/// `None` if it ended at once. The runtime takes notice of its end, whenever that is.
pub(super) fn spawn(
    mut command: Command,
    log: Option<&Path>,
    name: &str,
) -> Result<Option<Process>> {
    let (out, err) = match log {
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .open(path)?;
            (file.try_clone()?.into(), file.into())
        }
        None => (Stdio::null(), Stdio::null()),
    };
    command.stdout(out).stderr(err);
    let child = command
        .spawn()
        .with_context(|| format!("{name} cannot be started."))?;
    Ok(child.id().and_then(Process::of))
}

async fn wait_for(display: u32, x_server: Process) -> Result<()> {
    let deadline = Instant::now() + X_READY_WITHIN;
    let lock = format!("/tmp/.X{display}-lock");
    loop {
        let ours =
            std::fs::read_to_string(&lock).is_ok_and(|pid| pid.trim() == x_server.pid.to_string());
        if ours && UnixStream::connect(socket(display)).await.is_ok() {
            return Ok(());
        }
        if !x_server.runs() {
            bail!("The X server ended while it started.");
        }
        if Instant::now() > deadline {
            bail!(
                "The X server did not answer within {} s.",
                X_READY_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn set_first_size(place: &Place, start: &Start, display: u32) -> Result<()> {
    let [name, width, height] = FIRST_SIZE;
    // Timings of a monitor that is not there: only the two sizes count.
    let mode = [name, "0", width, "0", "0", "0", height, "0", "0", "0"];
    for args in [
        &[&["--newmode"], &mode[..]].concat()[..],
        &["--addmode", "screen", name],
        &["--output", "screen", "--mode", name],
    ] {
        let mut command = part(place, start, "xrandr", Some(display))?;
        let done = command.args(args).output().await;
        let done = done.context("xrandr cannot be started; install x11-xserver-utils.")?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            bail!("The screen could not be given a size: {}", said.trim());
        }
    }
    Ok(())
}

/// The first display nobody has: neither a socket nor a lock file.
fn free_display() -> Result<u32> {
    let free = |display: &u32| {
        !Path::new(&format!("/tmp/.X{display}-lock")).exists() && !socket(*display).exists()
    };
    DISPLAYS
        .clone()
        .find(free)
        .context("Every display for desktops is taken.")
}
