//! What 4:2:0 smears: one-pixel lines, red on blue, upright and level, and coloured letters. A
//! viewer that shows each pixel's own colour shows them as they were drawn.

use anyhow::Result;
use x11rb::protocol::xproto::Rectangle;

use super::canvas::{Canvas, Ink};
use super::pattern::HEIGHT;

/// Where they are drawn.
pub const AREA: Rectangle = Rectangle {
    x: 600,
    y: 420,
    width: 256,
    height: 160,
};
/// Both kinds of lines fill squares of this side, below the code, side by side.
const SIDE: u16 = 64;
const LINE: u32 = 0xff_00_00;
const GROUND: u32 = 0x00_00_ff;
const CODE: u16 = 444;
/// Letters and what is behind them: pairs of like brightness, which only colour tells apart.
const INKS: [(u32, u32); 4] = [
    (0xff_00_00, 0x00_00_ff),
    (0x00_80_00, 0xc0_00_c0),
    (0x20_40_90, 0xfd_f6_e3),
    (0xff_ff_ff, 0x00_00_00),
];

/// Draws them; they stay as long as the canvas does.
pub fn draw(display: &str) -> Result<Canvas> {
    let canvas = Canvas::open_at(display, AREA)?;
    canvas.clear(GROUND)?;
    for offset in (0..SIDE).step_by(2) {
        let along = offset.cast_signed();
        let top = HEIGHT.cast_signed();
        let upright = rectangle(along, top, 1, SIDE);
        let level = rectangle(SIDE.cast_signed(), top + along, SIDE, 1);
        canvas.paint(LINE, upright)?;
        canvas.paint(LINE, level)?;
    }
    for (line, (pixel, paper)) in (1..).zip(INKS) {
        let y = (HEIGHT + SIDE).cast_signed() + line * 14;
        canvas.write(
            Ink { pixel, paper },
            2,
            y,
            "Coloured letters stay legible: iIlL1",
        )?;
    }
    canvas.show_all(CODE)?;
    Ok(canvas)
}

fn rectangle(x: i16, y: i16, width: u16, height: u16) -> Rectangle {
    Rectangle {
        x,
        y,
        width,
        height,
    }
}
