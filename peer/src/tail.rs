//! What went last over the data channels goes out twice.
//!
//! SCTP finds a loss by what comes after it: three packets, else nothing for a second, three in the
//! beginning (RFC 9260 §5.4.4, §6.3; str0m cannot be told otherwise). After a key press there is
//! often nothing. So the packets of a message that must arrive, and all until the channels are
//! open, are sent once more after [`REPEAT_AFTER`], as they are: whoever has one drops it as a
//! replay (RFC 9147 §4.5.1), or SCTP does, as a number it knows.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::path::Datagram;

/// More push out the oldest: those behind it tell of its loss.
const PACKETS_MAX: usize = 8;
/// Soon enough that nobody notices, and late enough for a short burst of losses to be over.
const REPEAT_AFTER: Duration = Duration::from_millis(50);

/// The packets that go out again, and when.
#[derive(Debug)]
pub(crate) struct Tail {
    keeps: bool,
    packets: VecDeque<(Instant, Datagram)>,
}

impl Default for Tail {
    /// Of a connection whose channels are not open yet.
    fn default() -> Self {
        Self {
            keeps: true,
            packets: VecDeque::new(),
        }
    }
}

impl Tail {
    /// Whether what is sent from now on is sent twice.
    pub(crate) fn keep(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    pub(crate) fn handle_sent(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        if !self.keeps || !is_application_data(bytes) {
            return;
        }
        if self.packets.len() == PACKETS_MAX {
            self.packets.pop_front();
        }
        let bytes = bytes.to_vec();
        let packet = Datagram { from, to, bytes };
        self.packets.push_back((now + REPEAT_AFTER, packet));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.packets.front().map(|(at, _)| *at)
    }

    /// A packet that goes out once more now.
    pub(crate) fn poll_repeat(&mut self, now: Instant) -> Option<Datagram> {
        let due = self.packets.pop_front_if(|(at, _)| *at <= now);
        due.map(|(_, packet)| packet)
    }
}

/// Not a handshake: its own timer repeats that, and who gets one twice answers twice. Content type
/// 23 (RFC 6347 §4.1), or epoch 3 in the header of DTLS 1.3 (RFC 9147 §4, §6.1).
fn is_application_data(bytes: &[u8]) -> bool {
    bytes
        .first()
        .is_some_and(|&first| first == 23 || first & 0b1110_0011 == 0b0010_0011)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    fn send(tail: &mut Tail, bytes: &[u8], now: Instant) {
        let address = "192.0.2.1:1000".parse().unwrap();
        tail.handle_sent(address, address, bytes, now);
    }

    fn repeated(tail: &mut Tail, now: Instant) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| tail.poll_repeat(now))
            .map(|packet| packet.bytes)
            .collect()
    }

    #[test]
    fn a_packet_goes_out_once_more_unless_it_need_not_arrive() {
        let (mut tail, now) = (Tail::default(), start());
        send(&mut tail, &[23, 1], now);
        assert_eq!(tail.poll_timeout(), Some(now + REPEAT_AFTER));
        assert!(repeated(&mut tail, now).is_empty());
        assert_eq!(repeated(&mut tail, now + REPEAT_AFTER), [[23, 1]]);
        assert_eq!(tail.poll_timeout(), None);
        tail.keep(false);
        send(&mut tail, &[23, 2], now);
        assert_eq!(tail.poll_timeout(), None);
    }

    #[test]
    fn of_many_in_a_row_only_the_last_eight_go_out_twice() {
        let (mut tail, now) = (Tail::default(), start());
        for number in 0..10 {
            send(&mut tail, &[0b0010_1111, number], now);
        }
        let last: Vec<u8> = repeated(&mut tail, now + REPEAT_AFTER)
            .iter()
            .map(|bytes| bytes[1])
            .collect();
        assert_eq!(last, [2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn neither_media_nor_checks_nor_handshakes_go_out_twice() {
        let (mut tail, now) = (Tail::default(), start());
        // STUN, a channel of TURN, RTP, a handshake of DTLS 1.2, and of 1.3 in epoch 2.
        for first in [0, 64, 128, 22, 0b0010_1110] {
            send(&mut tail, &[first, 0], now);
        }
        send(&mut tail, &[], now);
        assert_eq!(tail.poll_timeout(), None);
    }
}
