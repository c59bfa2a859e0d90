//! The real `multiclaw-relay` on loopback, with a folder of its own; both gone when dropped.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use serde_json::Value;

pub struct RelayProgram {
    child: Child,
    folder: PathBuf,
    ready: Value,
}

/// A program of the workspace, beside this one or beside the folder of tests.
///
/// # Errors
///
/// It has not been built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let programs = me.ancestors().skip(1).take(2);
    programs
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("build `{name}` first: cargo build"))
}

/// An empty folder for one test's files.
///
/// # Errors
///
/// It cannot be made.
pub fn folder(name: &str) -> std::io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("multiclaw-{name}-{}-{count}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl RelayProgram {
    /// Starts with `relay.toml` in `folder`, which the relay owns from then on.
    ///
    /// # Errors
    ///
    /// It is not built, or does not come up: with what it said.
    pub fn start(folder: PathBuf) -> anyhow::Result<Self> {
        let log = std::fs::File::create(folder.join("log"))?;
        let mut child = Command::new(program("multiclaw-relay")?)
            .arg("--config")
            .arg(folder.join("relay.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child.stdout.take().context("a pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let mut relay = Self {
            child,
            folder,
            ready: Value::Null,
        };
        relay.ready =
            serde_json::from_str(&line).with_context(|| format!("not ready: {}", relay.log()))?;
        Ok(relay)
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// Without such a listener.
    pub fn address(&self, transport: &str) -> SocketAddr {
        let listens = self.ready["listen"].as_array().expect("listeners");
        let listen = listens
            .iter()
            .find(|listen| listen["transport"] == transport);
        let address = listen.and_then(|listen| listen["address"].as_str());
        address
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no {transport} listener in {}", self.ready))
    }

    /// The ready line.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Sends a signal by name, as `kill` knows it.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status()?;
        anyhow::ensure!(sent.success(), "kill -s {name} {pid}");
        Ok(())
    }

    /// Waits until it ends; its exit code.
    ///
    /// # Errors
    ///
    /// It was killed.
    pub fn wait(&mut self) -> anyhow::Result<i32> {
        self.child.wait()?.code().context("killed")
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("a size")?.parse::<u64>()? * 1024)
    }
}

impl Drop for RelayProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
