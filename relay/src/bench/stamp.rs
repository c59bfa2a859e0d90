//! The first 24 bytes of every payload the generator sends.
//!
//! ```text
//!  byte 0..4    magic "MCB1": anything else on our sockets is not ours and is counted as foreign
//!  byte 4..8    flow, big-endian
//!  byte 8..16   number of the packet within its flow, from 0
//!  byte 16..24  nanoseconds since the start of the run at which it was due (not: was sent)
//! ```

use std::time::Duration;

/// The smallest payload that can carry a stamp, in bytes.
pub const LEN: usize = 24;
const MAGIC: [u8; 4] = *b"MCB1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub flow: u32,
    pub number: u64,
    pub due: Duration,
}

impl Stamp {
    /// Writes the stamp to the start of `payload`; a shorter payload keeps what fits.
    pub fn encode(self, payload: &mut [u8]) {
        let due_ns = u64::try_from(self.due.as_nanos()).unwrap_or(u64::MAX);
        let fields = MAGIC
            .into_iter()
            .chain(self.flow.to_be_bytes())
            .chain(self.number.to_be_bytes())
            .chain(due_ns.to_be_bytes());
        for (slot, byte) in payload.iter_mut().zip(fields) {
            *slot = byte;
        }
    }

    /// Reads the stamp of a payload of ours.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (magic, rest) = payload.split_first_chunk::<4>()?;
        let (flow, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let due_ns = rest.first_chunk::<8>()?;
        (*magic == MAGIC).then(|| Self {
            flow: u32::from_be_bytes(*flow),
            number: u64::from_be_bytes(*number),
            due: Duration::from_nanos(u64::from_be_bytes(*due_ns)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        flow: 7,
        number: 1 << 40,
        due: Duration::from_nanos(123_456_789_012),
    };

    #[test]
    fn a_stamp_survives_a_round_trip() {
        let mut payload = [0xEE; 160];
        STAMP.encode(&mut payload);

        assert_eq!(Stamp::decode(&payload), Some(STAMP));
        assert_eq!(payload[LEN], 0xEE);
    }

    #[test]
    fn every_prefix_and_every_stranger_is_refused() {
        let mut payload = [0; LEN];
        STAMP.encode(&mut payload);

        for end in 0..LEN {
            assert_eq!(Stamp::decode(&payload[..end]), None, "{end}");
        }
        payload[0] = 0;
        assert_eq!(Stamp::decode(&payload), None);
    }
}
