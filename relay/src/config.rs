//! `relay.toml`: strict, so that a misspelt key is an error and not a surprise in production.

mod cloud;
mod web;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use protocol::Secret;
use protocol::mistake::Mistake;
use protocol::turn::cidr::Cidr;
use serde::Deserialize;

use crate::auth::Credentials;
use crate::ledger::Quotas;
use crate::policy::{DENIED_PORTS, PolicyConfig};
use crate::server::{Limits, RelayAddress, Settings};

pub use cloud::{CloudConfig, CloudUrl};
pub use web::{Upstream, WebConfig};

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "default_realm")]
    pub realm: String,
    #[serde(default = "default_region")]
    pub region: String,
    /// Worker threads; 0 means one per core.
    #[serde(default)]
    pub workers: usize,
    pub relay_addresses: Vec<RelayAddressConfig>,
    #[serde(default = "default_ports")]
    pub relay_ports: PortRange,
    pub listen: Vec<Listen>,
    #[serde(default)]
    pub auth: AuthConfig,
    #[serde(default)]
    pub peers: PeersConfig,
    #[serde(default)]
    pub limits: LimitsConfig,
    pub tls: Option<TlsConfig>,
    #[serde(default)]
    pub web: WebConfig,
    pub cloud: Option<CloudConfig>,
    pub admin: Option<AdminConfig>,
    #[serde(default)]
    pub drain: DrainConfig,
}

/// A relayed address, with the public one in front of it if they differ.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum RelayAddressConfig {
    Same(IpAddr),
    Mapped { bind: IpAddr, public: IpAddr },
}

/// One listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub address: SocketAddr,
    pub transport: Transport,
}

/// How clients speak to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    /// Port 443: TURN or HTTP, decided by the first bytes.
    Https,
}

impl Transport {
    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }
}

/// `[auth]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Newest first.
    pub shared_secrets: Vec<Secret>,
    pub users: BTreeMap<String, Secret>,
    /// Relays with the same 32 bytes, written as 64 hexadecimal digits, accept each other's nonces.
    pub nonce_key: Option<Secret>,
}

/// `[peers]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeersConfig {
    pub allow: Vec<Cidr>,
    pub deny: Vec<Cidr>,
    pub deny_ports: Vec<u16>,
}

impl Default for PeersConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            deny_ports: DENIED_PORTS.to_vec(),
        }
    }
}

/// `[limits]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    pub allocations: usize,
    pub allocations_per_user: usize,
    pub allocations_per_address: usize,
    pub permissions: usize,
    pub channels: usize,
    /// Per allocation; 0 means no limit.
    pub bytes_per_second: u64,
    /// Of the whole relay; 0 means no limit.
    pub bytes_per_second_total: u64,
    /// To one address prefix; 0 means no limit.
    pub unauthenticated_replies_per_second: u32,
    /// TCP and TLS connections that have no allocation yet, per worker.
    pub unauthenticated_connections: usize,
    pub session_secs: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            allocations: 16_000,
            allocations_per_user: 32,
            allocations_per_address: 512,
            permissions: 64,
            channels: 64,
            bytes_per_second: 0,
            bytes_per_second_total: 0,
            unauthenticated_replies_per_second: 200,
            unauthenticated_connections: 1024,
            session_secs: 24 * 3600,
        }
    }
}

/// `[tls]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    pub address: SocketAddr,
    /// Bearer token for what changes anything; without it nothing can be changed.
    pub token: Option<Secret>,
    /// A file that holds the token instead, relative to the configuration.
    pub token_file: Option<PathBuf>,
}

/// `[drain]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// Told to clients in 300 answers.
    pub alternate: Option<SocketAddr>,
    /// After so long the relay stops although allocations live.
    pub deadline_secs: u64,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            alternate: None,
            deadline_secs: 3600,
        }
    }
}

/// `"49152-65535"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(pub RangeInclusive<u16>);

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ports = text.split_once('-').and_then(|(low, high)| {
            let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
            (1024..=high).contains(&low).then_some(low..=high)
        });
        ports.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is not a range of ports from 1024 on, such as \"49152-65535\""
            ))
        })
    }
}

fn default_realm() -> String {
    "turn.multiclaw.io".into()
}

fn default_region() -> String {
    "local".into()
}

fn default_ports() -> PortRange {
    PortRange(49152..=65535)
}

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: one sentence with the line, and the closest known key for an unknown one.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| Mistake::of(text, &error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let says = |sentence: &str| Err(ConfigError(sentence.into()));
        if self.listen.is_empty() {
            return says("no [[listen]]: nobody could reach the relay");
        }
        if self.relay_addresses.is_empty() {
            return says("`relay_addresses` is empty: nothing could be relayed");
        }
        if self.auth.shared_secrets.is_empty() && self.auth.users.is_empty() {
            return says("[auth] has neither `shared_secrets` nor `users`: nobody could log in");
        }
        if self
            .auth
            .shared_secrets
            .iter()
            .any(|secret| secret.expose().is_empty())
        {
            return says("a shared secret in [auth] is empty");
        }
        if self.realm.is_empty() || self.realm.len() > 127 {
            return says("`realm` has to have 1 to 127 bytes");
        }
        let encrypted =
            |listen: &Listen| matches!(listen.transport, Transport::Tls | Transport::Https);
        if self.tls.is_none() && self.listen.iter().any(encrypted) {
            return says("a `tls` or `https` listener needs [tls] with `certificate` and `key`");
        }
        if self.cloud.is_some() && self.auth.shared_secrets.is_empty() {
            return says(
                "[cloud] needs `shared_secrets` in [auth]: reports are signed with the first",
            );
        }
        self.admin.as_ref().map_or(Ok(()), AdminConfig::check)
    }

    /// Threads to start, given the machine's cores.
    pub fn worker_count(&self, cores: usize) -> usize {
        match self.workers {
            0 => cores.max(1),
            workers => workers,
        }
    }

    pub fn quotas(&self) -> Quotas {
        Quotas {
            allocations: self.limits.allocations,
            allocations_per_user: self.limits.allocations_per_user,
            allocations_per_address: self.limits.allocations_per_address,
        }
    }

    /// What each server gets. `own_endpoints` are the listeners as they were bound.
    pub fn settings(
        &self,
        workers: usize,
        own: &[IpAddr],
        own_endpoints: &[SocketAddr],
    ) -> Settings {
        let relay_addresses = self.relay_addresses();
        let relay_ips = relay_addresses
            .iter()
            .flat_map(|one| [one.bind, one.public]);
        let own = own.iter().copied().chain(relay_ips).collect();
        Settings {
            credentials: Credentials {
                realm: self.realm.clone(),
                shared_secrets: self.auth.shared_secrets.clone(),
                users: self.auth.users.clone(),
            },
            relay_addresses,
            limits: self.limits.per_server(workers),
            policy: PolicyConfig {
                allow: self.peers.allow.clone(),
                deny: self.peers.deny.clone(),
                denied_ports: self.peers.deny_ports.clone(),
                own,
                own_endpoints: own_endpoints.to_vec(),
                relay_ports: Some(self.relay_ports.0.clone()),
            },
        }
    }

    pub fn relay_addresses(&self) -> Vec<RelayAddress> {
        let addresses = self.relay_addresses.iter();
        addresses
            .map(|address| match *address {
                RelayAddressConfig::Same(ip) => RelayAddress {
                    bind: ip,
                    public: ip,
                },
                RelayAddressConfig::Mapped { bind, public } => RelayAddress { bind, public },
            })
            .collect()
    }
}

impl AdminConfig {
    fn check(&self) -> Result<(), ConfigError> {
        if self.token.is_some() && self.token_file.is_some() {
            return Err(ConfigError(
                "[admin] has both `token` and `token_file`".into(),
            ));
        }
        match &self.token {
            Some(token) if token.expose().is_empty() => {
                Err(ConfigError("`token` in [admin] is empty".into()))
            }
            _ => Ok(()),
        }
    }
}

impl LimitsConfig {
    fn per_server(&self, workers: usize) -> Limits {
        Limits {
            permissions: self.permissions,
            channels: self.channels,
            bytes_per_second: self.bytes_per_second,
            bytes_per_second_total: self.bytes_per_second_total / workers.max(1) as u64,
            stranger_replies_per_second: self.unauthenticated_replies_per_second,
            session: Duration::from_secs(self.session_secs),
        }
    }
}

/// What is wrong with a configuration, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl From<Mistake> for ConfigError {
    fn from(mistake: Mistake) -> Self {
        let (place, message) = (mistake.place(), &mistake.message);
        let hint = mistake.misspelt.as_ref();
        let hint = hint.map(|(_, meant)| format!(". Did you mean `{meant}`?"));
        Self(format!("{place}{message}{}", hint.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
realm = "example.org"
region = "eu-west"
workers = 1
relay_addresses = ["127.0.0.1", { bind = "10.0.0.5", public = "203.0.113.5" }]
relay_ports = "50000-50100"
[[listen]]
address = "127.0.0.1:3478"
transport = "udp"
[auth]
shared_secrets = ["new", "old"]
users = { alice = "password" }
[peers]
allow = ["127.0.0.0/8"]
deny = []
[limits]
allocations_per_user = 3
[web]
upstream = "127.0.0.1:8443"
[cloud]
url = "https://multiclaw.io"
host = "turn.example.org"
[admin]
address = "127.0.0.1:9641"
"#;

    #[test]
    fn the_keys_of_the_contract_are_read() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.relay_ports, PortRange(50000..=50100));
        assert_eq!(config.relay_addresses().len(), 2);
        assert_eq!(config.quotas().allocations_per_user, 3);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_closest_known_one() {
        let text = GOOD.replace("relay_ports", "relay_port");
        let error = Config::parse(&text).unwrap_err().to_string();
        assert!(error.contains("line 6"), "{error}");
        assert!(error.contains("`relay_port`"), "{error}");
        assert!(error.contains("Did you mean `relay_ports`?"), "{error}");
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        for (from, to) in [
            ("50000-50100", "50100-50000"),
            ("50000-50100", "1-65535"),
            ("127.0.0.0/8", "127.0.0.0/33"),
            ("\"udp\"", "\"tls\""),
            ("\"udp\"", "\"quic\""),
            (
                "shared_secrets = [\"new\", \"old\"]\nusers = { alice = \"password\" }",
                "",
            ),
            ("[\"new\", \"old\"]", "[\"\"]"),
            ("https://multiclaw.io", "multiclaw.io"),
            ("shared_secrets = [\"new\", \"old\"]", ""),
            ("127.0.0.1:8443", "http://127.0.0.1:8443"),
            ("[admin]", "[admin]\ntoken = \"\""),
            ("[admin]", "[admin]\ntoken = \"a\"\ntoken_file = \"b\""),
        ] {
            assert!(
                Config::parse(&GOOD.replace(from, to)).is_err(),
                "{from} {to}"
            );
        }
    }

    #[test]
    fn secrets_never_show_in_debug_output() {
        let shown = format!("{:?}", Config::parse(GOOD).unwrap());
        assert!(!shown.contains("password"), "{shown}");
        assert!(!shown.contains("\"new\""), "{shown}");
    }
}
