//! libopus, loaded at run time: `libopus.so.0`, whose functions have been the same since 1.0.
//!
//! The mode without lookahead (`RESTRICTED_LOWDELAY`): 2.5 ms of delay instead of 6.5, and music
//! sounds as good.

use std::ffi::{CStr, c_int, c_void};
use std::sync::Arc;

use platform::io::library::{Library, Missing};
use platform::sound::{CHANNELS, FRAME_LEN, SAMPLES_PER_SECOND, SIDE_LEN};

const LIBRARY: &CStr = c"libopus.so.0";
const PACKAGE: &str = "libopus0";

// opus_defines.h
const APPLICATION_RESTRICTED_LOWDELAY: c_int = 2051;
const SET_BITRATE: c_int = 4002;
const SET_COMPLEXITY: c_int = 4010;
/// Of 10: above it the ear hears nothing more at these bitrates, and the CPU does.
const COMPLEXITY: c_int = 5;
/// The longest packet RFC 6716 allows for one frame.
const PACKET_BYTES_MAX: usize = 1275;

type Create = unsafe extern "C" fn(i32, c_int, c_int, *mut c_int) -> *mut c_void;
type Encode = unsafe extern "C" fn(*mut c_void, *const i16, c_int, *mut u8, i32) -> i32;
type Control = unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int;
type Destroy = unsafe extern "C" fn(*mut c_void);

/// The functions; the library stays loaded for the life of the process.
#[derive(Clone, Copy)]
pub struct Opus {
    create: Create,
    encode: Encode,
    control: Control,
    destroy: Destroy,
}

impl Opus {
    /// # Errors
    ///
    /// [`Missing`]: one sentence that names the package.
    pub fn load() -> Result<Self, Missing> {
        let library = Library::open(LIBRARY, PACKAGE)?;
        // SAFETY: the types are those of opus.h.
        unsafe {
            Ok(Self {
                create: library.function(c"opus_encoder_create")?,
                encode: library.function(c"opus_encode")?,
                control: library.function(c"opus_encoder_ctl")?,
                destroy: library.function(c"opus_encoder_destroy")?,
            })
        }
    }
}

/// One encoder.
pub struct OpusEncoder {
    opus: Opus,
    handle: *mut c_void,
}

// SAFETY: an encoder may be used from any thread, by one at a time; `&mut self` sees to that.
unsafe impl Send for OpusEncoder {}

impl OpusEncoder {
    /// `None` if libopus refuses.
    pub fn open(opus: Opus, bitrate_bps: u32) -> Option<Self> {
        let rate = i32::try_from(SAMPLES_PER_SECOND).ok()?;
        let channels = c_int::try_from(CHANNELS).ok()?;
        let mut error: c_int = 0;
        // SAFETY: plain numbers, and a place for the error that lives through the call.
        let handle = unsafe {
            (opus.create)(
                rate,
                channels,
                APPLICATION_RESTRICTED_LOWDELAY,
                &raw mut error,
            )
        };
        if handle.is_null() {
            return None;
        }
        let encoder = Self { opus, handle };
        let bitrate = c_int::try_from(bitrate_bps).ok()?;
        for (what, value) in [(SET_BITRATE, bitrate), (SET_COMPLEXITY, COMPLEXITY)] {
            // SAFETY: both take one int; the handle is open.
            if unsafe { (encoder.opus.control)(encoder.handle, what, value) } != 0 {
                return None;
            }
        }
        Some(encoder)
    }

    /// Codes one frame; `None` if it is not [`FRAME_LEN`] long or libopus refuses.
    pub fn encode(&mut self, samples: &[i16]) -> Option<Arc<[u8]>> {
        if samples.len() != FRAME_LEN {
            return None;
        }
        let mut packet = [0_u8; PACKET_BYTES_MAX];
        let per_channel = c_int::try_from(SIDE_LEN).ok()?;
        let room = i32::try_from(packet.len()).ok()?;
        // SAFETY: the handle is open; `samples` holds what `per_channel` and the channels given at
        // creation say, and `packet` has `room` bytes.
        let len = unsafe {
            (self.opus.encode)(
                self.handle,
                samples.as_ptr(),
                per_channel,
                packet.as_mut_ptr(),
                room,
            )
        };
        let len = usize::try_from(len).ok()?;
        packet.get(..len).map(Arc::from)
    }
}

impl Drop for OpusEncoder {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once, not used after.
        unsafe { (self.opus.destroy)(self.handle) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_milliseconds_of_a_tone_become_a_packet_of_about_the_bitrate() {
        let mut encoder = OpusEncoder::open(Opus::load().unwrap(), 96_000).unwrap();
        let tone: Vec<i16> = (0..FRAME_LEN)
            .map(|n| ((n as f32 * 0.06).sin() * 9_000.0) as i16)
            .collect();
        let packets: Vec<usize> = (0..50)
            .map(|_| encoder.encode(&tone).unwrap().len())
            .collect();
        let mean = packets.iter().sum::<usize>() / packets.len();
        assert!((60..180).contains(&mean), "{packets:?}");
        assert!(encoder.encode(&tone[1..]).is_none());
    }
}
