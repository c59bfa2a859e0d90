//! Several real `multiclaw-cloud` that serve together: one PostgreSQL, one NATS, one signing key, and
//! nothing before them. All of it is gone when dropped.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use serde_json::Value;

use crate::relay_program::{folder, program};

/// What all nodes sign with; the tests' own.
pub const SIGNING_SEED: [u8; 32] = [1; 32];
/// A node is given a port when it comes first.
const ANY_PORT: &str = "listen = \"127.0.0.1:0\"";
/// Between two looks at a server that starts.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A server that takes no connections by then has failed.
const LOOKS_MAX: u32 = 1500;

/// Nodes that share everything a service keeps.
pub struct Nodes {
    pub nodes: Vec<Node>,
    pub nats: Nats,
    pub database: Postgres,
    folder: PathBuf,
}

/// One process of the cloud.
pub struct Node {
    child: Child,
    config: PathBuf,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Nodes {
    /// # Errors
    ///
    /// Something is not installed, not built, or does not come up.
    pub fn start(count: usize) -> anyhow::Result<Self> {
        let folder = folder("nodes")?;
        let mut started = Self {
            nodes: Vec::new(),
            nats: Nats::start()?,
            database: Postgres::start()?,
            folder,
        };
        for number in 0..count {
            let config = started.configure(number)?;
            started.nodes.push(Node::start(config)?);
        }
        Ok(started)
    }

    /// What a subcommand of the cloud answers.
    ///
    /// # Errors
    ///
    /// It failed: with what it said.
    pub fn admin(&self, args: &[&str]) -> anyhow::Result<Value> {
        let node = self.nodes.first().context("a node")?;
        admin(&node.config, args)
    }

    fn configure(&self, number: usize) -> anyhow::Result<PathBuf> {
        let state = self.folder.join(format!("node-{number}"));
        std::fs::create_dir_all(&state)?;
        let key = base64::engine::general_purpose::STANDARD.encode(SIGNING_SEED);
        write_secret(&state.join("signing.key"), &key)?;
        let text = format!(
            "{ANY_PORT}\ndatabase = \"{}\"\nbus = \"{}\"\nstate = \"{}\"\n\
             [[region]]\nid = \"local\"\n[[region.relay]]\n\
             urls = [\"turn:127.0.0.1:3478?transport=udp\"]\nshared_secrets = [\"secret\"]\n",
            self.database.url,
            self.nats.url(),
            state.display(),
        );
        let config = state.join("cloud.toml");
        std::fs::write(&config, text)?;
        Ok(config)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.nodes.clear();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What a subcommand of the cloud with this configuration answers.
///
/// # Errors
///
/// It failed: with what it said.
pub fn admin(config: &Path, args: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(program("multiclaw-cloud")?)
        .arg("--config")
        .arg(config)
        .args(args)
        .output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Node {
    /// # Errors
    ///
    /// It is not built, or does not come up: with what it said.
    pub fn start(config: PathBuf) -> anyhow::Result<Self> {
        Self::start_by(Command::new(program("multiclaw-cloud")?), config)
    }

    /// The same by a command that becomes the program.
    ///
    /// # Errors
    ///
    /// It does not come up: with what it said.
    pub fn start_by(mut command: Command, config: PathBuf) -> anyhow::Result<Self> {
        let log = config.with_file_name("log");
        let mut child = command
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        let stdout = child.stdout.take().context("a pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let mut node = Self {
            child,
            config,
            address: String::new(),
        };
        let ready: Value =
            serde_json::from_str(&line).with_context(|| format!("not ready: {}", node.log()))?;
        let url = ready["url"].as_str().context("a ready line has a url")?;
        node.address = url.trim_start_matches("http://").to_owned();
        Ok(node)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.config.with_file_name("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As an upgrade does it: asked to end, and begun again at the address it had.
    ///
    /// # Errors
    ///
    /// It does not end well, or does not come up: with what it said.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill").arg(self.pid().to_string()).status()?;
        let ended = self.child.wait()?;
        anyhow::ensure!(
            asked.success() && ended.success(),
            "{ended}: {}",
            self.log()
        );
        let text = std::fs::read_to_string(&self.config)?;
        let text = text.replace(ANY_PORT, &format!("listen = \"{}\"", self.address));
        std::fs::write(&self.config, text)?;
        *self = Self::start(self.config.clone())?;
        Ok(())
    }

    /// As a machine that loses its power: nothing is said to anybody.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian's `nats-server`, on a port that was free when it came first.
pub struct Nats {
    folder: PathBuf,
    port: String,
    child: Option<Child>,
}

impl Nats {
    /// # Errors
    ///
    /// It is not installed, or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let mut nats = Self {
            folder: folder("nats")?,
            // Any.
            port: "-1".into(),
            child: None,
        };
        let id = nats.spawn()?;
        // It writes this file once it listens.
        let file = nats.folder.join(format!("nats-server_{id}.ports"));
        nats.port = looked(|| {
            let text = std::fs::read_to_string(&file).ok()?;
            let (_, rest) = text.split_once("nats://127.0.0.1:")?;
            Some(rest.split_once('"')?.0.to_owned())
        })
        .context("nats-server does not listen")?;
        Ok(nats)
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// From now on it is away.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Again, where it was.
    ///
    /// # Errors
    ///
    /// It does not come up.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        let address = format!("127.0.0.1:{}", self.port);
        looked(|| {
            // Somebody else's connection may have this port for a moment.
            if let Ok(Some(_)) = self.child.as_mut()?.try_wait() {
                self.spawn().ok()?;
            }
            TcpStream::connect(&address).ok()
        })
        .context("nats-server does not listen")?;
        Ok(())
    }

    fn spawn(&mut self) -> anyhow::Result<u32> {
        let child = Command::new("/usr/sbin/nats-server")
            .args(["-a", "127.0.0.1", "-p", &self.port, "--ports_file_dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("nats-server is missing; `cargo xtask test` installs it")?;
        Ok(self.child.insert(child).id())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What is seen once it is there.
#[expect(
    clippy::disallowed_methods,
    reason = "waits for a real process to listen"
)]
fn looked<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    (0..LOOKS_MAX).find_map(|_| {
        let seen = look();
        if seen.is_none() {
            std::thread::sleep(LOOK_EVERY);
        }
        seen
    })
}

/// A PostgreSQL, which takes itself down when its input ends.
pub struct Postgres {
    pub url: String,
    input: Option<ChildStdin>,
    child: Child,
}

impl Postgres {
    /// # Errors
    ///
    /// It is not installed, or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/postgres.sh");
        let mut child = Command::new(script)
            .args(["sh", "-c", "echo \"$MULTICLAW_TEST_POSTGRES\"; cat >&2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("a pipe")?;
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.trim().to_owned();
        let started = Self { url, input, child };
        anyhow::ensure!(started.url.starts_with("postgres:"), "no PostgreSQL");
        Ok(started)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
