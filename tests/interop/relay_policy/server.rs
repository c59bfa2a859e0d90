//! Starts our relay, or coturn with its defaults, inside the namespace.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::enclosure::{Enclosure, RELAY_V4, RELAY_V6};

pub(crate) const USER: &str = "u";
pub(crate) const PASSWORD: &str = "p";
const LISTENER: &str = "127.0.0.1:3478";
const TLS_LISTENER: &str = "127.0.0.1:5349";
const START_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MultiClaw,
    /// With two workers.
    MultiClawOfTwo,
    /// As installed: only credentials and addresses are given.
    Coturn,
}

pub(crate) struct Server {
    child: Child,
    directory: PathBuf,
}

impl Server {
    pub(crate) fn start(kind: Kind, _inside: &Enclosure) -> Self {
        let name = format!("multiclaw-relay-policy-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let mut command = match kind {
            Kind::MultiClaw => our_command(&directory, 1),
            Kind::MultiClawOfTwo => our_command(&directory, 2),
            Kind::Coturn => coturn_command(&directory),
        };
        let log = fs::File::create(directory.join("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Self { child, directory };
        server.wait_until_it_answers();
        server
    }

    pub(crate) fn listener(&self) -> SocketAddr {
        LISTENER.parse().unwrap()
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .unwrap();
        let kib: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
        kib * 1024
    }

    fn wait_until_it_answers(&mut self) {
        let binding = [
            0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        ];
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(LISTENER).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {}", self.log());
            // Refused while nobody listens yet.
            if socket.send(&binding).is_ok() && socket.recv(&mut [0; 512]).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not answer: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn our_command(directory: &std::path::Path, workers: usize) -> Command {
    let config = directory.join("relay.toml");
    let text = format!(
        "relay_addresses = [\"{RELAY_V4}\", \"{RELAY_V6}\"]\nworkers = {workers}\n\
         relay_ports = \"50000-60000\"\n\
         [[listen]]\naddress = \"{LISTENER}\"\ntransport = \"udp\"\n\
         [[listen]]\naddress = \"{LISTENER}\"\ntransport = \"tcp\"\n\
         [[listen]]\naddress = \"{TLS_LISTENER}\"\ntransport = \"tls\"\n\
         [limits]\nallocations_per_user = 1000\n\
         [tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\
         [auth]\nusers = {{ {USER} = \"{PASSWORD}\" }}\n"
    );
    fs::write(&config, text).unwrap();
    certify(directory);
    let mut command = Command::new(our_binary());
    command.arg("--config").arg(config);
    command
}

fn certify(directory: &std::path::Path) {
    let output = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=relay.test",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Beside the test's own folder: `target/release/deps/x` and `target/release/multiclaw-relay`.
fn our_binary() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let binary = me.ancestors().nth(2).unwrap().join("multiclaw-relay");
    assert!(
        binary.is_file(),
        "build it first: cargo build --release -p relay"
    );
    binary
}

fn coturn_command(directory: &std::path::Path) -> Command {
    let mut command = Command::new("turnserver");
    command
        .args([
            "-n",
            "--lt-cred-mech",
            "--realm=x",
            "--no-tls",
            "--no-dtls",
            "--no-cli",
        ])
        .args([
            "--min-port=50000",
            "--max-port=60000",
            "--listening-ip=127.0.0.1",
        ])
        .arg(format!("--user={USER}:{PASSWORD}"))
        .arg(format!("--relay-ip={RELAY_V4}"))
        .arg(format!("--relay-ip={RELAY_V6}"))
        .args(["--simple-log", "--no-stdout-log", "-m", "1", "-l"])
        .arg(directory.join("coturn.log"));
    command
}
