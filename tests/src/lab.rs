//! The latency laboratory: a pattern whose content a camera can read back, drawn on one display and
//! watched on another by one process with one clock. Works for every remote desktop there is,
//! because it needs nothing from it but pixels.

pub mod canvas;
pub mod devtools;
pub mod fidelity;
pub mod figures;
pub mod likeness;
pub mod lines;
pub mod link;
pub mod opening;
pub mod pattern;
pub mod scene;
pub mod screen;
pub mod wire;
