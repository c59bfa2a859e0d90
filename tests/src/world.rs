//! The whole path in one thread: viewer, agent host, signalling and relay without a socket, under a
//! virtual clock.
//!
//! Every machine is the real one: [`seat`] and [`desk`] only carry out what their machines want, as
//! the real shells do; the network between them is made up. A seed makes losses and delays, and
//! every failure prints it.

mod cloud;
mod desk;
mod network;
mod seat;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peer::ice_url::IceUrl;
use peer::{Certificate, Config, RelayServer, Side};
use protocol::signal::{IceServer, PathMode};
use signalling::grant::Terms;

use crate::relay_node::RelayNode;
use cloud::End;
use network::Network;

pub use cloud::Cloud;
pub use desk::Desk;
pub(crate) use network::Packet;
pub use network::Rules;
pub use seat::Seat;

/// 2026-01-01T00:00:00Z: the wall clock at the start.
const UNIX_START: Duration = Duration::from_secs(1_767_225_600);
const AGENT_CREDENTIAL: &str = "the agent host's credential";
const RELAY_SECRET: &str = "the relay's secret";
const INSTANCE: &str = "desk";
/// No scenario waits longer for anything; more means it hangs.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Turns of all machines at one moment; more means that two of them keep each other busy.
const TURNS_MAX: usize = 1000;

const HOST: &str = "192.0.2.10:5000";
const VIEWER: &str = "192.0.2.20:6000";
const RELAY: &str = "192.0.2.30:3478";

pub struct World {
    pub now: Instant,
    start: Instant,
    seed: u64,
    network: Network,
    pub rules: Rules,
    pub relay: RelayNode,
    pub cloud: Cloud,
    pub desk: Desk,
    /// Viewers in the order they came.
    pub seats: Vec<Seat>,
}

/// Frames made and shown in the same stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub made: u64,
    pub shown: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Terms::default())
    }

    /// A world whose service grants on these terms; its desktop is online.
    pub fn with(seed: u64, terms: Terms) -> Self {
        let now = start();
        let mut world = Self {
            now,
            start: now,
            seed,
            network: Network::new(seed),
            rules: Rules {
                direct: true,
                loss: 0.0,
            },
            relay: RelayNode::new(address(RELAY), RELAY_SECRET, UNIX_START, now),
            cloud: Cloud::new(terms, now),
            desk: Desk::new(seed, now),
            seats: Vec::new(),
        };
        world.run_for(Duration::from_secs(1));
        world
    }

    pub fn unix_now(&self) -> Duration {
        UNIX_START + (self.now - self.start)
    }

    /// Somebody clicks Connect. Returns the number of the seat.
    pub fn sit_down(&mut self, mode: PathMode) -> usize {
        let number = self.seats.len();
        let mut at = address(VIEWER);
        at.set_port(at.port() + u16::try_from(number).expect("few seats"));
        let seed = self.seed ^ (number as u64) << 32;
        let mut seat = Seat::new(number, at, mode, seed);
        seat.session.handle_start(self.now);
        self.seats.push(seat);
        number
    }

    /// As [`Self::sit_down`], until the first picture is there.
    pub fn connect(&mut self, mode: PathMode) -> usize {
        let seat = self.sit_down(mode);
        self.run_until("the first picture", |world| {
            world.seats.get(seat).is_some_and(|seat| seat.frames > 0)
        });
        seat
    }

    /// The first viewer.
    pub fn seat(&self) -> &Seat {
        self.seats.first().expect("somebody sat down")
    }

    /// # Panics
    ///
    /// If it does not happen within two minutes of virtual time; says the seed.
    pub fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + WAIT_MAX;
        while !done(self) {
            let states = self.seats.iter().map(|seat| seat.session.state().words());
            assert!(
                self.now < deadline,
                "SEED={}: {what} never came; seats: {:?}",
                self.seed,
                states.collect::<Vec<_>>()
            );
            self.step(deadline);
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step(until);
        }
    }

    /// Draws 20 times a second for so long, and counts what the first viewer was shown.
    pub fn stream(&mut self, time: Duration) -> Flow {
        let (made, shown) = (self.desk.frames, self.seat().frames);
        let until = self.now + time;
        while self.now < until {
            self.desk.draw(self.now);
            self.run_for(Duration::from_millis(50));
        }
        Flow {
            made: self.desk.frames - made,
            shown: self.seat().frames - shown,
        }
    }

    /// The relay loses its memory and its ports.
    pub fn restart_relay(&mut self) {
        self.relay = RelayNode::new(address(RELAY), RELAY_SECRET, self.unix_now(), self.now);
    }

    /// The agent host dies and another takes its place: it knows of no session.
    pub fn restart_desk(&mut self) {
        self.cloud.cut(End::Desk, self.now);
        self.desk = Desk::new(self.seed, self.now);
    }

    /// Signalling is gone until [`Self::start_signalling`]; its rows stay.
    pub fn stop_signalling(&mut self) {
        self.cloud.stop(self.now);
    }

    pub fn start_signalling(&mut self) {
        self.cloud.start(self.unix_now(), self.now);
    }

    /// A viewer's socket breaks, and what is on its way over it is lost.
    pub fn cut_seat(&mut self, seat: usize) {
        self.cloud.cut(End::Seat(seat), self.now);
    }

    /// Everything that happens at the next moment at which something happens.
    fn step(&mut self, until: Instant) {
        self.settle();
        let now = self.now;
        let seats = self.seats.iter().filter_map(Seat::poll_timeout);
        let others = [
            self.desk.poll_timeout(now),
            self.cloud.poll_timeout(),
            self.network.poll_timeout(),
            self.relay.poll_timeout(),
        ];
        let next = seats.chain(others.into_iter().flatten()).min();
        self.now = next.unwrap_or(until).clamp(now, until);
        self.deliver_packets();
        self.deliver_signals();
        self.run_timers();
        self.settle();
    }

    fn run_timers(&mut self) {
        let now = self.now;
        for seat in &mut self.seats {
            seat.handle_timeout(now);
        }
        self.desk.handle_timeout(now);
        self.relay.handle_timeout(now);
    }

    fn deliver_packets(&mut self) {
        let now = self.now;
        for Packet { from, to, bytes } in self.network.take_arrived(now) {
            let seat = self.seats.iter_mut().find(|seat| seat.address() == to);
            if let Some(seat) = seat {
                seat.handle_datagram(from, &bytes, now);
            } else if self.desk.is_at(to) {
                self.desk.handle_datagram(to, from, &bytes, now);
            } else {
                self.relay.handle_datagram(to, from, bytes, now);
            }
        }
    }

    fn deliver_signals(&mut self) {
        let now = self.now;
        for (end, from, what) in self.cloud.handle_timeout(self.unix_now(), now) {
            match end {
                End::Desk => self.desk.handle_arrival(from, what, now),
                End::Seat(seat) => {
                    if let Some(seat) = self.seats.get_mut(seat) {
                        seat.handle_arrival(from, what, now);
                    }
                }
            }
        }
    }

    /// Until nobody wants anything more at this moment.
    fn settle(&mut self) {
        let now = self.now;
        for _ in 0..TURNS_MAX {
            let mut busy = self.desk.carry_out(&mut self.cloud, now);
            for seat in &mut self.seats {
                busy |= seat.carry_out(&mut self.cloud, now);
            }
            self.send_packets();
            if !busy {
                return;
            }
        }
        panic!("SEED={}: two machines keep each other busy", self.seed);
    }

    fn send_packets(&mut self) {
        let mut packets = self.relay.take_packets();
        self.desk.take_packets(&mut packets);
        for seat in &mut self.seats {
            seat.take_packets(&mut packets);
        }
        for packet in packets {
            let relayed = [packet.from, packet.to].map(|at| at.ip() == address(RELAY).ip());
            if self.rules.direct || relayed.contains(&true) {
                self.network.send(packet, self.rules, self.now);
            }
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address in the source")
}

fn config(side: Side, socket: SocketAddr, mode: PathMode, relays: Vec<RelayServer>) -> Config {
    Config {
        path_mode: mode,
        relays,
        certificate: Certificate::of_this_process(),
        ..Config::new(side, vec![socket])
    }
}

fn relays(servers: &[IceServer], base: SocketAddr) -> Vec<RelayServer> {
    let urls = servers.iter().flat_map(|server| {
        let urls = server.urls.iter().filter_map(|url| IceUrl::parse(url));
        urls.map(move |url| (server, url))
    });
    urls.map(|(server, url)| RelayServer {
        transport: url.transport,
        server: SocketAddr::new(url.host.parse().expect("an address"), url.port),
        name: url.host,
        base,
        username: server.username.clone(),
        credential: server.credential.clone(),
        region: server.region.clone(),
    })
    .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a virtual clock starts somewhere"
)]
fn start() -> Instant {
    Instant::now()
}

/// An H.264 access unit in Annex B: SPS, PPS and an IDR slice, or one other slice.
fn access_unit(len: usize, key: bool) -> Vec<u8> {
    let mut data = Vec::new();
    if key {
        data.extend([0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40]);
        data.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80]);
    }
    data.extend([0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
    data.extend(std::iter::repeat_n(0xAB, len));
    data
}
