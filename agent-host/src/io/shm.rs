//! Memory shared with the X server (MIT-SHM 1.2, passed as a file descriptor): pixels arrive
//! without going through the socket.

use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use anyhow::Context as _;
use x11rb::connection::Connection as _;
use x11rb::protocol::shm::{self, ConnectionExt as _};
use x11rb::rust_connection::RustConnection;

/// One segment, mapped here and attached in the server.
pub struct Segment {
    id: shm::Seg,
    memory: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is reached only through `&self` and `&mut self`.
unsafe impl Send for Segment {}

impl Segment {
    /// # Errors
    ///
    /// The server has no MIT-SHM 1.2, is not on this machine, or has no memory left.
    pub fn create(conn: &RustConnection, len: usize) -> anyhow::Result<Self> {
        let version = conn.shm_query_version()?.reply()?;
        let version = (version.major_version, version.minor_version);
        anyhow::ensure!(
            version >= (1, 2),
            "MIT-SHM {version:?} cannot pass descriptors"
        );
        let id = conn.generate_id()?;
        let size = u32::try_from(len).context("a screen this large")?;
        let reply = conn.shm_create_segment(id, size, false)?.reply()?;
        // SAFETY: maps a descriptor the server made with `len` bytes; the mapping outlives the
        // descriptor and is undone in `drop` only.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                reply.shm_fd.as_raw_fd(),
                0,
            )
        };
        anyhow::ensure!(memory != libc::MAP_FAILED, std::io::Error::last_os_error());
        let memory = NonNull::new(memory.cast()).context("mmap gave a null pointer")?;
        Ok(Self { id, memory, len })
    }

    pub fn id(&self) -> shm::Seg {
        self.id
    }

    pub fn len_bytes(&self) -> usize {
        self.len
    }

    /// Part of the bytes; `None` if it is not inside. To be called between the server's answer to the
    /// request that wrote them and the next request that does.
    pub fn bytes(&self, part: Range<usize>) -> Option<&[u8]> {
        let len = part.end.checked_sub(part.start)?;
        if part.end > self.len {
            return None;
        }
        // SAFETY: the part is mapped for as long as `self` lives, and the server writes elsewhere.
        Some(unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(part.start), len) })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: mapped once in `create`, with this length; nothing borrows it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.len) };
    }
}
