//! The window's pixels.

use std::num::NonZeroU32;
use std::rc::Rc;

use anyhow::anyhow;
use winit::event_loop::OwnedDisplayHandle;
use winit::window::Window;

use super::super::port::Newest;
use crate::geometry::{Area, Placement, Size};
use crate::scale::Scaler;

/// A picture of a session that ended is shown this much darker: a quarter of its light.
const DIMMED: u32 = 0x003f_3f3f;

/// Whether the picture is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Light {
    Full,
    Dimmed,
}

pub(super) struct Canvas {
    surface: softbuffer::Surface<OwnedDisplayHandle, Rc<Window>>,
    size: Size,
    scaler: Scaler,
    /// What the window shows has this size and light; `None`: it must be drawn as a whole.
    drawn: Option<(Size, Light)>,
}

impl Canvas {
    /// # Errors
    ///
    /// The window system gives no pixels.
    pub(super) fn new(display: OwnedDisplayHandle, window: Rc<Window>) -> anyhow::Result<Self> {
        let refused = |error| anyhow!("the window has no pixels: {error}");
        let context = softbuffer::Context::new(display).map_err(refused)?;
        let size = window.inner_size();
        Ok(Self {
            surface: softbuffer::Surface::new(&context, window).map_err(refused)?,
            size: Size::new(size.width, size.height),
            scaler: Scaler::default(),
            drawn: None,
        })
    }

    pub(super) fn set_size(&mut self, size: Size) {
        self.size = size;
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Where the picture is.
    pub(super) fn placement(&self) -> Placement {
        self.scaler.placement()
    }

    /// The window system lost some of what was drawn.
    pub(super) fn expose(&mut self) {
        self.drawn = None;
    }

    /// Draws what nobody has seen yet, or everything if that would not be enough.
    ///
    /// # Errors
    ///
    /// The window system took the pixels away.
    pub(super) fn draw(&mut self, newest: &mut Newest, light: Light) -> anyhow::Result<()> {
        let edge = NonZeroU32::new;
        let (Some(width), Some(height)) = (edge(self.size.width), edge(self.size.height)) else {
            return Ok(());
        };
        let lost = |error| anyhow!("the window cannot be drawn: {error}");
        self.surface.resize(width, height).map_err(lost)?;
        let mut pixels = self.surface.buffer_mut().map_err(lost)?;
        let unseen = newest.take_unseen();
        let now = Some((self.size, light));
        // Taken, so that a failure leaves nothing to build on.
        let before = self.drawn.take();
        if pixels.age() == 1 && before == now && light == Light::Full {
            let Some(changed) = unseen else {
                self.drawn = before;
                return Ok(());
            };
            let picture = &newest.picture;
            let area = self
                .scaler
                .draw_changed(picture, changed, self.size, &mut pixels);
            if let Some(damage) = area.and_then(damage) {
                pixels.present_with_damage(&[damage]).map_err(lost)?;
                self.drawn = now;
                return Ok(());
            }
        }
        self.scaler.draw(&newest.picture, self.size, &mut pixels);
        if light == Light::Dimmed {
            for pixel in pixels.iter_mut() {
                *pixel = *pixel >> 2 & DIMMED;
            }
        }
        pixels.present().map_err(lost)?;
        self.drawn = now;
        Ok(())
    }
}

fn damage(area: Area) -> Option<softbuffer::Rect> {
    Some(softbuffer::Rect {
        x: area.left,
        y: area.top,
        width: NonZeroU32::new(area.right.checked_sub(area.left)?)?,
        height: NonZeroU32::new(area.bottom.checked_sub(area.top)?)?,
    })
}
