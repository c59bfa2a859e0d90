//! Sound between the network and the loudspeaker.
//!
//! Rule: nothing waits longer than [`WAITING_MAX`] packets; the oldest are dropped, because sound
//! that is behind stays behind. A packet that is missing is a hole for the decoder to bridge.

use std::collections::VecDeque;
use std::sync::Arc;

use peer::AudioPacket;

/// Packets of 10 ms. When full the oldest is dropped.
pub const WAITING_MAX: usize = 8;
/// Holes bridged in a row; longer ones are silence, which nobody has to compute.
const BRIDGED_MAX: u64 = 3;

/// What the decoder gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// 10 ms that did not arrive.
    Hole,
    /// 10 ms of Opus.
    Packet(Arc<[u8]>),
}

/// The packets that wait to be played.
#[derive(Debug, Default)]
pub struct Waiting {
    pieces: VecDeque<Piece>,
    dropped: u64,
}

impl Waiting {
    pub fn handle_packet(&mut self, packet: &AudioPacket) {
        for _ in 0..packet.missing.min(BRIDGED_MAX) {
            self.push(Piece::Hole);
        }
        self.push(Piece::Packet(packet.data.clone()));
    }

    pub fn poll_piece(&mut self) -> Option<Piece> {
        self.pieces.pop_front()
    }

    /// Packets that were too late to be played, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn push(&mut self, piece: Piece) {
        if self.pieces.len() == WAITING_MAX {
            self.pieces.pop_front();
            self.dropped += 1;
        }
        self.pieces.push_back(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_too_long_is_dropped_oldest_first() {
        let mut waiting = Waiting::default();
        for number in 0..WAITING_MAX as u8 + 3 {
            waiting.handle_packet(&packet(number, 0));
        }
        assert_eq!(waiting.dropped(), 3);
        assert_eq!(waiting.poll_piece(), Some(Piece::Packet([3].into())));
    }

    #[test]
    fn a_short_hole_is_bridged_and_a_long_one_not_to_its_end() {
        let mut waiting = Waiting::default();
        waiting.handle_packet(&packet(1, 2));
        waiting.handle_packet(&packet(2, 1_000));
        let pieces: Vec<Piece> = std::iter::from_fn(|| waiting.poll_piece()).collect();
        let holes = pieces.iter().filter(|piece| **piece == Piece::Hole).count();
        assert_eq!((holes, pieces.len()), (5, 7));
    }

    fn packet(number: u8, missing: u64) -> AudioPacket {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as the time of a packet"
        )]
        let received_at = std::time::Instant::now();
        AudioPacket {
            data: [number].into(),
            rtp_time: 0,
            missing,
            lost: missing,
            received_at,
        }
    }
}
