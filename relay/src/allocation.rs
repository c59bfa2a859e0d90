//! One allocation: its relayed addresses, permissions and channels, and when each of them ends.
//!
//! The tables are small vectors searched from the front: nearly every allocation has one or two
//! entries, and the limits keep the worst case at a few cache lines. Expired entries are passed
//! over when read and overwritten when room is needed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use protocol::turn::channel::ChannelNumber;
use protocol::turn::message::{AddressFamily, TransactionId};

use crate::auth::User;
use crate::deadlines::Tick;
use crate::endpoint::Client;
use crate::ledger::{Lease, PortLease};
use crate::limits::ByteBudget;
use crate::metrics::Traffic;

/// RFC 8656 §9.
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// RFC 8656 §12.
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// RFC 8656 §12: an unbound number or peer is not paired anew for five minutes.
pub const CHANNEL_COOLING: Duration = Duration::from_secs(300);

/// A relayed transport address and the port it stands on.
pub struct Relayed {
    pub lease: PortLease,
    /// What the world sees.
    pub public: SocketAddr,
    /// What the shell binds.
    pub bind: IpAddr,
    pub bound: bool,
    /// Somebody is, or was, permitted to send to it.
    pub open: bool,
}

/// One client's use of the relay.
pub struct Allocation {
    pub client: Client,
    pub user: User,
    /// Tells this allocation from the last one in the same slot.
    pub generation: u32,
    /// The request that made it: the same request again gets the same answer.
    pub transaction: TransactionId,
    pub answer_sha256: bool,
    pub reservation: Option<[u8; 8]>,
    pub v4: Option<Relayed>,
    pub v6: Option<Relayed>,
    /// The second family was asked for and could not be had.
    pub additional_failed: bool,
    pub created: Tick,
    pub expires: Tick,
    /// When its entry among the deadlines comes up; never later than `expires`.
    pub wakes: Tick,
    pub lifetime: Duration,
    pub budget: ByteBudget,
    pub sent: Traffic,
    pub received: Traffic,
    pub bind_attempts: u8,
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
    /// Held until the allocation is dropped.
    pub lease: Lease,
}

struct Permission {
    peer: IpAddr,
    expires: Tick,
}

/// A bound channel.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    pub number: ChannelNumber,
    pub peer: SocketAddr,
    pub expires: Tick,
    /// The policy that let this peer through; a newer one is asked again.
    pub policy_generation: u32,
}

/// Why a permission or a channel was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Number and peer are each free, or bound to each other: anything else is 400.
    Conflict,
    /// As many as one allocation may have: 508.
    Full,
}

/// How many of each one allocation may have.
#[derive(Clone, Copy, Debug)]
pub struct TablesMax {
    pub permissions: usize,
    pub channels: usize,
}

/// What makes an [`Allocation`].
pub struct NewAllocation {
    pub client: Client,
    pub user: User,
    pub generation: u32,
    pub transaction: TransactionId,
    pub answer_sha256: bool,
    pub lifetime: Duration,
    pub budget: ByteBudget,
    pub lease: Lease,
    pub created: Tick,
}

impl Allocation {
    pub fn new(new: NewAllocation) -> Self {
        Self {
            client: new.client,
            user: new.user,
            generation: new.generation,
            transaction: new.transaction,
            answer_sha256: new.answer_sha256,
            reservation: None,
            v4: None,
            v6: None,
            additional_failed: false,
            created: new.created,
            expires: new.created.after(new.lifetime),
            wakes: new.created.after(new.lifetime),
            lifetime: new.lifetime,
            budget: new.budget,
            sent: Traffic::default(),
            received: Traffic::default(),
            bind_attempts: 0,
            permissions: Vec::new(),
            channels: Vec::new(),
            lease: new.lease,
        }
    }

    pub fn relayed(&self, family: AddressFamily) -> Option<&Relayed> {
        match family {
            AddressFamily::V4 => self.v4.as_ref(),
            AddressFamily::V6 => self.v6.as_ref(),
        }
    }

    pub fn relayed_mut(&mut self, family: AddressFamily) -> &mut Option<Relayed> {
        match family {
            AddressFamily::V4 => &mut self.v4,
            AddressFamily::V6 => &mut self.v6,
        }
    }

    pub fn is_ready(&self) -> bool {
        let bound = |relayed: &Option<Relayed>| relayed.as_ref().is_none_or(|one| one.bound);
        bound(&self.v4) && bound(&self.v6)
    }

    pub fn permits(&self, peer: IpAddr, now: Tick) -> bool {
        let found = self.permissions.iter().find(|entry| entry.peer == peer);
        found.is_some_and(|entry| now < entry.expires)
    }

    /// Peers with a live permission.
    pub fn permitted(&self, now: Tick) -> impl Iterator<Item = IpAddr> + '_ {
        let live = self
            .permissions
            .iter()
            .filter(move |entry| now < entry.expires);
        live.map(|entry| entry.peer)
    }

    /// Makes or renews a permission.
    ///
    /// # Errors
    ///
    /// [`TableError::Full`] if `max` other permissions are alive.
    pub fn permit(&mut self, peer: IpAddr, max: usize, now: Tick) -> Result<(), TableError> {
        let expires = now.after(PERMISSION_LIFETIME);
        if let Some(known) = self.permissions.iter_mut().find(|entry| entry.peer == peer) {
            known.expires = expires;
            return Ok(());
        }
        let entry = Permission { peer, expires };
        if self.permissions.len() >= max {
            self.permissions.retain(|entry| now < entry.expires);
        }
        if self.permissions.len() >= max {
            return Err(TableError::Full);
        }
        self.permissions.push(entry);
        Ok(())
    }

    /// Ends what a new policy no longer lets through.
    pub fn retain_permitted(&mut self, allowed: impl Fn(IpAddr) -> bool) {
        self.permissions.retain(|entry| allowed(entry.peer));
        self.channels.retain(|entry| allowed(entry.peer.ip()));
    }

    pub fn channel(&mut self, number: ChannelNumber, now: Tick) -> Option<&mut Channel> {
        let mut entries = self.channels.iter_mut();
        entries.find(|entry| entry.number == number && now < entry.expires)
    }

    /// The channel bound to a peer.
    pub fn channel_to(&self, peer: SocketAddr, now: Tick) -> Option<ChannelNumber> {
        let found = self.channels.iter().find(|entry| entry.peer == peer)?;
        (now < found.expires).then_some(found.number)
    }

    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Makes or renews the permissions of all these peers, or of none (RFC 8656 §10.2).
    ///
    /// # Errors
    ///
    /// [`TableError::Full`] if with those that are alive they are more than `max`.
    pub fn permit_all(
        &mut self,
        peers: &[IpAddr],
        max: usize,
        now: Tick,
    ) -> Result<(), TableError> {
        let known = |peer: &IpAddr| self.permits(*peer, now);
        let mut new: Vec<IpAddr> = peers.iter().copied().filter(|it| !known(it)).collect();
        new.sort_unstable();
        new.dedup();
        if self.permitted(now).count() + new.len() > max {
            return Err(TableError::Full);
        }
        peers
            .iter()
            .try_for_each(|peer| self.permit(*peer, max, now))
    }

    /// Binds a channel or renews the binding, and permits its peer; or neither.
    ///
    /// # Errors
    ///
    /// [`TableError`] as RFC 8656 §12.2 says.
    pub fn bind_channel(
        &mut self,
        number: ChannelNumber,
        peer: SocketAddr,
        policy_generation: u32,
        max: TablesMax,
        now: Tick,
    ) -> Result<(), TableError> {
        self.channels
            .retain(|entry| now < entry.expires.after(CHANNEL_COOLING));
        let wanted = Channel {
            number,
            peer,
            expires: now.after(CHANNEL_LIFETIME),
            policy_generation,
        };
        let mut related = (0..)
            .zip(&self.channels)
            .filter(|(_, entry)| entry.number == number || entry.peer == peer);
        let known = match (related.next(), related.next()) {
            (Some((at, same)), None) if same.number == number && same.peer == peer => Some(at),
            (None, _) if self.channels.len() < max.channels => None,
            (None, _) => return Err(TableError::Full),
            _ => return Err(TableError::Conflict),
        };
        self.permit(peer.ip(), max.permissions, now)?;
        match known.and_then(|at: usize| self.channels.get_mut(at)) {
            Some(entry) => *entry = wanted,
            None => self.channels.push(wanted),
        }
        Ok(())
    }
}
