//! What somebody ordered: a desktop of a size, in its how-manieth life.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Desired;

/// Counts the lives of a desktop: each start after a stop, and each restart, is a new one. A driver
/// ends what is left of another generation before it starts one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is stored of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub desired: Desired,
    pub generation: Generation,
    pub size: Size,
}

/// How much of a machine a desktop gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Size {
    #[default]
    Small,
    Medium,
    Large,
}

impl Size {
    /// Private memory one program may use, in bytes.
    pub fn program_memory_max(self) -> u64 {
        const GIB: u64 = 1 << 30;
        match self {
            Self::Small => 2 * GIB,
            Self::Medium => 4 * GIB,
            Self::Large => 8 * GIB,
        }
    }

    /// Memory of all programs of a desktop together where it can be told, in bytes: a browser and
    /// what else is open beside it.
    pub fn desktop_memory_max(self) -> u64 {
        2 * self.program_memory_max()
    }

    /// Processes and threads at once: a browser with a dozen tabs has 300.
    pub fn tasks_max(self) -> u32 {
        match self {
            Self::Small => 1024,
            Self::Medium => 2048,
            Self::Large => 4096,
        }
    }
}
