//! Flags of `multiclaw-viewer`, its log, and its exit codes: 0 clean, 2 bad configuration, 1
//! otherwise.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use peer::Sound;
use peer::io::Trust;
use protocol::Secret;
use protocol::control::Quality;
use protocol::id::InstanceId;
use protocol::signal::PathMode;

use super::connect::{self, Options};
use super::load;
use super::port;
use super::window::{self, Fit};

/// Watches and uses a cloud desktop.
#[derive(Parser)]
#[command(name = "multiclaw-viewer", version = version(), after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: What,
}

const EXAMPLES: &str = "Examples:
  multiclaw-viewer connect --cloud https://cloud.example --instance desk --token-file key.txt
  multiclaw-viewer connect … --mode relay --headless --stats json --duration 10 --snapshot last.png
  multiclaw-viewer connect … --quality data-saver
  multiclaw-viewer load --cloud … --instance desk --token-file key.txt --sessions 50 --rate 5 \\
    --strip-display :90 --pid agent-host=1234 --metrics relay=http://127.0.0.1:9641/metrics \\
    --html report.html --slo bounds.toml

In the window, Control+Alt+Shift and
  F  full screen, and back
  S  the desktop takes the window's size, and back
  L  the pointer is held for programs that turn a view with it, and let go
  Q  disconnect; programs on the desktop go on running";

#[derive(Subcommand)]
enum What {
    /// Open a session on an instance.
    Connect(Connect),
    /// Load-test the service: many sessions, and how late everything is.
    Load(load::flags::Load),
    /// Draw the strip that a load test reads on a desktop, until stopped.
    Strip(load::flags::Strip),
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
}

#[derive(clap::Args)]
struct Connect {
    /// URL of the service.
    #[arg(long, env = "MULTICLAW_CLOUD")]
    cloud: String,
    /// Name of the instance.
    #[arg(long)]
    instance: InstanceId,
    /// File that holds the access key.
    #[arg(long)]
    token_file: PathBuf,
    /// File of certificate authorities (PEM) that relays over TLS may come from, besides the
    /// system's.
    #[arg(long, value_name = "FILE", env = "MULTICLAW_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Which paths may be taken.
    #[arg(long, value_enum, default_value = "auto")]
    mode: Mode,
    /// How the picture is made: as the network allows, with sharp text before smooth motion, with
    /// half of the frames, or with as few bytes as work allows. Among several viewers the most
    /// frugal choice decides; who only watches has none.
    #[arg(long, default_value = "auto", value_parser = qualities())]
    quality: Quality,
    /// Without a window: decode and print what was measured, once a second.
    #[arg(long)]
    headless: bool,
    /// Whether the desktop is scaled into the window or takes its size.
    #[arg(long, value_enum, default_value = "scale", conflicts_with = "headless")]
    fit: FitChoice,
    /// How to print what was measured; given with a window, it is printed there too.
    #[arg(long, value_enum)]
    stats: Option<Stats>,
    /// Leave after so many seconds; it is a failure if no picture came.
    #[arg(long, value_name = "SECS")]
    duration: Option<f64>,
    /// Without sound: none is asked for.
    #[arg(long)]
    mute: bool,
    /// Write the last picture to FILE.png or FILE.ppm.
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Mode {
    Auto,
    Direct,
    Relay,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Stats {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum FitChoice {
    Scale,
    Match,
}

fn qualities() -> impl TypedValueParser<Value = Quality> {
    PossibleValuesParser::new(Quality::ALL.map(Quality::as_str)).try_map(|name| name.parse())
}

impl Mode {
    pub(super) fn path_mode(self) -> PathMode {
        match self {
            Self::Auto => PathMode::Auto,
            Self::Direct => PathMode::Direct,
            Self::Relay => PathMode::Relay,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

fn version() -> &'static str {
    option_env!("MULTICLAW_COMMIT").unwrap_or("unknown")
}

/// The program.
pub fn main() -> ExitCode {
    match Args::parse().command {
        What::Completions { shell } => {
            let mut command = Args::command();
            clap_complete::generate(
                shell,
                &mut command,
                "multiclaw-viewer",
                &mut std::io::stdout(),
            );
            ExitCode::SUCCESS
        }
        What::Load(flags) => {
            log_to_stderr(flags.log_format);
            match load::flags::plan(flags) {
                Err(error) => told(&error, 2),
                Ok(plan) => match runtime().and_then(|runtime| load::run(&runtime, plan)) {
                    Err(error) => told(&error, 1),
                    Ok(code) => code,
                },
            }
        }
        What::Strip(flags) => {
            log_to_stderr(LogFormat::Text);
            match load::flags::draw(&flags) {
                Err(error) => told(&error, 1),
                Ok(()) => ExitCode::SUCCESS,
            }
        }
        What::Connect(flags) => {
            log_to_stderr(flags.log_format);
            let fit = match (flags.headless, flags.fit) {
                (true, _) => None,
                (false, FitChoice::Scale) => Some(Fit::Scale),
                (false, FitChoice::Match) => Some(Fit::Match),
            };
            match options(flags) {
                Err(error) => told(&error, 2),
                Ok(options) => match run(options, fit) {
                    Err(error) => told(&error, 1),
                    Ok(()) => ExitCode::SUCCESS,
                },
            }
        }
    }
}

fn told(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::from(code)
}

fn options(flags: Connect) -> anyhow::Result<Options> {
    check_cloud(&flags.cloud)?;
    let key = read_key(&flags.token_file)?;
    let trust = flags.ca_file.as_deref().map(Trust::with_file).transpose()?;
    let duration = flags.duration.map(Duration::try_from_secs_f64).transpose();
    Ok(Options {
        cloud: flags.cloud,
        instance: flags.instance,
        key,
        mode: flags.mode.path_mode(),
        quality: flags.quality,
        json: flags.stats == Some(Stats::Json),
        prints: flags.headless || flags.stats.is_some(),
        duration: duration.context("--duration is not a time")?,
        snapshot: flags.snapshot,
        trust: trust.unwrap_or_default(),
        sound: match flags.mute {
            true => Sound::Unwanted,
            false => Sound::Wanted,
        },
        visitor: None,
    })
}

pub(super) fn check_cloud(cloud: &str) -> anyhow::Result<()> {
    let plain = cloud.starts_with("http://") || cloud.starts_with("https://");
    anyhow::ensure!(plain, "--cloud must start with http:// or https://");
    Ok(())
}

pub(super) fn read_key(file: &Path) -> anyhow::Result<Secret> {
    let key = std::fs::read_to_string(file).map_err(|error| {
        let shown = file.display();
        anyhow!(
            "cannot read the access key in {shown}: {error}; pass another file with --token-file"
        )
    })?;
    Ok(Secret::new(key.trim()))
}

/// `fit` if there is to be a window.
fn run(options: Options, fit: Option<Fit>) -> anyhow::Result<()> {
    let Some(fit) = fit else {
        return runtime()?.block_on(connect::run(options, None));
    };
    let events = window::event_loop()?;
    let waker = window::waker(&events);
    let (to_window, to_session) = port::ports(&waker);
    let (runtime, name) = (runtime()?, options.instance.to_string());
    let session = std::thread::Builder::new().name("session".into());
    let session = session
        .spawn(move || {
            let ended = runtime.block_on(connect::run(options, Some(to_window)));
            // Nobody to tell if the window went first.
            let _ = waker.send_event(port::ToWindow::Over);
            ended
        })
        .context("the system has no thread left")?;
    let shown = window::run(events, to_session, &name, fit);
    let ended = session.join();
    shown?;
    ended.map_err(|_| anyhow::anyhow!("the session's thread failed"))?
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

fn log_to_stderr(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
