//! What became of the packets of one flow: delivered, lost, repeated, out of order.
//!
//! Rule: a packet counts as delivered once, however often it arrives. Only packets due inside the
//! measured window count, so warming up and the last packets in flight do not blur the loss.
//! Memory: one bit for each of the last 65,536 packets; an older one is counted as `late`.

use std::ops::Range;
use std::time::Duration;

const WINDOW: u64 = 65_536;
const WORDS: usize = (WINDOW / 64) as usize;

/// Totals of one flow or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub sent: u64,
    pub delivered: u64,
    pub repeated: u64,
    pub reordered: u64,
    /// Older than the window: delivered or repeated, we can no longer tell.
    pub late: u64,
}

impl Totals {
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.delivered + self.late)
    }

    pub fn add(&mut self, other: &Totals) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.late += other.late;
    }
}

/// One direction of one flow.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Due times that count, since the start of the run.
    measured: Range<Duration>,
    totals: Totals,
    next_to_send: u64,
    /// One above the highest number that arrived.
    next_expected: u64,
    arrived: Box<[u64]>,
}

impl Sequence {
    pub fn new(measured: Range<Duration>) -> Self {
        Self {
            measured,
            totals: Totals::default(),
            next_to_send: 0,
            next_expected: 0,
            arrived: vec![0; WORDS].into_boxed_slice(),
        }
    }

    /// Numbers the next packet, which is due at `due`.
    pub fn handle_send(&mut self, due: Duration) -> u64 {
        let number = self.next_to_send;
        self.next_to_send += 1;
        self.totals.sent += u64::from(self.measured.contains(&due));
        number
    }

    /// Notes that packet `number`, due at `due`, arrived. True if it counts as delivered now.
    pub fn handle_arrival(&mut self, number: u64, due: Duration) -> bool {
        let counts = self.measured.contains(&due);
        if number + WINDOW < self.next_expected {
            self.totals.late += u64::from(counts);
            return false;
        }
        let ahead = number >= self.next_expected;
        if ahead {
            self.advance_to(number + 1);
        }
        if self.mark(number) {
            self.totals.repeated += u64::from(counts);
            return false;
        }
        self.totals.reordered += u64::from(counts && !ahead);
        self.totals.delivered += u64::from(counts);
        counts
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Makes room for everything below `next_expected`, forgetting what falls out of the window.
    fn advance_to(&mut self, next_expected: u64) {
        if next_expected - self.next_expected >= WINDOW {
            self.arrived.fill(0);
        } else {
            for number in self.next_expected..next_expected {
                let (word, bit) = place(number);
                if let Some(word) = self.arrived.get_mut(word) {
                    *word &= !bit;
                }
            }
        }
        self.next_expected = next_expected;
    }

    /// Sets the bit of `number` and returns what it was.
    fn mark(&mut self, number: u64) -> bool {
        let (word, bit) = place(number);
        let Some(word) = self.arrived.get_mut(word) else {
            return false;
        };
        let was = *word & bit != 0;
        *word |= bit;
        was
    }
}

fn place(number: u64) -> (usize, u64) {
    let index = number % WINDOW;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_loss_until_the_packet_arrives_late() {
        let mut sequence = sent(3);
        arrive(&mut sequence, &[0, 2]);
        assert_eq!(sequence.totals().lost(), 1);

        arrive(&mut sequence, &[1]);
        assert_eq!(sequence.totals().lost(), 0);
        assert_eq!(sequence.totals().reordered, 1);
    }

    #[test]
    fn a_repeated_packet_does_not_hide_a_lost_one() {
        let mut sequence = sent(2);
        arrive(&mut sequence, &[0, 0, 0]);

        assert_eq!(sequence.totals().repeated, 2);
        assert_eq!(sequence.totals().lost(), 1);
    }

    #[test]
    fn packets_outside_the_measured_window_count_for_nothing() {
        let mut sequence = Sequence::new(secs(1)..secs(2));
        for due in [secs(0), secs(1), secs(2)] {
            let number = sequence.handle_send(due);
            sequence.handle_arrival(number, due);
        }

        assert_eq!(
            (sequence.totals().sent, sequence.totals().delivered),
            (1, 1)
        );
    }

    #[test]
    fn a_jump_beyond_the_window_forgets_the_old_bits() {
        let mut sequence = sent(1);
        arrive(&mut sequence, &[0, WINDOW * 3, WINDOW * 3 - 1, 0]);

        assert_eq!(sequence.totals().delivered, 3);
        assert_eq!(sequence.totals().late, 1);
        assert_eq!(sequence.totals().repeated, 0);
    }

    #[test]
    fn bits_are_reused_when_the_window_wraps() {
        let mut sequence = sent(1);
        for number in 0..WINDOW * 2 + 5 {
            arrive(&mut sequence, &[number]);
        }

        assert_eq!(sequence.totals().delivered, WINDOW * 2 + 5);
        assert_eq!(sequence.totals().repeated, 0);
    }

    fn sent(packets: u64) -> Sequence {
        let mut sequence = Sequence::new(secs(0)..secs(1));
        for _ in 0..packets {
            sequence.handle_send(secs(0));
        }
        sequence
    }

    fn arrive(sequence: &mut Sequence, numbers: &[u64]) {
        for &number in numbers {
            sequence.handle_arrival(number, secs(0));
        }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }
}
