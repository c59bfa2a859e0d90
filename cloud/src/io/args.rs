//! Flags, which win over the environment, which wins over the file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use protocol::Secret;
use protocol::id::InstanceId;

use crate::config::{Config, ConfigError};

const VERSION: &str = match option_env!("MULTICLAW_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

const EXAMPLES: &str = "Examples:
  multiclaw-cloud --config cloud.toml
  multiclaw-cloud --config cloud.toml --check-config
  multiclaw-cloud --config cloud.toml instance create --id desk --region local
  multiclaw-cloud --config cloud.toml access create --instance desk --ttl-secs 3600
  multiclaw-cloud openapi";

/// Signs people in, knows the instances, introduces viewers to agent hosts.
#[derive(Debug, Parser)]
#[command(name = "multiclaw-cloud", version = VERSION, after_help = EXAMPLES)]
pub(super) struct Args {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        env = "MULTICLAW_CLOUD_CONFIG",
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// Check the configuration and stop.
    #[arg(long)]
    pub(super) check_config: bool,
    /// Listen here instead of where the file says.
    #[arg(long, env = "MULTICLAW_CLOUD_LISTEN", value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Use this database instead of the file's.
    #[arg(
        long,
        global = true,
        env = "MULTICLAW_CLOUD_DATABASE",
        value_name = "URL"
    )]
    database: Option<String>,
    /// The address people use.
    #[arg(
        long,
        global = true,
        env = "MULTICLAW_CLOUD_PUBLIC_URL",
        value_name = "URL"
    )]
    public_url: Option<String>,
    /// Folder of the signing key.
    #[arg(long, global = true, env = "MULTICLAW_CLOUD_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// How the log on stderr looks.
    #[arg(
        long,
        global = true,
        env = "MULTICLAW_LOG_FORMAT",
        default_value = "text"
    )]
    pub(super) log_format: LogFormat,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create, list and delete instances.
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Create, list and revoke access keys.
    #[command(subcommand)]
    Access(AccessCommand),
    /// Add people to the workspace.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Print the description of the HTTP API (OpenAPI), which the service also serves.
    Openapi,
    /// Print shell completions.
    Completions { shell: Shell },
}

#[derive(Debug, Subcommand)]
pub(super) enum InstanceCommand {
    /// Prints the credential of its agent host, once.
    Create {
        #[arg(long)]
        id: InstanceId,
        #[arg(long)]
        region: String,
    },
    List,
    /// For good: a deleted id never returns.
    Delete {
        #[arg(long)]
        id: InstanceId,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum MemberCommand {
    /// Makes a confirmed member, or gives one a new password and role; prints the password, once.
    Create {
        #[arg(long)]
        email: String,
        #[arg(long, default_value = "home")]
        workspace: String,
        #[arg(long, default_value = "owner")]
        role: MemberRoleName,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MemberRoleName {
    Owner,
    Admin,
    Member,
}

#[derive(Debug, Subcommand)]
pub(super) enum AccessCommand {
    /// Prints the key and a URL with it, once.
    Create {
        #[arg(long)]
        instance: InstanceId,
        #[arg(long, default_value = "control")]
        role: RoleName,
        /// The key expires after so long; without it, never.
        #[arg(long, value_name = "SECONDS")]
        ttl_secs: Option<u64>,
    },
    List {
        #[arg(long)]
        instance: Option<InstanceId>,
    },
    Revoke {
        #[arg(long)]
        id: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleName {
    Control,
    View,
}

impl Args {
    /// The file, with what flags and environment replace.
    pub(super) fn configuration(&self) -> Result<Config, ConfigError> {
        let path = self.config.as_ref().ok_or_else(|| {
            ConfigError("no configuration: pass `--config FILE`, see `--help` for examples".into())
        })?;
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError(format!(
                "cannot read {shown}: {error}; pass another file with --config"
            ))
        })?;
        let mut config =
            Config::parse(&text).map_err(|error| ConfigError(format!("{shown}: {error}")))?;
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(database) = &self.database {
            config.database = Secret::new(database);
        }
        if let Some(state) = &self.state {
            config.state.clone_from(state);
        }
        if self.public_url.is_some() {
            config.public_url.clone_from(&self.public_url);
        }
        config.check()?;
        Ok(config)
    }
}

pub(super) fn print_completions(shell: Shell) {
    let mut command = Args::command();
    clap_complete::generate(
        shell,
        &mut command,
        "multiclaw-cloud",
        &mut std::io::stdout(),
    );
}
