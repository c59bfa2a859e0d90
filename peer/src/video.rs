//! Frames out and in.
//!
//! Out: one RTP time per capture, from the capture clock; zero playout delay and the capture time
//! on every packet. str0m paces at 1.1 times the estimate, so a large frame would crawl: a frame
//! that the path can swallow within [`BURST_MAX`] passes it, and so does everything on a path as
//! short as [`NEAR_ROUND_TRIP_MAX`]; what is on the way decides then ([`window`](crate::window)).
//! In: frames in decoding order; a key frame is asked for until one arrives.

use std::time::{Duration, Instant, SystemTime};

use protocol::control::Chroma;
use str0m::Rtc;
use str0m::format::{Codec, PayloadParams};
use str0m::media::{KeyframeRequestKind, MediaData, MediaTime, Mid, Pt, Writer};
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
    /// What H.264 is sent as, 4:2:0 and 4:4:4; known when negotiated.
    payloads: Option<[Option<Pt>; 2]>,
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
            payloads: None,
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
        let payloads = self.negotiated(rtc, mid)?;
        let payload = payloads[frame.chroma as usize].ok_or(SendError::NoVideo)?;
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

    /// The finest chroma the other side takes.
    pub(crate) fn chroma(&mut self, rtc: &mut Rtc) -> Chroma {
        let payloads = self.mid.and_then(|mid| self.negotiated(rtc, mid).ok());
        match payloads {
            Some([_, Some(_)]) => Chroma::Yuv444,
            _ => Chroma::Yuv420,
        }
    }

    fn negotiated(&mut self, rtc: &mut Rtc, mid: Mid) -> Result<[Option<Pt>; 2], SendError> {
        if let Some(payloads) = self.payloads {
            return Ok(payloads);
        }
        let writer = rtc.writer(mid).ok_or(SendError::NoVideo)?;
        let [plain, fine] = [Chroma::Yuv420, Chroma::Yuv444].map(|chroma| best(&writer, chroma));
        // Who decodes 4:4:4 decodes the rest too (H.264 A.2.11).
        let payloads = [plain.or(fine), fine];
        if let Some(stream) = rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_rtx_cache(
                engine::SEND_PACKETS_MAX,
                RESEND_AGE_MAX,
                Some(RESEND_RATIO_MAX),
            );
        }
        self.payloads = Some(payloads);
        Ok(payloads)
    }

    /// Whether frames are sent as this payload type; what is sent again and padding are not.
    pub(crate) fn sends(&self, payload: u8) -> bool {
        let ours = self.payloads.into_iter().flatten().flatten();
        ours.map(|ours| *ours).any(|ours| ours == payload)
    }

    /// Another description may have moved the payload types.
    pub(crate) fn handle_description(&mut self) {
        self.payloads = None;
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

/// The preferred payload type for that chroma.
fn best(writer: &Writer<'_>, chroma: Chroma) -> Option<Pt> {
    let ours = writer.payload_params().filter_map(|params| {
        let profile = profile(params)?;
        (engine::chroma_of(profile) == chroma).then_some((profile, params.pt()))
    });
    let best = ours.min_by_key(|&(profile, _)| engine::preference(profile));
    best.map(|(_, payload)| payload)
}

/// Of H.264 as we send it.
fn profile(params: &PayloadParams) -> Option<u32> {
    let spec = params.spec();
    let is_ours = spec.codec == Codec::H264 && spec.format.packetization_mode == Some(1);
    is_ours.then(|| spec.format.profile_level_id.unwrap_or_default())
}
