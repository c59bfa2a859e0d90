//! The shell: X connections, threads, sockets and the clock.

pub mod agent;
pub mod bench;
pub mod capture;
pub mod hands;
mod live;
#[expect(unsafe_code, reason = "calls libopus, loaded at run time")]
pub mod opus;
#[expect(unsafe_code, reason = "calls libpulse, loaded at run time")]
pub mod pulse;
mod repeat;
mod resize;
pub mod screen;
#[expect(unsafe_code, reason = "maps the memory shared with the X server")]
pub mod shm;
pub mod sound;
pub mod stop;
pub mod trial;
#[expect(
    unsafe_code,
    reason = "eventfd, ppoll and the CPU clocks are system calls"
)]
pub mod wait;
