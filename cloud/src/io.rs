//! The shell: flags, database, HTTP, and the start and end of the process.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

mod admin;
mod api;
mod args;
mod container;
mod desktops;
mod driver;
mod embedded;
mod identity;
mod keeper;
mod metrics;
mod openapi;
mod pages;
mod pepper_file;
mod problems;
mod run;
mod state;
mod status;
pub mod store;
mod system;

use anyhow::Context;
use clap::Parser;

use crate::config::ConfigError;

/// The whole program; returns its exit code.
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    match start(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("multiclaw-cloud: {error:#}");
            // The contract: 2 for bad configuration, 1 otherwise.
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

fn print_openapi() -> anyhow::Result<()> {
    let text = format!("{:#}\n", openapi::document());
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads it, `head` for one, has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn start(args: &args::Args) -> anyhow::Result<()> {
    if let Some(args::Command::Completions { shell }) = &args.command {
        args::print_completions(*shell);
        return Ok(());
    }
    if let Some(args::Command::Openapi) = &args.command {
        return print_openapi();
    }
    let config = args.configuration()?;
    if args.check_config {
        identity::Outbox::check(&config)?;
        pepper_file::read(&config.identity)?;
        eprintln!("The configuration is sound.");
        return Ok(());
    }
    system::keep_memory_private();
    system::return_large_blocks();
    run::init_logs(args.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot start")?;
    runtime.block_on(async {
        match &args.command {
            Some(command) => admin::execute(command, &config).await,
            None => run::serve(&config).await,
        }
    })
}
