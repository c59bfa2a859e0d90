//! The TURN server: one per thread, without sockets and without a clock.
//!
//! ```text
//!  shell                                    server
//!  datagram from a client  ──────────────▶  handle_client ─▶ Forward (a value; nothing allocated)
//!  datagram from a peer    ──────────────▶  handle_peer   ─▶ Forward
//!  poll_command ◀── bind or unbind a relayed address ──▶ handle_bound
//!  poll_transmit ◀── answers to requests
//!  poll_timeout, handle_timeout
//! ```
//!
//! After any `handle_*` the shell drains `poll_command`, then `poll_transmit`. Relayed data never
//! goes through a queue: it is the return value, and the payload is where the shell received it.

mod allocate;
mod answer;
mod manage;
mod request;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::turn::channel::{self, ChannelNumber};
use protocol::turn::message::{AddressFamily, Class, Message, Method};
use protocol::turn::{Kind, classify};

use crate::allocation::Allocation;
use crate::auth::Credentials;
use crate::deadlines::{Deadlines, Epoch, Tick};
use crate::endpoint::{Client, KeyedHash, RelayId, RelayPort};
use crate::ledger::Ledger;
use crate::limits::{ByteBudget, StrangerLimiter};
use crate::metrics::{Counters, Drop};
use crate::nonce::Nonces;
use crate::owners::Member;
use crate::policy::{Policy, PolicyConfig};

pub use allocate::BindFailed;
pub use manage::AllocationView;

/// A relayed address: what to bind, and what the world sees in its place (1:1 NAT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    pub bind: IpAddr,
    pub public: IpAddr,
}

/// Bounds of one allocation and of the whole relay that a server enforces itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub permissions: usize,
    pub channels: usize,
    /// Per allocation, both directions together; 0 means no limit.
    pub bytes_per_second: u64,
    /// This server's share of the relay's total; 0 means no limit.
    pub bytes_per_second_total: u64,
    /// Per address prefix; 0 means no limit.
    pub stranger_replies_per_second: u32,
    /// An allocation is not refreshed beyond this age.
    pub session: Duration,
}

/// What a server is configured with. Replaced as a whole on reload.
#[derive(Clone, Debug)]
pub struct Settings {
    pub credentials: Credentials,
    pub relay_addresses: Vec<RelayAddress>,
    pub limits: Limits,
    pub policy: PolicyConfig,
}

/// What makes a server's secrets and orders unpredictable.
#[derive(Clone, Copy)]
pub struct Seed {
    /// Shared by all servers of a process or a fleet.
    pub nonce_key: [u8; 32],
    pub hash_keys: [u64; 2],
}

/// Where relayed data goes next. Ranges lie inside the datagram that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Nowhere: it was a request (see `poll_transmit`) or was dropped and counted.
    Nothing,
    /// From a relayed address to a peer.
    ToPeer {
        relay: RelayId,
        peer: SocketAddr,
        payload: Range<usize>,
        fragment: Fragment,
    },
    /// To an allocation of another server of this process; see [`Server::handle_sibling`].
    ToSibling {
        owner: Member,
        /// The relayed address it is meant for.
        to: SocketAddr,
        /// The relayed address it comes from.
        from: SocketAddr,
        payload: Range<usize>,
    },
    /// To a client.
    ToClient {
        client: Client,
        frame: Frame,
        payload: Range<usize>,
    },
}

/// Where a peer's address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The relayed address of an allocation in this slot.
    Ours(u32),
    /// The relayed address of another server of this process.
    Sibling(Member),
    Away,
}

/// Whether routers may cut the datagram (RFC 8656 §18.9, DONT-FRAGMENT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    Allowed,
    Forbidden,
}

/// How payload is wrapped towards a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The four bytes in front of the payload.
    Channel([u8; channel::HEADER_LEN]),
    /// A Data indication from this peer; see [`crate::indication`].
    Indication(SocketAddr),
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Bind a UDP socket and say how it went with [`Server::handle_bound`].
    Bind { relay: RelayId, address: SocketAddr },
    /// The first permission: serve what arrives from now on. What arrived before was from nobody
    /// who was permitted, and is thrown away.
    Open { relay: RelayId },
    /// Close the socket of a relayed address.
    Unbind { relay: RelayId },
    /// This client's allocation was ended by us: a stream may be closed.
    Ended { client: Client },
}

/// An answer for a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    pub client: Client,
    pub bytes: &'a [u8],
}

/// See the module's heading.
pub struct Server {
    settings: Settings,
    policy: Policy,
    policy_generation: u32,
    nonces: Nonces,
    strangers: StrangerLimiter,
    ledger: Ledger,
    /// This server's name in the ledger.
    member: Option<Member>,
    /// What new allocations are told while this relay drains.
    draining: Option<Draining>,
    epoch: Epoch,
    /// Wall clock at the epoch.
    unix_epoch: Duration,
    slots_by_client: HashMap<Client, u32, KeyedHash>,
    allocations: Vec<Option<Box<Allocation>>>,
    free_slots: Vec<u32>,
    next_generation: u32,
    /// Per relayed address: port → slot + 1, so that a hairpin is found in one step.
    slots_by_port: Vec<Box<[u32]>>,
    deadlines: Deadlines<(u32, u32)>,
    budget: ByteBudget,
    commands: VecDeque<Command>,
    outbox: answer::Outbox,
    counters: Counters,
}

/// A relay that is about to stop.
#[derive(Clone, Copy, Debug)]
pub struct Draining {
    /// Named in 300 answers; without one, new allocations are refused with 508.
    pub alternate: Option<SocketAddr>,
}

impl Server {
    pub fn new(
        settings: Settings,
        ledger: Ledger,
        seed: Seed,
        unix_now: Duration,
        now: Instant,
    ) -> Self {
        let hash = KeyedHash::new(seed.hash_keys);
        let limits = settings.limits;
        let ports = vec![vec![0; 1 << 16].into_boxed_slice(); settings.relay_addresses.len()];
        Self {
            policy: Policy::new(settings.policy.clone()),
            policy_generation: 0,
            nonces: Nonces::new(&seed.nonce_key),
            strangers: StrangerLimiter::new(limits.stranger_replies_per_second, hash),
            member: ledger.join(),
            ledger,
            draining: None,
            epoch: Epoch::new(now),
            unix_epoch: unix_now,
            slots_by_client: HashMap::with_hasher(hash),
            allocations: Vec::new(),
            free_slots: Vec::new(),
            next_generation: 0,
            slots_by_port: ports,
            deadlines: Deadlines::default(),
            budget: ByteBudget::new(limits.bytes_per_second_total),
            commands: VecDeque::new(),
            outbox: answer::Outbox::default(),
            counters: Counters::default(),
            settings,
        }
    }

    /// Takes one datagram, or one message of a stream, from a client.
    pub fn handle_client(&mut self, from: Client, datagram: &[u8], now: Instant) -> Forward {
        match classify(datagram) {
            Kind::ChannelData => self.handle_channel_data(from, datagram, now),
            Kind::Stun => self.handle_stun(from, datagram, now),
            Kind::Other => self.dropped(Drop::Noise),
        }
    }

    /// Takes one datagram of `len` bytes that a peer sent to a relayed address.
    pub fn handle_peer(
        &mut self,
        relay: RelayId,
        from: SocketAddr,
        len: usize,
        now: Instant,
    ) -> Forward {
        let slot = relay.0 / 2;
        self.deliver(slot, from, 0..len, now)
    }

    /// Takes one datagram of `len` bytes that another server of this process relays to one of ours.
    pub fn handle_sibling(
        &mut self,
        to: SocketAddr,
        from: SocketAddr,
        len: usize,
        now: Instant,
    ) -> Forward {
        match self.place_of(to) {
            Place::Ours(slot) => self.deliver(slot, from, 0..len, now),
            Place::Sibling(_) | Place::Away => self.dropped(Drop::NoAllocation),
        }
    }

    /// This server's name among those that share its ledger.
    pub fn member(&self) -> Option<Member> {
        self.member
    }

    /// Something for the shell to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// An answer to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.outbox.pop()
    }

    /// When to call [`Server::handle_timeout`] at the latest. O(1).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next().map(|tick| self.epoch.instant(tick))
    }

    /// Ends what has expired. O(expired).
    pub fn handle_timeout(&mut self, now: Instant) {
        let tick = self.epoch.tick(now);
        while let Some((slot, generation)) = self.deadlines.pop_expired(tick) {
            let Some(allocation) = self.allocation_mut(slot) else {
                continue;
            };
            // An entry of the slot's former tenant, or one that a shorter life made needless.
            if allocation.generation != generation || allocation.wakes > tick {
                continue;
            }
            if allocation.expires > tick {
                allocation.wakes = allocation.expires;
                let expires = allocation.expires;
                self.deadlines.insert(expires, (slot, generation));
            } else {
                self.end(slot, "expired");
            }
        }
    }

    /// The wall clock has been looked at again; it may have been set.
    pub fn handle_clock(&mut self, unix_now: Duration, now: Instant) {
        let since_epoch = now.saturating_duration_since(self.epoch.instant(Tick(0)));
        self.unix_epoch = unix_now.saturating_sub(since_epoch);
    }

    /// A stream has ended: its allocation ends with it (RFC 8656 §3.1).
    pub fn handle_disconnect(&mut self, client: Client) {
        if let Some(&slot) = self.slots_by_client.get(&client) {
            self.end(slot, "disconnected");
        }
    }

    /// The shell dropped datagrams: they could not be sent, or nobody was permitted to send them.
    pub fn handle_send_failure(&mut self, packets: u64, reason: Drop) {
        for _ in 0..packets {
            self.counters.drop(reason);
        }
    }

    fn handle_channel_data(&mut self, from: Client, datagram: &[u8], now: Instant) -> Forward {
        let Ok((number, payload)) = channel::decode(datagram) else {
            return self.dropped(Drop::Malformed);
        };
        let Some(&slot) = self.slots_by_client.get(&from) else {
            return self.dropped(Drop::NoAllocation);
        };
        match self.channel_peer(slot, number, now) {
            Ok(peer) => {
                let payload = channel::HEADER_LEN..channel::HEADER_LEN + payload.len();
                self.forward(slot, peer, payload, Fragment::Allowed, now)
            }
            Err(reason) => self.dropped(reason),
        }
    }

    fn channel_peer(
        &mut self,
        slot: u32,
        number: ChannelNumber,
        now: Instant,
    ) -> Result<SocketAddr, Drop> {
        let tick = self.epoch.tick(now);
        let generation = self.policy_generation;
        let entry = self.allocations.get_mut(slot as usize);
        let allocation = entry.and_then(Option::as_mut).ok_or(Drop::NoAllocation)?;
        let channel = allocation.channel(number, tick).ok_or(Drop::NoChannel)?;
        if channel.policy_generation != generation {
            self.policy.check(channel.peer).map_err(|_| Drop::Policy)?;
            channel.policy_generation = generation;
        }
        Ok(channel.peer)
    }

    /// From a client's allocation to a peer that policy and permission let through.
    fn forward(
        &mut self,
        slot: u32,
        peer: SocketAddr,
        payload: Range<usize>,
        fragment: Fragment,
        now: Instant,
    ) -> Forward {
        if !self.afford(slot, payload.len(), now) {
            return self.dropped(Drop::Bandwidth);
        }
        let place = self.place_of(peer);
        let family = AddressFamily::of(peer.ip());
        let Some(allocation) = self.allocation_mut(slot) else {
            return self.dropped(Drop::NoAllocation);
        };
        let Some(relayed) = allocation.relayed(family) else {
            return self.dropped(Drop::Unfit);
        };
        let source = relayed.public;
        allocation.sent.count(payload.len());
        self.counters.to_peers.count(payload.len());
        if place != Place::Away {
            self.counters.hairpinned.count(payload.len());
        }
        match place {
            Place::Ours(other) => self.deliver(other, source, payload, now),
            Place::Sibling(owner) => Forward::ToSibling {
                owner,
                to: peer,
                from: source,
                payload,
            },
            Place::Away => Forward::ToPeer {
                relay: relay_id(slot, family),
                peer,
                payload,
                fragment,
            },
        }
    }

    /// From a peer to the client of an allocation (RFC 8656 §11.3, §12.7).
    fn deliver(
        &mut self,
        slot: u32,
        from: SocketAddr,
        payload: Range<usize>,
        now: Instant,
    ) -> Forward {
        let tick = self.epoch.tick(now);
        let Some(allocation) = self.allocation(slot) else {
            return self.dropped(Drop::NoAllocation);
        };
        // A bound channel lets its peer through as long as it is bound. RFC 8656 §12 would end that
        // with the permission after half the time; clients exist that renew nothing but channels.
        let channel = allocation.channel_to(from, tick);
        if channel.is_none() && !allocation.permits(from.ip(), tick) {
            return self.dropped(Drop::NoPermission);
        }
        let Ok(len) = u16::try_from(payload.len()) else {
            return self.dropped(Drop::Unfit);
        };
        let frame = match channel {
            Some(number) => {
                let mut header = [0; channel::HEADER_LEN];
                channel::encode_header(number, len, &mut header);
                Frame::Channel(header)
            }
            None => Frame::Indication(from),
        };
        let client = allocation.client;
        if !self.afford(slot, payload.len(), now) {
            return self.dropped(Drop::Bandwidth);
        }
        if let Some(allocation) = self.allocation_mut(slot) {
            allocation.received.count(payload.len());
        }
        self.counters.to_clients.count(payload.len());
        Forward::ToClient {
            client,
            frame,
            payload,
        }
    }

    fn afford(&mut self, slot: u32, bytes: usize, now: Instant) -> bool {
        if !self.budget.admit(bytes, now) {
            return false;
        }
        let allocation = self.allocation_mut(slot);
        allocation.is_none_or(|allocation| allocation.budget.admit(bytes, now))
    }

    fn handle_stun(&mut self, from: Client, datagram: &[u8], now: Instant) -> Forward {
        let Ok(message) = Message::parse(datagram) else {
            return self.dropped(Drop::Malformed);
        };
        match (message.class(), message.method()) {
            (Class::Request, Method::Binding) => self.handle_binding(from, &message, now),
            (Class::Request, _) => self.handle_request(from, &message, now),
            (Class::Indication, Method::Send) => {
                return self.handle_send(from, &message, now);
            }
            // A Binding indication is a keep-alive of RFC 8445 §11; nothing else is for us.
            _ => self.counters.drop(Drop::Unexpected),
        }
        Forward::Nothing
    }

    fn place_of(&self, peer: SocketAddr) -> Place {
        let mut addresses = self.settings.relay_addresses.iter();
        let at = addresses.position(|one| one.public == peer.ip() || one.bind == peer.ip());
        let Some(at) = at else {
            return Place::Away;
        };
        let slots = self.slots_by_port.get(at);
        let slot = slots.and_then(|slots| slots.get(usize::from(peer.port())));
        if let Some(slot) = slot.and_then(|slot| slot.checked_sub(1)) {
            return Place::Ours(slot);
        }
        let owner = self.ledger.owners().of(at, peer.port());
        owner.map_or(Place::Away, Place::Sibling)
    }

    fn allocation(&self, slot: u32) -> Option<&Allocation> {
        self.allocations.get(slot as usize)?.as_deref()
    }

    fn allocation_mut(&mut self, slot: u32) -> Option<&mut Allocation> {
        self.allocations.get_mut(slot as usize)?.as_deref_mut()
    }

    fn dropped(&mut self, reason: Drop) -> Forward {
        self.counters.drop(reason);
        Forward::Nothing
    }

    fn unix_now(&self, now: Instant) -> Duration {
        self.unix_epoch + now.saturating_duration_since(self.epoch.instant(Tick(0)))
    }

    /// Removes an allocation and everything it holds.
    fn end(&mut self, slot: u32, why: &'static str) {
        let entry = self.allocations.get_mut(slot as usize);
        let Some(allocation) = entry.and_then(Option::take) else {
            return;
        };
        for family in [AddressFamily::V4, AddressFamily::V6] {
            if let Some(relayed) = allocation.relayed(family) {
                self.forget_port(relayed.lease.address(), relayed.lease.port());
                self.commands.push_back(Command::Unbind {
                    relay: relay_id(slot, family),
                });
            }
        }
        self.slots_by_client.remove(&allocation.client);
        self.free_slots.push(slot);
        self.counters.allocations -= 1;
        self.counters.allocations_ended += 1;
        let client = allocation.client;
        self.commands.push_back(Command::Ended { client });
        tracing::info!(
            session = %allocation.user.session,
            why,
            sent_bytes = allocation.sent.bytes,
            received_bytes = allocation.received.bytes,
            "allocation ended"
        );
    }

    fn forget_port(&mut self, address: usize, port: RelayPort) {
        let table = self.slots_by_port.get_mut(address);
        let entry = table.and_then(|table| table.get_mut(usize::from(port.0)));
        // One that was never bound is nobody's, or another server's by now.
        if let Some(entry) = entry.filter(|entry| **entry != 0) {
            *entry = 0;
            self.ledger.owners().set(address, port, None);
        }
    }
}

fn relay_id(slot: u32, family: AddressFamily) -> RelayId {
    RelayId(slot * 2 + u32::from(family == AddressFamily::V6))
}

/// Splits a relay id into the slot and the family it was made from.
fn slot_and_family(relay: RelayId) -> (u32, AddressFamily) {
    let family = if relay.0.is_multiple_of(2) {
        AddressFamily::V4
    } else {
        AddressFamily::V6
    };
    (relay.0 / 2, family)
}

/// A name that is shared, not copied, between the tables.
type Name = Arc<str>;
