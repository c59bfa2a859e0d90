//! The desktop's own sound server: a PulseAudio that plays into nothing, for the agent host to
//! listen to. A desktop without one, because PulseAudio is not installed, has no sound.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::part::{Ready, Spec};
use crate::run::on_path;

/// It is up in a tenth of a second on an idle machine.
const READY_LIMIT: Duration = Duration::from_secs(15);
/// Longer paths are no addresses of Unix sockets (`sun_path`), which end with a NUL.
const SOCKET_LEN_MAX: usize = 107;

/// Where the sound server of a desktop of our own will listen; `None` if there cannot be one.
pub(super) fn socket(state: &Path, owns_display: bool) -> Option<PathBuf> {
    let socket = state.join("sound").join("native");
    let fits = socket.as_os_str().len() <= SOCKET_LEN_MAX;
    if owns_display && !fits {
        eprintln!(
            "The desktop has no sound: the path of the state folder is too long for a socket"
        );
    }
    (owns_display && fits && on_path("pulseaudio")).then_some(socket)
}

/// As libpulse spells it.
pub(super) fn address(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// What leads a program on the desktop to its sound server.
pub(super) fn variables(socket: &Path) -> [(String, String); 2] {
    let cookie = socket.with_file_name("cookie");
    [
        ("PULSE_SERVER".into(), address(socket)),
        ("PULSE_COOKIE".into(), cookie.display().to_string()),
    ]
}

pub(super) fn server(socket: &Path) -> Spec {
    let folder = socket.with_file_name("");
    let cookie = socket.with_file_name("cookie");
    let protocol = format!(
        "module-native-protocol-unix socket=\"{}\" auth-cookie=\"{}\"",
        socket.display(),
        cookie.display()
    );
    let fixed = [
        "-n",
        "--daemonize=no",
        "--use-pid-file=no",
        "--exit-idle-time=-1",
        "--realtime=no",
        "--high-priority=no",
        "--log-target=stderr",
        "-L",
        "module-null-sink sink_name=desktop rate=48000",
        "-L",
        // A desktop that plays nothing wakes nobody.
        "module-suspend-on-idle timeout=1",
        "-L",
        &protocol,
    ];
    let folder = folder.display().to_string();
    Spec {
        name: "sound-server",
        program: "pulseaudio".into(),
        args: fixed.map(str::to_owned).into(),
        env: environment(&folder),
        ready: Ready::Socket(socket.to_owned(), READY_LIMIT),
        must_run: true,
    }
}

/// It keeps to its folder, and neither finds nor starts a message bus.
fn environment(folder: &str) -> Vec<(String, String)> {
    let folders = [
        "HOME",
        "XDG_RUNTIME_DIR",
        "PULSE_RUNTIME_PATH",
        "PULSE_STATE_PATH",
    ];
    let folders = folders.map(|name| (name.to_owned(), folder.to_owned()));
    let no_bus = (
        "DBUS_SESSION_BUS_ADDRESS".to_owned(),
        "disabled:".to_owned(),
    );
    folders.into_iter().chain([no_bus]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_somebody_else_owns_has_their_sound_and_a_long_path_has_none() {
        assert_eq!(socket(Path::new("/state"), false), None);
        let long = PathBuf::from("/").join("long".repeat(30));
        assert_eq!(socket(&long, true), None);
    }

    #[test]
    fn programs_on_the_desktop_are_led_to_its_server_and_its_key() {
        let [server, cookie] = variables(Path::new("/state/sound/native"));
        assert_eq!(server.1, "unix:/state/sound/native");
        assert_eq!(cookie.1, "/state/sound/cookie");
    }
}
