//! One HTTP connection of port 443 and a connection of its own to the upstream, byte for byte.
//!
//! Nothing is parsed, and no two clients share a connection: what the upstream takes for one
//! client's request is what that client sent. Each direction ends by itself (half-close), holds at
//! most [`PIPE_LEN`] bytes and stops reading while the other side is slower.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes under way in one direction.
const PIPE_LEN: usize = 64 << 10;
/// Bytes moved at once; also the longest TLS record.
const CHUNK: usize = 16 << 10;
/// A connection on which nothing happens for so long is closed. WebSockets ping more often.
const IDLE_TIME: Duration = Duration::from_secs(600);
/// The same while bytes wait for a side that does not take them, or one side has ended.
const STALL_TIME: Duration = Duration::from_secs(60);
/// Turns in a row before other connections get theirs.
const TURNS_MAX: usize = 16;
/// What a client still sends after the answer is thrown away: so long, and so much in bytes.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_LEN: usize = 1 << 20;

pub(crate) struct Splice {
    client: TcpStream,
    tls: Box<ServerConnection>,
    upstream: TcpStream,
    up: Pipe,
    down: Pipe,
}

/// One direction.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    taken: usize,
    end: End,
}

/// How far the end of a direction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Seen,
    Passed,
}

impl Splice {
    /// `said` is what the client has sent already.
    pub(crate) fn new(
        client: TcpStream,
        tls: Box<ServerConnection>,
        upstream: TcpStream,
        said: Vec<u8>,
    ) -> Self {
        let up = Pipe {
            bytes: said,
            ..Pipe::default()
        };
        Self {
            client,
            tls,
            upstream,
            up,
            down: Pipe::default(),
        }
    }

    /// Moves bytes until both directions have ended.
    ///
    /// After an error the client sees its connection cut, never a clean end.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        loop {
            let mut turns = 0;
            while self.step()? {
                turns += 1;
                if turns % TURNS_MAX == 0 {
                    tokio::task::yield_now().await;
                }
            }
            if self.is_done() {
                linger(self.client).await;
                return Ok(());
            }
            timeout(self.patience(), self.wait()).await??;
        }
    }

    /// Moves what can be moved now; says whether anything did.
    fn step(&mut self) -> io::Result<bool> {
        let mut moved = self.decrypt()?;
        moved |= self.hear_client()?;
        moved |= self.write_upstream()?;
        moved |= self.hear_upstream()?;
        moved |= self.encrypt()?;
        moved |= write_tls(&self.client, &mut self.tls)?;
        Ok(moved)
    }

    fn is_done(&self) -> bool {
        let ended = self.up.end == End::Passed && self.down.end == End::Passed;
        ended && !self.tls.wants_write()
    }

    fn patience(&self) -> Duration {
        let waits = !self.up.is_empty() || !self.down.is_empty() || self.tls.wants_write();
        let half = self.up.end != End::Open || self.down.end != End::Open;
        if waits || half { STALL_TIME } else { IDLE_TIME }
    }

    /// Until a socket can do something that is wanted of it.
    async fn wait(&self) -> io::Result<()> {
        let client = interest(self.up.wants_more(), self.tls.wants_write());
        let upstream = interest(self.down.wants_more(), !self.up.is_empty());
        tokio::select! {
            ready = ready(&self.client, client) => ready,
            ready = ready(&self.upstream, upstream) => ready,
        }
    }

    fn decrypt(&mut self) -> io::Result<bool> {
        let mut moved = false;
        let mut chunk = [0; CHUNK];
        while self.up.wants_more() {
            match self.tls.reader().read(&mut chunk) {
                Ok(0) => self.up.end = End::Seen,
                Ok(count) => self.up.put(chunk.get(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Not said goodbye, only hung up: a request has its own marks of its end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.up.end = End::Seen;
                }
                Err(error) => return Err(error),
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Only while there is room for what comes out: TLS holds no more than a record itself.
    fn hear_client(&mut self) -> io::Result<bool> {
        if !self.up.wants_more() {
            return Ok(false);
        }
        match no_block(self.tls.read_tls(&mut Socket(&self.client)))? {
            None => return Ok(false),
            Some(_) => self.tls.process_new_packets().map_err(io::Error::other)?,
        };
        Ok(true)
    }

    fn write_upstream(&mut self) -> io::Result<bool> {
        let mut moved = false;
        while let Some(front) = self.up.front() {
            match self.upstream.try_write(front) {
                Ok(count) => self.up.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(moved),
                // It has heard enough; its answer may be on its way all the same.
                Err(_) => {
                    self.up.abandon();
                    return Ok(true);
                }
            }
            moved = true;
        }
        if self.up.end == End::Seen {
            self.up.end = End::Passed;
            let _ = SockRef::from(&self.upstream).shutdown(Shutdown::Write);
            moved = true;
        }
        Ok(moved)
    }

    fn hear_upstream(&mut self) -> io::Result<bool> {
        if !self.down.wants_more() {
            return Ok(false);
        }
        let mut chunk = [0; CHUNK];
        match no_block(self.upstream.try_read(&mut chunk))? {
            None => return Ok(false),
            Some(0) => self.down.end = End::Seen,
            Some(count) => self.down.put(chunk.get(..count)),
        }
        Ok(true)
    }

    fn encrypt(&mut self) -> io::Result<bool> {
        if self.tls.wants_write() {
            return Ok(false);
        }
        if let Some(front) = self.down.front() {
            let chunk = front.get(..CHUNK).unwrap_or(front);
            let count = self.tls.writer().write(chunk)?;
            self.down.advance(count);
            return Ok(true);
        }
        if self.down.end == End::Seen {
            self.tls.send_close_notify();
            self.down.end = End::Passed;
            return Ok(true);
        }
        Ok(false)
    }
}

impl Pipe {
    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    fn wants_more(&self) -> bool {
        self.end == End::Open && self.bytes.len() - self.taken < PIPE_LEN
    }

    fn put(&mut self, bytes: Option<&[u8]>) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes.unwrap_or_default());
    }

    fn front(&self) -> Option<&[u8]> {
        self.bytes.get(self.taken..).filter(|rest| !rest.is_empty())
    }

    fn advance(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.bytes.len());
        if self.is_empty() {
            // An idle connection holds no buffer.
            self.bytes = Vec::new();
            self.taken = 0;
        }
    }

    /// Nobody takes what this direction brings any more.
    fn abandon(&mut self) {
        *self = Self {
            end: End::Passed,
            ..Self::default()
        };
    }
}

/// Says `bytes` and ends the connection.
pub(crate) async fn answer(
    client: TcpStream,
    mut tls: Box<ServerConnection>,
    bytes: Vec<u8>,
) -> io::Result<()> {
    tls.writer().write_all(&bytes)?;
    tls.send_close_notify();
    while tls.wants_write() {
        client.writable().await?;
        write_tls(&client, &mut tls)?;
    }
    linger(client).await;
    Ok(())
}

/// Hears the client out: closing with bytes unread would take back the answer (RFC 9112 §9.6).
async fn linger(mut client: TcpStream) {
    let _ = SockRef::from(&client).shutdown(Shutdown::Write);
    let hear_out = async {
        let mut left = LINGER_LEN;
        let mut chunk = vec![0; CHUNK];
        while let Ok(count @ 1..) = client.read(&mut chunk).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(LINGER_TIME, hear_out).await;
}

fn write_tls(socket: &TcpStream, tls: &mut ServerConnection) -> io::Result<bool> {
    let mut moved = false;
    while tls.wants_write() {
        match no_block(tls.write_tls(&mut Socket(socket)))? {
            None => break,
            Some(_) => moved = true,
        }
    }
    Ok(moved)
}

fn interest(read: bool, write: bool) -> Option<Interest> {
    match (read, write) {
        (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
        (true, false) => Some(Interest::READABLE),
        (false, true) => Some(Interest::WRITABLE),
        (false, false) => None,
    }
}

async fn ready(socket: &TcpStream, interest: Option<Interest>) -> io::Result<()> {
    match interest {
        Some(interest) => socket.ready(interest).await.map(drop),
        None => std::future::pending().await,
    }
}

fn no_block(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// A socket as rustls takes it: never waits.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
