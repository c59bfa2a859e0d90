//! The books of one step of a run: what every flow sent, what came of it, and how long it took.
//!
//! Rule: latency and loss are read only from packets due inside the measured window, and packets of
//! an earlier step are strangers.

use std::ops::Range;
use std::time::Duration;

use super::histogram::Histogram;
use super::sequence::{Sequence, Totals};
use super::stamp::Stamp;

/// Flows of one run; the step's number shares the stamp's 32 bits with them.
pub const FLOWS_MAX: usize = 1 << 16;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// At the far end: it crossed the server once.
    Far,
    /// Back at its origin: it crossed twice.
    Back,
}

pub struct Tally {
    step: u16,
    there: Vec<Sequence>,
    back: Vec<Sequence>,
    /// From the instant a packet was due to its arrival at the far end.
    pub one_way: Histogram,
    /// From the instant it was due to its return.
    pub round_trip: Histogram,
    /// How late we sent: our own fault, not the server's.
    pub lateness: Histogram,
    /// Payload that is not ours or not of this step.
    pub foreign: u64,
}

impl Tally {
    /// `measured` are the due times that count, since the start of the step.
    pub fn new(step: u16, flows: usize, measured: Range<Duration>) -> Self {
        Self {
            step,
            there: vec![Sequence::new(measured.clone()); flows],
            back: vec![Sequence::new(measured); flows],
            one_way: Histogram::default(),
            round_trip: Histogram::default(),
            lateness: Histogram::default(),
            foreign: 0,
        }
    }

    /// Numbers the next packet of `flow`.
    pub fn handle_send(&mut self, flow: usize, due: Duration) -> Stamp {
        let number = self
            .there
            .get_mut(flow)
            .map_or(0, |sequence| sequence.handle_send(due));
        if let Some(sequence) = self.back.get_mut(flow) {
            sequence.handle_send(due);
        }
        Stamp {
            flow: u32::from(self.step) << 16 | (flow as u32 & 0xFFFF),
            number,
            due,
        }
    }

    /// Books a payload that arrived `elapsed` after the start of the step.
    pub fn handle_payload(&mut self, payload: &[u8], seen: Seen, elapsed: Duration) {
        let stamp = Stamp::decode(payload).filter(|it| it.flow >> 16 == u32::from(self.step));
        let Some(stamp) = stamp else {
            self.foreign += 1;
            return;
        };
        let flow = (stamp.flow & 0xFFFF) as usize;
        let (sequences, latencies) = match seen {
            Seen::Far => (&mut self.there, &mut self.one_way),
            Seen::Back => (&mut self.back, &mut self.round_trip),
        };
        let counts = sequences
            .get_mut(flow)
            .is_some_and(|sequence| sequence.handle_arrival(stamp.number, stamp.due));
        if counts {
            latencies.record(elapsed.saturating_sub(stamp.due));
        }
    }

    pub fn totals(&self, seen: Seen) -> Totals {
        let sequences = match seen {
            Seen::Far => &self.there,
            Seen::Back => &self.back,
        };
        sequences.iter().fold(Totals::default(), |mut sum, it| {
            sum.add(&it.totals());
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_booked_once_per_place_with_its_latency() {
        let mut tally = Tally::new(1, 2, ms(0)..ms(100));
        let payload = payload(&mut tally, 1, ms(10));

        tally.handle_payload(&payload, Seen::Far, ms(12));
        tally.handle_payload(&payload, Seen::Back, ms(15));

        assert_eq!(tally.one_way.quantile(0.5), ms(2));
        assert_eq!(tally.round_trip.quantile(0.5), ms(5));
        assert_eq!(tally.totals(Seen::Far).lost(), 0);
        assert_eq!(tally.totals(Seen::Back).lost(), 0);
    }

    #[test]
    fn a_packet_of_an_earlier_step_is_a_stranger() {
        let mut earlier = Tally::new(1, 1, ms(0)..ms(100));
        let late = payload(&mut earlier, 0, ms(10));
        let mut tally = Tally::new(2, 1, ms(0)..ms(100));
        payload(&mut tally, 0, ms(10));

        tally.handle_payload(&late, Seen::Far, ms(12));

        assert_eq!((tally.foreign, tally.totals(Seen::Far).lost()), (1, 1));
    }

    fn payload(tally: &mut Tally, flow: usize, due: Duration) -> [u8; 32] {
        let mut payload = [0; 32];
        tally.handle_send(flow, due).encode(&mut payload);
        payload
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
