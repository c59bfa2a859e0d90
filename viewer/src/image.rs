//! Pictures as pixels: conversion to BGRA, only where something changed, and snapshots as files.

use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix};

use crate::decode::{Chroma, Picture};

/// Largest edge accepted from a decoder, in pixels: H.264 level 6.2 ends at 16,864.
const EDGE_MAX: u32 = 16_864;

/// A picture as BGRA bytes, rows without gaps; the fourth byte is always 255.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bgra {
    pub width: u32,
    pub height: u32,
    pub pixels: Vec<u8>,
}

/// Rows `first..end` of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub first: u32,
    pub end: u32,
}

impl Rows {
    /// The rows of both and those between them.
    pub fn union(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            end: self.end.max(other.end),
        }
    }
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
    /// Makes this picture show `picture`, converting everything.
    ///
    /// # Errors
    ///
    /// [`ImageError`]; the pixels are then unspecified.
    pub fn show(&mut self, picture: &Picture<'_>) -> Result<(), ImageError> {
        self.fit(picture)?;
        let all = Rows {
            first: 0,
            end: picture.height,
        };
        self.show_rows(picture, all)
    }

    /// Takes the size of `picture`; pixels keep their values only if the size stays.
    fn fit(&mut self, picture: &Picture<'_>) -> Result<(), ImageError> {
        let edge = 1..=EDGE_MAX;
        let (width, height) = (picture.width, picture.height);
        if !edge.contains(&width) || !edge.contains(&height) {
            return Err(ImageError::Size { width, height });
        }
        (self.width, self.height) = (width, height);
        self.pixels.resize(width as usize * height as usize * 4, 0);
        Ok(())
    }

    /// Converts some rows; those of a pair that shares its chroma are converted together.
    fn show_rows(&mut self, picture: &Picture<'_>, rows: Rows) -> Result<(), ImageError> {
        let first = rows.first & !1;
        let end = (rows.end.saturating_add(1) & !1).min(picture.height);
        if first >= end {
            return Ok(());
        }
        let (chroma_first, chroma_rows) = match picture.chroma {
            Chroma::I420 => (first / 2, (end - first).div_ceil(2)),
            Chroma::I444 => (first, end - first),
        };
        let plane = YuvPlanarImage {
            y_plane: slice(picture.y, first, end - first, picture.y_stride)?,
            y_stride: picture.y_stride,
            u_plane: slice(picture.u, chroma_first, chroma_rows, picture.uv_stride)?,
            u_stride: picture.uv_stride,
            v_plane: slice(picture.v, chroma_first, chroma_rows, picture.uv_stride)?,
            v_stride: picture.uv_stride,
            width: picture.width,
            height: end - first,
        };
        let stride = self.width * 4;
        let from = first as usize * stride as usize;
        let to = end as usize * stride as usize;
        let out = self.pixels.get_mut(from..to).ok_or(ImageError::Plane)?;
        let convert = match picture.chroma {
            Chroma::I420 => yuv::yuv420_to_bgra,
            Chroma::I444 => yuv::yuv444_to_bgra,
        };
        convert(
            &plane,
            out,
            stride,
            YuvRange::Limited,
            YuvStandardMatrix::Bt709,
        )
        .map_err(|_| ImageError::Plane)
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

/// Some rows of a plane. The last row may end where its pixels do.
fn slice(plane: &[u8], first: u32, rows: u32, stride: u32) -> Result<&[u8], ImageError> {
    let start = first as usize * stride as usize;
    let end = start + rows as usize * stride as usize;
    let rest = plane.get(start..).ok_or(ImageError::Plane)?;
    Ok(rest.get(..end - start).unwrap_or(rest))
}

/// Remembers the last picture to tell which rows of the next differ from it.
///
/// Costs a copy of the planes (3 MB at 1080p) and one comparison per picture, about a quarter of
/// what converting and showing every row costs.
#[derive(Debug, Default)]
pub struct ChangedRows {
    size: (u32, u32),
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl ChangedRows {
    /// The rows that changed since the last call; `None` if none did.
    pub fn handle_picture(&mut self, picture: &Picture<'_>) -> Option<Rows> {
        let size = (picture.width, picture.height);
        let all = Rows {
            first: 0,
            end: picture.height,
        };
        let same_shape = self.size == size
            && self.y.len() == picture.y.len()
            && self.u.len() == picture.u.len()
            && self.v.len() == picture.v.len();
        if !same_shape {
            self.size = size;
            self.y = picture.y.to_vec();
            self.u = picture.u.to_vec();
            self.v = picture.v.to_vec();
            return Some(all);
        }
        let luma = update(&mut self.y, picture.y, picture.y_stride);
        let per_chroma_row = match picture.chroma {
            Chroma::I420 => 2,
            Chroma::I444 => 1,
        };
        let chroma = [
            update(&mut self.u, picture.u, picture.uv_stride),
            update(&mut self.v, picture.v, picture.uv_stride),
        ];
        let chroma = chroma.into_iter().flatten().map(|rows| Rows {
            first: rows.first * per_chroma_row,
            end: (rows.end * per_chroma_row).min(picture.height),
        });
        luma.into_iter()
            .chain(chroma)
            .reduce(Rows::union)
            .map(|rows| Rows {
                first: rows.first.min(picture.height),
                end: rows.end.min(picture.height),
            })
    }
}

/// Copies the rows of `new` that differ into `old`, and says which they are.
fn update(old: &mut [u8], new: &[u8], stride: u32) -> Option<Rows> {
    let stride = (stride as usize).max(1);
    let mut changed: Option<Rows> = None;
    for (index, (old, new)) in old.chunks_mut(stride).zip(new.chunks(stride)).enumerate() {
        if old != new {
            old.copy_from_slice(new);
            let row = u32::try_from(index).unwrap_or(u32::MAX - 1);
            let first = changed.map_or(row, |rows| rows.first);
            changed = Some(Rows {
                first,
                end: row + 1,
            });
        }
    }
    changed
}

impl Bgra {
    /// Makes this picture show `picture`, of which only `rows` differ from what it shows.
    ///
    /// # Errors
    ///
    /// [`ImageError`]; the pixels are then unspecified.
    pub fn show_changed(&mut self, picture: &Picture<'_>, rows: Rows) -> Result<(), ImageError> {
        if (self.width, self.height) != (picture.width, picture.height) {
            return self.show(picture);
        }
        self.show_rows(picture, rows)
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
    fn only_changed_rows_are_reported_and_converting_them_is_enough() {
        let mut planes = Planes::grey(16, 16);
        let mut changes = ChangedRows::default();
        let mut image = Bgra::default();
        let all = changes.handle_picture(&planes.picture()).unwrap();
        assert_eq!(all, Rows { first: 0, end: 16 });
        image.show(&planes.picture()).unwrap();
        assert_eq!(changes.handle_picture(&planes.picture()), None);

        planes.y[5 * 16 + 3] = 235;
        planes.v[4 * 8] = 200;
        let rows = changes.handle_picture(&planes.picture()).unwrap();
        assert_eq!(rows, Rows { first: 5, end: 10 });
        image.show_changed(&planes.picture(), rows).unwrap();
        let mut whole = Bgra::default();
        whole.show(&planes.picture()).unwrap();
        assert_eq!(image, whole);
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
