//! The path hardware takes, walked with FFmpeg's libx264 in its place.

use openh264::decoder::{DecodeOptions, Decoder, Flush};
use openh264::formats::YUVSource as _;

use super::*;
use protocol::control::Chroma;

use crate::damage::Rect;
use crate::encode::hardware::{NVENC_WAYS, VAAPI_WAYS, proven};

const SIZE: (u32, u32) = (320, 192);
const BITRATE_BPS: u64 = 8_000_000;

const STAND_IN: &[(&str, &str)] = &[
    ("preset", "ultrafast"),
    ("tune", "zerolatency"),
    ("profile", "baseline"),
    ("forced-idr", "1"),
    ("threads", "1"),
];
/// libx264 heeds regions only where it weighs macroblocks, and weighs none where it is told a
/// quantiser: so as little weighing as it knows, at a quality that is a quantiser.
const BY_QUANTISER: &[(&str, &str)] = &[
    ("crf", "48"),
    ("aq-mode", "1"),
    (
        "x264-params",
        "aq-strength=0.01:qcomp=1:ipratio=1:scenecut=0",
    ),
];

const QUANTISER: Way = Way {
    name: EncoderName::X264,
    codec: "libx264",
    input: Input::Memory,
    rating: Rating::Quantiser,
    options: &[STAND_IN, BY_QUANTISER],
};
const IN_PLACE: Way = Way {
    rating: Rating::Bitrate(Change::InPlace),
    options: &[STAND_IN],
    ..QUANTISER
};
const REOPENED: Way = Way {
    rating: Rating::Bitrate(Change::Reopen),
    options: &[STAND_IN],
    ..QUANTISER
};
const KEEPS_FRAMES: Way = Way {
    options: &[&[
        ("preset", "ultrafast"),
        ("rc-lookahead", "5"),
        ("crf", "30"),
    ]],
    ..QUANTISER
};
const HIGH: Way = Way {
    options: &[
        &[
            ("preset", "medium"),
            ("tune", "zerolatency"),
            ("threads", "1"),
        ],
        &[("profile", "high"), ("forced-idr", "1"), ("crf", "20")],
    ],
    ..QUANTISER
};

/// An encoder with a picture to draw on.
struct Desk {
    encoder: Ffmpeg,
    picture: Picture,
}

impl Desk {
    fn new(way: &'static Way) -> Self {
        Self::sized(way, SIZE)
    }

    fn sized(way: &'static Way, (width, height): (u32, u32)) -> Self {
        let picture = Picture::new(width, height, Chroma::Yuv420);
        let encoder = Ffmpeg::open(way, None, picture.width(), picture.height()).unwrap();
        Self { encoder, picture }
    }

    fn fill(&mut self, rect: Rect, pixel: impl Fn(u32) -> u8) {
        let pixels: Vec<u8> = (0..rect.width * rect.height * 4).map(pixel).collect();
        self.picture.handle_pixels(rect, &pixels).unwrap();
    }

    fn noise(&mut self, rect: Rect) {
        self.fill(rect, |n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
    }

    fn code(&mut self, kind: FrameKind, qp: u8) -> Arc<[u8]> {
        self.code_at(kind, qp, BITRATE_BPS)
    }

    fn code_at(&mut self, kind: FrameKind, qp: u8, bitrate_bps: u64) -> Arc<[u8]> {
        let order = Order {
            kind,
            qp: Qp(qp),
            bitrate_bps,
        };
        self.picture.plan();
        let data = self.encoder.encode(&self.picture, order).unwrap();
        self.picture.handle_coded(kind, order.qp);
        data
    }

    /// The lowest signal-to-noise ratio of the luma, in dB, of the picture in `data`.
    fn psnr(&self, decoder: &mut Decoder, data: &[u8]) -> f64 {
        let options = DecodeOptions::new().flush_after_decode(Flush::Flush);
        let decoded = decoder.decode_with_options(data, options).unwrap().unwrap();
        let (width, height) = (self.picture.width(), self.picture.height());
        assert_eq!(decoded.dimensions(), (width, height));
        let given = self.picture.planes()[0].chunks(width);
        let squares: u64 = given
            .zip(decoded.y().chunks(decoded.strides().0))
            .flat_map(|(a, b)| a.iter().zip(b))
            .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
            .sum();
        let mean = squares as f64 / (width * height) as f64;
        10.0 * (255.0_f64.powi(2) / mean).log10()
    }
}

fn is_key(data: &[u8]) -> bool {
    data.windows(4)
        .any(|w| w[..3] == [0, 0, 1] && w[3] & 0x1F == 5)
}

fn square(x: u32) -> Rect {
    Rect::new(x, 64, 32, 32)
}

#[test]
fn each_of_a_hundred_frames_comes_at_once_and_shows_what_was_drawn() {
    let mut desk = Desk::new(&QUANTISER);
    let mut decoder = Decoder::new().unwrap();
    for i in 0..100 {
        desk.fill(square(2 * i), |n| if n % 64 < 32 { 255 } else { 40 });
        let kind = match i % 40 {
            0 => FrameKind::Key,
            _ => FrameKind::Delta,
        };
        let data = desk.code(kind, 20);
        assert_eq!(is_key(&data), kind == FrameKind::Key, "frame {i}");
        let psnr = desk.psnr(&mut decoder, &data);
        assert!(psnr > 35.0, "frame {i}: {psnr:.1} dB");
    }
}

#[test]
fn the_quantiser_of_each_frame_is_obeyed() {
    for kind in [FrameKind::Key, FrameKind::Delta] {
        let sizes = [12, 14, 17, 21, 22, 25, 30, 44, 48].map(|qp| {
            let mut desk = Desk::new(&QUANTISER);
            desk.code(FrameKind::Key, 24);
            desk.noise(Rect::new(0, 0, SIZE.0, SIZE.1));
            desk.code(kind, qp).len()
        });
        let finest_first = sizes.is_sorted_by(|finer, coarser| finer > coarser);
        assert!(finest_first, "{kind:?}: {sizes:?}");
    }
}

#[test]
fn what_did_not_change_costs_next_to_nothing_however_coarse_it_was_coded() {
    let whole = Rect::new(0, 0, SIZE.0, SIZE.1);
    let mut desk = Desk::new(&QUANTISER);
    desk.code(FrameKind::Key, 40);
    desk.noise(whole);
    let all_at_14 = desk.code(FrameKind::Delta, 14).len();

    let mut desk = Desk::new(&QUANTISER);
    desk.noise(whole);
    desk.code(FrameKind::Key, 40);
    let still = desk.code(FrameKind::Delta, 14).len();
    desk.fill(Rect::new(16, 16, 16, 16), |_| 255);
    desk.fill(Rect::new(288, 160, 16, 16), |_| 255);
    let two_corners = desk.code(FrameKind::Delta, 14).len();
    assert!(still * 20 < all_at_14, "{still} of {all_at_14}");
    assert!(two_corners * 20 < all_at_14, "{two_corners} of {all_at_14}");
}

#[test]
fn what_is_not_planned_stays_as_it_was_though_it_changed() {
    let mut desk = Desk::new(&QUANTISER);
    desk.code(FrameKind::Key, 20);
    desk.noise(Rect::new(0, 0, SIZE.0, SIZE.1));
    let order = Order {
        kind: FrameKind::Delta,
        qp: Qp(20),
        bitrate_bps: BITRATE_BPS,
    };
    let all = desk.picture.plan().blocks;
    let mut size_of = |blocks| {
        desk.picture.plan_refined(Qp(20), blocks);
        let data = desk.encoder.encode(&desk.picture, order).unwrap();
        desk.picture.handle_coded(order.kind, order.qp);
        data.len()
    };
    let few = size_of(all / 8);
    let rest = size_of(all);
    assert!(few * 5 < rest, "{few} of {rest}");
}

#[test]
fn an_encoder_behind_ffmpeg_passes_its_proof_however_it_is_rated() {
    for way in [&QUANTISER, &IN_PLACE, &REOPENED] {
        assert_eq!(proven(way, None), Ok(()), "{way:?}");
    }
}

#[test]
fn one_that_keeps_frames_back_is_found_out() {
    let error = proven(&KEEPS_FRAMES, None).unwrap_err();
    assert!(error.contains("keeps frames back"), "{error}");
}

#[test]
fn one_that_makes_another_profile_is_found_out() {
    let error = proven(&HIGH, None).unwrap_err();
    assert!(error.contains("profile"), "{error}");
}

#[test]
fn a_bitrate_is_followed_by_both_ways_and_a_new_encoder_begins_with_a_key_frame() {
    for way in [&IN_PLACE, &REOPENED] {
        let mut desk = Desk::new(way);
        let mut coded_at = |bitrate_bps: u64, seed: u32| {
            let mut bytes = 0;
            let mut begins_with_key = false;
            for i in 0..30 {
                let shade = |n: u32| ((n + seed + i).wrapping_mul(2_654_435_761) >> 24) as u8;
                desk.fill(Rect::new(0, 0, SIZE.0, SIZE.1), shade);
                let data = desk.code_at(FrameKind::Delta, 24, bitrate_bps);
                begins_with_key |= i == 0 && is_key(&data);
                // The buffer has to fill or drain first.
                bytes += if i >= 10 { data.len() } else { 0 };
            }
            (bytes, begins_with_key)
        };
        let (much, _) = coded_at(16_000_000, 1);
        let (little, begins_with_key) = coded_at(2_000_000, 2);
        assert!(much > 3 * little, "{way:?}: {much} and {little} bytes");
        let reopens = way.rating == Rating::Bitrate(Change::Reopen);
        assert_eq!(begins_with_key, reopens, "{way:?}");
    }
}

#[test]
fn sizes_that_are_no_multiple_of_a_macroblock_are_coded_to_the_last_pixel() {
    for size in [(322, 194), (366, 202), (640, 360)] {
        let mut desk = Desk::sized(&QUANTISER, size);
        let mut decoder = Decoder::new().unwrap();
        desk.fill(Rect::new(0, 0, size.0, size.1), |n| {
            (n / 4 % size.0 / 2) as u8
        });
        let data = desk.code(FrameKind::Key, 18);
        assert!(desk.psnr(&mut decoder, &data) > 38.0, "{size:?}");
        let corner = Rect::new(size.0 - 2, size.1 - 2, 2, 2);
        desk.fill(corner, |_| 255);
        let data = desk.code(FrameKind::Delta, 18);
        assert!(desk.psnr(&mut decoder, &data) > 38.0, "{size:?}");
    }
}

#[test]
fn a_picture_of_another_size_is_refused() {
    let mut desk = Desk::new(&QUANTISER);
    let order = Order {
        kind: FrameKind::Key,
        qp: Qp(20),
        bitrate_bps: BITRATE_BPS,
    };
    let other = Picture::new(640, 352, Chroma::Yuv420);
    assert!(desk.encoder.encode(&other, order).is_err());
}

#[test]
fn two_hundred_encoders_leave_nothing_behind() {
    let cycle = || {
        let mut desk = Desk::sized(&QUANTISER, (640, 352));
        desk.code(FrameKind::Key, 24);
        desk.code(FrameKind::Delta, 24);
    };
    let resident_kb = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let digits = line.unwrap().split_whitespace().nth(1).unwrap();
        digits.parse::<u64>().unwrap()
    };
    (0..20).for_each(|_| cycle());
    let before = resident_kb();
    (0..200).for_each(|_| cycle());
    let grown = resident_kb().saturating_sub(before);
    // One frame left behind each time would be 65 MB.
    assert!(grown < 20_000, "{grown} kB");
}

#[test]
fn every_option_for_hardware_is_one_the_installed_ffmpeg_knows() {
    let libav = Libav::load().unwrap();
    for way in VAAPI_WAYS.iter().chain(NVENC_WAYS) {
        let prepared = prepared(libav, way, (1920, 1080), Rung::of(BITRATE_BPS));
        assert_eq!(prepared.err(), None, "{way:?}");
    }
}

#[test]
fn without_its_hardware_each_way_fails_in_words() {
    for way in VAAPI_WAYS {
        let error = Ffmpeg::open(way, Some(c"/nowhere".into()), 320, 192).err();
        let error = error.unwrap_or_default();
        assert!(error.contains("VA"), "{error}");
        let error = Ffmpeg::open(way, None, 320, 192).err();
        assert_eq!(error.as_deref(), Some("no device was named"));
    }
    // A machine with NVIDIA's driver opens it, or says what is wrong with it.
    for way in NVENC_WAYS {
        let said = Ffmpeg::open(way, None, 320, 192).err();
        assert!(said.as_ref().is_none_or(|why| why.len() > 10), "{said:?}");
    }
}

#[test]
fn baseline_is_called_constrained_and_other_profiles_are_left_alone() {
    let mut baseline = vec![0, 0, 0, 1, 0x67, 66, 0x00, 31, 0xE0];
    say_constrained(&mut baseline);
    assert_eq!(baseline[6], 0xC0);
    let mut high = vec![0, 0, 0, 1, 0x67, 100, 0x00, 31, 0xE0];
    let before = high.clone();
    say_constrained(&mut high);
    assert_eq!(high, before);
    say_constrained(&mut [0, 0, 1]);
    say_constrained(&mut []);
}
