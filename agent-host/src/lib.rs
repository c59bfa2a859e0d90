//! On the instance: the desktop's screen and hands.
//!
//! Captures what changed, codes it as H.264, sends it and what plays to the viewers, and lets them
//! type, point and paste. The decisions are machines without IO ([`pipeline`], [`rate`], [`chroma`],
//! [`input`], [`session`], [`sound`], [`registration`]); X, the encoders' threads and the network are in [`io`].
//!
//! Invariants: nothing is captured, coded or sent unless the screen changed or somebody came to
//! watch; an input event is applied only after [`session`] allowed it; unsafe code stands only
//! under `io/` and `encode/`.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "a test on a virtual clock needs a moment to begin at"
    )
)]

pub mod chroma;
pub mod config;
pub mod damage;
pub mod encode;
pub mod input;
pub mod keymap;
pub mod offer;
pub mod picture;
pub mod pipeline;
pub mod quality;
pub mod rate;
pub mod registration;
pub mod session;
pub mod sound;
pub mod stats;
pub mod strips;

#[cfg(feature = "io")]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell owns the clock and the tasks"
)]
pub mod io;
