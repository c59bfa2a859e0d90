//! Pictures as pixels: conversion to BGRA, only where something changed, and snapshots as files.

use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix};

use crate::decode::{Chroma, Picture};
use crate::geometry::{Area, Size};

/// Largest edge accepted from a decoder, in pixels: H.264 level 6.2 ends at 16,864.
const EDGE_MAX: u32 = 16_864;

/// A picture as BGRA bytes, rows without gaps; the fourth byte is always 255.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bgra {
    pub width: u32,
    pub height: u32,
    pub pixels: Vec<u8>,
}

/// Why a picture cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("a picture of {width}×{height} pixels")]
    Size { width: u32, height: u32 },
    #[error("a plane shorter than its rows")]
    Plane,
}

impl Bgra {
    pub fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }

    /// Makes this picture show `picture`, converting everything.
    ///
    /// # Errors
    ///
    /// [`ImageError`]; the pixels are then unspecified.
    pub fn show(&mut self, picture: &Picture<'_>) -> Result<(), ImageError> {
        let edge = 1..=EDGE_MAX;
        let (width, height) = (picture.width, picture.height);
        if !edge.contains(&width) || !edge.contains(&height) {
            return Err(ImageError::Size { width, height });
        }
        (self.width, self.height) = (width, height);
        self.pixels.resize(width as usize * height as usize * 4, 0);
        self.convert(picture, Area::whole(self.size()))
    }

    /// Makes this picture show `picture`, which differs from what it shows only in `area`.
    ///
    /// # Errors
    ///
    /// [`ImageError`]; the pixels are then unspecified.
    pub fn show_changed(&mut self, picture: &Picture<'_>, area: Area) -> Result<(), ImageError> {
        if (self.width, self.height) != (picture.width, picture.height) {
            return self.show(picture);
        }
        self.convert(picture, area)
    }

    /// Pixels that share their chroma are converted together.
    fn convert(&mut self, picture: &Picture<'_>, area: Area) -> Result<(), ImageError> {
        let area = area.even_within(self.size());
        if area.is_empty() {
            return Ok(());
        }
        let (convert, chroma): (Convert, _) = match picture.chroma {
            Chroma::I420 => (yuv::yuv420_to_bgra, (area.left / 2, area.top / 2)),
            Chroma::I444 => (yuv::yuv444_to_bgra, (area.left, area.top)),
        };
        let luma = (area.left, area.top);
        let image = YuvPlanarImage {
            y_plane: from(picture.y, luma, picture.y_stride)?,
            y_stride: picture.y_stride,
            u_plane: from(picture.u, chroma, picture.uv_stride)?,
            u_stride: picture.uv_stride,
            v_plane: from(picture.v, chroma, picture.uv_stride)?,
            v_stride: picture.uv_stride,
            width: area.right - area.left,
            height: area.bottom - area.top,
        };
        let stride = self.width * 4;
        let first = area.top as usize * stride as usize + area.left as usize * 4;
        let out = self.pixels.get_mut(first..).ok_or(ImageError::Plane)?;
        let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt709);
        convert(&image, out, stride, range, matrix).map_err(|_| ImageError::Plane)
    }

    /// The picture as a binary PPM (P6).
    pub fn to_ppm(&self) -> Vec<u8> {
        let mut file = format!("P6\n{} {}\n255\n", self.width, self.height).into_bytes();
        file.extend(self.rgb());
        file
    }

    /// The picture as a PNG, stored without compression (RFC 2083, RFC 1950, RFC 1951 §3.2.4).
    pub fn to_png(&self) -> Vec<u8> {
        let mut rows = Vec::with_capacity(self.pixels.len());
        let rgb: Vec<u8> = self.rgb().collect();
        for row in rgb.chunks(self.width as usize * 3) {
            rows.push(0);
            rows.extend_from_slice(row);
        }
        let mut header = Vec::from(self.width.to_be_bytes());
        header.extend(self.height.to_be_bytes());
        header.extend([8, 2, 0, 0, 0]);
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut file, b"IHDR", &header);
        chunk(&mut file, b"IDAT", &stored_zlib(&rows));
        chunk(&mut file, b"IEND", &[]);
        file
    }

    fn rgb(&self) -> impl Iterator<Item = u8> + '_ {
        self.pixels
            .chunks_exact(4)
            .flat_map(|pixel| pixel.iter().take(3).rev().copied())
    }
}

type Convert = fn(
    &YuvPlanarImage<'_, u8>,
    &mut [u8],
    u32,
    YuvRange,
    YuvStandardMatrix,
) -> Result<(), yuv::YuvError>;

/// A plane from one of its samples on.
fn from(plane: &[u8], (left, top): (u32, u32), stride: u32) -> Result<&[u8], ImageError> {
    let first = top as usize * stride as usize + left as usize;
    plane.get(first..).ok_or(ImageError::Plane)
}

/// Remembers the last picture to tell where the next differs from it.
///
/// Costs a copy of the planes (3 MB at 1080p) and one comparison per picture.
#[derive(Debug, Default)]
pub struct Changes {
    size: Size,
    y: Plane,
    u: Plane,
    v: Plane,
}

/// Rows without gaps.
#[derive(Debug, Default)]
struct Plane {
    width: usize,
    samples: Vec<u8>,
}

impl Changes {
    /// Where the picture differs from that of the last call; `None` if nowhere.
    pub fn handle_picture(&mut self, picture: &Picture<'_>) -> Option<Area> {
        let size = Size::new(picture.width, picture.height);
        let per_chroma = match picture.chroma {
            Chroma::I420 => 2,
            Chroma::I444 => 1,
        };
        let is_new = self.size != size;
        self.size = size;
        let chroma = Size::new(
            size.width.div_ceil(per_chroma),
            size.height.div_ceil(per_chroma),
        );
        let luma = self.y.update(picture.y, picture.y_stride, size);
        let chroma = [
            self.u.update(picture.u, picture.uv_stride, chroma),
            self.v.update(picture.v, picture.uv_stride, chroma),
        ];
        let chroma = chroma.into_iter().flatten().map(|area| Area {
            left: area.left * per_chroma,
            top: area.top * per_chroma,
            right: (area.right * per_chroma).min(size.width),
            bottom: (area.bottom * per_chroma).min(size.height),
        });
        let changed = luma.into_iter().chain(chroma).reduce(Area::union);
        if is_new {
            return Some(Area::whole(size));
        }
        changed
    }
}

impl Plane {
    /// Takes what differs in `new` and says where it lies, as wide as whole pieces.
    fn update(&mut self, new: &[u8], stride: u32, size: Size) -> Option<Area> {
        /// Samples compared at a time; the width of an area is a multiple of it.
        const PIECE: usize = 64;

        let (width, stride) = (size.width as usize, stride as usize);
        self.width = width;
        self.samples.resize(width * size.height as usize, 0);
        if width == 0 || stride == 0 {
            return None;
        }
        let mut changed: Option<Area> = None;
        let rows = self.samples.chunks_mut(width).zip(new.chunks(stride));
        for (top, (old, new)) in (0..).zip(rows) {
            let new = new.get(..width).unwrap_or(new);
            if *old == *new {
                continue;
            }
            let differs = |(old, new): (&[u8], &[u8])| old != new;
            let first = old.chunks(PIECE).zip(new.chunks(PIECE)).position(differs);
            let last = old.chunks(PIECE).zip(new.chunks(PIECE)).rposition(differs);
            let (left, right) = (
                first.unwrap_or(0) * PIECE,
                last.map_or(0, |it| it + 1) * PIECE,
            );
            let right = right.min(width);
            if let (Some(old), Some(new)) = (old.get_mut(left..right), new.get(left..right)) {
                old.copy_from_slice(new);
            }
            let area = Area {
                // Within the picture's edges, which are 32 bits.
                left: left as u32,
                top,
                right: right as u32,
                bottom: top + 1,
            };
            changed = Some(changed.map_or(area, |changed| changed.union(area)));
        }
        changed
    }
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    let start = file.len();
    file.extend_from_slice(kind);
    file.extend_from_slice(data);
    let sum = crc32(file.get(start..).unwrap_or_default());
    file.extend(sum.to_be_bytes());
}

fn stored_zlib(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = data.chunks(0xFFFF).peekable();
    while let Some(block) = blocks.next() {
        let last = u8::from(blocks.peek().is_none());
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(last);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend(adler32(data).to_be_bytes());
    out
}

fn crc32(data: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |sum, _| {
            if sum & 1 == 1 {
                0xEDB8_8320 ^ (sum >> 1)
            } else {
                sum >> 1
            }
        })
    });
    !data.iter().fold(!0, |sum, byte| {
        let index = (sum as u8) ^ byte;
        table.get(usize::from(index)).copied().unwrap_or(0) ^ (sum >> 8)
    })
}

fn adler32(data: &[u8]) -> u32 {
    let (mut low, mut high) = (1_u32, 0_u32);
    // 5,552 bytes are the most that cannot overflow before the remainder is taken.
    for block in data.chunks(5_552) {
        for byte in block {
            low += u32::from(*byte);
            high += low;
        }
        low %= 65_521;
        high %= 65_521;
    }
    (high << 16) | low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GREY: [u8; 4] = [128, 128, 128, 255];

    #[test]
    fn a_grey_picture_is_grey() {
        let planes = Planes::grey(4, 4);
        let mut image = Bgra::default();
        image.show(&planes.picture()).unwrap();
        let near = |a: &u8, b: &u8| a.abs_diff(*b) <= 2;
        for pixel in image.pixels.chunks(4) {
            assert!(
                pixel.iter().zip(&GREY).all(|(a, b)| near(a, b)),
                "{pixel:?}"
            );
        }
    }

    #[test]
    fn only_what_changed_is_reported_and_converting_it_is_enough() {
        let mut planes = Planes::grey(400, 16);
        let mut changes = Changes::default();
        let mut image = Bgra::default();
        let all = changes.handle_picture(&planes.picture()).unwrap();
        assert_eq!(all, Area::whole(Size::new(400, 16)));
        image.show(&planes.picture()).unwrap();
        assert_eq!(changes.handle_picture(&planes.picture()), None);

        planes.y[5 * 400 + 70] = 235;
        planes.v[4 * 200 + 70] = 200;
        let area = changes.handle_picture(&planes.picture()).unwrap();
        let (columns, rows) = ((area.left, area.right), (area.top, area.bottom));
        assert_eq!((columns, rows), ((64, 256), (5, 10)));
        image.show_changed(&planes.picture(), area).unwrap();
        let mut whole = Bgra::default();
        whole.show(&planes.picture()).unwrap();
        assert_eq!(image, whole);
    }

    proptest! {
        #[test]
        fn a_picture_changed_piece_by_piece_is_the_picture_converted_at_once(
            (width, height) in (1_u32..200, 1_u32..20),
            specks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..3), 0..12),
        ) {
            let mut planes = Planes::grey(width, height);
            let (mut changes, mut image) = (Changes::default(), Bgra::default());
            for (place, value, plane) in specks {
                let plane = [&mut planes.y, &mut planes.u, &mut planes.v].into_iter().nth(plane).unwrap();
                let place = place.index(plane.len());
                plane[place] = value;
                if let Some(area) = changes.handle_picture(&planes.picture()) {
                    image.show_changed(&planes.picture(), area).unwrap();
                }
                let mut whole = Bgra::default();
                whole.show(&planes.picture()).unwrap();
                prop_assert!(image == whole);
            }
        }
    }

    #[test]
    fn an_odd_size_is_converted_to_its_last_row() {
        let planes = Planes::grey(5, 7);
        let mut image = Bgra::default();
        image.show(&planes.picture()).unwrap();
        assert_eq!(image.pixels.len(), 5 * 7 * 4);
        assert!(image.pixels.iter().all(|byte| *byte > 100));
    }

    #[test]
    fn a_lying_decoder_is_refused_without_a_panic() {
        let planes = Planes::grey(4, 4);
        let mut image = Bgra::default();
        let short = Picture {
            height: 400,
            ..planes.picture()
        };
        assert_eq!(image.show(&short), Err(ImageError::Plane));
        let empty = Picture {
            width: 0,
            ..planes.picture()
        };
        assert!(matches!(image.show(&empty), Err(ImageError::Size { .. })));
    }

    #[test]
    fn checksums_match_their_published_examples() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
    }

    #[test]
    fn a_snapshot_has_the_size_of_the_picture() {
        let mut image = Bgra::default();
        image.show(&Planes::grey(300, 200).picture()).unwrap();
        let ppm = image.to_ppm();
        assert!(ppm.starts_with(b"P6\n300 200\n255\n"));
        assert_eq!(ppm.len(), 15 + 300 * 200 * 3);
        let png = image.to_png();
        assert_eq!(&png[16..24], &[0, 0, 1, 44, 0, 0, 0, 200]);
        assert!(png.ends_with(&[0xAE, 0x42, 0x60, 0x82]));
    }

    struct Planes {
        width: u32,
        height: u32,
        y: Vec<u8>,
        u: Vec<u8>,
        v: Vec<u8>,
    }

    impl Planes {
        fn grey(width: u32, height: u32) -> Self {
            let luma = (width * height) as usize;
            let chroma = (width.div_ceil(2) * height.div_ceil(2)) as usize;
            Self {
                width,
                height,
                // 16 + 219 × 128/255: mid-grey in limited range.
                y: vec![126; luma],
                u: vec![128; chroma],
                v: vec![128; chroma],
            }
        }

        fn picture(&self) -> Picture<'_> {
            Picture {
                width: self.width,
                height: self.height,
                chroma: Chroma::I420,
                y: &self.y,
                u: &self.u,
                v: &self.v,
                y_stride: self.width,
                uv_stride: self.width.div_ceil(2),
            }
        }
    }
}
