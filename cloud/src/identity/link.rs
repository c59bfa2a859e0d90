//! Links in mails: one purpose, one use, a limited life. Of the token only its hash is kept.
//!
//! The token stands in the fragment of the link, which is sent to nobody; opening the page shows a
//! button, pressing it consumes the token. A mail scanner that opens links spends nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// The address is this person's.
    Confirm,
    /// A new password.
    Reset,
    /// A place in a workspace.
    Invite,
}

impl Purpose {
    /// How long the link is good for.
    pub fn life(self) -> Duration {
        const HOUR: Duration = Duration::from_secs(3600);
        match self {
            Self::Confirm => HOUR * 24,
            Self::Reset => HOUR,
            Self::Invite => HOUR * 24 * 7,
        }
    }

    /// The path of the page in the dashboard.
    pub fn page(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Reset => "reset",
            Self::Invite => "invite",
        }
    }
}
