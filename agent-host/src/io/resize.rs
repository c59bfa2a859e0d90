//! Another size for the screen, by RandR: one output, one mode made to measure.
//!
//! Xvfb grows no larger than it was started; the size is cut to what the server allows.

use anyhow::Context as _;
use x11rb::connection::Connection as _;
use x11rb::protocol::randr::{self, ConnectionExt as _, ModeInfo};
use x11rb::protocol::xproto::{ConnectionExt as _, Window};
use x11rb::rust_connection::RustConnection;

/// How the names of the modes end that are made here.
const OUR_MODES: &str = "-fit";

/// Dots per inch: what programs take for 100 %.
const DPI: u32 = 96;

/// Gives the screen `width` × `height`, made even.
///
/// # Errors
///
/// The server has no RandR 1.2, no output, or refuses the mode. The screen keeps its size.
pub(super) fn resize(
    conn: &RustConnection,
    root: Window,
    width: u16,
    height: u16,
) -> anyhow::Result<()> {
    let range = conn.randr_get_screen_size_range(root)?.reply()?;
    let width = width.clamp(range.min_width, range.max_width) & !1;
    let height = height.clamp(range.min_height, range.max_height) & !1;
    let geometry = conn.get_geometry(root)?.reply()?;
    if (geometry.width, geometry.height) == (width, height) {
        return Ok(());
    }
    let resources = conn.randr_get_screen_resources(root)?.reply()?;
    let &output = resources
        .outputs
        .first()
        .context("the screen has no output")?;
    let info = conn
        .randr_get_output_info(output, resources.config_timestamp)?
        .reply()?;
    let crtc = match info.crtc {
        0 => *info.crtcs.first().context("the output has no controller")?,
        crtc => crtc,
    };
    let wanted = |mode: &&ModeInfo| {
        (mode.width, mode.height) == (width, height) && info.modes.contains(&mode.id)
    };
    let mode = match resources.modes.iter().find(wanted) {
        Some(mode) => mode.id,
        None => add_mode(conn, root, output, width, height)?,
    };
    // Grabbed, so that no program sees the moment without a mode.
    conn.grab_server()?;
    let result = switch(conn, root, crtc, output, mode, (width, height));
    conn.ungrab_server()?;
    conn.flush()?;
    if result.is_ok() {
        drop_our_modes(conn, output, &resources, mode);
    }
    result
}

/// Modes we made for earlier sizes: a window that is dragged would leave hundreds behind.
fn drop_our_modes(
    conn: &RustConnection,
    output: randr::Output,
    resources: &randr::GetScreenResourcesReply,
    keep: randr::Mode,
) {
    let mut names = resources.names.as_slice();
    for mode in &resources.modes {
        let len = usize::from(mode.name_len).min(names.len());
        let (name, rest) = names.split_at(len);
        names = rest;
        if mode.id != keep && name.ends_with(OUR_MODES.as_bytes()) {
            // One that is gone already, or in use elsewhere, stays as it is.
            let _ = conn.randr_delete_output_mode(output, mode.id);
            let _ = conn.randr_destroy_mode(mode.id);
        }
    }
    let _ = conn.flush();
}

fn add_mode(
    conn: &RustConnection,
    root: Window,
    output: randr::Output,
    width: u16,
    height: u16,
) -> anyhow::Result<randr::Mode> {
    let name = format!("{width}x{height}{OUR_MODES}");
    let mode = ModeInfo {
        width,
        height,
        dot_clock: u32::from(width) * u32::from(height) * 60,
        htotal: width,
        vtotal: height,
        name_len: u16::try_from(name.len())?,
        ..ModeInfo::default()
    };
    let mode = conn
        .randr_create_mode(root, mode, name.as_bytes())?
        .reply()?
        .mode;
    conn.randr_add_output_mode(output, mode)?.check()?;
    Ok(mode)
}

fn switch(
    conn: &RustConnection,
    root: Window,
    crtc: randr::Crtc,
    output: randr::Output,
    mode: randr::Mode,
    (width, height): (u16, u16),
) -> anyhow::Result<()> {
    let upright = randr::Rotation::ROTATE0;
    let millimetres = |pixels: u16| u32::from(pixels) * 254 / DPI / 10;
    conn.randr_set_crtc_config(crtc, 0, 0, 0, 0, 0, upright, &[])?
        .reply()?;
    conn.randr_set_screen_size(root, width, height, millimetres(width), millimetres(height))?
        .check()?;
    let set = conn
        .randr_set_crtc_config(crtc, 0, 0, 0, 0, mode, upright, &[output])?
        .reply()?;
    anyhow::ensure!(
        set.status == randr::SetConfig::SUCCESS,
        "the server refused the mode: {:?}",
        set.status
    );
    Ok(())
}
