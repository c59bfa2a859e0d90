//! UDP sockets: one per local address, with buffers for a key frame, sending runs in one call.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};

use super::sys;
use crate::peer::Transmit;

/// A 4K key frame at once, and what arrives while the thread is not scheduled. The kernel gives as
/// much as its limits allow.
const BUFFER_LEN: usize = 4 * 1024 * 1024;
/// Largest datagram read; str0m's and every sane peer's are below 1,500.
const DATAGRAM_LEN_MAX: usize = 2048;

pub(super) struct BoundSocket {
    socket: UdpSocket,
    pub(super) local: SocketAddr,
    /// False once the kernel or the interface refused segmentation.
    segments: bool,
}

impl BoundSocket {
    pub(super) fn bind(address: IpAddr) -> anyhow::Result<Self> {
        let at = SocketAddr::new(address, 0);
        let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Smaller buffers work, only not as well.
        let _ = socket.set_recv_buffer_size(BUFFER_LEN);
        let _ = socket.set_send_buffer_size(BUFFER_LEN);
        socket.set_nonblocking(true)?;
        socket
            .bind(&at.into())
            .with_context(|| format!("cannot bind a UDP socket at {address}"))?;
        let socket = UdpSocket::from(socket);
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            local,
            segments: true,
        })
    }

    /// The next datagram; `None` when there is none now.
    pub(super) fn receive<'b>(
        &self,
        buf: &'b mut DatagramBuffer,
    ) -> Option<(SocketAddr, &'b [u8])> {
        loop {
            match self.socket.recv_from(&mut buf.0) {
                Ok((len, from)) => return Some((from, buf.0.get(..len)?)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // An ICMP error of an earlier packet; the next read goes on.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends packets to one destination. What the kernel does not take is lost, as on any network.
    pub(super) fn send(&mut self, to: SocketAddr, packets: &[Transmit]) {
        let mut rest = packets;
        while let Some(first) = rest.first() {
            let run = run_len(rest);
            let (now, later) = rest.split_at(run);
            if run < 2 || !self.send_run(to, first.bytes.len(), now) {
                for packet in now {
                    let _ = self.socket.send_to(&packet.bytes, to);
                }
            }
            rest = later;
        }
    }

    fn send_run(&mut self, to: SocketAddr, segment: usize, packets: &[Transmit]) -> bool {
        let Ok(segment) = u16::try_from(segment) else {
            return false;
        };
        if !self.segments {
            return false;
        }
        let parts: Vec<&[u8]> = packets
            .iter()
            .map(|packet| packet.bytes.as_slice())
            .collect();
        match sys::send_segments(&self.socket, to, &parts.concat(), segment) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(_) => {
                self.segments = false;
                false
            }
        }
    }
}

impl AsRawFd for BoundSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// How many packets from the front can leave in one call: all of one size, the last may be shorter.
fn run_len(packets: &[Transmit]) -> usize {
    let Some(first) = packets.first() else {
        return 0;
    };
    let size = first.bytes.len();
    let mut total = size;
    let mut run = 1;
    for packet in packets.iter().skip(1) {
        let len = packet.bytes.len();
        total += len;
        if len > size || run >= sys::SEGMENTS_MAX || total > sys::SEGMENTED_LEN_MAX {
            break;
        }
        run += 1;
        if len < size {
            break;
        }
    }
    run
}

pub(super) struct DatagramBuffer([u8; DATAGRAM_LEN_MAX]);

impl DatagramBuffer {
    pub(super) fn new() -> Self {
        Self([0; DATAGRAM_LEN_MAX])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Via;

    fn check(lens: &[usize], expected: usize) {
        let local: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let packets: Vec<Transmit> = lens
            .iter()
            .map(|&len| Transmit {
                via: Via::Udp(local),
                to: local,
                bytes: vec![0; len],
            })
            .collect();
        assert_eq!(run_len(&packets), expected, "{lens:?}");
    }

    #[test]
    fn a_run_is_packets_of_one_size_and_one_shorter() {
        check(&[], 0);
        check(&[100], 1);
        check(&[100, 100, 50, 100], 3);
        check(&[100, 101], 1);
        check(&[1200; 100], 54);
        check(&[10; 100], 64);
    }
}
