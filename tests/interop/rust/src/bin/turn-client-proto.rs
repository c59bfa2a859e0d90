//! The sans-IO client `turn-client-proto` over UDP, TCP and TLS: two allocations talk to each other,
//! first in Send and Data indications, then on channels. Certificates are verified.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use interop::{PATIENCE, ROUNDS, Relay, Transport, payload, report};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use turn_client_proto::api::{
    Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet,
};
use turn_client_proto::client::TurnClient;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::Instant as Moment;
use turn_client_proto::types::{TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

/// How long a look at an empty socket takes.
const GLANCE: Duration = Duration::from_millis(1);

fn main() -> Result<()> {
    let relay = Relay::from_environment()?;
    let mut near = Endpoint::connect(&relay)?;
    let mut far = Endpoint::connect(&relay)?;
    let (near_address, far_address) = (near.relayed()?, far.relayed()?);
    near.permit(far_address)?;
    far.permit(near_address)?;
    exchange(&mut near, &mut far, 0..ROUNDS / 2)?;
    near.bind(far_address)?;
    far.bind(near_address)?;
    exchange(&mut near, &mut far, ROUNDS / 2..ROUNDS)?;
    near.delete()?;
    far.delete()?;
    report(2 * ROUNDS);
    Ok(())
}

fn exchange(near: &mut Endpoint, far: &mut Endpoint, rounds: std::ops::Range<u32>) -> Result<()> {
    let (near_address, far_address) = (near.relayed()?, far.relayed()?);
    for round in rounds {
        let sent = payload(round);
        near.send(far_address, &sent)?;
        ensure!(
            far.receive()? == (near_address, sent.clone()),
            "round {round}: another message"
        );
        far.send(near_address, &sent)?;
        ensure!(
            near.receive()? == (far_address, sent),
            "round {round}: another message"
        );
    }
    Ok(())
}

/// A client with its socket.
struct Endpoint {
    client: TurnClient,
    wire: Wire,
    started: Instant,
    events: Vec<TurnEvent>,
    received: Vec<(SocketAddr, Vec<u8>)>,
}

impl Endpoint {
    fn connect(relay: &Relay) -> Result<Self> {
        let wire = Wire::connect(relay)?;
        let (local, remote) = wire.addresses()?;
        let credentials = TurnCredentials::new(&relay.username, &relay.password);
        let config = TurnConfig::new(credentials);
        let client = match relay.transport {
            Transport::Udp => TurnClientUdp::allocate(local, remote, config).into(),
            Transport::Tcp | Transport::Tls => {
                TurnClientTcp::allocate(local, remote, config).into()
            }
        };
        Ok(Self {
            client,
            wire,
            started: Instant::now(),
            events: Vec::new(),
            received: Vec::new(),
        })
    }

    fn relayed(&mut self) -> Result<SocketAddr> {
        self.until("an allocation", |it| {
            let address = it.client.relayed_addresses().next();
            Ok(address.map(|(_, address)| address))
        })
    }

    fn permit(&mut self, peer: SocketAddr) -> Result<()> {
        let now = self.now();
        self.client
            .create_permission(TransportType::Udp, peer.ip(), now)?;
        self.until("a permission", |it| {
            let had = it.client.have_permission(TransportType::Udp, peer.ip());
            Ok(had.then_some(()))
        })
    }

    fn bind(&mut self, peer: SocketAddr) -> Result<()> {
        let now = self.now();
        self.client.bind_channel(TransportType::Udp, peer, now)?;
        self.until("a channel", |it| {
            let bound = |event: &TurnEvent| matches!(event, TurnEvent::ChannelCreated(_, to) if *to == peer);
            Ok(it.events.iter().any(bound).then_some(()))
        })
    }

    fn send(&mut self, peer: SocketAddr, bytes: &[u8]) -> Result<()> {
        let now = self.now();
        if let Some(transmit) = self.client.send_to(TransportType::Udp, peer, bytes, now)? {
            self.wire.send(&transmit.build().data)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(SocketAddr, Vec<u8>)> {
        self.until("data", |it| {
            Ok((!it.received.is_empty()).then(|| it.received.remove(0)))
        })
    }

    fn delete(&mut self) -> Result<()> {
        let now = self.now();
        self.client.delete(now)?;
        while let Some(transmit) = self.client.poll_transmit(now) {
            self.wire.send(&transmit.data)?;
        }
        Ok(())
    }

    fn until<T>(&mut self, what: &str, done: impl Fn(&mut Self) -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(value) = done(self)? {
                return Ok(value);
            }
            self.pump()?;
        }
        bail!("no {what} in time")
    }

    fn pump(&mut self) -> Result<()> {
        let now = self.now();
        if matches!(self.client.poll(now), TurnPollRet::Closed) {
            bail!("the client gave up; events: {:?}", self.events);
        }
        while let Some(transmit) = self.client.poll_transmit(now) {
            self.wire.send(&transmit.data)?;
        }
        let mut buffer = [0; 4096];
        if let Some(len) = self.wire.receive(&mut buffer)? {
            let (to, from) = self.wire.addresses()?;
            let transmit = Transmit::new(&buffer[..len], self.client.transport(), from, to);
            if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, now) {
                self.received.push((data.peer, data.data().to_vec()));
            }
            while let Some(data) = self.client.poll_recv(now) {
                self.received.push((data.peer, data.data().to_vec()));
            }
        }
        while let Some(event) = self.client.poll_event() {
            if matches!(
                event,
                TurnEvent::AllocationCreateFailed(..)
                    | TurnEvent::PermissionCreateFailed(..)
                    | TurnEvent::ChannelCreateFailed(..)
            ) {
                bail!("refused: {event:?}");
            }
            self.events.push(event);
        }
        Ok(())
    }

    fn now(&self) -> Moment {
        Moment::from_std(self.started)
    }
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn connect(relay: &Relay) -> Result<Self> {
        if relay.transport == Transport::Udp {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(relay.address())?;
            socket.set_read_timeout(Some(GLANCE))?;
            return Ok(Self::Udp(socket));
        }
        let stream = TcpStream::connect(relay.address())?;
        stream.set_nodelay(true)?;
        if relay.transport == Transport::Tcp {
            stream.set_read_timeout(Some(GLANCE))?;
            return Ok(Self::Tcp(stream));
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&relay.authority)?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(relay.host.clone())?;
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        let mut stream = stream;
        tls.complete_io(&mut stream)?;
        stream.set_read_timeout(Some(GLANCE))?;
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, stream))))
    }

    fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        match self {
            Self::Udp(socket) => Ok((socket.local_addr()?, socket.peer_addr()?)),
            Self::Tcp(stream) => Ok((stream.local_addr()?, stream.peer_addr()?)),
            Self::Tls(tls) => Ok((tls.sock.local_addr()?, tls.sock.peer_addr()?)),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(bytes).map(|_| ()),
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Tls(tls) => {
                tls.write_all(bytes)?;
                tls.flush()
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let outcome = match self {
            Self::Udp(socket) => socket.recv(buffer),
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        };
        match outcome {
            Ok(len) => Ok(Some(len)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
