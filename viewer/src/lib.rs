//! The native viewer: opens a session, chooses direct or relay, keeps the token fresh, decodes and
//! shows.
//!
//! The modules below are machines: they are told what arrived and what time it is, and answer with
//! what to do next. `io` is the shell around them: sockets, threads, a window.

pub mod session;

pub mod backoff;
pub mod link;
pub mod mode;
pub mod news;
pub mod path;
pub mod proxy;
pub mod token;

pub mod clock;
pub mod decode;
pub mod frame;
pub mod image;
pub mod sound;
pub mod stats;

pub mod load;

pub mod geometry;
pub mod keys;
pub mod scale;

#[cfg(feature = "io")]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell owns the clock and the tasks"
)]
pub mod io;
