//! Networks of the laboratory's own. Without a cable hosts and viewers share one, whose loopback
//! nothing else crosses, so the bytes counted there are the stream's. With one the hosts have another:
//!
//! ```text
//!  namespace of the hosts                                   laboratory's namespace
//!  up, Selkies ── token bucket ── lab0 ══ cable ══ lab1 ── loss ── viewers, probe
//! ```
//!
//! The bucket is `tbf`, on the way to the viewer; loss is a rule of nftables at both ends; the cable
//! is a pair of interfaces (veth), or a program that holds each packet back (`lab-probe link`).

use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Options, stage};
use crate::process;
use crate::repository::program;
use crate::up::part::{Crew, Ready, Spec};

const LINK_LIMIT: Duration = Duration::from_secs(10);
/// Where hosts are that stand at the other end of a cable.
pub(super) const HOSTS: &str = "mc-lab-hosts";
/// Where they are reached there.
const HOST_ADDRESS: &str = "10.77.0.1";
/// What browsers offer to a peer: an address that is no loopback, with a way to everywhere.
const ALONE: [&[&str]; 5] = [
    &["addr", "add", "10.77.0.1/24", "dev", "lab0"],
    &["link", "set", "lab0", "up"],
    &["link", "set", "lab1", "up"],
    &["link", "set", "lo", "up"],
    &["route", "add", "default", "via", "10.77.0.2", "dev", "lab0"],
];
const BESIDE_HOSTS: [&[&str]; 9] = [
    &["netns", "add", HOSTS],
    &["link", "set", "lab0", "netns", HOSTS],
    &["-n", HOSTS, "addr", "add", "10.77.0.1/24", "dev", "lab0"],
    &["-n", HOSTS, "link", "set", "lab0", "up"],
    &["-n", HOSTS, "link", "set", "lo", "up"],
    &["addr", "add", "10.77.0.2/24", "dev", "lab1"],
    &["link", "set", "lab1", "up"],
    &["link", "set", "lo", "up"],
    &[
        "route",
        "add",
        "default",
        "via",
        HOST_ADDRESS,
        "dev",
        "lab1",
    ],
];
/// The bucket holds a few packets; the queue behind it two seconds of 2 Mbit/s. When full the newest is
/// lost.
const BURST: &str = "6kb";
const QUEUE_BYTES: &str = "500000";

/// The way between hosts and viewers.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(super) struct Cable {
    /// Put a cable between the hosts and their viewers that carries so much to the viewer; half a
    /// megabyte waits, and what comes then is lost.
    #[arg(long, value_name = "MBIT", conflicts_with = "congestion", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: Option<u64>,
    /// Put a cable there on which each packet takes so long, in either direction.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=2_000))]
    delay: Option<u64>,
    /// Put a cable there that loses so much of what either side sends.
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    loss: Option<f64>,
}

fn share(text: &str) -> Result<f64> {
    let percent = text.parse().ok();
    let percent = percent.filter(|percent| (0.01..=50.0).contains(percent));
    percent.context("a number from 0.01 to 50, of every hundred packets")
}

impl Cable {
    fn is_laid(self) -> bool {
        self.rate.is_some() || self.delay.is_some() || self.loss.is_some()
    }
}

impl fmt::Display for Cable {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let rate = self.rate.map(|mbit| format!("{mbit} Mbit/s to the viewer"));
        let delay = self.delay.map(|ms| format!("{ms} ms each way"));
        let loss = self
            .loss
            .map(|percent| format!("{percent} % lost each way"));
        let all: Vec<String> = [rate, delay, loss].into_iter().flatten().collect();
        match all.is_empty() {
            true => out.write_str("loopback"),
            false => out.write_str(&all.join(", ")),
        }
    }
}

/// Moves this process, and what it starts from now on, into a namespace that ends with them, and lays
/// the cable that the options ask for. The crew has the cable's program.
///
/// # Errors
///
/// Needs to be root.
pub(super) fn enter(options: &Options, crew: &mut Crew) -> Result<()> {
    process::leave_network().context("the laboratory's own network needs root")?;
    let cable = options.cable;
    match cable.delay {
        None => ip(&[
            "link", "add", "lab0", "type", "veth", "peer", "name", "lab1",
        ])?,
        Some(ms) => {
            let ms = ms.to_string();
            let probe = program("lab-probe").display().to_string();
            // It has little to do, and what it does late is added to every figure.
            let args = [
                "-n",
                "-15",
                &probe,
                "link",
                "--ends",
                "lab0",
                "lab1",
                "--delay-ms",
                &ms,
            ];
            let ready = Ready::Line(LINK_LIMIT);
            crew.start(stage::spec("link", "nice", &args, "", ready))?;
        }
    }
    if !has_cable(options) {
        return ALONE.into_iter().try_for_each(ip);
    }
    leave();
    BESIDE_HOSTS.into_iter().try_for_each(ip)?;
    if let Some(mbit) = cable.rate {
        set_rate("add", mbit * 1000)?;
    }
    cable.loss.map_or(Ok(()), lose)
}

/// Takes the hosts' namespace away; the other one ends with this process.
pub(super) fn leave() {
    let _ = ip(&["netns", "del", HOSTS]);
}

/// Whether hosts and viewers are apart.
pub(super) fn has_cable(options: &Options) -> bool {
    options.congestion || options.cable.is_laid()
}

/// Where viewers find the hosts.
pub(super) fn host_address(options: &Options) -> &'static str {
    match has_cable(options) {
        true => HOST_ADDRESS,
        false => "127.0.0.1",
    }
}

/// The same program, at the hosts' end of the cable.
pub(super) fn at_host(options: &Options, mut spec: Spec) -> Spec {
    if has_cable(options) {
        let inside = ["netns", "exec", HOSTS].map(str::to_owned);
        let program = spec.program.display().to_string();
        spec.args.splice(0..0, inside.into_iter().chain([program]));
        spec.program = "ip".into();
    }
    spec
}

/// `verb`: `add` the bucket, or `change` it.
pub(super) fn set_rate(verb: &str, kbit: u64) -> Result<()> {
    let rate = format!("{kbit}kbit");
    let place = ["-n", HOSTS, "qdisc", verb, "dev", "lab0", "root"];
    let bucket = ["tbf", "rate", &rate, "burst", BURST, "limit", QUEUE_BYTES];
    call("tc", &[&place[..], &bucket[..]].concat()).map(drop)
}

/// Each end loses of what comes to it.
fn lose(percent: f64) -> Result<()> {
    let of_ten_thousand = (percent * 100.0).round();
    let rules = |interface| {
        format!(
            "add table inet lab; add chain inet lab arrives {{ type filter hook input priority 0; }}; \
             add rule inet lab arrives iifname {interface} numgen random mod 10000 < {of_ten_thousand} counter drop"
        )
    };
    call("nft", &[&rules("lab1")])?;
    call("ip", &["netns", "exec", HOSTS, "nft", &rules("lab0")]).map(drop)
}

fn ip(args: &[&str]) -> Result<()> {
    call("ip", args).map(drop)
}

/// Runs one of the programs that set up networks, which answer at once; what it printed.
pub(super) fn call(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cable_says_what_it_does() {
        let cable = Cable {
            rate: Some(20),
            delay: Some(15),
            loss: Some(0.5),
        };
        assert_eq!(
            cable.to_string(),
            "20 Mbit/s to the viewer, 15 ms each way, 0.5 % lost each way"
        );
        assert_eq!(Cable::default().to_string(), "loopback");
    }

    #[test]
    fn a_loss_that_no_path_has_is_refused() {
        assert!(share("1.5").is_ok());
        for text in ["0", "51", "-1", "NaN", "much"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
