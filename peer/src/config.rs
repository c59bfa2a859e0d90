//! What a [`Peer`](crate::Peer) is told when it is made.
//!
//! Names are resolved and sockets are bound before: the core sees addresses only.

use std::net::SocketAddr;
use std::sync::OnceLock;

use protocol::Secret;
use protocol::control::Chroma;
use protocol::signal::PathMode;

/// Which end of the session this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The agent host: answers, sends video.
    Host,
    /// The viewer: offers, receives video, opens the data channels.
    Viewer,
}

/// Whether a viewer asks for sound. A host sends it to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    Wanted,
    Unwanted,
}

/// Everything a [`Peer`](crate::Peer) needs to know at the start.
#[derive(Clone, Debug)]
pub struct Config {
    pub side: Side,
    /// `Relay` offers relayed candidates only and sends from nothing else; `Direct` never allocates.
    pub path_mode: PathMode,
    /// Addresses of the UDP sockets the shell has bound, one per local address; each becomes a host
    /// candidate unless `path_mode` is `Relay`. At most [`Config::SOCKETS_MAX`] are used.
    pub sockets: Vec<SocketAddr>,
    /// TURN servers, best first. At most [`Config::RELAYS_MAX`] are used.
    pub relays: Vec<RelayServer>,
    /// Bounds of what is sent; the viewer's is never used.
    pub bitrate: BitrateRange,
    pub certificate: Certificate,
    /// The host's is never used.
    pub sound: Sound,
    /// The finest chroma this end decodes; the host's is never used.
    pub chroma: Chroma,
    /// Seeds the transaction ids of the TURN client. str0m draws its own randomness.
    pub seed: u64,
}

impl Config {
    /// Host candidates one peer offers. Each costs connectivity checks with every remote one.
    pub const SOCKETS_MAX: usize = 8;
    /// Allocations one peer holds at a time.
    pub const RELAYS_MAX: usize = 6;

    /// A peer without relays, default bitrates and the certificate of this process.
    pub fn new(side: Side, sockets: Vec<SocketAddr>) -> Self {
        Self {
            side,
            path_mode: PathMode::Auto,
            sockets,
            relays: Vec::new(),
            bitrate: BitrateRange::default(),
            certificate: Certificate::of_this_process(),
            sound: Sound::Wanted,
            chroma: Chroma::Yuv420,
            seed: 0,
        }
    }
}

/// How to speak to a TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelayTransport {
    Udp,
    Tcp,
    Tls,
}

/// One TURN server by address, with credentials that live as long as the session token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayServer {
    pub transport: RelayTransport,
    pub server: SocketAddr,
    /// The name in the URL: what a TLS certificate is checked against.
    pub name: String,
    /// The local address the server is reached from. For UDP one of [`Config::sockets`], or a
    /// socket of its own; for streams the shell's guess, used as the base of the candidate.
    pub base: SocketAddr,
    pub username: String,
    pub credential: Secret,
    /// Region, for words like "Using the relay in eu-west".
    pub region: String,
}

/// Bounds of the bandwidth estimate, in bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitrateRange {
    /// What is assumed before anything is known. Too low and the first key frame crawls out of
    /// the pacer; too high and a slow link queues it.
    pub start_bps: u64,
    /// The estimate never goes below it.
    pub min_bps: u64,
    /// The estimate is cut to it; probing stops there.
    pub max_bps: u64,
}

impl Default for BitrateRange {
    fn default() -> Self {
        Self {
            start_bps: 10_000_000,
            min_bps: 300_000,
            max_bps: 50_000_000,
        }
    }
}

/// A DTLS certificate and its key. Making one costs milliseconds, so a process makes one.
#[derive(Clone)]
pub struct Certificate(pub(crate) str0m::config::DtlsCert);

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate([redacted])")
    }
}

impl Certificate {
    /// The certificate of this process, made at the first call. Call it once at start: warm.
    ///
    /// # Panics
    ///
    /// If the cryptographic library cannot make an ECDSA key: nothing would work then.
    pub fn of_this_process() -> Self {
        static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
        CERTIFICATE.get_or_init(Self::generate).clone()
    }

    fn generate() -> Self {
        let provider = str0m::crypto::from_feature_flags();
        let certificate = provider
            .dtls_provider
            .generate_certificate()
            .expect("the cryptographic library makes an ECDSA key");
        Self(certificate)
    }
}
