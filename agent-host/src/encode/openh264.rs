//! OpenH264, built into the program: the encoder that is always there.
//!
//! It rates itself (bits per second, not a quantiser per frame) and knows nothing of macroblocks
//! that did not change, so a small change costs it several times what it costs x264.

use std::ffi::c_void;
use std::sync::Arc;

use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile, QpRange,
    RateControlMode, SpsPpsStrategy, UsageType, VuiConfig,
};
use openh264::formats::YUVSource;

use crate::encode::{EncodeError, Encoder, EncoderName, FrameKind, Order};
use crate::picture::Picture;

/// `ENCODER_OPTION_BITRATE`, `ENCODER_OPTION_TRACE_LEVEL` and `SPATIAL_LAYER_ALL` of codec_app_def.h.
const OPTION_BITRATE: i32 = 5;
const OPTION_TRACE_LEVEL: i32 = 25;
const SPATIAL_LAYER_ALL: i32 = 4;
/// Until the first order says otherwise.
const BITRATE_START_BPS: u32 = 10_000_000;

/// One OpenH264 encoder.
pub struct OpenH264 {
    encoder: openh264::encoder::Encoder,
    bitrate_bps: u64,
}

/// `SBitrateInfo` of codec_app_def.h.
#[repr(C)]
struct BitrateInfo {
    layer: i32,
    bitrate: i32,
}

impl OpenH264 {
    /// # Errors
    ///
    /// [`EncodeError::Unavailable`]: a size it cannot code (more than 3840×2160).
    pub fn open(width: usize, height: usize) -> Result<Self, EncodeError> {
        let too_large = width.max(height) > 3840 || width.min(height) > 2160;
        if too_large {
            return Err(unavailable(format!(
                "{width}×{height} is more than its 3840×2160"
            )));
        }
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(BITRATE_START_BPS))
            .max_frame_rate(FrameRate::from_hz(60.0))
            .rate_control_mode(RateControlMode::Bitrate)
            .skip_frames(false)
            .usage_type(UsageType::ScreenContentRealTime)
            .complexity(Complexity::Low)
            .profile(Profile::Baseline)
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            // What screen content allows; anything else it corrects with a line on stderr.
            .scene_change_detect(true)
            .adaptive_quantization(false)
            .background_detection(false)
            // A lowest quantiser of 0 makes it discard the whole range.
            .qp(QpRange::new(14, 44))
            .num_threads(1)
            .vui(VuiConfig::bt709());
        let encoder =
            openh264::encoder::Encoder::with_api_config(OpenH264API::from_source(), config)
                .map_err(|e| unavailable(e.to_string()))?;
        let mut opened = Self {
            encoder,
            bitrate_bps: BITRATE_START_BPS.into(),
        };
        opened.be_quiet();
        Ok(opened)
    }

    /// It prints on stderr while it is set up by the first frame; the log is ours.
    fn be_quiet(&mut self) {
        let mut nothing: u32 = 0;
        let pointer = (&raw mut nothing).cast::<c_void>();
        // SAFETY: the option takes a pointer to a `uint32_t`, read during the call only, and is one
        // of the three that may be set before the encoder is set up.
        unsafe {
            self.encoder
                .raw_api()
                .set_option(OPTION_TRACE_LEVEL, pointer)
        };
    }

    fn set_bitrate(&mut self, bitrate_bps: u64) {
        if bitrate_bps == self.bitrate_bps {
            return;
        }
        let mut info = BitrateInfo {
            layer: SPATIAL_LAYER_ALL,
            bitrate: i32::try_from(bitrate_bps).unwrap_or(i32::MAX),
        };
        let pointer = (&raw mut info).cast::<c_void>();
        // SAFETY: the option takes a pointer to an `SBitrateInfo`, read during the call only. It
        // refuses values out of its range, in which case the rate stays as it was.
        unsafe { self.encoder.raw_api().set_option(OPTION_BITRATE, pointer) };
        self.bitrate_bps = bitrate_bps;
    }
}

impl Encoder for OpenH264 {
    fn name(&self) -> EncoderName {
        EncoderName::OpenH264
    }

    fn encode(&mut self, picture: &Picture, order: Order) -> Result<Arc<[u8]>, EncodeError> {
        if order.kind == FrameKind::Key {
            self.encoder.force_intra_frame();
        }
        let coded = self
            .encoder
            .encode(&Source(picture))
            .map_err(|e| failed(e.to_string()))?;
        if matches!(coded.frame_type(), FrameType::Skip | FrameType::Invalid) {
            return Err(failed("it gave no frame for a picture".into()));
        }
        let data = coded.to_vec();
        // After the frame: before the first one there is no encoder behind the interface yet.
        self.set_bitrate(order.bitrate_bps);
        Ok(Arc::from(data))
    }
}

struct Source<'a>(&'a Picture);

impl YUVSource for Source<'_> {
    fn dimensions(&self) -> (usize, usize) {
        (self.0.width(), self.0.height())
    }

    fn strides(&self) -> (usize, usize, usize) {
        self.0.strides().into()
    }

    fn y(&self) -> &[u8] {
        self.0.planes()[0]
    }

    fn u(&self) -> &[u8] {
        self.0.planes()[1]
    }

    fn v(&self) -> &[u8] {
        self.0.planes()[2]
    }
}

fn unavailable(why: String) -> EncodeError {
    EncodeError::Unavailable {
        encoder: "openh264",
        why,
    }
}

fn failed(why: String) -> EncodeError {
    EncodeError::Failed {
        encoder: "openh264",
        why,
    }
}
