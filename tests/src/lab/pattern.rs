//! A 16-bit code as a picture of 16 × 2 black and white cells, read back from pixels at any scale.
//!
//! ```text
//!  row 0   16 cells   the code, Gray-coded, most significant bit first
//!  row 1    8 cells   sync 1011_0010
//!           8 cells   CRC-8 of the code
//! ```
//!
//! Gray coding: one step changes one cell, so a half-drawn picture is the old code or the new one.
//! The CRC refuses what a codec smeared.

/// Cells side by side.
pub const COLUMNS: usize = 16;
pub const ROWS: usize = 2;
/// Side of a cell in pixels at scale 1; a macroblock.
pub const CELL: u16 = 16;
/// Size of the picture at scale 1.
pub const WIDTH: u16 = CELL * COLUMNS as u16;
pub const HEIGHT: u16 = CELL * ROWS as u16;

const SYNC: u8 = 0b1011_0010;
/// Brightness from which a cell counts as white; video range ends at 16 and 235.
const WHITE_FROM: u8 = 128;

/// The cells of a code, white is `true`.
pub fn cells(code: u16) -> [[bool; COLUMNS]; ROWS] {
    let gray = code ^ (code >> 1);
    let below = u16::from_be_bytes([SYNC, crc8(code)]);
    [bits(gray), bits(below)]
}

fn bits(word: u16) -> [bool; COLUMNS] {
    std::array::from_fn(|column| word >> (COLUMNS - 1 - column) & 1 == 1)
}

fn word(cells: impl Iterator<Item = bool>) -> u16 {
    cells.fold(0, |word, cell| word << 1 | u16::from(cell))
}

/// CRC-8 with the polynomial x⁸+x²+x+1, most significant bit first.
fn crc8(code: u16) -> u8 {
    code.to_be_bytes().iter().fold(0xff, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| {
            if crc & 0x80 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x07
            }
        })
    })
}

/// A picture in X's usual layout: four bytes per pixel, blue first.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    pub bytes: &'a [u8],
    pub width: usize,
    pub height: usize,
}

impl Pixels<'_> {
    /// Whether the pixel's green, the most of its brightness, is bright; `None` outside.
    fn bright(&self, x: usize, y: usize) -> Option<bool> {
        if x >= self.width || y >= self.height {
            return None;
        }
        self.bytes
            .get((y * self.width + x) * 4 + 1)
            .map(|green| *green >= WHITE_FROM)
    }
}

/// Where a picture lies: its top left corner and its scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub x: f64,
    pub y: f64,
    pub scale: f64,
}

impl Place {
    /// Centre of a cell in pixels.
    fn centre(&self, row: usize, column: usize) -> (usize, usize) {
        let cell = f64::from(CELL) * self.scale;
        let at =
            |corner: f64, index: usize| (corner + cell * (index as f64 + 0.5)).max(0.0) as usize;
        (at(self.x, column), at(self.y, row))
    }
}

/// Reads the code at a known place; `None` if there is none or a part of it is smeared.
pub fn read(pixels: Pixels<'_>, place: Place) -> Option<u16> {
    let row = |row, columns: std::ops::Range<usize>| {
        let cells: Option<Vec<bool>> = columns
            .map(|column| place.centre(row, column))
            .map(|(x, y)| pixels.bright(x, y))
            .collect();
        Some(word(cells?.into_iter()))
    };
    if row(1, 0..8)? != u16::from(SYNC) {
        return None;
    }
    let code = ungray(row(0, 0..COLUMNS)?);
    (row(1, 8..COLUMNS)? == u16::from(crc8(code))).then_some(code)
}

fn ungray(gray: u16) -> u16 {
    (0..4).fold(gray, |code, shift| code ^ code >> (1 << shift))
}

/// Looks for a code anywhere, at any of the scales: the middle of the places where it can be read.
pub fn find(pixels: Pixels<'_>, code: u16, scales: &[f64]) -> Option<Place> {
    scales
        .iter()
        .find_map(|&scale| find_at_scale(pixels, code, scale))
}

fn find_at_scale(pixels: Pixels<'_>, code: u16, scale: f64) -> Option<Place> {
    let step = ((f64::from(CELL) * scale / 4.0) as usize).max(1);
    let is_here = |x: usize, y: usize| {
        read(
            pixels,
            Place {
                x: x as f64,
                y: y as f64,
                scale,
            },
        ) == Some(code)
    };
    let coarse = (0..pixels.height).step_by(step).find_map(|y| {
        (0..pixels.width)
            .step_by(step)
            .find(|&x| is_here(x, y))
            .map(|x| (x, y))
    });
    let (x, y) = coarse?;
    let reach = (f64::from(CELL) * scale).ceil() as usize;
    let middle = |from: usize, is_here: &dyn Fn(usize) -> bool| {
        let hits: Vec<usize> = (from.saturating_sub(reach)..=from + reach)
            .filter(|&at| is_here(at))
            .collect();
        Some((*hits.first()? + *hits.last()?) as f64 / 2.0)
    };
    Some(Place {
        x: middle(x, &|at| is_here(at, y))?,
        y: middle(y, &|at| is_here(x, at))?,
        scale,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of the code at a corner of a grey screen, `zoom` pixels for each of its own.
    fn screen(code: u16, corner: (usize, usize), zoom: usize) -> (Vec<u8>, usize, usize) {
        let (width, height) = (640, 200);
        let mut bytes = vec![100; width * height * 4];
        let side = usize::from(CELL) * zoom;
        for (row, cells) in cells(code).iter().enumerate() {
            for (column, white) in cells.iter().enumerate() {
                for y in 0..side {
                    let start =
                        ((corner.1 + row * side + y) * width + corner.0 + column * side) * 4;
                    bytes[start..start + side * 4].fill(if *white { 235 } else { 16 });
                }
            }
        }
        (bytes, width, height)
    }

    #[test]
    fn every_code_reads_back() {
        for code in 0..=u16::MAX {
            let cells = cells(code);
            assert_eq!(ungray(word(cells[0].into_iter())), code);
        }
    }

    #[test]
    fn a_code_is_found_wherever_it_lies() {
        for (corner, zoom) in [((0, 0), 1), ((133, 57), 1), ((7, 100), 2)] {
            let (bytes, width, height) = screen(0xbeef, corner, zoom);
            let pixels = Pixels {
                bytes: &bytes,
                width,
                height,
            };
            let place = find(pixels, 0xbeef, &[1.0, 2.0]).expect("it is there");
            assert_eq!(place.scale, zoom as f64);
            // A quarter of a cell off, every cell is still read inside itself.
            let quarter = f64::from(CELL) * place.scale / 4.0;
            let off = [place.x - corner.0 as f64, place.y - corner.1 as f64];
            assert!(off.iter().all(|off| off.abs() <= quarter), "{place:?}");
        }
    }

    #[test]
    fn one_wrong_cell_is_refused() {
        let (mut bytes, width, height) = screen(0x1234, (0, 0), 1);
        let place = Place {
            x: 0.0,
            y: 0.0,
            scale: 1.0,
        };
        assert_eq!(
            read(
                Pixels {
                    bytes: &bytes,
                    width,
                    height
                },
                place
            ),
            Some(0x1234)
        );
        for y in 0..usize::from(CELL) {
            for x in 0..usize::from(CELL) {
                let at = (y * width + x) * 4 + 1;
                bytes[at] = 255 - bytes[at];
            }
        }
        assert_eq!(
            read(
                Pixels {
                    bytes: &bytes,
                    width,
                    height
                },
                place
            ),
            None
        );
    }

    #[test]
    fn a_picture_without_a_code_has_none() {
        let bytes = vec![0; 64 * 64 * 4];
        assert_eq!(
            find(
                Pixels {
                    bytes: &bytes,
                    width: 64,
                    height: 64
                },
                0,
                &[1.0]
            ),
            None
        );
    }
}
