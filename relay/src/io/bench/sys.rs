//! The system calls the generator needs beyond `std`: datagrams in and out by the run (UDP GSO and
//! GRO), waiting with nanoseconds, other network namespaces, pinning.
//!
//! Every `unsafe` block of the generator is in this file. Source: udp(7), cmsg(3), epoll_wait(2).

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null;
use std::time::Duration;

const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;
/// Room for one control message that carries a C int, with alignment to spare.
const CONTROL_LEN: usize = 64;

/// Control messages must start where a `cmsghdr` may.
#[repr(C, align(16))]
struct Control([u8; CONTROL_LEN]);

/// Sends `buffer` on a connected socket as datagrams of `segment` bytes, the last may be shorter,
/// in one call. At most 64 segments and 65,507 bytes (udp(7)).
pub(super) fn send_segments(fd: RawFd, buffer: &[u8], segment: u16) -> io::Result<usize> {
    let mut control = Control([0; CONTROL_LEN]);
    let mut vector = libc::iovec {
        iov_base: buffer.as_ptr().cast_mut().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: an all-zero msghdr is valid (null pointers, zero lengths).
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if buffer.len() > usize::from(segment) {
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE/CMSG_LEN are arithmetic; the control buffer has CONTROL_LEN bytes,
        // more than CMSG_SPACE(2), so CMSG_FIRSTHDR and CMSG_DATA point inside it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_UDP;
            (*header).cmsg_type = UDP_SEGMENT;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
            libc::CMSG_DATA(header)
                .cast::<u16>()
                .write_unaligned(segment);
        }
    }
    // SAFETY: all pointers in `message` outlive the call, the kernel only reads through them.
    let sent = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives one datagram, or a run of equal datagrams joined by the kernel. Returns the bytes and
/// the size of each datagram in them.
pub(super) fn receive_segments(fd: RawFd, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
    let mut control = Control([0; CONTROL_LEN]);
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: an all-zero msghdr is valid (null pointers, zero lengths).
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN as _;
    // SAFETY: the pointers in `message` are to live, exclusively borrowed buffers of the stated
    // lengths.
    let received = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok((received, segment_size(&message).unwrap_or(received)))
}

/// Reads the size the kernel attaches to a joined run.
fn segment_size(message: &libc::msghdr) -> Option<usize> {
    // SAFETY: `message` was filled by recvmsg, so its control messages are well-formed and inside
    // the control buffer; a UDP_GRO message carries a C int.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        if header.is_null()
            || (*header).cmsg_level != libc::SOL_UDP
            || (*header).cmsg_type != UDP_GRO
        {
            return None;
        }
        let size = libc::CMSG_DATA(header)
            .cast::<libc::c_int>()
            .read_unaligned();
        usize::try_from(size).ok().filter(|&size| size > 0)
    }
}

/// Asks the kernel to hand over runs of equal datagrams joined. False if it cannot.
pub(super) fn enable_gro(fd: RawFd) -> bool {
    set_option(fd, libc::SOL_UDP, UDP_GRO, 1).is_ok()
}

/// Grows the socket's buffers to `bytes`, beyond the system's limit where we may.
pub(super) fn grow_buffers(fd: RawFd, bytes: libc::c_int) {
    for (force, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        if set_option(fd, libc::SOL_SOCKET, force, bytes).is_err() {
            // Without the privilege the kernel caps it at rmem_max; the loss figures then say so.
            let _ = set_option(fd, libc::SOL_SOCKET, plain, bytes);
        }
    }
}

fn set_option(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: `value` is a live C int and its size is passed with it.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Which sockets are readable or, where asked for, writable.
pub(super) struct Poll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// One socket that has something for us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: u64,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; the result is checked before it becomes an OwnedFd.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        check(fd.min(0))?;
        Ok(Self {
            // SAFETY: `fd` is a fresh descriptor that nothing else owns.
            epoll: unsafe { OwnedFd::from_raw_fd(fd) },
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 256],
        })
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64, wants: Wants) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, wants)
    }

    pub(super) fn change(&self, fd: BorrowedFd<'_>, token: u64, wants: Wants) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, wants)
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: BorrowedFd<'_>,
        token: u64,
        wants: Wants,
    ) -> io::Result<()> {
        let events = match wants {
            Wants::Read => libc::EPOLLIN,
            Wants::ReadAndWrite => libc::EPOLLIN | libc::EPOLLOUT,
        };
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: token,
        };
        // SAFETY: both descriptors are open for the length of the call and `event` is live.
        check(unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                operation,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })
    }

    /// Waits up to `timeout` and appends what is ready to `ready`.
    pub(super) fn wait(&mut self, timeout: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(3600) as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as _,
        };
        // SAFETY: `events` has the stated length, `timeout` is live, a null signal mask is allowed.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                &raw const timeout,
                null::<libc::sigset_t>(),
                0_usize,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            let interrupted = error.kind() == io::ErrorKind::Interrupted;
            return if interrupted { Ok(()) } else { Err(error) };
        };
        let tokens = self.events.iter().take(count).map(|event| event.u64);
        ready.extend(tokens.map(|token| Ready { token }));
        Ok(())
    }
}

/// What to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Read,
    ReadAndWrite,
}

/// Moves the calling thread into the network namespace that `namespace` is a handle of.
pub(super) fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers; affects only where this thread opens its next sockets.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Keeps the calling thread, and those it starts, on one processor.
pub(super) fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is an empty set; CPU_SET ignores a core out of range.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(
            0,
            size_of::<libc::cpu_set_t>(),
            &raw const set,
        ))
    }
}

/// Lets sleeps end when they were asked to, not up to 50 µs later (prctl(2), PR_SET_TIMERSLACK).
pub(super) fn sleep_precisely() {
    // SAFETY: takes no pointers.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_usize, 0_usize, 0_usize, 0_usize);
    }
}

/// Raises the limit on open files as far as allowed and returns it.
pub(super) fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is live and of the right type for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
    limit.rlim_cur
}

/// Ticks per second of the counters in /proc/stat.
pub(super) fn ticks_per_second() -> u64 {
    // SAFETY: takes no pointers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_run_of_datagrams_crosses_in_one_call_each_way() {
        let (sender, receiver) = pair();
        assert!(enable_gro(receiver.as_raw_fd()));
        let run = vec![7; 250];

        assert_eq!(send_segments(sender.as_raw_fd(), &run, 100).unwrap(), 250);

        wait_for(&receiver);
        let mut buffer = vec![0; 65_536];
        let mut sizes = Vec::new();
        while let Ok((len, segment)) = receive_segments(receiver.as_raw_fd(), &mut buffer) {
            sizes.extend(buffer[..len].chunks(segment).map(<[u8]>::len));
        }
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn a_single_datagram_needs_no_segmenting() {
        let (sender, receiver) = pair();
        send_segments(sender.as_raw_fd(), b"ping", 100).unwrap();

        wait_for(&receiver);
        let mut buffer = [0; 64];
        let received = receive_segments(receiver.as_raw_fd(), &mut buffer).unwrap();
        assert_eq!(received, (4, 4));
    }

    fn wait_for(socket: &UdpSocket) {
        let mut poll = Poll::new().unwrap();
        poll.add(socket.as_fd(), 9, Wants::Read).unwrap();
        let mut ready = Vec::new();
        poll.wait(Duration::from_secs(5), &mut ready).unwrap();
        assert_eq!(ready.first().map(|ready| ready.token), Some(9));
    }

    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (sender, receiver)
    }
}
