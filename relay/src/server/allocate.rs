//! Allocate: the one request that takes something from the machine (RFC 8656 §7.2).
//!
//! The answer waits until the shell has bound the relayed addresses; a port that turns out to be
//! taken by another program is replaced by another one.

use std::net::SocketAddr;
use std::time::Instant;

use protocol::turn::message::{AddressFamily, Attribute, Message, Method, UDP};

use super::answer::{Integrity, ReplyTo};
use super::request::{Outcome, lifetime};
use super::{Command, Server, relay_id, slot_and_family};
use crate::allocation::{Allocation, NewAllocation, Relayed};
use crate::auth::User;
use crate::deadlines::Tick;
use crate::endpoint::RelayId;
use crate::ledger::{PortLease, Refused, Reserve};
use crate::limits::ByteBudget;

/// So many ports are tried before a client is told 508.
const BIND_ATTEMPTS_MAX: u8 = 8;

/// What an Allocate asks for, after its attributes were checked against each other.
struct Wish {
    first: Port,
    /// ADDITIONAL-ADDRESS-FAMILY; only IPv6 can be additional.
    additional_v6: bool,
}

enum Port {
    Any(AddressFamily),
    Even(AddressFamily, Reserve),
    Reserved([u8; 8]),
}

impl Server {
    pub(super) fn handle_allocate(
        &mut self,
        to: ReplyTo<'_>,
        user: &User,
        message: &Message<'_>,
        now: Instant,
    ) -> Outcome {
        if let Some(&slot) = self.slots_by_client.get(&to.client) {
            return self.repeat_allocate(to, slot, user);
        }
        let wish = read_wish(message)?;
        if let Some(draining) = self.draining {
            return self.send_elsewhere(to, draining.alternate);
        }
        let tick = self.epoch.tick(now);
        let (first, reservation) = self.take_first(&wish.first, tick)?;
        let lease = self
            .ledger
            .admit(&user.session, to.client.addr.ip())
            .map_err(|refused| match refused {
                Refused::Quota => 486u16,
                Refused::Capacity => 508,
            })?;
        let mut allocation = Allocation::new(NewAllocation {
            client: to.client,
            user: user.clone(),
            generation: self.next_generation,
            transaction: to.transaction,
            answer_sha256: message.has_integrity_sha256(),
            lifetime: lifetime(message).min(self.settings.limits.session),
            budget: ByteBudget::new(self.settings.limits.bytes_per_second),
            lease,
            created: tick,
        });
        allocation.reservation = reservation;
        self.attach(&mut allocation, first);
        if wish.additional_v6 {
            match self.take_any(AddressFamily::V6, tick) {
                Ok(second) => self.attach(&mut allocation, second),
                Err(_) => allocation.additional_failed = true,
            }
        }
        self.insert(allocation);
        Ok(())
    }

    /// The shell has tried to bind a relayed address.
    pub fn handle_bound(&mut self, relay: RelayId, outcome: Result<(), BindFailed>, now: Instant) {
        let (slot, family) = slot_and_family(relay);
        let tick = self.epoch.tick(now);
        let Some(allocation) = self.allocation_mut(slot) else {
            return;
        };
        if outcome.is_err() {
            return self.bind_again(slot, family, tick);
        }
        let Some(relayed) = allocation.relayed_mut(family) else {
            return;
        };
        relayed.bound = true;
        let (address, port) = (relayed.lease.address(), relayed.lease.port());
        let table = self.slots_by_port.get_mut(address);
        if let Some(entry) = table.and_then(|table| table.get_mut(usize::from(port.0))) {
            *entry = slot + 1;
        }
        self.ledger.owners().set(address, port, self.member);
        if self.allocation(slot).is_some_and(Allocation::is_ready) {
            self.counters.allocations_made += 1;
            self.log_made(slot);
            self.answer_allocate(slot);
        }
    }

    fn bind_again(&mut self, slot: u32, family: AddressFamily, now: Tick) {
        let Some(allocation) = self.allocation_mut(slot) else {
            return;
        };
        allocation.bind_attempts += 1;
        let give_up =
            allocation.bind_attempts >= BIND_ATTEMPTS_MAX || allocation.reservation.is_some();
        let next = match give_up {
            true => None,
            false => self.take_any(family, now).ok(),
        };
        let Some(next) = next else {
            return self.refuse_allocate(slot);
        };
        let address = self.relayed(next);
        let command = Command::Bind {
            relay: relay_id(slot, family),
            address: SocketAddr::new(address.bind, address.public.port()),
        };
        if let Some(allocation) = self.allocation_mut(slot) {
            *allocation.relayed_mut(family) = Some(address);
        }
        self.commands.push_back(command);
    }

    fn refuse_allocate(&mut self, slot: u32) {
        let Some(allocation) = self.allocation(slot) else {
            return;
        };
        let key = allocation.user.key.clone();
        let to = ReplyTo {
            client: allocation.client,
            method: Method::Allocate,
            transaction: allocation.transaction,
            integrity: Some((&key, Integrity::of(allocation.answer_sha256))),
        };
        self.refuse(to, 508, |_| {});
        self.end(slot, "no port could be bound");
    }

    // RFC 8656 §7.2: the same request again gets the same answer; another one gets 437.
    fn repeat_allocate(&mut self, to: ReplyTo<'_>, slot: u32, user: &User) -> Outcome {
        let allocation = self.allocation(slot).ok_or(437u16)?;
        let same = allocation.transaction == to.transaction && allocation.user.name == user.name;
        if !same {
            return Err(437);
        }
        if allocation.is_ready() {
            self.answer_allocate(slot);
        }
        Ok(())
    }

    fn answer_allocate(&mut self, slot: u32) {
        let Some(allocation) = self.allocation(slot) else {
            return;
        };
        let key = allocation.user.key.clone();
        let to = ReplyTo {
            client: allocation.client,
            method: Method::Allocate,
            transaction: allocation.transaction,
            integrity: Some((&key, Integrity::of(allocation.answer_sha256))),
        };
        let families = [&allocation.v4, &allocation.v6];
        let relayed = families.map(|one| one.as_ref().map(|relayed| relayed.public));
        let (lifetime, reservation) = (allocation.lifetime, allocation.reservation);
        let additional_failed = allocation.additional_failed;
        self.succeed(to, |builder| {
            for addr in relayed.into_iter().flatten() {
                builder.xor_relayed_address(addr);
            }
            builder.lifetime(lifetime);
            builder.xor_mapped_address(to.client.addr);
            if let Some(token) = reservation {
                builder.attribute(Attribute::RESERVATION_TOKEN, &token);
            }
            if additional_failed {
                // RFC 8656 §18.12: family, reserved, class and number of 440.
                let value = [AddressFamily::V6.code(), 0, 4, 40];
                builder.attribute(Attribute::ADDRESS_ERROR_CODE, &value);
            }
        });
    }

    fn send_elsewhere(&mut self, to: ReplyTo<'_>, alternate: Option<SocketAddr>) -> Outcome {
        let Some(alternate) = alternate else {
            return Err(508);
        };
        self.refuse(to, 300, |builder| {
            builder.alternate_server(alternate);
        });
        Ok(())
    }

    fn take_first(&mut self, port: &Port, now: Tick) -> Result<(PortLease, Option<[u8; 8]>), u16> {
        match *port {
            Port::Any(family) => Ok((self.take_any(family, now)?, None)),
            Port::Even(family, reserve) => {
                let address = self.address_of(family).ok_or(440u16)?;
                self.ledger.take_even_port(address, reserve, now).ok_or(508)
            }
            Port::Reserved(token) => {
                let lease = self.ledger.redeem(token, now).ok_or(508u16)?;
                Ok((lease, None))
            }
        }
    }

    fn take_any(&mut self, family: AddressFamily, now: Tick) -> Result<PortLease, u16> {
        let address = self.address_of(family).ok_or(440u16)?;
        self.ledger.take_port(address, now).ok_or(508)
    }

    /// The first relayed address of a family, by its place in the configuration.
    fn address_of(&self, family: AddressFamily) -> Option<usize> {
        let mut addresses = self.settings.relay_addresses.iter();
        addresses.position(|one| AddressFamily::of(one.bind) == family)
    }

    fn relayed(&self, lease: PortLease) -> Relayed {
        let address = self.settings.relay_addresses.get(lease.address());
        let unspecified = std::net::Ipv4Addr::UNSPECIFIED.into();
        let (bind, public) =
            address.map_or((unspecified, unspecified), |one| (one.bind, one.public));
        Relayed {
            public: SocketAddr::new(public, lease.port().0),
            bind,
            lease,
            bound: false,
            open: false,
        }
    }

    fn attach(&mut self, allocation: &mut Allocation, lease: PortLease) {
        let relayed = self.relayed(lease);
        let family = AddressFamily::of(relayed.bind);
        *allocation.relayed_mut(family) = Some(relayed);
    }

    fn insert(&mut self, allocation: Allocation) {
        self.next_generation = self.next_generation.wrapping_add(1);
        let (generation, expires) = (allocation.generation, allocation.expires);
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.allocations.push(None);
            self.allocations.len() as u32 - 1
        });
        self.slots_by_client.insert(allocation.client, slot);
        for family in [AddressFamily::V4, AddressFamily::V6] {
            if let Some(relayed) = allocation.relayed(family) {
                let address = SocketAddr::new(relayed.bind, relayed.public.port());
                let relay = relay_id(slot, family);
                self.commands.push_back(Command::Bind { relay, address });
            }
        }
        self.deadlines.insert(expires, (slot, generation));
        self.counters.allocations += 1;
        if let Some(entry) = self.allocations.get_mut(slot as usize) {
            *entry = Some(Box::new(allocation));
        }
    }

    fn log_made(&self, slot: u32) {
        if let Some(allocation) = self.allocation(slot) {
            tracing::info!(
                session = %allocation.user.session,
                lifetime_secs = allocation.lifetime.as_secs(),
                "allocation made"
            );
        }
    }
}

/// The shell could not bind a relayed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindFailed;

fn read_wish(message: &Message<'_>) -> Result<Wish, u16> {
    match message.requested_transport() {
        Some(UDP) => {}
        Some(_) => return Err(442),
        None => return Err(400),
    }
    let family = requested_family(message)?;
    let even_port = match message.has(Attribute::EVEN_PORT) {
        true => Some(message.even_port().ok_or(400u16)?),
        false => None,
    };
    let additional_v6 = wants_additional_v6(message)?;
    if message.has(Attribute::RESERVATION_TOKEN) {
        let exclusive = even_port.is_none() && family.is_none() && !additional_v6;
        let token = message.reservation_token().filter(|_| exclusive);
        let first = Port::Reserved(token.ok_or(400u16)?);
        return Ok(Wish {
            first,
            additional_v6,
        });
    }
    if additional_v6 && (family.is_some() || even_port == Some(true)) {
        return Err(400);
    }
    // RFC 8656 §7.2: without the attribute, IPv4.
    let family = family.unwrap_or(AddressFamily::V4);
    let first = match even_port {
        None => Port::Any(family),
        Some(false) => Port::Even(family, Reserve::Nothing),
        Some(true) => Port::Even(family, Reserve::NextPort),
    };
    Ok(Wish {
        first,
        additional_v6,
    })
}

fn requested_family(message: &Message<'_>) -> Result<Option<AddressFamily>, u16> {
    if !message.has(Attribute::REQUESTED_ADDRESS_FAMILY) {
        return Ok(None);
    }
    message.requested_family().map(Some).ok_or(440)
}

// RFC 8656 §7.2: IPv4 cannot be the additional family.
fn wants_additional_v6(message: &Message<'_>) -> Result<bool, u16> {
    if !message.has(Attribute::ADDITIONAL_ADDRESS_FAMILY) {
        return Ok(false);
    }
    match message.additional_family() {
        Some(AddressFamily::V6) => Ok(true),
        _ => Err(400),
    }
}
