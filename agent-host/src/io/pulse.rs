//! libpulse, loaded at run time: records what a sink plays, from its monitor.
//!
//! No callbacks: [`Recorder::turn`] sleeps until the server has something or the bell rings, then
//! looks at what there is. The stream does not keep the sink awake
//! (`DONT_INHIBIT_AUTO_SUSPEND`): on a server that suspends idle sinks, silence wakes nobody.

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use platform::io::library::{Library, Missing};
use platform::io::pulse::{BufferAttr, SampleSpec, UNSET};
use platform::sound::FRAME_BYTES;

const LIBRARY: &CStr = c"libpulse.so.0";
const PACKAGE: &str = "libpulse0";
const NAME: &CStr = c"MultiClaw agent host";
const STREAM_NAME: &CStr = c"what the viewers hear";

// def.h
const NO_AUTOSPAWN: c_int = 0x1;
const ADJUST_LATENCY: c_int = 0x2000;
const DONT_INHIBIT_AUTO_SUSPEND: c_int = 0x8000;
const CONTEXT_READY: c_int = 4;
const CONTEXT_FAILED: c_int = 5;
const STREAM_READY: c_int = 2;
const STREAM_FAILED: c_int = 3;
/// Bytes the server keeps for us while we are late, a fifth of a second; older ones are lost there.
const KEPT_BYTES_MAX: u32 = 20 * FRAME_BYTES as u32;
/// Descriptors libpulse waits for; it has two.
const POLLED_MAX: usize = 16;

type PollFunc = extern "C" fn(*mut libc::pollfd, c_ulong, c_int, *mut c_void) -> c_int;

/// The functions; the library stays loaded for the life of the process.
#[derive(Clone, Copy)]
pub struct Pulse {
    mainloop_new: unsafe extern "C" fn() -> *mut c_void,
    mainloop_free: unsafe extern "C" fn(*mut c_void),
    mainloop_api: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    mainloop_iterate: unsafe extern "C" fn(*mut c_void, c_int, *mut c_int) -> c_int,
    mainloop_poll_func: unsafe extern "C" fn(*mut c_void, PollFunc, *mut c_void),
    context_new: unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void,
    context_connect:
        unsafe extern "C" fn(*mut c_void, *const c_char, c_int, *const c_void) -> c_int,
    context_state: unsafe extern "C" fn(*const c_void) -> c_int,
    context_errno: unsafe extern "C" fn(*const c_void) -> c_int,
    context_disconnect: unsafe extern "C" fn(*mut c_void),
    context_unref: unsafe extern "C" fn(*mut c_void),
    strerror: unsafe extern "C" fn(c_int) -> *const c_char,
    stream_new: unsafe extern "C" fn(
        *mut c_void,
        *const c_char,
        *const SampleSpec,
        *const c_void,
    ) -> *mut c_void,
    stream_connect_record:
        unsafe extern "C" fn(*mut c_void, *const c_char, *const BufferAttr, c_int) -> c_int,
    stream_state: unsafe extern "C" fn(*const c_void) -> c_int,
    stream_peek: unsafe extern "C" fn(*mut c_void, *mut *const c_void, *mut usize) -> c_int,
    stream_drop: unsafe extern "C" fn(*mut c_void) -> c_int,
    stream_disconnect: unsafe extern "C" fn(*mut c_void) -> c_int,
    stream_unref: unsafe extern "C" fn(*mut c_void),
}

impl Pulse {
    /// # Errors
    ///
    /// [`Missing`]: one sentence that names the package.
    pub fn load() -> Result<Self, Missing> {
        let library = Library::open(LIBRARY, PACKAGE)?;
        // SAFETY: the types are those of pulse/mainloop.h, context.h, stream.h and error.h.
        unsafe {
            Ok(Self {
                mainloop_new: library.function(c"pa_mainloop_new")?,
                mainloop_free: library.function(c"pa_mainloop_free")?,
                mainloop_api: library.function(c"pa_mainloop_get_api")?,
                mainloop_iterate: library.function(c"pa_mainloop_iterate")?,
                mainloop_poll_func: library.function(c"pa_mainloop_set_poll_func")?,
                context_new: library.function(c"pa_context_new")?,
                context_connect: library.function(c"pa_context_connect")?,
                context_state: library.function(c"pa_context_get_state")?,
                context_errno: library.function(c"pa_context_errno")?,
                context_disconnect: library.function(c"pa_context_disconnect")?,
                context_unref: library.function(c"pa_context_unref")?,
                strerror: library.function(c"pa_strerror")?,
                stream_new: library.function(c"pa_stream_new")?,
                stream_connect_record: library.function(c"pa_stream_connect_record")?,
                stream_state: library.function(c"pa_stream_get_state")?,
                stream_peek: library.function(c"pa_stream_peek")?,
                stream_drop: library.function(c"pa_stream_drop")?,
                stream_disconnect: library.function(c"pa_stream_disconnect")?,
                stream_unref: library.function(c"pa_stream_unref")?,
            })
        }
    }
}

/// What the server said, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(String);

/// Whether sound can come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Connecting,
    Recording,
}

/// A connection that records one source. Stays on the thread that made it.
pub struct Recorder {
    pulse: Pulse,
    mainloop: *mut c_void,
    context: *mut c_void,
    /// Null until the server accepted us.
    stream: *mut c_void,
    source: CString,
}

/// What is recorded, and from whom.
#[derive(Clone, Debug)]
pub struct Place {
    /// `None` for the one the environment names.
    pub server: Option<CString>,
    pub source: CString,
}

impl Recorder {
    /// Begins to connect; `bell` wakes [`Recorder::turn`] and
    /// must outlive the recorder.
    ///
    /// # Errors
    ///
    /// [`Lost`]: there is none.
    pub fn connect(pulse: Pulse, place: &Place, bell: BorrowedFd<'_>) -> Result<Self, Lost> {
        // SAFETY: no arguments.
        let mainloop = unsafe { (pulse.mainloop_new)() };
        if mainloop.is_null() {
            return Err(Lost("libpulse has no memory left".into()));
        }
        let bell = bell.as_raw_fd() as usize as *mut c_void;
        // SAFETY: the mainloop is open; the function reads its last argument as a number.
        let context = unsafe {
            (pulse.mainloop_poll_func)(mainloop, poll_with_bell, bell);
            (pulse.context_new)((pulse.mainloop_api)(mainloop), NAME.as_ptr())
        };
        let recorder = Self {
            pulse,
            mainloop,
            context,
            stream: ptr::null_mut(),
            source: place.source.clone(),
        };
        if context.is_null() {
            return Err(Lost("libpulse has no memory left".into()));
        }
        let server = place.server.as_ref();
        let server = server.map_or(ptr::null(), |server| server.as_ptr());
        // SAFETY: the context is open; null means the defaults.
        let begun = unsafe { (pulse.context_connect)(context, server, NO_AUTOSPAWN, ptr::null()) };
        if begun < 0 {
            return Err(recorder.lost());
        }
        Ok(recorder)
    }

    /// Sleeps until the server or the bell has something; `take` gets what was recorded.
    ///
    /// # Errors
    ///
    /// [`Lost`]: the server went away, or has no such source.
    pub fn turn(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<Stage, Lost> {
        // SAFETY: the mainloop is open and only this thread runs it.
        let turned = unsafe { (self.pulse.mainloop_iterate)(self.mainloop, 1, ptr::null_mut()) };
        // SAFETY: the context is open.
        let state = unsafe { (self.pulse.context_state)(self.context) };
        if turned < 0 || state >= CONTEXT_FAILED {
            return Err(self.lost());
        }
        if state < CONTEXT_READY {
            return Ok(Stage::Connecting);
        }
        if self.stream.is_null() {
            self.open_stream()?;
        }
        // SAFETY: the stream is open.
        let state = unsafe { (self.pulse.stream_state)(self.stream) };
        if state >= STREAM_FAILED {
            return Err(self.lost());
        }
        if state < STREAM_READY {
            return Ok(Stage::Connecting);
        }
        self.take_all(take);
        Ok(Stage::Recording)
    }

    fn open_stream(&mut self) -> Result<(), Lost> {
        let spec = SampleSpec::OURS;
        let attr = BufferAttr {
            maxlength: KEPT_BYTES_MAX,
            tlength: UNSET,
            prebuf: UNSET,
            minreq: UNSET,
            fragsize: FRAME_BYTES as u32,
        };
        let flags = ADJUST_LATENCY | DONT_INHIBIT_AUTO_SUSPEND;
        // SAFETY: the context is ready; all that is pointed at lives through the calls, which copy
        // what they keep.
        let begun = unsafe {
            let name = STREAM_NAME.as_ptr();
            self.stream = (self.pulse.stream_new)(self.context, name, &raw const spec, ptr::null());
            if self.stream.is_null() {
                return Err(self.lost());
            }
            let source = self.source.as_ptr();
            (self.pulse.stream_connect_record)(self.stream, source, &raw const attr, flags)
        };
        if begun < 0 {
            return Err(self.lost());
        }
        Ok(())
    }

    fn take_all(&mut self, take: &mut dyn FnMut(&[u8])) {
        loop {
            let (mut data, mut len) = (ptr::null(), 0_usize);
            // SAFETY: the stream is ready. `data` stays valid until the drop below; where it is
            // null with a length there is a hole, which is dropped unseen.
            unsafe {
                let peeked = (self.pulse.stream_peek)(self.stream, &raw mut data, &raw mut len);
                if peeked < 0 || len == 0 {
                    return;
                }
                if !data.is_null() {
                    take(std::slice::from_raw_parts(data.cast(), len));
                }
                (self.pulse.stream_drop)(self.stream);
            }
        }
    }

    fn lost(&self) -> Lost {
        // SAFETY: the context is open; the text is static and ends with NUL.
        let words = unsafe {
            let words = (self.pulse.strerror)((self.pulse.context_errno)(self.context));
            (!words.is_null()).then(|| CStr::from_ptr(words).to_string_lossy().into_owned())
        };
        Lost(words.unwrap_or_else(|| "unknown error".into()))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // SAFETY: each was opened once and is closed once, what uses another before that other.
        unsafe {
            if !self.stream.is_null() {
                (self.pulse.stream_disconnect)(self.stream);
                (self.pulse.stream_unref)(self.stream);
            }
            if !self.context.is_null() {
                (self.pulse.context_disconnect)(self.context);
                (self.pulse.context_unref)(self.context);
            }
            (self.pulse.mainloop_free)(self.mainloop);
        }
    }
}

/// poll(2) for libpulse, that also returns when the bell rings.
extern "C" fn poll_with_bell(
    fds: *mut libc::pollfd,
    count: c_ulong,
    timeout: c_int,
    bell: *mut c_void,
) -> c_int {
    let mut all = [libc::pollfd {
        fd: bell as usize as c_int,
        events: libc::POLLIN,
        revents: 0,
    }; POLLED_MAX];
    let count = usize::try_from(count).map_or(POLLED_MAX - 1, |n| n.min(POLLED_MAX - 1));
    // SAFETY: libpulse gives an array of `count`, which it may give as null when it is empty; the
    // copy has room for one more.
    unsafe {
        if count > 0 {
            ptr::copy_nonoverlapping(fds, all.as_mut_ptr(), count);
        }
        let last = &mut all[count];
        last.fd = bell as usize as c_int;
        last.events = libc::POLLIN;
        let ready = libc::poll(all.as_mut_ptr(), count as c_ulong + 1, timeout);
        if count > 0 {
            ptr::copy_nonoverlapping(all.as_ptr(), fds, count);
        }
        let rang = c_int::from(ready > 0 && all[count].revents != 0);
        ready - rang
    }
}
