//! Puts load on a real `multiclaw-cloud` and measures it beside the bars of its issue; prints a table
//! and one JSON object. `cargo xtask bench cloud` runs it.
//!
//! Generator and service share the machine's processors: every figure is a lower bound.
#![expect(
    clippy::disallowed_methods,
    reason = "a measuring program owns its clock and its tasks"
)]

mod apart;
mod crowd;
mod flood;
mod ground;
mod http;
mod revocation;
mod rows;
mod socket;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use serde_json::{Value, json};

#[derive(Parser)]
enum Command {
    /// Every row of the table.
    Measure(Options),
    /// The clients of one of them.
    Crowd(crowd::Options),
    /// Too many sign-ins at once.
    Flood(flood::Options),
}

#[derive(clap::Args)]
struct Options {
    /// The program to measure.
    #[arg(long)]
    cloud: PathBuf,
    /// Measured seconds per row.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Agent hosts that are connected and do nothing.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Agent hosts, and as many viewers, of which a node's death is survived.
    #[arg(long, default_value_t = 10_000)]
    crowd: usize,
    /// Measure only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Part>,
}

/// Rows that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    SignIns,
    Checks,
    Memory,
    Openings,
    CrossNode,
    Revocation,
    NodeDeath,
}

/// One line of the table.
struct Row {
    name: &'static str,
    figure: f64,
    unit: &'static str,
    bar: Bar,
    more: Value,
}

enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    fn is_met(&self) -> bool {
        match self.bar {
            Bar::AtMost(bar) => self.figure <= bar,
            Bar::AtLeast(bar) => self.figure >= bar,
        }
    }

    fn line(&self) -> String {
        let bar = match self.bar {
            Bar::AtMost(bar) => format!("≤ {bar}"),
            Bar::AtLeast(bar) => format!("≥ {bar}"),
        };
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        let (name, figure, unit) = (self.name, self.figure, self.unit);
        format!("{name:<58} {figure:>10.2} {unit:<6} {bar:>8}  {verdict}")
    }

    fn json(&self) -> Value {
        let bar = match self.bar {
            Bar::AtMost(bar) => json!({ "at_most": bar }),
            Bar::AtLeast(bar) => json!({ "at_least": bar }),
        };
        json!({
            "row": self.name,
            "figure": self.figure,
            "unit": self.unit,
            "bar": bar,
            "met": self.is_met(),
            "more": self.more,
        })
    }
}

fn main() -> Result<()> {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let rows = match command {
        Command::Measure(options) => runtime.block_on(measure(&options))?,
        Command::Crowd(options) => return runtime.block_on(crowd::run(&options)),
        Command::Flood(options) => return runtime.block_on(flood::run(options)),
    };
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    println!("{}", json!({ "bench": "cloud", "rows": rows }));
    Ok(())
}

async fn measure(options: &Options) -> Result<Vec<Row>> {
    let mut table = Table::default();
    let seconds = Duration::from_secs_f64(options.seconds);
    let wanted = |part| options.rows.is_empty() || options.rows.contains(&part);
    let ground = ground::Ground::start(&options.cloud, options.agents).await?;
    if wanted(Part::SignIns) {
        table.add(rows::sign_ins_of_limit(&ground, seconds).await?);
    }
    if wanted(Part::Checks) {
        table.add(rows::checks_in_a_flood(&ground, seconds).await?);
    }
    if wanted(Part::Memory) || wanted(Part::Openings) {
        let agents = rows::connect_agents(&ground, options.agents).await?;
        if wanted(Part::Memory) {
            table.add(rows::memory(&ground, &agents)?);
        }
        if wanted(Part::Openings) {
            for row in rows::openings(&ground, seconds).await? {
                table.add(row);
            }
        }
    }
    drop(ground);
    if wanted(Part::CrossNode) {
        table.add(apart::cross_node(seconds).await?);
    }
    if wanted(Part::Revocation) {
        table.add(revocation::across_nodes().await?);
    }
    if wanted(Part::NodeDeath) {
        for row in apart::node_death(options.crowd).await? {
            table.add(row);
        }
    }
    Ok(table.0)
}

/// Shown as it grows.
#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, row: Row) {
        eprintln!("{}", row.line());
        self.0.push(row);
    }
}
