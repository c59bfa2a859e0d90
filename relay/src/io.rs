//! The shell: sockets, threads, signals, certificates, and the admin's HTTP.

mod admin;
mod announce;
mod any_certificate;
pub mod bench;
pub mod doctor;
#[expect(unsafe_code, reason = "epoll has no safe face in the standard library")]
mod epoll;
mod exchange;
mod gate;
mod listeners;
pub mod log;
mod probe;
mod shell;
mod splice;
mod streams;
#[expect(unsafe_code, reason = "libc has no wrapper of sched_setattr")]
mod turn_taking;
#[expect(unsafe_code, reason = "batched socket calls with GRO and GSO")]
mod udp;
mod web;
mod worker;

pub use shell::{Start, load, run};
