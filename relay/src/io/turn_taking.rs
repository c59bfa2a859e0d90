//! How soon a worker runs again after it slept: it asks the scheduler for short turns.
//!
//! Since Linux 6.12 a thread may name the length of its turns (its slice). Whoever wakes up while
//! another runs waits for the end of that one's turn, 3 ms and more, unless its own turns are
//! shorter. A worker runs for microseconds and sleeps, so it asks for the shortest there are. That
//! gives it no larger share, needs no privilege, and older kernels do not listen.
//! Source: sched_setattr(2); Documentation/scheduler/sched-eevdf.rst.

use std::io;
use std::mem;

/// The kernel takes 100 µs to 100 ms.
const TURN_NS: u64 = 100_000;

/// Asks for short turns of the calling thread. One with a real-time policy needs none, and whatever
/// else the operator chose stays as it is.
pub(crate) fn ask_for_short_turns() -> io::Result<()> {
    let mut wish = of_this_thread()?;
    if wish.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    wish.sched_runtime = TURN_NS;
    // SAFETY: the struct lives until the call returns, names its own size, and is only read.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wish, 0) };
    check(outcome)
}

fn of_this_thread() -> io::Result<libc::sched_attr> {
    // SAFETY: a plain C struct of integers, for which all-zero bytes are a valid value.
    let mut now: libc::sched_attr = unsafe { mem::zeroed() };
    let size = mem::size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: the kernel writes at most `size` bytes into the struct, which lives until it returns.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, size, 0) };
    check(outcome)?;
    Ok(now)
}

fn check(outcome: libc::c_long) -> io::Result<()> {
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_short_turns_changes_neither_policy_nor_niceness() {
        let described = |it: libc::sched_attr| (it.sched_policy, it.sched_nice, it.sched_priority);
        let before = described(of_this_thread().unwrap());

        ask_for_short_turns().unwrap();

        let after = of_this_thread().unwrap();
        assert_eq!(described(after), before);
        // A kernel before 6.12 reports no length at all.
        assert!([0, TURN_NS].contains(&after.sched_runtime));
    }
}
