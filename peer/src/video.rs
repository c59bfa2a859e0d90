//! Frames out and in.
//!
//! Out: one RTP time per capture, from the capture clock; zero playout delay and the capture time
//! on every packet. str0m paces at 1.1 times the estimate, so a large frame would crawl: a frame
//! that the path can swallow within [`BURST_MAX`] leaves at once, and so does everything on a path
//! as short as [`NEAR_ROUND_TRIP_MAX`]. In: frames in decoding order; a key frame is asked for until
//! one arrives.

use std::time::{Duration, Instant, SystemTime};

use str0m::Rtc;
use str0m::format::{Codec, PayloadParams};
use str0m::media::{KeyframeRequestKind, MediaData, MediaTime, Mid, Pt};
use str0m::rtp::AbsCaptureTime;

use crate::engine;
use crate::event::VideoFrame;
use crate::peer::{OutgoingFrame, SendError};

/// A frame leaves unpaced if it is at most this much of the estimated bandwidth: it would sit in
/// our pacer instead of in the network's queue, and the network's is the faster of the two.
const BURST_MAX: Duration = Duration::from_millis(60);
/// Below this round trip both ends stand in the same house, and pacing protects nobody.
const NEAR_ROUND_TRIP_MAX: Duration = Duration::from_millis(3);
/// A key frame is asked for again after so long.
const KEY_RETRY: Duration = Duration::from_millis(300);
/// Packets older than this are not resent: a key frame is quicker.
const RESEND_AGE_MAX: Duration = Duration::from_secs(3);
/// Resent bytes as a share of all. str0m's 15 % assume a steady stream; a desktop sends one frame
/// and then nothing, and must be able to repair that frame.
const RESEND_RATIO_MAX: f32 = 0.5;

pub(crate) struct Video {
    mid: Option<Mid>,
    /// What H.264 is sent as; known when negotiated.
    payload: Option<Pt>,
    /// RTP time zero.
    epoch: Instant,
    estimate_bps: u64,
    round_trip: Option<Duration>,
    /// A key frame was asked for and has not come; ask again then.
    key_retry_at: Option<Instant>,
}

impl Video {
    pub(crate) fn new(start_bps: u64, now: Instant) -> Self {
        Self {
            mid: None,
            payload: None,
            // A frame may have been captured before its viewer came.
            epoch: now.checked_sub(Duration::from_secs(60)).unwrap_or(now),
            estimate_bps: start_bps,
            round_trip: None,
            key_retry_at: None,
        }
    }

    pub(crate) fn handle_media(&mut self, mid: Mid) {
        self.mid.get_or_insert(mid);
    }

    /// `true` if it is another one: by a twentieth, or at a bound.
    pub(crate) fn handle_estimate(&mut self, bps: u64) -> bool {
        let changed = self.estimate_bps.abs_diff(bps) > self.estimate_bps / 20;
        if changed {
            self.estimate_bps = bps;
        }
        changed
    }

    pub(crate) fn handle_round_trip(&mut self, round_trip: Option<Duration>) {
        self.round_trip = round_trip.or(self.round_trip);
    }

    pub(crate) fn send(&mut self, rtc: &mut Rtc, frame: OutgoingFrame) -> Result<(), SendError> {
        let mid = self.mid.ok_or(SendError::NoVideo)?;
        let payload = self.negotiated(rtc, mid)?;
        let unpaced = self.leaves_at_once(frame.data.len());
        if let Some(stream) = rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_unpaced(unpaced);
        }
        let rtp_time = self.rtp_time(frame.captured_at);
        let captured = AbsCaptureTime {
            capture_time: SystemTime::UNIX_EPOCH + frame.captured_unix,
            clock_offset: None,
        };
        let writer = rtc.writer(mid).ok_or(SendError::NoVideo)?;
        writer
            .playout_delay(MediaTime::ZERO, MediaTime::ZERO)
            .abs_capture_time(captured)
            .write(payload, frame.captured_at, rtp_time, frame.data)
            .map_err(|_| SendError::NoVideo)
    }

    fn leaves_at_once(&self, len: usize) -> bool {
        let near = self.round_trip.is_some_and(|rtt| rtt < NEAR_ROUND_TRIP_MAX);
        let burst_bits = self.estimate_bps as u128 * BURST_MAX.as_millis() / 1000;
        near || (len as u128) * 8 <= burst_bits
    }

    fn rtp_time(&self, captured_at: Instant) -> MediaTime {
        let since = captured_at.saturating_duration_since(self.epoch);
        let ticks = since.as_nanos() * 90_000 / 1_000_000_000;
        MediaTime::from_90khz(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    fn negotiated(&mut self, rtc: &mut Rtc, mid: Mid) -> Result<Pt, SendError> {
        if let Some(payload) = self.payload {
            return Ok(payload);
        }
        let writer = rtc.writer(mid).ok_or(SendError::NoVideo)?;
        let best = writer
            .payload_params()
            .filter(|params| is_ours(params))
            .min_by_key(|params| {
                engine::preference(params.spec().format.profile_level_id.unwrap_or_default())
            })
            .map(PayloadParams::pt);
        if let Some(stream) = rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_rtx_cache(
                engine::SEND_PACKETS_MAX,
                RESEND_AGE_MAX,
                Some(RESEND_RATIO_MAX),
            );
        }
        self.payload = best;
        best.ok_or(SendError::NoVideo)
    }

    /// Another description may have moved the payload types.
    pub(crate) fn handle_description(&mut self) {
        self.payload = None;
    }

    pub(crate) fn receive(&mut self, data: MediaData) -> VideoFrame {
        let key = data.is_keyframe();
        if key {
            self.key_retry_at = None;
        }
        VideoFrame {
            key,
            contiguous: data.contiguous,
            rtp_time: data
                .time
                .rebase(str0m::media::Frequency::NINETY_KHZ)
                .numer(),
            captured_unix: data.ext_vals.abs_capture_time.and_then(|capture| {
                let since = capture.capture_time.duration_since(SystemTime::UNIX_EPOCH);
                since.ok()
            }),
            received_at: data.network_time,
            data: data.data,
        }
    }

    /// Asks for a key frame now, and again until one comes.
    pub(crate) fn request_key(&mut self, rtc: &mut Rtc, now: Instant) {
        let Some(mid) = self.mid else {
            return;
        };
        self.key_retry_at = Some(now + KEY_RETRY);
        if let Some(mut writer) = rtc.writer(mid) {
            // Refused while no packet has come yet: there is nothing to repair, and the retry asks.
            let _ = writer.request_keyframe(None, KeyframeRequestKind::Pli);
        }
    }

    /// A key frame should be on its way; ask if it does not come.
    pub(crate) fn expect_key(&mut self, now: Instant) {
        self.key_retry_at = Some(now + KEY_RETRY);
    }

    pub(crate) fn is_waiting_for_key(&self) -> bool {
        self.key_retry_at.is_some()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.key_retry_at
    }
}

fn is_ours(params: &PayloadParams) -> bool {
    let spec = params.spec();
    spec.codec == Codec::H264 && spec.format.packetization_mode == Some(1)
}
