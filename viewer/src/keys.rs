//! Keys → messages. Remembers which keys are down, so that a key is released as what it was pressed
//! as, and everything is released when the window can no longer know.
//!
//! A held key goes down again for each repeat of this keyboard: the desktop repeats nothing by
//! itself, so a network that holds the release back types no letter more. Not sent: repeats of
//! modifiers, Caps Lock and Num Lock (their effect is in the keysym already; two locks would cancel
//! each other). Text that an input method or a dead key made goes as text.

use std::collections::BTreeMap;

use protocol::control::{FromViewer, TEXT_LEN_MAX};

/// Most keys held at once; a keyboard has about as many. Past it, the newest is not sent.
const HELD_MAX: usize = 128;
/// X11/keysymdef.h.
const CAPS_LOCK: u32 = 0xffe5;
const NUM_LOCK: u32 = 0xff7f;

/// A key as the window system tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Linux evdev code of the place on the keyboard; 0 if not known.
    pub code: u16,
    /// X11 keysym of what it means in the viewer's layout; 0 if nothing by itself.
    pub keysym: u32,
}

/// The keys that are down.
#[derive(Debug, Default)]
pub struct Keyboard {
    /// What each was pressed as, by place, or by meaning where the place is not known.
    held: BTreeMap<(u16, u32), u32>,
}

impl Keyboard {
    /// A key goes down.
    pub fn handle_down(&mut self, key: Key) -> Option<FromViewer> {
        let nameless = key.code == 0 && key.keysym == 0;
        if nameless || matches!(key.keysym, CAPS_LOCK | NUM_LOCK) {
            return None;
        }
        let place = place_of(key);
        if self.held.contains_key(&place) || self.held.len() >= HELD_MAX {
            return None;
        }
        self.held.insert(place, key.keysym);
        Some(message(true, key.keysym, key.code))
    }

    /// A key that is down repeats; `None` if it did not go down here, or is a modifier.
    pub fn handle_repeat(&mut self, key: Key) -> Option<FromViewer> {
        let keysym = *self.held.get(&place_of(key))?;
        (!is_modifier(keysym)).then(|| message(true, keysym, key.code))
    }

    /// A key goes up; `None` if it was not down here.
    pub fn handle_up(&mut self, key: Key) -> Option<FromViewer> {
        let keysym = self.held.remove(&place_of(key))?;
        Some(message(false, keysym, key.code))
    }

    /// The window lost the focus: everything goes up.
    pub fn release_all(&mut self) -> FromViewer {
        self.held.clear();
        FromViewer::ReleaseAll
    }

    /// A new connection: its host holds nothing.
    pub fn forget(&mut self) {
        self.held.clear();
    }
}

/// Text an input method committed, cut to what one message may carry, at characters.
pub fn texts(text: &str) -> Vec<FromViewer> {
    let mut messages = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cut = rest.floor_char_boundary(TEXT_LEN_MAX);
        let (head, tail) = rest.split_at(cut);
        messages.push(FromViewer::Text(head.to_owned()));
        rest = tail;
    }
    messages
}

/// The keysym of a character: Latin-1 is its own, every other is `0x0100_0000` + its code point
/// (X11 protocol, appendix A). 0 for control characters.
pub fn character_keysym(character: char) -> u32 {
    let point = u32::from(character);
    match point {
        0..0x20 | 0x7f..0xa0 => 0,
        0x20..=0xff => point,
        _ => 0x0100_0000 + point,
    }
}

/// Shift_L to Hyper_R, and the two that choose a level.
fn is_modifier(keysym: u32) -> bool {
    matches!(keysym, 0xffe1..=0xffee | 0xfe03 | 0xff7e)
}

fn place_of(key: Key) -> (u16, u32) {
    (key.code, if key.code == 0 { key.keysym } else { 0 })
}

fn message(down: bool, keysym: u32, code: u16) -> FromViewer {
    FromViewer::Key { down, keysym, code }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Key = Key {
        code: 30,
        keysym: 0x61,
    };
    const CAPITAL_A: Key = Key {
        code: 30,
        keysym: 0x41,
    };

    #[test]
    fn a_key_is_released_as_what_it_was_pressed_as() {
        let mut keys = Keyboard::default();
        assert_eq!(keys.handle_down(CAPITAL_A), Some(message(true, 0x41, 30)));
        // Shift went up in between.
        assert_eq!(keys.handle_up(A), Some(message(false, 0x41, 30)));
    }

    #[test]
    fn a_held_key_goes_down_again_as_what_it_was_pressed_as() {
        let mut keys = Keyboard::default();
        assert_eq!(keys.handle_repeat(A), None);
        keys.handle_down(CAPITAL_A);
        assert_eq!(keys.handle_repeat(A), Some(message(true, 0x41, 30)));
    }

    #[test]
    fn repeated_modifiers_locks_and_keys_that_say_nothing_are_not_sent() {
        let mut keys = Keyboard::default();
        let shift = Key {
            code: 42,
            keysym: 0xffe1,
        };
        assert!(keys.handle_down(shift).is_some());
        assert_eq!(keys.handle_repeat(shift), None);
        let lock = Key {
            code: 58,
            keysym: CAPS_LOCK,
        };
        assert_eq!(keys.handle_down(lock), None);
        assert_eq!(keys.handle_up(lock), None);
        let nothing = Key { code: 0, keysym: 0 };
        assert_eq!(keys.handle_down(nothing), None);
    }

    #[test]
    fn after_a_lost_focus_nothing_is_held_and_a_late_release_is_not_sent() {
        let mut keys = Keyboard::default();
        keys.handle_down(A);
        assert_eq!(keys.release_all(), FromViewer::ReleaseAll);
        assert_eq!(keys.handle_up(A), None);
    }

    #[test]
    fn characters_outside_latin_1_have_unicode_keysyms() {
        assert_eq!(character_keysym('ß'), 0xdf);
        assert_eq!(character_keysym('€'), 0x0100_20ac);
        assert_eq!(character_keysym('\n'), 0);
    }

    proptest! {
        #[test]
        fn what_goes_down_is_what_comes_up(pressed in prop::collection::vec((1_u16..200, 1_u32..1000), 0..300)) {
            let mut keys = Keyboard::default();
            let mut down = BTreeMap::new();
            for &(code, keysym) in &pressed {
                if let Some(FromViewer::Key { keysym, code, .. }) = keys.handle_down(Key { code, keysym }) {
                    prop_assert_eq!(down.insert(code, keysym), None);
                }
            }
            prop_assert!(down.len() <= HELD_MAX);
            for (code, keysym) in down {
                let up = keys.handle_up(Key { code, keysym: 7 });
                prop_assert_eq!(up, Some(message(false, keysym, code)));
            }
        }

        #[test]
        fn long_text_is_cut_at_characters_and_nothing_is_lost(text in "\\PC{0,6000}") {
            let parts = texts(&text).into_iter().map(|part| match part {
                FromViewer::Text(part) => part,
                other => panic!("not text: {other:?}"),
            });
            let parts = parts.collect::<Vec<_>>();
            prop_assert!(parts.iter().all(|part| part.len() <= TEXT_LEN_MAX));
            prop_assert_eq!(parts.concat(), text);
        }
    }
}
