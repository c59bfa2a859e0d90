//! `multiclaw-agent-host`: flags, configuration, logs, signals, exit codes.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent_host::config::{Config, Overrides};
use agent_host::encode::EncoderChoice;
use agent_host::io::agent::{Agent, Happening, Threads, happenings};
use agent_host::io::trial::choose_encoder;
use agent_host::io::wait;
use agent_host::io::{bench, hands, screen, sound, stop};
use anyhow::{Context as _, anyhow};
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use peer::io::Trust;
use protocol::Secret;
use protocol::control::Quality;

const COMMIT: &str = match option_env!("MULTICLAW_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

const EXAMPLES: &str = "Examples:
  multiclaw-agent-host --config /etc/multiclaw/agent-host.toml
  multiclaw-agent-host --config agent-host.toml --display :90 --check-config
  multiclaw-agent-host bench --seconds 5 --json";

/// Shows this machine's desktop to the viewers the cloud lets in.
#[derive(Parser)]
#[command(name = "multiclaw-agent-host", version = COMMIT, after_help = EXAMPLES)]
struct Flags {
    /// Configuration file (TOML)
    #[arg(long, env = "MULTICLAW_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and leave
    #[arg(long)]
    check_config: bool,
    /// The service's URL
    #[arg(long, env = "MULTICLAW_CLOUD")]
    cloud: Option<String>,
    /// Name of this instance
    #[arg(long, env = "MULTICLAW_INSTANCE")]
    instance: Option<String>,
    /// File that holds the instance's credential
    #[arg(long, env = "MULTICLAW_CREDENTIAL_FILE")]
    credential_file: Option<PathBuf>,
    /// X display to show
    #[arg(long, env = "MULTICLAW_DISPLAY")]
    display: Option<String>,
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Draw on an X display and print what each stage of the picture costs
    Bench {
        /// Display to draw on; without it an Xvfb of its own is started
        #[arg(long)]
        on: Option<String>,
        #[arg(long, default_value = "1920x1080")]
        size: String,
        /// Encoder: auto, x264, openh264, vaapi or nvenc (those two untested on hardware)
        #[arg(long, default_value = "auto")]
        encoder: String,
        /// What the viewers chose: auto, sharp (which brings 4:4:4), balanced or data-saver
        #[arg(long, default_value = "auto")]
        quality: Quality,
        /// Length of each workload
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// One JSON object instead of the table
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
}

/// Whose fault it is decides the exit code.
enum Failure {
    Configuration(anyhow::Error),
    Other(anyhow::Error),
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    wait::take_little_memory();
    start_log(flags.log_format);
    let (error, code) = match run(flags) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Configuration(error)) => (error, 2),
        Err(Failure::Other(error)) => (error, 1),
    };
    eprintln!("multiclaw-agent-host: {error:#}");
    ExitCode::from(code)
}

fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MULTICLAW_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

fn run(flags: Flags) -> Result<(), Failure> {
    match flags.command {
        Some(Subcommands::Completions { shell }) => {
            let name = "multiclaw-agent-host";
            clap_complete::generate(shell, &mut Flags::command(), name, &mut std::io::stdout());
            Ok(())
        }
        Some(Subcommands::Bench {
            on,
            size,
            encoder,
            quality,
            seconds,
            json,
        }) => {
            let encoder = encoder.parse::<EncoderChoice>();
            let encoder = encoder.map_err(|e| Failure::Configuration(e.into()))?;
            let coding = (encoder, quality);
            run_bench(on, &size, coding, Duration::from_secs(seconds), json).map_err(Failure::Other)
        }
        None => {
            let check_only = flags.check_config;
            let config = load(flags).map_err(Failure::Configuration)?;
            let credential = read_credential(&config).map_err(Failure::Configuration)?;
            let trust = read_trust(&config).map_err(Failure::Configuration)?;
            if check_only {
                return Ok(());
            }
            serve(config, credential, trust).map_err(Failure::Other)
        }
    }
}

fn load(flags: Flags) -> anyhow::Result<Config> {
    let text = match &flags.config {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            let shown = path.display();
            anyhow!("cannot read {shown}: {error}; pass another file with --config")
        })?,
        None => String::new(),
    };
    let overrides = Overrides {
        cloud: flags.cloud,
        instance: flags.instance,
        credential_file: flags.credential_file,
        display: flags.display,
    };
    let place = flags.config.unwrap_or_default();
    Config::parse(&text, overrides).with_context(|| place.display().to_string())
}

fn read_credential(config: &Config) -> anyhow::Result<Secret> {
    let path = &config.credential_file;
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the credential file {} cannot be read", path.display()))?;
    anyhow::ensure!(
        !text.trim().is_empty(),
        "the credential file {} is empty; make one with `multiclaw-cloud instance create`",
        path.display()
    );
    Ok(Secret::new(text.trim()))
}

fn read_trust(config: &Config) -> anyhow::Result<Trust> {
    let file = config.network.ca_file.as_deref();
    Ok(file.map(Trust::with_file).transpose()?.unwrap_or_default())
}

fn serve(config: Config, credential: Secret, trust: Trust) -> anyhow::Result<()> {
    let encoder = choose_encoder(config.video.encoder)?.encoder;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (happen, happened) = happenings();
    let (from_screen, from_hands) = (happen.clone(), happen.clone());
    let screen = screen::start(
        &config.display,
        encoder,
        config.video.chroma,
        // Nothing is lost by a report too many: the task is gone or far behind.
        Box::new(move |report| drop(from_screen.try_send(Happening::Screen(report)))),
    )
    .with_context(|| no_display(&config.display))?;
    let hands = hands::start(
        &config.display,
        Box::new(move |report| drop(from_hands.try_send(Happening::Hands(report)))),
    )
    .with_context(|| no_display(&config.display))?;
    let sound = sound::start(&config.audio).context("the sound thread cannot be started")?;
    // Made once, before the first viewer waits for it.
    peer::Certificate::of_this_process();
    let ready = serde_json::json!({
        "ready": "agent-host",
        "instance": config.instance.as_str(),
        "display": config.display,
        "encoder": encoder.as_str(),
        "pid": std::process::id(),
    });
    println!("{ready}");
    let threads = Threads {
        screen,
        hands,
        sound,
    };
    let agent = Agent::new(config, credential, trust, threads, (happen, happened));
    runtime.block_on(async {
        let stop = stop::asked()?;
        agent.run(stop).await
    })
}

fn no_display(display: &str) -> String {
    format!(
        "the display {display} cannot be used; start an X server there (Xvfb {display} -screen 0 \
         1920x1080x24) or name another with --display"
    )
}

fn run_bench(
    on: Option<String>,
    size: &str,
    (encoder, quality): (EncoderChoice, Quality),
    time: Duration,
    json: bool,
) -> anyhow::Result<()> {
    let chosen = choose_encoder(encoder)?;
    let (display, _server) = match on {
        Some(display) => (display, None),
        None => {
            let server = bench::Xvfb::start(size)?;
            (server.display.clone(), Some(server))
        }
    };
    let report = bench::run(&display, &chosen, quality, time)?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
