//! A picture in memory as NV12: luma, then both chroma samples side by side, which every hardware
//! encoder takes.

use std::ffi::c_int;

use super::Libav;
use crate::encode::FrameKind;

/// `AV_FRAME_DATA_REGIONS_OF_INTEREST`; its name is asked for when the libraries are loaded.
pub(super) const REGIONS_OF_INTEREST: c_int = 18;
/// `AV_PICTURE_TYPE_NONE`: the encoder decides, which is P but for the first frame.
const TYPE_ANY: c_int = 0;
/// `AV_PICTURE_TYPE_I`.
const TYPE_I: c_int = 1;
/// FFmpeg counts offsets of the quantiser in parts of its range.
const QP_RANGE: c_int = 51;

/// The front of `AVFrame`.
#[repr(C)]
pub(super) struct RawFrame {
    data: [*mut u8; 8],
    stride: [c_int; 8],
    extended_data: *mut *mut u8,
    pub(super) width: c_int,
    pub(super) height: c_int,
    samples: c_int,
    format: c_int,
    key: c_int,
    kind: c_int,
    aspect: [c_int; 2],
    pts: i64,
}

/// `AVRegionOfInterest`.
#[repr(C)]
struct RawRegion {
    size: u32,
    top: c_int,
    bottom: c_int,
    left: c_int,
    right: c_int,
    offset: [c_int; 2],
}

// Where a C compiler puts them, on 64-bit machines.
const _: () = {
    assert!(std::mem::offset_of!(RawFrame, format) == 116);
    assert!(std::mem::offset_of!(RawFrame, kind) == 124);
    assert!(std::mem::offset_of!(RawFrame, pts) == 136);
    assert!(size_of::<RawRegion>() == 28);
};

impl RawFrame {
    /// As `av_frame_alloc` leaves it.
    pub(super) fn is_fresh(&self) -> bool {
        let unset = (self.width, self.height, self.format, self.pts) == (0, 0, -1, super::NO_TIME);
        unset && self.data[0].is_null() && self.kind == TYPE_ANY
    }
}

/// Pixels that are coded finer or coarser than the rest: `bottom` and `right` are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    pub top: usize,
    pub bottom: usize,
    pub left: usize,
    pub right: usize,
    /// Added to the quantiser of the frame.
    pub qp_offset: i8,
}

/// The bytes of a frame, rows `stride` apart.
pub struct Planes<'a> {
    pub luma: &'a mut [u8],
    pub luma_stride: usize,
    pub chroma: &'a mut [u8],
    pub chroma_stride: usize,
}

/// An `AVFrame` of ours.
pub struct Frame {
    libav: &'static Libav,
    pub(super) raw: *mut RawFrame,
}

// SAFETY: a frame may be used from any thread, by one at a time; `&mut self` sees to that.
unsafe impl Send for Frame {}

impl Frame {
    /// # Errors
    ///
    /// No memory, or a size FFmpeg refuses.
    pub fn nv12(libav: &'static Libav, width: usize, height: usize) -> Result<Self, String> {
        let frame = Self::empty(libav)?;
        // SAFETY: the name ends with NUL; the frame is ours and nobody else sees it.
        unsafe {
            (*frame.raw).width = pixels(width)?;
            (*frame.raw).height = pixels(height)?;
            (*frame.raw).format = (libav.call.av_get_pix_fmt)(c"nv12".as_ptr());
        }
        // SAFETY: size and format are set, there is no buffer yet; 0 leaves the alignment to FFmpeg.
        libav.check(|call| unsafe { (call.av_frame_get_buffer)(frame.raw, 0) })?;
        Ok(frame)
    }

    pub(super) fn empty(libav: &'static Libav) -> Result<Self, String> {
        // SAFETY: allocates, or gives null.
        let raw = unsafe { (libav.call.av_frame_alloc)() };
        if raw.is_null() {
            return Err("no memory for a frame".into());
        }
        Ok(Self { libav, raw })
    }

    /// The bytes, to write. What they held stays.
    ///
    /// # Errors
    ///
    /// The encoder keeps the frame and there is no memory for another.
    pub fn planes(&mut self) -> Result<Planes<'_>, String> {
        // SAFETY: the frame has buffers since `nv12`.
        self.libav
            .check(|call| unsafe { (call.av_frame_make_writable)(self.raw) })?;
        // SAFETY: nobody else has these buffers now, and the borrow of `self` keeps it so. NV12 has
        // two planes, of `height` and `height / 2` rows that are `stride` apart.
        unsafe {
            let frame = &*self.raw;
            let rows = frame.height as usize;
            let [luma_stride, chroma_stride] =
                [frame.stride[0], frame.stride[1]].map(|n| usize::try_from(n).unwrap_or(0));
            Ok(Planes {
                luma: std::slice::from_raw_parts_mut(frame.data[0], luma_stride * rows),
                luma_stride,
                chroma: std::slice::from_raw_parts_mut(frame.data[1], chroma_stride * (rows / 2)),
                chroma_stride,
            })
        }
    }

    /// How the encoder shall take it.
    ///
    /// # Errors
    ///
    /// No memory for the regions.
    pub fn describe(
        &mut self,
        kind: FrameKind,
        pts: i64,
        regions: &[Region],
    ) -> Result<(), String> {
        // SAFETY: the frame is ours.
        unsafe {
            (*self.raw).kind = match kind {
                FrameKind::Key => TYPE_I,
                FrameKind::Delta => TYPE_ANY,
            };
            (*self.raw).pts = pts;
            (self.libav.call.av_frame_remove_side_data)(self.raw, REGIONS_OF_INTEREST);
        }
        if regions.is_empty() {
            return Ok(());
        }
        self.weigh(regions)
    }

    fn weigh(&mut self, regions: &[Region]) -> Result<(), String> {
        let bytes = regions.len() * size_of::<RawRegion>();
        // SAFETY: adds that many bytes to the frame, or gives null.
        let data = unsafe {
            (self.libav.call.av_frame_new_side_data)(self.raw, REGIONS_OF_INTEREST, bytes)
        };
        if data.is_null() {
            return Err("no memory for the regions of a frame".into());
        }
        for (i, region) in regions.iter().enumerate() {
            let raw = RawRegion {
                size: size_of::<RawRegion>() as u32,
                top: pixels(region.top)?,
                bottom: pixels(region.bottom)?,
                left: pixels(region.left)?,
                right: pixels(region.right)?,
                offset: [region.qp_offset.into(), QP_RANGE],
            };
            // SAFETY: `i` is within what was asked for.
            unsafe { (*data).data.cast::<RawRegion>().add(i).write_unaligned(raw) };
        }
        Ok(())
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once.
        unsafe { (self.libav.call.av_frame_free)(&raw mut self.raw) }
    }
}

pub(super) fn pixels(count: usize) -> Result<c_int, String> {
    c_int::try_from(count).map_err(|_| format!("{count} pixels are too many"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stays_and_its_neighbours_are_untouched() {
        let mut frame = Frame::nv12(Libav::load().unwrap(), 64, 48).unwrap();
        let planes = frame.planes().unwrap();
        assert!(planes.luma_stride >= 64 && planes.luma.len() >= 64 * 48);
        assert!(planes.chroma_stride >= 64 && planes.chroma.len() >= 64 * 24);
        planes.luma.fill(7);
        planes.chroma.fill(9);
        let planes = frame.planes().unwrap();
        assert!(planes.luma.iter().all(|&byte| byte == 7));
        assert!(planes.chroma.iter().all(|&byte| byte == 9));
    }

    #[test]
    fn a_size_that_is_absurd_is_refused() {
        let libav = Libav::load().unwrap();
        assert!(Frame::nv12(libav, usize::MAX, 2).is_err());
        assert!(Frame::nv12(libav, 0, 0).is_err());
    }
}
