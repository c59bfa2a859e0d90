//! The picture as the encoder wants it: one persistent frame, I420 or I444, and per macroblock what
//! the viewers already have of it.
//!
//! Only damaged rows are converted (BT.709, limited range). Each 16-row band is converted into a
//! scratch band and compared before it is copied, so that a program that repaints what was there
//! costs a conversion and nothing more: damage that changed no pixel makes no frame.

use yuv::{
    BufferStoreMut, YuvConversionMode, YuvError, YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
    bgra_to_yuv420, bgra_to_yuv444,
};

use protocol::control::Chroma;

use crate::damage::Rect;
use crate::encode::{FrameKind, Qp};

/// Edge of a macroblock in pixels.
pub const BLOCK: usize = 16;
/// In [`Picture::coded`]: the viewers do not have this macroblock as it is.
const STALE: u8 = u8::MAX;

/// The frame, and the maps of its macroblocks (row by row).
pub struct Picture {
    width: usize,
    height: usize,
    chroma: Chroma,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
    /// The quantiser each macroblock was last coded with since it changed, or [`STALE`].
    coded: Vec<u8>,
    /// The quantiser of the last frame.
    last_qp: Qp,
    /// 1 where the coming frame may be a plain copy of the one before; see [`Picture::plan`].
    constant: Vec<u8>,
    band: Band,
}

/// What a coming frame would code anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    pub blocks: usize,
}

impl Picture {
    /// A black picture. Odd edges lose their last row or column: 4:2:0 has no half samples, and
    /// 4:4:4 has the same size so that one can take the other's place.
    pub fn new(width: u32, height: u32, chroma: Chroma) -> Self {
        let (width, height) = ((width & !1) as usize, (height & !1) as usize);
        let blocks = width.div_ceil(BLOCK) * height.div_ceil(BLOCK);
        let area = (width * height) >> (2 * shift(chroma));
        Self {
            width,
            height,
            chroma,
            y: vec![16; width * height],
            u: vec![128; area],
            v: vec![128; area],
            coded: vec![STALE; blocks],
            last_qp: Qp(0),
            constant: vec![0; blocks],
            band: Band::new(width, chroma),
        }
    }

    pub fn chroma(&self) -> Chroma {
        self.chroma
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// Planes Y, U, V; see [`strides`](Self::strides).
    pub fn planes(&self) -> [&[u8]; 3] {
        [&self.y, &self.u, &self.v]
    }

    /// Samples in a row of each plane.
    pub fn strides(&self) -> [usize; 3] {
        let chroma = self.width >> shift(self.chroma);
        [self.width, chroma, chroma]
    }

    pub fn blocks(&self) -> usize {
        self.coded.len()
    }

    /// Puts the pixels of `rect` (BGRX, rows of `rect.width * 4` bytes) into the picture.
    ///
    /// # Errors
    ///
    /// [`PictureError`] if `rect` is not even, not inside, or the bytes are too few.
    pub fn handle_pixels(&mut self, rect: Rect, bgrx: &[u8]) -> Result<(), PictureError> {
        let (x, y) = (rect.x as usize, rect.y as usize);
        let (width, height) = (rect.width as usize, rect.height as usize);
        let odd = (x | y | width | height) & 1 != 0;
        if odd || x + width > self.width || y + height > self.height {
            return Err(PictureError::Outside(rect));
        }
        let stride = width * 4;
        if bgrx.len() < stride * height {
            return Err(PictureError::Short {
                have: bgrx.len(),
                need: stride * height,
            });
        }
        let mut top = y;
        while top < y + height {
            let bottom = ((top / BLOCK + 1) * BLOCK).min(y + height);
            let rows = &bgrx[(top - y) * stride..(bottom - y) * stride];
            self.band.convert(width, bottom - top, rows)?;
            self.merge_band(x, top, width, bottom - top);
            top = bottom;
        }
        Ok(())
    }

    /// Copies what differs from the scratch band into the frame, macroblock by macroblock.
    fn merge_band(&mut self, x: usize, y: usize, width: usize, rows: usize) {
        let blocks_wide = self.width.div_ceil(BLOCK);
        let mut left = x;
        while left < x + width {
            let right = ((left / BLOCK + 1) * BLOCK).min(x + width);
            let (from, len) = (left - x, right - left);
            let shift = shift(self.chroma);
            let chroma_stride = self.width >> shift;
            let chroma_at = (y >> shift) * chroma_stride + (left >> shift);
            let tile = |stride, from, len, rows| Tile {
                stride,
                from,
                len,
                rows,
            };
            let luma = tile(width, from, len, rows);
            let chroma = tile(width >> shift, from >> shift, len >> shift, rows >> shift);
            let at = y * self.width + left;
            let changed = luma.merge(&self.band.y, &mut self.y, at, self.width)
                | chroma.merge(&self.band.u, &mut self.u, chroma_at, chroma_stride)
                | chroma.merge(&self.band.v, &mut self.v, chroma_at, chroma_stride);
            if changed {
                self.coded[y / BLOCK * blocks_wide + left / BLOCK] = STALE;
            }
            left = right;
        }
    }

    /// Macroblocks that changed since they were last coded.
    pub fn stale(&self) -> Workload {
        Workload {
            blocks: self.coded.iter().filter(|&&qp| qp == STALE).count(),
        }
    }

    /// Macroblocks that are not as good as `qp` yet, changed ones among them.
    pub fn worse_than(&self, qp: Qp) -> Workload {
        Workload {
            blocks: self.coded.iter().filter(|&&have| have > qp.0).count(),
        }
    }

    /// The quantiser of the last frame. What did not change is left alone by a frame that is no finer;
    /// a finer one codes all that is worse than it (x264; others look at everything anyway).
    pub fn last_qp(&self) -> Qp {
        self.last_qp
    }

    /// The encoder takes everything for as good as this.
    pub fn handle_settled(&mut self, qp: Qp) {
        self.last_qp = qp;
    }

    /// Which macroblocks the coming frame may copy (1) or has to code (0), and how many it codes.
    /// An interactive frame codes what changed.
    pub fn plan(&mut self) -> Workload {
        self.plan_worse_than(Qp(STALE - 1), usize::MAX)
    }

    /// A refining frame codes what is worse than `qp`, `blocks` of it at most, from the top.
    pub fn plan_refined(&mut self, qp: Qp, blocks: usize) -> Workload {
        self.plan_worse_than(qp, blocks)
    }

    fn plan_worse_than(&mut self, qp: Qp, blocks_max: usize) -> Workload {
        let mut blocks = 0;
        for (constant, &have) in self.constant.iter_mut().zip(&self.coded) {
            let codes = have > qp.0 && blocks < blocks_max;
            blocks += usize::from(codes);
            *constant = u8::from(!codes);
        }
        Workload { blocks }
    }

    /// The last plan, for the encoder.
    pub fn constant(&self) -> &[u8] {
        &self.constant
    }

    /// The frame that was planned is coded.
    pub fn handle_coded(&mut self, kind: FrameKind, qp: Qp) {
        self.last_qp = qp;
        for (have, &constant) in self.coded.iter_mut().zip(&self.constant) {
            if constant == 0 || kind == FrameKind::Key {
                *have = qp.0;
            }
        }
    }
}

/// Which of the two phases a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// What changed, as fast as possible.
    Interactive,
    /// The screen is still: better, until nothing can be seen of the coding.
    Refine,
}

/// Why pixels were refused. A fault of the capture code.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("{0:?} is odd or reaches outside the picture")]
    Outside(Rect),
    #[error("{have} bytes of pixels where {need} were expected")]
    Short { have: usize, need: usize },
    #[error("colour conversion: {0}")]
    Convert(#[from] YuvError),
}

/// Chroma samples are one for `1 << shift` pixels, each way.
fn shift(chroma: Chroma) -> u32 {
    match chroma {
        Chroma::Yuv420 => 1,
        Chroma::Yuv444 => 0,
    }
}

/// Sixteen rows, as wide as what is converted.
struct Band {
    chroma: Chroma,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Band {
    fn new(width: usize, chroma: Chroma) -> Self {
        let area = (width * BLOCK) >> (2 * shift(chroma));
        Self {
            chroma,
            y: vec![0; width * BLOCK],
            u: vec![0; area],
            v: vec![0; area],
        }
    }

    fn convert(&mut self, width: usize, rows: usize, bgrx: &[u8]) -> Result<(), YuvError> {
        let area = width * rows;
        let shift = shift(self.chroma);
        let chroma_area = area >> (2 * shift);
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut image = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut self.y[..area]),
            y_stride: narrow(width),
            u_plane: BufferStoreMut::Borrowed(&mut self.u[..chroma_area]),
            u_stride: narrow(width >> shift),
            v_plane: BufferStoreMut::Borrowed(&mut self.v[..chroma_area]),
            v_stride: narrow(width >> shift),
            width: narrow(width),
            height: narrow(rows),
        };
        let convert = match self.chroma {
            Chroma::Yuv420 => bgra_to_yuv420,
            Chroma::Yuv444 => bgra_to_yuv444,
        };
        convert(
            &mut image,
            bgrx,
            narrow(width * 4),
            YuvRange::Limited,
            YuvStandardMatrix::Bt709,
            YuvConversionMode::Balanced,
        )
    }
}

/// A part of one plane of the band: `rows` pieces of `len` bytes, `stride` apart, from `from`.
struct Tile {
    stride: usize,
    from: usize,
    len: usize,
    rows: usize,
}

impl Tile {
    /// Copies the tile to `plane[at..]` if it differs, and says whether it did.
    fn merge(&self, band: &[u8], plane: &mut [u8], at: usize, plane_stride: usize) -> bool {
        let piece =
            |row: usize| self.from + row * self.stride..self.from + row * self.stride + self.len;
        let place = |row: usize| at + row * plane_stride..at + row * plane_stride + self.len;
        let Some(first) = (0..self.rows).find(|&row| band[piece(row)] != plane[place(row)]) else {
            return false;
        };
        for row in first..self.rows {
            plane[place(row)].copy_from_slice(&band[piece(row)]);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: [u8; 4] = [255, 255, 255, 0];

    fn pixels(rect: Rect, pixel: [u8; 4]) -> Vec<u8> {
        pixel.repeat(rect.area() as usize)
    }

    /// A picture that is black, coded once and refined.
    fn settled() -> Picture {
        let mut picture = Picture::new(64, 48, Chroma::Yuv420);
        picture.plan();
        picture.handle_coded(FrameKind::Key, Qp(20));
        picture
    }

    #[test]
    fn white_is_limited_range_and_lands_where_it_was_drawn() {
        let mut picture = settled();
        let rect = Rect::new(30, 14, 4, 4);
        picture.handle_pixels(rect, &pixels(rect, WHITE)).unwrap();
        let [y, u, _] = picture.planes();
        assert_eq!(y[14 * 64 + 30], 235);
        assert_eq!(y[17 * 64 + 33], 235);
        assert_eq!(y[14 * 64 + 29], 16);
        assert_eq!(u[7 * 32 + 15], 128);
    }

    /// BT.709, limited range, as the standard has it.
    fn exact([blue, green, red, _]: [u8; 4]) -> [f64; 3] {
        let [r, g, b] = [red, green, blue].map(|c| f64::from(c) / 255.0);
        let luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        let [cb, cr] = [(b - luma) / 1.8556, (r - luma) / 1.5748];
        [16.0 + 219.0 * luma, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr]
    }

    /// Pixels of no order, the same in each run.
    fn noise(n: u32) -> [u8; 4] {
        let [blue, green, red, _] = n.wrapping_add(1).wrapping_mul(2_654_435_761).to_be_bytes();
        [blue, green, red, 0]
    }

    #[test]
    fn in_4_4_4_each_pixel_keeps_its_own_colour_whatever_stands_beside_it() {
        let mut picture = Picture::new(64, 48, Chroma::Yuv444);
        let rect = Rect::new(6, 10, 50, 34);
        let bgrx: Vec<u8> = (0..rect.area()).flat_map(noise).collect();
        picture.handle_pixels(rect, &bgrx).unwrap();
        assert_eq!(picture.strides(), [64; 3]);
        for (n, pixel) in bgrx.as_chunks::<4>().0.iter().enumerate() {
            let at = (10 + n / 50) * 64 + 6 + n % 50;
            let have = picture.planes().map(|plane| f64::from(plane[at]));
            for (have, exact) in have.into_iter().zip(exact(*pixel)) {
                assert!((have - exact).abs() <= 1.5, "{pixel:?}: {have} for {exact}");
            }
        }
        let [y, u, v] = picture.planes();
        assert_eq!(
            [y[9 * 64 + 6], u[9 * 64 + 6], v[10 * 64 + 5]],
            [16, 128, 128]
        );
    }

    #[test]
    fn a_box_in_4_4_4_is_as_stale_as_in_4_2_0_and_repainting_it_is_not() {
        let rect = Rect::new(30, 14, 4, 4);
        let blue = pixels(rect, [255, 0, 0, 0]);
        for chroma in [Chroma::Yuv420, Chroma::Yuv444] {
            let mut picture = Picture::new(64, 48, chroma);
            for expected in [4, 0] {
                picture.plan();
                picture.handle_coded(FrameKind::Key, Qp(20));
                picture.handle_pixels(rect, &blue).unwrap();
                assert_eq!(picture.stale().blocks, expected, "{chroma:?}");
            }
        }
    }

    #[test]
    fn a_box_across_four_macroblocks_makes_four_stale() {
        let mut picture = settled();
        let rect = Rect::new(30, 14, 4, 4);
        picture.handle_pixels(rect, &pixels(rect, WHITE)).unwrap();
        assert_eq!(picture.stale().blocks, 4);
        assert_eq!(picture.plan().blocks, 4);
        let coded = |block: &usize| picture.constant()[*block] == 0;
        assert_eq!((0..12).filter(coded).collect::<Vec<_>>(), [1, 2, 5, 6]);
    }

    #[test]
    fn repainting_the_same_pixels_changes_nothing() {
        let mut picture = settled();
        let rect = Rect::new(0, 0, 64, 48);
        picture.handle_pixels(rect, &pixels(rect, [0; 4])).unwrap();
        assert_eq!(picture.stale().blocks, 0);
    }

    #[test]
    fn refining_codes_what_is_worse_a_piece_at_a_time_until_nothing_is() {
        let mut picture = settled();
        for left in [12, 7, 2] {
            assert_eq!(picture.worse_than(Qp(14)).blocks, left);
            assert_eq!(picture.plan_refined(Qp(14), 5).blocks, left.min(5));
            picture.handle_coded(FrameKind::Delta, Qp(14));
        }
        assert_eq!(picture.plan_refined(Qp(14), 5).blocks, 0);
    }

    #[test]
    fn pixels_outside_the_picture_are_refused() {
        let rect = Rect::new(60, 0, 8, 2);
        assert!(settled().handle_pixels(rect, &pixels(rect, WHITE)).is_err());
        let rect = Rect::new(0, 0, 8, 2);
        assert!(settled().handle_pixels(rect, &[0; 8]).is_err());
    }
}
