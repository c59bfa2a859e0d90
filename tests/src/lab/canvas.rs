//! Draws the pattern in a window of its own, each picture in one request, so that whoever captures
//! the display sees the old one or the new one.

use anyhow::{Context, Result};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    ChangeGCAux, ConnectionExt, CreateGCAux, CreateWindowAux, EventMask, Gcontext, Pixmap,
    Rectangle, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use super::pattern::{self, CELL, HEIGHT, WIDTH};

/// The colours of the bar below the pattern, as 0xRRGGBB: what a test compares with the video.
pub const COLOURS: [u32; 8] = [
    0xff_ff_ff, 0xff_00_00, 0x00_ff_00, 0x00_00_ff, 0xff_ff_00, 0x00_ff_ff, 0xff_00_ff, 0x00_00_00,
];
/// Height of the colour bar; each colour is `WIDTH / 8` wide.
pub const BAR_HEIGHT: u16 = 32;

const BLACK: u32 = 0x00_00_00;
const WHITE: u32 = 0xff_ff_ff;

/// Every X server brings it along.
const FONT: &[u8] = b"fixed";

/// A colour of letters and what is behind them, as 0xRRGGBB.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    pub pixel: u32,
    pub paper: u32,
}

/// A window with the pattern in its top left corner.
pub struct Canvas {
    connection: RustConnection,
    window: Window,
    width: u16,
    height: u16,
    /// Pictures are made here and shown by one copy.
    hidden: Pixmap,
    gc: Gcontext,
    /// Twice the window's size, to scroll through; only for motion.
    backdrop: Option<Pixmap>,
}

impl Canvas {
    /// A window of the pattern's size, colour bar included, above all others.
    pub fn open(display: &str, x: i16, y: i16) -> Result<Self> {
        Self::with_size(
            display,
            Rectangle {
                x,
                y,
                width: WIDTH,
                height: HEIGHT + BAR_HEIGHT,
            },
        )
    }

    /// A window for a scene, with letters to write.
    pub fn open_at(display: &str, area: Rectangle) -> Result<Self> {
        let canvas = Self::with_size(display, area)?;
        let font = canvas.connection.generate_id()?;
        canvas.connection.open_font(font, FONT)?.check()?;
        let letters = ChangeGCAux::new().font(font);
        canvas.connection.change_gc(canvas.gc, &letters)?;
        Ok(canvas)
    }

    /// A window over the whole display.
    pub fn full_screen(display: &str) -> Result<Self> {
        let (connection, number) = x11rb::connect(Some(display))?;
        let screen = &connection.setup().roots[number];
        let area = Rectangle {
            x: 0,
            y: 0,
            width: screen.width_in_pixels,
            height: screen.height_in_pixels,
        };
        let mut canvas = Self::with_size(display, area)?;
        canvas.paint_backdrop()?;
        Ok(canvas)
    }

    fn with_size(display: &str, area: Rectangle) -> Result<Self> {
        let (connection, number) = x11rb::connect(Some(display))
            .with_context(|| format!("no X server answers at {display}"))?;
        let screen = &connection.setup().roots[number];
        let (root, depth) = (screen.root, screen.root_depth);
        let [window, hidden, gc] = [
            connection.generate_id()?,
            connection.generate_id()?,
            connection.generate_id()?,
        ];
        let aux = CreateWindowAux::new()
            .override_redirect(1)
            .background_pixel(BLACK)
            .event_mask(EventMask::BUTTON_PRESS | EventMask::EXPOSURE);
        connection
            .create_window(
                depth,
                window,
                root,
                area.x,
                area.y,
                area.width,
                area.height,
                0,
                WindowClass::INPUT_OUTPUT,
                0,
                &aux,
            )?
            .check()?;
        connection
            .create_pixmap(depth, hidden, root, area.width, area.height)?
            .check()?;
        connection
            .create_gc(gc, hidden, &CreateGCAux::new().graphics_exposures(0))?
            .check()?;
        connection.map_window(window)?;
        let canvas = Self {
            connection,
            window,
            width: area.width,
            height: area.height,
            hidden,
            gc,
            backdrop: None,
        };
        canvas.paint_colours()?;
        canvas.connection.sync()?;
        Ok(canvas)
    }

    /// Shows a code; returns when the server has drawn it.
    pub fn show(&self, code: u16) -> Result<()> {
        self.paint_code(self.hidden, 0, code)?;
        self.connection.copy_area(
            self.hidden,
            self.window,
            self.gc,
            0,
            0,
            0,
            0,
            WIDTH,
            HEIGHT + BAR_HEIGHT,
        )?;
        self.connection.sync()?;
        Ok(())
    }

    /// Fills the hidden picture.
    pub fn clear(&self, colour: u32) -> Result<()> {
        self.paint(
            colour,
            Rectangle {
                x: 0,
                y: 0,
                width: self.width,
                height: self.height,
            },
        )
    }

    /// Fills a part of the hidden picture.
    pub fn paint(&self, colour: u32, area: Rectangle) -> Result<()> {
        self.fill(self.hidden, colour, &[area])
    }

    /// Writes into the hidden picture, from a point on the base line.
    pub fn write(&self, ink: Ink, x: i16, y: i16, text: &str) -> Result<()> {
        let colours = ChangeGCAux::new()
            .foreground(ink.pixel)
            .background(ink.paper);
        self.connection.change_gc(self.gc, &colours)?;
        self.connection
            .image_text8(self.hidden, self.gc, x, y, text.as_bytes())?;
        Ok(())
    }

    /// Shows the hidden picture with a code; returns when the server has drawn it.
    pub fn show_all(&self, code: u16) -> Result<()> {
        self.paint_code(self.hidden, 0, code)?;
        self.connection.copy_area(
            self.hidden,
            self.window,
            self.gc,
            0,
            0,
            0,
            0,
            self.width,
            self.height,
        )?;
        self.connection.sync()?;
        Ok(())
    }

    /// Shows a code on a backdrop scrolled by so many pixels: every pixel of the window changes.
    pub fn show_in_motion(&self, code: u16, offset: u16) -> Result<()> {
        let backdrop = self
            .backdrop
            .context("only a full-screen canvas has a backdrop")?;
        let offset = (offset % self.height).cast_signed();
        self.paint_code(backdrop, offset, code)?;
        self.connection.copy_area(
            backdrop,
            self.window,
            self.gc,
            0,
            offset,
            0,
            0,
            self.width,
            self.height,
        )?;
        self.connection.sync()?;
        Ok(())
    }

    /// Waits for a mouse button pressed on the window.
    pub fn wait_for_press(&self) -> Result<()> {
        while !matches!(self.connection.wait_for_event()?, Event::ButtonPress(_)) {}
        Ok(())
    }

    fn paint_code(&self, target: Pixmap, top: i16, code: u16) -> Result<()> {
        self.fill(
            target,
            BLACK,
            &[Rectangle {
                x: 0,
                y: top,
                width: WIDTH,
                height: HEIGHT,
            }],
        )?;
        let side = CELL.cast_signed();
        let mut white = Vec::with_capacity(pattern::ROWS * pattern::COLUMNS);
        for (row, cells) in (0_i16..).zip(pattern::cells(code)) {
            let lit = (0_i16..)
                .zip(cells)
                .filter(|cell| cell.1)
                .map(|cell| cell.0);
            white.extend(lit.map(|column| Rectangle {
                x: column * side,
                y: top + row * side,
                width: CELL,
                height: CELL,
            }));
        }
        self.fill(target, WHITE, &white)
    }

    fn paint_colours(&self) -> Result<()> {
        let width = WIDTH / COLOURS.len() as u16;
        for (index, colour) in (0..).zip(COLOURS) {
            let x = index * width.cast_signed();
            self.fill(
                self.hidden,
                colour,
                &[Rectangle {
                    x,
                    y: HEIGHT.cast_signed(),
                    width,
                    height: BAR_HEIGHT,
                }],
            )?;
        }
        Ok(())
    }

    /// A picture with edges everywhere, so that scrolling it is work for an encoder.
    fn paint_backdrop(&mut self) -> Result<()> {
        let backdrop = self.connection.generate_id()?;
        let depth = self.connection.get_geometry(self.window)?.reply()?.depth;
        self.connection
            .create_pixmap(depth, backdrop, self.window, self.width, self.height * 2)?
            .check()?;
        self.backdrop = Some(backdrop);
        let tile: u16 = 24;
        for (row, y) in (0..self.height * 2).step_by(tile.into()).enumerate() {
            for (column, x) in (0..self.width).step_by(tile.into()).enumerate() {
                let mixed = (row as u32)
                    .wrapping_mul(2_654_435_761)
                    .wrapping_add((column as u32).wrapping_mul(40_503));
                let colour = (mixed ^ mixed >> 13).wrapping_mul(0x5bd1_e995) & 0xff_ff_ff;
                self.fill(
                    backdrop,
                    colour,
                    &[Rectangle {
                        x: x.cast_signed(),
                        y: y.cast_signed(),
                        width: tile - 3,
                        height: tile - 3,
                    }],
                )?;
            }
        }
        self.connection.sync()?;
        Ok(())
    }

    fn fill(&self, target: Pixmap, colour: u32, areas: &[Rectangle]) -> Result<()> {
        self.connection
            .change_gc(self.gc, &ChangeGCAux::new().foreground(colour))?;
        self.connection
            .poly_fill_rectangle(target, self.gc, areas)?;
        Ok(())
    }
}
