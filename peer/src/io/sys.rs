//! The system calls the standard library does not have: waiting for several descriptors with
//! nanoseconds, waking a thread, listing addresses, and sending a run of packets in one call.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Most segments in one send: the kernel's limit (`UDP_MAX_SEGMENTS`).
pub(super) const SEGMENTS_MAX: usize = 64;
/// Most bytes in one send: what an IP length field can say, less the headers.
pub(super) const SEGMENTED_LEN_MAX: usize = 65_000;

/// Wakes a thread that waits in [`wait`].
pub(super) struct Waker(OwnedFd);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers and returns a new descriptor or -1.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight bytes, which eventfd reads. It only fails when the counter is
        // full, and then the thread is awake anyway.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(super) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is eight bytes, which eventfd fills; nothing to read is fine.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What a descriptor is waited for.
#[derive(Clone, Copy)]
pub(super) struct Interest {
    pub(super) fd: RawFd,
    pub(super) write: bool,
}

/// Waits until one of the descriptors is ready, or for `timeout`; says which are.
pub(super) fn wait(interests: &[Interest], timeout: Option<Duration>) -> Vec<bool> {
    let mut fds: Vec<libc::pollfd> = interests
        .iter()
        .map(|interest| libc::pollfd {
            fd: interest.fd,
            events: if interest.write {
                libc::POLLIN | libc::POLLOUT
            } else {
                libc::POLLIN
            },
            revents: 0,
        })
        .collect();
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` holds as many entries as said and lives through the call; `limit` is null or
    // points at a value that does; a null signal mask changes nothing.
    unsafe {
        libc::ppoll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            limit,
            std::ptr::null(),
        );
    }
    fds.iter().map(|fd| fd.revents != 0).collect()
}

/// Every address of every interface that is up; no link-local ones, they need a scope.
pub(super) fn interface_addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs fills the pointer with a list that is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return found;
    }
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: a non-null entry of the list is valid until freeifaddrs.
        let interface = unsafe { &*entry };
        let up = interface.ifa_flags & libc::IFF_UP as u32 != 0;
        // SAFETY: ifa_addr is null or points at a socket address of its own family.
        if let Some(address) = unsafe { address_of(interface.ifa_addr) }
            && up
            && !found.contains(&address)
        {
            found.push(address);
        }
        entry = interface.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and is not used after this.
    unsafe { libc::freeifaddrs(list) };
    found
}

/// # Safety
///
/// `address` is null or points at a socket address as large as its family says.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: the caller upholds that it points at a socket address.
    let family = i32::from(unsafe { (*address).sa_family });
    match family {
        libc::AF_INET => {
            // SAFETY: the family says it is a sockaddr_in; read without regard to alignment.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            (!ip.is_link_local()).then_some(IpAddr::V4(ip))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says it is a sockaddr_in6; read without regard to alignment.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            (!ip.is_unicast_link_local()).then_some(IpAddr::V6(ip))
        }
        _ => None,
    }
}

/// Sends `bytes` as packets of `segment` bytes, the last one shorter, in one call.
pub(super) fn send_segments(
    socket: &UdpSocket,
    to: SocketAddr,
    bytes: &[u8],
    segment: u16,
) -> io::Result<()> {
    let address = socket2::SockAddr::from(to);
    let mut control = [0u64; 4];
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all-zero is a valid msghdr; its pointers are set below.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = address.as_ptr().cast_mut().cast();
    message.msg_namelen = address.len();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the control buffer is 32 bytes, more than the
    // 24 that one u16 takes, and aligned for a cmsghdr, so the first header lies inside it.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(2) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_UDP;
        (*header).cmsg_type = libc::UDP_SEGMENT;
        (*header).cmsg_len = libc::CMSG_LEN(2) as _;
        libc::CMSG_DATA(header)
            .cast::<u16>()
            .write_unaligned(segment);
    }
    // SAFETY: every pointer in the message points at a local that lives through the call; the
    // kernel does not write to any of them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_listed() {
        assert!(interface_addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn a_waker_ends_the_wait_until_it_is_cleared() {
        let waker = Waker::new().unwrap();
        let interests = [Interest {
            fd: waker.as_raw_fd(),
            write: false,
        }];
        assert_eq!(wait(&interests, Some(Duration::ZERO)), [false]);
        waker.wake();
        waker.wake();
        assert_eq!(wait(&interests, None), [true]);
        waker.clear();
        assert_eq!(wait(&interests, Some(Duration::ZERO)), [false]);
    }

    #[test]
    fn a_run_of_packets_arrives_as_single_packets() {
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let bytes: Vec<u8> = (0..=255).collect();
        send_segments(&from, to.local_addr().unwrap(), &bytes, 100).unwrap();
        let mut buf = [0; 300];
        for expected in bytes.chunks(100) {
            let len = to.recv(&mut buf).unwrap();
            assert_eq!(&buf[..len], expected);
        }
    }
}
