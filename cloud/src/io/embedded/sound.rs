//! A desktop's own sound server: a PulseAudio that plays into nothing, for the agent host to listen
//! to. A desktop without one, because PulseAudio is not installed, has no sound.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::process::Command;

use super::parts::{PROGRAMS, part, spawn};
use super::place::Place;
use super::processes::Process;
use super::{Record, Start};

/// Longer paths are no addresses of Unix sockets (`sun_path`), which end with a NUL.
const SOCKET_LEN_MAX: usize = 107;

/// Where a desktop's sound server listens; `None` if there cannot be one.
fn socket(place: &Place) -> Option<PathBuf> {
    let mut folders = PROGRAMS.split(':').map(Path::new);
    let installed = folders.any(|folder| folder.join("pulseaudio").is_file());
    let socket = place.run("sound");
    (installed && socket.as_os_str().len() <= SOCKET_LEN_MAX).then_some(socket)
}

/// As libpulse spells it.
pub(super) fn address(place: &Place) -> Option<String> {
    socket(place).map(|socket| format!("unix:{}", socket.display()))
}

/// Leads a program on the desktop to its sound server.
pub(super) fn lead(command: &mut Command, place: &Place) {
    if let Some(address) = address(place) {
        command.env("PULSE_SERVER", address);
        command.env("PULSE_COOKIE", place.run("sound-cookie"));
    }
}

/// Starts the sound server if it can be and is not there. A desktop without it is a desktop: what
/// goes wrong is in its log.
pub(super) fn ensure(place: &Place, start: &Start, record: &mut Record) {
    let runs = record.sound_server.is_some_and(Process::runs);
    let Some(socket) = socket(place).filter(|_| !runs) else {
        return;
    };
    record.sound_server = match start_server(place, start, &socket) {
        Ok(process) => process,
        Err(error) => {
            tracing::debug!("{error:#}");
            None
        }
    };
}

fn start_server(place: &Place, start: &Start, socket: &Path) -> Result<Option<Process>> {
    let mut command = part(place, start, "pulseaudio", None)?;
    command.args(["-n", "--daemonize=no", "--use-pid-file=no", "--realtime=no"]);
    command.args(["--high-priority=no", "--exit-idle-time=-1"]);
    command.arg("--log-target=stderr");
    // A desktop that plays nothing wakes nobody.
    for module in [
        "module-null-sink sink_name=desktop rate=48000".to_owned(),
        "module-suspend-on-idle timeout=1".to_owned(),
        format!(
            "module-native-protocol-unix socket=\"{}\" auth-cookie=\"{}\"",
            socket.display(),
            place.run("sound-cookie").display()
        ),
    ] {
        command.args(["-L", &module]);
    }
    for folder in ["XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_STATE_PATH"] {
        command.env(folder, place.run(""));
    }
    spawn(command, Some(&place.log("sound-server.log")), "pulseaudio")
}
