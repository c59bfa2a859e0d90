//! Services behind the relay, each with one habit; every connection has a thread.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};

use super::client::PATIENCE;

/// A writer that has not come further within this time is held back.
const STALL: Duration = Duration::from_secs(1);

pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicU64,
    written: AtomicU64,
    recorded: Mutex<Vec<Vec<u8>>>,
}

impl Upstream {
    /// The text of `[web]` that names it.
    pub(crate) fn config(&self) -> String {
        format!("upstream = \"{}\"\n", self.address)
    }

    /// The text of `[web]` for a place where nobody listens.
    pub(crate) fn closed() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("upstream = \"{}\"\n", listener.local_addr().unwrap())
    }

    /// Answers each request with the path it asked for; the connection stays.
    pub(crate) fn answering() -> Self {
        Self::start(|socket, _| {
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            while let Some(path) = read_head(&mut reader) {
                let body = format!("you asked for {path}");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = (&socket).write_all(answer.as_bytes());
            }
        })
    }

    /// Hears a connection out, keeps what it said, and answers then.
    pub(crate) fn recording() -> Self {
        Self::start(|mut socket, shared| {
            let mut heard = Vec::new();
            if socket.read_to_end(&mut heard).is_ok() {
                shared.recorded.lock().unwrap().push(heard);
                let _ = socket.write_all(b"heard you out");
            }
        })
    }

    /// Says back every byte.
    pub(crate) fn echoing() -> Self {
        Self::start(|socket, _| {
            let (mut from, mut to) = (&socket, &socket);
            let _ = std::io::copy(&mut from, &mut to);
        })
    }

    /// Talks for ever once asked, except to who wants little.
    pub(crate) fn endless() -> Self {
        Self::start(|mut socket, shared| {
            let path = read_head(&mut BufReader::new(socket.try_clone().unwrap()));
            if path.as_deref() == Some("/little") {
                return;
            }
            let mut at = 0;
            loop {
                let chunk: Vec<u8> = (at..at + 65_536).map(endless_byte).collect();
                if socket.write_all(&chunk).is_err() {
                    return;
                }
                at += chunk.len();
                shared.written.fetch_add(65_536, Ordering::Relaxed);
            }
        })
    }

    pub(crate) fn echoing_web_sockets() -> Self {
        Self::start(|socket, _| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                socket.set_nonblocking(true).unwrap();
                let socket = tokio::net::TcpStream::from_std(socket).unwrap();
                let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_binary() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        })
    }

    fn start(habit: fn(TcpStream, &Shared)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let upstream = Self {
            address,
            shared: shared.clone(),
        };
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, shared) = (socket.unwrap(), shared.clone());
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || habit(socket, &shared));
            }
        });
        upstream
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        self.shared.recorded.lock().unwrap().clone()
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    pub(crate) fn wait_until_it_stalls(&self) {
        let deadline = Instant::now() + PATIENCE;
        let (mut before, mut since) = (0, Instant::now());
        while since.elapsed() < STALL {
            assert!(Instant::now() < deadline, "nothing holds it back");
            let written = self.written();
            if written != before || written == 0 {
                (before, since) = (written, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What `endless` says at this place.
pub(crate) fn endless_byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// The path of the next request; `None` at the end.
fn read_head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|len| *len > 0)?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
    }
    first.split(' ').nth(1).map(str::to_owned)
}
