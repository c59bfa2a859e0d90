//! What a member may do.

use serde::{Deserialize, Serialize};

/// From the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Connects to the desktops of the workspace.
    Member,
    /// Also invites, unlocks and removes members, makes and deletes desktops, reads the audit log.
    Admin,
    /// Also makes owners and unmakes them. There is always one.
    Owner,
}

impl MemberRole {
    pub fn may_administer(self) -> bool {
        self >= Self::Admin
    }

    /// Whether a member of this role may give, take or touch `other`: nobody above oneself.
    pub fn may_change(self, other: Self) -> bool {
        self.may_administer() && self >= other
    }
}

#[cfg(test)]
mod tests {
    use super::MemberRole::{Admin, Member, Owner};

    #[test]
    fn nobody_touches_a_role_above_their_own() {
        assert!(Owner.may_change(Owner) && Admin.may_change(Admin) && Admin.may_change(Member));
        assert!(!Admin.may_change(Owner) && !Member.may_change(Member));
    }
}
