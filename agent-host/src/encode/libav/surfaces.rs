//! Memory of a graphics device that an encoder reads from, and the way pictures get there.
//!
//! Nothing here has run on a device of VAAPI. The tests walk the same way on a device of Vulkan,
//! where there is one (Mesa has one in software), and describe surfaces on one that is only
//! allocated.

use std::ffi::{CStr, c_int};
use std::ptr;

use super::frame::pixels;
use super::{Buffer, Frame, Libav, RawBuffer};

/// Input of an encoder that keeps none back, and some to spare; FFmpeg's own example takes 20.
const SURFACES: c_int = 8;

/// `AVHWFramesContext` from `initial_pool_size` on.
#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
struct Description {
    pool: c_int,
    format: c_int,
    memory_format: c_int,
    width: c_int,
    height: c_int,
}

impl Description {
    /// As `av_hwframe_ctx_alloc` leaves it.
    const FRESH: Self = Self {
        pool: 0,
        format: -1,
        memory_format: -1,
        width: 0,
        height: 0,
    };
}

/// Surfaces for NV12 pictures of one size.
pub struct Surfaces {
    libav: &'static Libav,
    frames: Buffer,
}

// SAFETY: references are counted atomically, and surfaces may be used from any thread.
unsafe impl Send for Surfaces {}

impl Surfaces {
    /// On the device FFmpeg calls `kind` ("vaapi") at `path`.
    ///
    /// # Errors
    ///
    /// Why not, in FFmpeg's words.
    pub fn open(
        libav: &'static Libav,
        kind: &CStr,
        path: &CStr,
        width: usize,
        height: usize,
    ) -> Result<Self, String> {
        let mut device: *mut RawBuffer = ptr::null_mut();
        // SAFETY: the strings end with NUL; the device is written to `device` or left null.
        libav.check(|call| unsafe {
            let kind = (call.av_hwdevice_find_type_by_name)(kind.as_ptr());
            let path = path.as_ptr();
            (call.av_hwdevice_ctx_create)(&raw mut device, kind, path, ptr::null_mut(), 0)
        })?;
        let device = Buffer::new(libav, device).ok_or("FFmpeg gave no device")?;
        let frames = described(libav, &device, kind, width, height)?;
        // SAFETY: the device is open and the surfaces are described.
        libav.check(|call| unsafe { (call.av_hwframe_ctx_init)(frames.raw) })?;
        Ok(Self { libav, frames })
    }

    pub(super) fn raw(&self) -> *const RawBuffer {
        self.frames.raw
    }

    /// A surface with that picture in it, described the same way.
    ///
    /// # Errors
    ///
    /// Why not, in FFmpeg's words.
    pub fn upload(&self, from: &Frame) -> Result<Frame, String> {
        let to = Frame::empty(self.libav)?;
        // SAFETY: `to` is empty, and the surfaces live as long as one of them does.
        self.libav
            .check(|call| unsafe { (call.av_hwframe_get_buffer)(self.frames.raw, to.raw, 0) })?;
        // SAFETY: both have the same size.
        self.libav
            .check(|call| unsafe { (call.av_hwframe_transfer_data)(to.raw, from.raw, 0) })?;
        // SAFETY: copies kind, time and regions.
        self.libav
            .check(|call| unsafe { (call.av_frame_copy_props)(to.raw, from.raw) })?;
        Ok(to)
    }
}

/// Surfaces that are described and do not exist yet.
fn described(
    libav: &'static Libav,
    device: &Buffer,
    kind: &CStr,
    width: usize,
    height: usize,
) -> Result<Buffer, String> {
    // SAFETY: takes a reference of its own; allocates or gives null.
    let raw = unsafe { (libav.call.av_hwframe_ctx_alloc)(device.raw) };
    let frames = Buffer::new(libav, raw).ok_or("no memory for surfaces")?;
    // SAFETY: the names end with NUL. A device and its surfaces go by the same name.
    let [format, memory_format] =
        unsafe { [kind, c"nv12"].map(|name| (libav.call.av_get_pix_fmt)(name.as_ptr())) };
    let wanted = Description {
        pool: SURFACES,
        format,
        memory_format,
        width: pixels(width)?,
        height: pixels(height)?,
    };
    // SAFETY: `description` is inside the structure in the versions that are loaded; that it is
    // where this version has it is seen by what a fresh one holds.
    unsafe {
        let description = description(libav, &frames);
        if description.read() != Description::FRESH {
            return Err("its surfaces are laid out differently".into());
        }
        description.write(wanted);
    }
    Ok(frames)
}

/// Behind eight pointers; 61 has one fewer.
fn description(libav: &Libav, frames: &Buffer) -> *mut Description {
    let pointers = if libav.major >= 61 { 7 } else { 8 };
    // SAFETY: the buffer is alive, and its data is the structure, which is larger.
    unsafe { (*frames.raw).data.byte_add(pointers * 8).cast() }
}

#[cfg(test)]
mod tests {
    use platform::io::library::Library;

    use super::*;
    use crate::encode::libav::{Context, LIBRARIES};

    #[test]
    fn surfaces_are_described_where_ffmpeg_reads_it() {
        let libav = Libav::load().unwrap();
        let device = undriven(libav);
        let frames = described(libav, &device, c"vaapi", 320, 192).unwrap();
        // SAFETY: as in `described`.
        let described = unsafe { description(libav, &frames).read() };
        assert_eq!((described.width, described.height), (320, 192));
        assert_eq!(described.memory_format, 23, "AV_PIX_FMT_NV12");
        assert!(described.format > 0 && described.format != 23);
    }

    /// The way to a device, walked on Vulkan: Mesa has it in software (`mesa-vulkan-drivers`).
    #[test]
    fn a_surface_holds_what_was_uploaded_or_the_device_says_why_there_is_none() {
        let libav = Libav::load().unwrap();
        let surfaces = match Surfaces::open(libav, c"vulkan", c"", 320, 192) {
            Ok(surfaces) => surfaces,
            Err(why) => return assert!(why.len() > 10, "{why}"),
        };
        let mut from = Frame::nv12(libav, 320, 192).unwrap();
        let planes = from.planes().unwrap();
        let count = |bytes: &mut [u8]| (0_u8..=250).cycle().zip(bytes).for_each(|(n, b)| *b = n);
        count(planes.luma);
        count(planes.chroma);
        for _ in 0..3 * SURFACES {
            let there = surfaces.upload(&from).unwrap();
            let mut back = Frame::nv12(libav, 320, 192).unwrap();
            // SAFETY: both are of one size, and `back` has buffers of its own.
            let result = libav
                .check(|call| unsafe { (call.av_hwframe_transfer_data)(back.raw, there.raw, 0) });
            assert_eq!(result, Ok(()));
            let [given, got] = [&mut from, &mut back].map(|frame| {
                let planes = frame.planes().unwrap();
                let rows = |bytes: &[u8], stride: usize| -> Vec<u8> {
                    bytes
                        .chunks(stride)
                        .flat_map(|row| row[..320].to_vec())
                        .collect()
                };
                let luma = rows(planes.luma, planes.luma_stride);
                [luma, rows(planes.chroma, planes.chroma_stride)]
            });
            assert!(given == got);
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_told_in_the_words_of_ffmpeg() {
        let libav = Libav::load().unwrap();
        let path = c"/nowhere/renderD128";
        let error = Surfaces::open(libav, c"vaapi", path, 320, 192).err();
        assert!(
            error.as_ref().is_some_and(|why| why.contains("VA")),
            "{error:?}"
        );
    }

    #[test]
    fn an_encoder_reads_the_surfaces_it_was_given() {
        let libav = Libav::load().unwrap();
        let error = |surfaces: Option<&Surfaces>| {
            let mut context = Context::new(libav, "h264_vaapi").unwrap();
            let shape = [
                ("video_size", "320x192"),
                ("pixel_format", "vaapi"),
                ("time_base", "1/60"),
            ];
            for (name, value) in shape {
                context.set(name, value).unwrap();
            }
            if let Some(surfaces) = surfaces {
                context.use_surfaces(surfaces).unwrap();
            }
            context.open().unwrap_err()
        };
        let said = error(None);
        assert!(
            said.contains("hardware frames reference is required"),
            "{said}"
        );
        // Of another kind, so that it looks at them and takes offence.
        let frames = described(libav, &undriven(libav), c"cuda", 320, 192).unwrap();
        let said = error(Some(&Surfaces { libav, frames }));
        assert!(said.contains("Mismatching"), "{said}");
    }

    /// A device of VAAPI that is allocated and never opened.
    fn undriven(libav: &'static Libav) -> Buffer {
        type Allocate = unsafe extern "C" fn(c_int) -> *mut RawBuffer;
        let library = LIBRARIES
            .iter()
            .find_map(|&(name, package)| Library::open(name, package).ok())
            .unwrap();
        // SAFETY: the type is that of the header; the name ends with NUL.
        unsafe {
            let allocate: Allocate = library.function(c"av_hwdevice_ctx_alloc").unwrap();
            let kind = (libav.call.av_hwdevice_find_type_by_name)(c"vaapi".as_ptr());
            Buffer::new(libav, allocate(kind)).unwrap()
        }
    }
}
