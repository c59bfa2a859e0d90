//! The relay under test and the peer beside it, with certificates of their own making, and how each
//! client is told about them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::clients::{
    Attempt, Client, ECHO_FLAGS, Expect, HOSTILE_FLAGS, Mode, PAIR_FLAGS, Transport,
};
use super::tools;
use crate::repository;
use crate::run;
use crate::up::part::{Crew, Ready, Spec};

const HOST: &str = "127.0.0.1";
const SECRET: &str = "interop-secret";
const REALM: &str = "interop.test";
const READY_LIMIT: Duration = Duration::from_secs(10);
const ADMIN_LIMIT: Duration = Duration::from_secs(5);
const OPENSSL_LIMIT: Duration = Duration::from_secs(20);
/// Of a credential; the whole run takes minutes.
const CREDENTIAL_SECS: u64 = 3600;
/// Over TLS coturn's client offers an old protocol version at random and is refused with an alert:
/// a run that failed for that is made again.
const UCLIENT_TRIES: &str = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do \
    out=$(timeout 25 turnutils_uclient \"$@\" 2>&1); status=$?; \
    case $status,$out in *'Total lost packets 0 '*) break ;; *alert*) ;; *) break ;; esac; done; \
    echo \"$out\" | tail -n 12; exit $status";

/// Everything ends when it is dropped.
pub(crate) struct House {
    folder: PathBuf,
    ports: [u16; Transport::ALL.len()],
    peer_port: u16,
    admin: String,
    spki: String,
    _crew: Crew,
}

/// The programs of one attempt.
pub(crate) struct Plan {
    /// Run first; how they end depends on what they happened to break.
    pub(crate) disturbing: Vec<Command>,
    /// Run side by side; each has to end well.
    pub(crate) judged: Vec<Command>,
}

/// What the relay has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Relayed, both ways.
    pub(crate) packets: u64,
    /// Answers with 401.
    pub(crate) unauthorized: u64,
}

impl House {
    pub(crate) fn open() -> Result<Self> {
        let folder = tools::folder().join("run");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        certify(&folder)?;
        let spki = key_hash(&folder)?;
        let config = folder.join("relay.toml");
        fs::write(&config, relay_toml(&folder))?;
        let mut crew = Crew::new(folder.clone())?;
        let ready = crew.start(Spec {
            name: "relay",
            program: repository::program("multiclaw-relay"),
            args: vec!["--config".into(), config.display().to_string()],
            env: Vec::new(),
            ready: Ready::Line(READY_LIMIT),
            must_run: true,
        })?;
        let peer_port = free_port()?;
        crew.start(peer(peer_port))?;
        Ok(Self {
            folder,
            ports: ports(&ready)?,
            peer_port,
            admin: ready["admin"]
                .as_str()
                .context("the relay names no admin address")?
                .to_owned(),
            spki,
            _crew: crew,
        })
    }

    pub(crate) fn counters(&self) -> Result<Counters> {
        let mut stream = TcpStream::connect(&self.admin).context("the relay's admin port")?;
        stream.set_read_timeout(Some(ADMIN_LIMIT))?;
        let host = &self.admin;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(Counters::read(&text))
    }

    /// What one attempt runs.
    pub(crate) fn plan(&self, attempt: &Attempt) -> Result<Plan> {
        let credential = Credential::fresh(attempt)?;
        let judged = match attempt.client {
            Client::Uclient => self.uclient(attempt, &credential),
            Client::Aioice => {
                let mut command = Command::new(tools::python());
                command.arg(repository::root().join("tests/interop/clients/aioice_client.py"));
                vec![command]
            }
            Client::NodeDatachannel => vec![node("node-datachannel.mjs")],
            Client::Werift => vec![node("werift.mjs")],
            Client::Chromium => vec![node("chromium.mjs")],
            Client::TurnCrate => vec![Command::new(tools::rust_program("turn-crate"))],
            Client::TurnClientProto => {
                vec![Command::new(tools::rust_program("turn-client-proto"))]
            }
            Client::Differential => vec![Command::new(tools::rust_program("differential"))],
        };
        let disturbing = match attempt.mode {
            Mode::Hostile => HOSTILE_FLAGS
                .iter()
                .map(|flags| self.uclient_once(attempt, &credential, flags))
                .collect(),
            Mode::Only | Mode::Echo | Mode::Pairs => Vec::new(),
        };
        let mut plan = Plan { disturbing, judged };
        for command in &mut plan.judged {
            self.tell(command, attempt, &credential);
        }
        Ok(plan)
    }

    fn tell(&self, command: &mut Command, attempt: &Attempt, credential: &Credential) {
        let authority = self.folder.join("ca.pem");
        let patience = match attempt.expect {
            Expect::TurnedAway => "4000",
            Expect::Through | Expect::Agreement | Expect::Nothing => "15000",
        };
        command
            .env("INTEROP_HOST", HOST)
            .env("INTEROP_PORT", self.port(attempt.transport).to_string())
            .env("INTEROP_TRANSPORT", attempt.transport.word())
            .env("INTEROP_USER", &credential.username)
            .env("INTEROP_PASSWORD", &credential.password)
            .env("INTEROP_PATIENCE_MS", patience)
            .env("INTEROP_CA", &authority)
            .env("INTEROP_SPKI", &self.spki)
            .env("SSL_CERT_FILE", &authority)
            .env("RUST_BACKTRACE", "0");
    }

    fn uclient(&self, attempt: &Attempt, credential: &Credential) -> Vec<Command> {
        let modes: &[&[&str]] = match (attempt.expect, attempt.mode) {
            (Expect::TurnedAway, _) | (_, Mode::Hostile) => &PAIR_FLAGS[..1],
            (_, Mode::Echo) => &ECHO_FLAGS,
            (_, Mode::Pairs | Mode::Only) => &PAIR_FLAGS,
        };
        modes
            .iter()
            .map(|flags| self.uclient_once(attempt, credential, flags))
            .collect()
    }

    fn uclient_once(&self, attempt: &Attempt, credential: &Credential, flags: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", UCLIENT_TRIES, "sh"])
            .args(self.uclient_arguments(attempt, credential, flags));
        command
    }

    fn uclient_arguments(
        &self,
        attempt: &Attempt,
        credential: &Credential,
        flags: &[&str],
    ) -> Vec<String> {
        let stream: &[&str] = match attempt.transport {
            Transport::Udp => &[],
            Transport::Tcp => &["-t"],
            Transport::Tls | Transport::Shared => &["-t", "-S"],
        };
        let port = self.port(attempt.transport).to_string();
        let peer_port = self.peer_port.to_string();
        let mut arguments = vec!["-u", &credential.username, "-w", &credential.password];
        arguments.extend(["-n", "5", "-m", "2", "-z", "5", "-p", &port]);
        arguments.extend(stream);
        arguments.extend(flags);
        if attempt.mode == Mode::Echo {
            arguments.extend(["-e", HOST, "-r", &peer_port]);
        }
        arguments.push(HOST);
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn port(&self, transport: Transport) -> u16 {
        self.ports[Transport::ALL
            .iter()
            .position(|it| *it == transport)
            .expect("ALL holds every transport")]
    }
}

impl Counters {
    /// From the text of `/metrics`.
    fn read(metrics: &str) -> Self {
        let value = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
                .unwrap_or(0)
        };
        let packets = |direction: &str| -> u64 {
            value(&format!(
                "multiclaw_relay_packets_total{{direction=\"{direction}\"}}"
            ))
        };
        Self {
            packets: packets("to_peer") + packets("to_client"),
            unauthorized: value("multiclaw_relay_errors_total{code=\"401\"}"),
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            unauthorized: self.unauthorized - before.unauthorized,
        }
    }
}

/// What signalling would hand out: `<expiry>:<session>` and its MAC.
struct Credential {
    username: String,
    password: String,
}

impl Credential {
    fn fresh(attempt: &Attempt) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let username = format!("{}:interop", now + CREDENTIAL_SECS);
        let secret = match attempt.expect {
            Expect::TurnedAway => "another-secret",
            Expect::Through | Expect::Agreement | Expect::Nothing => SECRET,
        };
        let script = "printf %s \"$1\" | openssl dgst -sha1 -hmac \"$2\" -binary | openssl base64";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", &username, secret]);
        let password = run::quiet(command, OPENSSL_LIMIT)?.trim().to_owned();
        Ok(Self { username, password })
    }
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(script).current_dir(tools::scripts());
    command
}

/// coturn's own echo.
fn peer(port: u16) -> Spec {
    Spec {
        name: "peer",
        program: "turnutils_peer".into(),
        args: ["-L", HOST, "-p", &port.to_string()]
            .map(str::to_owned)
            .to_vec(),
        env: Vec::new(),
        ready: Ready::AtOnce,
        must_run: true,
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((HOST, 0))?.local_addr()?.port())
}

/// In the order of `Transport::ALL`, from the relay's ready line.
fn ports(ready: &Value) -> Result<[u16; Transport::ALL.len()]> {
    let listen = ready["listen"]
        .as_array()
        .context("the relay names no listeners")?;
    let mut ports = [0; Transport::ALL.len()];
    ensure!(listen.len() == ports.len(), "listeners: {listen:?}");
    for (port, entry) in ports.iter_mut().zip(listen) {
        let address = entry["address"].as_str().unwrap_or_default();
        *port = address
            .parse::<std::net::SocketAddr>()
            .with_context(|| format!("a listener's address: {address}"))?
            .port();
    }
    Ok(ports)
}

fn relay_toml(folder: &Path) -> String {
    let listeners: String = ["udp", "tcp", "tls", "https"]
        .iter()
        .map(|transport| {
            format!("[[listen]]\naddress = \"{HOST}:0\"\ntransport = \"{transport}\"\n")
        })
        .collect();
    format!(
        "realm = \"{REALM}\"\nrelay_addresses = [\"{HOST}\"]\nworkers = 1\n\
         relay_ports = \"50000-59999\"\n{listeners}\
         [peers]\nallow = [\"127.0.0.0/8\"]\n\
         [limits]\nallocations_per_user = 1000\n\
         [auth]\nshared_secrets = [\"{SECRET}\"]\n\
         [tls]\ncertificate = \"{0}/cert.pem\"\nkey = \"{0}/key.pem\"\n\
         [admin]\naddress = \"{HOST}:0\"\n",
        folder.display()
    )
}

/// An authority, and a certificate it signed for this machine's loopback address.
fn certify(folder: &Path) -> Result<()> {
    fs::write(
        folder.join("extensions"),
        format!(
            "subjectAltName=IP:{HOST},DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"
        ),
    )?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for line in [
        format!(
            "req -x509 {key} -days 2 -subj /CN=interop-authority -keyout ca.key -out ca.pem \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
        ),
        format!("req {key} -subj /CN=localhost -keyout key.pem -out request.pem"),
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -extfile extensions -out cert.pem"
            .to_owned(),
    ] {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(folder);
        run::quiet(command, OPENSSL_LIMIT)?;
    }
    Ok(())
}

/// The hash of the certificate's key, in the form Chromium takes.
fn key_hash(folder: &Path) -> Result<String> {
    let script = "openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform der | \
                  openssl dgst -sha256 -binary | openssl base64";
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder);
    Ok(run::quiet(command, OPENSSL_LIMIT)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_counters_are_read_from_its_metrics() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# TYPE multiclaw_relay_packets counter\n\
            multiclaw_relay_packets_total{direction=\"hairpin\"} 3\n\
            multiclaw_relay_packets_total{direction=\"to_peer\"} 5\n\
            multiclaw_relay_packets_total{direction=\"to_client\"} 7\n\
            multiclaw_relay_errors_total{code=\"401\"} 2\n";
        let counters = Counters::read(text);
        assert_eq!((counters.packets, counters.unauthorized), (12, 2));
        assert_eq!(counters.since(counters), Counters::default());
    }

    #[test]
    fn the_ports_stand_in_the_order_of_the_transports() {
        let ready = serde_json::json!({"listen": [
            {"address": "127.0.0.1:1"}, {"address": "127.0.0.1:2"},
            {"address": "127.0.0.1:3"}, {"address": "127.0.0.1:4"}]});
        assert_eq!(ports(&ready).unwrap(), [1, 2, 3, 4]);
        assert!(ports(&serde_json::json!({"listen": []})).is_err());
    }
}
