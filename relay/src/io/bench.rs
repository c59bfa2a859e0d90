//! `multiclaw-relay bench`: load for any TURN server, ours or another's, and what it cost.
//!
//! The machines are in `crate::bench`; here are the flags, the sockets and the clock.

mod churn;
mod forward;
mod link;
mod load;
mod report;
mod session;
#[expect(
    unsafe_code,
    reason = "GSO, GRO, namespaces and precise waits have no safe form in std"
)]
mod sys;
mod tls;
mod usage;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use protocol::Secret;
use protocol::turn::credential;
use serde::Serialize;

use self::churn::Churn;
use self::forward::Route;
use self::link::{Runs, TlsClient};
use self::load::{Load, Pattern, PeerPlace, Shape, Timing, Waiting};
use self::report::{ChurnReport, IdleReport, LoadReport, Percentiles};
use self::session::{Goal, Target, Transport, establish, local_address_towards, release};
use self::sys::{Poll, Wants};
use self::usage::{Memory, Meter};
use crate::bench::tally::FLOWS_MAX;
use crate::bench::turn::Login;

/// Open files besides one or two sockets per session.
const FILES_SPARE: u64 = 32;
/// How long a fleet rests before its memory is read, so that lazy work is done.
const SETTLE: Duration = Duration::from_secs(2);

/// Put load on a TURN server and measure what comes of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  multiclaw-relay bench load --server 127.0.0.1:3478 --user u --password p
  multiclaw-relay bench load --server 127.0.0.1:3478 --user u --password p \\
      --pattern pair --payload 160 --burst 1 --rate 50 --sessions 200
  multiclaw-relay bench load --server 127.0.0.1:3478 --user u --password p \\
      --rate 500 --ramp-to 20000 --ramp-steps 8
  multiclaw-relay bench churn --server 127.0.0.1:3478 --user u --password p --seconds 10
  multiclaw-relay bench idle --server 127.0.0.1:3478 --user u --password p \\
      --allocations 4000 --server-pid \"$(pidof turnserver)\"")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Payload at a fixed rate: loss, latency percentiles, processor time per packet.
    Load(LoadArgs),
    /// Allocations made and given back: how many per second, how long each takes.
    Churn(ChurnArgs),
    /// Allocations that do nothing: what each costs in memory.
    Idle(IdleArgs),
    /// Stand between `load --forwarder` and its peers instead of a server, with no TURN.
    Forward(ForwardArgs),
}

/// Where the server is and how to log in.
#[derive(Debug, clap::Args)]
struct ServerArgs {
    /// The server's address and port; a name is resolved.
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    #[arg(long, value_enum, default_value = "udp")]
    transport: TransportName,
    /// User name of a static user.
    #[arg(long, default_value = "")]
    user: String,
    /// Password of that user.
    #[arg(long, env = "MULTICLAW_BENCH_PASSWORD", hide_env_values = true)]
    password: Option<Secret>,
    /// Make a time-limited credential from the relay's shared secret instead.
    #[arg(long, env = "MULTICLAW_BENCH_SHARED_SECRET", hide_env_values = true)]
    shared_secret: Option<Secret>,
    /// Trust TLS certificates signed by those in this PEM file.
    #[arg(long, value_name = "FILE")]
    tls_roots: Option<PathBuf>,
    /// Accept any TLS certificate: only for a server under test on this machine.
    #[arg(long)]
    dangerously_trust_any_certificate: bool,
    /// Also measure the server process of this id.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Send and receive datagrams one by one, without GSO and GRO.
    #[arg(long)]
    no_gso: bool,
    /// Run on this processor only.
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Print one JSON object as the last line instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TransportName {
    Udp,
    Tcp,
    Tls,
}

#[derive(Debug, clap::Args)]
struct LoadArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[arg(long, value_enum, default_value = "echo")]
    pattern: Pattern,
    #[arg(long, default_value_t = 20)]
    sessions: usize,
    /// Bytes per packet, from 24.
    #[arg(long, default_value_t = 1200)]
    payload: usize,
    /// Packets that leave together, like the packets of one video frame.
    #[arg(long, default_value_t = 30)]
    burst: u32,
    /// Packets per second from each session.
    #[arg(long, default_value_t = 1800.0)]
    rate: f64,
    /// Raise the rate to this in equal factors.
    #[arg(long, value_name = "RATE")]
    ramp_to: Option<f64>,
    #[arg(long, default_value_t = 6)]
    ramp_steps: u16,
    /// Measured seconds, per step.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of load before measuring, per step.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Local address of the UDP peers; default: the one we reach the server from.
    #[arg(long, value_name = "ADDRESS")]
    peer_address: Option<IpAddr>,
    /// Open the peers in this network namespace (a file, as in /run/netns).
    #[arg(long, value_name = "FILE")]
    peer_namespace: Option<PathBuf>,
    /// Leave the server out: what the generator itself costs.
    #[arg(long)]
    direct: bool,
    /// Put a `bench forward` in the server's place: its address towards the peers.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "direct")]
    forwarder: Option<IpAddr>,
    /// Never sleep: exact timing, meaningless processor figures.
    #[arg(long)]
    spin: bool,
}

#[derive(Debug, clap::Args)]
struct ChurnArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Cycles going on at once.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

#[derive(Debug, clap::Args)]
struct IdleArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[arg(long, default_value_t = 4000)]
    allocations: usize,
}

#[derive(Debug, clap::Args)]
struct ForwardArgs {
    /// Our own address towards the clients.
    #[arg(long, value_name = "ADDRESS")]
    client_side: IpAddr,
    /// Our own address towards the peers.
    #[arg(long, value_name = "ADDRESS")]
    peer_side: IpAddr,
    /// The address of the peers.
    #[arg(long, value_name = "ADDRESS")]
    peer_address: IpAddr,
    #[arg(long, default_value_t = 20)]
    sessions: usize,
}

/// Runs one bench and prints its result on stdout.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Load(args) => run_load(&args),
        Command::Churn(args) => run_churn(&args),
        Command::Idle(args) => run_idle(&args),
        Command::Forward(args) => run_forward(&args),
    }
}

fn run_load(args: &LoadArgs) -> Result<()> {
    let files = prepare(&args.server)?;
    ensure!(
        args.sessions * 2 <= (files - FILES_SPARE) as usize && args.sessions < FLOWS_MAX,
        "{} sessions need two sockets each and {files} files may be open",
        args.sessions
    );
    ensure!(
        args.pattern != Pattern::Pair || args.sessions.is_multiple_of(2),
        "pairs need an even number of sessions"
    );
    let target = args.server.target()?;
    let shape = Shape {
        pattern: args.pattern,
        sessions: args.sessions,
        payload: args.payload.clamp(crate::bench::stamp::LEN, 65_000),
        burst: args.burst.max(1),
    };
    let place = args.peer_place(target.server)?;
    let mut load = match args.forwarder {
        Some(peer_side) => Load::forwarded(&target, &place, shape, peer_side)?,
        None if args.direct => Load::direct(&target, &place, shape)?,
        None => Load::through(&target, &place, shape)?,
    };
    let meter = Meter::new(args.server.server_pid);
    let mut steps = Vec::new();
    for (number, rate) in (0..).zip(args.rates()) {
        steps.push(load.step(number, rate, args.timing(), &meter)?);
    }
    load.finish()?;
    let clean = steps.iter().filter(|step| step.is_clean());
    let report = LoadReport {
        bench: "load",
        server: args.server.server.clone(),
        transport: args.server.transport.name(),
        pattern: format!("{:?}", args.pattern).to_lowercase(),
        sessions: shape.sessions,
        payload_bytes: shape.payload,
        burst_packets: shape.burst,
        highest_clean_pps: clean.map(|step| step.forwarded_pps).fold(0.0, f64::max),
        steps,
    };
    print(&args.server, &report, report.table())
}

fn run_forward(args: &ForwardArgs) -> Result<()> {
    ensure!(
        args.sessions <= forward::SESSIONS_MAX,
        "at most {} sessions have a port each",
        forward::SESSIONS_MAX
    );
    let route = Route {
        client_side: args.client_side,
        peer_side: args.peer_side,
        peer: args.peer_address,
    };
    forward::run(&route, args.sessions)
}

fn run_churn(args: &ChurnArgs) -> Result<()> {
    prepare(&args.server)?;
    let target = args.server.target()?;
    let meter = Meter::new(args.server.server_pid);
    let mut churn = Churn::new(&target, args.in_flight.max(1))?;
    churn.run(Duration::from_millis(500))?;
    let before = meter.read()?;
    let begun = Instant::now();
    let cycles = churn.run(Duration::from_secs_f64(args.seconds))?;
    let seconds = begun.elapsed().as_secs_f64();
    let used = meter.read()?.since(before);
    let server_s = used.server.as_secs_f64();
    let foreign = used.machine.saturating_sub(used.tasks());
    let report = ChurnReport {
        bench: "churn",
        server: args.server.server.clone(),
        transport: args.server.transport.name(),
        in_flight: args.in_flight,
        completed: cycles.completed,
        failed: cycles.failed,
        first_failure: cycles.first_failure.as_ref().map(ToString::to_string),
        cycles_per_s: cycles.completed as f64 / seconds,
        cycles_per_server_cpu_s: if server_s > 0.0 {
            cycles.completed as f64 / server_s
        } else {
            0.0
        },
        server_percent: server_s / seconds * 100.0,
        foreign_percent: foreign.as_secs_f64() / seconds * 100.0,
        cycle_us: Percentiles::from(&cycles.latency),
    };
    print(&args.server, &report, report.table())
}

fn run_idle(args: &IdleArgs) -> Result<()> {
    let files = prepare(&args.server)?;
    ensure!(
        args.allocations as u64 + FILES_SPARE <= files,
        "{} allocations need as many sockets and {files} files may be open",
        args.allocations
    );
    let pid = args
        .server
        .server_pid
        .context("--server-pid is needed: memory is read from the server's process")?;
    let target = args.server.target()?;
    let mut poll = Poll::new()?;
    let mut sessions = Vec::new();
    for index in 0..args.allocations {
        let session = target.open(index as u64)?;
        poll.add(session.link.as_fd(), index as u64, Wants::Read)?;
        sessions.push(session);
    }
    let before = Memory::now(pid)?;
    let peer = SocketAddr::new(local_address_towards(target.server)?, 9);
    establish(&mut sessions, &Goal::Allocated(&target), &mut poll)?;
    establish(
        &mut sessions,
        &Goal::Bound(&vec![peer; args.allocations]),
        &mut poll,
    )?;
    let idle_percent = rest(&Meter::new(Some(pid)))?;
    let after = Memory::now(pid)?;
    let (resident, kernel) = IdleReport::memory(before, after, args.allocations);
    release(&mut sessions, &mut poll)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let report = IdleReport {
        bench: "idle",
        server: args.server.server.clone(),
        transport: args.server.transport.name(),
        allocations: args.allocations,
        resident_bytes_per_allocation: resident,
        kernel_bytes_per_allocation: kernel,
        bytes_per_allocation: resident + kernel,
        resident_mib_before: mib(before.resident),
        resident_mib_after: mib(after.resident),
        server_idle_percent: idle_percent,
    };
    print(&args.server, &report, report.table())
}

/// Lets everything settle and returns what the server used meanwhile, percent of a processor.
fn rest(meter: &Meter) -> Result<f64> {
    let before = meter.read()?;
    std::thread::sleep(SETTLE);
    let used = meter.read()?.since(before);
    Ok(used.server.as_secs_f64() / SETTLE.as_secs_f64() * 100.0)
}

/// Settles this thread and returns how many files may be open.
fn prepare(server: &ServerArgs) -> Result<u64> {
    if let Some(core) = server.core {
        sys::pin_to_core(core).with_context(|| format!("no processor {core} for us"))?;
    }
    sys::sleep_precisely();
    Ok(sys::raise_open_files())
}

fn print(server: &ServerArgs, report: &impl Serialize, table: String) -> Result<()> {
    if server.json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{table}");
    }
    Ok(())
}

impl ServerArgs {
    fn target(&self) -> Result<Target> {
        let server = self
            .server
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {}", self.server))?
            .next()
            .with_context(|| format!("{} has no address", self.server))?;
        Ok(Target {
            server,
            transport: self.transport()?,
            login: self.login()?,
            runs: if self.no_gso {
                Runs::Single
            } else {
                Runs::Joined
            },
        })
    }

    fn transport(&self) -> Result<Transport> {
        Ok(match self.transport {
            TransportName::Udp => Transport::Udp,
            TransportName::Tcp => Transport::Tcp,
            TransportName::Tls => {
                let trust = match (&self.tls_roots, self.dangerously_trust_any_certificate) {
                    (Some(path), _) => tls::Trust::File(path),
                    (None, true) => tls::Trust::DangerouslyAnybody,
                    (None, false) => bail!("TLS needs --tls-roots FILE"),
                };
                let host = self.server.rsplit_once(':').map_or("", |(host, _)| host);
                let name = host.trim_start_matches('[').trim_end_matches(']');
                Transport::Tls(TlsClient::new(tls::client_config(trust)?, name)?)
            }
        })
    }

    fn login(&self) -> Result<Login> {
        if let Some(secret) = &self.shared_secret {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let expires_at = now + Duration::from_secs(24 * 3600);
            let made = credential::derive(secret, "bench", &[], expires_at);
            return Ok(Login {
                username: made.username,
                password: made.password,
            });
        }
        let password = self.password.clone();
        Ok(Login {
            username: self.user.clone(),
            password: password.context("--password or --shared-secret is needed")?,
        })
    }
}

impl TransportName {
    fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl LoadArgs {
    fn peer_place(&self, server: SocketAddr) -> Result<PeerPlace> {
        let address = self
            .peer_address
            .map_or_else(|| local_address_towards(server), Ok)?;
        Ok(PeerPlace {
            address,
            namespace: self.peer_namespace.clone(),
        })
    }

    /// The rate of every step: one, or a geometric ramp.
    fn rates(&self) -> Vec<f64> {
        let Some(last) = self.ramp_to else {
            return vec![self.rate];
        };
        let steps = self.ramp_steps.max(2);
        let factor = (last / self.rate).powf(1.0 / f64::from(steps - 1));
        (0..steps)
            .map(|step| self.rate * factor.powi(i32::from(step)))
            .collect()
    }

    fn timing(&self) -> Timing {
        Timing {
            warm_up: Duration::from_secs_f64(self.warm_up),
            length: Duration::from_secs_f64(self.seconds),
            waiting: if self.spin {
                Waiting::Spin
            } else {
                Waiting::Sleep
            },
        }
    }
}
