//! Where things are: the root of the checkout, its build output, and the commit it stands at.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout this command was built from.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ lies in the root")
}

/// Cargo's output folder; honours `CARGO_TARGET_DIR`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A program as the release build leaves it.
pub(crate) fn program(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// The commit of the checkout, `-dirty` if files differ from it, `unknown` outside of git.
pub(crate) fn commit() -> String {
    Command::new("git")
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || "unknown".into(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
}

/// `cargo` in the root, with the commit that `--version` names.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(args)
        .current_dir(root())
        .env("MULTICLAW_COMMIT", commit());
    command
}

/// The one compile configuration of programs, tests and benches: nothing is built twice.
pub(crate) const BUILD_FLAGS: &[&str] = &["--release", "--workspace", "--features", "tests/net"];
