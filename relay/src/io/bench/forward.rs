//! `forward`: datagrams from one port to another and nothing else, the floor any relay stands on.
//!
//! One thread, one receive and one send for each datagram, no TURN: what a machine makes even of
//! this no relay in user space can avoid. Each session has a port of its own on both sides; see
//! `Route`. It runs until it is killed.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};

use super::sys::{Poll, Ready, Wants};

/// The forwarder's own ports start here, on both sides.
const FORWARDER_PORTS: u16 = 30_000;
/// The peers' ports start here.
const PEER_PORTS: u16 = 40_000;
/// Sessions that fit between the two.
pub(super) const SESSIONS_MAX: usize = (PEER_PORTS - FORWARDER_PORTS) as usize;
/// Tokens of the sockets towards peers start here.
const PEER_SIDE: u64 = 1 << 32;
/// Longer than any datagram.
const BUFFER_LEN: usize = 65_536;

/// The addresses of a forwarder, the same for both who stand at its ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) client_side: IpAddr,
    pub(super) peer_side: IpAddr,
    pub(super) peer: IpAddr,
}

impl Route {
    /// Where the client of a session sends to.
    pub(super) fn for_client(&self, session: usize) -> SocketAddr {
        SocketAddr::new(self.client_side, FORWARDER_PORTS + session as u16)
    }

    /// Where the peer of a session sends to.
    pub(super) fn for_peer(&self, session: usize) -> SocketAddr {
        SocketAddr::new(self.peer_side, FORWARDER_PORTS + session as u16)
    }

    pub(super) fn peer(&self, session: usize) -> SocketAddr {
        SocketAddr::new(self.peer, PEER_PORTS + session as u16)
    }
}

/// One session: a socket on each side.
struct Pair {
    towards_client: UdpSocket,
    towards_peer: UdpSocket,
    /// Known from its first datagram.
    client: Option<SocketAddr>,
    peer: SocketAddr,
}

/// Forwards until the process ends.
pub(super) fn run(route: &Route, sessions: usize) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut pairs = Vec::new();
    for session in 0..sessions {
        let pair = Pair::open(route, session)?;
        let token = session as u64;
        poll.add(pair.towards_client.as_fd(), token, Wants::Read)?;
        poll.add(pair.towards_peer.as_fd(), PEER_SIDE + token, Wants::Read)?;
        pairs.push(pair);
    }
    let mut buffer = vec![0; BUFFER_LEN];
    let mut ready: Vec<Ready> = Vec::new();
    loop {
        poll.wait(Duration::from_secs(3600), &mut ready)?;
        for &Ready { token } in &ready {
            let Some(pair) = pairs.get_mut((token % PEER_SIDE) as usize) else {
                continue;
            };
            match token < PEER_SIDE {
                true => pair.forward_to_peer(&mut buffer),
                false => pair.forward_to_client(&mut buffer),
            }
        }
    }
}

impl Pair {
    fn open(route: &Route, session: usize) -> Result<Self> {
        Ok(Self {
            towards_client: bind(route.for_client(session))?,
            towards_peer: bind(route.for_peer(session))?,
            client: None,
            peer: route.peer(session),
        })
    }

    /// What cannot be sent is lost, as with any relay.
    fn forward_to_peer(&mut self, buffer: &mut [u8]) {
        let Ok((len, from)) = self.towards_client.recv_from(buffer) else {
            return;
        };
        self.client = Some(from);
        let bytes = buffer.get(..len).unwrap_or_default();
        let _ = self.towards_peer.send_to(bytes, self.peer);
    }

    fn forward_to_client(&mut self, buffer: &mut [u8]) {
        let (Ok((len, _)), Some(client)) = (self.towards_peer.recv_from(buffer), self.client)
        else {
            return;
        };
        let bytes = buffer.get(..len).unwrap_or_default();
        let _ = self.towards_client.send_to(bytes, client);
    }
}

fn bind(address: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot bind {address}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
