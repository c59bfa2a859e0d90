//! How boxes of the screen go through memory that is smaller than the screen.
//!
//! Rule: boxes are cut into strips of whole rows of macroblocks, and strips are put together into
//! loads. A load fits into half of the memory: while one half is converted, the X server writes the
//! next load into the other.

use crate::damage::Rect;
use crate::picture::BLOCK;

/// Bytes of a pixel, BGRX.
pub const PIXEL_LEN: usize = 4;
/// Bytes of one half: an eighth of a screen of 1080p. Larger ones cost memory and are written while
/// nothing is converted; smaller ones cost a round trip to the X server each.
const HALF_LEN: usize = 1 << 20;

/// Part of a box, and where in its half its pixels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strip {
    pub rect: Rect,
    pub offset: usize,
}

impl Strip {
    pub fn len_bytes(self) -> usize {
        self.rect.area() as usize * PIXEL_LEN
    }
}

/// Bytes of a half for a screen of `width` pixels: one row of macroblocks at least.
pub fn half_len(width: u32) -> usize {
    HALF_LEN.max(width as usize * PIXEL_LEN * BLOCK)
}

/// The loads in which `boxes` are read through halves of `half_len` bytes, which is at least what
/// [`half_len`] says of the screen they are on.
pub fn loads(boxes: &[Rect], half_len: usize) -> Vec<Vec<Strip>> {
    let mut loads = Vec::new();
    let mut load = Vec::new();
    let mut offset = 0;
    for rect in boxes.iter().flat_map(|&rect| cut(rect, half_len)) {
        let len = rect.area() as usize * PIXEL_LEN;
        if offset + len > half_len && !load.is_empty() {
            loads.push(std::mem::take(&mut load));
            offset = 0;
        }
        load.push(Strip { rect, offset });
        offset += len;
    }
    loads.extend(Some(load).filter(|load| !load.is_empty()));
    loads
}

/// Strips of `rect` from top to bottom, each of at most `len_max` bytes; they end where rows of
/// macroblocks do, which are converted as a whole.
fn cut(rect: Rect, len_max: usize) -> impl Iterator<Item = Rect> {
    let block = BLOCK as u32;
    let rows = len_max / (rect.width as usize * PIXEL_LEN).max(1);
    let rows = u32::try_from(rows).unwrap_or(u32::MAX).max(block);
    let mut top = rect.y;
    std::iter::from_fn(move || {
        let end = top.saturating_add(rows);
        let bottom = if end >= rect.bottom() {
            rect.bottom()
        } else {
            end / block * block
        };
        let strip = Rect::new(rect.x, top, rect.width, bottom - top);
        top = bottom;
        (!strip.is_empty()).then_some(strip)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Rect = Rect::new(0, 0, 1920, 1080);

    fn check(boxes: &[Rect], width: u32) -> Vec<Vec<Strip>> {
        let half = half_len(width);
        let loads = loads(boxes, half);
        let mut strips = loads.iter().flatten();
        for &rect in boxes {
            let mut top = rect.y;
            while top < rect.bottom() {
                let strip = strips.next().unwrap().rect;
                assert_eq!((strip.x, strip.width, strip.y), (rect.x, rect.width, top));
                top = strip.bottom();
                assert!(top == rect.bottom() || (top as usize).is_multiple_of(BLOCK));
            }
            assert_eq!(top, rect.bottom());
        }
        assert_eq!(strips.next(), None);
        for load in &loads {
            let mut free = 0;
            for strip in load {
                assert_eq!(strip.offset, free, "one behind the other");
                free += strip.len_bytes();
            }
            assert!(free <= half && !load.is_empty());
        }
        loads
    }

    #[test]
    fn every_row_of_every_box_is_read_once_and_every_load_fits() {
        assert_eq!(check(&[SCREEN], 1920).len(), 9);
        check(&[Rect::new(0, 0, 32_766, 64)], 32_766);
        check(
            &[Rect::new(6, 10, 1000, 501), Rect::new(0, 600, 2, 2)],
            1920,
        );
        check(&[Rect::new(0, 3, 1920, 1), SCREEN, SCREEN], 1920);
    }

    #[test]
    fn small_boxes_are_one_load() {
        let boxes: Vec<Rect> = (0..8).map(|n| Rect::new(n * 100, 40, 64, 64)).collect();
        assert_eq!(check(&boxes, 1920).len(), 1);
    }

    #[test]
    fn nothing_is_read_for_no_box_and_for_an_empty_one() {
        assert!(check(&[], 1920).is_empty());
        assert!(loads(&[Rect::new(4, 4, 0, 8), Rect::new(4, 4, 8, 0)], half_len(8)).is_empty());
    }
}
