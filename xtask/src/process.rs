//! Children that cannot outlive this command. Each leads a process group of its own, is killed by
//! the kernel when this process dies, and whatever it orphans falls to us and is swept at the end.
#![expect(
    unsafe_code,
    reason = "prctl, kill and signal handlers have no safe form in std"
)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long a group is given between SIGTERM and SIGKILL. The daemons drain in less.
pub(crate) const TERM_PATIENCE: Duration = Duration::from_secs(5);

/// How often a wait looks again.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Ties a child to this process: own group, and SIGKILL should we die without taking it down.
pub(crate) fn tie(command: &mut Command) -> &mut Command {
    command.process_group(0);
    // SAFETY: `prctl` is async-signal-safe and touches no memory of ours between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    }
}

/// From now on orphaned grandchildren become our children, so that `sweep` finds them.
pub(crate) fn adopt_orphans() {
    // SAFETY: sets a flag of this process; no pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// Sends `signal` to every process of the group that `pid` leads. A group that is gone is fine.
pub(crate) fn signal_group(pid: u32, signal: i32) {
    // SAFETY: `kill` takes numbers only; a stale group id is answered with ESRCH.
    unsafe { libc::kill(-pid.cast_signed(), signal) };
}

/// Gives this process a network of its own, without any interface that is up. Threads that run
/// already keep the old one, so it is called before any is started.
pub(crate) fn leave_network() -> std::io::Result<()> {
    // SAFETY: a flag, no pointers; affects this thread and what it starts.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    // SAFETY: reads a number; cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Kills what is still below this process and reaps it: programs that left their group.
pub(crate) fn sweep() {
    let deadline = Instant::now() + TERM_PATIENCE;
    while Instant::now() < deadline {
        let left = descendants(std::process::id());
        if left.is_empty() {
            return;
        }
        for pid in left {
            // SAFETY: numbers only; the pid is a descendant seen a moment ago.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            // SAFETY: a null status pointer is allowed; ECHILD for grandchildren is fine.
            unsafe { libc::waitpid(pid.cast_signed(), std::ptr::null_mut(), libc::WNOHANG) };
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Every process whose chain of parents leads to `root`, zombies included.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents = parents_by_pid();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|p| p.1 == parent).map(|p| p.0));
        next += 1;
    }
    found.split_off(1)
}

fn parents_by_pid() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            Some((
                pid,
                parent_in_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?,
            ))
        })
        .collect()
}

/// The fourth field of `/proc/PID/stat`; the second may contain spaces and parentheses.
fn parent_in_stat(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// SIGINT, SIGTERM and SIGHUP ask this command to stop; its loops look here.
pub(crate) mod stop {
    use std::sync::atomic::{AtomicBool, Ordering};

    static REQUESTED: AtomicBool = AtomicBool::new(false);

    extern "C" fn note(_signal: i32) {
        REQUESTED.store(true, Ordering::Relaxed);
    }

    pub(crate) fn listen() {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
            unsafe { libc::signal(signal, note as *const () as libc::sighandler_t) };
        }
    }

    pub(crate) fn requested() -> bool {
        REQUESTED.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_past_a_name_with_spaces_and_parentheses() {
        assert_eq!(parent_in_stat("12 (a) b (c)) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in_stat("12 (cut"), None);
    }
}
