//! What agent host and viewer both take from the machine they run on.
//!
//! Rule: nothing here knows of sessions, peers or roles; who may copy or hear is decided by those
//! who call.

#[cfg(feature = "io")]
pub mod io;
pub mod sound;
