//! Which way the picture comes, and how that is said in words.

use std::fmt;

use serde::Serialize;

/// Transport of the last hop a viewer can see: to the host, or to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// Kind of our own candidate in the pair that carries media (RFC 8445 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Host,
    Reflexive,
    Relay,
}

/// The path in use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Path {
    pub kind: Kind,
    pub transport: Transport,
    /// Region of the relay; `None` on a path without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl Path {
    pub fn is_relayed(&self) -> bool {
        self.kind == Kind::Relay
    }
}

/// Short form for statistics: `host/udp`, `relay/tls`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Host => "host",
            Kind::Reflexive => "reflexive",
            Kind::Relay => "relay",
        };
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        write!(f, "{kind}/{transport}")
    }
}

impl Path {
    /// The path as a person is told it.
    pub fn words(&self) -> String {
        let over = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS on TCP",
        };
        match (&self.kind, &self.region) {
            (Kind::Relay, Some(region)) => format!("Using the relay in {region} over {over}"),
            (Kind::Relay, None) => format!("Using a relay over {over}"),
            (Kind::Host | Kind::Reflexive, _) => format!("Connected directly over {over}"),
        }
    }
}
