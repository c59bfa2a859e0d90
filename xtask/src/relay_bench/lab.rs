//! Three network namespaces, one server at a time, and the generator's runs between them.
//!
//! Everything made here is taken down again when it is dropped: processes first, then namespaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

const RELAY_FOR_CLIENT: &str = "10.99.0.1";
const RELAY_FOR_PEER: &str = "10.99.1.1";
const PEER: &str = "10.99.1.2";
const PEER_DIRECT: &str = "10.99.2.2";
/// A server that is not listening by then is broken.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest a single run of the generator may take besides its measured seconds.
const RUN_SPARE: Duration = Duration::from_secs(90);
/// Server and generator go before whatever else the machine does: a session of their own, because
/// the scheduler weighs sessions first and processes second, and both with a high weight. They end
/// with us, however we end.
const FIRST: [&str; 11] = [
    "setsid",
    "setpriv",
    "--pdeathsig",
    "KILL",
    "nice",
    "-n",
    "-15",
    "sh",
    "-c",
    "echo -15 2>/dev/null >/proc/self/autogroup; exec ip netns exec \"$@\"",
    "sh",
];
/// The first port of `bench forward`.
const FORWARDER_PORT: u16 = 30_000;
/// Latency is read from this many windows, together as long as any other run.
pub(crate) const WINDOWS: u32 = 5;
const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MultiClaw,
    Coturn,
    /// A program that receives and sends, with no TURN: what the machine makes even of that.
    Forwarder,
}

/// How many processors the server and its workers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    /// One worker on a processor of its own.
    OnePinned,
    /// This many, on all processors, which the generator shares.
    Free(usize),
}

/// The namespaces and everything a run needs.
pub(crate) struct Lab {
    binary: PathBuf,
    seconds: f64,
    names: Names,
    directory: PathBuf,
}

/// Namespaces carry our process id, so that two labs can stand side by side.
struct Names {
    relay: String,
    client: String,
    peer: String,
}

impl Lab {
    pub(crate) fn build(binary: PathBuf, seconds: f64) -> Result<Self> {
        sweep_stale().context("network namespaces need root and iproute2")?;
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("multiclaw-relay-bench-{id}"));
        fs::create_dir_all(&directory)?;
        let lab = Self {
            binary,
            seconds,
            names: Names {
                relay: format!("mcb{id}r"),
                client: format!("mcb{id}c"),
                peer: format!("mcb{id}p"),
            },
            directory,
        };
        lab.connect()
            .context("network namespaces need root and iproute2")?;
        lab.certify()?;
        Ok(lab)
    }

    fn connect(&self) -> Result<()> {
        let Names {
            relay,
            client,
            peer,
        } = &self.names;
        for name in [relay, client, peer] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        self.link(
            (relay, "c0", "10.99.0.1/24"),
            (client, "r0", "10.99.0.2/24"),
        )?;
        self.link((relay, "p0", "10.99.1.1/24"), (peer, "r0", "10.99.1.2/24"))?;
        self.link((client, "d0", "10.99.2.1/24"), (peer, "d0", "10.99.2.2/24"))
    }

    fn link(&self, a: (&str, &str, &str), b: (&str, &str, &str)) -> Result<()> {
        ip(&[
            "link", "add", a.1, "netns", a.0, "type", "veth", "peer", "name", b.1, "netns", b.0,
        ])?;
        for (namespace, device, address) in [a, b] {
            ip(&["-n", namespace, "addr", "add", address, "dev", device])?;
            ip(&["-n", namespace, "link", "set", device, "up"])?;
        }
        Ok(())
    }

    /// A certificate for both servers, signed by itself.
    fn certify(&self) -> Result<()> {
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "2", "-subj", "/CN=relay.test", "-keyout"])
            .arg(self.directory.join("key.pem"))
            .arg("-out")
            .arg(self.directory.join("cert.pem"));
        quiet(&mut openssl)
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn start(&self, kind: Kind, workers: Workers) -> Result<Server> {
        let mut command = first(&self.names.relay);
        if workers == Workers::OnePinned {
            command.args(["taskset", "-c", SERVER_CORE]);
        }
        let count = match workers {
            Workers::OnePinned => 1,
            Workers::Free(count) => count,
        };
        match kind {
            Kind::MultiClaw => self.our_command(&mut command, count)?,
            Kind::Coturn => self.coturn_command(&mut command, count),
            Kind::Forwarder => self.forwarder_command(&mut command),
        }
        let log = fs::File::create(self.directory.join("server.log"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().context("cannot start the server")?;
        let mut server = Server { kind, child };
        server.wait_until_listening(&self.directory.join("server.log"))?;
        Ok(server)
    }

    fn our_command(&self, command: &mut Command, workers: usize) -> Result<()> {
        let config = self.directory.join("relay.toml");
        let (cert, key) = (
            self.directory.join("cert.pem"),
            self.directory.join("key.pem"),
        );
        let text = format!(
            "realm = \"bench\"\nworkers = {workers}\nrelay_addresses = [\"{RELAY_FOR_PEER}\"]\n\
             relay_ports = \"20000-60000\"\n\
             [[listen]]\naddress = \"{RELAY_FOR_CLIENT}:3478\"\ntransport = \"udp\"\n\
             [[listen]]\naddress = \"{RELAY_FOR_CLIENT}:3478\"\ntransport = \"tcp\"\n\
             [[listen]]\naddress = \"{RELAY_FOR_CLIENT}:5349\"\ntransport = \"tls\"\n\
             [auth]\nusers = {{ u = \"p\" }}\n[peers]\nallow = [\"10.99.0.0/16\"]\n\
             [limits]\nallocations = 40000\nallocations_per_user = 40000\n\
             allocations_per_address = 40000\nunauthenticated_replies_per_second = 0\n\
             [tls]\ncertificate = {cert:?}\nkey = {key:?}\n"
        );
        fs::write(&config, text)?;
        command.arg(&self.binary).arg("--config").arg(config);
        Ok(())
    }

    fn coturn_command(&self, command: &mut Command, workers: usize) {
        command
            .args([
                "turnserver",
                "-n",
                "--lt-cred-mech",
                "--user=u:p",
                "--realm=bench",
            ])
            .args(["--no-dtls", "--no-cli", "--no-stdout-log", "--simple-log"])
            .args(["--min-port", "20000", "--max-port", "60000"])
            .arg(format!("--listening-ip={RELAY_FOR_CLIENT}"))
            .arg(format!("--relay-ip={RELAY_FOR_PEER}"))
            .args(["-m", &workers.to_string(), "-l"])
            .arg(self.directory.join("coturn.log"))
            .arg("--cert")
            .arg(self.directory.join("cert.pem"))
            .arg("--pkey")
            .arg(self.directory.join("key.pem"));
    }

    fn forwarder_command(&self, command: &mut Command) {
        command
            .arg(&self.binary)
            .args(["bench", "forward", "--client-side", RELAY_FOR_CLIENT])
            .args(["--peer-side", RELAY_FOR_PEER, "--peer-address", PEER]);
    }

    /// Runs the generator and returns its report.
    pub(crate) fn bench(&self, server: Option<&Server>, arguments: &[&str]) -> Result<Value> {
        let mut command = first(&self.names.client);
        command
            .arg(&self.binary)
            .arg("bench")
            .args(arguments)
            .args(["--user", "u", "--password", "p", "--json"]);
        if !arguments.contains(&"--server") {
            command.args(["--server", &format!("{RELAY_FOR_CLIENT}:3478")]);
        }
        if let Some(server) = server {
            command.args(["--server-pid", &server.child.id().to_string()]);
        }
        let output = bounded_output(command, RUN_SPARE + Duration::from_secs_f64(self.seconds))?;
        let last = output.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("not a report: {last}"))
    }

    /// Payload through `server`, or past it when there is none.
    pub(crate) fn load(&self, server: Option<&Server>, arguments: &[&str]) -> Result<Value> {
        let seconds = self.seconds.to_string();
        self.load_for(&seconds, server, arguments)
    }

    /// A short window of the same.
    pub(crate) fn window(&self, server: Option<&Server>, arguments: &[&str]) -> Result<Value> {
        let seconds = (self.seconds / f64::from(WINDOWS)).to_string();
        self.load_for(&seconds, server, arguments)
    }

    fn load_for(
        &self,
        seconds: &str,
        server: Option<&Server>,
        arguments: &[&str],
    ) -> Result<Value> {
        let namespace = format!("/run/netns/{}", self.names.peer);
        let mut all = vec!["load", "--peer-namespace", &namespace, "--seconds", seconds];
        all.extend(["--warm-up", "0.5", "--peer-address"]);
        match server {
            Some(server) => {
                all.push(PEER);
                if server.kind == Kind::Forwarder {
                    all.extend(["--forwarder", RELAY_FOR_PEER]);
                }
            }
            None => all.extend([PEER_DIRECT, "--direct"]),
        }
        all.extend(arguments);
        let mut report = self.bench(server, &all)?;
        Ok(report["steps"][0].take())
    }

    pub(crate) fn seconds(&self) -> String {
        self.seconds.to_string()
    }

    pub(crate) fn tls_server() -> String {
        format!("{RELAY_FOR_CLIENT}:5349")
    }

    pub(crate) fn generator_core() -> [&'static str; 2] {
        ["--core", GENERATOR_CORE]
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.names.relay, &self.names.client, &self.names.peer] {
            let _ = ip(&["netns", "del", name]);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A running server; stopped when dropped.
pub(crate) struct Server {
    kind: Kind,
    child: Child,
}

impl Server {
    /// `nice`, `ip netns exec` and `taskset` all replace themselves, so the id stays the server's.
    fn wait_until_listening(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the server ended at once, {status}:\n{}",
                    fs::read_to_string(log)?
                );
            }
            if self.is_listening() {
                // Listening sockets come up one by one; give the last worker its moment.
                thread::sleep(Duration::from_millis(300));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!(
            "the server does not listen after {START_TIMEOUT:?}:\n{}",
            fs::read_to_string(log)?
        )
    }
}

impl Server {
    fn is_listening(&self) -> bool {
        let net = format!("/proc/{}/net", self.child.id());
        let udp = |port| has_socket(&format!("{net}/udp"), port, "07");
        match self.kind {
            Kind::Forwarder => udp(FORWARDER_PORT),
            Kind::MultiClaw | Kind::Coturn => {
                udp(3478) && has_socket(&format!("{net}/tcp"), 5349, "0A")
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that drains would wait for allocations the generator has long forgotten.
        for signal in ["-TERM", "-TERM", "-KILL"] {
            let _ = quiet(Command::new("kill").args([signal, &self.child.id().to_string()]));
            let deadline = Instant::now() + STOP_TIMEOUT / 10;
            while Instant::now() < deadline {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.wait();
    }
}

/// Looks for a local port in a table of /proc/net, in the state given as there.
fn has_socket(table: &str, port: u16, state: &str) -> bool {
    let suffix = format!(":{port:04X}");
    fs::read_to_string(table)
        .unwrap_or_default()
        .lines()
        .any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&suffix))
                && fields.nth(1) == Some(state)
        })
}

fn bounded_output(mut command: Command, limit: Duration) -> Result<String> {
    let mut timeout = Command::new("timeout");
    timeout.args(["--signal=KILL", &limit.as_secs().to_string()]);
    timeout.arg(command.get_program()).args(command.get_args());
    command = timeout;
    let output = command.output().context("cannot start the generator")?;
    ensure!(
        output.status.success(),
        "the generator failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A command that runs in a namespace and goes before others.
fn first(namespace: &str) -> Command {
    let [program, arguments @ ..] = FIRST;
    let mut command = Command::new(program);
    command.args(arguments).arg(namespace);
    command
}

/// Takes down what a lab left behind that was killed.
fn sweep_stale() -> Result<()> {
    let output = Command::new("ip").args(["netns", "list"]).output()?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let pid = name
            .strip_prefix("mcb")
            .map(|rest| rest.trim_end_matches(['r', 'c', 'p']));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    quiet(Command::new("ip").args(arguments))
}

fn quiet(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
