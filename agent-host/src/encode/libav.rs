//! FFmpeg's libavcodec and libavutil, opened at run time: versions 59 to 61 of libavcodec, which
//! are FFmpeg 5 (Debian 12), 6 (Ubuntu 24.04) and 7 (Debian 13).
//!
//! Options are set by name, so the one large structure needs no layout but for a single pointer,
//! whose place is told by the options beside it. Of the small ones the front is declared, which
//! the three versions share; [`Libav::load`] and [`surfaces`] compare what fresh ones hold with
//! what FFmpeg's headers promise, so another layout is refused instead of scribbled over.

mod context;
mod frame;
mod said;
mod surfaces;

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use platform::io::library::{Library, Missing};

pub use context::Context;
pub use frame::{Frame, Planes, Region};
pub use surfaces::Surfaces;

use frame::RawFrame;

/// Each with what Debian or Ubuntu calls its package.
const LIBRARIES: [(&CStr, &str); 3] = [
    (c"libavcodec.so.59", "libavcodec59"),
    (c"libavcodec.so.60", "libavcodec60"),
    (c"libavcodec.so.61", "libavcodec61"),
];
/// `AV_OPT_SEARCH_CHILDREN`: a codec's own options too, and before those all codecs share.
const SEARCH_CHILDREN: c_int = 1;
/// `AV_NOPTS_VALUE`.
const NO_TIME: i64 = i64::MIN;
/// `AVERROR(EAGAIN)`.
const AGAIN: c_int = -libc::EAGAIN;

/// The front of `AVPacket`.
#[repr(C)]
struct RawPacket {
    buffer: *mut c_void,
    pts: i64,
    dts: i64,
    data: *const u8,
    size: c_int,
}

/// `AVBufferRef`.
#[repr(C)]
struct RawBuffer {
    buffer: *mut c_void,
    data: *mut u8,
    size: usize,
}

/// The front of `AVOption`.
#[repr(C)]
struct RawOption {
    name: *const c_char,
    help: *const c_char,
    offset: c_int,
}

/// The front of `AVFrameSideData`.
#[repr(C)]
struct RawSideData {
    kind: c_int,
    data: *mut u8,
}

macro_rules! functions {
    ($($name:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, by their own names; the library stays loaded for the life of the process.
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            fn find(library: &Library) -> Result<Self, Missing> {
                // SAFETY: the types are those of FFmpeg's headers. Those of libavutil are found
                // too, because libavcodec depends on it.
                unsafe {
                    Ok(Self {
                        $($name: library.function(
                            const { name(concat!(stringify!($name), "\0")) },
                        )?,)*
                    })
                }
            }
        }
    };
}

functions! {
    avcodec_version() -> c_uint;
    avcodec_find_encoder_by_name(*const c_char) -> *const c_void;
    avcodec_alloc_context3(*const c_void) -> *mut c_void;
    avcodec_free_context(*mut *mut c_void);
    avcodec_open2(*mut c_void, *const c_void, *mut *mut c_void) -> c_int;
    avcodec_send_frame(*mut c_void, *const RawFrame) -> c_int;
    avcodec_receive_packet(*mut c_void, *mut RawPacket) -> c_int;
    av_packet_alloc() -> *mut RawPacket;
    av_packet_free(*mut *mut RawPacket);
    av_packet_unref(*mut RawPacket);
    av_opt_set(*mut c_void, *const c_char, *const c_char, c_int) -> c_int;
    av_opt_find(*mut c_void, *const c_char, *const c_char, c_int, c_int) -> *const RawOption;
    av_frame_alloc() -> *mut RawFrame;
    av_frame_free(*mut *mut RawFrame);
    av_frame_get_buffer(*mut RawFrame, c_int) -> c_int;
    av_frame_make_writable(*mut RawFrame) -> c_int;
    av_frame_copy_props(*mut RawFrame, *const RawFrame) -> c_int;
    av_frame_new_side_data(*mut RawFrame, c_int, usize) -> *mut RawSideData;
    av_frame_remove_side_data(*mut RawFrame, c_int);
    av_frame_side_data_name(c_int) -> *const c_char;
    av_get_pix_fmt(*const c_char) -> c_int;
    av_hwdevice_find_type_by_name(*const c_char) -> c_int;
    av_hwdevice_ctx_create(*mut *mut RawBuffer, c_int, *const c_char, *mut c_void, c_int) -> c_int;
    av_hwframe_ctx_alloc(*mut RawBuffer) -> *mut RawBuffer;
    av_hwframe_ctx_init(*mut RawBuffer) -> c_int;
    av_hwframe_get_buffer(*mut RawBuffer, *mut RawFrame, c_int) -> c_int;
    av_hwframe_transfer_data(*mut RawFrame, *const RawFrame, c_int) -> c_int;
    av_buffer_ref(*const RawBuffer) -> *mut RawBuffer;
    av_buffer_unref(*mut *mut RawBuffer);
    av_strerror(c_int, *mut c_char, usize) -> c_int;
    av_log_set_callback(said::Listener);
    av_log_format_line(*mut c_void, c_int, *const c_char, *mut c_void, *mut c_char, c_int, *mut c_int);
}

const fn name(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("the name of a function ends with its only NUL"),
    }
}

/// The loaded libraries.
pub struct Libav {
    call: Functions,
    /// Of libavcodec: 59 to 61.
    major: c_uint,
}

impl Libav {
    /// Loads them once for the life of the process.
    ///
    /// # Errors
    ///
    /// One sentence: no version that is known is installed, or one with another layout.
    pub fn load() -> Result<&'static Self, String> {
        static LOADED: OnceLock<Result<Libav, String>> = OnceLock::new();
        let loaded = LOADED.get_or_init(|| {
            let libav = Self::find()?;
            said::listen(&libav.call);
            Ok(libav)
        });
        loaded.as_ref().map_err(Clone::clone)
    }

    fn find() -> Result<Self, String> {
        let found = LIBRARIES
            .iter()
            .find_map(|&(name, package)| Library::open(name, package).ok());
        let Some(library) = found else {
            let [(oldest, package), .., (newest, _)] = LIBRARIES;
            return Err(format!(
                "neither {} nor a later version up to {} is installed (Debian 12: apt-get install \
                 {package})",
                oldest.to_string_lossy(),
                newest.to_string_lossy()
            ));
        };
        let call = Functions::find(&library).map_err(|missing| missing.to_string())?;
        // SAFETY: takes nothing and touches nothing.
        let major = unsafe { (call.avcodec_version)() } >> 16;
        let libav = Self { call, major };
        if !(59..=61).contains(&major) || !libav.is_laid_out_as_declared() {
            return Err(format!("libavcodec {major} is laid out differently"));
        }
        Ok(libav)
    }

    /// What fresh structures hold, and what the number of the side data stands for.
    fn is_laid_out_as_declared(&self) -> bool {
        // SAFETY: both calls allocate or give null; what they give is at least as large as what is
        // declared of it and is freed at once. The name of side data is static or null.
        unsafe {
            let mut frame = (self.call.av_frame_alloc)();
            let mut packet = (self.call.av_packet_alloc)();
            let frame_fits = frame.as_ref().is_some_and(RawFrame::is_fresh);
            let packet_fits = packet.as_ref().is_some_and(|packet| {
                packet.pts == NO_TIME && packet.dts == NO_TIME && packet.data.is_null()
            });
            (self.call.av_frame_free)(&raw mut frame);
            (self.call.av_packet_free)(&raw mut packet);
            let name = (self.call.av_frame_side_data_name)(frame::REGIONS_OF_INTEREST);
            let named = !name.is_null() && CStr::from_ptr(name) == c"Regions Of Interest";
            frame_fits && packet_fits && named
        }
    }

    /// Does something, and makes a sentence of its number if that is an error: what FFmpeg said
    /// meanwhile, or else what the number stands for.
    fn check(&self, doing: impl FnOnce(&Functions) -> c_int) -> Result<(), String> {
        said::forget();
        let result = doing(&self.call);
        if result >= 0 {
            return Ok(());
        }
        Err(said::last().unwrap_or_else(|| self.meaning(result)))
    }

    fn meaning(&self, error: c_int) -> String {
        let mut text: [c_char; 128] = [0; 128];
        // SAFETY: the room is as large as said, and NUL-terminated by `av_strerror`.
        let text = unsafe {
            (self.call.av_strerror)(error, text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr())
        };
        text.to_string_lossy().into_owned()
    }
}

/// An `AVBufferRef` of ours.
struct Buffer {
    libav: &'static Libav,
    raw: *mut RawBuffer,
}

impl Buffer {
    fn new(libav: &'static Libav, raw: *mut RawBuffer) -> Option<Self> {
        (!raw.is_null()).then_some(Self { libav, raw })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: one reference, given back once.
        unsafe { (self.libav.call.av_buffer_unref)(&raw mut self.raw) }
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} has a NUL in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_version_is_laid_out_as_declared_and_known() {
        let libav = Libav::load().unwrap();
        assert!((59..=61).contains(&libav.major));
    }

    #[test]
    fn an_error_is_told_in_the_words_of_ffmpeg() {
        let libav = Libav::load().unwrap();
        assert_eq!(
            libav.check(|_| -libc::ENOMEM),
            Err("Cannot allocate memory".into())
        );
        assert_eq!(libav.check(|_| 0), Ok(()));
    }
}
