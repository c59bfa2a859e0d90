//! OpenH264, bundled: the decoder that is always there.

use openh264::decoder::{DecodeOptions, Decoder as Engine, Flush};
use openh264::formats::YUVSource as _;

use crate::decode::{Chroma, DecodeError, Decoder, Picture};

pub(super) struct OpenH264(Engine);

impl OpenH264 {
    /// # Errors
    ///
    /// The library could not be set up.
    pub(super) fn new() -> Result<Self, DecodeError> {
        Engine::new().map(Self).map_err(|error| refused(&error))
    }
}

impl Decoder for OpenH264 {
    fn name(&self) -> &'static str {
        "openh264"
    }

    fn decode(
        &mut self,
        access_unit: &[u8],
        show: &mut dyn FnMut(&Picture<'_>),
    ) -> Result<(), DecodeError> {
        // The stream has no reordering: each picture comes out with its own frame.
        let options = DecodeOptions::new().flush_after_decode(Flush::Flush);
        let decoded = self.0.decode_with_options(access_unit, options);
        let Some(yuv) = decoded.map_err(|error| refused(&error))? else {
            return Ok(());
        };
        let (width, height) = yuv.dimensions();
        let (y_stride, uv_stride, _) = yuv.strides();
        let size = |n: usize| u32::try_from(n).map_err(|_| DecodeError("absurd size".into()));
        show(&Picture {
            width: size(width)?,
            height: size(height)?,
            chroma: Chroma::I420,
            y: yuv.y(),
            u: yuv.u(),
            v: yuv.v(),
            y_stride: size(y_stride)?,
            uv_stride: size(uv_stride)?,
        });
        Ok(())
    }
}

fn refused(error: &openh264::Error) -> DecodeError {
    DecodeError(error.to_string())
}
