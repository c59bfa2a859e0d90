//! `cargo xtask`: the newcomer's and developer's commands. Everything here is a shell around other
//! programs; what can be decided without running one is a pure function with its test beside it.
//! Nothing started here outlives the command that started it.
#![expect(
    clippy::disallowed_methods,
    reason = "a command-line shell owns its clock and its waiting; there is no core here"
)]

mod bundle;
mod cloud_bench;
mod desktop_bench;
mod ground;
mod interop;
mod lint;
mod process;
mod relay_bench;
mod repository;
mod run;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of the MultiClaw workspace.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing, build, and run a whole MultiClaw on this machine until Ctrl-C.
    Up(up::Options),
    /// Install what the tests need and run all of them. This is what CI runs.
    Test(test::Options),
    /// Measure, with a peer beside it.
    #[command(subcommand)]
    Bench(Bench),
    /// Let other people's TURN clients talk through our relay, each over every transport it speaks.
    Interop(interop::Options),
    /// Put the modules and stylesheets of the viewer's page into one file each, to be committed.
    Bundle,
    /// Check formatting and clippy's warnings.
    Lint,
    /// Check that every core compiles without its `io`: no runtime, no sockets, no clock.
    Wall,
    /// Say what this machine lacks for `up` and `test`, without installing anything.
    Doctor,
}

#[derive(Subcommand)]
enum Bench {
    /// The cloud: sign-ins, openings and memory of one with SQLite, and what three nodes do.
    Cloud(cloud_bench::Options),
    /// The whole path beside Selkies: picture change and click to pixel, first frame, CPU, bytes.
    #[command(visible_alias = "latency")]
    Desktop(desktop_bench::Options),
    /// Our relay beside coturn.
    Relay(relay_bench::Options),
}

fn main() -> ExitCode {
    process::stop::listen();
    let outcome = match Options::parse().command {
        Command::Up(options) => up::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(Bench::Cloud(options)) => cloud_bench::run(&options),
        Command::Bench(Bench::Desktop(options)) => desktop_bench::run(&options),
        Command::Bench(Bench::Relay(options)) => relay_bench::run(&options),
        Command::Interop(options) => interop::run(&options),
        Command::Bundle => bundle::run(),
        Command::Lint => lint::run_lint(),
        Command::Wall => lint::run_wall(),
        Command::Doctor => ground::report(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
