//! coturn as an independent TURN server on loopback, for interop tests; gone when dropped.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use protocol::signal::IceServer;

/// How long it may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Coturn {
    child: Child,
    port: u16,
    state: PathBuf,
}

impl Coturn {
    /// # Errors
    ///
    /// coturn is not installed, or does not come up.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for a real process to listen"
    )]
    pub fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let state = std::env::temp_dir().join(format!("coturn-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&state)?;
        let child = Command::new("turnserver")
            .args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .args([
                "--lt-cred-mech",
                "--user=alice:secret",
                "--realm=example.org",
            ])
            .args([
                "--allow-loopback-peers",
                "--no-tls",
                "--no-dtls",
                "--no-cli",
            ])
            .args(["--log-file=stdout", "--simple-log"])
            .arg(format!("--listening-port={port}"))
            .arg(format!("--pidfile={}", state.join("pid").display()))
            .arg(format!("--userdb={}", state.join("db").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start `turnserver` (Debian package coturn)")?;
        let coturn = Self { child, port, state };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            anyhow::ensure!(
                Instant::now() < deadline,
                "coturn does not listen on {port}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(coturn)
    }

    /// What signalling would hand out for it.
    pub fn ice_server(&self, transport: &str) -> IceServer {
        IceServer {
            urls: vec![format!(
                "turn:127.0.0.1:{}?transport={transport}",
                self.port
            )],
            username: "alice".into(),
            credential: "secret".into(),
            region: "test".into(),
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.state);
    }
}
