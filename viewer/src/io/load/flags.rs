//! Flags of `multiclaw-viewer load` and `strip`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use peer::io::Trust;
use protocol::id::InstanceId;

use super::super::args::{LogFormat, Mode, check_cloud, read_key};
use super::parts::Source;
use super::strip_window::StripWindow;
use super::{Files, Plan, StripPlan};
use crate::load::arrivals::Spacing;
use crate::load::report::Asked;
use crate::load::slo;

/// Sessions of one load: each has two threads here.
const SESSIONS_MAX: u64 = 2000;

#[derive(clap::Args)]
pub(in crate::io) struct Load {
    /// URL of the service.
    #[arg(long, env = "MULTICLAW_CLOUD")]
    cloud: String,
    /// Name of an instance; given several times, sessions go to each in turn.
    #[arg(long, required = true)]
    instance: Vec<InstanceId>,
    /// File that holds the access key, one for each instance.
    #[arg(long, required = true)]
    token_file: Vec<PathBuf>,
    /// File of certificate authorities (PEM) that relays over TLS may come from, besides the
    /// system's.
    #[arg(long, value_name = "FILE", env = "MULTICLAW_CA_FILE")]
    ca_file: Option<PathBuf>,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=SESSIONS_MAX))]
    sessions: u64,
    /// Arrivals per second, whether or not the service keeps up.
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    #[arg(long, value_enum, default_value = "poisson")]
    arrivals: Arrivals,
    /// Each session leaves so many seconds after its arrival.
    #[arg(long, value_name = "SECS", default_value_t = 10.0)]
    hold: f64,
    /// Which paths may be taken.
    #[arg(long, value_enum, default_value = "auto")]
    mode: Mode,
    /// One session in K decodes its pictures and reads the strip; the others count frames.
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    decode_every: u64,
    /// Draw the strip on this X display, if the desktop is on this machine.
    #[arg(long, value_name = ":N", conflicts_with = "strip")]
    strip_display: Option<String>,
    /// The strip is drawn by `multiclaw-viewer strip` on the desktop.
    #[arg(long)]
    strip: bool,
    /// Corner of the strip on the desktop.
    #[arg(long, value_name = "X,Y", default_value = "64,64", value_parser = corner)]
    strip_at: (u32, u32),
    /// Mean of the random pause between the clicks of a session that reads the strip; 0: no clicks.
    #[arg(long, value_name = "SECS", default_value_t = 1.0)]
    click_every: f64,
    /// Add up what a process spends: NAME=PID.
    #[arg(long, value_name = "NAME=PID", value_parser = named::<u32>)]
    pid: Vec<(String, u32)>,
    /// Add up what a part's counters of bytes say: NAME=URL.
    #[arg(long, value_name = "NAME=URL", value_parser = named::<String>)]
    metrics: Vec<(String, String)>,
    /// The same seed makes the same timetable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the report as one JSON object in the last line, too.
    #[arg(long)]
    json: bool,
    /// Write the histograms as an HdrHistogram log.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write the report as one self-contained page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// TOML file of bounds; exit code 1 if one is missed.
    #[arg(long, value_name = "FILE")]
    slo: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    pub(in crate::io) log_format: LogFormat,
}

#[derive(clap::Args)]
pub(in crate::io) struct Strip {
    /// X display of the desktop.
    #[arg(long, env = "DISPLAY")]
    display: String,
    /// Corner of the strip.
    #[arg(long, value_name = "X,Y", default_value = "64,64", value_parser = corner)]
    at: (u32, u32),
}

#[derive(Clone, Copy, ValueEnum)]
enum Arrivals {
    Fixed,
    Poisson,
}

fn corner(text: &str) -> Result<(u32, u32), String> {
    let parsed = text
        .split_once(',')
        .and_then(|(x, y)| Some((x.parse::<u16>().ok()?, y.parse::<u16>().ok()?)));
    let (x, y) = parsed.ok_or("write it as X,Y in pixels")?;
    Ok((x.into(), y.into()))
}

fn named<T: std::str::FromStr>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let value = value
        .parse()
        .map_err(|_| format!("{value} makes no sense here"))?;
    Ok((name.to_owned(), value))
}

/// # Errors
///
/// A flag or a file that makes no sense.
pub(in crate::io) fn plan(flags: Load) -> anyhow::Result<Plan> {
    check_cloud(&flags.cloud)?;
    anyhow::ensure!(
        flags.instance.len() == flags.token_file.len(),
        "give one --token-file for each --instance"
    );
    anyhow::ensure!(flags.rate > 0.0, "--rate must be more than 0");
    let keys = flags.token_file.iter().map(|file| read_key(file));
    let keys: anyhow::Result<Vec<_>> = keys.collect();
    let bounds = flags.slo.map(|file| {
        let text = std::fs::read_to_string(&file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        slo::parse(&text).with_context(|| format!("{} makes no sense", file.display()))
    });
    let trust = flags.ca_file.as_deref().map(Trust::with_file).transpose()?;
    let (spacing, arrivals) = match flags.arrivals {
        Arrivals::Fixed => (Spacing::Fixed, "fixed"),
        Arrivals::Poisson => (Spacing::Poisson, "poisson"),
    };
    let mode = flags.mode.to_possible_value();
    let sessions = usize::try_from(flags.sessions)?;
    let decode_every = usize::try_from(flags.decode_every)?;
    let secs = |secs: f64, flag: &str| {
        Duration::try_from_secs_f64(secs).with_context(|| format!("{flag} is not a time"))
    };
    let read = flags.strip || flags.strip_display.is_some();
    let strip = read.then_some(StripPlan {
        display: flags.strip_display,
        corner: flags.strip_at,
        click_every: Some(secs(flags.click_every, "--click-every")?).filter(|t| !t.is_zero()),
    });
    Ok(Plan {
        cloud: flags.cloud,
        targets: flags.instance.into_iter().zip(keys?).collect(),
        spacing,
        hold: secs(flags.hold, "--hold")?,
        mode: flags.mode.path_mode(),
        trust: trust.unwrap_or_default(),
        strip,
        sources: sources(flags.pid, flags.metrics),
        asked: Asked {
            sessions,
            per_second: flags.rate,
            arrivals: arrivals.to_owned(),
            seed: flags.seed,
            hold_secs: flags.hold,
            decode_every,
            mode: mode.map_or(String::new(), |mode| mode.get_name().to_owned()),
        },
        bounds: bounds.transpose()?,
        files: Files {
            json: flags.json,
            hdr: flags.hdr,
            html: flags.html,
        },
    })
}

/// A process and its counters are one part if they have one name.
fn sources(pids: Vec<(String, u32)>, metrics: Vec<(String, String)>) -> Vec<Source> {
    let mut sources: Vec<Source> = pids
        .into_iter()
        .map(|(name, pid)| Source {
            name,
            pid: Some(pid),
            metrics: None,
        })
        .collect();
    for (name, url) in metrics {
        match sources.iter_mut().find(|source| source.name == name) {
            Some(source) => source.metrics = Some(url),
            None => sources.push(Source {
                name,
                pid: None,
                metrics: Some(url),
            }),
        }
    }
    sources
}

/// Draws the strip until the display goes or the program is stopped.
///
/// # Errors
///
/// No display.
pub(in crate::io) fn draw(flags: &Strip) -> anyhow::Result<()> {
    let window = StripWindow::open(&flags.display, flags.at, rand::random())?;
    println!("{{\"ready\":\"strip\",\"display\":{:?}}}", flags.display);
    window.run()
}
