//! Waiting for an X connection and for commands at once, without a tick: poll(2) and an eventfd.

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

/// Commands waiting for a thread. A second of the densest input a viewer may send; when full the
/// newest is refused and the caller counts it.
const COMMANDS_MAX: usize = 1024;

/// Larger blocks go back to the system when they are freed, in bytes: planes of pictures do.
#[cfg(target_env = "gnu")]
const RETURNED_FROM: libc::c_int = 1 << 18;

/// Sends commands to a thread that sleeps in [`Inbox::wait`].
#[derive(Debug)]
pub struct Outbox<T> {
    commands: SyncSender<T>,
    bell: Arc<OwnedFd>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            bell: self.bell.clone(),
        }
    }
}

/// The command was not taken: the queue is full, or the thread is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread takes no more commands")]
pub struct Refused;

impl<T> Outbox<T> {
    /// # Errors
    ///
    /// [`Refused`]; the command is dropped.
    pub fn send(&self, command: T) -> Result<(), Refused> {
        match self.commands.try_send(command) {
            Ok(()) => {
                ring(&self.bell);
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Refused),
        }
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct Inbox<T> {
    commands: Receiver<T>,
    bell: Arc<OwnedFd>,
}

/// # Errors
///
/// The system has no file descriptor left.
pub fn mailbox<T>() -> std::io::Result<(Outbox<T>, Inbox<T>)> {
    // SAFETY: a plain system call; the descriptor it returns is ours alone.
    let bell = unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Arc::new(OwnedFd::from_raw_fd(fd))
    };
    let (sender, receiver) = mpsc::sync_channel(COMMANDS_MAX);
    let outbox = Outbox {
        commands: sender,
        bell: bell.clone(),
    };
    let inbox = Inbox {
        commands: receiver,
        bell,
    };
    Ok((outbox, inbox))
}

impl<T> Inbox<T> {
    pub fn try_take(&self) -> Option<T> {
        self.commands.try_recv().ok()
    }

    /// Can be read while a command is there, for who waits in another way than [`Inbox::wait`].
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Sleeps until a command came, `other` can be read, or `timeout` passed; `None` waits on.
    pub fn wait(&self, other: Option<BorrowedFd<'_>>, timeout: Option<Duration>) {
        let poll = |fd: i32| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // A negative descriptor is ignored by poll.
        let other = other.map_or(-1, |fd| fd.as_raw_fd());
        let mut fds = [poll(self.bell.as_raw_fd()), poll(other)];
        let timeout = timeout.map(timespec);
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the array and the time live through the call. An interrupted wait is a wake-up.
        let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), 2, timeout, std::ptr::null()) };
        if ready > 0 && fds[0].revents != 0 {
            silence(&self.bell);
        }
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

fn ring(bell: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: writes eight bytes that live through the call. It fails only if the bell rings.
    unsafe { libc::write(bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

fn silence(bell: &OwnedFd) {
    let mut count = [0_u8; 8];
    // SAFETY: reads eight bytes into a buffer that lives through the call.
    unsafe { libc::read(bell.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// CPU time of this process, all threads, since it began.
pub fn process_cpu_time() -> Duration {
    cpu_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of the calling thread since it began.
pub fn thread_cpu_time() -> Duration {
    cpu_time(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Takes memory as it is used: in pages of 4 KiB, and large blocks from the system and back to it.
/// x264 asks for pages of 2 MiB, also where it fills a tenth of one. To be called before there are
/// threads.
pub fn take_little_memory() {
    // SAFETY: numbers only; the mapping of no memory changes.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    #[cfg(target_env = "gnu")]
    // SAFETY: numbers only; no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED_FROM)
    };
}

/// Gives memory that was freed back to the system: what the measurement at start took.
pub fn release_free_memory() {
    // SAFETY: touches only memory that nobody holds.
    unsafe { libc::malloc_trim(0) };
}

fn cpu_time(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to a structure that lives through the call; both clocks exist on Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(secs, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_wakes_the_thread_that_waits_for_it() {
        let (outbox, inbox) = mailbox::<u8>().unwrap();
        let sender = std::thread::spawn(move || outbox.send(7).unwrap());
        let mut taken = None;
        while taken.is_none() {
            inbox.wait(None, Some(Duration::from_secs(10)));
            taken = inbox.try_take();
        }
        sender.join().unwrap();
    }

    #[test]
    fn a_full_mailbox_refuses_the_newest() {
        let (outbox, inbox) = mailbox::<usize>().unwrap();
        for i in 0..COMMANDS_MAX {
            outbox.send(i).unwrap();
        }
        assert_eq!(outbox.send(9999), Err(Refused));
        assert_eq!(inbox.try_take(), Some(0));
    }
}
