//! What winit calls a key → its X11 keysym and its evdev code. Values: X11/keysymdef.h and
//! XF86keysym.h; the browser viewer has the same table by the same names.

use winit::event::KeyEvent;
use winit::keyboard::{Key as Logical, KeyLocation, NamedKey};
use winit::platform::scancode::PhysicalKeyExtScancode;

use crate::keys::{Key, character_keysym};

/// The key of an event; its keysym is 0 while a dead key or an input method is busy with it.
pub(super) fn key_of(event: &KeyEvent) -> Key {
    let code = event.physical_key.to_scancode().unwrap_or(0);
    Key {
        code: u16::try_from(code).unwrap_or(0),
        keysym: keysym(&event.logical_key, event.location),
    }
}

/// A key that says nothing itself: the text it leads to arrives as text.
pub(super) fn is_dead(event: &KeyEvent) -> bool {
    matches!(event.logical_key, Logical::Dead(_)) || event.logical_key == NamedKey::Process
}

fn keysym(key: &Logical, location: KeyLocation) -> u32 {
    match key {
        Logical::Character(text) => {
            let mut characters = text.chars();
            match (characters.next(), characters.next()) {
                (Some(one), None) if location == KeyLocation::Numpad => keypad_character(one),
                (Some(one), None) => character_keysym(one),
                _ => 0,
            }
        }
        Logical::Named(named) if location == KeyLocation::Numpad => {
            keypad(*named).unwrap_or_else(|| name(*named))
        }
        Logical::Named(named) => {
            let side = u32::from(location == KeyLocation::Right);
            sided(*named).map_or_else(|| name(*named), |left| left + side)
        }
        _ => 0,
    }
}

/// Keysym of the left one; the right one follows it.
fn sided(named: NamedKey) -> Option<u32> {
    Some(match named {
        NamedKey::Shift => 0xffe1,
        NamedKey::Control => 0xffe3,
        NamedKey::Meta => 0xffe7,
        NamedKey::Alt => 0xffe9,
        NamedKey::Super => 0xffeb,
        _ => return None,
    })
}

fn keypad_character(character: char) -> u32 {
    match character {
        '*' | '+' | ',' | '-' | '.' | '/' | '0'..='9' => 0xff80 + u32::from(character),
        '=' => 0xffbd,
        other => character_keysym(other),
    }
}

fn keypad(named: NamedKey) -> Option<u32> {
    Some(match named {
        NamedKey::Enter => 0xff8d,
        NamedKey::Home => 0xff95,
        NamedKey::ArrowLeft => 0xff96,
        NamedKey::ArrowUp => 0xff97,
        NamedKey::ArrowRight => 0xff98,
        NamedKey::ArrowDown => 0xff99,
        NamedKey::PageUp => 0xff9a,
        NamedKey::PageDown => 0xff9b,
        NamedKey::End => 0xff9c,
        NamedKey::Clear => 0xff9d,
        NamedKey::Insert => 0xff9e,
        NamedKey::Delete => 0xff9f,
        _ => return None,
    })
}

fn name(named: NamedKey) -> u32 {
    editing(named)
        .or_else(|| function(named))
        .or_else(|| media(named))
        .unwrap_or(0)
}

fn editing(named: NamedKey) -> Option<u32> {
    Some(match named {
        NamedKey::Space => 0x20,
        NamedKey::Backspace => 0xff08,
        NamedKey::Tab => 0xff09,
        NamedKey::Clear => 0xff0b,
        NamedKey::Enter => 0xff0d,
        NamedKey::Pause => 0xff13,
        NamedKey::ScrollLock => 0xff14,
        NamedKey::Escape => 0xff1b,
        NamedKey::Compose => 0xff20,
        NamedKey::NonConvert => 0xff22,
        NamedKey::Convert => 0xff23,
        NamedKey::Home => 0xff50,
        NamedKey::ArrowLeft => 0xff51,
        NamedKey::ArrowUp => 0xff52,
        NamedKey::ArrowRight => 0xff53,
        NamedKey::ArrowDown => 0xff54,
        NamedKey::PageUp => 0xff55,
        NamedKey::PageDown => 0xff56,
        NamedKey::End => 0xff57,
        NamedKey::Select => 0xff60,
        NamedKey::PrintScreen => 0xff61,
        NamedKey::Insert => 0xff63,
        NamedKey::Undo => 0xff65,
        NamedKey::Redo => 0xff66,
        NamedKey::ContextMenu => 0xff67,
        NamedKey::Find => 0xff68,
        NamedKey::Help => 0xff6a,
        NamedKey::NumLock => 0xff7f,
        NamedKey::CapsLock => 0xffe5,
        NamedKey::Hyper => 0xffed,
        NamedKey::AltGraph => 0xfe03,
        NamedKey::Delete => 0xffff,
        _ => return None,
    })
}

fn function(named: NamedKey) -> Option<u32> {
    const F1: u32 = 0xffbe;
    const ALL: [NamedKey; 24] = [
        NamedKey::F1,
        NamedKey::F2,
        NamedKey::F3,
        NamedKey::F4,
        NamedKey::F5,
        NamedKey::F6,
        NamedKey::F7,
        NamedKey::F8,
        NamedKey::F9,
        NamedKey::F10,
        NamedKey::F11,
        NamedKey::F12,
        NamedKey::F13,
        NamedKey::F14,
        NamedKey::F15,
        NamedKey::F16,
        NamedKey::F17,
        NamedKey::F18,
        NamedKey::F19,
        NamedKey::F20,
        NamedKey::F21,
        NamedKey::F22,
        NamedKey::F23,
        NamedKey::F24,
    ];
    let at = ALL.iter().position(|&key| key == named)?;
    Some(F1 + u32::try_from(at).ok()?)
}

fn media(named: NamedKey) -> Option<u32> {
    Some(match named {
        NamedKey::BrightnessUp => 0x1008_ff02,
        NamedKey::BrightnessDown => 0x1008_ff03,
        NamedKey::AudioVolumeDown => 0x1008_ff11,
        NamedKey::AudioVolumeMute => 0x1008_ff12,
        NamedKey::AudioVolumeUp => 0x1008_ff13,
        NamedKey::MediaPlayPause => 0x1008_ff14,
        NamedKey::MediaStop => 0x1008_ff15,
        NamedKey::MediaTrackPrevious => 0x1008_ff16,
        NamedKey::MediaTrackNext => 0x1008_ff17,
        NamedKey::BrowserHome => 0x1008_ff18,
        NamedKey::LaunchMail => 0x1008_ff19,
        NamedKey::BrowserSearch => 0x1008_ff1b,
        NamedKey::BrowserBack => 0x1008_ff26,
        NamedKey::BrowserForward => 0x1008_ff27,
        NamedKey::BrowserStop => 0x1008_ff28,
        NamedKey::BrowserRefresh => 0x1008_ff29,
        NamedKey::BrowserFavorites => 0x1008_ff30,
        NamedKey::Copy => 0x1008_ff57,
        NamedKey::Cut => 0x1008_ff58,
        NamedKey::Open => 0x1008_ff6b,
        NamedKey::Paste => 0x1008_ff6d,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_and_the_keypad_are_told_apart() {
        let shift = Logical::Named(NamedKey::Shift);
        assert_eq!(keysym(&shift, KeyLocation::Left), 0xffe1);
        assert_eq!(keysym(&shift, KeyLocation::Right), 0xffe2);
        let seven = Logical::Character("7".into());
        assert_eq!(keysym(&seven, KeyLocation::Standard), 0x37);
        assert_eq!(keysym(&seven, KeyLocation::Numpad), 0xffb7);
        let home = Logical::Named(NamedKey::Home);
        assert_eq!(keysym(&home, KeyLocation::Numpad), 0xff95);
    }

    #[test]
    fn function_keys_count_up_and_ligatures_have_no_keysym() {
        let f12 = Logical::Named(NamedKey::F12);
        assert_eq!(keysym(&f12, KeyLocation::Standard), 0xffc9);
        let two = Logical::Character("क्ष".into());
        assert_eq!(keysym(&two, KeyLocation::Standard), 0);
    }
}
