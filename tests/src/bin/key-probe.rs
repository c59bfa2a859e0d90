//! The keyboard matrix' hands and eyes: presses physical keys on one display, and tells what a real X
//! client on a display was typed, in characters. `tests/e2e/keyboard.test.mjs` compares the two.
#![expect(
    clippy::disallowed_methods,
    reason = "a program that presses keys waits between them"
)]

use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde_json::json;
use x11rb::CURRENT_TIME;
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xkb::{ConnectionExt as _, ID, KeySymMap, KeyType, MapPart};
use x11rb::protocol::xproto::{
    ConnectionExt as _, CreateWindowAux, EventMask, InputFocus, KEY_PRESS_EVENT, KEY_RELEASE_EVENT,
    KeyPressEvent, WindowClass,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;
use xkeysym::Keysym;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print each key that a window with the focus is given, one JSON object a line.
    Record {
        #[arg(long)]
        display: String,
    },
    /// Press keys: one line of stdin each, keycodes joined by `+`, the last one tapped while the
    /// others are held.
    Press {
        #[arg(long)]
        display: String,
        /// After each line.
        #[arg(long, default_value_t = 5)]
        delay_ms: u64,
    },
}

fn main() -> Result<()> {
    match Options::parse().command {
        Command::Record { display } => record(&display),
        Command::Press { display, delay_ms } => press(&display, Duration::from_millis(delay_ms)),
    }
}

fn connect(display: &str) -> Result<(RustConnection, u32)> {
    let (conn, number) = RustConnection::connect(Some(display))
        .with_context(|| format!("no X server answers at {display}"))?;
    let root = conn.setup().roots[number].root;
    Ok((conn, root))
}

fn press(display: &str, delay: Duration) -> Result<()> {
    let (conn, root) = connect(display)?;
    for line in stdin().lock().lines() {
        let line = line?;
        let keys: Result<Vec<u8>, _> = line.split('+').map(str::parse).collect();
        let keys = keys.with_context(|| format!("{line} are no keycodes"))?;
        let ups = keys.iter().rev().map(|key| (KEY_RELEASE_EVENT, *key));
        for (kind, key) in keys.iter().map(|key| (KEY_PRESS_EVENT, *key)).chain(ups) {
            conn.xtest_fake_input(kind, key, CURRENT_TIME, root, 0, 0, 0)?;
        }
        conn.sync()?;
        thread::sleep(delay);
    }
    Ok(())
}

fn record(display: &str) -> Result<()> {
    let (conn, root) = connect(display)?;
    conn.xkb_use_extension(1, 0)?.reply()?;
    let window = conn.generate_id()?;
    let look = CreateWindowAux::new()
        .override_redirect(1)
        .event_mask(EventMask::KEY_PRESS);
    let class = WindowClass::INPUT_OUTPUT;
    conn.create_window(0, window, root, 0, 0, 64, 64, 0, class, 0, &look)?;
    conn.map_window(window)?;
    conn.sync()?;
    conn.set_input_focus(InputFocus::NONE, window, CURRENT_TIME)?;
    conn.sync()?;
    println!("{}", json!({ "ready": "record" }));
    loop {
        if let Event::KeyPress(press) = conn.wait_for_event()? {
            let keysym = Keysym::new(meaning(&conn, &press)?);
            if !keysym.is_modifier_key() {
                let character = keysym.key_char().map(String::from);
                println!(
                    "{}",
                    json!({
                        "keycode": press.detail,
                        "keysym": keysym.raw(),
                        "character": character,
                        "state": u16::from(press.state) & 0xFF,
                    })
                );
                stdout().flush()?;
            }
        }
    }
}

/// What the key means now, as an X client that follows the keyboard map would have it.
fn meaning(conn: &RustConnection, press: &KeyPressEvent) -> Result<u32> {
    let (types, syms) = (MapPart::KEY_TYPES, MapPart::KEY_SYMS);
    let core = ID::USE_CORE_KBD.into();
    let key = press.detail;
    let none = 0_u16.into();
    let map = conn
        .xkb_get_map(
            core, types, syms, 0, 0, key, 1, 0, 0, 0, 0, none, 0, 0, 0, 0, 0, 0,
        )?
        .reply()?;
    let types = map.map.types_rtrn.unwrap_or_default();
    let syms = map.map.syms_rtrn.unwrap_or_default();
    let key = press
        .detail
        .checked_sub(map.first_key_sym)
        .and_then(|index| syms.get(usize::from(index)));
    // The group is in bits 13 and 14 of the state.
    let group = usize::from(u16::from(press.state) >> 13 & 3);
    let mods = (u16::from(press.state) & 0xFF) as u8;
    Ok(key.map_or(0, |key| keysym(key, &types, group, mods)))
}

fn keysym(key: &KeySymMap, types: &[KeyType], group: usize, mods: u8) -> u32 {
    let groups = usize::from(key.group_info & 0x0F);
    if groups == 0 {
        return 0;
    }
    let group = group.min(groups - 1);
    let kind = key
        .kt_index
        .get(group)
        .and_then(|index| types.get(usize::from(*index)));
    let level = kind.map_or(0, |kind| {
        let seen = mods & (u16::from(kind.mods_mask) & 0xFF) as u8;
        let entry = kind
            .map
            .iter()
            .find(|entry| entry.active && (u16::from(entry.mods_mask) & 0xFF) as u8 == seen);
        entry.map_or(0, |entry| usize::from(entry.level))
    });
    let at = group * usize::from(key.width) + level;
    key.syms.get(at).copied().unwrap_or(0)
}
