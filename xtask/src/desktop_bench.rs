//! `cargo xtask bench latency` (or `desktop`): the latency laboratory. A desktop of its own through
//! `up`, a Chromium that really paints on a second display, the native viewer, and the probe that
//! watches both displays with one clock; with `--rounds`, Selkies in turns with ours. Everything
//! runs in networks of its own: the bytes of a turn can be counted, and with `--rate`, `--delay` and
//! `--loss` hosts and viewers are as far apart as in life.

mod congestion;
mod meter;
mod native;
mod network;
mod opening;
mod page;
mod report;
mod selkies;
mod soak;
mod stage;
mod turn;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::ground::{self, Purpose};
use crate::process;
use crate::repository::{program, target};
use crate::up::part::{Crew, Ready};
use crate::up::{self, desktop};

use selkies::Mode;
use turn::Subject;
use verdict::Turns;

const UP_LIMIT: Duration = Duration::from_secs(90);
/// Points of the peer's curve of bytes over likeness; ours lie between them.
const CURVE_CRFS: [u8; 2] = [25, 17];

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask bench latency
  cargo xtask bench latency --rounds 2 --json
  cargo xtask bench latency --rounds 4 --samples 500 --with-default-mode
  cargo xtask bench latency --first-frame --rounds 1 --browsers 6
  cargo xtask bench latency --rounds 2 --rate 20 --delay 15 --loss 0.5
  cargo xtask bench latency --minutes 30
  cargo xtask bench latency --congestion")]
pub(crate) struct Options {
    /// Print the figures as one JSON object in the last line.
    #[arg(long)]
    json: bool,
    /// Use the programs as they were built last.
    #[arg(long)]
    no_build: bool,
    /// Changes of the picture to time, in each turn.
    #[arg(long, default_value_t = 200)]
    samples: u32,
    /// Measure Selkies 2.1.0 at its best in turns with ours, so many times; 0 leaves it out.
    #[arg(long, value_name = "N", default_value_t = 0)]
    rounds: u32,
    /// In each round also measure Selkies as it comes.
    #[arg(long)]
    with_default_mode: bool,
    /// Fresh browsers for the time to the first frame, of ours and of Selkies in turns.
    #[arg(long, value_name = "N", default_value_t = 5)]
    browsers: u32,
    /// Measure only the time to the first frame; beside Selkies if `--rounds` is not 0.
    #[arg(long, conflicts_with_all = ["minutes", "congestion"])]
    first_frame: bool,
    /// Instead keep one session for so long, and tell drift and growth.
    #[arg(long, value_name = "N", conflicts_with_all = ["rounds", "congestion"])]
    minutes: Option<u32>,
    /// Instead take nine tenths of the path's rate away, under full motion and while a terminal
    /// scrolls, and watch the queue.
    #[arg(long, conflicts_with = "rounds")]
    congestion: bool,
    #[command(flatten)]
    cable: network::Cable,
    /// Where the report with its plots goes; default: `bench/desktop/report.html` in the build folder.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Size of the desktop and of the viewer's display.
    #[arg(long, value_name = "WxH", default_value = "1920x1080", value_parser = desktop::Size::parse)]
    size: desktop::Size,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    process::adopt_orphans();
    ground::prepare(Purpose::Test)?;
    if !options.no_build {
        up::build()?;
    }
    // The network ends here: what comes from it is fetched before.
    let peer = match options.rounds {
        0 => None,
        _ => Some(selkies::install()?),
    };
    let folder = target().join("bench/desktop");
    // A fresh browser profile and state each time: caches are a part of what is measured.
    let _ = fs::remove_dir_all(&folder);
    let mut crew = Crew::new(folder.join("logs"))?;
    let machine = meter::machine();
    let told = network::enter(options, &mut crew).and_then(|()| {
        match (options.minutes, options.congestion) {
            (Some(minutes), _) => soak(options, &folder, &mut crew, minutes).map(Told::Alone),
            (None, true) => congestion(options, &folder, &mut crew).map(Told::Alone),
            (None, false) => measure(options, &folder, peer.as_deref(), &mut crew)
                .map(|(turns, alone)| Told::Turns(Box::new(turns), alone)),
        }
    });
    crew.take_down();
    network::leave();
    process::sweep();
    match told? {
        Told::Alone(figures) => println!("{figures}"),
        Told::Turns(turns, alone) => tell(options, &folder, &machine, &turns, &alone)?,
    }
    Ok(())
}

/// What a run ends with.
enum Told {
    Turns(Box<Turns>, Value),
    /// One object, without a table.
    Alone(Value),
}

fn soak(options: &Options, folder: &Path, crew: &mut Crew, minutes: u32) -> Result<Value> {
    let stream = Stream::start(options, folder, crew)?;
    soak::measure(&stream.subject(), options, &folder.join("ours"), minutes)
}

fn congestion(options: &Options, folder: &Path, crew: &mut Crew) -> Result<Value> {
    let stream = Stream::start(options, folder, crew)?;
    congestion::measure(folder, &stream, options.cable)
}

fn tell(
    options: &Options,
    folder: &Path,
    machine: &str,
    turns: &Turns,
    alone: &Value,
) -> Result<()> {
    let default_page = folder.join("report.html");
    let page = options.report.as_deref().unwrap_or(&default_page);
    let run = report::Run {
        machine,
        size: options.size.to_string(),
        network: options.cable.to_string(),
        turns,
        alone,
    };
    fs::write(page, page::html(&run))
        .with_context(|| format!("cannot write {}", page.display()))?;
    print!("{}", run.table());
    println!("report: {}", page.display());
    if options.json {
        println!("{}", run.json());
    }
    Ok(())
}

/// Ours, up and waiting for viewers.
struct Stream {
    display: String,
    url: String,
    cloud: String,
    instance: String,
    access_key: PathBuf,
    agent_host: u32,
}

impl Stream {
    fn start(options: &Options, folder: &Path, crew: &mut Crew) -> Result<Self> {
        let state = folder.join("state");
        let (path, size) = (state.display().to_string(), options.size.to_string());
        // Not the running file: the build may have replaced it.
        let program = program("xtask").display().to_string();
        let address = network::host_address(options);
        let args = [
            "up",
            "--json",
            "--no-build",
            "--state",
            &path,
            "--size",
            &size,
            "--address",
            address,
        ];
        let up = stage::spec("up", &program, &args, "", Ready::Line(UP_LIMIT));
        let up = crew.start(network::at_host(options, up))?;
        let text = |name: &str| {
            let value = up[name].as_str().context("up names its parts")?;
            anyhow::Ok(value.to_owned())
        };
        let agent_host = up["pids"]["agent-host"].as_u64();
        Ok(Self {
            display: text("display")?,
            url: text("viewer_url")?,
            cloud: text("cloud")?,
            instance: text("instance")?,
            access_key: state.join("access-key"),
            agent_host: u32::try_from(agent_host.context("up names its processes")?)?,
        })
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            host: &self.display,
            url: &self.url,
            agent: self.agent_host,
        }
    }

    /// How the native viewer is told to come here.
    fn connect_args(&self) -> Vec<String> {
        let key = self.access_key.display().to_string();
        [
            "connect",
            "--cloud",
            &self.cloud,
            "--instance",
            &self.instance,
            "--token-file",
            &key,
        ]
        .map(str::to_owned)
        .into()
    }
}

/// The turns, and what is measured of ours alone, after them.
fn measure(
    options: &Options,
    folder: &Path,
    peer: Option<&Path>,
    crew: &mut Crew,
) -> Result<(Turns, Value)> {
    let stream = Stream::start(options, folder, crew)?;
    let mut turns = Turns {
        has_cable: network::has_cable(options),
        ..Turns::default()
    };
    opening::measure(options, folder, &stream, peer, &mut turns)?;
    if options.first_frame {
        return Ok((turns, Value::Null));
    }
    for round in 0..options.rounds.max(1) {
        // In alternate order: what the machine does meanwhile hits both.
        if round % 2 == 0 {
            ours(options, folder, &stream, &mut turns)?;
            theirs(options, folder, peer, &mut turns)?;
        } else {
            theirs(options, folder, peer, &mut turns)?;
            ours(options, folder, &stream, &mut turns)?;
        }
    }
    for crf in CURVE_CRFS {
        if let Some(program) = peer {
            eprintln!("Selkies at CRF {crf}");
            let mode = Mode::Quality { crf };
            let point = selkies::measure(options, folder, program, mode)?;
            turns.peer_curve.push(point);
        }
    }
    eprintln!("ours, full motion and first pictures");
    let alone = json!({
        "motion": turn::measure_motion(&stream.subject(), options, &folder.join("ours"))?,
        "native_motion": native::measure_motion(options, folder, &stream)?,
        "native_first_picture_ms": native::first_pictures(&stream)?,
    });
    Ok((turns, alone))
}

fn ours(options: &Options, folder: &Path, stream: &Stream, turns: &mut Turns) -> Result<()> {
    eprintln!("ours in Chromium");
    let turn = turn::measure(&stream.subject(), options, &folder.join("ours"))?;
    turns.ours.push(turn);
    eprintln!("ours in the native window");
    turns.native.push(native::measure(options, folder, stream)?);
    Ok(())
}

fn theirs(options: &Options, folder: &Path, peer: Option<&Path>, turns: &mut Turns) -> Result<()> {
    let Some(program) = peer else {
        return Ok(());
    };
    eprintln!("Selkies at its best");
    let best = selkies::measure(options, folder, program, Mode::Best)?;
    turns.peer.push(best);
    if options.with_default_mode {
        eprintln!("Selkies as it comes");
        let default = selkies::measure(options, folder, program, Mode::Default)?;
        turns.peer_default.push(default);
    }
    Ok(())
}
