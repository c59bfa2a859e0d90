//! An encoder of libavcodec: options by name, then one packet for each frame.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use super::{AGAIN, Frame, Libav, RawPacket, SEARCH_CHILDREN, Surfaces, c_string};

/// An `AVCodecContext` with its packet.
pub struct Context {
    libav: &'static Libav,
    raw: *mut c_void,
    packet: *mut RawPacket,
}

// SAFETY: a context may be used from any thread, by one at a time; `&mut self` sees to that.
unsafe impl Send for Context {}

impl Context {
    /// The encoder FFmpeg calls `name`, not opened yet.
    ///
    /// # Errors
    ///
    /// This FFmpeg was built without it.
    pub fn new(libav: &'static Libav, name: &str) -> Result<Self, String> {
        let name_c = c_string(name)?;
        // SAFETY: the name ends with NUL; what is found is static.
        let codec = unsafe { (libav.call.avcodec_find_encoder_by_name)(name_c.as_ptr()) };
        if codec.is_null() {
            return Err(format!("the installed FFmpeg was built without {name}"));
        }
        // SAFETY: both allocate, or give null, which their functions to free take too.
        let context = unsafe {
            Self {
                libav,
                raw: (libav.call.avcodec_alloc_context3)(codec),
                packet: (libav.call.av_packet_alloc)(),
            }
        };
        if context.raw.is_null() || context.packet.is_null() {
            return Err("no memory for an encoder".into());
        }
        Ok(context)
    }

    /// # Errors
    ///
    /// There is no such option, or it does not take that value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let [name_c, value_c] = [c_string(name)?, c_string(value)?];
        // SAFETY: the strings end with NUL and are copied.
        let result = self.libav.check(|call| unsafe {
            (call.av_opt_set)(self.raw, name_c.as_ptr(), value_c.as_ptr(), SEARCH_CHILDREN)
        });
        result.map_err(|why| format!("it does not take {name}={value} ({why})"))
    }

    /// Frames will come from `surfaces`. Before [`Context::open`].
    ///
    /// # Errors
    ///
    /// This libavcodec keeps the pointer elsewhere.
    pub fn use_surfaces(&mut self, surfaces: &Surfaces) -> Result<(), String> {
        let field = self.surfaces_field()?;
        // SAFETY: `surfaces_field` found the place, which is empty; the reference given to it is
        // one more, and the context frees it.
        unsafe {
            let reference = (self.libav.call.av_buffer_ref)(surfaces.raw());
            if reference.is_null() {
                return Err("no memory for a reference to surfaces".into());
            }
            field.write(reference.cast());
        }
        Ok(())
    }

    /// Where `hw_frames_ctx` is. It is no option, but its neighbours are, and they say where they
    /// are: in 59 and 60 `max_pixels` follows after one more field, then `hw_device_ctx` and
    /// `hwaccel_flags`; in 61 `hw_device_ctx` follows, then `hwaccel_flags` and `extra_hw_frames`.
    fn surfaces_field(&self) -> Result<*mut *mut c_void, String> {
        let other = || "its structures are laid out differently".to_owned();
        let flags = self.offset_of("hwaccel_flags").ok_or_else(other)?;
        let (offset, is_known) = match self.libav.major {
            59 | 60 => (
                flags.checked_sub(32),
                self.offset_of("max_pixels") == flags.checked_sub(16),
            ),
            61 => (
                flags.checked_sub(16),
                self.offset_of("extra_hw_frames") == flags.checked_add(4),
            ),
            _ => (None, false),
        };
        let offset = offset.filter(|_| is_known).ok_or_else(other)?;
        // SAFETY: inside the structure, before a field it has, at a multiple of eight.
        let field = unsafe { self.raw.byte_add(offset).cast::<*mut c_void>() };
        // SAFETY: as above.
        if !offset.is_multiple_of(8) || !unsafe { field.read() }.is_null() {
            return Err(other());
        }
        Ok(field)
    }

    /// Where an option is kept in the context.
    fn offset_of(&self, name: &str) -> Option<usize> {
        let name_c = c_string(name).ok()?;
        // SAFETY: the name ends with NUL; what is found is static or null.
        let option = unsafe {
            (self.libav.call.av_opt_find)(self.raw, name_c.as_ptr(), ptr::null(), 0, 0).as_ref()
        };
        usize::try_from(option?.offset).ok()
    }

    /// From now on frames are taken, and most options no longer.
    ///
    /// # Errors
    ///
    /// Why not, in FFmpeg's words.
    pub fn open(&mut self) -> Result<(), String> {
        // SAFETY: the context knows its codec since `new`, so none is named here.
        self.libav
            .check(|call| unsafe { (call.avcodec_open2)(self.raw, ptr::null(), ptr::null_mut()) })
    }

    /// # Errors
    ///
    /// Why not, in FFmpeg's words; or the encoder gave no packet, or more than one.
    pub fn encode(&mut self, frame: &Frame) -> Result<Arc<[u8]>, String> {
        // SAFETY: both are ours; the encoder takes its own reference of what it keeps.
        self.libav
            .check(|call| unsafe { (call.avcodec_send_frame)(self.raw, frame.raw) })?;
        let packet = self.receive()?;
        let packet = packet.ok_or("it keeps frames back instead of coding each at once")?;
        match self.receive()? {
            None => Ok(packet),
            Some(_) => Err("it gave two packets for one frame".into()),
        }
    }

    fn receive(&mut self) -> Result<Option<Arc<[u8]>>, String> {
        let mut result: c_int = 0;
        // SAFETY: both are ours; the packet is emptied first by FFmpeg.
        let received = self.libav.check(|call| {
            result = unsafe { (call.avcodec_receive_packet)(self.raw, self.packet) };
            result
        });
        if result == AGAIN {
            return Ok(None);
        }
        received?;
        // SAFETY: FFmpeg gave a packet: `size` bytes at `data`, until it is emptied.
        let bytes = unsafe {
            let packet = &*self.packet;
            let size = usize::try_from(packet.size).unwrap_or(0);
            let bytes: Arc<[u8]> = match packet.data.is_null() {
                true => Arc::from([]),
                false => Arc::from(std::slice::from_raw_parts(packet.data, size)),
            };
            (self.libav.call.av_packet_unref)(self.packet);
            bytes
        };
        Ok(Some(bytes))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once; null is taken too.
        unsafe {
            (self.libav.call.av_packet_free)(&raw mut self.packet);
            (self.libav.call.avcodec_free_context)(&raw mut self.raw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_that_is_not_built_in_is_named() {
        let error = Context::new(Libav::load().unwrap(), "h264_abacus").err();
        assert_eq!(
            error.as_deref(),
            Some("the installed FFmpeg was built without h264_abacus")
        );
    }

    #[test]
    fn an_option_or_value_it_does_not_know_is_named() {
        let mut context = Context::new(Libav::load().unwrap(), "libx264").unwrap();
        assert_eq!(context.set("g", "12"), Ok(()));
        assert_eq!(context.set("preset", "ultrafast"), Ok(()));
        let error = context.set("colour", "red").unwrap_err();
        assert!(error.contains("colour=red"), "{error}");
        let error = context.set("g", "many").unwrap_err();
        assert!(error.contains("g=many"), "{error}");
    }

    #[test]
    fn the_place_for_surfaces_is_found_by_its_neighbours() {
        let context = Context::new(Libav::load().unwrap(), "h264_vaapi").unwrap();
        assert!(context.surfaces_field().is_ok());
    }
}
