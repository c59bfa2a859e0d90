//! Readiness of sockets: a safe face on epoll, level-triggered.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Events taken by one wait.
const EVENTS: usize = 128;

pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event; EVENTS]>,
}

/// What a socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Known to epoll, and left alone.
    Nothing,
    Read,
    ReadWrite,
}

/// A socket that can do something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes a flag only.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = Box::new([libc::epoll_event { events: 0, u64: 0 }; EVENTS]);
        Ok(Self { fd, events })
    }

    /// The socket leaves by itself when it is closed.
    pub(crate) fn add(&self, socket: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, token, interest)
    }

    pub(crate) fn modify(&self, socket: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket, token, interest)
    }

    /// The socket lives on, with somebody else.
    pub(crate) fn remove(&self, socket: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket, 0, Interest::Read)
    }

    /// Waits until something is ready or the time is over; returns the number of [`Self::ready`].
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        // Rounded up: waking before a deadline would only mean waiting again.
        let millis = timeout.as_micros().div_ceil(1000).min(60_000) as libc::c_int;
        // SAFETY: the array is owned by `self` and has EVENTS entries.
        let count = unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                millis,
            )
        };
        if count >= 0 {
            return Ok(count as usize);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        }
    }

    pub(crate) fn ready(&self, index: usize) -> Option<Ready> {
        let event = *self.events.get(index)?;
        let bits = event.events;
        let broken = bits & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0;
        Some(Ready {
            token: event.u64,
            readable: broken || bits & libc::EPOLLIN as u32 != 0,
            writable: broken || bits & libc::EPOLLOUT as u32 != 0,
        })
    }

    fn control(
        &self,
        operation: libc::c_int,
        socket: RawFd,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let bits = match interest {
            Interest::Nothing => 0,
            Interest::Read => libc::EPOLLIN,
            Interest::ReadWrite => libc::EPOLLIN | libc::EPOLLOUT,
        };
        let mut event = libc::epoll_event {
            events: bits as u32,
            u64: token,
        };
        // SAFETY: the event lives until the call returns; the kernel copies it.
        let outcome =
            unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, socket, &raw mut event) };
        if outcome < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Allows this process as many descriptors as it may have: each allocation takes one.
///
/// Returns how many that is.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls take a pointer to a struct that lives until they return.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            let raised = libc::rlimit {
                rlim_cur: limit.rlim_max,
                ..limit
            };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
                limit = raised;
            }
        }
    }
    limit.rlim_cur
}
