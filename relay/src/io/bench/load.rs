//! Payload through the server at a fixed rate: who sends to whom, and the loop that does it.
//!
//! One thread holds every client and every peer, so both ends of a packet share a clock and one-way
//! latency is exact. Bursts leave when they are due (see `bench::schedule`); between them the loop
//! sleeps, or spins when asked to, which times better and spoils the processor figures.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use protocol::turn::channel::{self, ChannelNumber};

use super::forward::{self, Route};
use super::link::Datagrams;
use super::report::Step;
use super::session;
use super::session::{BUFFER_LEN, Framing, Goal, Link, Session, Target, establish};
use super::sys::{self, Poll, Ready, Wants};
use super::usage::{CpuTime, Meter};
use crate::bench::schedule::{Due, Rate, Schedule};
use crate::bench::stamp;
use crate::bench::tally::{Seen, Tally};
use crate::bench::turn::CHANNEL_RAW;

/// Bursts sent before arrivals get their turn again, however late we are.
const BURSTS_PER_TURN: usize = 4;
/// Runs a peer takes from its socket per turn.
const RUNS_PER_TURN: usize = 16;
/// Packets still in flight after the last one was sent get this long.
const DRAIN: Duration = Duration::from_millis(300);
/// From connecting to the first packet, so that every flow starts on time.
const LEAD_IN: Duration = Duration::from_millis(20);
/// Peers' tokens in the poll start here; sessions' at zero.
const PEER_TOKENS: u64 = 1 << 32;

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Pattern {
    /// Client to a UDP peer, which sends it back.
    Echo,
    /// Client to a UDP peer.
    Up,
    /// UDP peer to client: the shape of a picture stream.
    Down,
    /// Client to client, each through its own allocation.
    Pair,
}

/// Where the peers' sockets are opened.
pub(super) struct PeerPlace {
    pub(super) address: IpAddr,
    /// A network namespace other than our own.
    pub(super) namespace: Option<PathBuf>,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) pattern: Pattern,
    pub(super) sessions: usize,
    /// Bytes of payload per packet.
    pub(super) payload: usize,
    pub(super) burst: u32,
}

/// How long, and how we wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
    pub(super) waiting: Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Sleep,
    Spin,
}

/// All sockets of a run.
pub(super) struct Load {
    shape: Shape,
    sessions: Vec<Session>,
    peers: Vec<Datagrams>,
    poll: Poll,
    scratch: Scratch,
}

/// Buffers every packet passes through.
struct Scratch {
    receive: Vec<u8>,
    client_burst: Burst,
    peer_burst: Burst,
    ready: Vec<Ready>,
}

impl Load {
    /// Sets up every allocation and channel.
    pub(super) fn through(target: &Target, place: &PeerPlace, shape: Shape) -> Result<Self> {
        let seeds = 0..shape.sessions as u64;
        let sessions = seeds.map(|n| target.open(n)).collect::<Result<Vec<_>>>()?;
        let mut load = Self::new(shape, sessions, Vec::new(), Framing::Channel)?;
        establish(&mut load.sessions, &Goal::Allocated(target), &mut load.poll)?;
        let relayed = load
            .sessions
            .iter()
            .map(|it| it.client.relayed().context("no relayed address"))
            .collect::<Result<Vec<_>>>()?;
        let peers = if shape.pattern == Pattern::Pair {
            (0..relayed.len())
                .filter_map(|n| relayed.get(n ^ 1).copied())
                .collect()
        } else {
            load.open_peers(target, place, &relayed)?
        };
        establish(&mut load.sessions, &Goal::Bound(&peers), &mut load.poll)?;
        Ok(load)
    }

    /// The same sockets and packets without a server between: what the generator itself costs.
    pub(super) fn direct(target: &Target, place: &PeerPlace, shape: Shape) -> Result<Self> {
        let local = session::local_address_towards(SocketAddr::new(place.address, 9))?;
        let mut near = Vec::new();
        let mut far = Vec::new();
        for n in 0..shape.sessions {
            if shape.pattern == Pattern::Pair && n % 2 == 1 {
                let open = || Session::bare(place.address, target);
                near.push(in_namespace(place, open)?);
            } else {
                near.push(Session::bare(local, target)?);
            }
        }
        if shape.pattern == Pattern::Pair {
            connect_pairs(&near)?;
        } else {
            for session in &near {
                let peer = in_namespace(place, || Datagrams::bind(place.address, target.runs))?;
                let Link::Datagrams(socket) = &session.link else {
                    continue;
                };
                socket.connect(peer.local()?)?;
                peer.connect(socket.local()?)?;
                far.push(peer);
            }
        }
        Self::new(shape, near, far, Framing::Bare)
    }

    /// The same sockets and packets through a `bench forward`.
    pub(super) fn forwarded(
        target: &Target,
        place: &PeerPlace,
        shape: Shape,
        peer_side: IpAddr,
    ) -> Result<Self> {
        ensure!(
            shape.pattern != Pattern::Pair && shape.sessions <= forward::SESSIONS_MAX,
            "a forwarder joins a client and a peer, at most {} of each",
            forward::SESSIONS_MAX
        );
        let route = Route {
            client_side: target.server.ip(),
            peer_side,
            peer: place.address,
        };
        let local = session::local_address_towards(target.server)?;
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for n in 0..shape.sessions {
            let session = Session::bare(local, target)?;
            if let Link::Datagrams(socket) = &session.link {
                socket.connect(route.for_client(n))?;
            }
            near.push(session);
            let port = route.peer(n).port();
            let open = || Datagrams::bind_port(place.address, port, target.runs);
            let peer = in_namespace(place, open)?;
            peer.connect(route.for_peer(n))?;
            far.push(peer);
        }
        Self::new(shape, near, far, Framing::Bare)
    }

    /// Gives every allocation back.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.scratch.client_burst.header == 0 {
            return Ok(());
        }
        session::release(&mut self.sessions, &mut self.poll)
    }

    fn new(
        shape: Shape,
        sessions: Vec<Session>,
        peers: Vec<Datagrams>,
        framing: Framing,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        for (token, session) in (0..).zip(&sessions) {
            poll.add(session.link.as_fd(), token, Wants::Read)?;
        }
        for (token, peer) in (PEER_TOKENS..).zip(&peers) {
            poll.add(peer.as_fd(), token, Wants::Read)?;
        }
        Ok(Self {
            shape,
            sessions,
            peers,
            poll,
            scratch: Scratch {
                receive: vec![0; BUFFER_LEN],
                client_burst: Burst::new(shape, framing),
                peer_burst: Burst::new(shape, Framing::Bare),
                ready: Vec::new(),
            },
        })
    }

    /// One peer per session, connected to that session's relayed address.
    fn open_peers(
        &mut self,
        target: &Target,
        place: &PeerPlace,
        relayed: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for (token, &relayed) in (PEER_TOKENS..).zip(relayed) {
            let peer = in_namespace(place, || Datagrams::bind(place.address, target.runs))?;
            peer.connect(relayed)?;
            addresses.push(peer.local()?);
            self.poll.add(peer.as_fd(), token, Wants::Read)?;
            self.peers.push(peer);
        }
        Ok(addresses)
    }

    /// Sends at `packets_per_second` per session and books what comes of it.
    pub(super) fn step(
        &mut self,
        number: u16,
        packets_per_second: f64,
        timing: Timing,
        meter: &Meter,
    ) -> Result<Step> {
        let rate = Rate {
            packets_per_second,
            burst: self.shape.burst,
        };
        let measured = timing.warm_up..timing.warm_up + timing.length;
        let start = Instant::now() + LEAD_IN;
        let mut schedule = Schedule::new(rate, self.sessions.len(), measured.end, start);
        let mut tally = Tally::new(number, self.sessions.len(), measured);
        let refused = self.refused();

        let window = start + timing.warm_up..start + timing.warm_up + timing.length;
        self.run_until(window.start, timing, start, &mut schedule, &mut tally)?;
        let (before, threads_before) = (meter.read()?, meter.server_threads());
        let measured_from = Instant::now();
        self.run_until(window.end, timing, start, &mut schedule, &mut tally)?;
        let used: CpuTime = meter.read()?.since(before);
        let measured_for = measured_from.elapsed();
        let busiest = busiest_share(&threads_before, &meter.server_threads());
        self.run_until(window.end + DRAIN, timing, start, &mut schedule, &mut tally)?;

        let refused = self.refused() - refused;
        let shape = (self.shape, packets_per_second * self.sessions.len() as f64);
        Ok(Step::new(
            shape,
            &tally,
            refused,
            (used, measured_for),
            busiest,
        ))
    }

    /// The loop: what is due leaves, what arrived is booked, until `end`.
    fn run_until(
        &mut self,
        end: Instant,
        timing: Timing,
        start: Instant,
        schedule: &mut Schedule,
        tally: &mut Tally,
    ) -> Result<()> {
        let mut renew_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            for _ in 0..BURSTS_PER_TURN {
                let Some(due) = schedule.poll_due(Instant::now()) else {
                    break;
                };
                self.send_burst(due, start, tally)?;
            }
            if now >= renew_at {
                self.handle_timeouts(now)?;
                renew_at = now + Duration::from_secs(1);
            }
            let next = schedule.poll_timeout().unwrap_or(end).min(end);
            let wait = match timing.waiting {
                Waiting::Sleep => next.saturating_duration_since(Instant::now()),
                Waiting::Spin => Duration::ZERO,
            };
            self.poll.wait(wait, &mut self.scratch.ready)?;
            self.receive_ready(start, tally)?;
        }
    }

    fn send_burst(&mut self, due: Due, start: Instant, tally: &mut Tally) -> Result<()> {
        let at = due.at - start;
        tally.lateness.record(due.at.elapsed());
        let from_peer = self.shape.pattern == Pattern::Down;
        let burst = if from_peer {
            &mut self.scratch.peer_burst
        } else {
            &mut self.scratch.client_burst
        };
        burst.stamp(|payload| tally.handle_send(due.flow, at).encode(payload));
        match (
            self.peers.get_mut(due.flow),
            self.sessions.get_mut(due.flow),
        ) {
            (Some(peer), _) if from_peer => peer.send(&burst.bytes, burst.segment),
            (_, Some(session)) => {
                session.send(&burst.bytes, burst.segment)?;
                session.update_interest(&self.poll, due.flow as u64)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn receive_ready(&mut self, start: Instant, tally: &mut Tally) -> Result<()> {
        for index in 0..self.scratch.ready.len() {
            let Some(&Ready { token, .. }) = self.scratch.ready.get(index) else {
                break;
            };
            if token >= PEER_TOKENS {
                self.receive_at_peer((token - PEER_TOKENS) as usize, start, tally);
            } else {
                self.receive_at_client(token, start, tally)?;
            }
        }
        Ok(())
    }

    fn receive_at_client(&mut self, token: u64, start: Instant, tally: &mut Tally) -> Result<()> {
        let seen = match self.shape.pattern {
            Pattern::Echo | Pattern::Up => Seen::Back,
            Pattern::Down | Pattern::Pair => Seen::Far,
        };
        let Some(session) = self.sessions.get_mut(token as usize) else {
            return Ok(());
        };
        let buffer = &mut self.scratch.receive;
        session.receive(buffer, Instant::now(), |payload| {
            tally.handle_payload(payload, seen, start.elapsed());
        })?;
        session.update_interest(&self.poll, token)
    }

    fn receive_at_peer(&mut self, index: usize, start: Instant, tally: &mut Tally) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        for _ in 0..RUNS_PER_TURN {
            let Some((len, segment)) = peer.receive(&mut self.scratch.receive) else {
                break;
            };
            let run = self.scratch.receive.get(..len).unwrap_or_default();
            let elapsed = start.elapsed();
            for payload in run.chunks(segment) {
                tally.handle_payload(payload, Seen::Far, elapsed);
            }
            if self.shape.pattern == Pattern::Echo {
                peer.send(run, segment);
            }
        }
    }

    fn handle_timeouts(&mut self, now: Instant) -> Result<()> {
        for session in &mut self.sessions {
            session.handle_timeout(now)?;
        }
        Ok(())
    }

    fn refused(&self) -> u64 {
        let by_clients: u64 = self.sessions.iter().map(Session::refused).sum();
        let by_peers: u64 = self.peers.iter().map(|peer| peer.refused).sum();
        by_clients + by_peers
    }
}

/// The packets of one burst, ready but for their stamps.
struct Burst {
    bytes: Vec<u8>,
    /// Bytes of one packet, header included.
    segment: usize,
    header: usize,
}

impl Burst {
    fn new(shape: Shape, framing: Framing) -> Self {
        let header = match framing {
            Framing::Channel => channel::HEADER_LEN,
            Framing::Bare => 0,
        };
        let payload = shape.payload.max(stamp::LEN);
        let mut packet = vec![0xA5; header + payload];
        if let (Framing::Channel, Some(number), Some(headroom)) = (
            framing,
            ChannelNumber::new(CHANNEL_RAW),
            packet.first_chunk_mut(),
        ) {
            channel::encode_header(number, payload as u16, headroom);
        }
        Self {
            bytes: packet.repeat(shape.burst.max(1) as usize),
            segment: header + payload,
            header,
        }
    }

    fn stamp(&mut self, mut write: impl FnMut(&mut [u8])) {
        for packet in self.bytes.chunks_mut(self.segment) {
            write(packet.get_mut(self.header..).unwrap_or_default());
        }
    }
}

fn connect_pairs(sessions: &[Session]) -> Result<()> {
    for pair in sessions.chunks(2) {
        if let [a, b] = pair
            && let (Link::Datagrams(a), Link::Datagrams(b)) = (&a.link, &b.link)
        {
            a.connect(b.local()?)?;
            b.connect(a.local()?)?;
        }
    }
    Ok(())
}

/// Opens something inside the peers' namespace and comes back.
fn in_namespace<T>(place: &PeerPlace, open: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(path) = &place.namespace else {
        return open();
    };
    let home = std::fs::File::open("/proc/thread-self/ns/net").context("no namespaces here")?;
    let away = std::fs::File::open(path)
        .with_context(|| format!("no network namespace {}", path.display()))?;
    sys::enter_network_namespace(away.as_fd()).context("cannot enter the peers' namespace")?;
    let opened = open();
    sys::enter_network_namespace(home.as_fd()).context("cannot come back from a namespace")?;
    opened
}

/// How much of the server's time its busiest thread used, from 0.0 to 1.0.
fn busiest_share(before: &[(u32, Duration)], after: &[(u32, Duration)]) -> f64 {
    let used = after.iter().map(|(thread, time)| {
        let earlier = before.iter().find(|(it, _)| it == thread);
        time.saturating_sub(earlier.map_or(Duration::ZERO, |(_, time)| *time))
    });
    let total: Duration = used.clone().sum();
    let busiest = used.max().unwrap_or_default();
    if total.is_zero() {
        return 0.0;
    }
    busiest.as_secs_f64() / total.as_secs_f64()
}
