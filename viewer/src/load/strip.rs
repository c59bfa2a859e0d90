//! The strip: a picture drawn on the desktop that carries the time of its drawing, and the clicks it
//! answered last, through the video.
//!
//! ```text
//!  row 0, 1   32 cells   when it was drawn, in 100 µs of the desktop's clock, modulo 2³²
//!  row 2       8 cells   sync 1011_0010
//!              8 cells   CRC-8 of everything else
//!  row 3..7   16 cells   the newest four clicks, newest first
//! ```
//!
//! White is 1. A cell is one macroblock, and the whole is shown by one request, so a frame has the
//! old strip or the new one; the CRC refuses what a codec smeared.

use crate::decode::Picture;

pub const COLUMNS: usize = 16;
pub const ROWS: usize = 3 + ECHOES;
/// Clicks that a strip shows.
pub const ECHOES: usize = 4;
/// Side of a cell in pixels; a macroblock.
pub const CELL: u16 = 16;
pub const WIDTH: u16 = CELL * COLUMNS as u16;
pub const HEIGHT: u16 = CELL * ROWS as u16;
/// Unit of the time in a strip.
pub const TICK_US: u64 = 100;

const SYNC: u8 = 0b1011_0010;
/// Luma from which a cell counts as white; video range ends at 16 and 235.
const WHITE_FROM: u8 = 128;

/// A click as the strip sees it: where inside the strip it was made. The place says which viewer
/// clicked and which of its clicks it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Click {
    pub x: u8,
    pub y: u8,
}

impl Click {
    /// Viewers that can be told apart: one for each row of pixels. More of them share.
    pub const VIEWERS: u8 = HEIGHT as u8;

    /// The `count`-th click of a viewer; counts wrap.
    pub fn of(viewer: usize, count: u64) -> Self {
        Self {
            x: count as u8,
            y: (viewer % usize::from(Self::VIEWERS)) as u8,
        }
    }
}

/// What a strip says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strip {
    /// In [`TICK_US`], modulo 2³².
    pub drawn: u32,
    pub echoes: [Click; ECHOES],
}

impl Strip {
    /// Drawn at that time since the Unix epoch.
    pub fn stamp(unix_us: u64) -> u32 {
        (unix_us / TICK_US) as u32
    }

    /// The strip answers a click.
    pub fn handle_click(&mut self, click: Click) {
        self.echoes.rotate_right(1);
        self.echoes[0] = click;
    }

    /// When it was drawn, in µs since the epoch: the moment with this stamp nearest to `now_us`.
    pub fn drawn_us(&self, now_us: u64) -> u64 {
        let now = now_us / TICK_US;
        let apart = self.drawn.wrapping_sub(now as u32).cast_signed();
        now.saturating_add_signed(i64::from(apart)) * TICK_US
    }

    /// The cells, white is `true`.
    pub fn cells(&self) -> [[bool; COLUMNS]; ROWS] {
        let mut words = self.words();
        words[2] = u16::from_be_bytes([SYNC, self.check()]);
        words.map(|word| std::array::from_fn(|column| word >> (COLUMNS - 1 - column) & 1 == 1))
    }

    /// Reads the strip whose top left corner lies at `corner`; `None` if there is none.
    pub fn read(picture: &Picture<'_>, corner: (u32, u32)) -> Option<Self> {
        let mut words = [0_u16; ROWS];
        for (row, word) in words.iter_mut().enumerate() {
            for column in 0..COLUMNS {
                *word = *word << 1 | u16::from(is_white(picture, corner, row, column)?);
            }
        }
        let [sync, check] = words[2].to_be_bytes();
        let click = |word: u16| {
            let [x, y] = word.to_be_bytes();
            Click { x, y }
        };
        let strip = Self {
            drawn: u32::from(words[0]) << 16 | u32::from(words[1]),
            echoes: [words[3], words[4], words[5], words[6]].map(click),
        };
        (sync == SYNC && check == strip.check()).then_some(strip)
    }

    fn words(&self) -> [u16; ROWS] {
        let echo = |i: usize| u16::from_be_bytes([self.echoes[i].x, self.echoes[i].y]);
        let (high, low) = ((self.drawn >> 16) as u16, self.drawn as u16);
        [high, low, 0, echo(0), echo(1), echo(2), echo(3)]
    }

    /// CRC-8 with the polynomial x⁸+x²+x+1, most significant bit first.
    fn check(&self) -> u8 {
        let bytes = self.words().map(u16::to_be_bytes);
        bytes.iter().flatten().fold(0xff, |crc, byte| {
            (0..8).fold(crc ^ byte, |crc, _| {
                if crc & 0x80 == 0 {
                    crc << 1
                } else {
                    crc << 1 ^ 0x07
                }
            })
        })
    }
}

fn is_white(picture: &Picture<'_>, corner: (u32, u32), row: usize, column: usize) -> Option<bool> {
    let middle = |corner: u32, index: usize| {
        let offset = usize::from(CELL) * index + usize::from(CELL) / 2;
        usize::try_from(corner)
            .unwrap_or(usize::MAX)
            .saturating_add(offset)
    };
    let (x, y) = (middle(corner.0, column), middle(corner.1, row));
    let [width, height, stride] =
        [picture.width, picture.height, picture.y_stride].map(|n| usize::try_from(n).unwrap_or(0));
    if x >= width || y >= height {
        return None;
    }
    let luma = picture.y.get(y.checked_mul(stride)?.checked_add(x)?)?;
    Some(*luma >= WHITE_FROM)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::Chroma;

    const SIZE: (usize, usize) = (400, 200);

    fn screen(strip: &Strip, corner: (usize, usize)) -> Vec<u8> {
        let mut luma = vec![100; SIZE.0 * SIZE.1];
        let side = usize::from(CELL);
        for (row, cells) in strip.cells().iter().enumerate() {
            for (column, white) in cells.iter().enumerate() {
                for y in 0..side {
                    let start = (corner.1 + row * side + y) * SIZE.0 + corner.0 + column * side;
                    luma[start..start + side].fill(if *white { 225 } else { 26 });
                }
            }
        }
        luma
    }

    fn picture(luma: &[u8]) -> Picture<'_> {
        Picture {
            width: SIZE.0 as u32,
            height: SIZE.1 as u32,
            chroma: Chroma::I420,
            y: luma,
            u: &[],
            v: &[],
            y_stride: SIZE.0 as u32,
            uv_stride: 0,
        }
    }

    proptest! {
        #[test]
        fn a_strip_reads_back_and_one_wrong_cell_is_refused(
            drawn: u32, clicks in prop::collection::vec((0_u8.., 0_u8..), 0..6),
            wrong in 0..COLUMNS * ROWS,
        ) {
            let mut strip = Strip { drawn, ..Strip::default() };
            for (x, y) in clicks {
                strip.handle_click(Click { x, y });
            }
            let mut luma = screen(&strip, (64, 32));
            prop_assert_eq!(Strip::read(&picture(&luma), (64, 32)), Some(strip));
            let (row, column) = (wrong / COLUMNS, wrong % COLUMNS);
            let middle = usize::from(CELL) / 2;
            let at = (32 + row * 16 + middle) * SIZE.0 + 64 + column * 16 + middle;
            luma[at] = 255 - luma[at];
            prop_assert_eq!(Strip::read(&picture(&luma), (64, 32)), None);
        }

        #[test]
        fn the_time_of_a_strip_is_the_moment_nearest_to_now(now in 1_u64 << 40..1 << 52, age in 0_u64..1 << 37) {
            let drawn = now - age;
            let strip = Strip { drawn: Strip::stamp(drawn), ..Strip::default() };
            prop_assert_eq!(strip.drawn_us(now), drawn / TICK_US * TICK_US);
        }
    }

    #[test]
    fn outside_the_picture_there_is_no_strip() {
        let luma = screen(&Strip::default(), (0, 0));
        assert_eq!(Strip::read(&picture(&luma), (200, 150)), None);
        assert_eq!(Strip::read(&picture(&luma[..1000]), (0, 0)), None);
        assert_eq!(Strip::read(&picture(&[]), (u32::MAX - 300, 0)), None);
    }

    #[test]
    fn the_newest_click_is_shown_first() {
        let mut strip = Strip::default();
        for count in 0..5 {
            strip.handle_click(Click::of(3, count));
        }
        assert_eq!(strip.echoes.map(|click| click.x), [4, 3, 2, 1]);
        assert_eq!(strip.echoes[0].y, 3);
    }
}
