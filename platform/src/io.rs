//! The X clipboard, libraries that may be missing, and what libpulse calls things.

pub mod clipboard;
#[expect(unsafe_code, reason = "opens libraries at run time")]
pub mod library;
pub mod pulse;
