//! `cargo xtask bench cloud`: load on one cloud with SQLite, and on three nodes with PostgreSQL and
//! NATS, beside the bars they have to meet. The generator is a program of `tests`, `cloud-load`,
//! which says how each figure is measured.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::repository;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
    /// Measured seconds per figure.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Agent hosts that are connected and do nothing.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Agent hosts, and as many viewers, of which a node's death is survived.
    #[arg(long, default_value_t = 10_000)]
    crowd: usize,
    /// Measure only these, e.g. `sign-ins,checks`.
    #[arg(long, value_name = "NAME,…")]
    rows: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut load = Command::new(repository::program("cloud-load"));
    load.args(["measure", "--cloud"])
        .arg(repository::program("multiclaw-cloud"));
    load.args(["--seconds", &options.seconds.to_string()]);
    load.args(["--agents", &options.agents.to_string()]);
    load.args(["--crowd", &options.crowd.to_string()]);
    if let Some(rows) = &options.rows {
        load.args(["--rows", rows]);
    }
    load.stderr(std::process::Stdio::inherit());
    let done = load.output().context(
        "cloud-load is missing; build it with: cargo build --release --workspace --features tests/net",
    )?;
    ensure!(
        done.status.success(),
        "the load could not be put on the cloud"
    );
    if options.json {
        print!("{}", String::from_utf8_lossy(&done.stdout));
    }
    Ok(())
}
