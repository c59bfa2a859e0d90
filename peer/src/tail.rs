//! What went last goes out twice.
//!
//! SCTP finds a loss by what comes after it: three packets, else nothing for a second, three in the
//! beginning (RFC 9260 §5.4.4, §6.3; str0m cannot be told otherwise). After a key press there is
//! often nothing. So the packets of a message that must arrive, and all until the channels are
//! open, are sent once more after [`REPEAT_AFTER`], as they are: whoever has one drops it as a
//! replay (RFC 9147 §4.5.1), or SCTP does, as a number it knows.
//!
//! A picture's last packet has nothing behind it either until the next picture comes, which on a
//! desktop may be in a while. So it goes out once more, too, if none follows within
//! [`PICTURE_AFTER`]: it is itself what was lost, or it tells of what was (RFC 4585 §6.2.1); otherwise
//! it is dropped as a replay (RFC 3711 §3.3.2).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::path::Datagram;

/// More push out the oldest: those behind it tell of its loss.
const PACKETS_MAX: usize = 8;
/// Soon enough that nobody notices, and late enough for a short burst of losses to be over.
const REPEAT_AFTER: Duration = Duration::from_millis(50);

/// Later than the next picture of 60 a second.
const PICTURE_AFTER: Duration = Duration::from_millis(25);

/// The packets that go out again, and when.
#[derive(Debug)]
pub(crate) struct Tail {
    keeps: bool,
    packets: VecDeque<(Instant, Datagram)>,
    picture: Option<(Instant, Datagram)>,
}

impl Default for Tail {
    /// Of a connection whose channels are not open yet.
    fn default() -> Self {
        Self {
            keeps: true,
            packets: VecDeque::new(),
            picture: None,
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

    /// A packet of a picture left.
    pub(crate) fn handle_picture(&mut self, packet: &Datagram, now: Instant) {
        let ends = ends_picture(&packet.bytes);
        self.picture = ends.then(|| (now + PICTURE_AFTER, packet.clone()));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let all = [self.packets.front(), self.picture.as_ref()];
        all.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// A packet that goes out once more now.
    pub(crate) fn poll_repeat(&mut self, now: Instant) -> Option<Datagram> {
        let due = self.packets.pop_front_if(|(at, _)| *at <= now);
        let due = due.or_else(|| self.picture.take_if(|(at, _)| *at <= now));
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

/// The marker bit (RFC 3550 §5.1, RFC 6184 §5.1).
fn ends_picture(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|second| second & 0x80 != 0)
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
    fn the_last_packet_of_a_picture_goes_out_once_more_unless_another_follows() {
        let (mut tail, now) = (Tail::default(), start());
        let address = "192.0.2.1:1000".parse().unwrap();
        let leaves = |tail: &mut Tail, second, at| {
            let packet = Datagram {
                from: address,
                to: address,
                bytes: vec![128, second],
            };
            tail.handle_picture(&packet, at);
        };
        let (middle, end) = (102, 128 | 102);
        leaves(&mut tail, end, now);
        leaves(&mut tail, middle, now + PICTURE_AFTER / 2);
        assert_eq!(tail.poll_timeout(), None);
        leaves(&mut tail, end, now + PICTURE_AFTER);
        let due = now + PICTURE_AFTER * 2;
        assert_eq!(tail.poll_timeout(), Some(due));
        assert!(repeated(&mut tail, now + PICTURE_AFTER).is_empty());
        assert_eq!(repeated(&mut tail, due), [[128, end]]);
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
