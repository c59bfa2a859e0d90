//! One worker: a thread with its own sockets, its own `Server` and its own epoll loop.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use protocol::turn::message::TransactionId;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::oneshot;

use super::epoll::{Epoll, Interest, Ready};
use super::exchange::{Exchange, Letter, Seat};
use super::streams::{StreamEvent, Streams, TlsSettings};
use super::turn_taking::ask_for_short_turns;
use super::udp::{Ask, Datagram, Inbox, Outgoing, Segmentation, enable_gro};
use crate::endpoint::{Client, RelayId, SocketId};
use crate::indication;
use crate::metrics::{Counters, Drop};
use crate::server::{
    AllocationView, BindFailed, Command, Draining, Forward, Fragment, Frame, Server, Settings,
};

/// Bursts of a video frame from many clients wait here while the worker is busy elsewhere.
const LISTENER_BUFFER: usize = 8 << 20;
/// One client's burst.
const RELAY_BUFFER: usize = 1 << 20;
/// The wall clock is looked at and expiry checked at least this often.
const TICK: Duration = Duration::from_secs(1);

/// What another thread asks of a worker.
pub(crate) enum Control {
    Counters(oneshot::Sender<Counters>),
    /// At most so many.
    Allocations(usize, oneshot::Sender<Vec<AllocationView>>),
    Reload(Box<Settings>, Option<TlsSettings>),
    Drain(Draining),
    EndSession(Arc<str>, oneshot::Sender<usize>),
    Stop,
}

/// How other threads speak to a worker.
#[derive(Clone)]
pub(crate) struct Handle {
    control: Sender<Control>,
    wake: Arc<UnixDatagram>,
}

impl Handle {
    /// Does nothing if the worker is gone.
    pub(crate) fn send(&self, control: Control) {
        // A full wake pipe means that a wake-up is under way already.
        if self.control.send(control).is_ok() {
            let _ = self.wake.send(&[0]);
        }
    }
}

/// Everything one thread owns.
pub(crate) struct Worker {
    server: Server,
    epoll: Epoll,
    listeners: Vec<UdpSocket>,
    /// How busy each listener is.
    paces: Vec<Pace>,
    relays: Vec<Option<RelaySocket>>,
    /// Counts the waits for ready sockets.
    round: u64,
    streams: Streams,
    inbox: Inbox,
    outgoing: Outgoing,
    exchange: Exchange,
    control: Receiver<Control>,
    wake: UnixDatagram,
    /// Makes the transaction ids of Data indications, which nobody answers.
    indications: u64,
    stop: bool,
}

/// The socket of one relayed address.
///
/// Bound with the kernel's defaults, and nobody waits for it: many allocations never carry a packet
/// (ICE makes one per server and uses one), and the rest costs as much as the socket itself. The
/// first permission brings it; see [`Command::Open`].
struct RelaySocket {
    socket: UdpSocket,
    pace: Pace,
}

/// When a socket was last ready: one that is ready in two rounds on end gets a whole batch.
#[derive(Clone, Copy, Default)]
struct Pace {
    last_round: u64,
}

impl Pace {
    fn ask(&mut self, round: u64) -> Ask {
        let on_end = self.last_round + 1 == round;
        self.last_round = round;
        if on_end { Ask::Batch } else { Ask::One }
    }
}

/// What a ready socket is; lives in epoll's 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Listener(u32),
    Relay(u32),
    Wake,
    Stream(u32),
}

impl Token {
    fn encode(self) -> u64 {
        let (kind, index) = match self {
            Self::Listener(index) => (0, index),
            Self::Relay(index) => (1, index),
            Self::Wake => (2, 0),
            Self::Stream(index) => (3, index),
        };
        kind << 32 | u64::from(index)
    }

    fn decode(token: u64) -> Self {
        let index = token as u32;
        match token >> 32 {
            0 => Self::Listener(index),
            1 => Self::Relay(index),
            2 => Self::Wake,
            _ => Self::Stream(index),
        }
    }
}

impl Worker {
    pub(crate) fn new(
        server: Server,
        listeners: Vec<UdpSocket>,
        streams: Streams,
        segmentation: Segmentation,
        seat: Seat,
    ) -> Result<(Self, Handle)> {
        let epoll = Epoll::new().context("epoll")?;
        let wake = seat.wake;
        epoll.add(wake.as_raw_fd(), Token::Wake.encode(), Interest::Read)?;
        for (index, listener) in listeners.iter().enumerate() {
            let token = Token::Listener(index as u32).encode();
            epoll.add(listener.as_raw_fd(), token, Interest::Read)?;
        }
        let (sender, control) = channel();
        let handle = Handle {
            control: sender,
            wake: seat.waker,
        };
        let mut worker = Self {
            server,
            epoll,
            paces: vec![Pace::default(); listeners.len()],
            listeners,
            relays: Vec::new(),
            round: 0,
            streams,
            inbox: Inbox::new(),
            outgoing: Outgoing::new(segmentation),
            exchange: seat.exchange,
            control,
            wake,
            indications: 0,
            stop: false,
        };
        worker
            .streams
            .register(&worker.epoll, |index| Token::Stream(index).encode())?;
        Ok((worker, handle))
    }

    /// Serves until told to stop.
    pub(crate) fn run(mut self) -> Result<()> {
        if let Err(error) = ask_for_short_turns() {
            // Where this is not allowed, packets wait a little longer beside other programs.
            tracing::debug!(%error, "no short turns from the scheduler");
        }
        let mut next_tick = Instant::now();
        while !self.stop {
            let now = Instant::now();
            let deadline = self.deadline(next_tick);
            let timeout = deadline.saturating_duration_since(now);
            let count = self.epoll.wait(timeout).context("epoll_wait")?;
            let now = Instant::now();
            self.round += 1;
            for index in 0..count {
                if let Some(ready) = self.epoll.ready(index) {
                    self.serve(ready, now);
                }
            }
            if now >= next_tick {
                next_tick = now + TICK;
                self.server.handle_clock(unix_now(), now);
            }
            if now >= deadline {
                self.server.handle_timeout(now);
                self.obey(now);
                self.flush(now);
            }
            self.streams.handle_timeout(&self.epoll, now);
            self.settle_streams(now);
        }
        Ok(())
    }

    fn deadline(&self, next_tick: Instant) -> Instant {
        let server = self.server.poll_timeout();
        let streams = self.streams.poll_timeout();
        [server, streams]
            .into_iter()
            .flatten()
            .fold(next_tick, Instant::min)
    }

    fn serve(&mut self, ready: Ready, now: Instant) {
        match Token::decode(ready.token) {
            Token::Listener(index) => self.serve_listener(index, now),
            Token::Relay(index) => self.serve_relay(RelayId(index), now),
            Token::Wake => self.serve_control(now),
            Token::Stream(index) => {
                self.inbox.reset();
                self.streams.handle_ready(index, ready, &self.epoll, now);
                self.settle_streams(now);
            }
        }
    }

    fn serve_listener(&mut self, index: u32, now: Instant) {
        let Some(fd) = self
            .listeners
            .get(index as usize)
            .map(|one| one.as_raw_fd())
        else {
            return;
        };
        // An error of a UDP socket is about some datagram of the past: the next call goes on.
        let pace = self.paces.get_mut(index as usize);
        let ask = pace.map_or(Ask::Batch, |pace| pace.ask(self.round));
        let count = self.inbox.receive(fd, ask).unwrap_or(0);
        for index_in_batch in 0..count {
            let Some(train) = self.inbox.train(index_in_batch) else {
                continue;
            };
            if train.from.port() == 0 {
                continue;
            }
            let client = Client {
                socket: SocketId(index),
                addr: train.from,
            };
            for segment in train.segments() {
                let bytes = self.inbox.bytes().get(segment.clone()).unwrap_or_default();
                let forward = self.server.handle_client(client, bytes, now);
                self.carry_out(forward, segment.start, now);
            }
        }
        self.flush(now);
    }

    fn serve_relay(&mut self, relay: RelayId, now: Instant) {
        let entry = self.relays.get_mut(relay.0 as usize);
        let Some(entry) = entry.and_then(Option::as_mut) else {
            return;
        };
        let ask = entry.pace.ask(self.round);
        let fd = entry.socket.as_raw_fd();
        let count = self.inbox.receive(fd, ask).unwrap_or(0);
        for index in 0..count {
            let Some(train) = self.inbox.train(index) else {
                continue;
            };
            for segment in train.segments() {
                let len = segment.len();
                let forward = self.server.handle_peer(relay, train.from, len, now);
                self.carry_out(forward, segment.start, now);
            }
        }
        self.flush(now);
    }

    /// Does what the server said about the datagram at `base` in the inbox.
    fn carry_out(&mut self, forward: Forward, base: usize, now: Instant) {
        match forward {
            Forward::Nothing => self.obey(now),
            Forward::ToPeer {
                relay,
                peer,
                payload,
                fragment,
            } => {
                let entry = self.relays.get(relay.0 as usize);
                let Some(socket) = entry.and_then(Option::as_ref).map(|one| &one.socket) else {
                    return self.server.handle_send_failure(1, Drop::Send);
                };
                let payload = base + payload.start..base + payload.end;
                if fragment == Fragment::Forbidden {
                    let bytes = self.inbox.bytes().get(payload).unwrap_or_default();
                    let sent = send_unfragmented(socket, peer, bytes);
                    return self
                        .server
                        .handle_send_failure(u64::from(sent.is_err()), Drop::Send);
                }
                let datagram = Datagram {
                    socket: socket.as_raw_fd(),
                    to: peer,
                    prefix: &[],
                    payload,
                    padding: 0,
                };
                self.outgoing.push(&datagram, self.inbox.bytes());
            }
            Forward::ToSibling {
                owner,
                to,
                from,
                payload,
            } => {
                let payload = base + payload.start..base + payload.end;
                let payload = self.inbox.bytes().get(payload).unwrap_or_default();
                let letter = Letter { to, from, payload };
                if self.exchange.push(owner, &letter).is_err() {
                    self.server.handle_send_failure(1, Drop::Exchange);
                }
            }
            Forward::ToClient {
                client,
                frame,
                payload,
            } => {
                let payload = base + payload.start..base + payload.end;
                match frame {
                    Frame::Channel(header) => self.deliver(client, &header, payload, 0, now),
                    Frame::Indication(peer) => self.indicate(client, peer, payload, now),
                }
            }
        }
    }

    fn indicate(
        &mut self,
        client: Client,
        peer: SocketAddr,
        payload: std::ops::Range<usize>,
        now: Instant,
    ) {
        self.indications = self.indications.wrapping_add(1);
        let mut id = [0; 12];
        for (to, from) in id.iter_mut().zip(self.indications.to_be_bytes()) {
            *to = from;
        }
        let mut prefix = [0; indication::PREFIX_LEN_MAX];
        let len = payload.len() as u16;
        let (head, padding) = indication::write_prefix(peer, len, TransactionId(id), &mut prefix);
        let prefix = prefix.get(..head).unwrap_or_default();
        self.deliver(client, prefix, payload, padding, now);
    }

    fn deliver(
        &mut self,
        client: Client,
        prefix: &[u8],
        payload: std::ops::Range<usize>,
        padding: usize,
        now: Instant,
    ) {
        if let Some(stream) = Streams::index_of(client.socket) {
            let payload = self.inbox.bytes().get(payload).unwrap_or_default();
            let dropped = self.streams.send_media(stream, prefix, payload, now);
            return self
                .server
                .handle_send_failure(dropped as u64, Drop::StreamQueue);
        }
        let Some(listener) = self.listeners.get(client.socket.0 as usize) else {
            return;
        };
        let datagram = Datagram {
            socket: listener.as_raw_fd(),
            to: client.addr,
            prefix,
            payload,
            padding,
        };
        self.outgoing.push(&datagram, self.inbox.bytes());
    }

    /// Executes the server's commands and sends its answers.
    fn obey(&mut self, now: Instant) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Bind { relay, address } => {
                    let outcome = self.bind_relay(relay, address).map_err(|error| {
                        tracing::debug!(%address, %error, "relayed address not bound");
                        BindFailed
                    });
                    self.server.handle_bound(relay, outcome, now);
                }
                Command::Open { relay } => self.open_relay(relay),
                Command::Unbind { relay } => {
                    // Whatever is on its way out of this socket leaves first.
                    self.flush(now);
                    if let Some(entry) = self.relays.get_mut(relay.0 as usize) {
                        *entry = None;
                    }
                }
                Command::Ended { client } => self.streams.distrust(client, now),
            }
        }
        while let Some(transmit) = self.server.poll_transmit() {
            if let Some(stream) = Streams::index_of(transmit.client.socket) {
                self.streams.send_control(stream, transmit.bytes, now);
                continue;
            }
            let socket = self.listeners.get(transmit.client.socket.0 as usize);
            let Some(socket) = socket.map(AsRawFd::as_raw_fd) else {
                continue;
            };
            let datagram = Datagram {
                socket,
                to: transmit.client.addr,
                prefix: transmit.bytes,
                payload: 0..0,
                padding: 0,
            };
            self.outgoing.push(&datagram, self.inbox.bytes());
        }
    }

    /// Takes what streams brought to the server.
    fn settle_streams(&mut self, now: Instant) {
        while let Some(event) = self.streams.poll_event(&mut self.inbox) {
            match event {
                StreamEvent::Message { client, range } => {
                    let bytes = self.inbox.bytes().get(range.clone()).unwrap_or_default();
                    let forward = self.server.handle_client(client, bytes, now);
                    self.carry_out(forward, range.start, now);
                    if self.server.has_allocation(client) {
                        self.streams.trust(client);
                    }
                }
                StreamEvent::InboxFull => {
                    self.flush(now);
                    self.inbox.reset();
                }
                StreamEvent::Closed { client } => {
                    self.server.handle_disconnect(client);
                    self.obey(now);
                }
            }
        }
        self.flush(now);
    }

    fn flush(&mut self, now: Instant) {
        let failed = self.outgoing.flush(self.inbox.bytes());
        self.server.handle_send_failure(failed, Drop::Send);
        self.exchange.dispatch();
        self.streams.flush(&self.epoll, now);
    }

    fn serve_control(&mut self, now: Instant) {
        let mut byte = [0; 8];
        while self.wake.recv(&mut byte).is_ok() {}
        while let Ok(control) = self.control.try_recv() {
            self.handle_control(control, now);
        }
        self.obey(now);
        self.flush(now);
        self.serve_exchange(now);
    }

    /// Takes what other workers hand over.
    fn serve_exchange(&mut self, now: Instant) {
        self.exchange.answer_knock();
        while let Some(parcel) = self.exchange.receive() {
            self.inbox.reset();
            for letter in parcel.letters() {
                // A parcel fits into an empty inbox.
                let Some(range) = self.inbox.put(letter.payload) else {
                    break;
                };
                let (to, from) = (letter.to, letter.from);
                let forward = self.server.handle_sibling(to, from, range.len(), now);
                self.carry_out(forward, range.start, now);
            }
            parcel.send_home();
            self.flush(now);
        }
    }

    fn handle_control(&mut self, control: Control, now: Instant) {
        match control {
            // Nobody waits for an answer whose asker has gone.
            Control::Counters(reply) => _ = reply.send(*self.server.counters()),
            Control::Allocations(max, reply) => {
                _ = reply.send(self.server.allocations(max, now));
            }
            Control::Reload(settings, tls) => {
                self.server.reload(*settings);
                self.streams.reload(tls);
            }
            Control::Drain(draining) => self.server.drain(draining),
            Control::EndSession(session, reply) => {
                _ = reply.send(self.server.end_session(&session));
            }
            Control::Stop => self.stop = true,
        }
    }

    fn bind_relay(&mut self, relay: RelayId, address: SocketAddr) -> io::Result<()> {
        let socket = bind_udp(address, Sharing::Exclusive)?;
        let index = relay.0 as usize;
        if self.relays.len() <= index {
            self.relays.resize_with(index + 1, || None);
        }
        if let Some(entry) = self.relays.get_mut(index) {
            *entry = Some(RelaySocket {
                socket,
                pace: Pace::default(),
            });
        }
        Ok(())
    }

    fn open_relay(&mut self, relay: RelayId) {
        let entry = self.relays.get(relay.0 as usize);
        let Some(socket) = entry.and_then(Option::as_ref).map(|one| &one.socket) else {
            return;
        };
        tune(socket, RELAY_BUFFER);
        let unpermitted = discard_waiting(socket);
        self.server
            .handle_send_failure(unpermitted, Drop::NoPermission);
        let token = Token::Relay(relay.0).encode();
        if let Err(error) = self.epoll.add(socket.as_raw_fd(), token, Interest::Read) {
            // The kernel's bound on watched sockets: what peers send is lost, as on a bad network.
            tracing::debug!(%error, "relayed address not watched");
        }
    }
}

/// Throws away what has arrived; how much that was.
fn discard_waiting(socket: &UdpSocket) -> u64 {
    // More than the kernel's default buffer holds, so a flood cannot keep us here.
    const WAITING_MAX: u64 = 1024;
    let arrived = |_: &u64| socket.recv(&mut [0]).is_ok();
    (0..WAITING_MAX).take_while(arrived).count() as u64
}

/// Whether several sockets share one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One per worker: the kernel spreads clients over them.
    AcrossWorkers,
    Exclusive,
}

/// A listener of one worker.
pub(crate) fn bind_listener(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bind_udp(address, Sharing::AcrossWorkers)?;
    tune(&socket, LISTENER_BUFFER);
    Ok(socket)
}

/// Room for bursts, and trains of datagrams.
fn tune(socket: &UdpSocket, buffer: usize) {
    let options = SockRef::from(socket);
    // The kernel caps these at its own limits, which is no reason not to serve.
    let _ = options.set_recv_buffer_size(buffer);
    let _ = options.set_send_buffer_size(buffer);
    enable_gro(socket);
}

fn bind_udp(address: SocketAddr, sharing: Sharing) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if sharing == Sharing::AcrossWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// RFC 8656 §14: the DF bit is set, and a datagram that is too long is not sent at all.
fn send_unfragmented(socket: &UdpSocket, peer: SocketAddr, payload: &[u8]) -> io::Result<()> {
    super::udp::set_dont_fragment(socket, super::udp::DontFragment::Always)?;
    let sent = socket.send_to(payload, peer).map(|_| ());
    super::udp::set_dont_fragment(socket, super::udp::DontFragment::AsTheKernelLikes)?;
    sent
}

/// Time since the Unix epoch; a clock before 1970 counts as 1970.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_round_trip() {
        for token in [
            Token::Listener(3),
            Token::Relay(u32::MAX),
            Token::Wake,
            Token::Stream(7),
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
