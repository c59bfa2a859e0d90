//! VAAPI and NVENC: where they are looked for, how they are asked, and what is said if they are
//! not there.
//!
//! **Nobody here has run them on hardware.** So nothing is taken on trust: before one is used it
//! has to pass [`proof`], and the ways to ask it are tried from the best to the plainest.

use std::ffi::{CStr, CString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use platform::io::library::Library;

use crate::encode::ffmpeg::{Change, Ffmpeg, Input, Rating, Way};
use crate::encode::proof::{self, Quantiser};
use crate::encode::{EncodeError, Encoder, EncoderName};

/// Where Linux shows graphics devices that compute without showing anything.
const DEVICES: &str = "/dev/dri";
/// Of this name, from 128 on; the kernel has 64 of them at most.
const DEVICE_PREFIX: &str = "renderD";

/// NVENC's libraries, and what Debian calls their packages.
const NVIDIA: [(&CStr, &str); 2] = [
    (c"libcuda.so.1", "libcuda1"),
    (c"libnvidia-encode.so.1", "libnvidia-encode1"),
];

type Options = &'static [(&'static str, &'static str)];

const VAAPI: Options = &[
    ("profile", "constrained_baseline"),
    ("coder", "cavlc"),
    ("async_depth", "1"),
    ("sei", "0"),
    ("aud", "0"),
];
const BY_QUANTISER: Options = &[
    ("rc_mode", "CQP"),
    // `QP_UNCHANGED`; the regions of each frame are finer.
    ("qp", "48"),
    ("i_qfactor", "1"),
    ("i_qoffset", "0"),
];
const BY_BITRATE: Options = &[("rc_mode", "VBR")];
/// The smaller of the two encoders Intel has, and the only one in its newest graphics.
const LOW_POWER: Options = &[("low_power", "1")];
const FULL_POWER: Options = &[("low_power", "0")];
const NVENC: Options = &[
    ("profile", "baseline"),
    ("coder", "cavlc"),
    ("preset", "p3"),
    ("tune", "ull"),
    ("rc", "vbr"),
    ("delay", "0"),
    ("zerolatency", "1"),
    ("rc-lookahead", "0"),
    ("forced-idr", "1"),
    ("aud", "0"),
    // Finer than refinement ends, nothing is seen; coarser is not worth sending.
    ("qmin", "14"),
    ("qmax", "44"),
];

/// In the order they are tried.
pub const VAAPI_WAYS: &[Way] = &[
    vaapi(Rating::Quantiser, &[VAAPI, BY_QUANTISER, LOW_POWER]),
    vaapi(Rating::Quantiser, &[VAAPI, BY_QUANTISER, FULL_POWER]),
    vaapi(
        Rating::Bitrate(Change::Reopen),
        &[VAAPI, BY_BITRATE, LOW_POWER],
    ),
    vaapi(
        Rating::Bitrate(Change::Reopen),
        &[VAAPI, BY_BITRATE, FULL_POWER],
    ),
];
pub const NVENC_WAYS: &[Way] = &[Way {
    name: EncoderName::Nvenc,
    codec: "h264_nvenc",
    input: Input::Memory,
    rating: Rating::Bitrate(Change::InPlace),
    options: &[NVENC],
}];

const fn vaapi(rating: Rating, options: &'static [Options]) -> Way {
    Way {
        name: EncoderName::Vaapi,
        codec: "h264_vaapi",
        input: Input::Device(c"vaapi"),
        rating,
        options,
    }
}

/// The kinds of hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardware {
    Vaapi,
    Nvenc,
}

/// A way that passed its proof, on that device.
struct Found {
    way: &'static Way,
    device: Option<CString>,
}

/// Opens an encoder for pictures of this size.
///
/// # Errors
///
/// [`EncodeError::Unavailable`]: what is missing and what to do about it.
pub fn open(
    hardware: Hardware,
    width: usize,
    height: usize,
) -> Result<Box<dyn Encoder>, EncodeError> {
    static FOUND: [OnceLock<Found>; 2] = [const { OnceLock::new() }; 2];
    let found = &FOUND[hardware as usize];
    let opened = match found.get() {
        Some(found) => encoder(found.way, found.device.clone(), width, height),
        None => find(hardware).and_then(|first| {
            let first = found.get_or_init(|| first);
            encoder(first.way, first.device.clone(), width, height)
        }),
    };
    opened.map_err(|why| EncodeError::Unavailable {
        encoder: hardware.name().as_str(),
        why,
    })
}

impl Hardware {
    fn name(self) -> EncoderName {
        match self {
            Self::Vaapi => EncoderName::Vaapi,
            Self::Nvenc => EncoderName::Nvenc,
        }
    }

    fn ways(self) -> &'static [Way] {
        match self {
            Self::Vaapi => VAAPI_WAYS,
            Self::Nvenc => NVENC_WAYS,
        }
    }

    /// Looked at before FFmpeg is loaded, so that a machine without hardware is spared it.
    fn devices(self) -> Result<Vec<Option<CString>>, String> {
        match self {
            Self::Vaapi => {
                let devices = render_devices(Path::new(DEVICES))?;
                let c_path = |path: PathBuf| CString::new(path.as_os_str().as_bytes()).ok();
                Ok(devices.into_iter().map(c_path).collect())
            }
            Self::Nvenc => nvidia().map(|()| vec![None]),
        }
    }
}

/// The first way that proves itself.
fn find(hardware: Hardware) -> Result<Found, String> {
    let mut reasons: Vec<String> = Vec::new();
    for device in hardware.devices()? {
        for way in hardware.ways() {
            match proven(way, device.as_ref()) {
                Ok(()) => return Ok(Found { way, device }),
                Err(why) => reasons.push(why),
            }
        }
    }
    reasons.dedup();
    Err(reasons.join("; or "))
}

/// Whether the way works, tried on a small picture.
///
/// # Errors
///
/// One sentence.
pub fn proven(way: &'static Way, device: Option<&CString>) -> Result<(), String> {
    let quantiser = match way.rating {
        Rating::Quantiser => Quantiser::Obeyed,
        Rating::Bitrate(_) => Quantiser::Ignored,
    };
    let open = |width, height| encoder(way, device.cloned(), width, height);
    proof::prove(quantiser, open).inspect_err(|why| {
        tracing::debug!(encoder = way.name.as_str(), options = ?way.options, why, "no way");
    })
}

fn encoder(
    way: &'static Way,
    device: Option<CString>,
    width: usize,
    height: usize,
) -> Result<Box<dyn Encoder>, String> {
    Ok(Box::new(Ffmpeg::open(way, device, width, height)?))
}

/// The devices of `folder` this program may use.
fn render_devices(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut devices: Vec<PathBuf> = names
        .filter(|entry| {
            entry
                .file_name()
                .as_bytes()
                .starts_with(DEVICE_PREFIX.as_bytes())
        })
        .map(|entry| entry.path())
        .collect();
    devices.sort();
    if devices.is_empty() {
        return Err(format!(
            "there is no {}/{DEVICE_PREFIX}128; load the driver of the graphics device, or give the \
             container its devices (--device {0})",
            folder.display()
        ));
    }
    let mut usable = Vec::new();
    let mut refusals = Vec::new();
    for device in devices {
        let opened = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&device);
        match opened {
            Ok(_) => usable.push(device),
            Err(error) => refusals.push(refused(&device, error.kind())),
        }
    }
    if usable.is_empty() {
        return Err(refusals.join("; "));
    }
    Ok(usable)
}

/// Why a device cannot be opened; the group it belongs to, if that is what is missing.
fn refused(device: &Path, error: ErrorKind) -> String {
    let device_name = device.display();
    if error != ErrorKind::PermissionDenied {
        return format!("{device_name} cannot be opened: {error}");
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let group = std::fs::metadata(device).map_or(0, |about| about.gid());
    let group = group_name(&groups, group);
    format!(
        "this user may not open {device_name}; put it into the group {group} (usermod -aG {group} \
         USER) and start again"
    )
}

/// From lines `name:password:id:members`; the number if there is no such line.
fn group_name(groups: &str, id: u32) -> String {
    let id = id.to_string();
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    found.unwrap_or(id)
}

fn nvidia() -> Result<(), String> {
    for (library, package) in NVIDIA {
        Library::open(library, package).map_err(|missing| {
            format!(
                "{missing}: NVENC comes with NVIDIA's driver, to a container with \
                 NVIDIA_DRIVER_CAPABILITIES=compute,video"
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_machine_without_a_graphics_device_is_told_what_it_lacks() {
        let nowhere = Path::new("/nowhere/dri");
        assert_eq!(
            render_devices(nowhere).unwrap_err(),
            "there is no /nowhere/dri/renderD128; load the driver of the graphics device, or give \
             the container its devices (--device /nowhere/dri)"
        );
    }

    #[test]
    fn devices_that_render_are_found_in_order_and_others_are_left_alone() {
        let folder = folder("hardware-devices");
        for name in ["renderD129", "card0", "renderD128"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let devices = render_devices(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let names: Vec<_> = devices.iter().filter_map(|d| d.file_name()).collect();
        assert_eq!(names, ["renderD128", "renderD129"]);
    }

    #[test]
    fn who_may_not_open_the_device_is_told_its_group() {
        let folder = folder("hardware-group");
        let device = folder.join("renderD128");
        std::fs::write(&device, "").unwrap();
        let group = std::fs::metadata(&device).unwrap().gid();
        let groups = std::fs::read_to_string("/etc/group").unwrap();
        let said = refused(&device, ErrorKind::PermissionDenied);
        std::fs::remove_dir_all(&folder).unwrap();
        let group = group_name(&groups, group);
        assert!(
            said.contains(&format!("usermod -aG {group} USER")),
            "{said}"
        );
        assert!(refused(&device, ErrorKind::NotFound).contains("cannot be opened"));
    }

    #[test]
    fn a_group_goes_by_its_name_and_one_without_by_its_number() {
        let groups = "root:x:0:\nvideo:x:44:desk\nrender:x:106:\n";
        assert_eq!(group_name(groups, 106), "render");
        assert_eq!(group_name(groups, 44), "video");
        assert_eq!(group_name(groups, 107), "107");
        assert_eq!(group_name("broken", 1), "1");
    }

    #[test]
    fn what_is_not_nvidia_is_told_what_nvenc_comes_with() {
        // On a machine with the driver the rest of the way is tried by `open`.
        if let Err(why) = nvidia() {
            assert!(why.contains("apt-get install lib"), "{why}");
            assert!(why.contains("NVIDIA_DRIVER_CAPABILITIES"), "{why}");
        }
    }

    /// Hardware that is there has to pass its proof; hardware that is not, to say why.
    fn check(hardware: Hardware, reasons: &[&str]) {
        match open(hardware, 320, 192) {
            Ok(encoder) => assert_eq!(encoder.name(), hardware.name()),
            Err(EncodeError::Unavailable { encoder, why }) => {
                assert_eq!(encoder, hardware.name().as_str());
                let known = reasons.iter().any(|reason| why.contains(reason));
                assert!(known, "{why}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn hardware_that_is_not_there_says_what_to_do() {
        check(Hardware::Vaapi, &["renderD128; load", "usermod", "VA"]);
        check(Hardware::Nvenc, &["apt-get install lib", "NVENC"]);
    }
}
