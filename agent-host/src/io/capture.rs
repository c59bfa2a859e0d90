//! The X screen as a source of pixels: XDamage says where something changed, MIT-SHM reads just
//! that, XFixes tells the shape of the pointer, RandR the size.
//!
//! Rule: a request is made only because the screen changed or somebody came to watch. Damage that
//! the server reported before it answered a read of the same place is part of that read and is
//! not served twice.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use anyhow::Context as _;
use protocol::control::{CURSOR_EDGE_MAX, FromHost};
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::cookie::Cookie;
use x11rb::protocol::Event;
use x11rb::protocol::damage::{self, ConnectionExt as _, ReportLevel};
use x11rb::protocol::shm::{self, ConnectionExt as _};
use x11rb::protocol::xfixes::{self, ConnectionExt as _, CursorNotifyMask};
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ConnectionExt as _, EventMask, GetImageReply, ImageFormat,
    ImageOrder, Screen as Root, Window,
};
use x11rb::rust_connection::RustConnection;

use crate::chroma::Detail;
use crate::damage::Rect;
use crate::io::shm::Segment;
use crate::picture::Picture;
use crate::strips::{self, Strip};

/// All planes of a pixel.
const ALL_PLANES: u32 = !0;

/// One X screen.
pub struct Screen {
    conn: RustConnection,
    root: Window,
    width: u32,
    height: u32,
    damage: Option<damage::Damage>,
    segment: Option<Segment>,
    /// What the last read covered, each with the sequence number of its request.
    read: Vec<(Rect, u64)>,
}

/// What the screen tells.
#[derive(Debug, PartialEq, Eq)]
pub enum ScreenEvent {
    Damaged(Rect),
    CursorChanged,
    Resized,
}

/// When the stages of one read ended.
#[derive(Clone, Copy, Debug)]
pub struct ReadTimes {
    pub begun: Instant,
    pub read: Instant,
    pub converted: Instant,
}

impl Screen {
    /// # Errors
    ///
    /// No such display, or one without XDamage, XFixes or 32-bit pixels.
    pub fn connect(display: &str) -> anyhow::Result<Self> {
        let (conn, number) = RustConnection::connect(Some(display))?;
        let root = conn.setup().roots.get(number).context("no such screen")?;
        check_pixels(&conn, root)?;
        let (root, width, height) = (root.root, root.width_in_pixels, root.height_in_pixels);
        for extension in [damage::X11_EXTENSION_NAME, xfixes::X11_EXTENSION_NAME] {
            conn.extension_information(extension)?
                .with_context(|| format!("the X server has no {extension} extension"))?;
        }
        conn.damage_query_version(1, 1)?.reply()?;
        conn.xfixes_query_version(5, 0)?.reply()?;
        conn.xfixes_select_cursor_input(root, CursorNotifyMask::DISPLAY_CURSOR)?;
        let structure = ChangeWindowAttributesAux::new().event_mask(EventMask::STRUCTURE_NOTIFY);
        conn.change_window_attributes(root, &structure)?;
        let mut screen = Self {
            conn,
            root,
            width: width.into(),
            height: height.into(),
            damage: None,
            segment: None,
            read: Vec::new(),
        };
        screen.make_segment();
        screen.conn.flush()?;
        Ok(screen)
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    /// The whole screen, without the last row or column if that is odd.
    pub fn whole(&self) -> Rect {
        Rect::new(0, 0, self.width & !1, self.height & !1)
    }

    pub fn is_shared(&self) -> bool {
        self.segment.is_some()
    }

    /// Readable when there may be events.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.conn.stream().as_fd()
    }

    /// Damage is reported from now on, or no more: unwatched, even a busy screen costs nothing.
    pub fn watch(&mut self, watched: Watched) -> anyhow::Result<()> {
        match (watched, self.damage) {
            (Watched::Yes, None) => {
                let id = self.conn.generate_id()?;
                let level = ReportLevel::RAW_RECTANGLES;
                self.conn.damage_create(id, self.root, level)?;
                self.damage = Some(id);
            }
            (Watched::No, Some(id)) => {
                self.conn.damage_destroy(id)?;
                self.damage = None;
            }
            (Watched::Yes, Some(_)) | (Watched::No, None) => {}
        }
        self.conn.flush()?;
        Ok(())
    }

    /// What the server told, until there is nothing more.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn poll_event(&mut self) -> anyhow::Result<Option<ScreenEvent>> {
        while let Some((event, sequence)) = self.conn.poll_for_event_with_sequence()? {
            let event = match event {
                Event::DamageNotify(notify) => self.damaged(&notify, sequence),
                Event::XfixesCursorNotify(_) => Some(ScreenEvent::CursorChanged),
                Event::ConfigureNotify(notify) if notify.window == self.root => {
                    self.resized(notify.width, notify.height)
                }
                _ => None,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn damaged(&self, notify: &damage::NotifyEvent, sequence: u64) -> Option<ScreenEvent> {
        let area = notify.area;
        let edge = |n: i16| u32::try_from(n).unwrap_or(0);
        let rect = Rect::new(
            edge(area.x),
            edge(area.y),
            area.width.into(),
            area.height.into(),
        );
        let rect = rect.clipped_even(self.whole().width, self.whole().height);
        let was_read = |&(read, at): &(Rect, u64)| sequence < at && read.contains(rect);
        if rect.is_empty() || self.read.iter().any(was_read) {
            return None;
        }
        Some(ScreenEvent::Damaged(rect))
    }

    fn resized(&mut self, width: u16, height: u16) -> Option<ScreenEvent> {
        let (width, height) = (u32::from(width), u32::from(height));
        if (width, height) == (self.width, self.height) {
            return None;
        }
        (self.width, self.height) = (width, height);
        self.read.clear();
        self.make_segment();
        Some(ScreenEvent::Resized)
    }

    /// Reads the boxes into the picture.
    ///
    /// # Errors
    ///
    /// The connection is gone, or the screen became smaller than a box meanwhile.
    pub fn read(&mut self, boxes: &[Rect], picture: &mut Picture) -> anyhow::Result<ReadTimes> {
        let begun = Instant::now();
        self.read.clear();
        let Some(segment) = &self.segment else {
            return self.read_socket(begun, boxes, picture);
        };
        let read = self.read_shared(segment, boxes, |rect, pixels| {
            Ok(picture.handle_pixels(rect, pixels)?)
        })?;
        self.read = boxes.iter().map(|&rect| (rect, read.sequence)).collect();
        Ok(ReadTimes {
            begun,
            read: read.at,
            converted: Instant::now(),
        })
    }

    /// Whether the screen holds colours that 4:2:0 smears. Takes the time of a read of all of it.
    ///
    /// # Errors
    ///
    /// The connection is gone, or the screen became smaller meanwhile.
    pub fn is_detailed(&self) -> anyhow::Result<bool> {
        let whole = self.whole();
        let mut detail = Detail::default();
        match &self.segment {
            // Into no picture: the damage under it is still to be served.
            Some(segment) => {
                self.read_shared(segment, &[whole], |rect, pixels| {
                    detail.handle_pixels(rect, pixels);
                    Ok(())
                })?;
            }
            None => detail.handle_pixels(whole, &self.ask_image(whole)?.reply()?.data),
        }
        Ok(detail.is_enough())
    }

    /// Gives `take` the pixels of the boxes, strip by strip. Small boxes are asked for before the first
    /// answer is awaited; of large ones the server writes the next load while one is taken.
    fn read_shared(
        &self,
        segment: &Segment,
        boxes: &[Rect],
        mut take: impl FnMut(Rect, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<SharedRead> {
        let half_len = segment.len_bytes() / 2;
        let loads = strips::loads(boxes, half_len);
        let (mut at, mut sequence) = (Instant::now(), u64::MAX);
        let ask = |number: usize| {
            let base = number % 2 * half_len;
            let load = loads.get(number).map_or(&[][..], Vec::as_slice);
            let strips = load
                .iter()
                .map(|&strip| self.ask_strip(segment, base, strip));
            strips.collect::<anyhow::Result<Vec<_>>>()
        };
        let mut asked = ask(0)?;
        for (number, load) in loads.iter().enumerate() {
            let next = ask(number + 1)?;
            for cookie in std::mem::replace(&mut asked, next) {
                sequence = sequence.min(cookie.sequence_number());
                cookie.reply()?;
            }
            at = Instant::now();
            for strip in load {
                let begin = number % 2 * half_len + strip.offset;
                let pixels = segment.bytes(begin..begin + strip.len_bytes());
                take(strip.rect, pixels.context("a strip lies in its half")?)?;
            }
        }
        Ok(SharedRead { at, sequence })
    }

    fn ask_strip(
        &self,
        segment: &Segment,
        base: usize,
        strip: Strip,
    ) -> anyhow::Result<Cookie<'_, RustConnection, shm::GetImageReply>> {
        let (x, y, width, height) = on_the_wire(strip.rect);
        let offset = u32::try_from(base + strip.offset)?;
        let format = ImageFormat::Z_PIXMAP.into();
        let (root, id) = (self.root, segment.id());
        Ok(self
            .conn
            .shm_get_image(root, x, y, width, height, ALL_PLANES, format, id, offset)?)
    }

    fn ask_image(&self, rect: Rect) -> anyhow::Result<Cookie<'_, RustConnection, GetImageReply>> {
        let (x, y, width, height) = on_the_wire(rect);
        let format = ImageFormat::Z_PIXMAP;
        Ok(self
            .conn
            .get_image(format, self.root, x, y, width, height, ALL_PLANES)?)
    }

    /// Without shared memory: the pixels come through the socket, twenty times slower.
    fn read_socket(
        &mut self,
        begun: Instant,
        boxes: &[Rect],
        picture: &mut Picture,
    ) -> anyhow::Result<ReadTimes> {
        for &rect in boxes {
            let cookie = self.ask_image(rect)?;
            let sequence = cookie.sequence_number();
            let pixels = cookie.reply()?.data;
            self.read.push((rect, sequence));
            picture.handle_pixels(rect, &pixels)?;
        }
        let at = Instant::now();
        Ok(ReadTimes {
            begun,
            read: at,
            converted: at,
        })
    }

    /// The pointer's shape as the viewer wants it.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn cursor(&self) -> anyhow::Result<FromHost> {
        let image = self.conn.xfixes_get_cursor_image()?.reply()?;
        let width = image.width.min(CURSOR_EDGE_MAX);
        let height = image.height.min(CURSOR_EDGE_MAX);
        if image.cursor_image.iter().all(|pixel| pixel >> 24 == 0) {
            return Ok(FromHost::CursorHidden);
        }
        let rows = image.cursor_image.chunks(image.width.max(1).into());
        let pixels = rows
            .take(height.into())
            .flat_map(|row| row.iter().take(width.into()));
        Ok(FromHost::Cursor {
            width,
            height,
            hot_x: image.xhot.min(width - 1),
            hot_y: image.yhot.min(height - 1),
            rgba: pixels.flat_map(|&pixel| straight_rgba(pixel)).collect(),
        })
    }

    fn make_segment(&mut self) {
        let len = strips::half_len(self.width) * 2;
        if self.segment.as_ref().is_some_and(|s| s.len_bytes() >= len) {
            return;
        }
        self.segment = match Segment::create(&self.conn, len) {
            Ok(segment) => Some(segment),
            Err(error) => {
                tracing::warn!(%error, "pixels go through the socket, not shared memory: slow");
                None
            }
        };
    }
}

/// Whether somebody looks at the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    Yes,
    No,
}

/// A read through shared memory.
struct SharedRead {
    /// When the last pixels were there.
    at: Instant,
    /// Of its first request: damage that was told before is part of it.
    sequence: u64,
}

fn on_the_wire(rect: Rect) -> (i16, i16, u16, u16) {
    let [x, y] = [rect.x, rect.y].map(|n| i16::try_from(n).unwrap_or(i16::MAX));
    let [width, height] = [rect.width, rect.height].map(|n| u16::try_from(n).unwrap_or(u16::MAX));
    (x, y, width, height)
}

/// XFixes gives premultiplied ARGB; browsers and our viewer want straight RGBA.
fn straight_rgba(argb: u32) -> [u8; 4] {
    let [alpha, red, green, blue] = argb.to_be_bytes();
    let straight = |c: u8| match alpha {
        0 => 0,
        a => u8::try_from(u32::from(c) * 255 / u32::from(a)).unwrap_or(255),
    };
    [straight(red), straight(green), straight(blue), alpha]
}

/// Colour conversion knows one layout: four bytes, blue first. Every server of this century has it.
fn check_pixels(conn: &RustConnection, root: &Root) -> anyhow::Result<()> {
    let setup = conn.setup();
    let four_bytes = setup
        .pixmap_formats
        .iter()
        .any(|f| f.depth == root.root_depth && f.bits_per_pixel == 32);
    let visuals = root.allowed_depths.iter().flat_map(|d| &d.visuals);
    let blue_first = visuals
        .filter(|v| v.visual_id == root.root_visual)
        .any(|v| v.red_mask == 0xFF_0000 && v.blue_mask == 0xFF);
    let little_endian = setup.image_byte_order == ImageOrder::LSB_FIRST;
    anyhow::ensure!(
        four_bytes && blue_first && little_endian,
        "the screen has {} bits per pixel in a layout other than BGRX; start the X server with \
         depth 24",
        root.root_depth
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_transparent_pixel_gets_its_full_colour_back() {
        assert_eq!(straight_rgba(0x8040_2000), [127, 63, 0, 128]);
        assert_eq!(straight_rgba(0x00FF_FFFF), [0, 0, 0, 0]);
        assert_eq!(straight_rgba(0xFF01_0203), [1, 2, 3, 255]);
    }
}
