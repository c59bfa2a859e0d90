//! What the Rust clients have in common: the relay that `cargo xtask interop` tells them, what they
//! say over it, and how they report.

pub mod differential;

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};

/// Ping and pong, this often.
pub const ROUNDS: u32 = 200;
/// Nothing on one machine takes longer.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// From the environment.
pub struct Relay {
    pub host: String,
    pub port: u16,
    pub transport: Transport,
    pub username: String,
    pub password: String,
    /// A file with the certificate of whoever signed the relay's.
    pub authority: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Relay {
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
        Ok(Self {
            host: variable("INTEROP_HOST")?,
            port: variable("INTEROP_PORT")?.parse()?,
            transport: match variable("INTEROP_TRANSPORT")?.as_str() {
                "tcp" => Transport::Tcp,
                "tls" => Transport::Tls,
                _ => Transport::Udp,
            },
            username: variable("INTEROP_USER")?,
            password: variable("INTEROP_PASSWORD")?,
            authority: variable("INTEROP_CA")?,
        })
    }

    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Message number `round`, of ordinary size.
pub fn payload(round: u32) -> Vec<u8> {
    let mut bytes = round.to_be_bytes().to_vec();
    bytes.resize(1000, 0x5A);
    bytes
}

/// The last line of stdout.
pub fn report(messages: u32) {
    println!("{}", serde_json::json!({ "messages": messages }));
}
