//! What the clients need: packages, a Python environment, a Node folder and a small cargo project,
//! all below `target/interop`. Once fetched, nothing here touches the network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::clients::Client;
use crate::ground::{self, Purpose};
use crate::lint::COMPILE_LIMIT;
use crate::repository::{self, BUILD_FLAGS, cargo};
use crate::run::{self, Echo};

const FETCH_LIMIT: Duration = Duration::from_secs(5 * 60);
/// Debian's own: the packages below are the ones it needs.
const PYTHON: &str = "/usr/bin/python3";

/// Where everything lies that is not in the repository.
pub(crate) fn folder() -> PathBuf {
    repository::target().join("interop")
}

pub(crate) fn python() -> PathBuf {
    folder().join("python/bin/python")
}

/// The repository's `tests`, as far as scripts need it.
fn node_folder() -> PathBuf {
    folder().join("node")
}

/// Where the copies of the clients' scripts lie.
pub(crate) fn scripts() -> PathBuf {
    node_folder().join("interop/clients")
}

/// A program of the cargo project in `tests/interop/rust`.
pub(crate) fn rust_program(name: &str) -> PathBuf {
    folder().join("rust/debug").join(name)
}

/// The clients' sources in the repository.
fn sources() -> PathBuf {
    repository::root().join("tests/interop/clients")
}

pub(crate) fn prepare(clients: &[Client], no_build: bool) -> Result<()> {
    ground::prepare(Purpose::Interop)?;
    let wants = |some: &[Client]| clients.iter().any(|client| some.contains(client));
    if wants(&[Client::Aioice]) {
        python_packages()?;
    }
    if wants(&[Client::NodeDatachannel, Client::Werift, Client::Chromium]) {
        node_packages()?;
    }
    if no_build {
        return Ok(());
    }
    let mut relay = cargo(&["build", "--bin", "multiclaw-relay"]);
    relay.args(BUILD_FLAGS);
    build(relay, "the relay")?;
    if wants(&[
        Client::TurnCrate,
        Client::TurnClientProto,
        Client::Differential,
    ]) {
        build(rust_project(), "what others have written in Rust")?;
    }
    Ok(())
}

fn build(command: Command, what: &str) -> Result<()> {
    eprintln!("Building {what}");
    let finished = run::bounded(command, COMPILE_LIMIT, Echo::Lines)?;
    if !finished.ok {
        bail!("cargo build {}", finished.reason);
    }
    Ok(())
}

fn rust_project() -> Command {
    let mut command = cargo(&["build", "--locked", "--manifest-path"]);
    command
        .arg("tests/interop/rust/Cargo.toml")
        .arg("--target-dir")
        .arg(folder().join("rust"));
    command
}

fn python_packages() -> Result<()> {
    let wanted = sources().join("requirements.txt");
    let home = folder().join("python");
    once(&home, &wanted, "pip", || {
        let mut create = Command::new(PYTHON);
        create.args(["-m", "venv"]).arg(&home);
        run::quiet(create, FETCH_LIMIT)?;
        let mut install = Command::new(python());
        install
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(&wanted);
        run::quiet(install, FETCH_LIMIT).map(|_| ())
    })
}

/// The scripts are copied to below the packages they import, because Node looks for those upwards;
/// what they share with other tests lies to them as it does in the repository.
fn node_packages() -> Result<()> {
    let (home, scripts) = (node_folder(), scripts());
    fs::create_dir_all(&scripts).with_context(|| format!("cannot create {}", scripts.display()))?;
    fs::copy(sources().join("package.json"), home.join("package.json"))?;
    for shared in ["chromium.mjs", "chromium.json"] {
        let tests = repository::root().join("tests");
        fs::copy(tests.join(shared), home.join(shared))?;
    }
    for entry in fs::read_dir(sources())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".mjs") {
            fs::copy(entry.path(), scripts.join(name))?;
        }
    }
    once(&home, &sources().join("package.json"), "npm", || {
        let mut command = Command::new("npm");
        command
            .args(["install", "--no-package-lock", "--no-audit", "--no-fund"])
            .args(["--ignore-scripts", "--loglevel=error"])
            .current_dir(&home);
        run::quiet(command, FETCH_LIMIT).map(|_| ())
    })
}

/// Fetches what `list` names, unless exactly that was fetched before.
fn once(home: &Path, list: &Path, by: &str, fetch: impl Fn() -> Result<()>) -> Result<()> {
    let wanted =
        fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let stamp = home.join(".installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let shown = list.strip_prefix(repository::root()).unwrap_or(list);
    eprintln!("Fetching with {by} what {} names", shown.display());
    fetch()?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot note what {by} installed"))
}
