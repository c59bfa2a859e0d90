//! Datagrams on their way: late, lost, and blocked by rules, but never overtaking each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One way, with up to as much again added at random.
const LATENCY: Duration = Duration::from_millis(8);

pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// What the network lets through.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Packets between desktop and viewer; false leaves only the way over the relay.
    pub direct: bool,
    /// Of every packet, on every way.
    pub loss: f64,
}

pub(super) struct Network {
    rng: StdRng,
    flying: Vec<(Instant, Packet)>,
    /// When the last packet on each way arrives.
    arrivals_by_way: BTreeMap<(SocketAddr, SocketAddr), Instant>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            flying: Vec::new(),
            arrivals_by_way: BTreeMap::new(),
        }
    }

    pub(super) fn send(&mut self, packet: Packet, rules: Rules, now: Instant) {
        let lost = self.rng.random_bool(rules.loss);
        let jitter = LATENCY.mul_f64(self.rng.random::<f64>());
        if lost {
            return;
        }
        let way = (packet.from, packet.to);
        // A queue on the way delays; it does not overtake itself.
        let last = self.arrivals_by_way.get(&way).copied().unwrap_or(now);
        let arrives = (now + LATENCY + jitter).max(last);
        self.arrivals_by_way.insert(way, arrives);
        self.flying.push((arrives, packet));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.flying.iter().map(|(at, _)| *at).min()
    }

    /// What has arrived, in the order it was sent.
    pub(super) fn take_arrived(&mut self, now: Instant) -> Vec<Packet> {
        let flying = std::mem::take(&mut self.flying);
        let (due, later) = flying.into_iter().partition(|(at, _)| *at <= now);
        self.flying = later;
        due.into_iter().map(|(_, packet)| packet).collect()
    }
}
