//! Pointer, buttons and wheel → messages.

use protocol::control::FromViewer;
use winit::event::{MouseButton, MouseScrollDelta};

use crate::geometry::{Placement, Size};

/// Units of one notch on the wire.
const NOTCH: f64 = 120.0;
/// Where a touchpad reports pixels, so many make one notch.
const PIXELS_PER_NOTCH: f64 = 100.0;
/// "Where the pointer is", for both coordinates.
const WHERE_IT_IS: (u16, u16) = (u16::MAX, u16::MAX);

/// Who draws the pointer's path: the window system, or the program that holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hold {
    #[default]
    Free,
    /// Kept in the window; only its movements count.
    Held,
}

#[derive(Debug, Default)]
pub(super) struct Pointer {
    at: (f64, f64),
    seq: u32,
    totals: (i32, i32),
    rest: (f64, f64),
    scrolled: (f64, f64),
    pub(super) hold: Hold,
}

/// The desktop as the window shows it.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) placement: Placement,
    pub(super) desktop: Size,
}

impl Pointer {
    pub(super) fn handle_moved(&mut self, at: (f64, f64), view: View) -> Option<FromViewer> {
        self.at = at;
        if self.hold == Hold::Held || view.desktop.is_empty() {
            return None;
        }
        let (x, y) = view.placement.desktop_point(at, view.desktop);
        let seq = self.next_seq();
        Some(FromViewer::PointerMove { seq, x, y })
    }

    /// The device moved, wherever the pointer is.
    pub(super) fn handle_motion(&mut self, (dx, dy): (f64, f64)) -> Option<FromViewer> {
        if self.hold == Hold::Free {
            return None;
        }
        self.rest = (self.rest.0 + dx, self.rest.1 + dy);
        let whole = (self.rest.0.trunc(), self.rest.1.trunc());
        self.rest = (self.rest.0 - whole.0, self.rest.1 - whole.1);
        self.totals.0 = self.totals.0.wrapping_add(whole.0 as i32);
        self.totals.1 = self.totals.1.wrapping_add(whole.1 as i32);
        Some(FromViewer::PointerRelative {
            seq: self.next_seq(),
            total_dx: self.totals.0,
            total_dy: self.totals.1,
        })
    }

    pub(super) fn handle_button(
        &self,
        button: MouseButton,
        down: bool,
        view: View,
    ) -> Option<FromViewer> {
        let button = match button {
            MouseButton::Left => 1,
            MouseButton::Middle => 2,
            MouseButton::Right => 3,
            MouseButton::Back => 8,
            MouseButton::Forward => 9,
            MouseButton::Other(_) => return None,
        };
        let (x, y) = self.position(view);
        Some(FromViewer::Button { down, button, x, y })
    }

    /// Fractions of a unit are kept, so that a slow touchpad scrolls as far as a fast one.
    pub(super) fn handle_wheel(
        &mut self,
        delta: MouseScrollDelta,
        view: View,
    ) -> Option<FromViewer> {
        // winit counts away from the person as positive, the wire towards them.
        let (dx, dy) = match delta {
            MouseScrollDelta::LineDelta(x, y) => (-f64::from(x) * NOTCH, -f64::from(y) * NOTCH),
            MouseScrollDelta::PixelDelta(by) => {
                let unit = NOTCH / PIXELS_PER_NOTCH;
                (-by.x * unit, -by.y * unit)
            }
        };
        self.scrolled = (self.scrolled.0 + dx, self.scrolled.1 + dy);
        let whole = (self.scrolled.0.trunc(), self.scrolled.1.trunc());
        self.scrolled = (self.scrolled.0 - whole.0, self.scrolled.1 - whole.1);
        let (dx, dy) = (whole.0 as i16, whole.1 as i16);
        let (x, y) = self.position(view);
        ((dx, dy) != (0, 0)).then_some(FromViewer::Wheel { dx, dy, x, y })
    }

    /// A new connection counts anew.
    pub(super) fn restart(&mut self) {
        (self.totals, self.rest, self.scrolled) = Default::default();
    }

    fn position(&self, view: View) -> (u16, u16) {
        match self.hold {
            Hold::Held => WHERE_IT_IS,
            Hold::Free if view.desktop.is_empty() => WHERE_IT_IS,
            Hold::Free => view.placement.desktop_point(self.at, view.desktop),
        }
    }

    fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }
}
