//! The desktop itself: an X server, a sound server, a window manager, a terminal and a file manager. A person may
//! close the programs; the server and the window manager must run.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::part::{Ready, Spec};
use super::plan::Plan;
use super::sound;
use crate::run::{self, on_path};

/// Where displays of our own are looked for; below are those of people.
const DISPLAYS: std::ops::Range<u32> = 90..400;

/// Xvfb is up in a tenth of a second on an idle machine.
const X_READY_LIMIT: Duration = Duration::from_secs(15);

/// Every Debian has it without generating one. In the C locale xterm drops what is not Latin-1.
const UTF8_LOCALE: &str = "C.UTF-8";

/// An X server in memory never grows past the size it starts with; a viewer's window may. Costs
/// 33 MB of the server, untouched until used.
const LARGEST: Size = Size {
    width: 3840,
    height: 2160,
};
/// One call of `xrandr`.
const XRANDR_LIMIT: Duration = Duration::from_secs(10);

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u16,
    pub(crate) height: u16,
}

impl Size {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is not a size like 1280x800, each side 64 to 8192");
        let (width, height) = text.split_once('x').ok_or_else(expected)?;
        let side = |side: &str| {
            side.parse()
                .ok()
                .filter(|n| (64..=8192).contains(n))
                .ok_or_else(expected)
        };
        Ok(Self {
            width: side(width)?,
            height: side(height)?,
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The socket of a display on this machine: `:5` → `/tmp/.X11-unix/X5`.
pub(crate) fn socket(display: &str) -> Result<PathBuf> {
    let number: Option<u32> = display
        .strip_prefix(':')
        .and_then(|rest| rest.split('.').next()?.parse().ok());
    match number {
        Some(number) => Ok(Path::new("/tmp/.X11-unix").join(format!("X{number}"))),
        None => bail!("`{display}` is not a display of this machine like :0"),
    }
}

/// Whether an X server answers there.
pub(crate) fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// The first display nobody has: neither a socket nor a lock file.
pub(crate) fn free_display() -> Result<String> {
    DISPLAYS
        .map(|number| format!(":{number}"))
        .find(|display| {
            let number = &display[1..];
            !Path::new(&format!("/tmp/.X{number}-lock")).exists()
                && !Path::new(&format!("/tmp/.X11-unix/X{number}")).exists()
        })
        .map_or_else(
            || {
                bail!(
                    "every display from :{} to :{} is taken",
                    DISPLAYS.start,
                    DISPLAYS.end
                )
            },
            Ok,
        )
}

/// The parts of a desktop of our own, in the order they start.
pub(crate) fn parts(plan: &Plan) -> Vec<Spec> {
    let server = Spec {
        name: "x-server",
        program: "Xvfb".into(),
        args: server_args(plan),
        env: Vec::new(),
        ready: Ready::Socket(plan.x_socket.clone(), X_READY_LIMIT),
        must_run: true,
    };
    let client = |name, program: &str, args: &[&str], must_run| Spec {
        name,
        program: program.into(),
        args: args.iter().map(ToString::to_string).collect(),
        env: [
            ("DISPLAY".into(), plan.display.clone()),
            ("LC_ALL".into(), UTF8_LOCALE.into()),
        ]
        .into_iter()
        .chain(plan.sound().map(sound::variables).into_iter().flatten())
        .collect(),
        ready: Ready::AtOnce,
        must_run,
    };
    let mut parts = vec![server];
    parts.extend(plan.sound().map(sound::server));
    parts.push(client("window-manager", "openbox", &[], true));
    if on_path("xsetroot") {
        parts.push(client(
            "background",
            "xsetroot",
            &["-solid", "#24405c"],
            false,
        ));
    }
    if on_path("pcmanfm") {
        parts.push(client("file-manager", "pcmanfm", &["--no-desktop"], false));
    }
    let terminal = [
        "-geometry",
        "100x30+40+40",
        "-title",
        "Terminal",
        "-fa",
        "DejaVu Sans Mono",
        "-fs",
        "10",
    ];
    parts.push(client("terminal", "xterm", &terminal, false));
    parts
}

/// Gives the screen the wanted size: it starts as large as it may ever become.
pub(crate) fn set_size(plan: &Plan) -> Result<()> {
    let Size { width, height } = plan.size;
    let (name, width, height) = (plan.size.to_string(), width.to_string(), height.to_string());
    // Timings of a monitor that is not there: only the two sizes count.
    let mode = [&name, "0", &width, "0", "0", "0", &height, "0", "0", "0"];
    xrandr(plan, &[&["--newmode"], &mode[..]].concat())?;
    xrandr(plan, &["--addmode", "screen", &name])?;
    xrandr(plan, &["--output", "screen", "--mode", &name])
}

fn xrandr(plan: &Plan, args: &[&str]) -> Result<()> {
    let mut command = Command::new("xrandr");
    command.args(["-display", &plan.display]).args(args);
    run::quiet(command, XRANDR_LIMIT).map(drop)
}

fn server_args(plan: &Plan) -> Vec<String> {
    let largest = Size {
        width: plan.size.width.max(LARGEST.width),
        height: plan.size.height.max(LARGEST.height),
    };
    let screen = format!("{largest}x24");
    [
        plan.display.as_str(),
        "-screen",
        "0",
        &screen,
        "-noreset",
        "-nolisten",
        "tcp",
        "-dpi",
        "96",
    ]
    .map(str::to_owned)
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_sides_in_bounds() {
        assert_eq!(Size::parse("1280x800").unwrap().to_string(), "1280x800");
        for wrong in ["", "1280", "1280x", "0x800", "1280x9000", "a x b"] {
            assert!(Size::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_display_names_its_socket() {
        assert_eq!(socket(":5").unwrap(), Path::new("/tmp/.X11-unix/X5"));
        assert_eq!(socket(":5.0").unwrap(), Path::new("/tmp/.X11-unix/X5"));
        assert!(socket("elsewhere:5").is_err());
    }
}
