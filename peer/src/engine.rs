//! How str0m is set up, and why.
//!
//! Everything here is a bound or a choice: codecs, header extensions, buffers, how fast a dead path
//! is noticed. Sizes are in packets of about 1,200 bytes unless a name says otherwise.

use std::time::{Duration, Instant};

use protocol::control::{Chroma, MESSAGE_LEN_MAX};
use str0m::bwe::Bitrate;
use str0m::config::DtlsVersion;
use str0m::format::{Codec, FormatParams};
use str0m::media::Frequency;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Rtc, RtcConfig};

use crate::config::{Config, Side};
use crate::dtls;

/// Packets kept for sending and for resending: a 4K key frame is about 1,500, and the history
/// answers NACKs for a second at 40 Mbit/s. When full the oldest can no longer be resent.
pub(crate) const SEND_PACKETS_MAX: usize = 4096;
/// Packets held while one is missing; must exceed the largest key frame. When full the gap is
/// given up and the frame after it comes out with `contiguous: false`.
const REORDER_PACKETS_MAX: usize = 4096;
/// Bytes SCTP holds for all three channels. Twice the largest message, so that one clipboard does
/// not shut out a key press; larger costs CPU per byte and delay.
const SCTP_BUFFER_BYTES_MAX: usize = 2 * MESSAGE_LEN_MAX;
/// STUN checks on a dead path end after 400 + 3 × 800 + 800 = 3.6 s instead of 21 s; on a living
/// one they repeat every 0.8 s.
const STUN_RTO_START: Duration = Duration::from_millis(200);
const STUN_RTO_MAX: Duration = Duration::from_millis(800);
const STUN_ATTEMPTS_MAX: usize = 5;
/// Packets of sound held while one is missing, 10 ms each. When full the gap is given up: the
/// decoder bridges it better than a listener waits.
const REORDER_AUDIO_MAX: usize = 4;
const OPUS: u8 = 111;
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// H.264 as `(payload type, RTX payload type, profile-level-id)`, packetization-mode 1 only.
///
/// Level 3.1 is what browsers say; with level asymmetry allowed it limits nobody. Only receivers
/// of 4:4:4 say the last one.
const H264: [(u8, u8, u32); 5] = [
    (102, 103, 0x64_001f),
    (104, 105, 0x4d_001f),
    (106, 107, 0x42_e01f),
    (108, 109, 0x42_001f),
    (112, 113, PROFILE_444),
];
/// High 4:4:4 Predictive.
const PROFILE_444: u32 = 0xf4_001f;

pub(crate) fn build(config: &Config, now: Instant) -> Rtc {
    let mut rtc_config = RtcConfig::new()
        .clear_codecs()
        .set_crypto_provider(dtls::crypto_provider())
        .set_extension_map(extensions())
        .set_dtls_cert(config.certificate.0.clone())
        .set_dtls_version(DtlsVersion::Auto)
        .set_stats_interval(Some(STATS_INTERVAL))
        .set_send_buffer_video(SEND_PACKETS_MAX)
        .set_reordering_size_video(REORDER_PACKETS_MAX)
        .set_reordering_size_audio(REORDER_AUDIO_MAX)
        .set_sctp_max_buffered_amount(SCTP_BUFFER_BYTES_MAX)
        .set_sctp_max_message_size(MESSAGE_LEN_MAX as u32)
        // Two round trips less until the data channels open, where the other side knows it.
        .set_snap_enabled(config.side == Side::Viewer);
    if config.side == Side::Host {
        rtc_config = rtc_config
            .enable_bwe(Some(Bitrate::bps(config.bitrate.start_bps)))
            // The only way to the reports; a copy of each packet, beside what encoding it took.
            .enable_raw_packets(true);
    }
    rtc_config.set_initial_stun_rto(STUN_RTO_START);
    rtc_config.set_max_stun_rto(STUN_RTO_MAX);
    rtc_config.set_max_stun_retransmits(STUN_ATTEMPTS_MAX);
    for (payload, rtx, profile) in H264.into_iter().filter(|h264| speaks(config, h264.2)) {
        let codecs = rtc_config.codec_config();
        codecs.add_h264(payload.into(), Some(rtx.into()), true, profile);
    }
    add_opus(&mut rtc_config);
    rtc_config.build(now)
}

/// Both channels, which a receiver plays only if it asked for them (RFC 7587 §7.1).
fn add_opus(config: &mut RtcConfig) {
    let format = FormatParams {
        min_p_time: Some(10),
        stereo: Some(true),
        sprop_stereo: Some(true),
        use_inband_fec: Some(true),
        ..FormatParams::default()
    };
    let clock = Frequency::FORTY_EIGHT_KHZ;
    let codecs = config.codec_config();
    codecs.add_config(OPUS.into(), None, Codec::Opus, clock, Some(2), format);
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map.set(5, Extension::PlayoutDelay);
    map.set(6, Extension::AbsoluteCaptureTime);
    map
}

/// How far str0m may probe, in bits per second; see [`probing`](crate::probing). No minimum: str0m
/// would fill it with padding, and a still screen must cost nothing.
pub(crate) fn set_desired(rtc: &mut Rtc, desired_bps: u64) {
    rtc.bwe()
        .set_bitrate(Bitrate::ZERO, Bitrate::bps(desired_bps));
}

/// A viewer says what it decodes, a host sends what it is asked for.
fn speaks(config: &Config, profile: u32) -> bool {
    config.side == Side::Host || chroma_of(profile) <= config.chroma
}

/// What a payload type of this profile carries at most.
pub(crate) fn chroma_of(profile_level_id: u32) -> Chroma {
    match profile_level_id >> 16 == PROFILE_444 >> 16 {
        true => Chroma::Yuv444,
        false => Chroma::Yuv420,
    }
}

/// The order in which negotiated profiles are preferred for sending.
pub(crate) fn preference(profile_level_id: u32) -> usize {
    let profile = profile_level_id >> 8;
    H264.iter()
        .position(|(_, _, ours)| ours >> 8 == profile)
        .unwrap_or(usize::MAX)
}
