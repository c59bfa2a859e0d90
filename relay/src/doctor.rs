//! What `multiclaw-relay doctor` makes of what it finds: facts in, a verdict and a next step out.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;

use crate::policy::{Policy, PolicyConfig};
use crate::server::RelayAddress;

/// A certificate that runs out within so many days should be on somebody's list.
const CERTIFICATE_DAYS_MIN: i64 = 14;
/// Bytes a socket should be able to hold: a burst of many clients while the worker is busy.
const SOCKET_BUFFER_MIN: u64 = 4 << 20;
/// Clocks this far apart cost nothing; credentials live for hours.
const CLOCK_GOOD: Duration = Duration::from_secs(5);
/// Reports of a relay whose clock is further away are refused.
const CLOCK_MAX: Duration = Duration::from_secs(120);
/// Relayed ports below which a relay is small.
const PORTS_MIN: usize = 1000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// It works, and somebody should look.
    Warning,
    /// Clients will not get through.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub check: String,
    pub verdict: Verdict,
    pub found: String,
    /// What to do; empty if nothing is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next: String,
}

impl Row {
    pub fn good(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            verdict: Verdict::Good,
            found: found.into(),
            next: String::new(),
        }
    }

    pub fn warning(check: impl Into<String>, found: impl Into<String>, next: &str) -> Self {
        Self {
            verdict: Verdict::Warning,
            next: next.to_owned(),
            ..Self::good(check, found)
        }
    }

    pub fn bad(check: impl Into<String>, found: impl Into<String>, next: &str) -> Self {
        Self {
            verdict: Verdict::Bad,
            next: next.to_owned(),
            ..Self::good(check, found)
        }
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    pub verdict: Verdict,
    pub rows: Vec<Row>,
}

impl Diagnosis {
    pub fn new(rows: Vec<Row>) -> Self {
        let worst = rows.iter().map(|row| row.verdict).max();
        Self {
            verdict: worst.unwrap_or(Verdict::Good),
            rows,
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.check.len()).max();
        let width = width.unwrap_or(0);
        for row in &self.rows {
            let mark = match row.verdict {
                Verdict::Good => "ok     ",
                Verdict::Warning => "warning",
                Verdict::Bad => "BAD    ",
            };
            writeln!(f, "{mark}  {:<width$}  {}", row.check, row.found)?;
            if !row.next.is_empty() {
                writeln!(f, "         {:<width$}  → {}", "", row.next)?;
            }
        }
        Ok(())
    }
}

/// The certificate clients are shown.
pub fn certificate(not_before: Duration, not_after: Duration, unix_now: Duration) -> Row {
    let check = "certificate";
    if unix_now < not_before {
        return Row::bad(
            check,
            "it is not valid yet",
            "set the clock, or wait for the certificate's first day",
        );
    }
    let left = not_after.as_secs() as i64 - unix_now.as_secs() as i64;
    let days = left.div_euclid(24 * 3600);
    let renew = "renew it and send the relay SIGHUP; no packet is lost";
    if left < 0 {
        Row::bad(check, format!("it ran out {} days ago", -days), renew)
    } else if days < CERTIFICATE_DAYS_MIN {
        Row::warning(check, format!("{days} days left"), renew)
    } else {
        Row::good(check, format!("{days} days left"))
    }
}

/// `net.core.rmem_max` or its sibling for sending.
pub fn socket_buffer(name: &str, max: u64) -> Row {
    let found = format!("{name} = {max}");
    if max >= SOCKET_BUFFER_MIN {
        return Row::good("socket buffers", found);
    }
    let next = format!(
        "bursts will be lost: sysctl -w {name}={}",
        2 * SOCKET_BUFFER_MIN
    );
    Row::warning("socket buffers", found, &next)
}

/// File descriptors against allocations: each takes one.
pub fn descriptors(limit: u64, allocations: usize) -> Row {
    let found = format!("{limit} for up to {allocations} allocations");
    if limit > allocations as u64 {
        return Row::good("descriptors", found);
    }
    let next = "raise the limit (LimitNOFILE= in systemd), or lower [limits] allocations";
    Row::warning("descriptors", found, next)
}

/// The relayed ports, and the ports the kernel gives to everybody else.
pub fn relayed_ports(ports: &RangeInclusive<u16>, kernels: Option<RangeInclusive<u16>>) -> Row {
    let check = "relayed ports";
    let found = format!("{} to {} over UDP", ports.start(), ports.end());
    if ports.len() < PORTS_MIN {
        let next = "each allocation takes a port: widen `relay_ports`";
        return Row::warning(check, found, next);
    }
    let overlaps =
        kernels.is_some_and(|own| own.start() <= ports.end() && ports.start() <= own.end());
    if overlaps {
        // A taken port is replaced by another one: this is about tidiness.
        let found = format!("{found}, shared with outgoing connections of this machine");
        return Row::good(check, found);
    }
    Row::good(check, found)
}

/// Where relayed packets come from, as the world sees it.
pub fn relay_address(address: RelayAddress, is_here: Result<(), String>) -> Row {
    let check = format!("address {}", address.bind);
    if let Err(problem) = is_here {
        let next = "name an address of this machine in `relay_addresses`";
        return Row::bad(check, problem, next);
    }
    if is_special(address.public) {
        let next = "clients elsewhere cannot reach it: set `relay_addresses` to { bind, public }";
        let found = format!("announced as {}, which is not public", address.public);
        return Row::warning(check, found, next);
    }
    Row::good(check, format!("announced as {}", address.public))
}

/// What a STUN server outside says our address is.
pub fn seen_from_outside(seen: IpAddr, announced: &[IpAddr]) -> Row {
    let check = "public address";
    if announced.contains(&seen) {
        return Row::good(check, format!("{seen}, seen from outside"));
    }
    let found = format!("{seen} seen from outside, but it is not announced");
    Row::bad(check, found, "put it into `relay_addresses` as `public`")
}

/// How far our clock is from the service's.
pub fn clock(apart: Duration) -> Row {
    let found = format!("{} s from the service's", apart.as_secs());
    let next = "synchronize the clock (systemd-timesyncd, chrony)";
    if apart <= CLOCK_GOOD {
        Row::good("clock", found)
    } else if apart <= CLOCK_MAX {
        Row::warning("clock", found, next)
    } else {
        Row::bad("clock", found, next)
    }
}

fn is_special(ip: IpAddr) -> bool {
    Policy::new(PolicyConfig::default()).check_ip(ip).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const NOW: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn a_certificate_is_good_until_two_weeks_before_its_end() {
        let from = NOW - 30 * DAY;
        for (until, verdict, found) in [
            (NOW + 60 * DAY, Verdict::Good, "60 days left"),
            (NOW + 14 * DAY, Verdict::Good, "14 days left"),
            (NOW + 13 * DAY, Verdict::Warning, "13 days left"),
            (NOW, Verdict::Warning, "0 days left"),
            (NOW - 3 * DAY, Verdict::Bad, "it ran out 3 days ago"),
        ] {
            let row = certificate(from, until, NOW);
            assert_eq!((row.verdict, row.found.as_str()), (verdict, found));
        }
        assert_eq!(
            certificate(NOW + DAY, NOW + 2 * DAY, NOW).verdict,
            Verdict::Bad
        );
    }

    fn at(public: &str) -> RelayAddress {
        RelayAddress {
            bind: "10.0.0.5".parse().unwrap(),
            public: public.parse().unwrap(),
        }
    }

    #[test]
    fn an_address_has_to_be_here_and_should_be_public() {
        for (row, verdict) in [
            (relay_address(at("9.9.9.9"), Ok(())), Verdict::Good),
            (relay_address(at("10.0.0.5"), Ok(())), Verdict::Warning),
            (relay_address(at("9.9.9.9"), Err("no".into())), Verdict::Bad),
            (
                seen_from_outside("9.9.9.9".parse().unwrap(), &[at("9.9.9.9").public]),
                Verdict::Good,
            ),
            (
                seen_from_outside("9.9.9.9".parse().unwrap(), &[at("8.8.8.8").public]),
                Verdict::Bad,
            ),
        ] {
            assert_eq!(row.verdict, verdict, "{row:?}");
        }
    }

    #[test]
    fn limits_of_the_machine_are_warnings_with_a_next_step() {
        for (row, verdict) in [
            (
                socket_buffer("net.core.rmem_max", 212_992),
                Verdict::Warning,
            ),
            (socket_buffer("net.core.rmem_max", 8 << 20), Verdict::Good),
            (descriptors(1024, 16_000), Verdict::Warning),
            (descriptors(20_000, 16_000), Verdict::Good),
            (relayed_ports(&(50_000..=50_100), None), Verdict::Warning),
            (
                relayed_ports(&(49_152..=65_535), Some(32_768..=60_999)),
                Verdict::Good,
            ),
            (clock(Duration::from_secs(1)), Verdict::Good),
            (clock(Duration::from_secs(60)), Verdict::Warning),
            (clock(Duration::from_secs(600)), Verdict::Bad),
        ] {
            assert_eq!(row.verdict, verdict, "{row:?}");
            assert_eq!(row.next.is_empty(), verdict == Verdict::Good, "{row:?}");
        }
    }

    #[test]
    fn the_worst_row_is_the_verdict_and_a_table_says_what_to_do() {
        let diagnosis = Diagnosis::new(vec![
            Row::good("one", "fine"),
            Row::bad("another", "broken", "mend it"),
        ]);
        assert_eq!(diagnosis.verdict, Verdict::Bad);
        assert_eq!(
            diagnosis.to_string(),
            "ok       one      fine\nBAD      another  broken\n                  → mend it\n"
        );
    }
}
