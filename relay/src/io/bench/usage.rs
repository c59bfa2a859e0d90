//! What a run cost: processor time per process and for the whole machine, memory of the server and
//! of the kernel on its behalf.
//!
//! Rule: two independent figures. `tasks` adds up the run time of server, generator and the
//! kernel's softirq threads to the nanosecond; without CONFIG_IRQ_TIME_ACCOUNTING it contains the
//! softirq work done in their name. `machine` is everything in /proc/stat but idle, in ticks, so it
//! needs an otherwise quiet machine. On one they agree.
//! Source: proc(5), Documentation/scheduler/sched-stats (schedstat, first field in ns).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::sys;

/// Processor time used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuTime {
    pub(super) server: Duration,
    pub(super) generator: Duration,
    pub(super) softirq_threads: Duration,
    /// All processors together, everything but idle and waiting for disks.
    pub(super) machine: Duration,
}

impl CpuTime {
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            server: self.server.saturating_sub(earlier.server),
            generator: self.generator.saturating_sub(earlier.generator),
            softirq_threads: self.softirq_threads.saturating_sub(earlier.softirq_threads),
            machine: self.machine.saturating_sub(earlier.machine),
        }
    }

    pub(super) fn tasks(&self) -> Duration {
        self.server + self.generator + self.softirq_threads
    }
}

/// Reads the counters; finding the kernel's threads once keeps a reading cheap.
pub(super) struct Meter {
    server: Option<u32>,
    softirq_threads: Vec<u32>,
}

impl Meter {
    /// Without a server its share stays zero.
    pub(super) fn new(server: Option<u32>) -> Self {
        let is_softirq = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with("ksoftirqd/"))
        };
        Self {
            server,
            softirq_threads: (1..SOFTIRQ_PID_MAX).filter(is_softirq).collect(),
        }
    }

    pub(super) fn read(&self) -> Result<CpuTime> {
        let softirq = |pid| schedstat(&format!("/proc/{pid}"));
        Ok(CpuTime {
            server: self.server.map_or(Ok(Duration::ZERO), process_time)?,
            generator: process_time(std::process::id())?,
            softirq_threads: self.softirq_threads.iter().filter_map(softirq).sum(),
            machine: machine_time()?,
        })
    }

    /// Run time of each of the server's threads, by thread id.
    pub(super) fn server_threads(&self) -> Vec<(u32, Duration)> {
        let threads = self.server.map(thread_times);
        threads.and_then(Result::ok).unwrap_or_default()
    }
}

/// Kernel threads of the first processors come first; 512 covers over 80 processors.
const SOFTIRQ_PID_MAX: u32 = 512;

/// Run time of each thread of a process, by thread id.
fn thread_times(pid: u32) -> Result<Vec<(u32, Duration)>> {
    let directory = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&directory).with_context(|| format!("no process {pid}"))?;
    Ok(threads
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|thread: u32| Some((thread, schedstat(&format!("{directory}/{thread}"))?)))
        .collect())
}

fn process_time(pid: u32) -> Result<Duration> {
    Ok(thread_times(pid)?.into_iter().map(|(_, time)| time).sum())
}

fn schedstat(directory: &str) -> Option<Duration> {
    let text = fs::read_to_string(format!("{directory}/schedstat")).ok()?;
    let run_ns = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(run_ns))
}

fn machine_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    // user nice system idle iowait irq softirq steal; guest times are contained in user and nice.
    let busy: u64 = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .enumerate()
        .filter(|(column, _)| !matches!(column, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(busy * 1000 / sys::ticks_per_second()))
}

/// Memory a server holds, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// Objects the kernel keeps for open sockets, of all processes.
    pub(super) kernel: u64,
}

impl Memory {
    pub(super) fn now(server: u32) -> Result<Self> {
        Ok(Self {
            resident: resident(server)?,
            kernel: socket_slabs()?,
        })
    }
}

fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Rss:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse().ok())
        .with_context(|| format!("{path} has no Rss"))?;
    Ok(kib * 1024)
}

/// Objects of the caches that sockets live in. `filp` and `dentry` are shared with ordinary files
/// and too noisy to read: each socket has one of both, counted by its inode.
fn socket_slabs() -> Result<u64> {
    let text = fs::read_to_string("/proc/slabinfo").context("cannot read /proc/slabinfo")?;
    let mut bytes = 0;
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let (Some(name), Some(active), _, Some(size)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (Ok(active), Ok(size)) = (active.parse::<u64>(), size.parse::<u64>()) else {
            continue;
        };
        bytes += active
            * match name {
                "UDP" | "UDPv6" | "eventpoll_epi" | "eventpoll_pwq" => size,
                "sock_inode_cache" => size + FILE_AND_DENTRY,
                _ => 0,
            };
    }
    Ok(bytes)
}

/// `struct file` and `struct dentry` on a 64-bit kernel, in bytes.
const FILE_AND_DENTRY: u64 = 192 + 192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_uses_time_and_memory() {
        let me = std::process::id();
        let meter = Meter::new(Some(me));
        let before = meter.read().unwrap();
        // The kernel counts in ticks: work until it has seen one.
        let work = |seed| (0..5_000_000_u64).fold(seed, |sum: u64, n| sum.rotate_left(7) ^ n);
        let used =
            |seed| work(seed) != 0 && !meter.read().unwrap().since(before).generator.is_zero();

        assert!((1..1000).any(used), "no time was counted");
        assert!(Memory::now(me).unwrap().resident > 1 << 16);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(process_time(u32::MAX).is_err());
    }
}
