//! Sound out and in: Opus packets of 10 ms, one way, host to viewer.
//!
//! Sound has a line of its own and, in the answer, a stream of its own (`a=msid`), so that no
//! receiver holds pictures back to match it. It leaves before any video that waits, in str0m's pacer
//! or in front of the [`window`](crate::window).
//! Nothing is sent again: a packet that comes late is of no use. A viewer that offers no sound has
//! a session without.

use std::time::Instant;

use str0m::Rtc;
use str0m::format::{Codec, PayloadParams};
use str0m::media::{Direction, Frequency, MediaData, MediaTime, Mid, Pt};

use crate::event::AudioPacket;
use crate::peer::{OutgoingAudio, SendError};

/// Opus always counts time like this (RFC 7587 §4.1).
const TICKS_PER_SECOND: u128 = 48_000;

#[derive(Default)]
pub(crate) struct Audio {
    mid: Option<Mid>,
    /// The other side's line says that it listens.
    wanted: bool,
    /// What Opus is sent as; known when negotiated.
    payload: Option<Pt>,
    /// RTP time zero: the first packet.
    epoch: Option<Instant>,
    next_sequence: Option<u64>,
    lost: u64,
}

impl Audio {
    pub(crate) fn handle_media(&mut self, mid: Mid, direction: Direction) {
        if *self.mid.get_or_insert(mid) == mid {
            self.wanted = direction.is_sending();
        }
    }

    /// Another description may have moved the payload types.
    pub(crate) fn handle_description(&mut self) {
        self.payload = None;
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(crate) fn is(&self, mid: Mid) -> bool {
        self.mid == Some(mid)
    }

    /// Whether sound is sent as this payload type.
    pub(crate) fn sends(&self, payload: u8) -> bool {
        self.payload.is_some_and(|ours| *ours == payload)
    }

    pub(crate) fn send(&mut self, rtc: &mut Rtc, packet: OutgoingAudio) -> Result<(), SendError> {
        let mid = self.mid.filter(|_| self.wanted);
        let writer = mid.and_then(|mid| rtc.writer(mid));
        let writer = writer.ok_or(SendError::NoAudio)?;
        if self.payload.is_none() {
            self.payload = writer
                .payload_params()
                .find(|params| params.spec().codec == Codec::Opus)
                .map(PayloadParams::pt);
        }
        let payload = self.payload.ok_or(SendError::NoAudio)?;
        let epoch = *self.epoch.get_or_insert(packet.captured_at);
        let since = packet.captured_at.saturating_duration_since(epoch);
        let ticks = since.as_nanos() * TICKS_PER_SECOND / 1_000_000_000;
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        let rtp_time = MediaTime::new(ticks, Frequency::FORTY_EIGHT_KHZ);
        writer
            .start_of_talkspurt(packet.begins)
            .write(payload, packet.captured_at, rtp_time, packet.data)
            .map_err(|_| SendError::NoAudio)
    }

    pub(crate) fn receive(&mut self, data: MediaData) -> AudioPacket {
        let (first, last) = (**data.seq_range.start(), **data.seq_range.end());
        let missing = self
            .next_sequence
            .map_or(0, |next| first.saturating_sub(next));
        self.next_sequence = Some(last + 1);
        self.lost += missing;
        AudioPacket {
            rtp_time: data.time.rebase(Frequency::FORTY_EIGHT_KHZ).numer(),
            missing,
            lost: self.lost,
            received_at: data.network_time,
            data: data.data,
        }
    }
}
