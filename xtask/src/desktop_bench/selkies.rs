//! The peer: Selkies 2.1.0 on a desktop of its own, shown by the same Chromium, timed by the same
//! probe. Installed from PyPI into a folder below `target/`. Every turn starts and ends all of its
//! programs, so that it takes no processor time from ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::turn::{self, Subject};
use super::{Options, network, stage};
use crate::repository::target;
use crate::run;
use crate::up::desktop;
use crate::up::part::{Crew, Ready};

const RELEASE: &str = "selkies==2.1.0";
/// A hundred megabytes of wheels over a slow line.
const INSTALL_LIMIT: Duration = Duration::from_secs(300);
/// It says nothing when it is ready; Chromium shows an error page if it comes too early.
const START_PAUSE: Duration = Duration::from_secs(6);
/// Nothing in the laboratory's network has this port.
const PORT: u16 = 18_090;
/// Everything it would look for elsewhere is told to be here. It talks to itself over loopback, and to
/// viewers over the cable.
const ARGUMENTS: [&str; 6] = [
    "--addr=0.0.0.0",
    "--enable-basic-auth=false",
    "--audio-enabled=false",
    "--enable-resize=false",
    "--encoder=h264enc",
    "--use-cpu=true",
];
const WEBRTC: [&str; 5] = [
    "--mode=webrtc",
    "--video-streaming-mode=false",
    "--webrtc-ice-lite=true",
    "--stun-host=127.0.0.1",
    "--turn-host=127.0.0.1",
];

/// How Selkies sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    /// WebRTC, and only what changed: its best for a desktop.
    Best,
    /// Every frame, over a WebSocket.
    Default,
    /// As its best, at a constant quality: a point of its curve of bytes over likeness.
    Quality { crf: u8 },
}

impl Mode {
    pub(super) fn name(self) -> String {
        match self {
            Self::Best => "selkies_best".to_owned(),
            Self::Default => "selkies_default".to_owned(),
            Self::Quality { crf } => format!("selkies_crf{crf}"),
        }
    }
}

/// The program, installed first if it is not there.
pub(super) fn install() -> Result<PathBuf> {
    let folder = target().join("bench/selkies-2.1.0");
    let program = folder.join("bin/selkies");
    if program.exists() {
        return Ok(program);
    }
    eprintln!(
        "installing {RELEASE} from PyPI into {}: the peer",
        folder.display()
    );
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&folder);
    run::quiet(venv, INSTALL_LIMIT)?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", RELEASE]);
    run::quiet(pip, INSTALL_LIMIT)?;
    Ok(program)
}

/// One turn.
pub(super) fn measure(
    options: &Options,
    folder: &Path,
    program: &Path,
    mode: Mode,
) -> Result<Value> {
    let folder = folder.join(mode.name());
    with_host(options, &folder, program, mode, |subject| match mode {
        Mode::Best | Mode::Default => turn::measure(subject, options, &folder),
        Mode::Quality { .. } => turn::measure_scenes(subject, options, &folder),
    })
}

/// Its page in a fresh browser, at its best. Once: opened again, its page stays empty until the
/// desktop changes in a way we do not know.
pub(super) fn measure_opening(options: &Options, folder: &Path, program: &Path) -> Result<Value> {
    let folder = folder.join(Mode::Best.name());
    with_host(options, &folder, program, Mode::Best, |subject| {
        turn::measure_opening(subject, options, &folder, "1")
    })
}

fn with_host(
    options: &Options,
    folder: &Path,
    program: &Path,
    mode: Mode,
    measure: impl FnOnce(&Subject) -> Result<Value>,
) -> Result<Value> {
    let mut crew = Crew::new(folder.join("host-logs"))?;
    let subject = start(options, program, mode, &mut crew);
    let figures = subject.and_then(|(host, agent)| {
        measure(&Subject {
            host: &host,
            url: &format!("http://{}:{PORT}/", network::host_address(options)),
            agent,
        })
    });
    crew.take_down();
    figures.with_context(|| format!("cannot measure {}", mode.name()))
}

/// The display of its desktop and its process.
fn start(options: &Options, program: &Path, mode: Mode, crew: &mut Crew) -> Result<(String, u32)> {
    let host = desktop::free_display()?;
    crew.start(stage::x_server("host-display", &host, options)?)?;
    let args = arguments(mode);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let program = program.display().to_string();
    let mut agent = stage::spec("selkies", &program, &args, &host, Ready::AtOnce);
    // Its process id is asked for below.
    agent.must_run = true;
    crew.start(network::at_host(options, agent))?;
    thread::sleep(START_PAUSE);
    let agent = crew.pids().first().context("it runs")?.1;
    Ok((host, agent))
}

fn arguments(mode: Mode) -> Vec<String> {
    let mut args: Vec<String> = ARGUMENTS.map(str::to_owned).into();
    args.push(format!("--port={PORT}"));
    if !matches!(mode, Mode::Default) {
        args.extend(WEBRTC.map(str::to_owned));
    }
    if let Mode::Quality { crf } = mode {
        args.push("--rate-control-mode=crf".to_owned());
        args.push(format!("--video-crf={crf}"));
    }
    args
}
