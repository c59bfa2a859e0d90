//! Requests: who asks, and what is done about it (RFC 8489 §9.2.4; RFC 8656 §7 to §12).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::turn::message::{AddressFamily, Attribute, Message, Method};

use super::answer::{Integrity, ReplyTo};
use super::{Forward, Fragment, Name, Server, relay_id};
use crate::allocation::{TableError, TablesMax};
use crate::auth::{self, Challenge, User};
use crate::endpoint::Client;
use crate::metrics::Drop;
use crate::server::Command;

/// RFC 8656 §7.2: the lifetime given when the client asks for less or nothing.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(600);
/// RFC 8656 §7.2 recommends an hour as the most a client is given at once.
const LIFETIME_MAX: Duration = Duration::from_secs(3600);

/// Comprehension-required attributes this server understands.
const KNOWN: [Attribute; 17] = [
    Attribute::USERNAME,
    Attribute::MESSAGE_INTEGRITY,
    Attribute::MESSAGE_INTEGRITY_SHA256,
    Attribute::PASSWORD_ALGORITHM,
    Attribute::REALM,
    Attribute::NONCE,
    Attribute::CHANNEL_NUMBER,
    Attribute::LIFETIME,
    Attribute::XOR_PEER_ADDRESS,
    Attribute::DATA,
    Attribute::REQUESTED_ADDRESS_FAMILY,
    Attribute::EVEN_PORT,
    Attribute::REQUESTED_TRANSPORT,
    Attribute::DONT_FRAGMENT,
    Attribute::RESERVATION_TOKEN,
    Attribute::MAPPED_ADDRESS,
    Attribute::XOR_MAPPED_ADDRESS,
];
/// Unknown attributes listed in one 420 answer; the rest follows when these are gone.
const UNKNOWN_LISTED_MAX: usize = 8;

/// A request's answer in the making: an RFC code, or nothing more to say.
pub(super) type Outcome = Result<(), u16>;

impl Server {
    // RFC 8489 §12: nothing is remembered and nobody has to prove anything; the answer is 32 bytes
    // for IPv4, 1.6 times the smallest question.
    pub(super) fn handle_binding(&mut self, from: Client, message: &Message<'_>, now: Instant) {
        let tick = self.epoch.tick(now);
        if !self.strangers.admit(from.addr.ip(), tick) {
            return self.counters.drop(Drop::StrangerLimit);
        }
        self.counters.bindings += 1;
        let to = ReplyTo::stranger(from, message);
        if self.refuse_unknown(to, message) {
            return;
        }
        self.succeed(to, |builder| {
            builder.xor_mapped_address(from.addr);
        });
    }

    pub(super) fn handle_request(&mut self, from: Client, message: &Message<'_>, now: Instant) {
        let (tick, unix_now) = (self.epoch.tick(now), self.unix_now(now));
        let user = match self.identify(from, message, now) {
            Ok(user) => user,
            Err(challenge) => {
                let to = ReplyTo::stranger(from, message);
                return self.challenge(to, challenge, tick, unix_now);
            }
        };
        let to = ReplyTo {
            integrity: Some((&user.key, Integrity::of(message.has_integrity_sha256()))),
            ..ReplyTo::stranger(from, message)
        };
        if self.refuse_unknown(to, message) {
            return;
        }
        let outcome = match message.method() {
            Method::Allocate => self.handle_allocate(to, &user, message, now),
            Method::Refresh => self.handle_refresh(to, &user, message, now),
            Method::CreatePermission => self.handle_create_permission(to, &user, message, now),
            Method::ChannelBind => self.handle_channel_bind(to, &user, message, now),
            _ => Err(400),
        };
        if let Err(code) = outcome {
            tracing::debug!(code, method = ?message.method(), session = %user.session, "refused");
            self.refuse(to, code, |_| {});
        }
    }

    /// The owner of an allocation is known by its key; anybody else has to prove a credential.
    fn identify(
        &self,
        from: Client,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<User, Challenge> {
        let unix_now = self.unix_now(now);
        let (username, algorithm) = auth::check_shape(message, &self.nonces, from.addr, unix_now)?;
        let owner = self.slots_by_client.get(&from);
        if let Some(allocation) = owner.and_then(|slot| self.allocation(*slot))
            && *allocation.user.name == *username
            && message.verify(&allocation.user.key)
        {
            return Ok(allocation.user.clone());
        }
        let credentials = &self.settings.credentials;
        credentials.authenticate(message, username, algorithm, &self.ledger, unix_now)
    }

    // RFC 8489 §6.3.1: 420 lists what was not understood.
    fn refuse_unknown(&mut self, to: ReplyTo<'_>, message: &Message<'_>) -> bool {
        let mut listed = [0; 2 * UNKNOWN_LISTED_MAX];
        let mut len = 0;
        let unknown = message
            .attributes()
            .map(|(kind, _)| kind)
            .filter(|kind| kind.is_comprehension_required() && !KNOWN.contains(kind));
        for (pair, kind) in listed.chunks_exact_mut(2).zip(unknown) {
            pair.copy_from_slice(&kind.0.to_be_bytes());
            len += 2;
        }
        if len == 0 {
            return false;
        }
        self.refuse(to, 420, |builder| {
            let value = listed.get(..len).unwrap_or_default();
            builder.attribute(Attribute::UNKNOWN_ATTRIBUTES, value);
        });
        true
    }

    // RFC 8656 §8.2.
    fn handle_refresh(
        &mut self,
        to: ReplyTo<'_>,
        user: &User,
        message: &Message<'_>,
        now: Instant,
    ) -> Outcome {
        let slot = self.own_slot(to.client, &user.name)?;
        let tick = self.epoch.tick(now);
        if message.has(Attribute::REQUESTED_ADDRESS_FAMILY) {
            let family = message.requested_family().ok_or(400u16)?;
            let allocation = self.allocation(slot).ok_or(437u16)?;
            allocation.relayed(family).ok_or(443u16)?;
            if message.lifetime() == Some(Duration::ZERO) {
                return self.end_family(to, slot, family);
            }
        }
        if message.lifetime() == Some(Duration::ZERO) {
            self.end(slot, "released");
            self.succeed(to, |builder| {
                builder.lifetime(Duration::ZERO);
            });
            return Ok(());
        }
        let session = self.settings.limits.session;
        let allocation = self.allocation_mut(slot).ok_or(437u16)?;
        let left = tick.until(allocation.created.after(session));
        if left.is_zero() {
            self.end(slot, "session limit");
            return Err(437);
        }
        let lifetime = lifetime(message).min(left);
        allocation.lifetime = lifetime;
        allocation.expires = tick.after(lifetime);
        // Only a shortened life needs a new entry; an older one looks at the new time anyway.
        if allocation.expires < allocation.wakes {
            allocation.wakes = allocation.expires;
            let deadline = (allocation.wakes, (slot, allocation.generation));
            self.deadlines.insert(deadline.0, deadline.1);
        }
        self.counters.refreshes += 1;
        self.succeed(to, |builder| {
            builder.lifetime(lifetime);
        });
        Ok(())
    }

    // RFC 8656 §8.2: of a dual allocation one half can be given back.
    fn end_family(&mut self, to: ReplyTo<'_>, slot: u32, family: AddressFamily) -> Outcome {
        let allocation = self.allocation_mut(slot).ok_or(437u16)?;
        let dual = allocation.v4.is_some() && allocation.v6.is_some();
        if dual {
            let relayed = allocation.relayed_mut(family).take();
            if let Some(relayed) = relayed {
                self.forget_port(relayed.lease.address(), relayed.lease.port());
            }
            let relay = relay_id(slot, family);
            self.commands.push_back(Command::Unbind { relay });
        } else {
            self.end(slot, "released");
        }
        self.succeed(to, |builder| {
            builder.lifetime(Duration::ZERO);
        });
        Ok(())
    }

    // RFC 8656 §10.2: all peers or none.
    fn handle_create_permission(
        &mut self,
        to: ReplyTo<'_>,
        user: &User,
        message: &Message<'_>,
        now: Instant,
    ) -> Outcome {
        let slot = self.own_slot(to.client, &user.name)?;
        let mut peers = Vec::new();
        for peer in message.peers() {
            let peer = peer.map_err(|_| 400u16)?;
            self.check_peer(slot, peer, |policy| policy.check_ip(peer.ip()).is_ok())?;
            peers.push(peer.ip());
        }
        if peers.is_empty() {
            return Err(400);
        }
        let (max, tick) = (self.settings.limits.permissions, self.epoch.tick(now));
        let allocation = self.allocation_mut(slot).ok_or(437u16)?;
        allocation
            .permit_all(&peers, max, tick)
            .map_err(|_| 508u16)?;
        self.counters.permissions_made += peers.len() as u64;
        self.open(slot);
        self.succeed(to, |_| {});
        Ok(())
    }

    // RFC 8656 §12.2.
    fn handle_channel_bind(
        &mut self,
        to: ReplyTo<'_>,
        user: &User,
        message: &Message<'_>,
        now: Instant,
    ) -> Outcome {
        let slot = self.own_slot(to.client, &user.name)?;
        let number = message.channel_number().ok_or(400u16)?;
        let peer = message.xor_peer_address().ok_or(400u16)?;
        self.check_peer(slot, peer, |policy| policy.check(peer).is_ok())?;
        let (limits, tick) = (self.settings.limits, self.epoch.tick(now));
        let generation = self.policy_generation;
        let max = TablesMax {
            permissions: limits.permissions,
            channels: limits.channels,
        };
        let allocation = self.allocation_mut(slot).ok_or(437u16)?;
        allocation
            .bind_channel(number, peer, generation, max, tick)
            .map_err(|error| match error {
                TableError::Conflict => 400u16,
                TableError::Full => 508,
            })?;
        self.counters.channels_bound += 1;
        self.open(slot);
        self.succeed(to, |_| {});
        Ok(())
    }

    /// Nothing that arrives at a relayed address counts before its first permission, so until then
    /// nobody waits for it: ICE makes allocations it never uses.
    fn open(&mut self, slot: u32) {
        for family in [AddressFamily::V4, AddressFamily::V6] {
            let allocation = self.allocation_mut(slot);
            let relayed = allocation.and_then(|one| one.relayed_mut(family).as_mut());
            if let Some(relayed) = relayed.filter(|one| !one.open) {
                relayed.open = true;
                let relay = relay_id(slot, family);
                self.commands.push_back(Command::Open { relay });
            }
        }
    }

    // RFC 8656 §11.2: an indication is not answered, whatever is wrong with it.
    pub(super) fn handle_send(
        &mut self,
        from: Client,
        message: &Message<'_>,
        now: Instant,
    ) -> Forward {
        let (Some(peer), Some(data)) = (message.xor_peer_address(), message.data()) else {
            return self.dropped(Drop::Malformed);
        };
        if message.unknown_required(&KNOWN).next().is_some() {
            return self.dropped(Drop::Malformed);
        }
        let Some(&slot) = self.slots_by_client.get(&from) else {
            return self.dropped(Drop::NoAllocation);
        };
        let tick = self.epoch.tick(now);
        let permitted = self
            .allocation(slot)
            .is_some_and(|allocation| allocation.permits(peer.ip(), tick));
        if !permitted {
            return self.dropped(Drop::NoPermission);
        }
        if self.policy.check(peer).is_err() {
            return self.dropped(Drop::Policy);
        }
        let fragment = match message.has(Attribute::DONT_FRAGMENT) {
            true => Fragment::Forbidden,
            false => Fragment::Allowed,
        };
        let start = data.as_ptr() as usize - message.bytes().as_ptr() as usize;
        self.forward(slot, peer, start..start + data.len(), fragment, now)
    }

    /// The slot of this client's allocation, if it is this user's.
    fn own_slot(&self, client: Client, name: &Name) -> Result<u32, u16> {
        let slot = *self.slots_by_client.get(&client).ok_or(437u16)?;
        let allocation = self.allocation(slot).ok_or(437u16)?;
        // RFC 8656 §5: all requests of one allocation use one username.
        if allocation.user.name != *name {
            return Err(441);
        }
        Ok(slot)
    }

    fn check_peer(
        &self,
        slot: u32,
        peer: SocketAddr,
        passes: impl Fn(&crate::policy::Policy) -> bool,
    ) -> Outcome {
        let allocation = self.allocation(slot).ok_or(437u16)?;
        let allowed = passes(&self.policy) && allocation.user.peers.allows(peer.ip());
        if !allowed {
            return Err(403);
        }
        let family = AddressFamily::of(peer.ip());
        allocation.relayed(family).map(|_| ()).ok_or(443)
    }
}

/// What the client gets when it asks for a lifetime (RFC 8656 §7.2, §8.2).
pub(super) fn lifetime(message: &Message<'_>) -> Duration {
    let wish = message.lifetime().unwrap_or(LIFETIME_DEFAULT);
    wish.clamp(LIFETIME_DEFAULT, LIFETIME_MAX)
}
