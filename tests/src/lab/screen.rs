//! Reads rectangles of a display through MIT-SHM and tells when they change.
#![expect(
    unsafe_code,
    reason = "shared memory with the X server is mapped here and nowhere else"
)]

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::damage::{ConnectionExt as _, ReportLevel};
use x11rb::protocol::shm::{self, ConnectionExt as _};
use x11rb::protocol::xproto::{ImageFormat, Rectangle};
use x11rb::rust_connection::RustConnection;

use super::pattern::Pixels;

/// One display as a camera sees it.
pub struct Screen {
    connection: RustConnection,
    root: u32,
    pub width: u16,
    pub height: u16,
    memory: Memory,
}

impl Screen {
    pub fn open(display: &str) -> Result<Self> {
        let (connection, number) = x11rb::connect(Some(display))
            .with_context(|| format!("no X server answers at {display}"))?;
        let screen = &connection.setup().roots[number];
        let (root, width, height) = (screen.root, screen.width_in_pixels, screen.height_in_pixels);
        if screen.root_depth != 24 {
            bail!(
                "{display} has depth {}; the laboratory reads depth 24",
                screen.root_depth
            );
        }
        let memory =
            Memory::shared_with(&connection, usize::from(width) * usize::from(height) * 4)?;
        Ok(Self {
            connection,
            root,
            width,
            height,
            memory,
        })
    }

    /// Asks to be told of every change from now on.
    pub fn watch(&self) -> Result<()> {
        self.connection.damage_query_version(1, 1)?.reply()?;
        let damage = self.connection.generate_id()?;
        self.connection
            .damage_create(damage, self.root, ReportLevel::RAW_RECTANGLES)?
            .check()?;
        Ok(())
    }

    /// Waits until something inside `area` changed.
    pub fn wait_for_change(&self, area: Rectangle) -> Result<()> {
        loop {
            let mut event = Some(self.connection.wait_for_event()?);
            let mut changed = false;
            while let Some(one) = event {
                changed |= matches!(one, Event::DamageNotify(notify) if overlap(notify.area, area));
                event = self.connection.poll_for_event()?;
            }
            if changed {
                return Ok(());
            }
        }
    }

    /// Whether something inside `area` changed since the last look; does not wait.
    pub fn has_changed(&self, area: Rectangle) -> Result<bool> {
        let mut changed = false;
        while let Some(event) = self.connection.poll_for_event()? {
            changed |= matches!(event, Event::DamageNotify(notify) if overlap(notify.area, area));
        }
        Ok(changed)
    }

    /// The whole display.
    pub fn area(&self) -> Rectangle {
        Rectangle {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        }
    }

    /// The pixels of a rectangle, which is cut to the display.
    pub fn read(&mut self, area: Rectangle) -> Result<Pixels<'_>> {
        let x = area.x.clamp(0, self.width.cast_signed() - 1);
        let y = area.y.clamp(0, self.height.cast_signed() - 1);
        let width = area.width.min(self.width - x.cast_unsigned());
        let height = area.height.min(self.height - y.cast_unsigned());
        let format = ImageFormat::Z_PIXMAP.into();
        self.connection
            .shm_get_image(
                self.root,
                x,
                y,
                width,
                height,
                u32::MAX,
                format,
                self.memory.segment,
                0,
            )?
            .reply()?;
        let (width, height) = (usize::from(width), usize::from(height));
        Ok(Pixels {
            bytes: &self.memory.bytes()[..width * height * 4],
            width,
            height,
        })
    }
}

fn overlap(a: Rectangle, b: Rectangle) -> bool {
    let apart = |a: i16, a_len: u16, b: i16, b_len: u16| {
        i32::from(a) + i32::from(a_len) <= i32::from(b)
            || i32::from(b) + i32::from(b_len) <= i32::from(a)
    };
    !apart(a.x, a.width, b.x, b.width) && !apart(a.y, a.height, b.y, b.height)
}

/// A segment the X server writes to while we wait for its reply.
struct Memory {
    segment: shm::Seg,
    start: *mut libc::c_void,
    len: usize,
}

impl Memory {
    fn shared_with(connection: &RustConnection, len: usize) -> Result<Self> {
        let segment = connection.generate_id()?;
        let size = u32::try_from(len).context("the display is too large")?;
        let reply = connection
            .shm_create_segment(segment, size, false)?
            .reply()
            .context("the X server has no MIT-SHM 1.2")?;
        // SAFETY: a fresh mapping of `len` bytes of a descriptor that the server made that long.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                reply.shm_fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            bail!(
                "cannot map {len} bytes shared with the X server: {}",
                std::io::Error::last_os_error()
            );
        }
        Ok(Self {
            segment,
            start,
            len,
        })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as `self`; the server writes only while `Screen::read`,
        // which borrows the screen mutably, waits for its reply.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: unmaps what `shared_with` mapped; no slice of it outlives `self`.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

// SAFETY: the mapping belongs to whoever owns the value; nothing in it is tied to a thread.
unsafe impl Send for Memory {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_that_only_touch_do_not_overlap() {
        let at = |x| Rectangle {
            x,
            y: 0,
            width: 10,
            height: 10,
        };
        assert!(overlap(at(0), at(9)));
        assert!(!overlap(at(0), at(10)));
    }
}
