//! The rows: what is sent, which figure is read, and the bar it is held to.

use anyhow::{Context, Result};
use serde_json::Value;

use super::lab::{Kind, Lab, Server, WINDOWS, Workers};
use super::report::median;

/// Sessions when one worker is measured: enough to keep it busy, few enough for long runs.
const SESSIONS: &str = "20";
/// Sessions when two are: SO_REUSEPORT spreads them by hash, so many even out.
const SESSIONS_SPREAD: &str = "128";

/// What coturn carries on the slowest of machines, packets per second and session.
const LOAD_PROBED_MIN: &str = "500";

/// One line of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Row {
    /// 1,200 B in bursts of 30, client to UDP peer and back.
    Burst,
    /// 160 B, evenly spaced, client to UDP peer and back, at half of what coturn can carry.
    Steady,
    /// 1,200 B in bursts of 30, client to client, both relayed here.
    Pair,
    /// What the server adds to the one-way time at half of what coturn can carry.
    Latency,
    /// 401, Allocate, Refresh to zero.
    Churn,
    /// An allocation with one permission and one channel, doing nothing.
    Idle,
    /// 1,200 B over TLS.
    Tls,
    /// What a second worker brings.
    Scaling,
}

/// Which way is up, and how far is far enough.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// `ours / peer` at most.
    RatioAtMost(f64),
    /// `ours / peer` at least.
    RatioAtLeast(f64),
    /// Ours at most this and not above the peer's.
    AtMostAndNotAbovePeer(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    pub(crate) const ALL: [Self; 8] = [
        Self::Burst,
        Self::Steady,
        Self::Pair,
        Self::Latency,
        Self::Churn,
        Self::Idle,
        Self::Tls,
        Self::Scaling,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Burst => "1,200 B in bursts of 30, client to peer and back",
            Self::Steady => "160 B steady at half of coturn's load, client to peer and back",
            Self::Pair => "client to client, both relayed here",
            Self::Latency => "added latency at half of coturn's load, p99",
            Self::Churn => "allocations per second and core, 401 and close included",
            Self::Idle => "idle allocation, user memory plus kernel",
            Self::Tls => "TLS goodput per core",
            Self::Scaling => "1 to 2 workers, capacity",
        }
    }

    /// The name of the figure in the JSON, with its unit.
    pub(crate) fn figure(self) -> &'static str {
        match self {
            Self::Burst | Self::Steady | Self::Pair => "cpu_us_per_packet",
            Self::Latency => "added_latency_p99_us",
            Self::Churn => "allocations_per_cpu_s",
            Self::Idle => "bytes_per_allocation",
            Self::Tls => "goodput_mbit_per_cpu_s",
            Self::Scaling => "capacity_ratio",
        }
    }

    pub(crate) fn bar(self) -> Bar {
        match self {
            Self::Burst => Bar::RatioAtMost(0.5),
            Self::Steady => Bar::RatioAtMost(0.7),
            Self::Pair => Bar::RatioAtMost(0.35),
            Self::Latency => Bar::AtMostAndNotAbovePeer(100.0),
            Self::Churn => Bar::RatioAtLeast(5.0),
            Self::Idle => Bar::AtMost(6144.0),
            Self::Tls => Bar::RatioAtLeast(1.2),
            Self::Scaling => Bar::AtLeast(1.7),
        }
    }

    /// The generator's flags for rows that carry payload.
    fn flags(self) -> Vec<&'static str> {
        let text = match self {
            Self::Burst => "--pattern echo --payload 1200 --burst 30 --rate 1200",
            Self::Steady => "--pattern echo --payload 160 --burst 1",
            Self::Pair => "--pattern pair --payload 1200 --burst 30 --rate 1200",
            Self::Tls => "--pattern echo --payload 1200 --burst 10 --rate 600",
            Self::Scaling => "--pattern echo --payload 1200 --burst 30 --rate 150",
            Self::Latency => "--pattern echo --payload 160 --burst 1 --spin",
            Self::Churn | Self::Idle => "",
        };
        text.split_whitespace().collect()
    }
}

/// One figure of one server in one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) figure: f64,
    /// The server process alone, where the figure is processor time.
    pub(crate) server_us_per_packet: Option<f64>,
    /// By /proc/stat; agrees with the figure on a quiet machine.
    pub(crate) machine_us_per_packet: Option<f64>,
    /// What latency is counted from: the same packets past the server.
    pub(crate) direct_p99_us: Option<f64>,
    pub(crate) lost_percent: Option<f64>,
    pub(crate) foreign_percent: f64,
    pub(crate) generator_saturated: bool,
}

/// Everything measured for one row.
pub(crate) struct Samples {
    pub(crate) row: Row,
    pub(crate) ours: Vec<Sample>,
    pub(crate) peer: Vec<Sample>,
    /// A program with no TURN, where the bar is close to what the machine makes of any.
    pub(crate) floor: Vec<Sample>,
    /// Half of what coturn carries without loss, per session; found once.
    half_load: Option<String>,
}

impl Samples {
    pub(crate) fn new(row: Row) -> Self {
        Self {
            row,
            ours: Vec::new(),
            peer: Vec::new(),
            floor: Vec::new(),
            half_load: None,
        }
    }

    /// One round: both servers, one after the other.
    pub(crate) fn measure(&mut self, lab: &Lab, kinds: [Kind; 2]) -> Result<()> {
        if matches!(self.row, Row::Steady | Row::Latency) && self.half_load.is_none() {
            self.half_load = Some(half_load(lab)?);
        }
        let [ours, peer] = kinds;
        let first = self.sample(lab, ours)?;
        let second = self.sample(lab, peer)?;
        self.ours.push(first);
        self.peer.push(second);
        if matches!(self.row, Row::Steady | Row::Latency) {
            self.floor.push(self.sample(lab, Kind::Forwarder)?);
        }
        Ok(())
    }

    /// The generator's flags, the load included.
    fn at_half_load(&self) -> Vec<&str> {
        let mut flags = self.row.flags();
        flags.extend([
            "--rate",
            self.half_load.as_deref().unwrap_or(LOAD_PROBED_MIN),
        ]);
        flags
    }

    fn sample(&self, lab: &Lab, kind: Kind) -> Result<Sample> {
        match self.row {
            Row::Burst | Row::Pair => cost(&self.row.flags(), lab, kind),
            Row::Steady => cost(&self.at_half_load(), lab, kind),
            Row::Latency => added_latency(&self.at_half_load(), lab, kind),
            Row::Churn => churn(lab, kind),
            Row::Idle => idle(lab, kind),
            Row::Tls => tls(lab, kind),
            Row::Scaling => scaling(lab, kind),
        }
    }
}

/// Processor time of server, generator and softirq threads per forwarded packet, less what the
/// generator alone needs for the same packets.
fn cost(flags: &[&str], lab: &Lab, kind: Kind) -> Result<Sample> {
    let mut flags = flags.to_vec();
    flags.extend(Lab::generator_core());
    flags.extend(["--sessions", SESSIONS]);
    let server = lab.start(kind, Workers::OnePinned)?;
    let with = lab.load(Some(&server), &flags)?;
    drop(server);
    let without = lab.load(None, &flags)?;
    let less =
        |name| Ok::<_, anyhow::Error>(number(&with, "cpu", name)? - number(&without, "cpu", name)?);
    Ok(Sample {
        figure: less("tasks_us_per_packet")?,
        server_us_per_packet: Some(number(&with, "cpu", "server_us_per_packet")?),
        machine_us_per_packet: Some(less("machine_us_per_packet")?),
        ..Sample::of(&with)
    })
}

/// The one-way time through the server less the one past it, at p99. A window in which the machine
/// did something else says nothing about either, so it is the median over short windows of both,
/// taken in turn.
fn added_latency(flags: &[&str], lab: &Lab, kind: Kind) -> Result<Sample> {
    let mut flags = flags.to_vec();
    flags.extend(Lab::generator_core());
    flags.extend(["--sessions", SESSIONS]);
    let server = lab.start(kind, Workers::OnePinned)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut last = Sample::default();
    for _ in 0..WINDOWS {
        let report = lab.window(Some(&server), &flags)?;
        with.push(number(&report, "one_way_us", "p99")?);
        without.push(number(&lab.window(None, &flags)?, "one_way_us", "p99")?);
        last = Sample::of(&report).or_worse(last);
    }
    let middle = |values: &[f64]| median(values).context("no windows");
    Ok(Sample {
        figure: middle(&with)? - middle(&without)?,
        direct_p99_us: Some(middle(&without)?),
        ..last
    })
}

/// Half the highest rate per session at which coturn loses nothing.
fn half_load(lab: &Lab) -> Result<String> {
    let server = lab.start(Kind::Coturn, Workers::OnePinned)?;
    let mut clean: f64 = LOAD_PROBED_MIN.parse()?;
    for rate in ["1000", "1400", "2000", "2800", "4000"] {
        let mut flags = Row::Steady.flags();
        flags.extend(Lab::generator_core());
        flags.extend(["--sessions", SESSIONS, "--rate", rate]);
        let report = lab.load(Some(&server), &flags)?;
        if number(&report, "", "lost_percent")? > 0.1 {
            break;
        }
        clean = rate.parse()?;
    }
    Ok((clean / 2.0).to_string())
}

fn churn(lab: &Lab, kind: Kind) -> Result<Sample> {
    let server = lab.start(kind, Workers::OnePinned)?;
    let seconds = lab.seconds();
    let mut arguments = vec!["churn", "--seconds", &seconds];
    arguments.extend(Lab::generator_core());
    let report = lab.bench(Some(&server), &arguments)?;
    Ok(Sample {
        figure: number(&report, "", "cycles_per_server_cpu_s")?,
        foreign_percent: number(&report, "", "foreign_percent")?,
        ..Sample::default()
    })
}

fn idle(lab: &Lab, kind: Kind) -> Result<Sample> {
    let server = lab.start(kind, Workers::OnePinned)?;
    let mut arguments = vec!["idle", "--allocations", "4000"];
    arguments.extend(Lab::generator_core());
    let report = lab.bench(Some(&server), &arguments)?;
    Ok(Sample {
        figure: number(&report, "", "bytes_per_allocation")?,
        ..Sample::default()
    })
}

/// Payload bits forwarded for each second of the server's processor time.
fn tls(lab: &Lab, kind: Kind) -> Result<Sample> {
    let server = lab.start(kind, Workers::OnePinned)?;
    let address = Lab::tls_server();
    let mut flags = Row::Tls.flags();
    flags.extend(Lab::generator_core());
    flags.extend([
        "--sessions",
        SESSIONS,
        "--transport",
        "tls",
        "--server",
        &address,
    ]);
    flags.push("--dangerously-trust-any-certificate");
    let report = lab.load(Some(&server), &flags)?;
    let share = number(&report, "cpu", "server_percent")? / 100.0;
    Ok(Sample {
        figure: number(&report, "", "goodput_mbit_per_s")? / share,
        ..Sample::of(&report)
    })
}

/// How much more two workers could carry than one: packets per second of the busiest thread's
/// processor time, two workers over one. Two processors cannot hold two full workers and a
/// generator, so the capacity is computed from the cost and its spread, not reached.
fn scaling(lab: &Lab, kind: Kind) -> Result<Sample> {
    let capacity = |workers| {
        let mut flags = Row::Scaling.flags();
        flags.extend(["--sessions", SESSIONS_SPREAD]);
        let server: Server = lab.start(kind, Workers::Free(workers))?;
        let report = lab.load(Some(&server), &flags)?;
        let busiest = number(&report, "cpu", "server_busiest_thread")?;
        let per_packet = number(&report, "cpu", "server_us_per_packet")?;
        Ok::<_, anyhow::Error>((1.0 / (busiest * per_packet), Sample::of(&report)))
    };
    let (one, _) = capacity(1)?;
    let (two, sample) = capacity(2)?;
    Ok(Sample {
        figure: two / one,
        ..sample
    })
}

impl Sample {
    /// What every report of a load says besides its figure.
    fn of(report: &Value) -> Self {
        Self {
            lost_percent: report["lost_percent"].as_f64(),
            foreign_percent: report["cpu"]["foreign_percent"].as_f64().unwrap_or(0.0),
            generator_saturated: report["generator"]["saturated"].as_bool().unwrap_or(false),
            ..Self::default()
        }
    }

    /// The worst of two windows in everything that must not happen.
    fn or_worse(self, other: Self) -> Self {
        Self {
            lost_percent: [self.lost_percent, other.lost_percent]
                .into_iter()
                .flatten()
                .reduce(f64::max),
            foreign_percent: self.foreign_percent.max(other.foreign_percent),
            generator_saturated: self.generator_saturated || other.generator_saturated,
            ..self
        }
    }
}

fn number(report: &Value, group: &str, name: &str) -> Result<f64> {
    let place = if group.is_empty() {
        report
    } else {
        &report[group]
    };
    place[name]
        .as_f64()
        .with_context(|| format!("the generator's report lacks {group} {name}"))
}
