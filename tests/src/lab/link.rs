//! A cable in user space: two network interfaces, and what one sends leaves the other a while later,
//! in its order. The kernel of a test machine may have no delay of its own to offer (`netem`).
#![expect(
    clippy::disallowed_methods,
    reason = "a measuring program owns its clock and its waiting"
)]
#![expect(unsafe_code, reason = "a TUN interface is made by ioctl")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// On the way at once in each direction: half a second of 200 Mbit/s. When full the newest is lost, as
/// in a router.
const PACKETS_MAX: usize = 10_000;
/// Longest packet of an interface that nobody gave another MTU, with room.
const PACKET_LEN_MAX: usize = 2_048;

type Packet = (Instant, Vec<u8>);

/// Makes both interfaces, which may move to other network namespaces then, and carries packets until
/// the process ends.
///
/// # Errors
///
/// Needs root and `/dev/net/tun`.
pub fn start(ends: [&str; 2], delay: Duration) -> Result<()> {
    let [one, other] = ends.map(interface);
    let (one, other) = (one?, other?);
    carry(one.try_clone()?, other.try_clone()?, delay);
    carry(other, one, delay);
    Ok(())
}

/// One direction.
fn carry(from: File, to: File, delay: Duration) {
    let (sender, receiver) = sync_channel(PACKETS_MAX);
    thread::spawn(move || take_in(from, delay, &sender));
    thread::spawn(move || let_out(to, receiver));
}

fn take_in(mut from: File, delay: Duration, sender: &SyncSender<Packet>) -> Result<()> {
    loop {
        let mut packet = vec![0; PACKET_LEN_MAX];
        let len = from.read(&mut packet)?;
        packet.truncate(len);
        if let Err(TrySendError::Disconnected(_)) =
            sender.try_send((Instant::now() + delay, packet))
        {
            return Ok(());
        }
    }
}

fn let_out(mut to: File, receiver: Receiver<Packet>) {
    for (due, packet) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // Refused while the other interface is not up: that packet is lost.
        let _ = to.write(&packet);
    }
}

/// A TUN interface: IP packets, one for each read and write.
fn interface(name: &str) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    let file = file.context("cannot open /dev/net/tun")?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_TUN | libc::IFF_NO_PI) as i16,
        },
    };
    ensure!(
        name.len() < libc::IFNAMSIZ,
        "an interface's name has at most 15 bytes, not {name}"
    );
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request lives across the call, and its name ends with a zero.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    ensure!(
        answer == 0,
        "cannot make the interface {name}: {}",
        std::io::Error::last_os_error()
    );
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn packets_come_out_whole_in_their_order_and_not_before_their_time() {
        let (ours, one) = UnixDatagram::pair().unwrap();
        let (other, theirs) = UnixDatagram::pair().unwrap();
        let [one, other] = [one, other].map(|end| File::from(OwnedFd::from(end)));
        let delay = Duration::from_millis(30);
        carry(one, other, delay);
        let begun = Instant::now();
        for len in [1, PACKET_LEN_MAX, 20] {
            ours.send(&vec![7; len]).unwrap();
        }
        let mut room = [0; 2 * PACKET_LEN_MAX];
        for len in [1, PACKET_LEN_MAX, 20] {
            assert_eq!(theirs.recv(&mut room).unwrap(), len);
            assert!(begun.elapsed() >= delay);
        }
    }
}
