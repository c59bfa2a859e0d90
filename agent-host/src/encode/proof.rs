//! Whether an encoder makes what is promised: shown before hardware nobody here has seen is
//! trusted with a desktop.
//!
//! A key frame, changes, a key frame on demand: each comes at once, is made of the units it should
//! be, and decodes to what went in; and a finer quantiser makes more bytes.

use openh264::decoder::{DecodeOptions, Decoder, Flush};
use openh264::formats::YUVSource as _;

use protocol::control::Chroma;

use crate::damage::Rect;
use crate::encode::{Encoder, FrameKind, Order, Qp, sps};
use crate::picture::Picture;

/// Wide enough for encoders with a least size, small enough to cost little.
const SIZE: (u32, u32) = (640, 352);
/// Far from what noise (8) or swapped colours (20) make; a frame at [`QP`] has over 40.
const PSNR_MIN_DB: f64 = 28.0;
const QP: Qp = Qp(22);
/// Noise at the one has several times the bytes of noise at the other.
const FINE: Qp = Qp(20);
const COARSE: Qp = Qp(40);
/// Enough for any picture of that size.
const BITRATE_BPS: u64 = 20_000_000;

/// Units of H.264 (table 7-1).
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;

/// What is expected of the quantiser of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantiser {
    Obeyed,
    /// The encoder goes by the bitrate.
    Ignored,
}

/// Opens an encoder by `open` and tries it.
///
/// # Errors
///
/// One sentence: what it does otherwise.
pub fn prove(
    quantiser: Quantiser,
    open: impl FnOnce(usize, usize) -> Result<Box<dyn Encoder>, String>,
) -> Result<(), String> {
    let picture = Picture::new(SIZE.0, SIZE.1, Chroma::Yuv420);
    let encoder = open(picture.width(), picture.height())?;
    let decoder = Decoder::new().map_err(|e| e.to_string())?;
    let mut proof = Proof {
        encoder,
        decoder,
        picture,
    };
    proof.draw(Rect::new(0, 0, SIZE.0, SIZE.1), ramp)?;
    proof.frame(FrameKind::Key, QP)?;
    proof.draw(Rect::new(64, 64, 96, 64), |_, _| [255; 4])?;
    proof.frame(FrameKind::Delta, QP)?;
    proof.frame(FrameKind::Delta, QP)?;
    proof.frame(FrameKind::Key, QP)?;
    if quantiser == Quantiser::Obeyed {
        proof.obeys()?;
    }
    Ok(())
}

struct Proof {
    encoder: Box<dyn Encoder>,
    decoder: Decoder,
    picture: Picture,
}

impl Proof {
    fn draw(&mut self, rect: Rect, pixel: fn(u32, u32) -> [u8; 4]) -> Result<(), String> {
        let rows = rect.y..rect.y + rect.height;
        let pixels: Vec<u8> = rows
            .flat_map(|y| (rect.x..rect.x + rect.width).flat_map(move |x| pixel(x, y)))
            .collect();
        let drawn = self.picture.handle_pixels(rect, &pixels);
        drawn.map_err(|e| e.to_string())
    }

    /// Codes what was drawn, looks at what comes of it, and says how many bytes that are.
    fn frame(&mut self, kind: FrameKind, qp: Qp) -> Result<usize, String> {
        let data = self.coded(kind, qp)?;
        let psnr = self.decoded(&data)?;
        if psnr < PSNR_MIN_DB {
            return Err(format!(
                "its picture is not the one it was given (PSNR {psnr:.0} dB)"
            ));
        }
        Ok(data.len())
    }

    fn coded(&mut self, kind: FrameKind, qp: Qp) -> Result<std::sync::Arc<[u8]>, String> {
        let order = Order {
            kind,
            qp,
            bitrate_bps: BITRATE_BPS,
        };
        self.picture.plan();
        let data = self.encoder.encode(&self.picture, order);
        let data = data.map_err(|e| e.to_string())?;
        self.picture.handle_coded(kind, qp);
        check_units(kind, &data)?;
        Ok(data)
    }

    /// The worst of the planes' peak signal-to-noise ratios.
    fn decoded(&mut self, data: &[u8]) -> Result<f64, String> {
        let options = DecodeOptions::new().flush_after_decode(Flush::Flush);
        let decoded = self.decoder.decode_with_options(data, options);
        let decoded = decoded.map_err(|e| format!("its frame does not decode: {e}"))?;
        let decoded = decoded.ok_or("its frame does not decode by itself")?;
        let (width, height) = (self.picture.width(), self.picture.height());
        if decoded.dimensions() != (width, height) {
            return Err(format!(
                "its picture has {:?} pixels, not {width}×{height}",
                decoded.dimensions()
            ));
        }
        let (luma, chroma, _) = decoded.strides();
        let [y, u, v] = self.picture.planes();
        let planes = [
            psnr(y, width, decoded.y(), luma),
            psnr(u, width / 2, decoded.u(), chroma),
            psnr(v, width / 2, decoded.v(), chroma),
        ];
        Ok(planes.into_iter().fold(f64::INFINITY, f64::min))
    }

    /// In turns, so that an encoder that grows coarser or finer by itself does not seem to obey.
    fn obeys(&mut self) -> Result<(), String> {
        let noisy = Rect::new(128, 96, 128, 96);
        let draws: [fn(u32, u32) -> [u8; 4]; 4] = [
            |x, y| [noise(x, y, 1); 4],
            |x, y| [noise(x, y, 2); 4],
            |x, y| [noise(x, y, 3); 4],
            |x, y| [noise(x, y, 4); 4],
        ];
        let mut bytes = [0; 4];
        for ((draw, qp), bytes) in draws
            .into_iter()
            .zip([FINE, COARSE, FINE, COARSE])
            .zip(&mut bytes)
        {
            self.draw(noisy, draw)?;
            *bytes = self.coded(FrameKind::Delta, qp)?.len();
        }
        let [fine, coarse, finer, coarser] = bytes;
        if fine.min(finer) < 2 * coarse.max(coarser) {
            return Err(format!(
                "it does not obey the quantiser of a frame ({bytes:?} bytes at {} and {} in turns)",
                FINE.0, COARSE.0
            ));
        }
        Ok(())
    }
}

/// A key frame begins with its parameter sets and says constrained baseline; other frames have
/// nothing but slices. Messages (SEI) are let pass.
fn check_units(kind: FrameKind, data: &[u8]) -> Result<(), String> {
    let types: Vec<u8> = units(data).map(|unit| unit[0] & 0x1F).collect();
    let allowed: &[u8] = match kind {
        FrameKind::Key => &[SPS, PPS, SEI, IDR_SLICE],
        FrameKind::Delta => &[SEI, SLICE],
    };
    let slice = match kind {
        FrameKind::Key => IDR_SLICE,
        FrameKind::Delta => SLICE,
    };
    let begins = kind == FrameKind::Delta || types.starts_with(&[SPS, PPS]);
    let known = types.iter().all(|unit| allowed.contains(unit));
    if !begins || !known || !types.contains(&slice) {
        return Err(format!("its {kind:?} frame is made of units {types:?}"));
    }
    let sps = units(data).find(|unit| unit[0] & 0x1F == SPS);
    sps.map_or(Ok(()), check_sps)
}

fn check_sps(unit: &[u8]) -> Result<(), String> {
    match unit {
        [_, 66, constraints, ..] if constraints & 0x40 != 0 => {}
        _ => {
            return Err(format!(
                "its profile is {:?}, not constrained baseline",
                unit.get(1..3)
            ));
        }
    }
    match sps::colours(unit) {
        Ok(Some(sps::BT709)) => Ok(()),
        other => Err(format!(
            "its colours are {other:?}, not BT.709 in limited range"
        )),
    }
}

/// The units of an Annex B stream, from their first byte to the end of the stream.
fn units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = (3..data.len()).filter(|&at| data[at - 3..at] == [0, 0, 1]);
    starts.map(|at| &data[at..])
}

fn psnr(given: &[u8], given_stride: usize, decoded: &[u8], decoded_stride: usize) -> f64 {
    let rows = given
        .chunks(given_stride)
        .zip(decoded.chunks(decoded_stride));
    let squares: u64 = rows
        .flat_map(|(given, decoded)| given.iter().zip(decoded))
        .map(|(&given, &decoded)| u64::from(given.abs_diff(decoded)).pow(2))
        .sum();
    let mean = squares as f64 / given.len() as f64;
    10.0 * (255.0 * 255.0 / mean).log10()
}

/// Smooth, and of another colour everywhere.
fn ramp(x: u32, y: u32) -> [u8; 4] {
    let part = |n: u32, of: u32| (n * 255 / of) as u8;
    [part(x, SIZE.0), part(y, SIZE.1), 96, 0]
}

fn noise(x: u32, y: u32, seed: u32) -> u8 {
    ((x * 7919 + y * 104_729 + seed).wrapping_mul(2_654_435_761) >> 24) as u8
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::encode::{EncodeError, EncoderName, openh264::OpenH264};

    /// OpenH264, but for one thing.
    struct Flawed {
        inner: OpenH264,
        flaw: fn(&mut Vec<u8>, Order),
    }

    impl Encoder for Flawed {
        fn name(&self) -> EncoderName {
            EncoderName::OpenH264
        }

        fn encode(&mut self, picture: &Picture, order: Order) -> Result<Arc<[u8]>, EncodeError> {
            let mut data = self.inner.encode(picture, order)?.to_vec();
            (self.flaw)(&mut data, order);
            Ok(data.into())
        }
    }

    fn check(quantiser: Quantiser, flaw: fn(&mut Vec<u8>, Order)) -> Result<(), String> {
        prove(quantiser, |width, height| {
            let inner = OpenH264::open(width, height).map_err(|e| e.to_string())?;
            Ok(Box::new(Flawed { inner, flaw }))
        })
    }

    #[test]
    fn an_encoder_that_does_as_promised_is_trusted() {
        assert_eq!(check(Quantiser::Ignored, |_, _| ()), Ok(()));
    }

    #[test]
    fn one_that_goes_by_its_own_rate_does_not_pass_for_one_that_obeys() {
        let error = check(Quantiser::Obeyed, |_, _| ()).unwrap_err();
        assert!(error.contains("quantiser"), "{error}");
    }

    #[test]
    fn another_profile_is_found_out() {
        let error = check(Quantiser::Ignored, |data, order| {
            if order.kind == FrameKind::Key {
                data[5] = 100;
            }
        });
        assert!(error.unwrap_err().contains("profile"));
    }

    #[test]
    fn a_key_frame_without_its_parameter_sets_is_found_out() {
        let error = check(Quantiser::Ignored, |data, _| {
            let slice = data.windows(4).position(|w| w == [0, 0, 1, 0x65]);
            data.drain(..slice.unwrap_or(0));
        });
        assert!(error.unwrap_err().contains("units"));
    }

    #[test]
    fn a_frame_that_is_not_what_went_in_is_found_out() {
        // The change never arrives: what is sent says that nothing changed.
        let error = prove(Quantiser::Ignored, |width, height| {
            let inner = OpenH264::open(width, height).map_err(|e| e.to_string())?;
            Ok(Box::new(Blind(inner)))
        });
        let error = error.unwrap_err();
        assert!(error.contains("not the one it was given"), "{error}");
    }

    /// Codes black, whatever it is given.
    struct Blind(OpenH264);

    impl Encoder for Blind {
        fn name(&self) -> EncoderName {
            EncoderName::OpenH264
        }

        fn encode(&mut self, _: &Picture, order: Order) -> Result<Arc<[u8]>, EncodeError> {
            self.0
                .encode(&Picture::new(SIZE.0, SIZE.1, Chroma::Yuv420), order)
        }
    }

    #[test]
    fn a_stream_cut_short_is_found_out() {
        assert!(check(Quantiser::Ignored, |data, _| data.truncate(40)).is_err());
    }
}
