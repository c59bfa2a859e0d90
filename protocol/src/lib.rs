//! The shared vocabulary: every byte that crosses a process boundary is defined here.
//!
//! Nothing in this crate knows who uses it: no state, no IO, no clock. Wall-clock time arrives as
//! `unix_now`, a [`Duration`](std::time::Duration) since the Unix epoch.

#[cfg(feature = "exposition")]
pub mod exposition;
pub mod id;
#[cfg(feature = "mistake")]
pub mod mistake;
pub mod problem;
#[cfg(feature = "token")]
pub mod proof;
pub mod relay;
pub mod signal;
#[cfg(feature = "token")]
pub mod token;

pub mod control;
pub mod turn;

mod secret;
pub use secret::Secret;
