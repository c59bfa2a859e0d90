//! One attempt to sign in at another provider: begun in one browser, at one workspace, and finished
//! there within minutes, once. Whatever comes back without matching all of it is somebody else's.
//!
//! RFC 9700 §4.7: the state is bound to the browser by a cookie that its page cannot read.

use std::time::Duration;

use protocol::Secret;

use super::WorkspaceId;
use super::sign_in::{HandleHash, is_same};

/// Somebody who types a password and a second factor at the provider is done by then.
pub const LIFE: Duration = Duration::from_secs(600);

/// What is remembered between the way to the provider and the way back.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub workspace: WorkspaceId,
    /// The hash of the cookie of the browser it began in.
    pub browser: HandleHash,
    /// Must stand in the token.
    pub nonce: Secret,
    /// Proves to the provider that whoever redeems the code is who asked for it (RFC 7636).
    pub verifier: Secret,
    /// The account that wants to be linked; without it somebody signs in.
    pub account: Option<String>,
    pub expires_unix: u64,
}

/// Who brings an answer of the provider.
#[derive(Clone, Debug)]
pub struct Bringer<'a> {
    pub workspace: &'a WorkspaceId,
    pub browser: Option<HandleHash>,
    /// Signed in as this account.
    pub account: Option<&'a str>,
}

impl Attempt {
    /// Whether the answer belongs to this attempt and to whoever brings it.
    pub fn is_of(&self, bringer: &Bringer<'_>, unix_now: Duration) -> bool {
        let same_account = match &self.account {
            Some(account) => bringer.account == Some(account.as_str()),
            None => true,
        };
        self.expires_unix > unix_now.as_secs()
            && self.workspace == *bringer.workspace
            && bringer
                .browser
                .is_some_and(|browser| is_same(&browser, &self.browser))
            && same_account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_in_its_browser_at_its_workspace_in_time_and_for_its_account_only() {
        let home = WorkspaceId::only();
        let other = WorkspaceId::parse("other").unwrap();
        let attempt = Attempt {
            workspace: home.clone(),
            browser: [1; 32],
            nonce: Secret::new("n"),
            verifier: Secret::new("v"),
            account: Some("ada".into()),
            expires_unix: 100,
        };
        let right = Bringer {
            workspace: &home,
            browser: Some([1; 32]),
            account: Some("ada"),
        };
        let at = |bringer: &Bringer<'_>, secs| attempt.is_of(bringer, Duration::from_secs(secs));
        assert!(at(&right, 99));
        assert!(!at(&right, 100), "too late");
        for wrong in [
            Bringer {
                workspace: &other,
                ..right.clone()
            },
            Bringer {
                browser: None,
                ..right.clone()
            },
            Bringer {
                browser: Some([2; 32]),
                ..right.clone()
            },
            Bringer {
                account: None,
                ..right.clone()
            },
            Bringer {
                account: Some("eve"),
                ..right.clone()
            },
        ] {
            assert!(!at(&wrong, 99), "{wrong:?}");
        }
    }
}
