//! The shell around the machines: HTTP for the ticket, a WebSocket for signalling, the peer's
//! sockets, a thread that decodes, and what is printed.

pub mod args;
mod connect;
mod load;
mod media;
mod nearness;
mod openh264;
mod port;
mod printing;
mod service;
mod socket;
mod sound;
#[expect(
    unsafe_code,
    reason = "calls libopus and libpulse-simple, loaded at run time"
)]
mod speaker;
mod tunnel;
mod window;
