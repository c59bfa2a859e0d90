//! Sign-ins seen lately, so that a check seldom asks the database.
//!
//! Whoever ends or changes a sign-in forgets it here in the same breath; an entry is believed for
//! [`FRESH`] at most, in case somebody else changed the database.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::sign_in::{HandleHash, SignIn};

/// How long an entry is believed: revocation takes less than a second everywhere.
const FRESH: Duration = Duration::from_millis(900);
/// Entries, some 300 bytes each. When full, all are dropped: the database knows them.
const ENTRIES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct SignInCache {
    entries_by_handle: HashMap<HandleHash, (SignIn, Instant)>,
}

impl SignInCache {
    pub fn find(&self, handle: &HandleHash, now: Instant) -> Option<SignIn> {
        let (sign_in, at) = self.entries_by_handle.get(handle)?;
        (now.saturating_duration_since(*at) <= FRESH).then(|| sign_in.clone())
    }

    pub fn remember(&mut self, sign_in: SignIn, now: Instant) {
        if self.entries_by_handle.len() >= ENTRIES_MAX {
            self.entries_by_handle.clear();
        }
        self.entries_by_handle
            .insert(sign_in.handle_hash, (sign_in, now));
    }

    /// Something about this account changed.
    pub fn forget(&mut self, account: &str) {
        self.entries_by_handle
            .retain(|_, (sign_in, _)| sign_in.account != account);
    }
}
