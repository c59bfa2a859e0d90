//! The sockets that clients speak to, one set per worker.
//!
//! A port is first tried for this process alone: the kernel would let two relays share it, and
//! give each of them half of the clients. A wildcard for UDP is bound address by address, because
//! an answer has to come from the address that was asked, and the kernel would choose another.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::{streams, worker};
use crate::config::{Listen, Transport};

/// What all workers listen on.
pub(crate) struct Bound {
    /// As configured, with the ports that were given for 0.
    pub(crate) listens: Vec<Listen>,
    /// By worker.
    pub(crate) udp: Vec<Vec<UdpSocket>>,
    /// By worker.
    pub(crate) tcp: Vec<Vec<(TcpListener, Transport)>>,
}

/// Binds every listener once per worker.
///
/// # Errors
///
/// Names the listener that another program has, or that is not an address of this machine.
pub(crate) fn bind_all(listen: &[Listen], workers: usize) -> Result<Bound> {
    let mut bound = Bound {
        listens: listen.to_vec(),
        udp: Vec::new(),
        tcp: Vec::new(),
    };
    for listen in listen {
        try_alone(listen).with_context(|| format!("cannot listen on {}", listen.address))?;
    }
    for _ in 0..workers {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for listen in &mut bound.listens {
            let say = || format!("cannot listen on {}", listen.address);
            // Port 0 is resolved by the first worker; the others share what it got.
            let port = match listen.transport {
                Transport::Udp => bind_udp(listen.address, &mut udp).with_context(say)?,
                transport => {
                    let socket = streams::bind_listener(listen.address).with_context(say)?;
                    let port = socket.local_addr()?.port();
                    tcp.push((socket, transport));
                    port
                }
            };
            listen.address.set_port(port);
        }
        bound.udp.push(udp);
        bound.tcp.push(tcp);
    }
    Ok(bound)
}

/// Fails if any other socket has the port.
fn try_alone(listen: &Listen) -> io::Result<()> {
    let (kind, protocol) = match listen.transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        _ => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(listen.address), kind, Some(protocol))?;
    if listen.address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections that linger from an earlier run are nobody.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&listen.address.into())
}

/// Binds one address, or all of this machine's for a wildcard; returns the port.
fn bind_udp(address: SocketAddr, sockets: &mut Vec<UdpSocket>) -> io::Result<u16> {
    let mut port = address.port();
    for ip in addresses(address.ip())? {
        let socket = worker::bind_listener(SocketAddr::new(ip, port))?;
        port = socket.local_addr()?.port();
        sockets.push(socket);
    }
    Ok(port)
}

/// Addresses that come up later are not served until the next start.
fn addresses(ip: IpAddr) -> io::Result<Vec<IpAddr>> {
    if !ip.is_unspecified() {
        return Ok(vec![ip]);
    }
    let interfaces = if_addrs::get_if_addrs()?.into_iter();
    let mut own: Vec<_> = interfaces
        .filter(|one| one.ip().is_ipv4() == ip.is_ipv4() && !one.is_link_local())
        .map(|one| one.ip())
        .collect();
    own.sort_unstable();
    own.dedup();
    if own.is_empty() {
        own.push(ip);
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_udp_wildcard_is_bound_address_by_address_on_one_port() {
        let bound = bind_all(&[listen("0.0.0.0:0", Transport::Udp)], 2).unwrap();
        let address = bound.listens[0].address;
        assert!(address.ip().is_unspecified() && address.port() != 0);
        for sockets in &bound.udp {
            let own = sockets.iter().map(|one| one.local_addr().unwrap());
            let own: Vec<_> = own.collect();
            assert!(own.contains(&SocketAddr::new([127, 0, 0, 1].into(), address.port())));
            assert!(own.iter().all(|one| one.port() == address.port()));
            assert!(!own.iter().any(|one| one.ip().is_unspecified()));
        }
    }

    #[test]
    fn a_port_that_another_relay_listens_on_is_taken() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let first = bind_all(&[listen("127.0.0.1:0", transport)], 2).unwrap();
            let taken = first.listens[0].address;
            let error = bind_all(&first.listens, 1).err().unwrap();
            let said = format!("{error:#}");
            assert!(
                said.starts_with(&format!("cannot listen on {taken}")),
                "{said}"
            );
            drop(first);
            assert!(bind_all(&[listen(&taken.to_string(), transport)], 1).is_ok());
        }
    }

    fn listen(address: &str, transport: Transport) -> Listen {
        let address = address.parse().unwrap();
        Listen { address, transport }
    }
}
