//! What changed on the screen and was not captured yet: a few boxes, never a tick.
//!
//! Rule: the boxes cover every pixel that was reported, and there are at most [`BOXES_MAX`] of
//! them. When full, the two boxes whose union wastes least become one: what grows is the area
//! that is read, never the list.

/// Each box costs one request to the X server, which is worth about 2,000 pixels of reading.
pub const BOXES_MAX: usize = 8;
/// Pixels that may be read in vain to save a request.
const MERGE_WASTE_MAX: u32 = 4096;

/// A box in pixels of the screen; empty if an edge is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

impl Rect {
    pub const fn new(x: u32, y: u32, width: u32, height: u32) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }

    pub fn right(self) -> u32 {
        self.x + self.width
    }

    pub fn bottom(self) -> u32 {
        self.y + self.height
    }

    pub fn area(self) -> u32 {
        self.width * self.height
    }

    pub fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    pub fn contains(self, other: Self) -> bool {
        self.x <= other.x
            && self.y <= other.y
            && self.right() >= other.right()
            && self.bottom() >= other.bottom()
    }

    /// The smallest box around both.
    pub fn union(self, other: Self) -> Self {
        let x = self.x.min(other.x);
        let y = self.y.min(other.y);
        Self {
            x,
            y,
            width: self.right().max(other.right()) - x,
            height: self.bottom().max(other.bottom()) - y,
        }
    }

    /// Cut to a screen of `width` × `height`, its edges moved outwards to even pixels: chroma
    /// has one sample for two.
    pub fn clipped_even(self, width: u32, height: u32) -> Self {
        let x = self.x.min(width) & !1;
        let y = self.y.min(height) & !1;
        let right = (self.right().min(width) + 1) & !1;
        let bottom = (self.bottom().min(height) + 1) & !1;
        Self {
            x,
            y,
            width: right.min(width).saturating_sub(x),
            height: bottom.min(height).saturating_sub(y),
        }
    }
}

/// The boxes.
#[derive(Debug, Default)]
pub struct Damage {
    boxes: Vec<Rect>,
}

impl Damage {
    pub fn add(&mut self, rect: Rect) {
        if rect.is_empty() || self.covers(rect) {
            return;
        }
        let mut rect = rect;
        // A merged box may reach the next one: go on until none is worth joining.
        while let Some(i) = self.worth_joining(rect) {
            rect = rect.union(self.boxes.swap_remove(i));
        }
        self.boxes.push(rect);
        if self.boxes.len() > BOXES_MAX {
            self.join_cheapest();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    pub fn covers(&self, rect: Rect) -> bool {
        self.boxes.iter().any(|b| b.contains(rect))
    }

    /// The boxes, never of more pixels in all than the box around them: it is taken instead where
    /// they overlap so much.
    pub fn take(&mut self) -> Vec<Rect> {
        let boxes = std::mem::take(&mut self.boxes);
        let pixels: u32 = boxes.iter().map(|one| one.area()).sum();
        match boxes.iter().copied().reduce(Rect::union) {
            Some(around) if around.area() < pixels => vec![around],
            _ => boxes,
        }
    }

    fn worth_joining(&self, rect: Rect) -> Option<usize> {
        self.boxes
            .iter()
            .position(|&b| waste(b, rect) <= MERGE_WASTE_MAX)
    }

    fn join_cheapest(&mut self) {
        let pairs = (0..self.boxes.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        let Some((i, j)) = pairs.min_by_key(|&(i, j)| waste(self.boxes[i], self.boxes[j])) else {
            return;
        };
        // i > j, so removing i leaves j where it is.
        let taken = self.boxes.swap_remove(i);
        self.boxes[j] = self.boxes[j].union(taken);
    }
}

/// Pixels in the union that are in neither (0 if they overlap more than that).
fn waste(a: Rect, b: Rect) -> u32 {
    a.union(b).area().saturating_sub(a.area() + b.area())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_far_apart_stay_apart_and_near_ones_become_one() {
        let mut damage = Damage::default();
        damage.add(Rect::new(0, 0, 10, 10));
        damage.add(Rect::new(1000, 1000, 10, 10));
        damage.add(Rect::new(12, 0, 10, 10));
        let mut boxes = damage.take();
        boxes.sort_by_key(|b| b.x);
        assert_eq!(
            boxes,
            [Rect::new(0, 0, 22, 10), Rect::new(1000, 1000, 10, 10)]
        );
        assert!(damage.is_empty());
    }

    #[test]
    fn the_list_is_bounded_and_still_covers_everything() {
        let mut damage = Damage::default();
        let dots: Vec<_> = (0..100)
            .map(|i| Rect::new((i * 739) % 1900, (i * 397) % 1000, 9, 16))
            .collect();
        for &dot in &dots {
            damage.add(dot);
        }
        let boxes = damage.take();
        assert!(boxes.len() <= BOXES_MAX);
        for dot in dots {
            assert!(boxes.iter().any(|b| b.contains(dot)), "{dot:?}");
        }
    }

    #[test]
    fn boxes_that_cross_are_never_more_pixels_than_the_box_around_them() {
        let mut damage = Damage::default();
        for i in 0..4 {
            damage.add(Rect::new(0, 20 * i, 1920, 1000));
            damage.add(Rect::new(100 * i, 0, 1000, 1080));
        }
        let pixels: u32 = damage.take().iter().map(|one| one.area()).sum();
        assert!(pixels <= 1920 * 1080, "{pixels}");
    }

    #[test]
    fn a_clipped_box_is_even_and_inside_the_screen() {
        let clipped = Rect::new(3, 5, 8, 2000).clipped_even(1920, 1080);
        assert_eq!(clipped, Rect::new(2, 4, 10, 1076));
        assert!(Rect::new(5000, 0, 4, 4).clipped_even(1920, 1080).is_empty());
    }
}
