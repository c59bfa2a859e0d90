//! Pixels of the desktop → pixels of a window, where the two have another size.
//!
//! Whole multiples are repeated, so that text stays sharp; everything else is blended from the four
//! nearest pixels. The picture is BGRA, a window's pixel is `0x00RRGGBB`: the same four bytes.

use crate::geometry::{Area, Placement, Size};
use crate::image::Bgra;

/// Weights are in 1/256.
const ONE: u32 = 256;
/// Around a picture that does not fill its window.
const BAR: u32 = 0;

/// Where one column or row of the window looks: two neighbours and the weight of the second.
#[derive(Clone, Copy, Debug)]
struct Tap {
    first: usize,
    second: usize,
    weight: u32,
}

/// Draws pictures of one size into windows of one size.
#[derive(Debug, Default)]
pub struct Scaler {
    picture: Size,
    window: Size,
    placed: Placement,
    columns: Vec<Tap>,
    rows: Vec<Tap>,
}

impl Scaler {
    pub fn placement(&self) -> Placement {
        self.placed
    }

    /// Draws the whole window. `pixels` has one entry per pixel of it; with fewer nothing is drawn.
    pub fn draw(&mut self, picture: &Bgra, window: Size, pixels: &mut [u32]) {
        self.fit(picture.size(), window);
        self.draw_area(picture, Area::whole(window), pixels);
    }

    /// Draws what `changed` of the picture since all of it was drawn into `pixels`, and says where
    /// that is in the window; `None` if picture or window have another size since.
    pub fn draw_changed(
        &mut self,
        picture: &Bgra,
        changed: Area,
        window: Size,
        pixels: &mut [u32],
    ) -> Option<Area> {
        if (picture.size(), window) != (self.picture, self.window) {
            return None;
        }
        let area = self.placed.shows(changed, self.picture);
        self.draw_area(picture, area, pixels);
        Some(area)
    }

    /// Draws some of the window's pixels.
    fn draw_area(&self, picture: &Bgra, area: Area, pixels: &mut [u32]) {
        let Size { width, height } = self.window;
        if width == 0 || pixels.len() < width as usize * height as usize {
            return;
        }
        let rows = pixels.chunks_exact_mut(width as usize);
        let rows = (0_u32..).zip(rows.take(area.bottom as usize));
        for (y, row) in rows.skip(area.top as usize) {
            let inside = y.checked_sub(self.placed.top);
            let tap = inside.and_then(|y| self.rows.get(y as usize));
            let (from, to) = (area.left as usize, area.right as usize);
            let Some(row) = row.get_mut(from..to) else {
                continue;
            };
            match tap {
                None => row.fill(BAR),
                Some(&tap) => self.draw_row(picture, tap, area.left, row),
            }
        }
    }

    fn fit(&mut self, picture: Size, window: Size) {
        if (picture, window) == (self.picture, self.window) {
            return;
        }
        (self.picture, self.window) = (picture, window);
        self.placed = picture.placed_in(window);
        self.columns = taps(picture.width, self.placed.width);
        self.rows = taps(picture.height, self.placed.height);
    }

    /// Draws pixels of one row, from the window's column `left` on.
    fn draw_row(&self, picture: &Bgra, tap: Tap, left: u32, out: &mut [u32]) {
        let bar = self.placed.left.saturating_sub(left) as usize;
        let (bar, rest) = out.split_at_mut(bar.min(out.len()));
        let skipped = left.saturating_sub(self.placed.left) as usize;
        let columns = self.columns.get(skipped..).unwrap_or_default();
        let (inner, other_bar) = rest.split_at_mut(columns.len().min(rest.len()));
        bar.fill(BAR);
        other_bar.fill(BAR);
        let stride = picture.width as usize * 4;
        let row = |at: usize| picture.pixels.get(at * stride..(at + 1) * stride);
        let (Some(first), Some(second)) = (row(tap.first), row(tap.second)) else {
            return;
        };
        let (first, second) = (first.as_chunks::<4>().0, second.as_chunks::<4>().0);
        if self.placed.width == self.picture.width && tap.weight == 0 {
            let same = first.get(skipped..).unwrap_or_default();
            for (out, pixel) in inner.iter_mut().zip(same) {
                *out = u32::from_le_bytes(*pixel) & 0x00ff_ffff;
            }
            return;
        }
        for (out, column) in inner.iter_mut().zip(columns) {
            let at = |row: &[[u8; 4]], x: usize| row.get(x).copied().map_or(0, u32::from_le_bytes);
            let upper = blend(
                at(first, column.first),
                at(first, column.second),
                column.weight,
            );
            let lower = blend(
                at(second, column.first),
                at(second, column.second),
                column.weight,
            );
            *out = blend(upper, lower, tap.weight) & 0x00ff_ffff;
        }
    }
}

/// Two pixels, channel by channel; `weight` of the second in 1/256.
fn blend(first: u32, second: u32, weight: u32) -> u32 {
    let mix =
        |first: u32, second: u32| (first * (ONE - weight) + second * weight) >> 8 & 0x00ff_00ff;
    let even = mix(first & 0x00ff_00ff, second & 0x00ff_00ff);
    let odd = mix(first >> 8 & 0x00ff_00ff, second >> 8 & 0x00ff_00ff);
    even | odd << 8
}

fn taps(from: u32, to: u32) -> Vec<Tap> {
    let last = u64::from(from.saturating_sub(1));
    let whole = from > 0 && to.is_multiple_of(from);
    (0..u64::from(to))
        .map(|at| {
            if whole {
                let first = (at * u64::from(from) / u64::from(to.max(1))) as usize;
                return Tap {
                    first,
                    second: first,
                    weight: 0,
                };
            }
            // The middle of the window's pixel, in 1/256 of the picture's, from its first middle.
            let middle = (2 * at + 1) * u64::from(from) * u64::from(ONE) / (2 * u64::from(to));
            let middle = middle.saturating_sub(u64::from(ONE / 2));
            let first = (middle / u64::from(ONE)).min(last);
            Tap {
                first: first as usize,
                second: (first + 1).min(last) as usize,
                weight: (middle % u64::from(ONE)) as u32,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u32) -> Bgra {
        let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixels = all.flat_map(|(x, y)| (pixel(x, y) | 0xff00_0000).to_le_bytes());
        Bgra {
            width,
            height,
            pixels: pixels.collect(),
        }
    }

    fn drawn(picture: &Bgra, width: u32, height: u32) -> Vec<u32> {
        let mut pixels = vec![0xdead_beef; (width * height) as usize];
        Scaler::default().draw(picture, Size::new(width, height), &mut pixels);
        pixels
    }

    #[test]
    fn one_to_one_is_exact() {
        let exact = picture(3, 2, |x, y| x * 0x10203 + y * 0x40);
        let expected = [0, 0x10203, 0x20406, 0x40, 0x10243, 0x20446];
        assert_eq!(drawn(&exact, 3, 2), expected);
    }

    #[test]
    fn twice_the_size_repeats_every_pixel() {
        let small = picture(2, 1, |x, _| if x == 0 { 0xff_0000 } else { 0xff });
        let row = [0xff_0000, 0xff_0000, 0xff, 0xff];
        assert_eq!(drawn(&small, 4, 2), [row, row].concat());
    }

    #[test]
    fn bars_are_black_and_every_pixel_of_the_window_is_drawn() {
        let white = picture(2, 2, |_, _| 0xff_ffff);
        let wide = drawn(&white, 6, 2);
        let row = [0, 0, 0xff_ffff, 0xff_ffff, 0, 0];
        assert_eq!(wide, [row, row].concat());
    }

    #[test]
    fn no_picture_and_no_window_draw_nothing_wrong() {
        assert_eq!(drawn(&Bgra::default(), 2, 1), [0, 0]);
        let mut none = [];
        Scaler::default().draw(&picture(2, 2, |_, _| 1), Size::new(0, 0), &mut none);
    }

    proptest! {
        #[test]
        fn drawing_what_changed_gives_the_window_drawn_at_once(
            (w, h) in (1_u32..30, 1_u32..30),
            (window_w, window_h) in (1_u32..70, 1_u32..70),
            (x, y) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let window = Size::new(window_w, window_h);
            let mut changing = picture(w, h, |x, y| x * 0x0507 + y * 0x03_0000);
            let mut scaler = Scaler::default();
            let mut pixels = vec![0; (window_w * window_h) as usize];
            scaler.draw(&changing, window, &mut pixels);
            let (x, y) = (x.index(w as usize), y.index(h as usize));
            changing.pixels[(y * w as usize + x) * 4 + 1] ^= 0xff;
            let changed = Area {
                left: x as u32,
                top: y as u32,
                right: x as u32 + 1,
                bottom: y as u32 + 1,
            };
            prop_assert!(scaler.draw_changed(&changing, changed, window, &mut pixels).is_some());
            prop_assert_eq!(pixels, drawn(&changing, window_w, window_h));
        }

        #[test]
        fn one_colour_stays_that_colour_at_any_size(
            colour in 0_u32..0x0100_0000,
            (w, h) in (1_u32..40, 1_u32..40),
            zoom in 1_u32..60,
        ) {
            let window = Size::new((w * zoom).div_ceil(7), (h * zoom).div_ceil(7));
            let same = picture(w, h, |_, _| colour);
            let inside = drawn(&same, window.width, window.height);
            prop_assert!(inside.iter().all(|&pixel| pixel == colour || pixel == 0));
            prop_assert!(inside.contains(&colour));
        }
    }
}
