//! Processes of desktops, which are not our children once we were killed: found by what they carry
//! in their environment, told apart by the time they began, ended by a handle that cannot mean
//! another.
#![expect(
    unsafe_code,
    reason = "pidfd_open, pidfd_send_signal and close_range have no safe form in std"
)]

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The variable every process of a desktop inherits; its value is the desktop's folder.
pub(super) const MARK: &str = "MULTICLAW_DESKTOP";
/// Programs get so long to end by themselves.
const TERM_PATIENCE: Duration = Duration::from_secs(3);
/// And the kernel so long to end those that do not.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One process: a number alone may mean another tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// In ticks since the machine's start.
    pub(super) began: u64,
}

impl Process {
    /// `None` if it has ended already.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let began = stat(pid)?.began;
        Some(Self { pid, began })
    }

    pub(super) fn runs(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.began == self.began)
    }

    /// Ends it, the hard way if it does not listen.
    pub(super) async fn end(self) {
        end_all(|| self.runs().then_some(self.pid).into_iter().collect()).await;
    }
}

/// Ends every process that carries this mark, those that begin meanwhile included; `false` if some
/// survive.
pub(super) async fn end_marked(folder: &Path) -> bool {
    let folder = folder.to_owned();
    end_all(|| marked(&folder)).await
}

/// The processes that carry this mark.
pub(super) fn marked(folder: &Path) -> Vec<u32> {
    let wanted = [MARK.as_bytes(), b"=", folder.as_os_str().as_encoded_bytes()].concat();
    running()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|one| one == wanted))
        })
        .filter(|pid| stat(*pid).is_some())
        .collect()
}

/// From now on no program we start inherits a file that whoever started us left open: a desktop
/// would hold it for days.
pub(super) fn keep_our_files() {
    const CLOSE_RANGE_CLOEXEC: u32 = 1 << 2;
    // SAFETY: takes numbers, and changes a flag of descriptors only. A kernel without it (before
    // 5.11) answers with an error, and everything is as it was.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, CLOSE_RANGE_CLOEXEC) };
}

async fn end_all(mut left: impl FnMut() -> Vec<u32>) -> bool {
    for (number, patience) in [
        (libc::SIGTERM, TERM_PATIENCE),
        (libc::SIGKILL, KILL_PATIENCE),
    ] {
        let deadline = Instant::now() + patience;
        let mut told = Vec::new();
        // A process that becomes another program shows no environment for that moment, so one
        // empty look says nothing.
        let mut looked_empty = false;
        while Instant::now() < deadline {
            let found = left();
            if found.is_empty() && looked_empty {
                return true;
            }
            looked_empty = found.is_empty();
            for pid in found {
                if !told.contains(&pid) {
                    signal(pid, number, &mut left);
                    told.push(pid);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    left().is_empty()
}

/// Holds the process first and looks again then, so that its number cannot pass to another between.
fn signal(pid: u32, number: i32, left: &mut impl FnMut() -> Vec<u32>) {
    // SAFETY: takes numbers; returns a descriptor that is ours, or -1.
    let held = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.cast_signed(), 0) };
    let Ok(held @ 0..) = i32::try_from(held) else {
        return;
    };
    // SAFETY: the kernel just gave us this descriptor; nobody else closes it.
    let held = unsafe { OwnedFd::from_raw_fd(held) };
    if !left().contains(&pid) {
        return;
    }
    let no_details = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open; a null `siginfo` means that of `kill`. One that ended
    // meanwhile is answered with ESRCH.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            held.as_raw_fd(),
            number,
            no_details,
            0,
        )
    };
}

fn running() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

struct Stat {
    began: u64,
}

/// `None` for a process that has ended, whether or not somebody has taken notice of it.
fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc(5): the second field may hold spaces and parentheses; the third is the state, the
/// twenty-second the time it began.
fn parse(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Stat { began })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_a_process_began_is_read_past_its_name() {
        let fields: Vec<String> = (4..=30).map(|field| field.to_string()).collect();
        let line = |state: &str| format!("12 (a) b (c)) {state} {}", fields.join(" "));
        assert_eq!(parse(&line("S")).unwrap().began, 22);
        assert!(parse(&line("Z")).is_none());
        assert!(parse("12 (cut").is_none());
    }

    #[test]
    fn a_file_that_was_left_open_for_us_is_not_passed_on() {
        // SAFETY: copies a descriptor of this process; the copy is inherited by what we start.
        let left_open = unsafe { libc::dup(0) };
        keep_our_files();
        // SAFETY: reads a flag.
        let flags = unsafe { libc::fcntl(left_open, libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn this_process_runs_and_one_of_its_number_that_began_earlier_does_not() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.runs());
        let earlier = Process { began: 1, ..own };
        assert!(!earlier.runs());
    }
}
