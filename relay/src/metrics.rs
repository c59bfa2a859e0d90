//! Plain counters, one set per server; the shell adds them up when somebody asks.

/// Why bytes went nowhere. Every way to lose a packet has its own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// Neither STUN nor ChannelData.
    Noise,
    /// STUN by its first byte, but not well-formed.
    Malformed,
    /// An answer or an indication that a server does not take.
    Unexpected,
    /// A stranger's budget of replies is spent.
    StrangerLimit,
    /// Relayed data of a client without an allocation.
    NoAllocation,
    /// ChannelData on a number that is not bound.
    NoChannel,
    /// No permission for this peer.
    NoPermission,
    /// The policy refuses the peer.
    Policy,
    /// The allocation's or the relay's bytes per second are spent.
    Bandwidth,
    /// The packet does not fit: a length of 65,536 bytes and more, or another family.
    Unfit,
    /// The kernel refused to send: buffer full, or no route.
    Send,
    /// The client's stream is slower than its media.
    StreamQueue,
    /// Meant for another worker, which does not keep up.
    Exchange,
}

impl Drop {
    pub const ALL: [Self; 13] = [
        Self::Noise,
        Self::Malformed,
        Self::Unexpected,
        Self::StrangerLimit,
        Self::NoAllocation,
        Self::NoChannel,
        Self::NoPermission,
        Self::Policy,
        Self::Bandwidth,
        Self::Unfit,
        Self::Send,
        Self::StreamQueue,
        Self::Exchange,
    ];

    /// The label under which it is exported.
    pub fn label(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected",
            Self::StrangerLimit => "stranger_limit",
            Self::NoAllocation => "no_allocation",
            Self::NoChannel => "no_channel",
            Self::NoPermission => "no_permission",
            Self::Policy => "policy",
            Self::Bandwidth => "bandwidth",
            Self::Unfit => "unfit",
            Self::Send => "send",
            Self::StreamQueue => "stream_queue",
            Self::Exchange => "exchange",
        }
    }
}

/// Packets and their payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

impl Traffic {
    pub fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Codes of refusals that are counted.
pub const ERROR_CODES: [u16; 12] = [300, 400, 401, 403, 420, 437, 438, 440, 441, 442, 486, 508];

/// What one server has seen since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub to_peers: Traffic,
    pub to_clients: Traffic,
    /// Of the above: delivered inside the process, from one allocation to another.
    pub hairpinned: Traffic,
    pub bindings: u64,
    pub allocations_made: u64,
    pub allocations_ended: u64,
    /// Alive now.
    pub allocations: u64,
    pub refreshes: u64,
    pub permissions_made: u64,
    pub channels_bound: u64,
    drops: [u64; Drop::ALL.len()],
    errors: [u64; ERROR_CODES.len()],
    errors_other: u64,
}

impl Counters {
    pub fn drop(&mut self, reason: Drop) {
        if let Some(count) = self.drops.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub fn dropped(&self, reason: Drop) -> u64 {
        self.drops.get(reason as usize).copied().unwrap_or(0)
    }

    pub fn error(&mut self, code: u16) {
        let at = ERROR_CODES.iter().position(|known| *known == code);
        match at.and_then(|at| self.errors.get_mut(at)) {
            Some(count) => *count += 1,
            None => self.errors_other += 1,
        }
    }

    /// Refusals by code; 0 stands for all other codes.
    pub fn errors(&self) -> impl Iterator<Item = (u16, u64)> {
        let known = ERROR_CODES.into_iter().zip(self.errors);
        known.chain([(0, self.errors_other)])
    }

    /// Adds another server's counts.
    pub fn add(&mut self, other: &Self) {
        self.to_peers.add(other.to_peers);
        self.to_clients.add(other.to_clients);
        self.hairpinned.add(other.hairpinned);
        self.bindings += other.bindings;
        self.allocations_made += other.allocations_made;
        self.allocations_ended += other.allocations_ended;
        self.allocations += other.allocations;
        self.refreshes += other.refreshes;
        self.permissions_made += other.permissions_made;
        self.channels_bound += other.channels_bound;
        self.errors_other += other.errors_other;
        add_each(&mut self.drops, &other.drops);
        add_each(&mut self.errors, &other.errors);
    }
}

fn add_each(into: &mut [u64], from: &[u64]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into += from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_count_and_label() {
        let mut counters = Counters::default();
        for reason in Drop::ALL {
            counters.drop(reason);
        }
        for reason in Drop::ALL {
            assert_eq!(counters.dropped(reason), 1, "{}", reason.label());
        }
        let mut sum = counters;
        sum.add(&counters);
        assert_eq!(sum.dropped(Drop::Noise), 2);
    }
}
