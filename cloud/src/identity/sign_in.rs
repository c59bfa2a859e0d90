//! One browser or device of one member: an opaque handle of 256 bits, kept as a hash, that ends after
//! inactivity, after an absolute time, or when somebody ends it. A browser shows it as a cookie, a
//! device as a token with a proof of its key; the one is worth nothing as the other.
//!
//! A handle rotates. Its successor is the hash of a salt that only the database knows and the old
//! handle that only the browser knows: so a lost answer is answered again with the same successor
//! for [`GRACE`], and no two requests at once make two successors. An old handle shown later is a
//! stolen one, and the sign-in ends.

use std::time::Duration;

use protocol::Secret;
use protocol::proof::Thumbprint;
use sha2::{Digest, Sha256};
use signalling::instances::hash;
use subtle::ConstantTimeEq;

use super::device::{self, Device};
use super::{Email, MemberRole, WorkspaceId};
use crate::access::secret_from;

/// Without a request for so long, a browser's sign-in ends.
pub const IDLE_MAX: Duration = Duration::from_secs(12 * 3600);
/// However busy, a sign-in ends after so long.
pub const AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// A lost answer to a rotation is answered again for so long.
pub const GRACE: Duration = Duration::from_secs(30);

/// A handle as the database knows it.
pub type HandleHash = [u8; 32];

/// What is stored about a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    pub id: String,
    pub workspace: WorkspaceId,
    pub account: String,
    pub email: Email,
    pub role: MemberRole,
    pub handle_hash: HandleHash,
    /// The handle before, and what made its successor.
    pub previous: Option<Previous>,
    pub created_unix: u64,
    pub used_unix: u64,
    pub ended: bool,
    /// What the browser or program calls itself.
    pub client: String,
    /// Of a device; a browser has none.
    pub device: Option<Device>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    pub handle_hash: HandleHash,
    pub salt: [u8; 32],
    pub rotated_unix: u64,
}

/// What a handle is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Current,
    /// Rotated moments ago: an answer was lost, or two requests crossed.
    JustRotated,
    /// Rotated long ago: two parties hold this sign-in, so it ends.
    Replayed,
    /// Ended, expired or never there.
    Nothing,
}

impl SignIn {
    /// The key without whose proof the handle is worth nothing.
    pub fn key(&self) -> Option<Thumbprint> {
        self.device.as_ref().map(|device| device.key)
    }

    pub fn judge(&self, handle: &HandleHash, unix_now: Duration) -> Verdict {
        let now = unix_now.as_secs();
        let idle_max = match self.device {
            Some(_) => device::IDLE_MAX,
            None => IDLE_MAX,
        };
        let idle = now.saturating_sub(self.used_unix) >= idle_max.as_secs();
        let old = now.saturating_sub(self.created_unix) >= AGE_MAX.as_secs();
        if self.ended || idle || old {
            return Verdict::Nothing;
        }
        if is_same(&self.handle_hash, handle) {
            return Verdict::Current;
        }
        match self.previous {
            Some(previous) if is_same(&previous.handle_hash, handle) => {
                if now.abs_diff(previous.rotated_unix) <= GRACE.as_secs() {
                    Verdict::JustRotated
                } else if now < previous.rotated_unix {
                    // The clock went back: nobody can tell when this was, so it opens nothing and
                    // ends nothing.
                    Verdict::Nothing
                } else {
                    Verdict::Replayed
                }
            }
            _ => Verdict::Nothing,
        }
    }
}

/// The successor of a handle, the same for the same salt.
pub fn successor(handle: &Secret, salt: &[u8; 32]) -> Secret {
    let digest = Sha256::new()
        .chain_update(salt)
        .chain_update(handle.expose().as_bytes())
        .finalize();
    secret_from(digest.into())
}

/// Takes the same time wherever they differ.
pub fn is_same(one: &HandleHash, other: &HandleHash) -> bool {
    one.ct_eq(other).into()
}

pub fn hash_of(handle: &Secret) -> HandleHash {
    hash(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in() -> SignIn {
        SignIn {
            id: "s".into(),
            workspace: WorkspaceId::only(),
            account: "a".into(),
            email: Email::parse("ada@example.org").unwrap(),
            role: MemberRole::Member,
            handle_hash: [1; 32],
            previous: Some(Previous {
                handle_hash: [2; 32],
                salt: [3; 32],
                rotated_unix: 1_000,
            }),
            created_unix: 1_000,
            used_unix: 1_000,
            ended: false,
            client: String::new(),
            device: None,
        }
    }

    #[test]
    fn an_old_handle_is_good_for_thirty_seconds_and_then_a_sign_of_theft() {
        let at = |secs| sign_in().judge(&[2; 32], Duration::from_secs(secs));
        assert_eq!(at(1_030), Verdict::JustRotated);
        assert_eq!(at(1_031), Verdict::Replayed);
        let never = sign_in().judge(&[9; 32], Duration::from_secs(1_000));
        assert_eq!(never, Verdict::Nothing);
    }

    #[test]
    fn a_sign_in_ends_to_the_second_by_idleness_and_by_age() {
        let idle_end = 1_000 + IDLE_MAX.as_secs();
        let at = |sign_in: SignIn, secs| sign_in.judge(&[1; 32], Duration::from_secs(secs));
        assert_eq!(at(sign_in(), idle_end - 1), Verdict::Current);
        assert_eq!(at(sign_in(), idle_end), Verdict::Nothing);
        let age_end = 1_000 + AGE_MAX.as_secs();
        let busy = SignIn {
            used_unix: age_end - 1,
            ..sign_in()
        };
        assert_eq!(at(busy.clone(), age_end - 1), Verdict::Current);
        assert_eq!(at(busy, age_end), Verdict::Nothing);
    }

    #[test]
    fn a_device_may_rest_for_a_month_and_grows_no_older_than_a_browser() {
        let device = Device {
            name: device::DeviceName::parse("laptop").unwrap(),
            key: Thumbprint::from_bytes([4; 32]),
        };
        let device = SignIn {
            device: Some(device),
            ..sign_in()
        };
        let at = |sign_in: &SignIn, secs| sign_in.judge(&[1; 32], Duration::from_secs(secs));
        let idle_end = 1_000 + device::IDLE_MAX.as_secs();
        assert_eq!(at(&device, idle_end - 1), Verdict::Current);
        assert_eq!(at(&device, idle_end), Verdict::Nothing);
        let age_end = 1_000 + AGE_MAX.as_secs();
        let busy = SignIn {
            used_unix: age_end - 1,
            ..device
        };
        assert_eq!(at(&busy, age_end - 1), Verdict::Current);
        assert_eq!(at(&busy, age_end), Verdict::Nothing);
    }

    #[test]
    fn a_clock_that_jumps_ends_nothing_for_good_and_revives_nothing() {
        let hour = 3_600;
        let at = |handle, secs| sign_in().judge(&[handle; 32], Duration::from_secs(secs));
        // An hour back, before it began; and a day ahead, and right again.
        assert_eq!(at(1, 1_000_u64.saturating_sub(hour)), Verdict::Current);
        assert_eq!(at(1, 1_000 + 24 * hour), Verdict::Nothing);
        assert_eq!(at(1, 1_000 + hour), Verdict::Current);
        // The handle before it stays what it is: no successor is handed out for it again.
        let late = SignIn {
            previous: Some(Previous {
                handle_hash: [2; 32],
                salt: [3; 32],
                rotated_unix: 10_000,
            }),
            ..sign_in()
        };
        let then = Duration::from_secs(10_000 - hour);
        assert_eq!(late.judge(&[2; 32], then), Verdict::Nothing);
        assert_eq!(late.judge(&[1; 32], then), Verdict::Current);
    }

    #[test]
    fn a_lost_answer_is_answered_again_with_the_same_successor() {
        let handle = Secret::new("handle");
        assert_eq!(successor(&handle, &[1; 32]), successor(&handle, &[1; 32]));
        assert_ne!(successor(&handle, &[1; 32]), successor(&handle, &[2; 32]));
    }
}
