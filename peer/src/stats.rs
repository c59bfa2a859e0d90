//! Collects str0m's once-a-second figures into one [`Stats`].

use std::time::{Duration, Instant};

use str0m::stats::{MediaEgressStats, MediaIngressStats, PeerStats};

use crate::event::Stats;

#[derive(Default)]
pub(crate) struct Collector {
    last: Option<(Instant, u64, u64)>,
    nacks: u64,
    plis: u64,
}

impl Collector {
    pub(crate) fn handle_egress(&mut self, stats: &MediaEgressStats) {
        self.nacks = stats.nacks;
        self.plis = stats.plis;
    }

    pub(crate) fn handle_ingress(&mut self, stats: &MediaIngressStats) {
        self.nacks = stats.nacks;
        self.plis = stats.plis;
    }

    pub(crate) fn handle_peer(&mut self, peer: &PeerStats, round_trip: Option<Duration>) -> Stats {
        let (sent, received) = (peer.peer_bytes_tx, peer.peer_bytes_rx);
        let (then, sent_then, received_then) =
            self.last.unwrap_or((peer.timestamp, sent, received));
        self.last = Some((peer.timestamp, sent, received));
        let interval = peer.timestamp.saturating_duration_since(then);
        Stats {
            round_trip: round_trip.or(peer.rtt),
            egress_loss: peer.egress_loss_fraction,
            ingress_loss: peer.ingress_loss_fraction,
            egress_bps: bits_per_second(sent.saturating_sub(sent_then), interval),
            ingress_bps: bits_per_second(received.saturating_sub(received_then), interval),
            bytes_sent: sent,
            bytes_received: received,
            estimate_bps: peer.bwe_tx.map(|estimate| estimate.as_u64()),
            nacks: self.nacks,
            plis: self.plis,
            ..Stats::default()
        }
    }
}

fn bits_per_second(bytes: u64, interval: Duration) -> u64 {
    let millis = interval.as_millis();
    if millis == 0 {
        return 0;
    }
    u64::try_from(u128::from(bytes) * 8000 / millis).unwrap_or(u64::MAX)
}
