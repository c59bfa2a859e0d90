//! Connect tickets that were spent, remembered until they would have expired anyway.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use protocol::id::SessionId;
use protocol::token::CLOCK_SKEW;

/// Tickets remembered; above it no session is opened (`TOO_MANY`). At 60 s each that is 1,600
/// openings a second.
pub const TICKETS_MAX: usize = 100_000;

/// The spent tickets.
#[derive(Debug, Default)]
pub struct SpentTickets {
    tickets: HashSet<SessionId>,
    /// In order of expiry, Unix seconds.
    expiries: BTreeSet<(u64, SessionId)>,
}

impl SpentTickets {
    pub fn is_spent(&self, ticket: SessionId) -> bool {
        self.tickets.contains(&ticket)
    }

    pub fn is_full(&self) -> bool {
        self.tickets.len() >= TICKETS_MAX
    }

    pub fn spend(&mut self, ticket: SessionId, expires_unix: u64) {
        self.tickets.insert(ticket);
        self.expiries.insert((expires_unix, ticket));
    }

    /// Forgets what no verifier would accept any more; returns the moment if anything went.
    pub fn forget(&mut self, unix_now: Duration) -> Option<u64> {
        // One second more than the verifier allows, so that no ticket is both forgotten and valid.
        let before = unix_now.as_secs().saturating_sub(CLOCK_SKEW.as_secs() + 1);
        let mut forgot = None;
        while let Some(&(expires, ticket)) = self.expiries.first()
            && expires < before
        {
            self.expiries.remove(&(expires, ticket));
            self.tickets.remove(&ticket);
            forgot = Some(before);
        }
        forgot
    }
}

#[cfg(test)]
mod tests {
    use protocol::token::TICKET_TTL;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_ticket_is_remembered_for_as_long_as_it_could_be_valid() {
        let ticket = SessionId::from_uuid(Uuid::from_u128(1));
        let mut spent = SpentTickets::default();
        let made = Duration::from_secs(1_000);
        let expires = (made + TICKET_TTL).as_secs();
        spent.spend(ticket, expires);

        let last_valid = Duration::from_secs(expires) + CLOCK_SKEW;
        assert_eq!(spent.forget(last_valid), None);
        assert!(spent.is_spent(ticket));

        assert!(spent.forget(last_valid + Duration::from_secs(2)).is_some());
        assert!(!spent.is_spent(ticket));
    }
}
