//! `cargo xtask bench relay`: our relay beside coturn, A B A B, in network namespaces.
//!
//! Client and peer each live in a namespace of their own, the relay in a third; veth pairs join
//! them, and one more joins client and peer directly for calibration. The server has one processor
//! and the generator the other. Where the bar is near what the machine makes of any program that
//! receives and sends, such a program is measured too: the floor. Each figure is the median over
//! the rounds; what a figure means is beside its row in `rows`.

mod lab;
mod report;
mod rows;

use std::path::PathBuf;

use anyhow::{Result, ensure};

use self::lab::{Kind, Lab};
use self::report::Report;
use self::rows::{Row, Samples};

/// Fewer rounds than this do not average out what the machine does besides.
const ROUNDS_MIN: usize = 6;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
    /// Rounds, each measuring both servers.
    #[arg(long, default_value_t = ROUNDS_MIN)]
    rounds: usize,
    /// Measured seconds per figure and round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these rows.
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Measure coturn against itself: what the machine's noise alone makes of the ratios.
    #[arg(long)]
    control: bool,
    /// The relay to measure; default: the release build of this workspace.
    #[arg(long, default_value = "target/release/multiclaw-relay")]
    binary: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        options.binary.is_file(),
        "{} is missing; build it with: cargo build --release -p relay",
        options.binary.display()
    );
    let lab = Lab::build(options.binary.canonicalize()?, options.seconds)?;
    let ours = if options.control {
        Kind::Coturn
    } else {
        Kind::MultiClaw
    };
    let rows = if options.rows.is_empty() {
        Row::ALL.to_vec()
    } else {
        options.rows.clone()
    };
    let mut samples: Vec<Samples> = rows.iter().map(|&row| Samples::new(row)).collect();
    for round in 0..options.rounds {
        for samples in &mut samples {
            eprintln!(
                "round {} of {}: {}",
                round + 1,
                options.rounds,
                samples.row.title()
            );
            samples.measure(&lab, [ours, Kind::Coturn])?;
        }
    }
    let report = Report::new(&samples, options.rounds)?;
    eprintln!("{}", report.table());
    if options.json {
        println!("{}", report.json());
    }
    Ok(())
}
