//! Where the desktop lies in a window: as large as fits, in its own shape, centred; and which of
//! its pixels is under a point of the window. The browser viewer follows the same rule.

use protocol::control::{SCREEN_EDGE_MAX, SCREEN_EDGE_MIN};

/// A size in physical pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// Where the picture is drawn, in the window's pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

/// Pixels `left..right` × `top..bottom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub left: u32,
    pub top: u32,
    pub right: u32,
    pub bottom: u32,
}

impl Area {
    pub fn whole(size: Size) -> Self {
        Self {
            left: 0,
            top: 0,
            right: size.width,
            bottom: size.height,
        }
    }

    pub fn is_empty(self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    /// The smallest area around both.
    pub fn union(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    /// Its edges moved outwards to even pixels, where chroma has one sample for two, and cut to
    /// `size`.
    pub fn even_within(self, size: Size) -> Self {
        let up = |edge: u32| edge.saturating_add(1) & !1;
        Self {
            left: self.left & !1,
            top: self.top & !1,
            right: up(self.right).min(size.width),
            bottom: up(self.bottom).min(size.height),
        }
    }
}

impl Size {
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    pub fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// Where a desktop of this size is drawn in `window`; one to one where the sizes allow it.
    pub fn placed_in(self, window: Size) -> Placement {
        if self.is_empty() || window.is_empty() {
            return Placement::default();
        }
        let (dw, dh) = (u64::from(self.width), u64::from(self.height));
        let (ww, wh) = (u64::from(window.width), u64::from(window.height));
        // The tighter edge is filled; the products compare the ratios without rounding.
        let (width, height) = if ww * dh <= wh * dw {
            (ww, (ww * dh / dw).max(1))
        } else {
            ((wh * dw / dh).max(1), wh)
        };
        // Both fit into the window's edges, which are 32 bits.
        let (width, height) = (width as u32, height as u32);
        Placement {
            left: (window.width - width) / 2,
            top: (window.height - height) / 2,
            width,
            height,
        }
    }

    /// The screen to ask for so that it fills a window of this size: even edges, for the picture's
    /// colours are stored for pairs of pixels.
    pub fn wanted_screen(self) -> (u16, u16) {
        let edge = |n: u32| {
            let even = u16::try_from(n & !1).unwrap_or(u16::MAX);
            even.clamp(SCREEN_EDGE_MIN, SCREEN_EDGE_MAX)
        };
        (edge(self.width), edge(self.height))
    }
}

impl Placement {
    /// The window's pixels that show some of `area` of a picture of this size; a blended pixel
    /// shows two neighbours.
    pub fn shows(self, area: Area, picture: Size) -> Area {
        let along = |(first, end): (u32, u32), from: u32, drawn: u32, edge: u32| {
            let spread = u64::from(!drawn.is_multiple_of(edge.max(1)));
            let (drawn, edge) = (u64::from(drawn), u64::from(edge.max(1)));
            let first = u64::from(first).saturating_sub(spread) * drawn / edge;
            let end = ((u64::from(end) + spread) * drawn)
                .div_ceil(edge)
                .min(drawn);
            // Both lie within the drawn edge, which is 32 bits.
            (from + first.min(drawn) as u32, from + end as u32)
        };
        let columns = (area.left, area.right);
        let (left, right) = along(columns, self.left, self.width, picture.width);
        let rows = (area.top, area.bottom);
        let (top, bottom) = along(rows, self.top, self.height, picture.height);
        Area {
            left,
            top,
            right,
            bottom,
        }
    }

    /// The desktop's pixel under a point of the window; outside the picture, the nearest one.
    pub fn desktop_point(self, (x, y): (f64, f64), desktop: Size) -> (u16, u16) {
        let along = |at: f64, from: u32, drawn: u32, edge: u32| {
            let last = edge.saturating_sub(1).min(u32::from(u16::MAX));
            let pixel = (at - f64::from(from)) * f64::from(edge) / f64::from(drawn.max(1));
            // Saturates at both ends, and NaN becomes 0.
            (pixel as u32).min(last) as u16
        };
        (
            along(x, self.left, self.width, desktop.width),
            along(y, self.top, self.height, desktop.height),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_of_the_desktops_size_shows_it_one_to_one() {
        let desktop = Size::new(1920, 1080);
        let placed = desktop.placed_in(desktop);
        assert_eq!((placed.left, placed.top), (0, 0));
        assert_eq!((placed.width, placed.height), (1920, 1080));
        assert_eq!(placed.desktop_point((1919.9, 0.0), desktop), (1919, 0));
    }

    #[test]
    fn a_wider_window_has_bars_left_and_right_and_clicks_there_hit_the_edge() {
        let desktop = Size::new(1000, 1000);
        let placed = desktop.placed_in(Size::new(3000, 1000));
        assert_eq!((placed.left, placed.width), (1000, 1000));
        assert_eq!(placed.desktop_point((10.0, 500.0), desktop), (0, 500));
        assert_eq!(placed.desktop_point((2990.0, 500.0), desktop), (999, 500));
    }

    #[test]
    fn a_window_asks_for_a_screen_of_even_edges_within_the_protocols_bounds() {
        assert_eq!(Size::new(1281, 801).wanted_screen(), (1280, 800));
        assert_eq!(Size::new(1, 100_000).wanted_screen(), (64, 8192));
    }

    proptest! {
        #[test]
        fn a_picture_lies_in_its_window_and_every_point_on_the_desktop(
            (dw, dh) in (1_u32..9000, 1_u32..9000),
            (ww, wh) in (1_u32..9000, 1_u32..9000),
            (x, y) in (-1e5_f64..1e5, -1e5_f64..1e5),
        ) {
            let (desktop, window) = (Size::new(dw, dh), Size::new(ww, wh));
            let placed = desktop.placed_in(window);
            prop_assert!(placed.left + placed.width <= ww);
            prop_assert!(placed.top + placed.height <= wh);
            prop_assert!(placed.width == ww || placed.height == wh);
            let (px, py) = placed.desktop_point((x, y), desktop);
            prop_assert!(u32::from(px) < dw && u32::from(py) < dh);
        }

        #[test]
        fn the_middle_of_a_drawn_pixel_is_that_pixel(
            (dw, dh) in (1_u32..4000, 1_u32..4000),
            zoom in 1_u32..4,
            (x, y) in (0.0_f64..1.0, 0.0_f64..1.0),
        ) {
            let desktop = Size::new(dw, dh);
            let placed = desktop.placed_in(Size::new(dw * zoom, dh * zoom));
            let pixel = ((x * f64::from(dw)) as u32, (y * f64::from(dh)) as u32);
            let middle = |n: u32| (f64::from(n) + 0.5) * f64::from(zoom);
            let (px, py) = placed.desktop_point((middle(pixel.0), middle(pixel.1)), desktop);
            prop_assert_eq!((u32::from(px), u32::from(py)), pixel);
        }
    }
}
