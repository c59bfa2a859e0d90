//! How like two pictures are: SSIM and PSNR of their brightness, and the share of equal pixels.
//!
//! SSIM as Wang et al. 2004 define it, over windows of 8 × 8 pixels that overlap by half, each
//! weighing the same. Equal quality is compared in its decibels, −10·log₁₀(1 − SSIM), which grow
//! evenly where SSIM crowds below 1.
//!
//! Some viewers show the desktop a pixel larger or smaller than it is and drop or double a row
//! somewhere. That is not the stream's doing: [`Luma::aligned_to`] takes it out, piece by piece.

use super::pattern::Pixels;

/// Side of a window, and how far the next one is.
const WINDOW: usize = 8;
const STEP: usize = 4;
/// (0.01 · 255)² and (0.03 · 255)²: keep the quotient finite where a window has one colour.
const C1: f64 = 6.502_5;
const C2: f64 = 58.522_5;
/// Pixels of a row that are moved together when two pictures are aligned, and how far at most.
const PIECE: usize = 64;
const SHIFT_MAX: isize = 2;
/// What equal pictures are given: beyond it nobody sees a difference.
const DECIBEL_MAX: f64 = 99.0;

/// The brightness of a picture, row by row.
#[derive(Clone, Debug)]
pub struct Luma {
    width: usize,
    height: usize,
    rows: Vec<u8>,
}

/// How like two pictures are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    pub ssim: f64,
    pub psnr_db: f64,
    /// Share of pixels with the same brightness, 0 to 1.
    pub equal: f64,
}

impl Luma {
    /// BT.709 weights in 256ths, full range.
    pub fn of(pixels: Pixels<'_>) -> Self {
        let rows = pixels.bytes.chunks_exact(4).map(|bgrx| {
            let [blue, green, red] = [bgrx[0], bgrx[1], bgrx[2]].map(u32::from);
            u8::try_from((18 * blue + 183 * green + 55 * red) >> 8).unwrap_or(u8::MAX)
        });
        Self {
            width: pixels.width,
            height: pixels.height,
            rows: rows.collect(),
        }
    }

    /// This picture with each piece of a row moved to where it fits `other` best.
    pub fn aligned_to(&self, other: &Self) -> Self {
        if (self.width, self.height) != (other.width, other.height) {
            return self.clone();
        }
        let mut rows = Vec::with_capacity(self.rows.len());
        for y in 0..self.height {
            for x in (0..self.width).step_by(PIECE) {
                let len = PIECE.min(self.width - x);
                let wanted = &other.rows[y * self.width + x..][..len];
                rows.extend_from_slice(self.best_piece(x, y, wanted));
            }
        }
        Self {
            width: self.width,
            height: self.height,
            rows,
        }
    }

    /// The piece at most [`SHIFT_MAX`] pixels from a place that is most like `wanted`.
    fn best_piece(&self, x: usize, y: usize, wanted: &[u8]) -> &[u8] {
        let shifts = (-SHIFT_MAX..=SHIFT_MAX)
            .flat_map(|dy| (-SHIFT_MAX..=SHIFT_MAX).map(move |dx| (dx, dy)));
        let place = |at: usize, by: isize, max: usize| at.saturating_add_signed(by).min(max);
        let pieces = shifts.map(|(dx, dy)| {
            let x = place(x, dx, self.width - wanted.len());
            let y = place(y, dy, self.height - 1);
            &self.rows[y * self.width + x..][..wanted.len()]
        });
        let best = pieces.min_by_key(|piece| distance(piece, wanted));
        best.unwrap_or_default()
    }

    fn row(&self, x: usize, y: usize) -> &[u8] {
        &self.rows[y * self.width + x..][..WINDOW]
    }
}

impl Likeness {
    /// `None` if the pictures have different sizes or no window fits in.
    pub fn between(a: &Luma, b: &Luma) -> Option<Self> {
        let fits = a.width >= WINDOW && a.height >= WINDOW;
        if !fits || (a.width, a.height) != (b.width, b.height) {
            return None;
        }
        let squares: f64 = a.rows.iter().zip(&b.rows).map(difference_squared).sum();
        let pairs = a.rows.iter().zip(&b.rows);
        let equal = pairs.filter(|(a, b)| a == b).count();
        let count = a.rows.len() as f64;
        let psnr_db = 10.0 * (255.0 * 255.0 * count / squares).log10();
        Some(Self {
            ssim: ssim(a, b),
            psnr_db: psnr_db.min(DECIBEL_MAX),
            equal: equal as f64 / count,
        })
    }

    pub fn ssim_db(&self) -> f64 {
        (-10.0 * (1.0 - self.ssim).log10()).min(DECIBEL_MAX)
    }
}

fn distance(a: &[u8], b: &[u8]) -> u64 {
    let apart = |(a, b): (&u8, &u8)| u64::from(a.abs_diff(*b));
    a.iter().zip(b).map(apart).sum()
}

fn difference_squared((a, b): (&u8, &u8)) -> f64 {
    f64::from(a.abs_diff(*b)).powi(2)
}

fn ssim(a: &Luma, b: &Luma) -> f64 {
    let places = (0..=a.height - WINDOW)
        .step_by(STEP)
        .flat_map(|y| (0..=a.width - WINDOW).step_by(STEP).map(move |x| (x, y)));
    let (mut sum, mut windows) = (0.0, 0_u32);
    for (x, y) in places {
        sum += window_ssim(a, b, x, y);
        windows += 1;
    }
    sum / f64::from(windows)
}

fn window_ssim(a: &Luma, b: &Luma, x: usize, y: usize) -> f64 {
    let (mut sum_a, mut sum_b, mut aa, mut bb, mut ab) = (0_u32, 0_u32, 0_u32, 0_u32, 0_u32);
    for row in y..y + WINDOW {
        for (&one, &other) in a.row(x, row).iter().zip(b.row(x, row)) {
            let (one, other) = (u32::from(one), u32::from(other));
            sum_a += one;
            sum_b += other;
            aa += one * one;
            bb += other * other;
            ab += one * other;
        }
    }
    let n = (WINDOW * WINDOW) as f64;
    let mean = |sum: u32| f64::from(sum) / n;
    let (mean_a, mean_b) = (mean(sum_a), mean(sum_b));
    let (var_a, var_b) = (mean(aa) - mean_a * mean_a, mean(bb) - mean_b * mean_b);
    let covariance = mean(ab) - mean_a * mean_b;
    (2.0 * mean_a * mean_b + C1) * (2.0 * covariance + C2)
        / ((mean_a * mean_a + mean_b * mean_b + C1) * (var_a + var_b + C2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(pixel: impl Fn(usize, usize) -> u8) -> Luma {
        let rows = (0..32).flat_map(|y| (0..32).map(move |x| (x, y)));
        let bytes: Vec<u8> = rows.flat_map(|(x, y)| [pixel(x, y); 4]).collect();
        Luma::of(Pixels {
            bytes: &bytes,
            width: 32,
            height: 32,
        })
    }

    fn stripes(x: usize, _y: usize) -> u8 {
        if x % 4 < 2 { 0 } else { 200 }
    }

    #[test]
    fn a_picture_is_as_like_itself_as_can_be() {
        let alike = Likeness::between(&picture(stripes), &picture(stripes)).unwrap();
        assert_eq!((alike.ssim, alike.equal), (1.0, 1.0));
        assert_eq!((alike.psnr_db, alike.ssim_db()), (99.0, 99.0));
    }

    #[test]
    fn five_levels_of_brightness_more_everywhere_are_34_decibels_and_no_equal_pixel() {
        let lighter = picture(|x, y| stripes(x, y) + 5);
        let alike = Likeness::between(&picture(stripes), &lighter).unwrap();
        assert!((alike.psnr_db - 34.15).abs() < 0.01, "{alike:?}");
        assert_eq!(alike.equal, 0.0);
        assert!(alike.ssim > 0.99, "{alike:?}");
    }

    #[test]
    fn lost_structure_costs_more_than_changed_brightness() {
        let flat = picture(|_, _| 100);
        let alike = Likeness::between(&picture(stripes), &flat).unwrap();
        assert!(alike.ssim < 0.1, "{alike:?}");
    }

    #[test]
    fn a_doubled_row_is_not_held_against_the_stream() {
        let text = |x: usize, y: usize| if (x * 7 + y * 13) % 5 < 2 { 0 } else { 200 };
        let doubled = picture(|x, y| text(x, if y < 16 { y } else { y - 1 }));
        let original = picture(text);
        let aligned = doubled.aligned_to(&original);
        assert!(Likeness::between(&original, &doubled).unwrap().equal < 0.9);
        // The last row was pushed out.
        assert!(Likeness::between(&original, &aligned).unwrap().equal > 0.98);
    }

    #[test]
    fn pictures_of_different_sizes_are_not_compared() {
        let bytes = [0; 16 * 16 * 4];
        let small = Luma::of(Pixels {
            bytes: &bytes,
            width: 16,
            height: 16,
        });
        assert_eq!(Likeness::between(&picture(stripes), &small), None);
    }
}
