//! The service on 443: which instances exist, who may use them, and the pages that show them.
//!
//! It mounts the routes of `signalling`, keeps what must survive a restart in its database, and
//! serves the browser viewer. A caller without a valid key learns nothing, not even whether an
//! instance exists.

pub mod access;
pub mod assets;
pub mod config;
pub mod health;
pub mod identity;
pub mod lifecycle;
pub mod metrics;

#[cfg(feature = "io")]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell owns the clock and the tasks"
)]
pub mod io;
