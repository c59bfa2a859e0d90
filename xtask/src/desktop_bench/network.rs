//! A network of the laboratory's own: nothing else crosses its loopback, so the bytes counted there
//! are the stream's.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process;
use crate::run;

/// One call of `ip`.
const IP_LIMIT: Duration = Duration::from_secs(10);
/// Where the laboratory is reached from the other end of its cable.
pub(super) const ADDRESS: &str = "10.77.0.1";
/// Browsers offer no loopback address to a peer; this one they do. Both ends of the cable are ours.
const SETUP: [&[&str]; 6] = [
    &["link", "set", "lo", "up"],
    &[
        "link", "add", "lab0", "type", "veth", "peer", "name", "lab1",
    ],
    &["addr", "add", "10.77.0.1/24", "dev", "lab0"],
    &["link", "set", "lab0", "up"],
    &["link", "set", "lab1", "up"],
    &["route", "add", "default", "via", "10.77.0.2", "dev", "lab0"],
];

/// Moves this process, and what it starts from now on, into a namespace that ends with them.
///
/// # Errors
///
/// Needs to be root.
pub(super) fn enter() -> Result<()> {
    process::leave_network().context("the laboratory's own network needs root")?;
    SETUP.into_iter().try_for_each(|args| {
        let mut command = Command::new("ip");
        command.args(args);
        run::quiet(command, IP_LIMIT).map(drop)
    })
}
