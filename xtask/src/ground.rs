//! What the machine must have before anything can be built or run, and why. Missing packages are
//! installed with apt, named first; once they are there nothing here touches the network.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::run::{self, on_path};

/// Apt over a slow line; more means a mirror that does not answer.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How to tell that a need is met.
enum Probe {
    Program(&'static str),
    /// A file below one of the folders where Debian puts it; the text is a part of its path.
    File {
        folder: &'static str,
        part: &'static str,
    },
}

/// One thing the machine must have.
struct Need {
    package: &'static str,
    probe: Probe,
    why: &'static str,
}

const fn need(package: &'static str, probe: Probe, why: &'static str) -> Need {
    Need {
        package,
        probe,
        why,
    }
}

/// To build the programs.
const BUILD: &[Need] = &[
    need(
        "g++",
        Probe::Program("g++"),
        "compiles OpenH264 and the TLS library",
    ),
    need(
        "nasm",
        Probe::Program("nasm"),
        "assembles OpenH264's fast paths",
    ),
];

/// To run the daemons.
const SERVE: &[Need] = &[need(
    "openssl",
    Probe::Program("openssl"),
    "makes the relay's certificate",
)];

/// To show a desktop.
const DESKTOP: &[Need] = &[
    need("xvfb", Probe::Program("Xvfb"), "the desktop's display"),
    need(
        "libx264-164",
        Probe::File {
            folder: "/usr/lib",
            part: "libx264.so.164",
        },
        "its picture's encoder, loaded at run time (GPL); OpenH264 serves without it",
    ),
    need("openbox", Probe::Program("openbox"), "its window manager"),
    need(
        "pulseaudio",
        Probe::Program("pulseaudio"),
        "its sound server, with libpulse, which is loaded at run time",
    ),
    need(
        "libopus0",
        Probe::File {
            folder: "/usr/lib",
            part: "libopus.so.0",
        },
        "its sound's encoder, loaded at run time; without it viewers hear nothing",
    ),
    need("xterm", Probe::Program("xterm"), "its terminal"),
    need("pcmanfm", Probe::Program("pcmanfm"), "its file manager"),
    need(
        "x11-xserver-utils",
        Probe::Program("xrandr"),
        "its size and its background",
    ),
    need(
        "fonts-dejavu-core",
        Probe::File {
            folder: "/usr/share/fonts",
            part: "DejaVu",
        },
        "its text",
    ),
];

/// To test it.
const TESTS: &[Need] = &[
    need(
        "chromium",
        Probe::Program("chromium"),
        "the browser the end-to-end tests drive",
    ),
    need(
        "libavcodec59",
        Probe::File {
            folder: "/usr/lib",
            part: "libavcodec.so.59",
        },
        "the way to hardware encoders, tested with its software encoder",
    ),
    need(
        "nodejs",
        Probe::Program("node"),
        "runs Playwright and the tests of the pages",
    ),
    need(
        "npm",
        Probe::Program("npm"),
        "fetches Playwright, the type checker and the bundler, exact versions",
    ),
    need(
        "pulseaudio-utils",
        Probe::Program("paplay"),
        "plays sound on the desktop, for tests",
    ),
    need(
        "xdotool",
        Probe::Program("xdotool"),
        "a person at the X server, for tests",
    ),
    need(
        "xclip",
        Probe::Program("xclip"),
        "the desktop's clipboard, for tests",
    ),
    need(
        "x11-utils",
        Probe::Program("xwininfo"),
        "looks at windows, for tests",
    ),
    need(
        "coturn",
        Probe::Program("turnserver"),
        "an independent TURN server to test against",
    ),
    need(
        "iproute2",
        Probe::Program("ip"),
        "network namespaces for the firewall tests",
    ),
    need(
        "nftables",
        Probe::Program("nft"),
        "the firewall of the firewall tests",
    ),
    need(
        "prometheus",
        Probe::Program("promtool"),
        "promtool, which checks the metrics",
    ),
    need(
        "python3-aiosmtpd",
        Probe::File {
            folder: "/usr/lib/python3/dist-packages",
            part: "aiosmtpd",
        },
        "a mail server to send mails to",
    ),
    need(
        "postgresql",
        Probe::File {
            folder: "/usr/lib/postgresql",
            part: "15",
        },
        "the other database the cloud runs on, started by the tests for themselves",
    ),
    need(
        "nats-server",
        Probe::File {
            folder: "/usr/sbin",
            part: "nats-server",
        },
        "passes messages between nodes of the cloud, started by the tests for themselves",
    ),
    need(
        "podman",
        Probe::Program("podman"),
        "runs desktops as containers, for the tests of that driver",
    ),
    need(
        "runc",
        Probe::Program("runc"),
        "starts Podman's containers; crun of Debian 12 fails on machines with both kinds of cgroups",
    ),
    need(
        "busybox-static",
        Probe::Program("busybox"),
        "all there is in the containers of tests",
    ),
];

/// To let other people's clients talk to the relay.
const INTEROP: &[Need] = &[need(
    "python3-venv",
    Probe::File {
        folder: "/usr/lib/python3.11",
        part: "ensurepip",
    },
    "keeps the clients written in Python in a folder of their own",
)];

/// What a command is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Build and show a desktop.
    Up,
    /// The same, and test it.
    Test,
    /// Build, and run other people's clients.
    Interop,
}

impl Purpose {
    fn needs(self) -> Vec<&'static Need> {
        let parts: &[&'static [Need]] = match self {
            Self::Up => &[BUILD, SERVE, DESKTOP],
            Self::Test => &[BUILD, SERVE, DESKTOP, TESTS],
            Self::Interop => &[BUILD, SERVE, TESTS, INTEROP],
        };
        parts.iter().copied().flatten().collect()
    }
}

/// Installs what is missing for the purpose, or says in one sentence why it cannot.
pub(crate) fn prepare(purpose: Purpose) -> Result<()> {
    let missing: Vec<&Need> = purpose
        .needs()
        .into_iter()
        .filter(|need| !need.probe.met())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Missing on this machine, to be installed with apt:");
    for need in &missing {
        eprintln!("  {:<24} {}", need.package, need.why);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    install(&packages)?;
    match missing.iter().find(|need| !need.probe.met()) {
        Some(need) => bail!(
            "{} is installed but still not found; it is needed because it {}",
            need.package,
            need.why
        ),
        None => Ok(()),
    }
}

/// `cargo xtask doctor`: the same table, met needs included, and nothing installed.
pub(crate) fn report() -> Result<()> {
    let mut missing = 0;
    for need in Purpose::Test.needs() {
        let met = need.probe.met();
        missing += usize::from(!met);
        println!(
            "{} {:<24} {}",
            if met { "ok     " } else { "MISSING" },
            need.package,
            need.why
        );
    }
    if missing > 0 {
        bail!(
            "{missing} packages are missing; `cargo xtask up` and `cargo xtask test` install what they need"
        );
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    if !on_path("apt-get") {
        bail!(
            "this machine has no apt-get; install what is listed above by its own means and try again"
        );
    }
    if !process::is_root() {
        // In the foreground, where it can ask for a password; the calls below then need none.
        let allowed = Command::new("sudo")
            .arg("-v")
            .status()
            .is_ok_and(|status| status.success());
        if !allowed {
            bail!(
                "installing packages needs root; run this with sudo, or install what is listed above first"
            );
        }
    }
    // The lists of a fresh machine are empty or old; a failing update is told by the install.
    let update = apt(&["update", "-qq"]);
    let _ = run::bounded(update, INSTALL_LIMIT, run::Echo::Lines)?;
    let mut command = apt(&["install", "-y", "-qq", "--no-install-recommends"]);
    command.args(packages);
    let finished = run::bounded(command, INSTALL_LIMIT, run::Echo::Lines)?;
    if !finished.ok {
        bail!(
            "apt-get install {} {}; run it by hand to see why",
            packages.join(" "),
            finished.reason
        );
    }
    Ok(())
}

/// `apt-get`, through sudo unless we are root.
fn apt(args: &[&str]) -> Command {
    let mut command = if process::is_root() {
        Command::new("apt-get")
    } else {
        let mut command = Command::new("sudo");
        command.args(["--", "apt-get"]);
        command
    };
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

impl Probe {
    fn met(&self) -> bool {
        match self {
            Self::Program(name) => on_path(name),
            Self::File { folder, part } => holds(Path::new(folder), part, 4),
        }
    }
}

/// Whether a path below `folder`, at most `depth` levels down, contains `part`.
fn holds(folder: &Path, part: &str, depth: usize) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let named = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().contains(part))
    };
    paths.iter().any(named)
        || (depth > 1
            && paths
                .iter()
                .any(|path| path.is_dir() && holds(path, part, depth - 1)))
}

/// Installs a cargo program if it is missing: `cargo install --locked`.
pub(crate) fn cargo_program(name: &str, version: &str, why: &str) -> Result<()> {
    let ready = on_path(name) || home_bin(name).is_some_and(|path| path.is_file());
    if ready {
        return Ok(());
    }
    eprintln!("Missing: {name}, {why}; installing it with cargo (a few minutes)");
    let mut command =
        crate::repository::cargo(&["install", "--locked", "--quiet", "--version", version, name]);
    command.env_remove("MULTICLAW_COMMIT");
    let finished =
        run::bounded(command, INSTALL_LIMIT, run::Echo::Lines).context("cargo install")?;
    if !finished.ok {
        bail!("cargo install {name} {}", finished.reason);
    }
    Ok(())
}

fn home_bin(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    Some(home.join("bin").join(name))
}
