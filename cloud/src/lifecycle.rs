//! The life of desktops: what is wanted, what is there, and the next step from one to the other.
//!
//! Wanted is what the database says; what is there is asked of a driver and told by signalling. The
//! public state is a function of both. No clock and no process here: [`Fleet`] takes events and the
//! time, and says which call a driver should make.

use serde::{Deserialize, Serialize};

pub mod fleet;
pub mod life;
pub mod order;

pub use fleet::{Action, Fleet};
pub use life::Life;
pub use order::{Generation, Order, Size};

/// What the owner wants; stored before anything is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    Running,
    Stopped,
    /// For good: nothing leads away from it.
    Deleted,
}

/// What people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
pub enum State {
    Stopped,
    Starting,
    /// The agent host was heard from and has captured a frame since the machine started.
    Online,
    Error,
}

/// What a driver finds of one desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Nothing runs. Files may be there.
    Absent,
    /// Everything that must run does.
    Up(Generation),
    /// Something that must run does not; the sentence says what.
    Broken(Generation, String),
}

/// What a driver is asked to do. Each can be repeated without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Inspect,
    /// End what is left of other generations, bring up what is missing of this one, and start its
    /// agent host afresh.
    Start(Generation),
    Stop,
    /// End everything and delete every file.
    Destroy,
}

/// How a call ended; the error is a sentence with its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Found(Machine),
    Done,
    Failed(String),
}

impl State {
    pub const ALL: [Self; 4] = [Self::Stopped, Self::Starting, Self::Online, Self::Error];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "Stopped",
            Self::Starting => "Starting",
            Self::Online => "Online",
            Self::Error => "Error",
        }
    }
}
