//! x264, loaded at run time: `libx264.so.164`, the build of Debian 12 and 13 and Ubuntu 24.04.
//!
//! Called directly because two things that matter most here have no way through FFmpeg: the map of
//! macroblocks that did not change (`mb_info`), and a quantiser per frame. Measured at 1080p on two
//! cores, one typed character: 3.7 ms with capped CRF, 2.1 ms with a fixed quantiser, 0.9 ms with
//! the map as well.
//!
//! Only the front of x264's structures is declared; what follows is opaque room. The version is in
//! the name of the library and of the function that opens an encoder, and [`Functions::load`] checks
//! the defaults it finds, so a different layout is refused instead of scribbled over.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use platform::io::library::{Library, Missing};
use protocol::control::Chroma;

use crate::encode::{EncodeError, Encoder, EncoderName, FrameKind, Order, Qp};
use crate::picture::Picture;

const LIBRARY: &CStr = c"libx264.so.164";
const PACKAGE: &str = "libx264-164";
const OPEN: &CStr = c"x264_encoder_open_164";

/// More than four slices trip decoders of some Chromium builds.
const THREADS_MAX: usize = 4;

const TYPE_IDR: c_int = 1;
const TYPE_P: c_int = 3;
const CSP_I420: c_int = 2;
const CSP_I444: c_int = 12;
/// Room behind the declared fields; x264_param_t of build 164 has under 1,000 bytes in all.
const ROOM: usize = 2048;

/// The front of `x264_param_t`, build 164, up to `analyse.b_mb_info`.
#[repr(C)]
struct Param {
    cpu: u32,
    threads: [c_int; 5],
    sync_lookahead: c_int,
    width: c_int,
    height: c_int,
    csp: c_int,
    bitdepth: c_int,
    level_idc: c_int,
    frame_total: c_int,
    nal_hrd: c_int,
    vui: [c_int; 9],
    frame_reference: c_int,
    dpb_size: c_int,
    keyint_max: c_int,
    keyint_min: c_int,
    scenecut_threshold: c_int,
    intra_refresh: c_int,
    bframe: [c_int; 4],
    open_gop: c_int,
    bluray_compat: c_int,
    avcintra: [c_int; 2],
    deblocking: [c_int; 3],
    cabac: [c_int; 2],
    interlaced: c_int,
    constrained_intra: c_int,
    cqm_preset: c_int,
    cqm_file: *mut c_char,
    cqm: [u8; 16 * 4 + 64 * 4],
    log: *mut c_void,
    log_private: *mut c_void,
    log_level: c_int,
    full_recon: c_int,
    dump_yuv: *mut c_char,
    analyse_intra: u32,
    analyse_inter: u32,
    transform_8x8: c_int,
    weighted: [c_int; 2],
    direct_mv_pred: c_int,
    chroma_qp_offset: c_int,
    me_method: c_int,
    me_range: c_int,
    mv_range: [c_int; 2],
    subpel_refine: c_int,
    chroma_me: c_int,
    mixed_references: c_int,
    trellis: c_int,
    fast_pskip: c_int,
    dct_decimate: c_int,
    noise_reduction: c_int,
    psy_rd: f32,
    psy_trellis: f32,
    psy: c_int,
    mb_info: c_int,
    room: [u8; ROOM],
}

/// `x264_picture_t` up to `prop.mb_info_free`.
#[repr(C)]
struct X264Picture {
    kind: c_int,
    qp_plus1: c_int,
    pic_struct: c_int,
    keyframe: c_int,
    pts: i64,
    dts: i64,
    param: *mut c_void,
    csp: c_int,
    planes: c_int,
    stride: [c_int; 4],
    plane: [*const u8; 4],
    quant_offsets: *mut f32,
    quant_offsets_free: *mut c_void,
    mb_info: *const u8,
    mb_info_free: *mut c_void,
    room: [u8; ROOM],
}

/// `x264_nal_t`.
#[repr(C)]
struct Nal {
    ref_idc: c_int,
    kind: c_int,
    long_startcode: c_int,
    first_mb: c_int,
    last_mb: c_int,
    len: c_int,
    payload: *const u8,
    padding: c_int,
}

// Where a C compiler puts them, on 64-bit machines.
const _: () = {
    assert!(std::mem::offset_of!(Param, csp) == 36);
    assert!(std::mem::offset_of!(Param, cabac) == 160);
    assert!(std::mem::offset_of!(Param, log_level) == 528);
    assert!(std::mem::offset_of!(Param, mb_info) == 628);
    assert!(std::mem::offset_of!(X264Picture, mb_info) == 112);
    assert!(std::mem::offset_of!(Nal, payload) == 24);
};

type DefaultPreset = unsafe extern "C" fn(*mut Param, *const c_char, *const c_char) -> c_int;
type Parse = unsafe extern "C" fn(*mut Param, *const c_char, *const c_char) -> c_int;
type ApplyProfile = unsafe extern "C" fn(*mut Param, *const c_char) -> c_int;
type Open = unsafe extern "C" fn(*mut Param) -> *mut c_void;
type PictureInit = unsafe extern "C" fn(*mut X264Picture);
type Encode = unsafe extern "C" fn(
    *mut c_void,
    *mut *const Nal,
    *mut c_int,
    *mut X264Picture,
    *mut X264Picture,
) -> c_int;
type Close = unsafe extern "C" fn(*mut c_void);

/// The functions; the library stays loaded for the life of the process.
#[derive(Clone, Copy)]
struct Functions {
    default_preset: DefaultPreset,
    parse: Parse,
    apply_profile: ApplyProfile,
    open: Open,
    picture_init: PictureInit,
    encode: Encode,
    close: Close,
}

/// One x264 encoder.
pub struct X264 {
    library: Functions,
    handle: *mut c_void,
    width: usize,
    height: usize,
    chroma: Chroma,
    pts: i64,
    /// What the last frame shows, in x264's own memory, until the next call.
    shown: Option<Box<X264Picture>>,
}

// SAFETY: an x264 handle may be used from any thread, by one at a time; `&mut self` sees to that.
unsafe impl Send for X264 {}

impl X264 {
    /// # Errors
    ///
    /// [`EncodeError::Unavailable`]: no library, another layout, a size x264 refuses, or a chroma
    /// it was built without.
    pub fn open(width: usize, height: usize, chroma: Chroma) -> Result<Self, EncodeError> {
        let library = Functions::load()?;
        let mut param = library.param(width, height, chroma)?;
        // SAFETY: `param` was filled by x264 itself and is larger than its `x264_param_t`.
        let handle = unsafe { (library.open)(&raw mut *param) };
        if handle.is_null() {
            return Err(unavailable(format!(
                "it refuses pictures of {width}×{height}"
            )));
        }
        Ok(Self {
            library,
            handle,
            width,
            height,
            chroma,
            pts: 0,
            shown: None,
        })
    }
}

impl Encoder for X264 {
    fn name(&self) -> EncoderName {
        EncoderName::X264
    }

    fn encode(&mut self, picture: &Picture, order: Order) -> Result<Arc<[u8]>, EncodeError> {
        let shape = (picture.width(), picture.height(), picture.chroma());
        if shape != (self.width, self.height, self.chroma) {
            return Err(failed("the picture has another size or chroma"));
        }
        let mut input = self.picture();
        input.kind = match order.kind {
            FrameKind::Key => TYPE_IDR,
            FrameKind::Delta => TYPE_P,
        };
        input.qp_plus1 = c_int::from(order.qp.0) + 1;
        input.csp = csp(self.chroma);
        input.planes = 3;
        let [y, u, v] = picture.planes();
        let strides = picture.strides().map(stride);
        input.stride = [strides[0], strides[1], strides[2], 0];
        input.plane = [y.as_ptr(), u.as_ptr(), v.as_ptr(), ptr::null()];
        if order.kind == FrameKind::Delta {
            input.mb_info = picture.constant().as_ptr();
        }
        self.run(&mut input)
    }

    fn settle(&mut self, qp: Qp) -> Result<Option<Arc<[u8]>>, EncodeError> {
        let Some(shown) = self.shown.take() else {
            return Ok(None);
        };
        let mut input = self.picture();
        input.kind = TYPE_P;
        input.qp_plus1 = c_int::from(qp.0) + 1;
        (input.csp, input.planes) = (shown.csp, shown.planes);
        (input.stride, input.plane) = (shown.stride, shown.plane);
        self.run(&mut input).map(Some)
    }
}

impl X264 {
    fn picture(&self) -> Box<X264Picture> {
        // SAFETY: integers and pointers, for which all zeroes is a value.
        let mut picture: Box<X264Picture> = unsafe { Box::new(std::mem::zeroed()) };
        // SAFETY: the structure is larger than x264's own, so x264 writes inside it.
        unsafe { (self.library.picture_init)(&raw mut *picture) };
        picture
    }

    /// The planes of `input` are the caller's, or those of the last output: x264 keeps these as the
    /// reference of the frame that it makes, and reads the input before it writes anything.
    fn run(&mut self, input: &mut X264Picture) -> Result<Arc<[u8]>, EncodeError> {
        input.pts = self.pts;
        self.pts += 1;
        self.shown = None;
        let mut output = self.picture();
        let mut nals: *const Nal = ptr::null();
        let mut count: c_int = 0;
        // SAFETY: the handle is open; planes and `mb_info` are there for the whole call and have the
        // sizes given at `open`, and x264 has copied what it keeps when it returns (no lookahead:
        // every picture is coded in its own call).
        let len = unsafe {
            (self.library.encode)(
                self.handle,
                &raw mut nals,
                &raw mut count,
                &raw mut *input,
                &raw mut *output,
            )
        };
        let len = usize::try_from(len).map_err(|_| failed("x264_encoder_encode gave an error"))?;
        if len == 0 || nals.is_null() {
            return Err(failed("it gave no frame for a picture"));
        }
        // SAFETY: x264.h: the payloads of all NAL units of a frame lie one behind the other, `len`
        // bytes in all, and stay until the next call.
        let bytes = unsafe { std::slice::from_raw_parts((*nals).payload, len) };
        self.shown = Some(output);
        Ok(Arc::from(bytes))
    }
}

impl Drop for X264 {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once, not used after.
        unsafe { (self.library.close)(self.handle) }
    }
}

impl Functions {
    fn load() -> Result<Self, EncodeError> {
        Self::find().map_err(|missing| unavailable(missing.to_string()))
    }

    fn find() -> Result<Self, Missing> {
        let library = Library::open(LIBRARY, PACKAGE)?;
        // SAFETY: the types are those of x264.h.
        unsafe {
            Ok(Self {
                default_preset: library.function(c"x264_param_default_preset")?,
                parse: library.function(c"x264_param_parse")?,
                apply_profile: library.function(c"x264_param_apply_profile")?,
                open: library.function(OPEN)?,
                picture_init: library.function(c"x264_picture_init")?,
                encode: library.function(c"x264_encoder_encode")?,
                close: library.function(c"x264_encoder_close")?,
            })
        }
    }

    fn param(
        &self,
        width: usize,
        height: usize,
        chroma: Chroma,
    ) -> Result<Box<Param>, EncodeError> {
        // SAFETY: integers and pointers, for which all zeroes is a value.
        let mut param: Box<Param> = unsafe { Box::new(std::mem::zeroed()) };
        // SAFETY: the structure is larger than x264's own; the strings end with NUL.
        let result = unsafe {
            (self.default_preset)(
                &raw mut *param,
                c"ultrafast".as_ptr(),
                c"zerolatency".as_ptr(),
            )
        };
        // Defaults that stand at places far apart: if they are where they belong, so is the rest.
        let layout = (param.csp, param.bitdepth, param.me_range, param.fast_pskip);
        if result != 0 || layout != (CSP_I420, 8, 16, 1) || param.mb_info != 0 {
            return Err(unavailable(
                "its parameters are laid out differently".into(),
            ));
        }
        param.width = stride(width);
        param.height = stride(height);
        param.csp = csp(chroma);
        param.mb_info = 1;
        self.settings(&mut param)?;
        let profile = match chroma {
            Chroma::Yuv420 => c"baseline",
            Chroma::Yuv444 => c"high444",
        };
        // SAFETY: as above.
        if unsafe { (self.apply_profile)(&raw mut *param, profile.as_ptr()) } != 0 {
            let profile = profile.to_string_lossy();
            return Err(unavailable(format!("it cannot make the profile {profile}")));
        }
        Ok(param)
    }

    /// What differs from `ultrafast` and `zerolatency`, by x264's own names. Measured at 1080p on two
    /// cores, a terminal of 960×640 that scrolls: 39 kB a step with `ultrafast`'s motion search, 8 kB
    /// with this one, at 5 dB more of SSIM.
    fn settings(&self, param: &mut Param) -> Result<(), EncodeError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(THREADS_MAX).to_string();
        let fixed = [
            ("log", "0"),
            // A quantiser given with a frame is kept within what these three make of the types of
            // frames: 10 for I, 50 for B. x264 takes no ratio above 10.
            ("qp", "30"),
            ("ipratio", "10"),
            ("pbratio", "10"),
            ("keyint", "infinite"),
            ("scenecut", "0"),
            ("aq-mode", "0"),
            // Text that scrolls or is dragged lies further away than `ultrafast` looks; once one
            // macroblock has found it, its neighbours try there first.
            ("me", "umh"),
            ("merange", "24"),
            // Text moves by whole pixels; planes of halves would cost 14 MB.
            ("subme", "0"),
            // New text is edges, which one prediction for 16 × 16 pixels does not meet; where a
            // window ends, its neighbour moves otherwise. A window dragged costs 27 % less at the
            // same SSIM with the small partitions of P frames, a terminal that scrolls 20 %.
            ("partitions", "p8x8,p4x4,i4x4"),
            ("repeat-headers", "1"),
            ("annexb", "1"),
            ("aud", "0"),
            ("fps", "60"),
            ("fullrange", "off"),
            ("colorprim", "bt709"),
            ("transfer", "bt709"),
            ("colormatrix", "bt709"),
            ("sliced-threads", "1"),
        ];
        let settings = fixed.into_iter().chain([("threads", threads.as_str())]);
        for (name, value) in settings {
            let [name_c, value_c] = [name, value].map(|text| format!("{text}\0"));
            // SAFETY: the strings end with NUL and x264 copies what it keeps.
            let result = unsafe {
                (self.parse)(
                    &raw mut *param,
                    name_c.as_ptr().cast(),
                    value_c.as_ptr().cast(),
                )
            };
            if result != 0 {
                return Err(unavailable(format!("it does not know {name}={value}")));
            }
        }
        Ok(())
    }
}

fn csp(chroma: Chroma) -> c_int {
    match chroma {
        Chroma::Yuv420 => CSP_I420,
        Chroma::Yuv444 => CSP_I444,
    }
}

fn stride(pixels: usize) -> c_int {
    c_int::try_from(pixels).unwrap_or(c_int::MAX)
}

fn unavailable(why: String) -> EncodeError {
    EncodeError::Unavailable {
        encoder: "x264",
        why,
    }
}

fn failed(why: &str) -> EncodeError {
    EncodeError::Failed {
        encoder: "x264",
        why: why.into(),
    }
}
