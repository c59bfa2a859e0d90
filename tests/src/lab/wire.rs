//! What crosses the viewer's network, headers and both directions included: loopback of this network
//! namespace, or the cable to the host where there is one. `cargo xtask bench` gives the laboratory a
//! namespace of its own, where nothing else does.

use anyhow::{Context, Result};

const COUNTERS: &str = "/proc/net/dev";
const LOOPBACK: &str = "lo";
/// The viewer's end of the laboratory's cable.
const CABLE: &str = "lab1";

/// Bytes so far; on loopback each is received once and counted there again.
pub fn bytes_so_far() -> Result<u64> {
    let counters = std::fs::read_to_string(COUNTERS)?;
    let local = received_and_sent(&counters, LOOPBACK);
    let (_, local) = local.context("/proc/net/dev has no line for lo")?;
    let (received, sent) = received_and_sent(&counters, CABLE).unwrap_or_default();
    Ok(local + received + sent)
}

/// The first and the ninth counter of the line: those of receiving stand before those of sending.
fn received_and_sent(counters: &str, interface: &str) -> Option<(u64, u64)> {
    let line = counters.lines().find_map(|line| {
        let (name, figures) = line.split_once(':')?;
        (name.trim() == interface).then_some(figures)
    })?;
    let mut figures = line.split_whitespace();
    Some((figures.next()?.parse().ok()?, figures.nth(7)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_received_and_the_sent_bytes_of_an_interface_are_read() {
        let counters = "Inter-|   Receive\n face |bytes\n    lo: 11 2 0 0 0 0 0 0 77 2 0 0 0 0 0 0\n  eth0: 1 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n";
        assert_eq!(received_and_sent(counters, "lo"), Some((11, 77)));
        assert_eq!(received_and_sent(counters, "eth0"), Some((1, 5)));
        assert_eq!(received_and_sent("eth0: 1", "lo"), None);
    }
}
