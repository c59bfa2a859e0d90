//! libpulse's structures (`pulse/sample.h`, `pulse/def.h`) and the one format we speak with it.

use std::ffi::c_int;

use crate::sound::{CHANNELS, SAMPLES_PER_SECOND};

/// `PA_SAMPLE_S16LE`.
const FORMAT_S16LE: c_int = 3;
/// Left to the server.
pub const UNSET: u32 = u32::MAX;

/// `pa_sample_spec`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SampleSpec {
    format: c_int,
    rate: u32,
    channels: u8,
}

impl SampleSpec {
    /// That of [`sound`](crate::sound).
    pub const OURS: Self = Self {
        format: FORMAT_S16LE,
        rate: SAMPLES_PER_SECOND,
        channels: CHANNELS as u8,
    };
}

/// `pa_buffer_attr`, in bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BufferAttr {
    pub maxlength: u32,
    pub tlength: u32,
    pub prebuf: u32,
    pub minreq: u32,
    pub fragsize: u32,
}
