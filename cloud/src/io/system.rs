//! What is asked of the kernel and the C library that has no safe form in std.
#![expect(
    unsafe_code,
    reason = "setpriority, sched_setscheduler, mallopt and prctl have no safe form in std"
)]

/// A tenth of the share of a thread that did not give way, where both want the same core.
const NICENESS: libc::c_int = 10;
/// Larger blocks go back to the system when they are freed, in bytes: those of hashing are 19 MiB.
#[cfg(target_env = "gnu")]
const RETURNED_FROM: libc::c_int = 1 << 20;

/// This thread lets all others go first. Without effect where that is not allowed.
pub(super) fn give_way() {
    // SAFETY: three numbers; on Linux a process id of zero means the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
}

/// This thread runs where nobody else wants to, and whoever wakes is put on its core as on an idle
/// one. Without effect where that is not allowed.
pub(super) fn run_when_idle() {
    // The C library of some targets has more fields in it, all for other policies.
    // SAFETY: integers, for which all zeroes is a value.
    let none: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is read and lives through the call; 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) };
}

/// No core dump, crash report or debugger of the same user gets this process's memory, which holds
/// passwords and keys. Programs it starts are as before.
pub(super) fn keep_memory_private() {
    // SAFETY: numbers only; PR_SET_DUMPABLE takes 0 or 1 and ignores the rest.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// What large blocks took does not stay with the process. To be called before there are threads.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: two numbers; no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_FROM)
    };
}
