//! An encoder of FFmpeg's, made to serve as one of ours: the way to VAAPI and NVENC.
//!
//! What differs between them is a [`Way`]: names, options, where frames are read from, and how they
//! are told how coarse to be. The rest is one path, which the tests walk with FFmpeg's libx264, so
//! that on hardware only the device and FFmpeg's encoder for it are new.

mod rung;

use std::ffi::{CStr, CString};
use std::ops::Range;
use std::sync::Arc;

use crate::encode::libav::{Context, Frame, Libav, Planes, Region, Surfaces};
use crate::encode::regions::{regions, runs};
use crate::encode::{EncodeError, Encoder, EncoderName, FrameKind, Order, Qp};
use crate::picture::{BLOCK, Picture};
use rung::Rung;

/// What macroblocks that did not change are coded with: as coarse as anything on the screen was
/// ever coded, so that nothing of them is left to code.
pub const QP_UNCHANGED: Qp = Qp(48);
/// Until the first order says otherwise.
const BITRATE_START_BPS: u64 = 10_000_000;
/// The rate encoders are told, which count time in frames.
const FRAMES_PER_SECOND: u64 = 60;
/// A frame is on the wire no longer than so many of those: 50 ms.
const FRAMES_OF_BUFFER: u64 = 3;
/// Parameter sets begin within so many bytes of a key frame.
const FRONT_BYTES: usize = 64;
/// No key frame comes by itself: ours come when they are asked for.
const GROUP_OF_PICTURES: &str = "1000000";

/// One of FFmpeg's encoders and how to use it.
#[derive(Debug, PartialEq, Eq)]
pub struct Way {
    pub name: EncoderName,
    /// What FFmpeg calls it.
    pub codec: &'static str,
    pub input: Input,
    pub rating: Rating,
    /// Groups of names and values, in FFmpeg's words.
    pub options: &'static [&'static [(&'static str, &'static str)]],
}

/// Where frames are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Memory,
    /// Surfaces of a graphics device that FFmpeg and the device's pixel format call so.
    Device(&'static CStr),
}

/// How the encoder is told how coarse to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rating {
    /// By regions of interest around what changed, on top of [`QP_UNCHANGED`].
    Quantiser,
    /// In bits per second. Through FFmpeg every change of it begins with a key frame, so it is
    /// followed in steps.
    Bitrate(Change),
}

/// How a running encoder gets another bitrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It looks at its options before each frame.
    InPlace,
    /// It does not: another takes its place.
    Reopen,
}

/// One encoder.
pub struct Ffmpeg {
    libav: &'static Libav,
    way: &'static Way,
    device: Option<CString>,
    width: usize,
    height: usize,
    running: Running,
    frame: Frame,
    /// Nothing of the picture is in `frame` yet.
    is_blank: bool,
    rung: Rung,
    pts: i64,
}

struct Running {
    // Before the surfaces it reads from.
    context: Context,
    surfaces: Option<Surfaces>,
}

impl Ffmpeg {
    /// `device` is the path of the graphics device, where the way needs one.
    ///
    /// # Errors
    ///
    /// One sentence.
    pub fn open(
        way: &'static Way,
        device: Option<CString>,
        width: usize,
        height: usize,
    ) -> Result<Self, String> {
        let libav = Libav::load()?;
        let rung = Rung::of(BITRATE_START_BPS);
        Ok(Self {
            running: start(libav, way, device.as_deref(), (width, height), rung)?,
            frame: Frame::nv12(libav, width, height)?,
            libav,
            way,
            device,
            width,
            height,
            is_blank: true,
            rung,
            pts: 0,
        })
    }

    fn code(&mut self, picture: &Picture, order: Order) -> Result<Arc<[u8]>, String> {
        self.follow(order.bitrate_bps)?;
        self.fill(picture, order.kind)?;
        let regions = match self.way.rating {
            Rating::Quantiser => self.weighed(picture, order),
            Rating::Bitrate(_) => Vec::new(),
        };
        self.frame.describe(order.kind, self.pts, &regions)?;
        self.pts += 1;
        let mut packet = match &self.running.surfaces {
            Some(surfaces) => {
                let surface = surfaces.upload(&self.frame)?;
                self.running.context.encode(&surface)?
            }
            None => self.running.context.encode(&self.frame)?,
        };
        if let Some(bytes) = Arc::get_mut(&mut packet) {
            say_constrained(bytes);
        }
        Ok(packet)
    }

    /// The bitrate, as near as its steps allow.
    fn follow(&mut self, bitrate_bps: u64) -> Result<(), String> {
        let Rating::Bitrate(change) = self.way.rating else {
            return Ok(());
        };
        let rung = self.rung.towards(bitrate_bps);
        if rung == self.rung {
            return Ok(());
        }
        match change {
            Change::InPlace => rate(&mut self.running.context, rung)?,
            Change::Reopen => {
                let size = (self.width, self.height);
                let device = self.device.as_deref();
                self.running = start(self.libav, self.way, device, size, rung)?;
            }
        }
        self.rung = rung;
        Ok(())
    }

    /// Copies what the coming frame codes. The rest stays as it was coded last, even if it changed.
    fn fill(&mut self, picture: &Picture, kind: FrameKind) -> Result<(), String> {
        let wide = self.width.div_ceil(BLOCK);
        let is_whole = self.is_blank || kind == FrameKind::Key;
        let mut planes = self.frame.planes()?;
        for (row, blocks) in picture.constant().chunks(wide).enumerate() {
            let rows = row * BLOCK..((row + 1) * BLOCK).min(self.height);
            let mut copy = |run: Range<usize>| {
                let columns = run.start * BLOCK..(run.end * BLOCK).min(self.width);
                copy(picture, &mut planes, rows.clone(), columns);
            };
            if is_whole {
                copy(0..wide);
            } else {
                runs(blocks).for_each(copy);
            }
        }
        self.is_blank = false;
        Ok(())
    }

    fn weighed(&self, picture: &Picture, order: Order) -> Vec<Region> {
        let qp_offset = order.qp.0.min(51) as i8 - QP_UNCHANGED.0 as i8;
        let region = |top: usize, bottom: usize, left: usize, right: usize| Region {
            top,
            bottom: bottom.min(self.height),
            left,
            right: right.min(self.width),
            qp_offset,
        };
        if order.kind == FrameKind::Key {
            return vec![region(0, self.height, 0, self.width)];
        }
        let boxes = regions(picture.constant(), self.width.div_ceil(BLOCK)).into_iter();
        let pixels = |blocks: usize| blocks * BLOCK;
        boxes
            .map(|b| {
                let (rows, columns) = (b.rows, b.columns);
                region(
                    pixels(rows.start),
                    pixels(rows.end),
                    pixels(columns.start),
                    pixels(columns.end),
                )
            })
            .collect()
    }
}

impl Encoder for Ffmpeg {
    fn name(&self) -> EncoderName {
        self.way.name
    }

    fn encode(&mut self, picture: &Picture, order: Order) -> Result<Arc<[u8]>, EncodeError> {
        let failed = |why: String| EncodeError::Failed {
            encoder: self.way.name.as_str(),
            why,
        };
        if (picture.width(), picture.height()) != (self.width, self.height) {
            return Err(failed("the picture has another size".into()));
        }
        self.code(picture, order).map_err(failed)
    }
}

fn start(
    libav: &'static Libav,
    way: &Way,
    device: Option<&CStr>,
    (width, height): (usize, usize),
    rung: Rung,
) -> Result<Running, String> {
    let surfaces = match way.input {
        Input::Memory => None,
        Input::Device(kind) => {
            let path = device.ok_or("no device was named")?;
            Some(Surfaces::open(libav, kind, path, width, height)?)
        }
    };
    let mut context = prepared(libav, way, (width, height), rung)?;
    if let Some(surfaces) = &surfaces {
        context.use_surfaces(surfaces)?;
    }
    context.open()?;
    Ok(Running { context, surfaces })
}

/// Every option set, not opened yet: as far as it goes without the hardware.
fn prepared(
    libav: &'static Libav,
    way: &Way,
    (width, height): (usize, usize),
    rung: Rung,
) -> Result<Context, String> {
    let mut context = Context::new(libav, way.codec)?;
    let format = match way.input {
        Input::Memory => "nv12".into(),
        Input::Device(kind) => kind.to_string_lossy(),
    };
    context.set("video_size", &format!("{width}x{height}"))?;
    context.set("pixel_format", &format)?;
    context.set("time_base", &format!("1/{FRAMES_PER_SECOND}"))?;
    let promised = [
        ("g", GROUP_OF_PICTURES),
        ("bf", "0"),
        ("color_range", "tv"),
        ("color_primaries", "bt709"),
        ("color_trc", "bt709"),
        ("colorspace", "bt709"),
    ];
    let own = way.options.iter().copied().flatten();
    for &(name, value) in promised.iter().chain(own) {
        context.set(name, value)?;
    }
    if let Rating::Bitrate(_) = way.rating {
        rate(&mut context, rung)?;
    }
    Ok(context)
}

fn rate(context: &mut Context, rung: Rung) -> Result<(), String> {
    let bitrate = rung.bitrate_bps();
    let buffer = bitrate * FRAMES_OF_BUFFER / FRAMES_PER_SECOND;
    context.set("b", &bitrate.to_string())?;
    context.set("maxrate", &bitrate.to_string())?;
    context.set("bufsize", &buffer.to_string())
}

/// Pixels of rows and columns, both even, into NV12.
fn copy(picture: &Picture, planes: &mut Planes<'_>, rows: Range<usize>, columns: Range<usize>) {
    let [y, u, v] = picture.planes();
    let width = picture.width();
    for row in rows.clone() {
        let (from, to) = (row * width, row * planes.luma_stride);
        planes.luma[to + columns.start..to + columns.end]
            .copy_from_slice(&y[from + columns.start..from + columns.end]);
    }
    for row in rows.start / 2..rows.end / 2 {
        let (from, to) = (row * (width / 2), row * planes.chroma_stride);
        let pieces = from + columns.start / 2..from + columns.end / 2;
        let pairs = u[pieces.clone()].iter().zip(&v[pieces]);
        let into = planes.chroma[to + columns.start..to + columns.end].chunks_exact_mut(2);
        for (into, (&u, &v)) in into.zip(pairs) {
            into.copy_from_slice(&[u, v]);
        }
    }
}

/// Baseline without the tools that constrained baseline leaves out, which no hardware has, is
/// constrained baseline; some encoders do not say so (H.264 §A.2.1.1). A set bit never makes a byte
/// one that has to be escaped.
fn say_constrained(annex_b: &mut [u8]) {
    const START_OF_SPS: [u8; 3] = [0, 0, 1];
    const SPS: u8 = 7;
    const BASELINE: u8 = 66;
    const CONSTRAINT_SETS_0_AND_1: u8 = 0xC0;
    let front = annex_b.len().min(FRONT_BYTES);
    let found = annex_b[..front].windows(6).position(|bytes| {
        bytes[..3] == START_OF_SPS && bytes[3] & 0x1F == SPS && bytes[4] == BASELINE
    });
    if let Some(at) = found {
        annex_b[at + 5] |= CONSTRAINT_SETS_0_AND_1;
    }
}

#[cfg(test)]
mod tests;
