//! What a program takes of the machine: processor time and memory of a process and all below it.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process;

/// How long CPU time is added up.
const CPU_WINDOW: Duration = Duration::from_secs(6);
/// Kernel ticks per second of `/proc/PID/stat` on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Share of one core a process and its descendants use, over a window.
pub(super) fn cpu_percent(pid: u32) -> Result<f64> {
    let before = ticks(pid)?;
    thread::sleep(CPU_WINDOW);
    let used = (ticks(pid)? - before) / TICKS_PER_SECOND;
    Ok((used / CPU_WINDOW.as_secs_f64() * 10_000.0).round() / 100.0)
}

/// User and system time so far.
fn ticks(pid: u32) -> Result<f64> {
    let own = ticks_of_one(pid).context("the measured program has gone")?;
    let below = process::descendants(pid);
    // One that ended meanwhile is counted nowhere; none of the measured programs have such.
    Ok(own + below.into_iter().filter_map(ticks_of_one).sum::<f64>())
}

fn ticks_of_one(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields = rest.split_whitespace().skip(11).take(2);
    Some(fields.filter_map(|field| field.parse::<f64>().ok()).sum())
}

/// Resident megabytes of a process and its descendants.
pub(super) fn resident_mb(pid: u32) -> Result<f64> {
    let own = resident_kb(pid).context("the measured program has gone")?;
    let below = process::descendants(pid);
    let all = own + below.into_iter().filter_map(resident_kb).sum::<f64>();
    Ok((all / 1024.0 * 10.0).round() / 10.0)
}

fn resident_kb(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processor, cores, and how busy the machine was before: figures mean nothing without.
pub(super) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(" unknown")
        .trim_start_matches([' ', '\t', ':']);
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{model}, {cores} cores, load {}",
        load.split(' ').next().unwrap_or("unknown")
    )
}
