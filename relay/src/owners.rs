//! Which server of the process owns each relayed port: asked for every packet, without a lock.
//!
//! Written when a relayed address is bound and when its allocation ends. Who reads a moment too
//! late hands a packet to a server that does not know the port any more, which drops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::endpoint::RelayPort;

const PORTS: usize = 1 << 16;
const NOBODY: u8 = 0;

/// One server among those that share a [`crate::ledger::Ledger`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member(u8);

impl Member {
    /// From the order in which servers were made. Past 255 there is no name: what is sent to such a
    /// server's ports takes the way through the kernel, which is longer and works.
    pub(crate) fn nth(index: usize) -> Option<Self> {
        let name = u8::try_from(index + 1).ok()?;
        Some(Self(name))
    }

    /// The order in which it was made.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// Shared by all servers of a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Owners(Arc<[Box<[AtomicU8]>]>);

impl Owners {
    /// For so many relayed addresses.
    pub(crate) fn new(addresses: usize) -> Self {
        let table = || (0..PORTS).map(|_| AtomicU8::new(NOBODY)).collect();
        Self((0..addresses).map(|_| table()).collect())
    }

    pub(crate) fn set(&self, address: usize, port: RelayPort, owner: Option<Member>) {
        if let Some(entry) = self.entry(address, port.0) {
            entry.store(owner.map_or(NOBODY, |member| member.0), Ordering::Relaxed);
        }
    }

    pub(crate) fn of(&self, address: usize, port: u16) -> Option<Member> {
        let name = self.entry(address, port)?.load(Ordering::Relaxed);
        (name != NOBODY).then_some(Member(name))
    }

    fn entry(&self, address: usize, port: u16) -> Option<&AtomicU8> {
        self.0.get(address)?.get(usize::from(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_one_owner_per_address_until_it_is_given_up() {
        let owners = Owners::new(2);
        let second = Member::nth(1);
        owners.set(0, RelayPort(65535), second);
        assert_eq!(owners.of(0, 65535), second);
        assert_eq!(owners.of(0, 65535).map(Member::index), Some(1));
        assert_eq!(owners.of(1, 65535), None);
        assert_eq!(owners.of(7, 65535), None);
        owners.set(0, RelayPort(65535), None);
        assert_eq!(owners.of(0, 65535), None);
    }

    #[test]
    fn there_are_255_names() {
        assert!(Member::nth(254).is_some());
        assert_eq!(Member::nth(255), None);
    }
}
