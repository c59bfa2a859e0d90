//! The TURN server of one region (RFC 8656 over RFC 8489).
//!
//! [`server::Server`] is the whole protocol without a socket or a clock; one lives on each worker
//! thread and shares nothing with the others but the [`ledger`] and batches of what their clients
//! send to each other. Relaying a packet allocates nothing, locks nothing and logs nothing.

pub mod config;
pub mod doctor;
pub mod drain;
pub mod endpoint;
pub mod server;

pub mod allocation;
pub mod announce;
pub mod auth;
pub mod deadlines;
pub mod demux;
pub mod indication;
pub mod ledger;
pub mod limits;
pub mod metrics;
pub mod nonce;
pub mod owners;
pub mod policy;
pub mod send_queue;
pub mod web;

pub mod bench;

#[cfg(feature = "io")]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell owns the clock and the threads"
)]
pub mod io;
