//! TCP and TLS connections to relays.
//!
//! Connecting and the TLS handshake block on a thread of their own; after that the session's thread
//! reads and writes. What a slow relay loses is decided by [`StreamQueue`].

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::session::Shared;
use super::sys::Interest;
use super::trust::Trust;
use crate::config::RelayTransport;
use crate::peer::{StreamId, Transmit};
use crate::stream_queue::StreamQueue;

/// Includes the TLS handshake's single steps.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Read in one turn from one stream.
const READ_LEN: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Streams {
    by_id: BTreeMap<StreamId, Stream>,
    /// [`READ_LEN`] bytes from the first stream on, used again in every turn.
    incoming: Vec<u8>,
}

struct Stream {
    connection: Connection,
    queue: StreamQueue,
    /// What has begun to leave and is finished whatever happens.
    leaving: Vec<u8>,
}

enum Connection {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
        }
    }

    fn io(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.as_mut(),
        }
    }

    fn wants_write(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Tls(tls) => tls.conn.wants_write(),
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

impl Streams {
    pub(super) fn send(&mut self, id: StreamId, packets: &[Transmit]) {
        let Some(stream) = self.by_id.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        for packet in packets {
            stream.queue.push(packet.bytes.clone(), now);
        }
        // An error shows itself again at the next read.
        let _ = stream.write();
    }

    pub(super) fn have_outgoing(&self) -> bool {
        self.by_id.values().any(Stream::wants_write)
    }

    /// Writes what waits and reads what came, from every stream. A stream that ended is told once
    /// and forgotten.
    pub(super) fn exchange(&mut self, mut heard: impl FnMut(StreamId, Result<&[u8], String>)) {
        if self.by_id.is_empty() {
            return;
        }
        self.incoming.resize(READ_LEN, 0);
        let incoming = &mut self.incoming;
        self.by_id
            .retain(|&id, stream| match stream.exchange(incoming) {
                Ok([]) => true,
                Ok(bytes) => {
                    heard(id, Ok(bytes));
                    true
                }
                Err(error) => {
                    heard(id, Err(format!("The relay hung up ({error})")));
                    false
                }
            });
    }

    pub(super) fn close(&mut self, id: StreamId) {
        self.by_id.remove(&id);
    }

    pub(super) fn interests(&self) -> impl Iterator<Item = Interest> {
        self.by_id.values().map(|stream| Interest {
            fd: stream.connection.tcp().as_raw_fd(),
            write: stream.wants_write(),
        })
    }
}

impl Stream {
    fn wants_write(&self) -> bool {
        !self.leaving.is_empty() || !self.queue.is_empty() || self.connection.wants_write()
    }

    fn write(&mut self) -> io::Result<()> {
        loop {
            if self.leaving.is_empty() {
                self.queue.fill(&mut self.leaving, Instant::now());
            }
            if self.leaving.is_empty() {
                break;
            }
            match self.connection.io().write(&self.leaving) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => drop(self.leaving.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match self.connection.io().flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// What came, at the front of `buf`; nothing if nothing did.
    fn exchange<'a>(&mut self, buf: &'a mut [u8]) -> io::Result<&'a [u8]> {
        self.write()?;
        let mut len = 0;
        while let Some(room) = buf.get_mut(len..)
            && !room.is_empty()
        {
            match self.connection.io().read(room) {
                Ok(0) if len == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(buf.get(..len).unwrap_or_default())
    }
}

/// Connects in the background; the peer is told how it ended.
pub(super) fn open(
    shared: &Arc<Shared>,
    id: StreamId,
    transport: RelayTransport,
    server: SocketAddr,
    name: String,
) {
    let trust = shared.trust.clone();
    let shared = Arc::clone(shared);
    let connector = std::thread::Builder::new().name("relay-connect".into());
    // Without a thread the allocation does not come, and ICE goes on without it.
    let _ = connector.spawn(move || match connect(transport, server, &name, &trust) {
        Ok((connection, local)) => {
            let stream = Stream {
                connection,
                queue: StreamQueue::default(),
                leaving: Vec::new(),
            };
            shared.lock().streams.by_id.insert(id, stream);
            shared.with(|peer, now| peer.handle_stream_open(id, local, now));
            shared.wake();
        }
        Err(error) => {
            let problem = format!("The relay cannot be reached: {error:#}");
            shared.with(|peer, now| peer.handle_stream_closed(id, &problem, now));
        }
    });
}

fn connect(
    transport: RelayTransport,
    server: SocketAddr,
    name: &str,
    trust: &Trust,
) -> anyhow::Result<(Connection, SocketAddr)> {
    let tcp = TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)?;
    tcp.set_nodelay(true)?;
    let local = tcp.local_addr()?;
    let connection = match transport {
        RelayTransport::Tls => Connection::Tls(Box::new(secure(tcp, name, trust)?)),
        RelayTransport::Tcp | RelayTransport::Udp => Connection::Tcp(tcp),
    };
    connection.tcp().set_nonblocking(true)?;
    Ok((connection, local))
}

fn secure(
    mut tcp: TcpStream,
    name: &str,
    trust: &Trust,
) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).context("not a server name")?;
    let mut tls = ClientConnection::new(trust.tls()?, name)?;
    tcp.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    tcp.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    while tls.is_handshaking() {
        anyhow::ensure!(Instant::now() < deadline, "the TLS handshake took too long");
        tls.complete_io(&mut tcp)
            .context("the TLS handshake failed")?;
    }
    Ok(StreamOwned::new(tls, tcp))
}
