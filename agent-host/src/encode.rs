//! H.264 encoders behind one face, and the measured choice between them.
//!
//! Every encoder makes constrained baseline, or High 4:4:4 Predictive of a 4:4:4 picture: Annex B,
//! parameter sets in front of each key frame, no B frames, BT.709 limited range in the VUI. The
//! caller says how each frame is to be coded: kind, quantiser, and which macroblocks are plain
//! copies. Bits per second are the business of [`rate`](crate::rate).

#[cfg(feature = "hardware")]
pub mod ffmpeg;
#[cfg(feature = "hardware")]
pub mod hardware;
#[cfg(feature = "hardware")]
#[expect(
    unsafe_code,
    reason = "FFmpeg's libraries are loaded and called at run time"
)]
pub mod libav;
#[cfg(feature = "io")]
#[expect(
    unsafe_code,
    reason = "OpenH264's bitrate and its chatter can only be changed through its C interface"
)]
pub mod openh264;
#[cfg(feature = "hardware")]
pub mod proof;
#[cfg(feature = "hardware")]
pub mod regions;
#[cfg(feature = "hardware")]
pub mod sps;
#[cfg(feature = "x264")]
#[expect(unsafe_code, reason = "libx264 is loaded and called at run time")]
pub mod x264;

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::control::Chroma;

use crate::damage::Rect;
use crate::picture::Picture;

/// Quantiser of H.264: 0 is lossless, 51 the coarsest; six more halve the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Qp(pub u8);

/// Whether a frame stands on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// An IDR frame: decoding can begin here.
    Key,
    /// Needs every frame since the last key frame.
    Delta,
}

/// How to code a frame.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub kind: FrameKind,
    pub qp: Qp,
    /// For encoders that cannot be told a quantiser.
    pub bitrate_bps: u64,
}

/// Turns pictures into H.264. One per picture size and chroma.
pub trait Encoder: Send {
    fn name(&self) -> EncoderName;

    /// Codes `picture`; `picture.constant()` says which macroblocks did not change.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]: the encoder is of no use any more.
    fn encode(&mut self, picture: &Picture, order: Order) -> Result<Arc<[u8]>, EncodeError>;

    /// Codes what the last frame shows once more, with `qp`. An encoder that codes macroblocks that
    /// did not change again where the frame is finer than the one before takes them for as fine from
    /// then on, and leaves them alone. `None` from all others.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]: the encoder is of no use any more.
    fn settle(&mut self, _qp: Qp) -> Result<Option<Arc<[u8]>>, EncodeError> {
        Ok(None)
    }
}

/// Which encoder; the number crosses the wire in `HostStats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderName {
    X264 = 1,
    OpenH264 = 2,
    /// Graphics of Intel and AMD. Untested on hardware.
    Vaapi = 3,
    /// Graphics of NVIDIA. Untested on hardware.
    Nvenc = 4,
}

impl EncoderName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X264 => "x264",
            Self::OpenH264 => "openh264",
            Self::Vaapi => "vaapi",
            Self::Nvenc => "nvenc",
        }
    }

    /// Whether nobody here has run it on what it is made for.
    pub fn is_untested(self) -> bool {
        matches!(self, Self::Vaapi | Self::Nvenc)
    }

    /// The finest it codes.
    pub fn chroma(self) -> Chroma {
        match self {
            Self::X264 => Chroma::Yuv444,
            Self::OpenH264 | Self::Vaapi | Self::Nvenc => Chroma::Yuv420,
        }
    }
}

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderChoice {
    /// The faster of those that work here, by measurement.
    #[default]
    Auto,
    X264,
    OpenH264,
    Vaapi,
    Nvenc,
}

impl EncoderChoice {
    /// What is tried for it; of equals the first is taken.
    pub fn names(self) -> &'static [EncoderName] {
        use EncoderName::{Nvenc, OpenH264, Vaapi, X264};
        match self {
            Self::Auto => &[Vaapi, Nvenc, X264, OpenH264],
            Self::X264 => &[X264],
            Self::OpenH264 => &[OpenH264],
            Self::Vaapi => &[Vaapi],
            Self::Nvenc => &[Nvenc],
        }
    }
}

/// As written in the configuration and on the command line.
impl std::str::FromStr for EncoderChoice {
    type Err = UnknownEncoder;

    fn from_str(name: &str) -> Result<Self, UnknownEncoder> {
        match name {
            "auto" => Ok(Self::Auto),
            "x264" => Ok(Self::X264),
            "openh264" => Ok(Self::OpenH264),
            "vaapi" => Ok(Self::Vaapi),
            "nvenc" => Ok(Self::Nvenc),
            other => Err(UnknownEncoder(other.into())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no encoder {0:?}; choose auto, x264, openh264, vaapi or nvenc")]
pub struct UnknownEncoder(String);

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("{encoder} is not available: {why}")]
    Unavailable { encoder: &'static str, why: String },
    #[error("{encoder} failed: {why}")]
    Failed { encoder: &'static str, why: String },
}

/// Opens an encoder for pictures of this size and chroma.
///
/// # Errors
///
/// [`EncodeError::Unavailable`] with the reason.
#[cfg(feature = "io")]
pub fn open(
    name: EncoderName,
    width: usize,
    height: usize,
    chroma: Chroma,
) -> Result<Box<dyn Encoder>, EncodeError> {
    if chroma > name.chroma() {
        return Err(EncodeError::Unavailable {
            encoder: name.as_str(),
            why: "it has no 4:4:4".into(),
        });
    }
    match name {
        #[cfg(feature = "x264")]
        EncoderName::X264 => Ok(Box::new(x264::X264::open(width, height, chroma)?)),
        #[cfg(not(feature = "x264"))]
        EncoderName::X264 => Err(EncodeError::Unavailable {
            encoder: "x264",
            why: "this program was built without the feature \"x264\"".into(),
        }),
        EncoderName::OpenH264 => Ok(Box::new(openh264::OpenH264::open(width, height)?)),
        #[cfg(feature = "hardware")]
        EncoderName::Vaapi => hardware::open(hardware::Hardware::Vaapi, width, height),
        #[cfg(feature = "hardware")]
        EncoderName::Nvenc => hardware::open(hardware::Hardware::Nvenc, width, height),
        #[cfg(not(feature = "hardware"))]
        EncoderName::Vaapi | EncoderName::Nvenc => Err(EncodeError::Unavailable {
            encoder: name.as_str(),
            why: "this program was built without the feature \"hardware\"".into(),
        }),
    }
}

/// One line of the measurement at start.
#[derive(Debug)]
pub struct Trial {
    pub name: EncoderName,
    /// Time of a small change; the reason if the encoder does not work here.
    pub result: Result<Duration, EncodeError>,
}

/// Frames each encoder codes in the measurement: a key frame and so many small changes.
const TRIAL_FRAMES: u32 = 9;
/// Small enough to cost little memory, large enough to tell the encoders apart.
const TRIAL_SIZE: (u32, u32) = (960, 544);
/// What they all code.
const TRIAL_CHROMA: Chroma = Chroma::Yuv420;

/// Tries every encoder that may be used.
#[cfg(feature = "io")]
pub fn measure(choice: EncoderChoice, mut clock: impl FnMut() -> Instant) -> Vec<Trial> {
    choice
        .names()
        .iter()
        .map(|&name| Trial {
            name,
            result: open(
                name,
                TRIAL_SIZE.0 as usize,
                TRIAL_SIZE.1 as usize,
                TRIAL_CHROMA,
            )
            .and_then(|mut encoder| try_out(&mut *encoder, &mut clock)),
        })
        .collect()
}

/// The fastest encoder that works.
pub fn fastest(trials: &[Trial]) -> Option<EncoderName> {
    trials
        .iter()
        .filter_map(|t| t.result.as_ref().ok().map(|&time| (time, t.name)))
        .min_by_key(|&(time, _)| time)
        .map(|(_, name)| name)
}

/// A key frame, then a line that moves: the least any of the changes took. On a busy machine the
/// median would be the time of somebody else.
pub fn try_out(
    encoder: &mut dyn Encoder,
    clock: &mut impl FnMut() -> Instant,
) -> Result<Duration, EncodeError> {
    let mut picture = Picture::new(TRIAL_SIZE.0, TRIAL_SIZE.1, TRIAL_CHROMA);
    let mut times = Vec::new();
    for i in 0..TRIAL_FRAMES {
        let rect = Rect::new(32 + 16 * i, 64, 16, 16);
        let pixels = [0xFF_u8, 0xFF, 0xFF, 0].repeat(rect.area() as usize);
        picture
            .handle_pixels(rect, &pixels)
            .map_err(|e| EncodeError::Failed {
                encoder: encoder.name().as_str(),
                why: e.to_string(),
            })?;
        let order = Order {
            kind: if i == 0 {
                FrameKind::Key
            } else {
                FrameKind::Delta
            },
            qp: Qp(24),
            bitrate_bps: 10_000_000,
        };
        picture.plan();
        let begun = clock();
        encoder.encode(&picture, order)?;
        times.push(clock() - begun);
        picture.handle_coded(order.kind, order.qp);
    }
    let changes = times.into_iter().skip(1);
    Ok(changes.min().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(name: EncoderName, ms: Option<u64>) -> Trial {
        let result = ms
            .map(Duration::from_millis)
            .ok_or(EncodeError::Unavailable {
                encoder: name.as_str(),
                why: "missing".into(),
            });
        Trial { name, result }
    }

    #[test]
    fn the_fastest_encoder_that_works_is_chosen() {
        let both = [
            trial(EncoderName::X264, Some(2)),
            trial(EncoderName::OpenH264, Some(9)),
        ];
        assert_eq!(fastest(&both), Some(EncoderName::X264));
        let one = [
            trial(EncoderName::X264, None),
            trial(EncoderName::OpenH264, Some(9)),
        ];
        assert_eq!(fastest(&one), Some(EncoderName::OpenH264));
        assert_eq!(fastest(&[trial(EncoderName::X264, None)]), None);
    }
}

#[cfg(all(test, feature = "io"))]
mod real {
    use super::*;

    /// NAL unit types of an Annex B stream.
    fn nal_types(data: &[u8]) -> Vec<u8> {
        data.windows(4)
            .filter(|w| w[..3] == [0, 0, 1])
            .map(|w| w[3] & 0x1F)
            .collect()
    }

    /// Constrained baseline: profile_idc 66, constraint_set1 set.
    const BASELINE: [u8; 2] = [66, 0x40];
    /// High 4:4:4 Predictive: profile_idc 244.
    #[cfg(feature = "x264")]
    const HIGH_444: [u8; 2] = [244, 0];

    fn check(name: EncoderName, chroma: Chroma, [profile, constraints]: [u8; 2]) {
        let mut encoder = open(name, 320, 192, chroma).unwrap();
        let mut picture = Picture::new(320, 192, chroma);
        let mut code = |picture: &mut Picture, kind| {
            let order = Order {
                kind,
                qp: Qp(24),
                bitrate_bps: 8_000_000,
            };
            picture.plan();
            let data = encoder.encode(picture, order).unwrap();
            picture.handle_coded(kind, order.qp);
            data
        };
        let key = code(&mut picture, FrameKind::Key);
        let types = nal_types(&key);
        assert!(types.starts_with(&[7, 8]), "{types:?}");
        assert!(types.contains(&5), "{types:?}");
        let sps = key.windows(4).position(|w| w == [0, 0, 1, 0x67]).unwrap() + 4;
        assert_eq!(key[sps], profile);
        assert_eq!(key[sps + 1] & constraints, constraints);

        let still = code(&mut picture, FrameKind::Delta);
        assert!(
            nal_types(&still).iter().all(|&t| t == 1),
            "{:?}",
            nal_types(&still)
        );
        assert!(still.len() < 200, "{}", still.len());
        let again = code(&mut picture, FrameKind::Key);
        assert!(nal_types(&again).starts_with(&[7, 8]));
    }

    #[cfg(feature = "x264")]
    #[test]
    fn x264_makes_constrained_baseline_with_headers_in_front_of_each_key_frame() {
        check(EncoderName::X264, Chroma::Yuv420, BASELINE);
    }

    #[cfg(feature = "x264")]
    #[test]
    fn x264_codes_4_4_4_with_new_headers_and_a_still_screen_costs_as_little() {
        check(EncoderName::X264, Chroma::Yuv444, HIGH_444);
    }

    #[test]
    fn openh264_refuses_4_4_4() {
        assert!(open(EncoderName::OpenH264, 320, 192, Chroma::Yuv444).is_err());
    }

    #[test]
    fn openh264_makes_constrained_baseline_with_headers_in_front_of_each_key_frame() {
        check(EncoderName::OpenH264, Chroma::Yuv420, BASELINE);
    }

    #[cfg(feature = "x264")]
    #[test]
    fn x264_codes_with_the_quantiser_it_is_given() {
        // What the choices of quality use.
        let finest_first = [12, 14, 17, 21, 22, 25, 30, 44, 48];
        for kind in [FrameKind::Key, FrameKind::Delta] {
            let sizes = finest_first.map(|qp| {
                let mut encoder = open(EncoderName::X264, 320, 192, Chroma::Yuv420).unwrap();
                let mut picture = Picture::new(320, 192, Chroma::Yuv420);
                let mut code = |picture: &mut Picture, kind| {
                    let (qp, bitrate_bps) = (Qp(qp), 8_000_000);
                    picture.plan();
                    let order = Order {
                        kind,
                        qp,
                        bitrate_bps,
                    };
                    encoder.encode(picture, order).unwrap().len()
                };
                code(&mut picture, FrameKind::Key);
                let (width, height) = (320, 192);
                let noise = |n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8;
                let bgrx: Vec<u8> = (0..width * height * 4).map(noise).collect();
                let all = Rect {
                    x: 0,
                    y: 0,
                    width,
                    height,
                };
                picture.handle_pixels(all, &bgrx).unwrap();
                code(&mut picture, kind)
            });
            assert!(
                sizes.is_sorted_by(|finer, coarser| finer > coarser),
                "{kind:?}: {sizes:?}"
            );
        }
    }

    #[cfg(feature = "x264")]
    #[test]
    fn x264_codes_coarse_parts_again_in_a_finer_frame_unless_it_settled_before() {
        for chroma in [Chroma::Yuv420, Chroma::Yuv444] {
            let (width, height) = (320, 180);
            let mut picture = Picture::new(width, height, chroma);
            let noise = |n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8;
            let bgrx: Vec<u8> = (0..width * height * 4).map(noise).collect();
            let all = Rect::new(0, 0, width, height);
            picture.handle_pixels(all, &bgrx).unwrap();
            let mut encoder = open(EncoderName::X264, 320, 180, chroma).unwrap();
            let mut code = |encoder: &mut dyn Encoder, kind, qp| {
                let order = Order {
                    kind,
                    qp,
                    bitrate_bps: 8_000_000,
                };
                let len = encoder.encode(&picture, order).unwrap().len();
                picture.handle_coded(kind, qp);
                picture.plan();
                len
            };
            let encoder = encoder.as_mut();
            let whole = code(encoder, FrameKind::Key, Qp(44));
            let same = code(encoder, FrameKind::Delta, Qp(44));
            assert!(same < 100, "{chroma:?}: {same}");
            let settled = encoder.settle(Qp(14)).unwrap().unwrap().len();
            // The lowest row of macroblocks has lines that nobody sees and that x264 makes up anew.
            assert!(settled < whole / 3, "{chroma:?}: {settled} of {whole}");
            let after = code(encoder, FrameKind::Delta, Qp(14));
            assert!(after < 100, "{chroma:?}: {after}");
            code(encoder, FrameKind::Delta, Qp(44));
            let again = code(encoder, FrameKind::Delta, Qp(14));
            assert!(again > 2 * whole, "{chroma:?}: {again} after {whole}");
        }
    }
}
