//! What is asked of the kernel and the C library that has no safe form in std.
#![expect(
    unsafe_code,
    reason = "setpriority and mallopt have no safe form in std"
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

/// What large blocks took does not stay with the process. To be called before there are threads.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: two numbers; no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_FROM)
    };
}
