//! `cargo xtask test`: everything CI runs, from a machine with nothing but Rust. Each step is bounded
//! in time; a failing one does not hide the others, and the last line counts them all.

mod tally;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::ground::{self, Purpose};
use crate::lint::{self, BESIDE_THE_WORKSPACE, COMPILE_LIMIT, CORES};
use crate::process;
use crate::repository::{self, BUILD_FLAGS, cargo};
use crate::run::{self, Echo, Finished};

use tally::Tally;

/// Rust tests never wait for a person; nextest also bounds each of them.
const RUST_TESTS_LIMIT: Duration = Duration::from_secs(15 * 60);
const BROWSER_TESTS_LIMIT: Duration = Duration::from_secs(20 * 60);
const PAGE_TESTS_LIMIT: Duration = Duration::from_secs(5 * 60);
const FETCH_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Installed if missing; `Cargo.lock` of that release, so that it builds tomorrow as today.
const NEXTEST: (&str, &str, &str) = (
    "cargo-nextest",
    "0.9.143",
    "runs each Rust test in a process of its own, bounded in time",
);

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Run only the steps whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Name the steps and run none.
    #[arg(long)]
    list: bool,
}

/// One line of the summary.
struct Step {
    name: &'static str,
    commands: Vec<Command>,
    limit: Duration,
    /// How the output says how many tests there were.
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// The step is one check: it passed or it failed.
    Step,
    Nextest,
    Rustdoc,
    Node,
}

struct Done {
    name: &'static str,
    tally: Tally,
    took: Duration,
    reason: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let steps: Vec<Step> = steps()
        .into_iter()
        .filter(|step| {
            options
                .only
                .as_ref()
                .is_none_or(|text| step.name.contains(text.as_str()))
        })
        .collect();
    if options.list {
        steps.iter().for_each(|step| println!("{}", step.name));
        return Ok(());
    }
    process::adopt_orphans();
    prepare()?;
    let started = Instant::now();
    let mut done = Vec::new();
    for step in steps {
        let build_failed = step.name == "build";
        done.push(perform(step)?);
        process::sweep();
        let failed = done.last().is_some_and(|done: &Done| done.tally.failed > 0);
        // Nothing after the build can tell more than the build already has.
        if process::stop::requested() || (build_failed && failed) {
            break;
        }
    }
    summarize(&done, started.elapsed())
}

/// Packages, test runner, browser driver: what is missing is named and installed.
fn prepare() -> Result<()> {
    ground::prepare(Purpose::Test)?;
    let (name, version, why) = NEXTEST;
    ground::cargo_program(name, version, why)?;
    npm_packages()
}

/// Playwright, the type checker and the bundler, in the versions `tests/web/package.json` names.
pub(crate) fn npm_packages() -> Result<()> {
    let folder = repository::root().join("tests/web");
    let wanted = fs::read_to_string(folder.join("package.json"))
        .context("cannot read tests/web/package.json")?;
    let stamp = folder.join("node_modules/.installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!(
        "Fetching with npm what tests/web/package.json names: the browser driver, the type checker, the bundler and axe"
    );
    let mut command = Command::new("npm");
    command.args([
        "install",
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--loglevel=error",
    ]);
    command.current_dir(&folder);
    run::quiet(command, FETCH_LIMIT)?;
    fs::write(&stamp, wanted).context("cannot note what npm installed")
}

fn steps() -> Vec<Step> {
    vec![
        step("format", lint::format_check(), COMPILE_LIMIT, Counts::Step),
        step(
            "build",
            with_flags(cargo(&["build", "--all-targets"])),
            COMPILE_LIMIT,
            Counts::Step,
        ),
        step("rust tests", nextest(), RUST_TESTS_LIMIT, Counts::Nextest),
        step(
            "cloud on postgresql",
            beside_postgres(&nextest(), "package(cloud)"),
            RUST_TESTS_LIMIT,
            Counts::Nextest,
        ),
        step(
            "doc tests",
            with_flags(cargo(&["test", "--doc"])),
            RUST_TESTS_LIMIT,
            Counts::Rustdoc,
        ),
        step(
            "page tests",
            node_tests("tests/web"),
            PAGE_TESTS_LIMIT,
            Counts::Node,
        ),
        step("page types", type_check(), PAGE_TESTS_LIMIT, Counts::Step),
        step(
            "browser tests",
            node_tests("tests/e2e"),
            BROWSER_TESTS_LIMIT,
            Counts::Node,
        ),
        step("clippy", lint::clippy(), COMPILE_LIMIT, Counts::Step),
        Step {
            name: "io wall",
            commands: CORES.iter().map(|core| lint::wall_of(core)).collect(),
            limit: COMPILE_LIMIT,
            counts: Counts::Step,
        },
        Step {
            name: "lock files",
            commands: BESIDE_THE_WORKSPACE
                .iter()
                .map(|manifest| lint::lock_of(manifest))
                .collect(),
            limit: FETCH_LIMIT,
            counts: Counts::Step,
        },
    ]
}

fn step(name: &'static str, command: Command, limit: Duration, counts: Counts) -> Step {
    Step {
        name,
        commands: vec![command],
        limit,
        counts,
    }
}

fn with_flags(mut command: Command) -> Command {
    command.args(BUILD_FLAGS);
    command
}

fn nextest() -> Command {
    with_flags(cargo(&[
        "nextest",
        "run",
        "--no-fail-fast",
        "--status-level=fail",
        "--final-status-level=slow",
    ]))
}

/// The same tests, on a PostgreSQL that lives as long as they do.
fn beside_postgres(tests: &Command, filter: &str) -> Command {
    let mut command = Command::new("tests/postgres.sh");
    command
        .arg(tests.get_program())
        .args(tests.get_args())
        .args(["-E", filter])
        .current_dir(repository::root());
    for (name, value) in tests.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// Node's own runner, one file at a time: each browser test has this machine to itself.
fn node_tests(folder: &str) -> Command {
    let mut command = Command::new("node");
    command
        .args(["--test", "--test-reporter=spec", "--test-concurrency=1"])
        .current_dir(repository::root());
    command.args(test_files(folder));
    command
}

/// `*.test.mjs` directly in the folder, by name.
fn test_files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(repository::root().join(folder))
        .into_iter()
        .flatten()
        .flatten();
    let mut files: Vec<String> = entries
        .map(|entry| format!("{folder}/{}", entry.file_name().to_string_lossy()))
        .filter(|name| name.ends_with(".test.mjs"))
        .collect();
    files.sort();
    files
}

fn type_check() -> Command {
    let mut command = Command::new(repository::root().join("tests/web/node_modules/.bin/tsc"));
    command
        .args(["--project", "tests/web/tsconfig.json"])
        .current_dir(repository::root());
    command
}

fn perform(step: Step) -> Result<Done> {
    eprintln!("\n── {} ──", step.name);
    let mut tally = Tally::default();
    let mut took = Duration::ZERO;
    let mut reason = String::new();
    for command in step.commands {
        let finished = run::bounded(command, step.limit.saturating_sub(took), Echo::Lines)?;
        took += finished.took;
        if !finished.ok {
            reason.clone_from(&finished.reason);
        }
        tally += count(step.counts, &finished);
    }
    Ok(Done {
        name: step.name,
        tally,
        took,
        reason,
    })
}

/// What a command's output counts; one that failed without counting a failure is a failure itself,
/// and so is one that should count tests and found none.
fn count(counts: Counts, finished: &Finished) -> Tally {
    let counted = match counts {
        Counts::Step => None,
        Counts::Nextest => Tally::of_nextest(&finished.output),
        Counts::Rustdoc => Tally::of_rustdoc(&finished.output),
        Counts::Node => Tally::of_node(&finished.output),
    };
    match (counts, counted, finished.ok) {
        (Counts::Step, _, true) => Tally {
            passed: 1,
            failed: 0,
        },
        (_, Some(tally), true) => tally,
        (_, Some(tally), false) if tally.failed > 0 => tally,
        (_, tally, _) => Tally {
            passed: tally.unwrap_or_default().passed,
            failed: 1,
        },
    }
}

fn summarize(done: &[Done], took: Duration) -> Result<()> {
    println!(
        "\n{:<16} {:>7} {:>7} {:>9}",
        "step", "passed", "failed", "seconds"
    );
    let mut all = Tally::default();
    for step in done {
        println!(
            "{:<16} {:>7} {:>7} {:>9.1}  {}",
            step.name,
            step.tally.passed,
            step.tally.failed,
            step.took.as_secs_f64(),
            step.reason
        );
        all += step.tally;
    }
    println!("{:<16} {:>33.1}", "in all", took.as_secs_f64());
    println!("{} passed, {} failed", all.passed, all.failed);
    if process::stop::requested() {
        bail!("stopped before the end");
    }
    if all.failed > 0 {
        bail!("{} failed", all.failed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(ok: bool, output: &str) -> Finished {
        Finished {
            ok,
            reason: String::new(),
            output: output.into(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_runner_that_crashes_before_it_counts_is_a_failure() {
        let tally = count(
            Counts::Nextest,
            &finished(false, "error: could not compile"),
        );
        assert_eq!(
            tally,
            Tally {
                passed: 0,
                failed: 1
            }
        );
    }

    #[test]
    fn a_runner_that_finds_no_tests_at_all_is_a_failure() {
        assert_eq!(count(Counts::Node, &finished(true, "")).failed, 1);
    }

    #[test]
    fn a_runner_killed_after_passing_tests_is_still_a_failure() {
        let tally = count(Counts::Node, &finished(false, "ℹ pass 3\nℹ fail 0\n"));
        assert_eq!(
            tally,
            Tally {
                passed: 3,
                failed: 1
            }
        );
    }

    #[test]
    fn a_check_counts_as_one() {
        assert_eq!(
            count(Counts::Step, &finished(true, "")),
            Tally {
                passed: 1,
                failed: 0
            }
        );
        assert_eq!(
            count(Counts::Step, &finished(false, "")),
            Tally {
                passed: 0,
                failed: 1
            }
        );
    }
}
