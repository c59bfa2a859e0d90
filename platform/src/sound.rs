//! The one form of sound between desktop and loudspeaker: what Opus takes without resampling.

use std::time::Duration;

/// Opus' own rate (RFC 7587 §4.1).
pub const SAMPLES_PER_SECOND: u32 = 48_000;
/// Left and right, interleaved.
pub const CHANNELS: usize = 2;
/// One packet: shorter costs headers, longer costs delay.
pub const FRAME_TIME: Duration = Duration::from_millis(10);
/// Samples of one frame on one side.
pub const SIDE_LEN: usize = 480;
/// Samples of one frame, both channels.
pub const FRAME_LEN: usize = SIDE_LEN * CHANNELS;
/// Bytes of one frame as the sound server has them: 16 bits, little-endian.
pub const FRAME_BYTES: usize = FRAME_LEN * 2;
