//! How one client or peer reaches the other side: datagrams, or a TCP or TLS stream.
//!
//! Both hand over whole messages. Datagrams leave and arrive by the run where the kernel can
//! (see `sys`); a run is never held back to make it longer. A stream's backlog is bounded: what
//! does not fit is dropped whole and counted, so a stalled server cannot exhaust the generator.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result};
use protocol::turn::stream::Deframer;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::sys;

/// Segments of one UDP_SEGMENT call (the kernel's UDP_MAX_SEGMENTS before 6.9).
const SEGMENTS_MAX: usize = 64;
/// Bytes of one UDP_SEGMENT call: what fits an IPv6 datagram's length field, headers off.
const RUN_LEN_MAX: usize = 65_000;
/// Socket buffers: a burst of every session at once, also while the server holds the processor.
const SOCKET_BUFFER: libc::c_int = 4 << 20;
/// Backlog of one stream: half a second at 64 Mbit/s. Beyond it, the newest message is dropped.
const BACKLOG_MAX: usize = 4 << 20;

/// Whether datagrams travel in runs or one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    Joined,
    Single,
}

/// A connected UDP socket.
pub(super) struct Datagrams {
    socket: UdpSocket,
    joined: bool,
    /// Datagrams the kernel refused to take.
    pub(super) refused: u64,
}

impl Datagrams {
    /// Opens an unconnected socket on `local`.
    pub(super) fn bind(local: IpAddr, runs: Runs) -> Result<Self> {
        Self::bind_port(local, 0, runs)
    }

    pub(super) fn bind_port(local: IpAddr, port: u16, runs: Runs) -> Result<Self> {
        let socket = UdpSocket::bind((local, port))
            .with_context(|| format!("cannot open a UDP socket on {local} port {port}"))?;
        socket.set_nonblocking(true)?;
        sys::grow_buffers(socket.as_raw_fd(), SOCKET_BUFFER);
        let joined = runs == Runs::Joined && sys::enable_gro(socket.as_raw_fd());
        Ok(Self {
            socket,
            joined,
            refused: 0,
        })
    }

    pub(super) fn connect(&self, remote: SocketAddr) -> Result<()> {
        self.socket
            .connect(remote)
            .with_context(|| format!("no route to {remote}"))
    }

    pub(super) fn local(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends `run` as datagrams of `segment` bytes each.
    pub(super) fn send(&mut self, run: &[u8], segment: usize) {
        let segment = segment.max(1);
        let per_call = if self.joined {
            SEGMENTS_MAX.min(RUN_LEN_MAX / segment).max(1)
        } else {
            1
        };
        for part in run.chunks(segment * per_call) {
            self.send_part(part, segment);
        }
    }

    fn send_part(&mut self, part: &[u8], segment: usize) {
        let size = u16::try_from(segment).unwrap_or(u16::MAX);
        match sys::send_segments(self.socket.as_raw_fd(), part, size) {
            Ok(_) => {}
            // The route cannot segment (EIO) or the kernel is too old (EINVAL): once and for all.
            Err(error) if is_no_segmenting(&error) && part.len() > segment => {
                self.joined = false;
                for datagram in part.chunks(segment) {
                    self.send_part(datagram, segment);
                }
            }
            Err(_) => self.refused += part.len().div_ceil(segment) as u64,
        }
    }

    /// The next run that arrived: its bytes in `buffer`, and the size of each datagram.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Option<(usize, usize)> {
        loop {
            match sys::receive_segments(self.socket.as_raw_fd(), buffer) {
                Ok((len, segment)) => return Some((len, segment.max(1))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // ECONNREFUSED and the like: news of an earlier datagram, not the end.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_no_segmenting(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
}

/// A TURN connection over TCP, with or without TLS.
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    deframer: Deframer,
    backlog: Vec<u8>,
    closed: bool,
    /// Messages dropped because the backlog was full.
    pub(super) refused: u64,
}

impl Stream {
    /// Connects, blocking; the TLS handshake then happens along with the first messages.
    pub(super) fn connect(server: SocketAddr, tls: Option<&TlsClient>) -> Result<Self> {
        let socket =
            TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let tls = tls.map(TlsClient::connection).transpose()?.map(Box::new);
        Ok(Self {
            socket,
            tls,
            deframer: Deframer::new(),
            backlog: Vec::new(),
            closed: false,
            refused: 0,
        })
    }

    /// Queues one message and its padding; [`Stream::flush`] sends them.
    pub(super) fn send(&mut self, message: &[u8]) {
        if self.backlog.len() + message.len() > BACKLOG_MAX {
            self.refused += 1;
            return;
        }
        self.backlog.extend_from_slice(message);
        let padding = message.len().next_multiple_of(4) - message.len();
        self.backlog.resize(self.backlog.len() + padding, 0);
    }

    /// Writes until nothing is left or the socket is full.
    pub(super) fn flush(&mut self) -> Result<()> {
        match &mut self.tls {
            None => {
                let written = write_some(&mut self.socket, &self.backlog)?;
                self.backlog.drain(..written);
            }
            Some(tls) => {
                // rustls bounds its own buffer (64 KB): what it does not take waits here.
                let taken = tls.writer().write(&self.backlog)?;
                self.backlog.drain(..taken);
                while tls.wants_write() {
                    match tls.write_tls(&mut self.socket) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether to wake up when the socket takes more.
    pub(super) fn wants_write(&self) -> bool {
        !self.closed
            && (!self.backlog.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write()))
    }

    /// Reads once into `buffer`; messages then come out of [`Stream::poll_message`].
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let read = match &mut self.tls {
            None => read_some(&mut self.socket, buffer)?,
            Some(tls) => read_tls(tls, &mut self.socket, buffer)?,
        };
        match read {
            Some(0) => {
                self.closed = true;
                anyhow::bail!("the server closed the connection")
            }
            Some(len) => {
                let bytes = buffer.get(..len).unwrap_or_default();
                self.deframer.handle_bytes(bytes);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    pub(super) fn poll_message(&mut self) -> Result<Option<&[u8]>> {
        Ok(self.deframer.poll_message()?)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match socket.write(rest) {
            Ok(len) => written += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// `None` when nothing is there now, `Some(0)` at the end of the stream.
fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> Result<Option<usize>> {
    match source.read(buffer) {
        Ok(len) => Ok(Some(len)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_tls(
    tls: &mut ClientConnection,
    socket: &mut TcpStream,
    buffer: &mut [u8],
) -> Result<Option<usize>> {
    let plaintext = read_some(&mut tls.reader(), buffer)?;
    if plaintext.is_some() {
        return Ok(plaintext);
    }
    match tls.read_tls(socket) {
        Ok(0) => return Ok(Some(0)),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    tls.process_new_packets()
        .context("the TLS handshake or record was refused")?;
    read_some(&mut tls.reader(), buffer)
}

/// What every TLS connection of a run shares.
pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    pub(super) fn new(config: ClientConfig, name: &str) -> Result<Self> {
        Ok(Self {
            config: Arc::new(config),
            name: ServerName::try_from(name.to_owned())
                .with_context(|| format!("{name} is not a server name"))?,
        })
    }

    fn connection(&self) -> Result<ClientConnection> {
        Ok(ClientConnection::new(
            Arc::clone(&self.config),
            self.name.clone(),
        )?)
    }
}
