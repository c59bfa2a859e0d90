//! The parts that run: each a child with a log of its own, started in order and waited for, looked
//! after, taken down in reverse.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::desktop;
use super::restarts::{Restarts, Verdict};
use crate::process::{self, POLL_INTERVAL};
use crate::run::last_lines;

/// Lines of a dead part's log that are shown.
const TAIL_LINES: usize = 12;

/// The contract's code for a configuration no restart will mend.
const EXIT_BAD_CONFIGURATION: i32 = 2;

/// A daemon drains at the first SIGTERM and stops at the second; then it is killed.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// How a part shows that others may rely on it.
pub(crate) enum Ready {
    /// One line of JSON with a `ready` field on its stdout.
    Line(Duration),
    /// An X server that answers at its socket.
    Socket(PathBuf, Duration),
    AtOnce,
}

/// How to start a part.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) ready: Ready,
    /// Started again when it dies. The others are programs a person may close.
    pub(crate) must_run: bool,
}

struct Running {
    child: Child,
    since: Instant,
    lines: Receiver<Value>,
}

struct Part {
    spec: Spec,
    log: PathBuf,
    running: Option<Running>,
    restarts: Restarts,
    restart_at: Option<Instant>,
}

/// Whether there is anything to tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Nothing,
    PidsChanged,
}

/// All parts of one run.
pub(crate) struct Crew {
    parts: Vec<Part>,
    logs: PathBuf,
}

impl Crew {
    pub(crate) fn new(logs: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot create {}", logs.display()))?;
        Ok(Self {
            parts: Vec::new(),
            logs,
        })
    }

    /// Starts a part and waits until it is ready; its ready line, or `null` if it has none.
    pub(crate) fn start(&mut self, spec: Spec) -> Result<Value> {
        let log = self.logs.join(format!("{}.log", spec.name));
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut part = Part {
            spec,
            log,
            running: None,
            restarts: Restarts::default(),
            restart_at: None,
        };
        part.spawn()?;
        self.parts.push(part);
        self.parts
            .last_mut()
            .expect("just pushed")
            .wait_until_ready()
    }

    /// Process ids by part, of the parts that run.
    pub(crate) fn pids(&self) -> Vec<(&'static str, u32)> {
        self.parts
            .iter()
            .filter(|part| part.spec.must_run)
            .filter_map(|part| Some((part.spec.name, part.running.as_ref()?.child.id())))
            .collect()
    }

    /// Notices deaths, restarts what is due. An error means a part is beyond help.
    pub(crate) fn look_after(&mut self) -> Result<News> {
        let mut news = News::Nothing;
        for part in &mut self.parts {
            if part.look_after(Instant::now())? == News::PidsChanged {
                news = News::PidsChanged;
            }
        }
        Ok(news)
    }

    /// Ends every part: the daemons first, together, then what they stood on.
    pub(crate) fn take_down(&mut self) {
        let (daemons, ground): (Vec<&mut Part>, Vec<&mut Part>) = self
            .parts
            .iter_mut()
            .partition(|part| matches!(part.spec.ready, Ready::Line(_)));
        end(daemons
            .into_iter()
            .filter_map(|part| part.running.take())
            .collect());
        end(ground
            .into_iter()
            .filter_map(|part| part.running.take())
            .collect());
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// SIGTERM, SIGTERM, SIGKILL, each only to those who are still there.
fn end(mut running: Vec<Running>) {
    for signal in [libc::SIGTERM, libc::SIGTERM, libc::SIGKILL] {
        running
            .iter()
            .for_each(|one| process::signal_group(one.child.id(), signal));
        let deadline = Instant::now() + DRAIN_PATIENCE;
        while Instant::now() < deadline {
            running.retain_mut(|one| {
                let ended = matches!(one.child.try_wait(), Ok(Some(_)));
                if ended {
                    // What its group still holds goes with it.
                    process::signal_group(one.child.id(), libc::SIGKILL);
                }
                !ended
            });
            if running.is_empty() {
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Part {
    fn spawn(&mut self) -> Result<()> {
        let log = OpenOptions::new().append(true).open(&self.log)?;
        let mut command = Command::new(&self.spec.program);
        command
            .args(&self.spec.args)
            .envs(self.spec.env.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?);
        let mut child = process::tie(&mut command).spawn().with_context(|| {
            format!(
                "cannot start {} ({})",
                self.spec.name,
                self.spec.program.display()
            )
        })?;
        let stdout = child.stdout.take().context("a piped stdout")?;
        self.running = Some(Running {
            child,
            since: Instant::now(),
            lines: ready_lines(stdout, log),
        });
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<Value> {
        let limit = match self.spec.ready {
            Ready::Line(limit) | Ready::Socket(_, limit) => limit,
            Ready::AtOnce => return Ok(Value::Null),
        };
        let deadline = Instant::now() + limit;
        loop {
            if let Some(line) = self.readiness() {
                return Ok(line);
            }
            if let Some(status) = self.death() {
                bail!("{}", self.obituary(status));
            }
            if process::stop::requested() {
                bail!("stopped while {} was starting", self.spec.name);
            }
            if Instant::now() > deadline {
                return Err(anyhow!(
                    "{} did not get ready within {} s; the end of its log:\n{}",
                    self.spec.name,
                    limit.as_secs(),
                    self.tail()
                ));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn readiness(&self) -> Option<Value> {
        match &self.spec.ready {
            Ready::Line(_) => self.running.as_ref()?.lines.try_recv().ok(),
            Ready::Socket(socket, _) => desktop::answers(socket).then_some(Value::Null),
            Ready::AtOnce => Some(Value::Null),
        }
    }

    fn death(&mut self) -> Option<ExitStatus> {
        self.running.as_mut()?.child.try_wait().ok()?
    }

    fn look_after(&mut self, now: Instant) -> Result<News> {
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.spawn()?;
            eprintln!("{} is started again", self.spec.name);
            return Ok(News::PidsChanged);
        }
        let Some(status) = self.death() else {
            return Ok(News::Nothing);
        };
        let running = self
            .running
            .take()
            .context("a part that died was running")?;
        process::signal_group(running.child.id(), libc::SIGKILL);
        if !self.spec.must_run {
            return Ok(News::PidsChanged);
        }
        let obituary = self.obituary(status);
        if status.code() == Some(EXIT_BAD_CONFIGURATION) {
            bail!("{obituary}\nit refuses its configuration; taking everything down");
        }
        match self.restarts.handle_death(running.since, now) {
            Verdict::RestartAt(at) => self.restart_at = Some(at),
            Verdict::GiveUp => bail!("{obituary}\nit keeps failing; taking everything down"),
        }
        eprintln!("{obituary}");
        Ok(News::PidsChanged)
    }

    fn obituary(&self, status: ExitStatus) -> String {
        format!(
            "{} ended unexpectedly ({status}); the end of its log:\n{}",
            self.spec.name,
            self.tail()
        )
    }

    fn tail(&self) -> String {
        tail_of(&self.log)
    }
}

fn tail_of(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let tail = last_lines(&String::from_utf8_lossy(&text), TAIL_LINES);
    if tail.is_empty() {
        "  (empty)".into()
    } else {
        tail.lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
            .trim_end()
            .to_owned()
    }
}

/// Copies a part's stdout to its log and hands on the lines that say it is ready.
fn ready_lines(stdout: impl std::io::Read + Send + 'static, mut log: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = writeln!(log, "{line}");
            if let Ok(value) = serde_json::from_str::<Value>(&line)
                && value.get("ready").is_some()
            {
                let _ = sender.send(value);
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &'static str, script: &str) -> Spec {
        Spec {
            name,
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            ready: Ready::Line(Duration::from_secs(10)),
            must_run: true,
        }
    }

    fn crew(name: &str) -> Crew {
        Crew::new(std::env::temp_dir().join(format!("xtask-crew-{}-{name}", std::process::id())))
            .unwrap()
    }

    #[test]
    fn a_part_is_ready_when_it_says_so_and_not_before() {
        let line = crew("ready")
            .start(shell(
                "one",
                r#"echo noise; echo '{"ready":"one"}'; sleep 60"#,
            ))
            .unwrap();
        assert_eq!(line["ready"], "one");
    }

    #[test]
    fn a_part_that_dies_while_starting_is_named_with_the_end_of_its_log() {
        let error = crew("dies")
            .start(shell("one", "echo the cause >&2; exit 3"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("one ended unexpectedly") && error.contains("the cause"),
            "{error}"
        );
    }

    #[test]
    fn a_part_that_dies_later_gets_a_new_process() {
        let mut crew = crew("later");
        crew.start(shell("one", r#"echo '{"ready":"one"}'; sleep 60"#))
            .unwrap();
        let before = crew.pids();
        process::signal_group(before[0].1, libc::SIGKILL);
        let deadline = Instant::now() + Duration::from_secs(20);
        while crew.pids() == before || crew.pids().is_empty() {
            crew.look_after().unwrap();
            assert!(Instant::now() < deadline, "never restarted");
        }
    }

    #[test]
    fn a_part_that_refuses_its_configuration_is_not_tried_again() {
        let mut crew = crew("refuses");
        crew.start(shell(
            "one",
            r#"echo '{"ready":"one"}'; read -r _; sleep 0.2; exit 2"#,
        ))
        .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let error = loop {
            if let Err(error) = crew.look_after() {
                break error.to_string();
            }
            assert!(Instant::now() < deadline, "never noticed");
        };
        assert!(error.contains("refuses its configuration"), "{error}");
    }
}
