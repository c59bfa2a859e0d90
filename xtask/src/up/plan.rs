//! What one run will look like, decided before anything starts: ports, files, secrets, and the
//! configuration of each daemon.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::certificate::Certificates;
use super::desktop::{self, Size};
use super::{INSTANCE, Options, sound};

/// The one region of a machine on its own.
pub(crate) const REGION: &str = "local";

/// Bytes of a generated secret; as many as the MAC it keys can use.
const SECRET_LEN: usize = 32;

/// Ports of one run. `--port-base` makes them predictable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) cloud: u16,
    /// UDP and TCP.
    pub(crate) relay: u16,
    /// TLS over TCP: TURN, and the cloud's pages.
    pub(crate) relay_tls: u16,
    pub(crate) relay_admin: u16,
    /// First and last port handed out to allocations.
    pub(crate) relayed: (u16, u16),
}

impl Ports {
    fn from_base(base: u16) -> Self {
        Self {
            cloud: base,
            relay: base + 1,
            relay_tls: base + 2,
            relay_admin: base + 3,
            relayed: (base + 100, base + 899),
        }
    }

    fn free(address: IpAddr) -> Result<Self> {
        Ok(Self {
            cloud: free_port(address)?,
            relay: free_port(address)?,
            relay_tls: free_port(address)?,
            relay_admin: free_port(address)?,
            relayed: (49152, 65535),
        })
    }
}

pub(crate) struct Plan {
    pub(crate) state: PathBuf,
    pub(crate) display: String,
    pub(crate) x_socket: PathBuf,
    pub(crate) size: Size,
    pub(crate) address: IpAddr,
    pub(crate) ports: Ports,
    pub(crate) certificates: Certificates,
    owns_display: bool,
    /// Where the desktop's own sound server listens, if it has one.
    sound: Option<PathBuf>,
    relay_secret: String,
    token_ttl_secs: Option<u64>,
    idle_timeout_secs: Option<u64>,
}

impl Plan {
    pub(crate) fn make(options: &Options, state: &Path) -> Result<Self> {
        let (display, owns_display) = match &options.display {
            Some(display) => (display.clone(), false),
            None => (desktop::free_display()?, true),
        };
        let x_socket = desktop::socket(&display)?;
        if !owns_display && !desktop::answers(&x_socket) {
            bail!("no X server answers at {display}; start one there, or leave out --display");
        }
        let ports = match options.port_base {
            Some(base) => Ports::from_base(base),
            None => Ports::free(options.address)?,
        };
        Ok(Self {
            state: state.to_owned(),
            display,
            x_socket,
            size: options.size,
            address: options.address,
            ports,
            certificates: Certificates::in_folder(state.join("certificates")),
            owns_display,
            sound: sound::socket(state, owns_display),
            relay_secret: kept_secret(&state.join("relay-secret"))?,
            token_ttl_secs: options.token_ttl_secs,
            idle_timeout_secs: options.idle_timeout_secs,
        })
    }

    pub(crate) fn owns_display(&self) -> bool {
        self.owns_display
    }

    /// The desktop's own sound server: its socket, if it has one.
    pub(crate) fn sound(&self) -> Option<&Path> {
        self.sound.as_deref()
    }

    pub(crate) fn relay_config(&self) -> PathBuf {
        self.state.join("relay.toml")
    }

    pub(crate) fn cloud_config(&self) -> PathBuf {
        self.state.join("cloud.toml")
    }

    pub(crate) fn agent_host_config(&self) -> PathBuf {
        self.state.join("agent-host.toml")
    }

    pub(crate) fn instance_credential(&self) -> PathBuf {
        self.state.join("instance-credential")
    }

    /// The access key of this run, for `multiclaw-viewer connect --token-file`.
    pub(crate) fn access_key(&self) -> PathBuf {
        self.state.join("access-key")
    }

    pub(crate) fn cloud_url(&self) -> String {
        format!("http://{}", self.at(self.ports.cloud))
    }

    pub(crate) fn at(&self, port: u16) -> String {
        std::net::SocketAddr::new(self.address, port).to_string()
    }

    /// Writes the certificates and the configuration of every daemon, readable by the owner only.
    pub(crate) fn write(&self) -> Result<()> {
        self.certificates.make(self.address)?;
        if let Some(folder) = self.sound().and_then(Path::parent) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        write_private(&self.relay_config(), &self.relay_toml())?;
        write_private(&self.cloud_config(), &self.cloud_toml())?;
        write_private(&self.agent_host_config(), &self.agent_host_toml())
    }

    /// Leaves the ready line of what runs now, current process ids included, in `up.json`.
    pub(crate) fn note_running(&self, line: &str) -> Result<()> {
        write_private(&self.state.join("up.json"), line)
    }

    fn relay_toml(&self) -> String {
        let relay = self.at(self.ports.relay);
        let (first, last) = self.ports.relayed;
        let mut text = format!(
            "realm = \"turn.multiclaw.io\"\nregion = \"{REGION}\"\nworkers = 1\nrelay_addresses = [\"{}\"]\nrelay_ports = \"{first}-{last}\"\n",
            self.address
        );
        for transport in ["udp", "tcp"] {
            text += &format!("\n[[listen]]\naddress = \"{relay}\"\ntransport = \"{transport}\"\n");
        }
        let tls = self.at(self.ports.relay_tls);
        text += &format!("\n[[listen]]\naddress = \"{tls}\"\ntransport = \"https\"\n");
        text += &format!(
            "\n[tls]\ncertificate = {}\nkey = {}\n",
            quoted_path(&self.certificates.relay()),
            quoted_path(&self.certificates.relay_key())
        );
        text += &format!("\n[web]\nupstream = \"{}\"\n", self.at(self.ports.cloud));
        text += &format!("\n[cloud]\nurl = \"{}\"\n", self.cloud_url());
        text += &format!(
            "\n[auth]\nshared_secrets = [{}]\n",
            quoted(&self.relay_secret)
        );
        text += &format!("\n[peers]\nallow = [\"{}\"]\n", self.own_network());
        text + &format!(
            "\n[admin]\naddress = \"{}\"\n",
            self.at(self.ports.relay_admin)
        )
    }

    /// Addresses the relay may send to although they are not public: this machine's.
    fn own_network(&self) -> String {
        match self.address {
            IpAddr::V4(address) if address.is_loopback() => "127.0.0.0/8".into(),
            IpAddr::V4(address) => format!("{address}/32"),
            IpAddr::V6(address) => format!("{address}/128"),
        }
    }

    fn cloud_toml(&self) -> String {
        let relay = self.at(self.ports.relay);
        let mut text = format!(
            "listen = \"{}\"\npublic_url = \"{}\"\n",
            self.at(self.ports.cloud),
            self.cloud_url()
        );
        text += &format!(
            "database = {}\nbus = \"local\"\n",
            quoted(&format!("sqlite:{}", self.state.join("cloud.db").display()))
        );
        text += &format!("state = {}\n", quoted_path(&self.state.join("cloud")));
        let session = [
            ("token_ttl_secs", self.token_ttl_secs),
            ("idle_timeout_secs", self.idle_timeout_secs),
        ];
        let session: String = session
            .iter()
            .filter_map(|(key, value)| Some(format!("{key} = {}\n", (*value)?)))
            .collect();
        if !session.is_empty() {
            text += &format!("\n[session]\n{session}");
        }
        text += &format!(
            "\n[embedded]\nagent_host = {}\naddresses = [\"{}\"]\n",
            quoted_path(&crate::repository::program("multiclaw-agent-host")),
            self.address
        );
        text += &format!("\n[[region]]\nid = \"{REGION}\"\n\n[[region.relay]]\n");
        let tls = self.at(self.ports.relay_tls);
        text += &format!(
            "urls = [\"turn:{relay}?transport=udp\", \"turn:{relay}?transport=tcp\", \"turns:{tls}?transport=tcp\"]\n"
        );
        text + &format!("shared_secrets = [{}]\n", quoted(&self.relay_secret))
    }

    fn agent_host_toml(&self) -> String {
        let sound = self.sound().map(sound::address);
        let audio = sound.map_or(String::new(), |address| {
            format!("\n[audio]\nserver = {}\n", quoted(&address))
        });
        let text = format!(
            "cloud = \"{}\"\ninstance = \"{INSTANCE}\"\ncredential_file = {}\ndisplay = \"{}\"\n\n[network]\naddresses = [\"{}\"]\nca_file = {}\n",
            self.cloud_url(),
            quoted_path(&self.instance_credential()),
            self.display,
            self.address,
            quoted_path(&self.certificates.authority())
        );
        text + &audio
    }
}

/// A port nobody listens on, for UDP and TCP.
fn free_port(address: IpAddr) -> Result<u16> {
    for _ in 0..64 {
        let listener = TcpListener::bind((address, 0)).with_context(|| {
            format!("{address} is not an address of this machine; pass one with --address")
        })?;
        let port = listener.local_addr()?.port();
        if UdpSocket::bind((address, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {address} is free for both UDP and TCP")
}

/// A secret made once per state folder and kept.
fn kept_secret(path: &Path) -> Result<String> {
    if let Ok(secret) = fs::read_to_string(path) {
        return Ok(secret);
    }
    let mut bytes = [0; SECRET_LEN];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, &secret)?;
    Ok(secret)
}

/// Writes a file only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(|| format!("cannot write {}", new.display()))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A TOML basic string; JSON's escapes are a part of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            state: "/state".into(),
            display: ":90".into(),
            x_socket: "/tmp/.X11-unix/X90".into(),
            size: Size {
                width: 1280,
                height: 800,
            },
            address: "127.0.0.1".parse().unwrap(),
            ports: Ports::from_base(20000),
            certificates: Certificates::in_folder("/state/certificates".into()),
            owns_display: true,
            sound: Some("/state/sound/native".into()),
            relay_secret: "s3cret".into(),
            token_ttl_secs: None,
            idle_timeout_secs: None,
        }
    }

    #[test]
    fn a_port_base_makes_every_port_predictable() {
        let ports = Ports::from_base(20000);
        assert_eq!(
            [ports.cloud, ports.relay, ports.relay_tls, ports.relay_admin],
            [20000, 20001, 20002, 20003]
        );
        assert_eq!(ports.relayed, (20100, 20899));
    }

    #[test]
    fn the_relay_is_announced_over_udp_tcp_and_tls_and_its_authority_is_trusted() {
        let urls = "urls = [\"turn:127.0.0.1:20001?transport=udp\", \"turn:127.0.0.1:20001?transport=tcp\", \"turns:127.0.0.1:20002?transport=tcp\"]";
        assert!(
            plan().cloud_toml().contains(urls),
            "{}",
            plan().cloud_toml()
        );
        let trusted = "ca_file = \"/state/certificates/authority.pem\"";
        assert!(plan().agent_host_toml().contains(trusted));
    }

    #[test]
    fn the_agent_host_hears_the_desktops_own_sound_server() {
        let mut plan = plan();
        let server = "[audio]\nserver = \"unix:/state/sound/native\"\n";
        assert!(plan.agent_host_toml().ends_with(server));
        plan.sound = None;
        assert!(!plan.agent_host_toml().contains("[audio]"));
    }

    #[test]
    fn cloud_and_relay_share_the_secret_and_the_address() {
        let (relay, cloud) = (plan().relay_toml(), plan().cloud_toml());
        for text in [&relay, &cloud] {
            assert!(
                text.contains("shared_secrets = [\"s3cret\"]") && text.contains("127.0.0.1:20001"),
                "{text}"
            );
        }
        assert!(relay.contains("allow = [\"127.0.0.0/8\"]"), "{relay}");
    }

    #[test]
    fn a_relay_on_a_real_address_may_send_to_that_address_only() {
        let plan = Plan {
            address: "10.77.0.1".parse().unwrap(),
            ..plan()
        };
        assert!(plan.relay_toml().contains("allow = [\"10.77.0.1/32\"]"));
    }

    #[test]
    fn session_limits_are_left_to_the_cloud_unless_given() {
        assert!(!plan().cloud_toml().contains("[session]"));
        let plan = Plan {
            token_ttl_secs: Some(20),
            ..plan()
        };
        assert!(
            plan.cloud_toml()
                .contains("[session]\ntoken_ttl_secs = 20\n")
        );
    }
}
