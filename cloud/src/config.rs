//! `cloud.toml`: strict, every key known, every mistake named with its line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use protocol::Secret;
use protocol::mistake::Mistake;
use protocol::token::SESSION_TTL_MAX;
use serde::Deserialize;
use signalling::grant::{Region, Relay, Terms};

pub mod container;
pub mod oidc;

pub use container::ContainerConfig;
pub use oidc::OidcConfig;

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the service listens; port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// `sqlite:/path/cloud.db`, or `postgres://user:password@host/database`.
    pub database: Secret,
    #[serde(default)]
    pub bus: Bus,
    /// The address people use; default `http://` and where the service listens.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Folder of the signing key.
    pub state: PathBuf,
    #[serde(default, rename = "region")]
    pub regions: Vec<RegionConfig>,
    #[serde(default)]
    pub session: SessionConfig,
    #[serde(default)]
    pub identity: IdentityConfig,
    /// Without it mails are written into a folder.
    #[serde(default)]
    pub smtp: Option<SmtpConfig>,
    /// Without it people sign in with email and password only.
    #[serde(default)]
    pub oidc: Option<OidcConfig>,
    #[serde(default)]
    pub quota: QuotaConfig,
    #[serde(default)]
    pub retention: RetentionConfig,
    #[serde(default)]
    pub status: StatusConfig,
    /// Without it there is no `/metrics`.
    #[serde(default)]
    pub metrics: Option<MetricsConfig>,
    /// Desktops on this machine; without it there are only those that somebody else runs.
    #[serde(default)]
    pub embedded: Option<EmbeddedConfig>,
    /// Desktops as containers of this machine, instead.
    #[serde(default)]
    pub container: Option<ContainerConfig>,
}

/// The server that takes mails.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpConfig {
    pub host: String,
    /// Default 465 for `tls`, 587 for `starttls`, 25 for `none`.
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub security: SmtpSecurity,
    #[serde(default)]
    pub user: Option<String>,
    /// Holds the user's password, and nothing else.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// An authority to trust beside those of the machine, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// `MultiClaw <no-reply@example.org>`.
    pub from: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpSecurity {
    #[default]
    Tls,
    Starttls,
    /// For a server on this machine.
    None,
}

impl SmtpConfig {
    fn check(&self) -> Result<(), ConfigError> {
        if self.user.is_some() != self.password_file.is_some() {
            let text = "`smtp.user` and `smtp.password_file` need each other";
            return Err(ConfigError(text.into()));
        }
        let here = matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if self.user.is_some() && self.security == SmtpSecurity::None && !here {
            let text = "`smtp.security` is `none`, which would send the password in the clear; use `tls` or `starttls`";
            return Err(ConfigError(text.into()));
        }
        Ok(())
    }
}

/// How long is kept what nobody needs to run.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    pub audit_days: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { audit_days: 400 }
    }
}

/// The page that says how the service is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// Where it is written for another server to send; default `status` in the state folder.
    pub folder: Option<PathBuf>,
    /// Where people find it; default `/status/` at `public_url`.
    pub url: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where `/metrics` is served to Prometheus.
    pub listen: SocketAddr,
}

/// How much one workspace may have.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaConfig {
    pub desktops: u32,
    pub running: u32,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            desktops: 20,
            running: 5,
        }
    }
}

/// How desktops run on this machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedConfig {
    /// Default: `multiclaw-agent-host` beside this program.
    pub agent_host: Option<PathBuf>,
    /// Where agent hosts find the service; default `http://` and where it listens.
    pub cloud_url: Option<String>,
    /// Addresses of this machine for media; default those of every interface.
    pub addresses: Vec<IpAddr>,
    /// Each desktop gets a user of its own, numbered from here; the service must run as root.
    /// Without it all run as the service's user.
    pub first_uid: Option<u32>,
}

/// How nodes talk to each other.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Bus {
    /// There is one node.
    #[default]
    Local,
    /// `nats://host:4222`, or `tls://…`; the address may hold a password.
    Nats(Secret),
}

impl TryFrom<String> for Bus {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "local" {
            return Ok(Self::Local);
        }
        if text.starts_with("nats://") || text.starts_with("tls://") {
            return Ok(Self::Nats(Secret::new(text)));
        }
        Err("`bus` must be `local` or begin with `nats://` or `tls://`".into())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    pub id: String,
    #[serde(default, rename = "relay")]
    pub relays: Vec<RelayConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    pub urls: Vec<String>,
    pub shared_secrets: Vec<Secret>,
}

/// How people sign in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// `multiclaw.io` makes `acme.multiclaw.io` the workspace `acme`. Without it there is one
    /// workspace, at `public_url`.
    pub host_suffix: Option<String>,
    /// Where mails are written; default `mail` in the state folder.
    pub mail_folder: Option<PathBuf>,
    /// Secrets that passwords are stored with, one per line, newest first: without this file a
    /// stolen database is no help in guessing them. Readable by the service only.
    pub pepper_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    pub token_ttl_secs: u64,
    pub idle_timeout_secs: u64,
    pub grace_secs: u64,
    pub relay_ttl_secs: u64,
}

impl Default for SessionConfig {
    fn default() -> Self {
        let terms = Terms::default();
        Self {
            token_ttl_secs: terms.token_ttl.as_secs(),
            idle_timeout_secs: terms.idle_timeout.as_secs(),
            grace_secs: terms.grace.as_secs(),
            relay_ttl_secs: terms.relay_ttl.as_secs(),
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8443))
}

impl Config {
    /// # Errors
    ///
    /// [`ConfigError`], one sentence that names key and line.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| Mistake::of(text, &error))?;
        config.check()?;
        Ok(config)
    }

    /// The rules a type cannot say. Flags may have replaced what the file said.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] that names the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError(text));
        let known = ["sqlite:", "postgres:", "postgresql:"];
        let database = self.database.expose();
        if !known.iter().any(|scheme| database.starts_with(scheme)) {
            return refuse("`database` must begin with `sqlite:` or `postgres:`".into());
        }
        if matches!(self.bus, Bus::Nats(_)) && database.starts_with("sqlite:") {
            return refuse(
                "`bus` is for several nodes, which must share a `database`: use `postgres:`".into(),
            );
        }
        if let Some(smtp) = &self.smtp {
            smtp.check()?;
        }
        if let Some(url) = &self.public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return refuse("`public_url` must begin with http:// or https://".into());
        }
        if let Some(oidc) = &self.oidc {
            oidc.check()?;
        }
        if let Some(container) = &self.container {
            container.check()?;
            if self.embedded.is_some() {
                return refuse("desktops have one driver: remove `embedded` or `container`".into());
            }
        }
        let ttl = self.session.token_ttl_secs;
        if !(1..=SESSION_TTL_MAX.as_secs()).contains(&ttl) {
            let max = SESSION_TTL_MAX.as_secs();
            return refuse(format!("`session.token_ttl_secs` is {ttl}, not 1 to {max}"));
        }
        for region in &self.regions {
            if let Some(url) = region
                .relays
                .iter()
                .flat_map(|relay| &relay.urls)
                .find(|url| !is_relay_url(url))
            {
                return refuse(format!(
                    "`{url}` in region `{}` is no relay address; write turn:HOST:PORT?transport=udp",
                    region.id
                ));
            }
        }
        Ok(())
    }

    /// Where mails are written.
    pub fn mail_folder(&self) -> PathBuf {
        let folder = self.identity.mail_folder.clone();
        folder.unwrap_or_else(|| self.state.join("mail"))
    }

    /// Where the status page is written.
    pub fn status_folder(&self) -> PathBuf {
        let folder = self.status.folder.clone();
        folder.unwrap_or_else(|| self.state.join("status"))
    }

    /// Where people find the status page of a service at `public_url`.
    pub fn status_page(&self, public_url: &str) -> String {
        let url = self.status.url.clone();
        url.unwrap_or_else(|| format!("{}/status/", public_url.trim_end_matches('/')))
    }

    pub fn terms(&self) -> Terms {
        Terms {
            token_ttl: Duration::from_secs(self.session.token_ttl_secs),
            relay_ttl: Duration::from_secs(self.session.relay_ttl_secs),
            idle_timeout: Duration::from_secs(self.session.idle_timeout_secs),
            grace: Duration::from_secs(self.session.grace_secs),
            ..Terms::default()
        }
    }

    pub fn regions(&self) -> Vec<Region> {
        let relay = |relay: &RelayConfig| Relay {
            urls: relay.urls.clone(),
            shared_secrets: relay.shared_secrets.clone(),
        };
        self.regions
            .iter()
            .map(|region| Region {
                id: region.id.clone(),
                relays: region.relays.iter().map(relay).collect(),
            })
            .collect()
    }
}

fn is_relay_url(url: &str) -> bool {
    url.starts_with("turn:") || url.starts_with("turns:")
}

/// What is wrong with the configuration, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl From<Mistake> for ConfigError {
    fn from(mistake: Mistake) -> Self {
        let place = mistake.place();
        Self(match mistake.misspelt {
            Some((unknown, meant)) => {
                format!("{place}unknown key `{unknown}`; did you mean `{meant}`?")
            }
            None => place + &mistake.message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const GOOD: &str = r#"
listen = "127.0.0.1:0"
database = "sqlite:/tmp/cloud.db"
bus = "local"
public_url = "http://127.0.0.1:8443"
state = "/tmp/cloud"
[[region]]
id = "local"
[[region.relay]]
urls = ["turn:127.0.0.1:3478?transport=udp"]
shared_secrets = ["s"]
[session]
token_ttl_secs = 5
"#;

    #[test]
    fn a_password_needs_a_user_and_is_not_sent_in_the_clear() {
        let server = "[smtp]\nhost = \"mail.example.org\"\nfrom = \"a@example.org\"\n";
        check_smtp(server, "password_file = \"/p\"", "`smtp.user`");
        let clear = "user = \"u\"\npassword_file = \"/p\"\nsecurity = \"none\"";
        check_smtp(server, clear, "in the clear");
        let sound = format!("{GOOD}{server}security = \"starttls\"\nca_file = \"/ca.pem\"");
        assert!(Config::parse(&sound).unwrap().smtp.is_some());
    }

    fn check_smtp(server: &str, rest: &str, complaint: &str) {
        let error = Config::parse(&format!("{GOOD}{server}{rest}")).unwrap_err();
        assert!(error.0.contains(complaint), "{error}");
    }

    #[test]
    fn the_documented_file_is_understood() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.terms().token_ttl, Duration::from_secs(5));
        assert_eq!(config.regions().len(), 1);
        assert!(!format!("{config:?}").contains("\"s\""));
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_the_closest_key() {
        for (from, to, said) in [
            (
                "listen =",
                "lsten =",
                "line 2: unknown key `lsten`; did you mean `listen`?",
            ),
            (
                "token_ttl_secs =",
                "token_ttl =",
                "line 13: unknown key `token_ttl`; did you mean `token_ttl_secs`?",
            ),
            (
                "urls =",
                "url =",
                "line 10: unknown key `url`; did you mean `urls`?",
            ),
            (
                "= 5",
                "= 601",
                "`session.token_ttl_secs` is 601, not 1 to 600",
            ),
            (
                "sqlite:",
                "mysql:",
                "`database` must begin with `sqlite:` or `postgres:`",
            ),
            (
                "\"local\"\npublic",
                "\"amqp://x\"\npublic",
                "line 4: `bus` must be `local` or begin with `nats://` or `tls://`",
            ),
            (
                "\"local\"\npublic",
                "\"nats://x:4222\"\npublic",
                "`bus` is for several nodes, which must share a `database`: use `postgres:`",
            ),
        ] {
            let error = Config::parse(&GOOD.replace(from, to)).unwrap_err();
            assert_eq!(error.to_string(), said);
        }
        assert!(
            Config::parse("")
                .unwrap_err()
                .to_string()
                .contains("database")
        );
    }
}
