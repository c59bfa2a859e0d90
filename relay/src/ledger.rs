//! What all servers of one process share, because a limit is worth nothing if it holds per thread:
//! relayed ports and their owners, quotas, port reservations, revoked sessions.
//!
//! Locked when an allocation begins or ends, never per packet. A quota and its ports are returned
//! when their [`Lease`] is dropped, so that they cannot be given back while the allocation lives.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use subtle::ConstantTimeEq;

use crate::deadlines::Tick;
use crate::endpoint::RelayPort;
use crate::owners::{Member, Owners};

/// A port rests for so long before its next use: packets meant for the last owner die out.
pub const PORT_COOLING: Duration = Duration::from_secs(20);
/// RFC 8656 §7.2: a reserved port is held for at least 30 seconds.
pub const RESERVATION_TTL: Duration = Duration::from_secs(30);
/// Sessions that stay revoked; when full the oldest is forgotten (its credential is about to lapse).
const REVOKED_MAX: usize = 65_536;

/// How much anybody may hold at the same time. 0 allows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    pub allocations: usize,
    pub allocations_per_user: usize,
    pub allocations_per_address: usize,
}

/// The shared book. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    book: Mutex<Book>,
    owners: Owners,
}

struct Book {
    quotas: Quotas,
    /// Servers that joined.
    members: usize,
    allocations: usize,
    by_user: HashMap<Arc<str>, usize>,
    by_address: HashMap<IpAddr, usize>,
    /// One pool per relayed address, in the order of the configuration.
    pools: Vec<Pool>,
    reservations: VecDeque<Reservation>,
    revoked: VecDeque<Arc<str>>,
    rng: StdRng,
    clock: Tick,
}

/// Why an allocation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This user or this address holds as much as it may: 486.
    Quota,
    /// The relay is full, or no port is left: 508.
    Capacity,
}

struct Reservation {
    token: [u8; 8],
    address: usize,
    port: RelayPort,
    expires: Tick,
}

impl Ledger {
    /// `addresses` is the number of relayed addresses; each has the whole range of ports.
    pub fn new(
        quotas: Quotas,
        addresses: usize,
        ports: RangeInclusive<u16>,
        seed: [u8; 32],
    ) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let pools = (0..addresses)
            .map(|_| Pool::new(ports.clone(), &mut rng))
            .collect();
        let book = Mutex::new(Book {
            quotas,
            members: 0,
            allocations: 0,
            by_user: HashMap::new(),
            by_address: HashMap::new(),
            pools,
            reservations: VecDeque::new(),
            revoked: VecDeque::new(),
            rng,
            clock: Tick::default(),
        });
        let owners = Owners::new(addresses);
        Self(Arc::new(Shared { book, owners }))
    }

    /// Names one more server that shares this book.
    pub(crate) fn join(&self) -> Option<Member> {
        let mut book = self.book();
        book.members += 1;
        Member::nth(book.members - 1)
    }

    pub(crate) fn owners(&self) -> &Owners {
        &self.0.owners
    }

    pub fn set_quotas(&self, quotas: Quotas) {
        self.book().quotas = quotas;
    }

    /// Counts one allocation for this user and address until the lease is dropped.
    ///
    /// # Errors
    ///
    /// [`Refused`] with the limit that is reached.
    pub fn admit(&self, user: &Arc<str>, address: IpAddr) -> Result<Lease, Refused> {
        let mut book = self.book();
        if book.allocations >= book.quotas.allocations {
            return Err(Refused::Capacity);
        }
        let of_user = book.by_user.get(user).copied().unwrap_or(0);
        let of_address = book.by_address.get(&address).copied().unwrap_or(0);
        if of_user >= book.quotas.allocations_per_user
            || of_address >= book.quotas.allocations_per_address
        {
            return Err(Refused::Quota);
        }
        book.allocations += 1;
        book.by_user.insert(user.clone(), of_user + 1);
        book.by_address.insert(address, of_address + 1);
        Ok(Lease {
            ledger: self.clone(),
            user: user.clone(),
            address,
        })
    }

    /// Takes a random free port of one relayed address.
    pub fn take_port(&self, address: usize, now: Tick) -> Option<PortLease> {
        let mut book = self.book();
        book.advance(now);
        let port = book.pools.get_mut(address)?.take()?;
        Some(self.lease(address, port))
    }

    /// Takes a random free even port, and with `reserve` also holds the next one for 30 s.
    ///
    /// coturn 4adbd82e: without `reserve` nothing else is held, or the pool would run dry.
    pub fn take_even_port(
        &self,
        address: usize,
        reserve: Reserve,
        now: Tick,
    ) -> Option<(PortLease, Option<[u8; 8]>)> {
        let mut book = self.book();
        book.advance(now);
        let pool = book.pools.get_mut(address)?;
        let port = pool.take_even(reserve)?;
        let token = (reserve == Reserve::NextPort).then(|| {
            let token: [u8; 8] = book.rng.random();
            book.reservations.push_back(Reservation {
                token,
                address,
                port: RelayPort(port.0 + 1),
                expires: now.after(RESERVATION_TTL),
            });
            token
        });
        Some((self.lease(address, port), token))
    }

    /// Takes the port behind a reservation token; a token works once.
    pub fn redeem(&self, token: [u8; 8], now: Tick) -> Option<PortLease> {
        let mut book = self.book();
        book.advance(now);
        let at = book
            .reservations
            .iter()
            .position(|held| held.token.ct_eq(&token).into())?;
        let held = book.reservations.remove(at)?;
        Some(self.lease(held.address, held.port))
    }

    /// Refuses a session's credential from now on.
    pub fn revoke(&self, session: &str) {
        let mut book = self.book();
        if book.revoked.len() >= REVOKED_MAX {
            book.revoked.pop_front();
        }
        book.revoked.push_back(session.into());
    }

    pub fn is_revoked(&self, session: &str) -> bool {
        self.book().revoked.iter().any(|gone| **gone == *session)
    }

    /// Allocations alive in the whole process.
    pub fn allocations(&self) -> usize {
        self.book().allocations
    }

    fn lease(&self, address: usize, port: RelayPort) -> PortLease {
        PortLease {
            ledger: self.clone(),
            address,
            port,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic elsewhere leaves counters that are at worst stale: better than no relay.
        self.0
            .book
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Book {
    fn advance(&mut self, now: Tick) {
        self.clock = self.clock.max(now);
        while self
            .reservations
            .front()
            .is_some_and(|held| held.expires <= now)
        {
            if let Some(held) = self.reservations.pop_front()
                && let Some(pool) = self.pools.get_mut(held.address)
            {
                pool.release(held.port, now);
            }
        }
        for pool in &mut self.pools {
            pool.warm_up(now);
        }
    }
}

/// Whether EVEN-PORT asked for the next port too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    Nothing,
    NextPort,
}

/// One allocation's place in the quotas.
pub struct Lease {
    ledger: Ledger,
    user: Arc<str>,
    address: IpAddr,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut book = self.ledger.book();
        book.allocations = book.allocations.saturating_sub(1);
        release_one(&mut book.by_user, &self.user);
        release_one(&mut book.by_address, &self.address);
    }
}

fn release_one<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// One relayed port in use; it cools down when this is dropped.
pub struct PortLease {
    ledger: Ledger,
    address: usize,
    port: RelayPort,
}

impl PortLease {
    pub fn port(&self) -> RelayPort {
        self.port
    }

    /// Index of the relayed address in the configuration.
    pub fn address(&self) -> usize {
        self.address
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let mut book = self.ledger.book();
        let clock = book.clock;
        if let Some(pool) = book.pools.get_mut(self.address) {
            pool.release(self.port, clock);
        }
    }
}

/// The free ports of one address: a shuffled stack, so that the next one cannot be guessed
/// (CVE-2025-69217) and taking it is O(1).
struct Pool {
    free: Vec<u16>,
    cooling: VecDeque<(Tick, u16)>,
    rng: StdRng,
}

impl Pool {
    fn new(ports: RangeInclusive<u16>, rng: &mut StdRng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self {
            free: ports.collect(),
            cooling: VecDeque::new(),
            rng: StdRng::from_seed(seed),
        }
    }

    fn take(&mut self) -> Option<RelayPort> {
        if self.free.is_empty() {
            return None;
        }
        let at = self.rng.random_range(0..self.free.len());
        Some(RelayPort(self.free.swap_remove(at)))
    }

    // O(ports); EVEN-PORT is asked for by hardly anybody.
    fn take_even(&mut self, reserve: Reserve) -> Option<RelayPort> {
        let even = self.find_even(reserve).or_else(|| {
            // Better an early reuse than a 508, as in `warm_up`.
            let rested = self.cooling.drain(..).map(|(_, port)| port);
            self.free.extend(rested);
            self.find_even(reserve)
        })?;
        let odd = even | 1;
        self.free
            .retain(|port| *port != even && (reserve == Reserve::Nothing || *port != odd));
        Some(RelayPort(even))
    }

    fn find_even(&mut self, reserve: Reserve) -> Option<u16> {
        let start = self.rng.random_range(0..self.free.len().max(1));
        let mut rotated = self.free.iter().cycle().skip(start).take(self.free.len());
        let even = rotated.find(|port| {
            let next_too = reserve == Reserve::Nothing || self.free.contains(&(**port | 1));
            port.is_multiple_of(2) && next_too
        });
        even.copied()
    }

    fn release(&mut self, port: RelayPort, now: Tick) {
        self.cooling.push_back((now.after(PORT_COOLING), port.0));
        // A small range must not run dry because its ports rest.
        if self.free.is_empty()
            && let Some((_, port)) = self.cooling.pop_front()
        {
            self.free.push(port);
        }
    }

    fn warm_up(&mut self, now: Tick) {
        while let Some((at, port)) = self.cooling.front().copied() {
            // Under pressure a port rests less: better an early reuse than a 508.
            let plenty = self.free.len() >= self.cooling.len();
            if at > now && plenty {
                break;
            }
            self.cooling.pop_front();
            self.free.push(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_held_exactly_as_long_as_its_lease() {
        let ledger = ledger(50000..=50009, 1);
        let user: Arc<str> = "alice".into();
        let lease = ledger.admit(&user, IP).ok().unwrap();
        assert_eq!(ledger.admit(&user, IP).err(), Some(Refused::Quota));
        drop(lease);
        assert!(ledger.admit(&user, IP).is_ok());
    }

    #[test]
    fn every_port_of_the_range_is_given_out_once_and_in_no_order() {
        let ledger = ledger(50000..=50099, 10);
        let leases: Vec<_> = std::iter::from_fn(|| ledger.take_port(0, Tick(0))).collect();
        let ports: Vec<u16> = leases.iter().map(|lease| lease.port().0).collect();
        let mut sorted = ports.clone();
        sorted.sort_unstable();
        assert_ne!(ports, sorted);
        assert_eq!(sorted, (50000..=50099).collect::<Vec<_>>());
    }

    #[test]
    fn a_port_rests_before_its_next_use_unless_no_other_is_left() {
        let ledger = ledger(50000..=50001, 10);
        let first = ledger.take_port(0, Tick(0)).unwrap().port();
        let second = ledger.take_port(0, Tick(0)).unwrap();
        assert_ne!(second.port(), first);
        assert_eq!(ledger.take_port(0, Tick(0)).unwrap().port(), first);
    }

    #[test]
    fn a_reservation_is_redeemed_once_with_the_next_higher_port() {
        let ledger = ledger(50000..=50009, 10);
        let (even, token) = ledger
            .take_even_port(0, Reserve::NextPort, Tick(0))
            .unwrap();
        assert_eq!(even.port().0 % 2, 0);
        let odd = ledger.redeem(token.unwrap(), Tick(1)).unwrap();
        assert_eq!(odd.port().0, even.port().0 + 1);
        assert!(ledger.redeem(token.unwrap(), Tick(1)).is_none());
    }

    // coturn 4adbd82e: EVEN-PORT with R=0 leaked the odd port until the pool was empty.
    #[test]
    fn even_port_without_reservation_takes_one_port_only() {
        let ledger = ledger(50000..=50009, 10);
        let evens: Vec<_> =
            std::iter::from_fn(|| ledger.take_even_port(0, Reserve::Nothing, Tick(0))).collect();
        assert_eq!(evens.len(), 5);
        let odds: Vec<_> = std::iter::from_fn(|| ledger.take_port(0, Tick(0))).collect();
        assert_eq!(odds.len(), 5);
    }

    #[test]
    fn a_reservation_nobody_redeems_returns_its_port() {
        let ledger = ledger(50000..=50001, 10);
        let held = ledger
            .take_even_port(0, Reserve::NextPort, Tick(0))
            .unwrap();
        assert!(ledger.take_port(0, Tick(1)).is_none());
        drop(held);
        let late = Tick(0).after(RESERVATION_TTL + PORT_COOLING);
        assert!(ledger.take_port(0, late).is_some());
        assert!(ledger.redeem(held_token(), late).is_none());
    }

    fn held_token() -> [u8; 8] {
        [0; 8]
    }

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn ledger(ports: RangeInclusive<u16>, per_user: usize) -> Ledger {
        let quotas = Quotas {
            allocations: 100,
            allocations_per_user: per_user,
            allocations_per_address: 100,
        };
        Ledger::new(quotas, 1, ports, [3; 32])
    }
}
