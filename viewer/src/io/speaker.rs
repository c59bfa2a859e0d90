//! libopus and libpulse-simple, loaded at run time: Opus in, sound out. A machine without them
//! shows the desktop in silence.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use platform::io::library::{Library, Missing};
use platform::io::pulse::{BufferAttr, SampleSpec, UNSET};
use platform::sound::{CHANNELS, FRAME_BYTES, FRAME_LEN, SAMPLES_PER_SECOND, SIDE_LEN};

use crate::sound::Piece;

const OPUS: &CStr = c"libopus.so.0";
const PULSE: &CStr = c"libpulse-simple.so.0";
const NAME: &CStr = c"MultiClaw";
const STREAM_NAME: &CStr = c"the desktop's sound";

/// `PA_STREAM_PLAYBACK`.
const PLAYBACK: c_int = 1;

type Create = unsafe extern "C" fn(i32, c_int, *mut c_int) -> *mut c_void;
type Decode = unsafe extern "C" fn(*mut c_void, *const u8, i32, *mut i16, c_int, c_int) -> c_int;
type Destroy = unsafe extern "C" fn(*mut c_void);
type Open = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    c_int,
    *const c_char,
    *const c_char,
    *const SampleSpec,
    *const c_void,
    *const BufferAttr,
    *mut c_int,
) -> *mut c_void;
type Write = unsafe extern "C" fn(*mut c_void, *const c_void, usize, *mut c_int) -> c_int;

/// The functions; the libraries stay loaded for the life of the process.
#[derive(Clone, Copy)]
pub(super) struct Libraries {
    create: Create,
    decode: Decode,
    destroy: Destroy,
    open: Open,
    write: Write,
    free: Destroy,
}

impl Libraries {
    /// # Errors
    ///
    /// [`Missing`]: one sentence that names the package.
    pub(super) fn load() -> Result<Self, Missing> {
        let opus = Library::open(OPUS, "libopus0")?;
        let pulse = Library::open(PULSE, "libpulse0")?;
        // SAFETY: the types are those of opus.h and pulse/simple.h.
        unsafe {
            Ok(Self {
                create: opus.function(c"opus_decoder_create")?,
                decode: opus.function(c"opus_decode")?,
                destroy: opus.function(c"opus_decoder_destroy")?,
                open: pulse.function(c"pa_simple_new")?,
                write: pulse.function(c"pa_simple_write")?,
                free: pulse.function(c"pa_simple_free")?,
            })
        }
    }
}

/// A decoder and a way to the loudspeaker. Stays on the thread that made it.
pub(super) struct Speaker {
    libraries: Libraries,
    decoder: *mut c_void,
    stream: *mut c_void,
}

impl Speaker {
    /// Connects to the sound server the environment names; blocks until it answered.
    ///
    /// # Errors
    ///
    /// There is none, or it refuses.
    pub(super) fn open(libraries: Libraries) -> anyhow::Result<Self> {
        let mut error: c_int = 0;
        let both = CHANNELS as c_int;
        let rate = SAMPLES_PER_SECOND.cast_signed();
        // SAFETY: plain numbers, and a place for the error that lives through the call.
        let decoder = unsafe { (libraries.create)(rate, both, &raw mut error) };
        anyhow::ensure!(!decoder.is_null(), "libopus makes no decoder");
        let mut speaker = Self {
            libraries,
            decoder,
            stream: ptr::null_mut(),
        };
        let spec = SampleSpec::OURS;
        // 40 ms in the server, playing from 20 on: what the network's unevenness needs.
        let frame = FRAME_BYTES as u32;
        let attr = BufferAttr {
            maxlength: 8 * frame,
            tlength: 4 * frame,
            prebuf: 2 * frame,
            minreq: UNSET,
            fragsize: UNSET,
        };
        // SAFETY: all that is pointed at lives through the call; null means the defaults.
        speaker.stream = unsafe {
            (libraries.open)(
                ptr::null(),
                NAME.as_ptr(),
                PLAYBACK,
                ptr::null(),
                STREAM_NAME.as_ptr(),
                &raw const spec,
                ptr::null(),
                &raw const attr,
                &raw mut error,
            )
        };
        anyhow::ensure!(
            !speaker.stream.is_null(),
            "PulseAudio answers with error {error}"
        );
        Ok(speaker)
    }

    /// Plays 10 ms; blocks while the server has enough.
    ///
    /// # Errors
    ///
    /// The server went away.
    pub(super) fn play(&mut self, piece: &Piece) -> anyhow::Result<()> {
        let mut samples = [0_i16; FRAME_LEN];
        let (data, len) = match piece {
            Piece::Hole => (ptr::null(), 0),
            Piece::Packet(bytes) => (bytes.as_ptr(), i32::try_from(bytes.len())?),
        };
        // SAFETY: the decoder is open; `samples` has room for `SIDE_LEN` on both sides, and `data`
        // has `len` bytes or is null, which libopus takes for a lost packet.
        let decoded = unsafe {
            let room = SIDE_LEN as c_int;
            (self.libraries.decode)(self.decoder, data, len, samples.as_mut_ptr(), room, 0)
        };
        // What cannot be decoded came broken from the network: silence of its length.
        if decoded < 0 {
            samples.fill(0);
        }
        let mut error: c_int = 0;
        // SAFETY: the stream is open; the bytes live through the call.
        let written = unsafe {
            let bytes = samples.as_ptr().cast();
            (self.libraries.write)(self.stream, bytes, size_of_val(&samples), &raw mut error)
        };
        anyhow::ensure!(written >= 0, "PulseAudio answers with error {error}");
        Ok(())
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // SAFETY: each was opened once and is closed once.
        unsafe {
            if !self.stream.is_null() {
                (self.libraries.free)(self.stream);
            }
            (self.libraries.destroy)(self.decoder);
        }
    }
}
