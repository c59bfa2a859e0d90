//! From the ICE servers of signalling to relays by address, reachable from one of our sockets.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

use protocol::signal::IceServer;

use crate::config::{Config, RelayServer, RelayTransport};
use crate::ice_url::IceUrl;

/// True if no name has to be asked for: resolving will not block.
pub(super) fn is_instant(servers: &[IceServer]) -> bool {
    urls(servers).all(|(_, url)| url.host.parse::<IpAddr>().is_ok())
}

/// Blocks while names are resolved. A server that cannot be resolved or reached from any of our
/// sockets is left out.
pub(super) fn relays(servers: &[IceServer], sockets: &[SocketAddr]) -> Vec<RelayServer> {
    let mut relays: Vec<RelayServer> = Vec::new();
    for (server, url) in urls(servers) {
        for address in resolve(&url) {
            let known = relays
                .iter()
                .any(|relay| relay.server == address && relay.transport == url.transport);
            let Some(base) = base(address, url.transport, sockets) else {
                continue;
            };
            if known || relays.len() >= Config::RELAYS_MAX {
                continue;
            }
            relays.push(RelayServer {
                transport: url.transport,
                server: address,
                name: url.host.clone(),
                base,
                username: server.username.clone(),
                credential: server.credential.clone(),
                region: server.region.clone(),
            });
        }
    }
    relays
}

fn urls(servers: &[IceServer]) -> impl Iterator<Item = (&IceServer, IceUrl)> {
    servers.iter().flat_map(|server| {
        let urls = server.urls.iter().filter_map(|url| IceUrl::parse(url));
        urls.map(move |url| (server, url))
    })
}

/// One address per family.
fn resolve(url: &IceUrl) -> Vec<SocketAddr> {
    let found = (url.host.as_str(), url.port).to_socket_addrs();
    let found: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
    let v4 = found.iter().find(|address| address.is_ipv4());
    let v6 = found.iter().find(|address| address.is_ipv6());
    v4.into_iter().chain(v6).copied().collect()
}

/// The socket from whose address the server is reached: the kernel's routing table knows.
fn base(
    server: SocketAddr,
    transport: RelayTransport,
    sockets: &[SocketAddr],
) -> Option<SocketAddr> {
    let any: SocketAddr = if server.is_ipv4() {
        "0.0.0.0:0".parse().ok()?
    } else {
        "[::]:0".parse().ok()?
    };
    let probe = UdpSocket::bind(any).ok()?;
    probe.connect(server).ok()?;
    let source = probe.local_addr().ok()?;
    if transport != RelayTransport::Udp {
        return Some(source);
    }
    let exact = sockets.iter().find(|socket| socket.ip() == source.ip());
    let family = sockets
        .iter()
        .find(|socket| socket.is_ipv4() == server.is_ipv4());
    exact.or(family).copied()
}
