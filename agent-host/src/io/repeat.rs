//! The X server's own key repeat, switched off while viewers repeat keys themselves.
//!
//! Rule: what was found is put back. It is noted on the root window meanwhile, so that an agent host
//! that was killed does not leave a desktop whose keys never repeat: the next one puts it back.

use x11rb::protocol::xproto::{
    AtomEnum, AutoRepeatMode, ChangeKeyboardControlAux, ConnectionExt as _, PropMode, Window,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::io::hands::Repeats;

x11rb::atom_manager! {
    Atoms: AtomsCookie {
        MULTICLAW_AUTO_REPEAT,
    }
}

/// Repeating is whose business from now on.
///
/// # Errors
///
/// The connection is gone.
pub(super) fn set(conn: &RustConnection, root: Window, by: Repeats) -> anyhow::Result<()> {
    let note = Atoms::new(conn)?.reply()?.MULTICLAW_AUTO_REPEAT;
    let noted = conn.get_property(false, root, note, AtomEnum::CARDINAL, 0, 1)?;
    let noted = noted
        .reply()?
        .value32()
        .and_then(|mut values| values.next());
    match (by, noted) {
        (Repeats::Viewers, None) => {
            let found = conn.get_keyboard_control()?.reply()?.global_auto_repeat;
            let (mode, cardinal) = (PropMode::REPLACE, AtomEnum::CARDINAL);
            conn.change_property32(mode, root, note, cardinal, &[u32::from(found)])?;
            change(conn, AutoRepeatMode::OFF)?;
        }
        (Repeats::Viewers, Some(_)) => change(conn, AutoRepeatMode::OFF)?,
        (Repeats::Server, None) => {}
        (Repeats::Server, Some(found)) => {
            let was_off = found == u32::from(AutoRepeatMode::OFF);
            let mode = if was_off {
                AutoRepeatMode::OFF
            } else {
                AutoRepeatMode::ON
            };
            change(conn, mode)?;
            conn.delete_property(root, note)?;
        }
    }
    // To the end: a connection closed with answers unread takes its last requests with it.
    conn.sync()?;
    Ok(())
}

fn change(conn: &RustConnection, mode: AutoRepeatMode) -> anyhow::Result<()> {
    conn.change_keyboard_control(&ChangeKeyboardControlAux::new().auto_repeat_mode(mode))?;
    Ok(())
}
