//! `cargo xtask interop`: other people's TURN clients against our real relay, one at a time, each
//! over every transport it speaks. That its payload went through the relay is read from the relay's
//! own counters, and every client also has to be turned away with a wrong password: a client that
//! finds another way would show there.

mod clients;
mod house;
mod report;
mod tools;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process;
use crate::run::{self, Echo, Finished, last_lines};

use clients::{Attempt, Client, Expect};
use house::{Counters, House};
use report::{Outcome, Report, Verdict};

/// Longest one attempt may take; each client bounds itself more tightly.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(60);
/// Lines of a failing client's output that are shown.
const TAIL_LINES: usize = 6;

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
    /// Only clients whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Name the attempts and make none.
    #[arg(long)]
    list: bool,
    /// Use the programs as they were built last.
    #[arg(long)]
    no_build: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted: Vec<Client> = Client::ALL
        .into_iter()
        .filter(|client| {
            options
                .only
                .as_ref()
                .is_none_or(|text| client.name().contains(text.as_str()))
        })
        .collect();
    let attempts: Vec<Attempt> = wanted.iter().flat_map(|client| client.attempts()).collect();
    if options.list {
        attempts.iter().for_each(|it| println!("{}", it.title()));
        return Ok(());
    }
    if attempts.is_empty() {
        bail!("no client is called that; `cargo xtask interop --list` names them");
    }
    process::adopt_orphans();
    tools::prepare(&wanted, options.no_build)?;
    let house = House::open()?;
    let mut report = Report::default();
    for (number, attempt) in attempts.iter().enumerate() {
        if process::stop::requested() {
            bail!("stopped before the end");
        }
        let outcome = make(attempt, &house)?;
        eprintln!(
            "{:>2} of {}  {:<52} {}",
            number + 1,
            attempts.len(),
            attempt.title(),
            outcome.line()
        );
        report.add(outcome);
    }
    drop(house);
    process::sweep();
    println!("{}", report.table());
    if options.json {
        println!("{}", report.json());
    }
    match report.failed() {
        0 => Ok(()),
        failed => bail!("{failed} of {} attempts failed", attempts.len()),
    }
}

/// One client, once; the relay's counters before and after are the witness.
fn make(attempt: &Attempt, house: &House) -> Result<Outcome> {
    if attempt.expect == Expect::Nothing {
        return Ok(Outcome::new(attempt, Verdict::NotSpoken));
    }
    let before = house.counters()?;
    let started = Instant::now();
    let (said, refusal) = converse(attempt, house)?;
    let relayed = house.counters()?.since(before);
    let mut outcome = Outcome::new(attempt, decide(attempt.expect, refusal, relayed));
    outcome.took = started.elapsed();
    outcome.packets = relayed.packets;
    outcome.said = said;
    Ok(outcome)
}

/// Runs the client's programs: what the last of them said, and the first complaint.
fn converse(attempt: &Attempt, house: &House) -> Result<(String, Option<String>)> {
    let plan = house.plan(attempt)?;
    side_by_side(plan.disturbing)?;
    let mut said = String::new();
    let mut refusal = None;
    for finished in side_by_side(plan.judged)? {
        if let Err(reason) = attempt.client.judge(&finished) {
            refusal.get_or_insert(format!(
                "{reason}\n{}",
                last_lines(&finished.output, TAIL_LINES)
            ));
        }
        said = clients::account(&finished.output).to_owned();
    }
    Ok((said, refusal))
}

fn side_by_side(commands: Vec<Command>) -> Result<Vec<Finished>> {
    let bounded = |command| run::bounded(command, ATTEMPT_LIMIT, Echo::Nothing);
    thread::scope(|scope| {
        let runs: Vec<_> = commands
            .into_iter()
            .map(|command| scope.spawn(move || bounded(command)))
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("a run is awaited, not unwound"))
            .collect()
    })
}

fn decide(expect: Expect, refusal: Option<String>, relayed: Counters) -> Verdict {
    match (expect, refusal) {
        (Expect::Agreement, None) => Verdict::Passed,
        (Expect::Through, None) if relayed.packets > 0 => Verdict::Passed,
        (Expect::Through, None) => Verdict::Failed("nothing went through the relay".into()),
        (Expect::Through | Expect::Agreement, Some(reason)) => Verdict::Failed(reason),
        (Expect::TurnedAway, None) => Verdict::Failed("a wrong password was good enough".into()),
        (Expect::TurnedAway, Some(_)) if relayed.packets > 0 => {
            Verdict::Failed("payload was relayed for a wrong password".into())
        }
        (Expect::TurnedAway, Some(_)) if relayed.unauthorized == 0 => {
            Verdict::Failed("the relay was never asked".into())
        }
        (Expect::TurnedAway, Some(_)) => Verdict::Passed,
        (Expect::Nothing, _) => Verdict::NotSpoken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relayed(packets: u64, unauthorized: u64) -> Counters {
        Counters {
            packets,
            unauthorized,
        }
    }

    #[test]
    fn a_client_that_got_through_without_the_relay_has_failed() {
        assert_eq!(
            decide(Expect::Through, None, relayed(9, 1)),
            Verdict::Passed
        );
        let around = decide(Expect::Through, None, relayed(0, 0));
        assert!(matches!(around, Verdict::Failed(_)), "{around:?}");
    }

    #[test]
    fn turning_away_counts_only_if_the_relay_was_asked_and_relayed_nothing() {
        let refused = || Some("401".to_owned());
        let decide = |refusal, counters| decide(Expect::TurnedAway, refusal, counters);
        assert_eq!(decide(refused(), relayed(0, 2)), Verdict::Passed);
        for wrong in [
            decide(None, relayed(0, 2)),
            decide(refused(), relayed(1, 2)),
            decide(refused(), relayed(0, 0)),
        ] {
            assert!(matches!(wrong, Verdict::Failed(_)), "{wrong:?}");
        }
    }
}
