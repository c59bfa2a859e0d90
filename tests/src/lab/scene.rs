//! What people do on a desktop, step by step, each step one request, so that whoever captures the
//! display sees a whole step: a terminal that scrolls, a window that is dragged. The code of the
//! step stands in the top left corner.

use anyhow::Result;
use x11rb::protocol::xproto::Rectangle;

use super::canvas::{Canvas, Ink};
use super::pattern::HEIGHT;

/// The part of the screen the scene plays on.
pub const AREA: Rectangle = Rectangle {
    x: 160,
    y: 120,
    width: 960,
    height: 640,
};
const PAPER: u32 = 0xfd_f6_e3;
/// Colours of a build's log.
const INKS: [u32; 5] = [0x20_20_20, 0x20_20_20, 0x1a_6e_1a, 0xa0_30_20, 0x20_40_90];
/// The server's own font: 6 × 13 pixels a character.
const LINE_HEIGHT: u16 = 16;
const BASELINE: i16 = 12;
const LINE_CHARS: usize = 150;
const WORDS: [&str; 12] = [
    "Compiling",
    "protocol",
    "v0.1.0",
    "(target/release)",
    "warning:",
    "unused",
    "-->",
    "src/main.rs:42:17",
    "Finished",
    "in",
    "3.14s",
    "note:",
];
/// The dragged window, title bar included.
const WINDOW: (u16, u16) = (420, 280);
const TITLE_HEIGHT: u16 = 24;
/// Pixels the window moves in a step, as a hand does.
const DRAG_STEP: (i32, i32) = (11, 7);

/// Which scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scene {
    /// A terminal scrolls by one line in a step.
    Scroll,
    /// A window with text moves over others.
    Drag,
}

impl Scene {
    /// Opens the canvas with what does not move.
    pub fn open(self, display: &str) -> Result<Canvas> {
        Canvas::open_at(display, AREA)
    }

    /// Draws step `code`; returns when the server has drawn it.
    pub fn show(self, canvas: &Canvas, code: u16) -> Result<()> {
        match self {
            Self::Scroll => scroll(canvas, code)?,
            Self::Drag => drag(canvas, code)?,
        }
        canvas.show_all(code)
    }
}

fn scroll(canvas: &Canvas, code: u16) -> Result<()> {
    canvas.clear(PAPER)?;
    let lines = (AREA.height - HEIGHT) / LINE_HEIGHT;
    (0..lines).try_for_each(|line| {
        text_line(
            canvas,
            0,
            line,
            usize::from(code) + usize::from(line),
            LINE_CHARS,
        )
    })
}

fn drag(canvas: &Canvas, code: u16) -> Result<()> {
    canvas.clear(0x24_40_5c)?;
    // What lies below: a document that fills half of the screen.
    canvas.paint(
        PAPER,
        below(Rectangle {
            x: 40,
            y: 40,
            width: 520,
            height: 540,
        }),
    )?;
    for line in 0..33 {
        text_line(canvas, 48, line + 3, usize::from(line) * 5 + 1, 80)?;
    }
    let (x, y) = bounce(code);
    let (width, height) = WINDOW;
    let frame = below(Rectangle {
        x,
        y,
        width,
        height,
    });
    canvas.paint(0x30_30_38, frame)?;
    let inside = Rectangle {
        x: frame.x + 2,
        y: frame.y + TITLE_HEIGHT.cast_signed(),
        width: width - 4,
        height: height - TITLE_HEIGHT - 2,
    };
    canvas.paint(0xff_ff_ff, inside)?;
    let title = Ink {
        pixel: 0xff_ff_ff,
        paper: 0x30_30_38,
    };
    canvas.write(
        title,
        frame.x + 8,
        frame.y + 16,
        "Terminal - a window that moves",
    )?;
    let ink = Ink {
        pixel: 0x20_20_20,
        paper: 0xff_ff_ff,
    };
    (0..15).try_for_each(|line| {
        let y = inside.y + 14 + line * 16;
        canvas.write(
            ink,
            inside.x + 6,
            y,
            &words(usize::from(line.unsigned_abs()) * 11, 64),
        )
    })
}

/// Where the window is: back and forth within the area.
fn bounce(code: u16) -> (i16, i16) {
    let fold = |at: i32, room: i32| {
        let at = at % (2 * room);
        i16::try_from(at.min(2 * room - at)).unwrap_or(0)
    };
    let room = |all: u16, window: u16| i32::from(all) - i32::from(window) - 1;
    let code = i32::from(code);
    (
        fold(code * DRAG_STEP.0, room(AREA.width, WINDOW.0)),
        fold(code * DRAG_STEP.1, room(AREA.height - HEIGHT, WINDOW.1)),
    )
}

/// Moves a rectangle below the code.
fn below(area: Rectangle) -> Rectangle {
    Rectangle {
        y: area.y + HEIGHT.cast_signed(),
        ..area
    }
}

fn text_line(canvas: &Canvas, x: i16, line: u16, seed: usize, chars: usize) -> Result<()> {
    let ink = Ink {
        pixel: INKS[seed * 7 % INKS.len()],
        paper: PAPER,
    };
    let y = (HEIGHT + line * LINE_HEIGHT).cast_signed() + BASELINE;
    canvas.write(ink, x + 4, y, &words(seed, chars))
}

/// Words of a log, another line for another seed.
fn words(seed: usize, chars: usize) -> String {
    let len = chars * (seed * 13 % 7 + 3) / 10;
    let mut line = format!("{seed:05} ");
    for index in 0.. {
        if line.len() >= len {
            break;
        }
        let mixed = (seed * 31 + index * 17) ^ (seed * index);
        line.push_str(WORDS[mixed % WORDS.len()]);
        line.push(' ');
    }
    line.truncate(len);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dragged_window_stays_inside_and_moves_at_every_step() {
        for code in 0..2_000 {
            let (x, y) = bounce(code);
            assert!(
                x >= 0 && x.unsigned_abs() + WINDOW.0 <= AREA.width,
                "{code}: {x}"
            );
            assert!(
                y >= 0 && y.unsigned_abs() + WINDOW.1 + HEIGHT <= AREA.height,
                "{code}: {y}"
            );
            assert_ne!((x, y), bounce(code + 1));
        }
    }

    #[test]
    fn two_lines_of_the_log_differ() {
        assert_ne!(words(3, 100), words(4, 100));
        assert!(words(9, 64).len() <= 64);
    }
}
