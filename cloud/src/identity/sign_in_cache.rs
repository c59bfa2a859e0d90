//! Sign-ins seen lately, so that a check seldom asks the database, and who is signed in and busy
//! never waits for it.
//!
//! Whoever ends or changes a sign-in forgets it here in the same breath. Somebody else may have
//! changed the database, so what was read is believed for [`FRESH`] at most, counted from before it
//! was asked for, however often it is used.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::sign_in::{HandleHash, SignIn};

/// How long an entry is believed: revocation takes less than a second everywhere.
const FRESH: Duration = Duration::from_millis(900);
/// An entry that is used at this age is read again while it is still believed.
const DUE: Duration = Duration::from_millis(450);
/// Entries, some 300 bytes each. When full, all are dropped: the database knows them.
const ENTRIES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct SignInCache {
    entries_by_handle: HashMap<HandleHash, Entry>,
    /// Of what was forgotten: what was asked for earlier may be older than that.
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    sign_in: SignIn,
    asked_at: Instant,
    is_being_read: bool,
}

/// The moment at which the database is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    at: Instant,
    changes: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    Fresh(SignIn),
    /// Believed, and to be read again; said to one caller only.
    Due(SignIn),
}

impl SignInCache {
    pub fn find(&mut self, handle: &HandleHash, now: Instant) -> Option<Seen> {
        let entry = self.entries_by_handle.get_mut(handle)?;
        let age = now.saturating_duration_since(entry.asked_at);
        if age > FRESH {
            return None;
        }
        let sign_in = entry.sign_in.clone();
        if age < DUE || std::mem::replace(&mut entry.is_being_read, true) {
            return Some(Seen::Fresh(sign_in));
        }
        Some(Seen::Due(sign_in))
    }

    /// To be called before the database is asked.
    pub fn ask(&self, now: Instant) -> Asked {
        Asked {
            at: now,
            changes: self.changes,
        }
    }

    /// What the database said; nothing is remembered if anything was forgotten meanwhile.
    pub fn remember(&mut self, sign_in: SignIn, asked: Asked) {
        if asked.changes != self.changes {
            return;
        }
        if self.entries_by_handle.len() >= ENTRIES_MAX {
            self.entries_by_handle.clear();
        }
        let entry = Entry {
            asked_at: asked.at,
            is_being_read: false,
            sign_in,
        };
        self.entries_by_handle
            .insert(entry.sign_in.handle_hash, entry);
    }

    /// The database knows it no more.
    pub fn forget_handle(&mut self, handle: &HandleHash) {
        self.changes += 1;
        self.entries_by_handle.remove(handle);
    }

    /// Something about this account changed.
    pub fn forget(&mut self, account: &str) {
        self.changes += 1;
        self.entries_by_handle
            .retain(|_, entry| entry.sign_in.account != account);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts somewhere")]
mod tests {
    use super::*;
    use crate::identity::{Email, MemberRole, WorkspaceId};

    const HANDLE: HandleHash = [7; 32];

    fn sign_in() -> SignIn {
        SignIn {
            id: "one".into(),
            workspace: WorkspaceId::parse("acme").unwrap(),
            account: "ada".into(),
            email: Email::parse("ada@example.org").unwrap(),
            role: MemberRole::Member,
            handle_hash: HANDLE,
            previous: None,
            created_unix: 1,
            used_unix: 1,
            ended: false,
            client: String::new(),
            device: None,
        }
    }

    fn remembering(now: Instant) -> SignInCache {
        let mut cache = SignInCache::default();
        let asked = cache.ask(now);
        cache.remember(sign_in(), asked);
        cache
    }

    #[test]
    fn use_does_not_make_an_entry_younger() {
        let now = Instant::now();
        let mut cache = remembering(now);
        for tenth in 0..=9 {
            let at = now + Duration::from_millis(100) * tenth;
            assert!(cache.find(&HANDLE, at).is_some(), "{tenth}");
        }
        assert_eq!(cache.find(&HANDLE, now + Duration::from_millis(901)), None);
    }

    #[test]
    fn one_of_many_callers_reads_an_entry_again() {
        let now = Instant::now();
        let mut cache = remembering(now);
        assert_eq!(cache.find(&HANDLE, now), Some(Seen::Fresh(sign_in())));
        let later = now + DUE;
        assert_eq!(cache.find(&HANDLE, later), Some(Seen::Due(sign_in())));
        assert_eq!(cache.find(&HANDLE, later), Some(Seen::Fresh(sign_in())));
        let asked = cache.ask(later);
        cache.remember(sign_in(), asked);
        let end = later + FRESH;
        assert_eq!(cache.find(&HANDLE, end), Some(Seen::Due(sign_in())));
    }

    #[test]
    fn what_was_asked_before_a_change_is_not_remembered_after_it() {
        let now = Instant::now();
        let mut cache = SignInCache::default();
        let asked = cache.ask(now);
        cache.forget("ada");
        cache.remember(sign_in(), asked);
        assert_eq!(cache.find(&HANDLE, now), None);
    }
}
