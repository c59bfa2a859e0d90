//! Clients over TCP and TLS, in the worker's own loop: one thread, one `Server`.
//!
//! A connection starts as a stranger: it has [`STRANGER_TIME`] to get an allocation, and only so
//! many strangers are let in. What it sends is decrypted, cut into messages and handed to the
//! server; what goes back waits in a [`SendQueue`].

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use protocol::turn::stream::{self, MESSAGE_LEN_MAX};
use rustls::{ServerConfig, ServerConnection};
use socket2::{Domain, Protocol, Socket, Type};

use super::epoll::{Epoll, Interest, Ready};
use super::udp::Inbox;
use super::web::{Door, Visitor};
use crate::config::Transport;
use crate::demux::{self, Head, Speech};
use crate::endpoint::{Client, SocketId};
use crate::send_queue::{Kind, SendQueue};

/// Sockets from this number on are connections; those below are UDP listeners.
const FIRST_STREAM: u32 = 1 << 16;
/// A connection that has no allocation after this time is closed: nobody needs longer, and a
/// connection that only waits costs memory.
const STRANGER_TIME: Duration = Duration::from_secs(10);
/// Strangers are looked over this often.
const SWEEP: Duration = Duration::from_secs(1);
/// How long nobody is let in after descriptors or memory ran out: a listener stays readable while
/// somebody waits, so that trying at once again would only burn a core. The backlog waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes taken from a socket at once.
const READ_LEN: usize = 64 << 10;
/// Bytes rustls takes in one call at most.
const RECORD_LEN: usize = 16 << 10;
/// Bytes encrypted before they are written.
const WRITE_LEN: usize = 16 << 10;
/// What the kernel holds unsent: the rest waits where it can still be dropped.
const NOT_SENT_LOWAT: u32 = 64 << 10;

/// Certificates, ready to use; replaced on reload.
pub(crate) type TlsSettings = Arc<ServerConfig>;

/// Something for the server.
pub(crate) enum StreamEvent {
    /// One whole message, copied into the inbox.
    Message { client: Client, range: Range<usize> },
    /// Send what the inbox holds, then ask again.
    InboxFull,
    /// The connection is gone.
    Closed { client: Client },
}

/// All stream listeners and connections of one worker.
pub(crate) struct Streams {
    listeners: Vec<(TcpListener, Transport)>,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    tls: Option<TlsSettings>,
    door: Door,
    strangers: usize,
    strangers_max: usize,
    /// Connections with bytes that have not been cut into messages.
    fresh: VecDeque<u32>,
    /// Connections with something to write.
    dirty: Vec<u32>,
    closed: VecDeque<Client>,
    token: fn(u32) -> u64,
    next_sweep: Option<Instant>,
    /// While set, epoll does not look at the listeners.
    accept_again: Option<Instant>,
    scratch: Box<[u8]>,
}

struct Connection {
    socket: TcpStream,
    client: Client,
    tls: Option<Box<ServerConnection>>,
    inbound: Vec<u8>,
    taken: usize,
    queue: SendQueue,
    opened: Instant,
    trusted: bool,
    stage: Stage,
    broken: bool,
    dirty: bool,
    waits_to_write: bool,
}

/// How far a connection's nature is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Port 443: not one byte has been looked at.
    Raw,
    /// Port 443: TLS, and what is inside is not known yet.
    Encrypted,
    Turn,
    /// HTTP, and its first head is not whole yet.
    Http,
    /// HTTP, on its way out of the door.
    Leaving,
}

impl Streams {
    pub(crate) fn new(
        listeners: Vec<(TcpListener, Transport)>,
        tls: Option<TlsSettings>,
        door: Door,
        strangers_max: usize,
    ) -> Self {
        Self {
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            tls,
            door,
            strangers: 0,
            strangers_max,
            fresh: VecDeque::new(),
            dirty: Vec::new(),
            closed: VecDeque::new(),
            token: u64::from,
            next_sweep: None,
            accept_again: None,
            scratch: vec![0; READ_LEN].into_boxed_slice(),
        }
    }

    /// The connection behind a socket number, if it is one.
    pub(crate) fn index_of(socket: SocketId) -> Option<u32> {
        socket.0.checked_sub(FIRST_STREAM)
    }

    /// Tells epoll about the listeners. `token` makes the number they are known by.
    pub(crate) fn register(&mut self, epoll: &Epoll, token: fn(u32) -> u64) -> io::Result<()> {
        self.token = token;
        for (index, (listener, _)) in self.listeners.iter().enumerate() {
            epoll.add(listener.as_raw_fd(), token(index as u32), Interest::Read)?;
        }
        Ok(())
    }

    pub(crate) fn reload(&mut self, tls: Option<TlsSettings>) {
        self.tls = tls;
    }

    pub(crate) fn handle_ready(&mut self, index: u32, ready: Ready, epoll: &Epoll, now: Instant) {
        let listeners = self.listeners.len() as u32;
        match index.checked_sub(listeners) {
            None => self.accept(index, epoll, now),
            Some(at) => {
                if ready.writable {
                    self.mark_dirty(at);
                }
                if ready.readable {
                    self.read(at, epoll);
                }
            }
        }
    }

    /// The next thing for the server; copies at most one message.
    pub(crate) fn poll_event(&mut self, inbox: &mut Inbox) -> Option<StreamEvent> {
        if let Some(client) = self.closed.pop_front() {
            return Some(StreamEvent::Closed { client });
        }
        while let Some(&at) = self.fresh.front() {
            let Some(connection) = self.connection(at) else {
                self.fresh.pop_front();
                continue;
            };
            let client = connection.client;
            match connection.next_message() {
                Ok(Some((message, stream_len))) => {
                    let Some(range) = inbox.put(message) else {
                        return Some(StreamEvent::InboxFull);
                    };
                    connection.taken += stream_len;
                    return Some(StreamEvent::Message { client, range });
                }
                Ok(None) => {
                    connection.compact();
                    let broken = connection.broken;
                    self.fresh.pop_front();
                    if broken {
                        self.close(at);
                        return self
                            .closed
                            .pop_front()
                            .map(|client| StreamEvent::Closed { client });
                    }
                }
                Err(_) => {
                    self.fresh.pop_front();
                    self.close(at);
                    return self
                        .closed
                        .pop_front()
                        .map(|client| StreamEvent::Closed { client });
                }
            }
        }
        None
    }

    /// This client has an allocation.
    pub(crate) fn trust(&mut self, client: Client) {
        let Some(at) = Self::index_of(client.socket) else {
            return;
        };
        if let Some(connection) = self.connection(at)
            && !connection.trusted
        {
            connection.trusted = true;
            self.strangers -= 1;
        }
    }

    /// This client's allocation has ended: it is a stranger again, with a stranger's time.
    pub(crate) fn distrust(&mut self, client: Client, now: Instant) {
        let Some(at) = Self::index_of(client.socket) else {
            return;
        };
        if let Some(connection) = self.connection(at)
            && connection.trusted
        {
            connection.trusted = false;
            connection.opened = now;
            self.strangers += 1;
            self.next_sweep = Some(now + SWEEP);
        }
    }

    /// Queues relayed data; returns how many older messages were dropped for it.
    pub(crate) fn send_media(
        &mut self,
        at: u32,
        prefix: &[u8],
        payload: &[u8],
        now: Instant,
    ) -> usize {
        // RFC 8656 §12.5: over a stream the message is padded to a multiple of four.
        let len = (prefix.len() + payload.len()).next_multiple_of(4);
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(prefix);
        bytes.extend_from_slice(payload);
        bytes.resize(len, 0);
        self.queue(at, bytes, Kind::Media, now)
    }

    /// Queues an answer.
    pub(crate) fn send_control(&mut self, at: u32, bytes: &[u8], now: Instant) {
        self.queue(at, bytes.to_vec(), Kind::Control, now);
    }

    /// Writes what can be written.
    pub(crate) fn flush(&mut self, epoll: &Epoll, now: Instant) {
        while let Some(at) = self.dirty.pop() {
            let token = (self.token)(self.listeners.len() as u32 + at);
            let Some(connection) = self.connection(at) else {
                continue;
            };
            connection.dirty = false;
            if connection.write(now).is_err() {
                connection.say_goodbye();
                self.close(at);
                continue;
            }
            let waits = connection.has_unwritten();
            if waits != connection.waits_to_write {
                connection.waits_to_write = waits;
                let interest = if waits {
                    Interest::ReadWrite
                } else {
                    Interest::Read
                };
                let modified = epoll.modify(connection.socket.as_raw_fd(), token, interest);
                if modified.is_err() {
                    self.close(at);
                }
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let sweep = self.next_sweep.filter(|_| self.strangers > 0);
        [sweep, self.accept_again].into_iter().flatten().min()
    }

    /// Closes strangers whose time is over; accepts again after a pause.
    pub(crate) fn handle_timeout(&mut self, epoll: &Epoll, now: Instant) {
        if self.accept_again.is_some_and(|at| now >= at) {
            self.accept_again = None;
            self.watch_listeners(epoll, Interest::Read);
        }
        if self.strangers == 0 || self.next_sweep.is_some_and(|at| now < at) {
            return;
        }
        self.next_sweep = Some(now + SWEEP);
        for at in 0..self.connections.len() as u32 {
            let Some(connection) = self.connection(at) else {
                continue;
            };
            let age = now.saturating_duration_since(connection.opened);
            if !connection.trusted && age >= STRANGER_TIME {
                connection.say_goodbye();
                self.close(at);
            }
        }
    }

    fn queue(&mut self, at: u32, bytes: Vec<u8>, kind: Kind, now: Instant) -> usize {
        let Some(connection) = self.connection(at) else {
            return 1;
        };
        let dropped = connection.queue.push(bytes, kind, now);
        self.mark_dirty(at);
        dropped
    }

    fn mark_dirty(&mut self, at: u32) {
        if let Some(connection) = self.connection(at)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(at);
        }
    }

    fn connection(&mut self, at: u32) -> Option<&mut Connection> {
        self.connections.get_mut(at as usize)?.as_mut()
    }

    fn accept(&mut self, index: u32, epoll: &Epoll, now: Instant) {
        let Some((listener, transport)) = self.listeners.get(index as usize) else {
            return;
        };
        let transport = *transport;
        let (socket, addr) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => return self.handle_accept_failure(&error, epoll, now),
        };
        // Full: the newest stranger is refused, those already here finish their handshake.
        if self.strangers >= self.strangers_max {
            return;
        }
        if let Err(error) = self.admit(socket, addr, transport, epoll, now) {
            tracing::debug!(%error, "connection not admitted");
        }
    }

    /// What is about one connection is over with it; what is about this machine takes a pause.
    fn handle_accept_failure(&mut self, error: &io::Error, epoll: &Epoll, now: Instant) {
        let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        let cause = error.raw_os_error();
        if cause.is_some_and(|cause| exhausted.contains(&cause)) {
            tracing::debug!(%error, "accepting pauses");
            self.accept_again = Some(now + ACCEPT_PAUSE);
            self.watch_listeners(epoll, Interest::Nothing);
        }
    }

    fn watch_listeners(&self, epoll: &Epoll, interest: Interest) {
        for (index, (listener, _)) in self.listeners.iter().enumerate() {
            let token = (self.token)(index as u32);
            if let Err(error) = epoll.modify(listener.as_raw_fd(), token, interest) {
                tracing::error!(%error, "listener cannot be watched");
            }
        }
    }

    fn admit(
        &mut self,
        socket: TcpStream,
        addr: SocketAddr,
        transport: Transport,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let _ = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(NOT_SENT_LOWAT);
        let (tls, stage) = match transport {
            Transport::Tls => (Some(self.new_tls()?), Stage::Turn),
            Transport::Https => (None, Stage::Raw),
            Transport::Tcp | Transport::Udp => (None, Stage::Turn),
        };
        let at = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() as u32 - 1
        });
        let token = (self.token)(self.listeners.len() as u32 + at);
        epoll.add(socket.as_raw_fd(), token, Interest::Read)?;
        let client = Client {
            socket: SocketId(FIRST_STREAM + at),
            addr,
        };
        if let Some(entry) = self.connections.get_mut(at as usize) {
            *entry = Some(Connection::new(socket, client, tls, stage, now));
            self.strangers += 1;
            self.next_sweep.get_or_insert(now + SWEEP);
        }
        Ok(())
    }

    fn new_tls(&self) -> Result<Box<ServerConnection>> {
        let settings = self.tls.clone().context("no certificate")?;
        Ok(Box::new(ServerConnection::new(settings)?))
    }

    /// Port 443: the first byte on the wire is looked at, not taken.
    fn decide(&mut self, at: u32) {
        let Some(connection) = self.connection(at) else {
            return;
        };
        let mut first = [0];
        let speech = match no_block(connection.socket.peek(&mut first)) {
            Ok(None) => return,
            Ok(Some(1)) => demux::on_the_wire(first[0]),
            _ => Speech::Unknown,
        };
        match speech {
            Speech::Tls => match self.new_tls() {
                Ok(tls) => {
                    if let Some(connection) = self.connection(at) {
                        connection.tls = Some(tls);
                        connection.stage = Stage::Encrypted;
                    }
                }
                Err(_) => self.close(at),
            },
            Speech::Turn => connection.stage = Stage::Turn,
            Speech::Http | Speech::Unknown => self.close(at),
        }
    }

    fn read(&mut self, at: u32, epoll: &Epoll) {
        if self
            .connection(at)
            .is_some_and(|one| one.stage == Stage::Raw)
        {
            self.decide(at);
        }
        if self
            .connection(at)
            .is_none_or(|one| one.stage == Stage::Raw)
        {
            return;
        }
        let scratch = &mut self.scratch;
        let Some(connection) = self
            .connections
            .get_mut(at as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let outcome = connection.read(scratch);
        connection.look_inside();
        let ended = outcome.as_ref().is_err_and(is_end);
        if connection.stage == Stage::Leaving && (ended || outcome.is_ok()) {
            return self.show_out(at, epoll);
        }
        connection.broken |= outcome.is_err();
        self.fresh.push_back(at);
        self.mark_dirty(at);
    }

    /// HTTP is served elsewhere: relayed packets never wait for a download.
    fn show_out(&mut self, at: u32, epoll: &Epoll) {
        let Some(connection) = self.take(at) else {
            return;
        };
        if epoll.remove(connection.socket.as_raw_fd()).is_ok()
            && let Some(tls) = connection.tls
        {
            self.door.pass(Visitor {
                socket: connection.socket,
                tls,
                received: connection.inbound,
                from: connection.client.addr,
            });
        }
    }

    fn close(&mut self, at: u32) {
        drop(self.take(at));
    }

    fn take(&mut self, at: u32) -> Option<Connection> {
        let connection = self.connections.get_mut(at as usize)?.take()?;
        if !connection.trusted {
            self.strangers -= 1;
        }
        self.free.push(at);
        self.closed.push_back(connection.client);
        Some(connection)
    }
}

impl Connection {
    fn new(
        socket: TcpStream,
        client: Client,
        tls: Option<Box<ServerConnection>>,
        stage: Stage,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            client,
            tls,
            inbound: Vec::new(),
            taken: 0,
            queue: SendQueue::default(),
            opened: now,
            trusted: false,
            stage,
            broken: false,
            dirty: false,
            waits_to_write: false,
        }
    }

    /// Takes one portion off the socket. An error or the end of the stream ends the connection.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        let Some(tls) = self.tls.as_mut() else {
            let count = no_block(self.socket.read(scratch))?;
            let Some(count) = count else { return Ok(()) };
            self.inbound
                .extend_from_slice(scratch.get(..count).unwrap_or_default());
            return if count == 0 { Err(ended()) } else { Ok(()) };
        };
        for _ in 0..READ_LEN / RECORD_LEN {
            match no_block(tls.read_tls(&mut self.socket))? {
                None => break,
                Some(0) => return Err(ended()),
                Some(_) => {}
            }
            let state = match tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert says why, if the client still listens.
                    let _ = tls.write_tls(&mut self.socket);
                    return Err(io::Error::other(error));
                }
            };
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let count = tls.reader().read(scratch)?;
                self.inbound
                    .extend_from_slice(scratch.get(..count).unwrap_or_default());
                left = left.saturating_sub(count.max(1));
            }
        }
        Ok(())
    }

    /// Behind the handshake of port 443: TURN stays, HTTP leaves when its first head is whole.
    fn look_inside(&mut self) {
        if self.stage == Stage::Encrypted
            && let Some(first) = self.inbound.first()
        {
            match demux::in_plaintext(*first) {
                Speech::Turn => self.stage = Stage::Turn,
                Speech::Http => self.stage = Stage::Http,
                Speech::Tls | Speech::Unknown => self.broken = true,
            }
        }
        if self.stage == Stage::Http {
            match demux::http_head(&self.inbound) {
                Head::Partial => {}
                Head::Whole => self.stage = Stage::Leaving,
                Head::TooLong => self.broken = true,
            }
        }
    }

    fn next_message(&mut self) -> Result<Option<(&[u8], usize)>, stream::StreamError> {
        if self.stage != Stage::Turn {
            return Ok(None);
        }
        let rest = self.inbound.get(self.taken..).unwrap_or_default();
        let Some(frame) = stream::frame(rest)? else {
            // One read may bring the next messages' beginning, but never this much of one.
            let too_long = rest.len() > MESSAGE_LEN_MAX + 3;
            return if too_long {
                Err(stream::StreamError)
            } else {
                Ok(None)
            };
        };
        Ok(rest
            .get(..frame.message_len)
            .map(|message| (message, frame.stream_len)))
    }

    /// An idle connection holds no buffer.
    fn compact(&mut self) {
        if self.taken == self.inbound.len() {
            self.inbound = Vec::new();
        } else {
            self.inbound.drain(..self.taken);
        }
        self.taken = 0;
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        match self.tls.as_mut() {
            None => write_plain(&mut self.socket, &mut self.queue, now),
            Some(tls) => write_tls(&mut self.socket, tls, &mut self.queue, now),
        }
    }

    /// TLS ends with an alert, or the client could not tell an end from a cut.
    fn say_goodbye(&mut self) {
        if let Some(tls) = self.tls.as_mut() {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
    }

    fn has_unwritten(&self) -> bool {
        let in_tls = self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        in_tls || !self.queue.is_empty() && self.can_write_payload()
    }

    fn can_write_payload(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }
}

fn write_plain(socket: &mut TcpStream, queue: &mut SendQueue, now: Instant) -> io::Result<()> {
    while let Some(front) = queue.front() {
        match no_block(socket.write(front))? {
            Some(count) => queue.advance(count, now),
            None => break,
        }
    }
    Ok(())
}

/// Payload is encrypted only when the socket takes it: until then it can still be dropped.
///
/// Each message is one record, because clients exist that take a record for a message; several
/// records leave in one call.
fn write_tls(
    socket: &mut TcpStream,
    tls: &mut ServerConnection,
    queue: &mut SendQueue,
    now: Instant,
) -> io::Result<()> {
    loop {
        while tls.wants_write() {
            match no_block(tls.write_tls(socket))? {
                Some(0) => return Err(ended()),
                Some(_) => {}
                None => return Ok(()),
            }
        }
        if tls.is_handshaking() || queue.is_empty() {
            return Ok(());
        }
        let mut encrypted = 0;
        while encrypted < WRITE_LEN
            && let Some(front) = queue.front()
        {
            let count = tls.writer().write(front)?;
            encrypted += count.max(1);
            queue.advance(count, now);
        }
    }
}

fn no_block(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// A stream listener of one worker.
pub(crate) fn bind_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
