//! Draws the strip on a desktop: at random moments, and at once when it is clicked.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::{SeedableRng as _, rngs::StdRng};
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    ConnectionExt as _, CreateGCAux, CreateWindowAux, EventMask, Gcontext, ImageFormat, Window,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use super::super::media::unix_us;
use crate::load::arrivals::exponential;
use crate::load::strip::{CELL, COLUMNS, Click, HEIGHT, Strip, WIDTH};

/// Mean of the random pause between two pictures, and the shortest: in step with no tick.
const PAUSE_MEAN: Duration = Duration::from_millis(150);
const PAUSE_MIN: Duration = Duration::from_millis(60);

/// Events on their way to the drawing thread; when full, the X server waits.
const EVENTS_MAX: usize = 64;

/// A window with the strip.
pub(super) struct StripWindow {
    conn: Arc<RustConnection>,
    window: Window,
    gc: Gcontext,
    depth: u8,
    strip: Strip,
    random: StdRng,
}

impl StripWindow {
    /// # Errors
    ///
    /// No X server answers, or it is not one of 24-bit colours.
    pub(super) fn open(display: &str, corner: (u32, u32), seed: u64) -> anyhow::Result<Self> {
        let (conn, number) = RustConnection::connect(Some(display))
            .with_context(|| format!("no X server answers at {display}"))?;
        let screen = conn.setup().roots.get(number).context("no such screen")?;
        let (root, depth) = (screen.root, screen.root_depth);
        anyhow::ensure!(matches!(depth, 24 | 32), "the screen has no 24-bit colours");
        let corner = [corner.0, corner.1].map(i16::try_from);
        let [Ok(x), Ok(y)] = corner else {
            anyhow::bail!("the strip's corner is outside of any screen");
        };
        let [window, gc] = [conn.generate_id()?, conn.generate_id()?];
        let look = CreateWindowAux::new()
            .override_redirect(1)
            .event_mask(EventMask::BUTTON_PRESS | EventMask::EXPOSURE);
        let class = WindowClass::INPUT_OUTPUT;
        conn.create_window(depth, window, root, x, y, WIDTH, HEIGHT, 0, class, 0, &look)?
            .check()?;
        conn.create_gc(gc, window, &CreateGCAux::new().graphics_exposures(0))?;
        conn.map_window(window)?;
        conn.sync()?;
        Ok(Self {
            conn: Arc::new(conn),
            window,
            gc,
            depth,
            strip: Strip::default(),
            random: StdRng::seed_from_u64(seed),
        })
    }

    /// Draws until the display goes away.
    ///
    /// # Errors
    ///
    /// It went away.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let (sender, events) = sync_channel(EVENTS_MAX);
        let conn = Arc::clone(&self.conn);
        let listen = move || {
            while let Ok(event) = conn.wait_for_event() {
                if sender.send(event).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("strip-events".into())
            .spawn(listen)?;
        let mut draw_at = Instant::now();
        loop {
            match events.recv_timeout(draw_at.saturating_duration_since(Instant::now())) {
                Ok(event) => self.handle_event(&event)?,
                Err(RecvTimeoutError::Timeout) => {
                    self.draw()?;
                    draw_at = Instant::now() + self.pause();
                }
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the display went away"),
            }
        }
    }

    fn handle_event(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::ButtonPress(press) => {
                let place = [press.event_x, press.event_y].map(u8::try_from);
                if let [Ok(x), Ok(y)] = place {
                    self.strip.handle_click(Click { x, y });
                    self.draw()?;
                }
            }
            Event::Expose(_) => self.draw()?,
            _ => {}
        }
        Ok(())
    }

    /// One request, so that whoever captures the screen sees the old strip or the new one.
    fn draw(&mut self) -> anyhow::Result<()> {
        self.strip.drawn = Strip::stamp(unix_us());
        let pixels = pixels(&self.strip);
        let format = ImageFormat::Z_PIXMAP;
        let (window, gc, depth) = (self.window, self.gc, self.depth);
        self.conn
            .put_image(format, window, gc, WIDTH, HEIGHT, 0, 0, 0, depth, &pixels)?;
        self.conn.flush()?;
        Ok(())
    }

    fn pause(&mut self) -> Duration {
        let mean = (PAUSE_MEAN - PAUSE_MIN).as_secs_f64();
        let more = Duration::try_from_secs_f64(exponential(mean, &mut self.random));
        PAUSE_MIN + more.unwrap_or(PAUSE_MEAN)
    }
}

/// Four bytes each; black and white are the same in every byte order.
fn pixels(strip: &Strip) -> Vec<u8> {
    let side = usize::from(CELL);
    let mut pixels = Vec::with_capacity(usize::from(WIDTH) * usize::from(HEIGHT) * 4);
    for cells in strip.cells() {
        let row: Vec<u8> = (0..COLUMNS * side)
            .flat_map(|x| [if cells[x / side] { 0xff } else { 0 }; 4])
            .collect();
        for _ in 0..side {
            pixels.extend_from_slice(&row);
        }
    }
    pixels
}
