//! What FFmpeg says: kept for the sentence of an error instead of printed on stderr.
//!
//! Rule: only the last few lines are kept, of warnings and errors.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use super::Functions;

/// `void (*)(void *, int, const char *, va_list)`. On every 64-bit Linux a `va_list` is passed as
/// one pointer: as an array (x86-64), by reference (AArch64) or being one (RISC-V).
pub(super) type Listener = unsafe extern "C" fn(*mut c_void, c_int, *const c_char, *mut c_void);

type FormatLine = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *const c_char,
    *mut c_void,
    *mut c_char,
    c_int,
    *mut c_int,
);

/// `AV_LOG_WARNING`; what is less grave has a larger number.
const WARNING: c_int = 24;
/// A cause, and what follows from it; when full the oldest goes.
const LINES_MAX: usize = 3;
/// Longer lines are cut.
const LINE_BYTES_MAX: usize = 512;

static FORMAT_LINE: OnceLock<FormatLine> = OnceLock::new();

thread_local! {
    /// Said on this thread: an encoder speaks on the one that called it.
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on nothing of FFmpeg goes to stderr.
pub(super) fn listen(call: &Functions) {
    let _ = FORMAT_LINE.set(call.av_log_format_line);
    // SAFETY: `hear` is of the type FFmpeg declares and may be called on any thread.
    unsafe { (call.av_log_set_callback)(hear) }
}

/// What is said from now on belongs to what comes.
pub(super) fn forget() {
    SAID.with_borrow_mut(Vec::clear);
}

/// The lines since, as one sentence.
pub(super) fn last() -> Option<String> {
    let said = SAID.take();
    (!said.is_empty()).then(|| said.join("; "))
}

unsafe extern "C" fn hear(
    speaker: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: *mut c_void,
) {
    let Some(format_line) = FORMAT_LINE.get().filter(|_| level <= WARNING) else {
        return;
    };
    let mut line: [c_char; LINE_BYTES_MAX] = [0; LINE_BYTES_MAX];
    let mut begins_line: c_int = 0;
    // SAFETY: what FFmpeg gave is passed on as it is, within the call it gave it for; the room is
    // as large as said and ends with NUL.
    let line = unsafe {
        format_line(
            speaker,
            level,
            format,
            arguments,
            line.as_mut_ptr(),
            LINE_BYTES_MAX as c_int,
            &raw mut begins_line,
        );
        CStr::from_ptr(line.as_ptr())
    };
    keep(&line.to_string_lossy());
}

fn keep(line: &str) {
    let line = line.trim();
    if line.is_empty() {
        return;
    }
    tracing::debug!(line, "FFmpeg said");
    // At the end of a thread there is no such place any more.
    let _ = SAID.try_with(|said| {
        let Ok(mut said) = said.try_borrow_mut() else {
            return;
        };
        if said.len() == LINES_MAX {
            said.remove(0);
        }
        said.push(line.to_owned());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_make_a_sentence_and_only_once() {
        forget();
        for line in ["one", "two\n", "", "three", "four"] {
            keep(line);
        }
        assert_eq!(last().as_deref(), Some("two; three; four"));
        assert_eq!(last(), None);
    }
}
