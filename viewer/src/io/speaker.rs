//! libopus and libpulse-simple, loaded at run time: Opus in, sound out. A machine without them
//! shows the desktop in silence.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use anyhow::Context as _;

use crate::sound::Piece;

const OPUS: &CStr = c"libopus.so.0";
const PULSE: &CStr = c"libpulse-simple.so.0";
const NAME: &CStr = c"MultiClaw";
const STREAM_NAME: &CStr = c"the desktop's sound";

const SAMPLES_PER_SECOND: i32 = 48_000;
const CHANNELS: usize = 2;
/// Samples of 10 ms on one side.
const FRAME_LEN: usize = 480;
const FRAME_BYTES: u32 = (FRAME_LEN * CHANNELS * 2) as u32;
// pulse/def.h and sample.h
const PLAYBACK: c_int = 1;
const FORMAT_S16LE: c_int = 3;
/// The server's choice.
const UNSET: u32 = u32::MAX;

#[repr(C)]
struct SampleSpec {
    format: c_int,
    rate: u32,
    channels: u8,
}

#[repr(C)]
struct BufferAttr {
    maxlength: u32,
    tlength: u32,
    prebuf: u32,
    minreq: u32,
    fragsize: u32,
}

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
    /// One sentence that names the package that is missing.
    pub(super) fn load() -> anyhow::Result<Self> {
        let (opus, pulse) = (library(OPUS, "libopus0")?, library(PULSE, "libpulse0")?);
        // SAFETY: the types are those of opus.h and pulse/simple.h.
        unsafe {
            Ok(Self {
                create: function(opus, c"opus_decoder_create")?,
                decode: function(opus, c"opus_decode")?,
                destroy: function(opus, c"opus_decoder_destroy")?,
                open: function(pulse, c"pa_simple_new")?,
                write: function(pulse, c"pa_simple_write")?,
                free: function(pulse, c"pa_simple_free")?,
            })
        }
    }
}

fn library(name: &CStr, package: &str) -> anyhow::Result<*mut c_void> {
    // SAFETY: the name ends with NUL; what these libraries run when loaded touches nothing of ours.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    let shown = name.to_string_lossy();
    anyhow::ensure!(
        !handle.is_null(),
        "{shown} is not installed (Debian: apt-get install {package})"
    );
    Ok(handle)
}

/// # Safety
///
/// `library` is of `dlopen`, and `F` a function pointer of the type its header declares for `name`.
unsafe fn function<F: Copy>(library: *mut c_void, name: &CStr) -> anyhow::Result<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the caller's duty; the name ends with NUL.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    let address = (!address.is_null()).then_some(address);
    let address = address.with_context(|| format!("no function {}", name.to_string_lossy()))?;
    // SAFETY: as large as a pointer, and of the type the caller vouches for.
    Ok(unsafe { std::mem::transmute_copy(&address) })
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
        // SAFETY: plain numbers, and a place for the error that lives through the call.
        let decoder = unsafe { (libraries.create)(SAMPLES_PER_SECOND, both, &raw mut error) };
        anyhow::ensure!(!decoder.is_null(), "libopus makes no decoder");
        let mut speaker = Self {
            libraries,
            decoder,
            stream: ptr::null_mut(),
        };
        let spec = SampleSpec {
            format: FORMAT_S16LE,
            rate: SAMPLES_PER_SECOND as u32,
            channels: CHANNELS as u8,
        };
        // 40 ms in the server, playing from 20 on: what the network's unevenness needs.
        let attr = BufferAttr {
            maxlength: 8 * FRAME_BYTES,
            tlength: 4 * FRAME_BYTES,
            prebuf: 2 * FRAME_BYTES,
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
        let mut samples = [0_i16; FRAME_LEN * CHANNELS];
        let (data, len) = match piece {
            Piece::Hole => (ptr::null(), 0),
            Piece::Packet(bytes) => (bytes.as_ptr(), i32::try_from(bytes.len())?),
        };
        // SAFETY: the decoder is open; `samples` has room for `FRAME_LEN` on both sides, and `data`
        // has `len` bytes or is null, which libopus takes for a lost packet.
        let decoded = unsafe {
            let room = FRAME_LEN as c_int;
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
