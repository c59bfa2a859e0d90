//! What the path carries: str0m's estimate under the limit of [`congestion`](crate::congestion).

use std::time::Instant;

use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::Rtcp;

use super::Peer;
use crate::engine;
use crate::event::Event;

impl Peer {
    /// What left and what the other side says of it.
    pub(super) fn handle_raw_packet(&mut self, packet: &RawPacket, now: Instant) {
        match packet {
            RawPacket::RtpTx(header, payload) => {
                if let Some(sequence) = header.ext_vals.transport_cc {
                    let len = header.header_len + payload.len();
                    self.congestion.handle_sent(sequence, len, now);
                }
            }
            RawPacket::RtcpRx(Rtcp::Twcc(report)) => {
                let (base, count) = (report.base_seq, report.status_count);
                let received = report.delta.len();
                self.congestion.handle_report(base, count, received, now);
                if received < usize::from(count) {
                    self.repair.handle_losses(now);
                }
                self.tell_estimate(now);
            }
            _ => {}
        }
    }

    /// If it is another one than was told.
    pub(super) fn tell_estimate(&mut self, now: Instant) {
        let range = self.bitrate;
        let limited = self.congestion.limited(self.estimate_bps, now);
        let round_trip = self.liveness.round_trip().unwrap_or_default();
        let repairable = self.repair.limit_bps(round_trip, now);
        let limited = limited.min(repairable.unwrap_or(u64::MAX));
        let bitrate_bps = limited.clamp(range.min_bps, range.max_bps);
        self.probing
            .handle_estimate(bitrate_bps, self.congestion.sent_bps(now), now);
        if !self.rest.is_resting() {
            self.probe(now);
        }
        self.window.handle_estimate(bitrate_bps);
        if self.video.handle_estimate(bitrate_bps) {
            self.events.push_back(Event::EgressEstimate { bitrate_bps });
        }
    }

    /// Lets str0m probe as far as makes sense.
    pub(super) fn probe(&mut self, now: Instant) {
        engine::set_desired(&mut self.rtc, self.probing.desired_bps(self.bitrate, now));
    }
}
