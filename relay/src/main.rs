//! `multiclaw-relay`: reads the command line and runs the relay.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use relay::doctor::Verdict;
use relay::io::log::{self, LogThread};
use relay::io::{Start, bench, doctor, load, run};
use tracing_subscriber::EnvFilter;

/// The commit this program was built from.
const COMMIT: &str = match option_env!("MULTICLAW_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The TURN server of one region.
#[derive(Parser)]
#[command(
    name = "multiclaw-relay",
    version = COMMIT,
    after_help = "Examples:\n  multiclaw-relay --config relay.toml\n  multiclaw-relay --config relay.toml --check-config\n  multiclaw-relay --config relay.toml doctor\n  multiclaw-relay completions bash"
)]
struct Flags {
    /// The configuration file (TOML).
    #[arg(
        long,
        env = "MULTICLAW_RELAY_CONFIG",
        default_value = "relay.toml",
        global = true
    )]
    config: PathBuf,
    /// Reads and checks the configuration, certificates included, and stops.
    #[arg(long)]
    check_config: bool,
    /// Worker threads; 0 means one per core. Overrides the file.
    #[arg(long, env = "MULTICLAW_RELAY_WORKERS")]
    workers: Option<usize>,
    /// How logs are written to stderr; RUST_LOG chooses what.
    #[arg(long, env = "MULTICLAW_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Puts load on a TURN server, ours or another's, and measures what comes of it.
    Bench(bench::Args),
    /// Looks at this relay from its own machine: ports, certificate, addresses, buffers, clock.
    Doctor(doctor::Args),
    /// Prints a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let _logs = match start_logs(flags.log_format) {
        Ok(logs) => logs,
        Err(error) => return finish(Err(error)),
    };
    match flags.command {
        Some(Command::Completions { shell }) => return print_completions(shell),
        Some(Command::Bench(args)) => return finish(bench::run(args)),
        Some(Command::Doctor(args)) => return examine(&flags.config, &args),
        None => {}
    }
    let mut config = match load(&flags.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("multiclaw-relay: {error:#}");
            return ExitCode::from(2);
        }
    };
    if flags.check_config {
        println!("{} is good", flags.config.display());
        return ExitCode::SUCCESS;
    }
    config.workers = flags.workers.unwrap_or(config.workers);
    finish(run(Start {
        config_file: flags.config,
        config,
    }))
}

fn print_completions(shell: clap_complete::Shell) -> ExitCode {
    let mut command = Flags::command();
    let mut out = std::io::stdout();
    clap_complete::generate(shell, &mut command, "multiclaw-relay", &mut out);
    ExitCode::SUCCESS
}

/// Fails if clients cannot get through.
fn examine(config: &Path, args: &doctor::Args) -> ExitCode {
    let diagnosis = match doctor::examine(config, args) {
        Ok(diagnosis) => diagnosis,
        Err(error) => return finish(Err(error)),
    };
    if args.json {
        println!("{}", serde_json::json!(diagnosis));
    } else {
        print!("{diagnosis}");
    }
    match diagnosis.verdict {
        Verdict::Good | Verdict::Warning => ExitCode::SUCCESS,
        Verdict::Bad => ExitCode::FAILURE,
    }
}

fn finish(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("multiclaw-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_logs(format: LogFormat) -> Result<LogThread> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, thread) = log::start(std::io::stderr()).context("cannot start the log")?;
    let logs = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(thread)
}
