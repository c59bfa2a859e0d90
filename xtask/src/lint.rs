//! `cargo xtask lint` and `cargo xtask wall`: what the compiler can say about the house.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::repository::cargo;
use crate::run::{self, Echo};

/// A whole workspace from nothing on two slow cores.
pub(crate) const COMPILE_LIMIT: Duration = Duration::from_secs(40 * 60);

/// Rooms whose library must compile without `io`.
pub(crate) const CORES: &[&str] = &[
    "protocol",
    "peer",
    "platform",
    "relay",
    "agent-host",
    "viewer",
    "signalling",
    "cloud",
];

/// Projects of their own, which no build of the workspace looks at: what a room newly depends on makes
/// their lock files stale, and then they do not build.
pub(crate) const BESIDE_THE_WORKSPACE: &[&str] =
    &["tests/interop/rust/Cargo.toml", "tests/fuzz/Cargo.toml"];

pub(crate) fn format_check() -> Command {
    cargo(&["fmt", "--all", "--check"])
}

pub(crate) fn clippy() -> Command {
    let mut command = cargo(&["clippy", "--all-targets"]);
    command
        .args(crate::repository::BUILD_FLAGS)
        .args(["--quiet", "--", "-D", "warnings"]);
    command
}

/// One core without its shell. The cores are checked one by one: together they would share features.
pub(crate) fn wall_of(core: &str) -> Command {
    cargo(&[
        "check",
        "--release",
        "--quiet",
        "--lib",
        "--no-default-features",
        "--package",
        core,
    ])
}

/// Whether the lock file beside this manifest is what its dependencies ask for.
pub(crate) fn lock_of(manifest: &str) -> Command {
    cargo(&["fetch", "--locked", "--quiet", "--manifest-path", manifest])
}

pub(crate) fn run_lint() -> Result<()> {
    all([("fmt", format_check()), ("clippy", clippy())])
}

pub(crate) fn run_wall() -> Result<()> {
    all(CORES.iter().map(|core| (*core, wall_of(core))))
}

fn all<'a>(checks: impl IntoIterator<Item = (&'a str, Command)>) -> Result<()> {
    let mut failed = Vec::new();
    for (name, command) in checks {
        let finished = run::bounded(command, COMPILE_LIMIT, Echo::Lines)?;
        eprintln!(
            "{name}: {}",
            if finished.ok { "ok" } else { &finished.reason }
        );
        if !finished.ok {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
