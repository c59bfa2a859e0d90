//! One session's lock, its thread, and what happens on either.
//!
//! The thread serves in this order: packets, timers, streams, events. A bug in the engine panics by
//! policy; it is caught at this edge, ends this session and no other.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use protocol::control::Chroma;
use protocol::signal::IceServer;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::bucket::Bucket;
use super::socket::{BoundSocket, DatagramBuffer};
use super::stream::Streams;
use super::sys::{self, Interest, Waker};
use super::trust::Trust;
use super::{SessionConfig, resolve, seed};
use crate::config::{Certificate, Config};
use crate::event::{CloseReason, Event};
use crate::peer::{Peer, StreamRequest, Transmit, Via};

/// Datagrams read from one socket before timers and the other sockets have their turn.
const RECEIVE_BUDGET: usize = 256;
/// How soon a consumer whose queue was full is tried again.
const RETRY: Duration = Duration::from_millis(2);
/// How long a closed session waits for its relays to say good-bye.
const LINGER: Duration = Duration::from_millis(1500);

pub(super) struct Shared {
    inner: Mutex<Inner>,
    waker: Waker,
    pub(super) trust: Trust,
}

pub(super) struct Inner {
    /// `None` after the engine panicked.
    peer: Option<Peer>,
    sockets: Vec<BoundSocket>,
    pub(super) streams: Streams,
    /// When the thread wakes by itself; earlier needs the waker.
    sleeps_until: Option<Instant>,
    /// Told once the thread sees it.
    crashed: Option<String>,
    closed_at: Option<Instant>,
    /// On their way to the kernel, in order.
    outgoing: VecDeque<Transmit>,
    bucket: Bucket,
}

pub(super) fn start(config: SessionConfig, events: Sender<Event>) -> anyhow::Result<Arc<Shared>> {
    let sockets = bind(&config.addresses)?;
    let locals: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local).collect();
    let instant = resolve::is_instant(&config.ice_servers);
    let relays = if instant {
        resolve::relays(&config.ice_servers, &locals)
    } else {
        Vec::new()
    };
    let peer_config = Config {
        side: config.side,
        path_mode: config.path_mode,
        sockets: locals,
        relays,
        bitrate: config.bitrate,
        certificate: Certificate::of_this_process(),
        sound: config.sound,
        // Our decoder reads nothing finer.
        chroma: Chroma::Yuv420,
        seed: seed(),
    };
    let shared = Arc::new(Shared {
        inner: Mutex::new(Inner {
            peer: Some(Peer::new(peer_config, Instant::now())),
            sockets,
            streams: Streams::default(),
            sleeps_until: None,
            crashed: None,
            closed_at: None,
            outgoing: VecDeque::new(),
            bucket: Bucket::new(Instant::now()),
        }),
        waker: Waker::new().context("cannot make an event descriptor")?,
        trust: config.trust,
    });
    if !instant {
        set_ice_servers(&shared, config.ice_servers);
    }
    let thread = Arc::clone(&shared);
    std::thread::Builder::new()
        .name(config.name)
        .spawn(move || run(&thread, &events))
        .context("cannot start the thread of a session")?;
    Ok(shared)
}

fn bind(addresses: &[IpAddr]) -> anyhow::Result<Vec<BoundSocket>> {
    let every;
    let addresses = if addresses.is_empty() {
        every = sys::interface_addresses();
        &every
    } else {
        addresses
    };
    let mut sockets = Vec::new();
    let mut problem = anyhow::anyhow!("this machine has no address to bind");
    for &address in addresses.iter().take(Config::SOCKETS_MAX) {
        match BoundSocket::bind(address) {
            Ok(socket) => sockets.push(socket),
            Err(error) => problem = error,
        }
    }
    if sockets.is_empty() {
        return Err(problem);
    }
    Ok(sockets)
}

/// Names are resolved on a thread of their own: media must not wait for DNS.
pub(super) fn set_ice_servers(shared: &Arc<Shared>, servers: Vec<IceServer>) {
    let locals = shared.locals();
    if resolve::is_instant(&servers) {
        let relays = resolve::relays(&servers, &locals);
        shared.with(|peer, now| peer.set_relays(&relays, now));
        return;
    }
    let shared = Arc::clone(shared);
    let resolver = std::thread::Builder::new().name("resolve".into());
    // Without a thread there are no relays, which the session says by not connecting.
    let _ = resolver.spawn(move || {
        let relays = resolve::relays(&servers, &locals);
        shared.with(|peer, now| peer.set_relays(&relays, now));
    });
}

impl Shared {
    /// Runs a verb on the peer and sends what it wants to send, on this thread. `None` if the
    /// engine panicked, now or before.
    pub(super) fn with<R>(&self, verb: impl FnOnce(&mut Peer, Instant) -> R) -> Option<R> {
        let mut inner = self.lock();
        let result = inner.guard(|peer| verb(peer, Instant::now()));
        inner.flush();
        if inner.needs_the_thread() {
            self.waker.wake();
        }
        result
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Panics are caught inside the lock; the data is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locals(&self) -> Vec<SocketAddr> {
        self.lock().sockets.iter().map(|s| s.local).collect()
    }
}

impl Inner {
    fn guard<R>(&mut self, verb: impl FnOnce(&mut Peer) -> R) -> Option<R> {
        let peer = self.peer.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| verb(peer))) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.peer = None;
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                self.crashed = Some(text.unwrap_or("a bug in the engine").to_owned());
                None
            }
        }
    }

    /// The thread sleeps, and must not until then.
    fn needs_the_thread(&self) -> bool {
        let Some(peer) = &self.peer else {
            return true;
        };
        let sooner = match (peer.poll_timeout(), self.sleeps_until) {
            (Some(at), Some(until)) => at < until,
            (Some(_), None) => true,
            (None, _) => peer.is_closed(),
        };
        let waiting = !self.outgoing.is_empty() || self.streams.have_outgoing();
        sooner || waiting || peer.has_events()
    }

    /// Hands the kernel what may leave now, runs to one destination at once. What exceeds the burst
    /// stays for the thread.
    fn flush(&mut self) {
        if let Some(peer) = &mut self.peer {
            self.outgoing
                .extend(std::iter::from_fn(|| peer.poll_transmit()));
        }
        let count = self.bucket.take(self.outgoing.len(), Instant::now());
        let leaving = self.outgoing.drain(..count).collect::<Vec<_>>();
        for run in leaving.chunk_by(|a, b| a.via == b.via && a.to == b.to) {
            let Some(first) = run.first() else { continue };
            match first.via {
                Via::Udp(local) => {
                    let socket = self.sockets.iter_mut().find(|s| s.local == local);
                    if let Some(socket) = socket {
                        socket.send(first.to, run);
                    }
                }
                Via::Stream(id) => self.streams.send(id, run),
            }
        }
    }

    fn receive(&mut self, index: usize, buf: &mut DatagramBuffer) {
        for _ in 0..RECEIVE_BUDGET {
            let Some(socket) = self.sockets.get(index) else {
                return;
            };
            let local = socket.local;
            let Some((from, bytes)) = socket.receive(buf) else {
                return;
            };
            self.guard(|peer| peer.handle_datagram(local, from, bytes, Instant::now()));
        }
    }

    fn handle_due_timers(&mut self) {
        let now = Instant::now();
        self.guard(|peer| {
            if peer.poll_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now);
            }
        });
    }

    fn handle_streams(&mut self, shared: &Arc<Shared>) {
        let mut streams = std::mem::take(&mut self.streams);
        streams.exchange(|id, outcome| {
            self.guard(|peer| match outcome {
                Ok(bytes) => peer.handle_stream_bytes(id, bytes, Instant::now()),
                Err(problem) => peer.handle_stream_closed(id, &problem, Instant::now()),
            });
        });
        self.streams = streams;
        while let Some(request) = self.guard(Peer::poll_stream_request).flatten() {
            match request {
                StreamRequest::Open {
                    id,
                    transport,
                    server,
                    name,
                } => super::stream::open(shared, id, transport, server, name),
                StreamRequest::Close { id } => self.streams.close(id),
            }
        }
    }

    /// Takes events while the consumer has room for them; true if there may be more.
    fn deliver(&mut self, pending: &mut VecDeque<Event>, events: &Sender<Event>) -> bool {
        if let Some(crash) = self.crashed.take() {
            tracing::error!(%crash, "the engine of a session panicked; the session ends");
            pending.push_back(Event::Closed(CloseReason::Engine(crash)));
        }
        loop {
            let Some(event) = pending.pop_front().or_else(|| self.poll_event()) else {
                return false;
            };
            match events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    pending.push_front(event);
                    return true;
                }
                // Nobody listens any more; the handle decides about the session.
                Err(TrySendError::Closed(_)) => return false,
            }
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.guard(Peer::poll_event).flatten()
    }

    /// Everything is said, or has had its time.
    fn is_over(&mut self) -> bool {
        let Some(peer) = &self.peer else {
            return true;
        };
        if !peer.is_closed() {
            return false;
        }
        let since = *self.closed_at.get_or_insert_with(Instant::now);
        peer.is_finished() || since.elapsed() >= LINGER
    }
}

fn run(shared: &Arc<Shared>, events: &Sender<Event>) {
    let mut buf = DatagramBuffer::new();
    let mut pending = VecDeque::new();
    let mut ready: Vec<bool> = Vec::new();
    loop {
        let (interests, timeout) = {
            let mut inner = shared.lock();
            for (index, _) in ready
                .iter()
                .skip(1)
                .enumerate()
                .filter(|(_, ready)| **ready)
            {
                inner.receive(index, &mut buf);
            }
            inner.handle_due_timers();
            inner.flush();
            inner.handle_streams(shared);
            inner.flush();
            let full = inner.deliver(&mut pending, events);
            if inner.is_over() && !full {
                return;
            }
            let timeout = inner.plan_sleep(full);
            (inner.interests(&shared.waker), timeout)
        };
        ready = sys::wait(&interests, timeout);
        shared.waker.clear();
    }
}

impl Inner {
    /// How long the thread may sleep, and a note of it for the handles.
    fn plan_sleep(&mut self, full: bool) -> Option<Duration> {
        let now = Instant::now();
        let peer = self.peer.as_ref().and_then(Peer::poll_timeout);
        let retry = full.then_some(now + RETRY);
        let linger = self.closed_at.map(|at| at + LINGER);
        let burst = (!self.outgoing.is_empty()).then_some(now + Bucket::INTERVAL);
        let until = [peer, retry, linger, burst].into_iter().flatten().min();
        self.sleeps_until = until;
        until.map(|until| until.saturating_duration_since(now))
    }

    /// The waker first, then the sockets in order, then the streams.
    fn interests(&self, waker: &Waker) -> Vec<Interest> {
        let read = |fd| Interest { fd, write: false };
        let mut interests = vec![read(waker.as_raw_fd())];
        interests.extend(self.sockets.iter().map(|s| read(s.as_raw_fd())));
        interests.extend(self.streams.interests());
        interests
    }
}
