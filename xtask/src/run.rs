//! Runs one other program, bounded in time, its output passed on line by line and kept. When its
//! time is up, or when we are asked to stop, its whole process group goes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, POLL_INTERVAL, TERM_PATIENCE};

/// Most output kept for the caller, in bytes; older lines fall out. Test summaries stand last.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Whether the output also goes to our stderr while it comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Lines,
    Nothing,
}

/// How a program ended.
pub(crate) struct Finished {
    pub(crate) ok: bool,
    /// Why it is not ok, in words; empty if it is.
    pub(crate) reason: String,
    /// Both output streams, in the order the lines came.
    pub(crate) output: String,
    pub(crate) took: Duration,
}

/// Runs `command` for at most `limit`; an error only if it could not be started at all.
pub(crate) fn bounded(mut command: Command, limit: Duration, echo: Echo) -> Result<Finished> {
    let started = Instant::now();
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = process::tie(&mut command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let kept = Arc::new(Mutex::new(String::new()));
    let readers = [
        child
            .stdout
            .take()
            .map(|pipe| keep_lines(pipe, &kept, echo)),
        child
            .stderr
            .take()
            .map(|pipe| keep_lines(pipe, &kept, echo)),
    ];
    let reason = wait(&mut child, started + limit, limit);
    process::signal_group(child.id(), libc::SIGKILL);
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    let output = std::mem::take(&mut *kept.lock().expect("the readers have ended"));
    Ok(Finished {
        ok: reason.is_none(),
        reason: reason.unwrap_or_default(),
        output,
        took: started.elapsed(),
    })
}

/// Runs `command` and keeps its output to itself unless it fails.
pub(crate) fn quiet(command: Command, limit: Duration) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let finished = bounded(command, limit, Echo::Nothing)?;
    if !finished.ok {
        bail!(
            "{name} {}\n{}",
            finished.reason,
            last_lines(&finished.output, 30)
        );
    }
    Ok(finished.output)
}

/// Waits for the end, the deadline or a request to stop; `None` means a clean end.
fn wait(child: &mut Child, deadline: Instant, limit: Duration) -> Option<String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return None,
            Ok(Some(status)) => return Some(format!("ended with {status}")),
            Ok(None) => {}
            Err(error) => return Some(format!("cannot be waited for: {error}")),
        }
        if process::stop::requested() {
            end_group(child);
            return Some("was stopped".into());
        }
        if Instant::now() > deadline {
            end_group(child);
            return Some(format!("did not end within {} s", limit.as_secs()));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// SIGTERM to the group, patience, SIGKILL; the child is reaped.
pub(crate) fn end_group(child: &mut Child) {
    process::signal_group(child.id(), libc::SIGTERM);
    let deadline = Instant::now() + TERM_PATIENCE;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            break;
        }
        thread::sleep(POLL_INTERVAL);
    }
    process::signal_group(child.id(), libc::SIGKILL);
    let _ = child.wait();
}

fn keep_lines(
    pipe: impl Read + Send + 'static,
    kept: &Arc<Mutex<String>>,
    echo: Echo,
) -> thread::JoinHandle<()> {
    let kept = Arc::clone(kept);
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if echo == Echo::Lines {
                let _ = std::io::stderr().write_all(&line);
            }
            let mut kept = kept.lock().expect("no reader panics");
            kept.push_str(&String::from_utf8_lossy(&line));
            if kept.len() > KEPT_BYTES_MAX {
                let cut = kept.floor_char_boundary(kept.len() - KEPT_BYTES_MAX / 2);
                kept.drain(..cut);
            }
            line.clear();
        }
    })
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Whether a program of that name can be found.
pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
        || ["/usr/sbin", "/sbin"]
            .iter()
            .any(|dir| Path::new(dir).join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_ended_and_said_so() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; sleep 60 & sleep 60"]);
        let finished = bounded(command, Duration::from_millis(200), Echo::Nothing).unwrap();
        assert!(!finished.ok);
        assert_eq!(finished.reason, "did not end within 0 s");
        assert_eq!(finished.output, "begun\n");
    }

    #[test]
    fn the_last_lines_of_a_short_text_are_all_of_it() {
        assert_eq!(last_lines("a\nb", 5), "a\nb");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
    }
}
