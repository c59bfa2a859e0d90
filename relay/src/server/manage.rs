//! What an operator does to a running server: look, reload, drain, revoke.

use std::net::SocketAddr;
use std::time::Instant;

use protocol::turn::message::AddressFamily;
use serde::Serialize;

use super::{Draining, Server, Settings};
use crate::metrics::Counters;
use crate::policy::Policy;

/// One allocation as `/allocations` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AllocationView {
    pub session: String,
    pub client: SocketAddr,
    pub relayed: Vec<SocketAddr>,
    pub peers: Vec<std::net::IpAddr>,
    pub channels: usize,
    pub age_secs: u64,
    pub expires_in_secs: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
}

impl Server {
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn has_allocation(&self, client: crate::endpoint::Client) -> bool {
        self.slots_by_client.contains_key(&client)
    }

    /// At most `max` allocations, in no order.
    pub fn allocations(&self, max: usize, now: Instant) -> Vec<AllocationView> {
        let tick = self.epoch.tick(now);
        let live = self.allocations.iter().flatten().take(max);
        live.map(|allocation| AllocationView {
            session: allocation.user.session.to_string(),
            client: allocation.client.addr,
            relayed: [AddressFamily::V4, AddressFamily::V6]
                .iter()
                .filter_map(|family| allocation.relayed(*family))
                .map(|relayed| relayed.public)
                .collect(),
            peers: allocation.permitted(tick).collect(),
            channels: allocation.channels().len(),
            age_secs: allocation.created.until(tick).as_secs(),
            expires_in_secs: tick.until(allocation.expires).as_secs(),
            sent_packets: allocation.sent.packets,
            sent_bytes: allocation.sent.bytes,
            received_packets: allocation.received.packets,
            received_bytes: allocation.received.bytes,
        })
        .collect()
    }

    /// Takes new settings. Allocations live on; what the new policy refuses ends at once.
    ///
    /// Relayed addresses do not change: they are bound for the life of the process.
    pub fn reload(&mut self, settings: Settings) {
        let relay_addresses = std::mem::take(&mut self.settings.relay_addresses);
        self.strangers
            .set_rate(settings.limits.stranger_replies_per_second);
        self.policy = Policy::new(settings.policy.clone());
        self.policy_generation = self.policy_generation.wrapping_add(1);
        self.settings = Settings {
            relay_addresses,
            ..settings
        };
        let policy = &self.policy;
        for allocation in self.allocations.iter_mut().flatten() {
            allocation.retain_permitted(|peer| policy.check_ip(peer).is_ok());
        }
    }

    /// Refuses new allocations from now on; the others are served to their end.
    pub fn drain(&mut self, draining: Draining) {
        self.draining = Some(draining);
    }

    /// Ends every allocation of a session. Refusing its credential is the ledger's part.
    pub fn end_session(&mut self, session: &str) -> usize {
        let of_session = |(slot, entry): (usize, &Option<Box<crate::allocation::Allocation>>)| {
            let allocation = entry.as_deref()?;
            (*allocation.user.session == *session).then_some(slot as u32)
        };
        let slots: Vec<u32> = self
            .allocations
            .iter()
            .enumerate()
            .filter_map(of_session)
            .collect();
        for slot in &slots {
            self.end(*slot, "revoked");
        }
        slots.len()
    }
}
