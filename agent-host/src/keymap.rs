//! The server's keyboard map, asked one question: which key, with which modifiers, means this?
//!
//! Levels and modifiers follow the XKB protocol specification (§15, key types); only the group in
//! force is kept.

use std::collections::BTreeMap;

/// A key of the server's keyboard, by number.
pub type Keycode = u8;
/// What a key means.
pub type Keysym = u32;
/// A set of real modifiers, one bit each; Shift is bit 0.
pub type Mods = u8;

pub const SHIFT: Mods = 1;
pub const NO_SYMBOL: Keysym = 0;
pub const SHIFT_L: Keysym = 0xFFE1;
pub const LEVEL3_SHIFT: Keysym = 0xFE03;

/// One key, in the group in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// What the key means on each level.
    pub syms: Vec<Keysym>,
    /// Modifiers the key's type looks at.
    pub mask: Mods,
    /// Modifiers, cut to `mask`, and the level they choose; any others choose level 0.
    pub levels: Vec<(Mods, usize)>,
    /// Modifiers the key itself sets.
    pub sets: Mods,
}

impl Key {
    fn level(&self, mods: Mods) -> usize {
        let seen = mods & self.mask;
        self.levels
            .iter()
            .find(|(mods, _)| *mods == seen)
            .map_or(0, |&(_, level)| level)
    }

    fn means(&self, mods: Mods) -> Keysym {
        self.syms
            .get(self.level(mods))
            .copied()
            .unwrap_or(NO_SYMBOL)
    }
}

/// The whole map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keymap {
    keys: BTreeMap<Keycode, Key>,
    shift: Option<Keycode>,
    level3: Option<(Keycode, Mods)>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub keycode: Keycode,
    /// Of [`Keymap::choosers`], exactly these are to be held.
    pub mods: Mods,
}

impl Keymap {
    pub fn new(keys: BTreeMap<Keycode, Key>) -> Self {
        let holder = |keysym| {
            keys.iter()
                .find(|(_, key)| key.syms.first() == Some(&keysym) && key.sets != 0)
                .map(|(&code, key)| (code, key.sets))
        };
        Self {
            shift: holder(SHIFT_L).map(|(code, _)| code),
            level3: holder(LEVEL3_SHIFT),
            keys,
        }
    }

    /// Keys without a meaning, which may be given one for a while. From the top: low ones belong
    /// to keys that some keyboard has.
    pub fn spare(&self) -> impl Iterator<Item = Keycode> {
        self.keys
            .iter()
            .rev()
            .filter(|(_, key)| key.sets == 0 && key.syms.iter().all(|&s| s == NO_SYMBOL))
            .map(|(&code, _)| code)
    }

    /// The modifiers that choose a level and can be pressed.
    pub fn choosers(&self) -> Mods {
        let shift = self.shift.map_or(0, |_| SHIFT);
        shift | self.level3.map_or(0, |(_, mods)| mods)
    }

    /// The key to press for one of [`choosers`](Self::choosers).
    pub fn chooser_key(&self, modifier: Mods) -> Option<Keycode> {
        match self.level3 {
            Some((code, mods)) if mods & modifier != 0 => Some(code),
            _ => self.shift.filter(|_| modifier == SHIFT),
        }
    }

    /// What pressing a key adds to the modifiers.
    pub fn sets(&self, keycode: Keycode) -> Mods {
        self.keys.get(&keycode).map_or(0, |key| key.sets)
    }

    /// A key that means `keysym` with none of the choosers held, whatever else is.
    pub fn plain(&self, keysym: Keysym, hint: Option<Keycode>) -> Option<Keycode> {
        let means = |code: &Keycode| {
            self.keys
                .get(code)
                .is_some_and(|key| key.syms.first() == Some(&keysym))
        };
        hint.filter(means)
            .or_else(|| self.keys.keys().copied().find(means))
    }

    /// The best key for `keysym` while `held` are: the one at the same place as on the viewer's
    /// keyboard if it has the meaning, one that needs no other modifiers, the simplest.
    pub fn find(&self, keysym: Keysym, hint: Option<Keycode>, held: Mods) -> Option<Found> {
        let choosers = self.choosers();
        let now = held & choosers;
        let sets = [0, SHIFT, choosers & !SHIFT, choosers];
        let mut best: Option<(u32, Found)> = None;
        for (&keycode, key) in &self.keys {
            for mods in std::iter::once(now).chain(sets) {
                if mods & !choosers != 0 || key.means(held & !choosers | mods) != keysym {
                    continue;
                }
                let away = u32::from(Some(keycode) != hint) * 4;
                let cost = away + u32::from(mods != now) * 8 + mods.count_ones();
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, Found { keycode, mods }));
                }
            }
        }
        best.map(|(_, found)| found)
    }

    /// Without these keys' meanings: they are ours for a while.
    pub fn forget(&mut self, keycode: Keycode) {
        if let Some(key) = self.keys.get_mut(&keycode) {
            *key = Key::default();
        }
    }
}

/// The keysym of a character (X11 protocol, appendix A: Latin-1 as it is, the rest by Unicode).
pub fn keysym_of(character: char) -> Keysym {
    match u32::from(character) {
        0x0A | 0x0D => 0xFF0D,
        0x09 => 0xFF09,
        0x08 => 0xFF08,
        latin @ (0x20..=0x7E | 0xA0..=0xFF) => latin,
        unicode => 0x0100_0000 | unicode,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const LEVEL3: Mods = 0x80;

    fn two_level(low: u32, high: u32) -> Key {
        Key {
            syms: vec![low, high],
            mask: SHIFT,
            levels: vec![(SHIFT, 1)],
            sets: 0,
        }
    }

    fn modifier(keysym: u32, sets: Mods) -> Key {
        Key {
            syms: vec![keysym],
            sets,
            ..Key::default()
        }
    }

    /// A corner of a German keyboard: 38 a, 16 7/{, 24 q/@, 36 Return, 50 Shift, 92 AltGr; 200–203
    /// are spare.
    pub(crate) fn german() -> Keymap {
        let four = |syms: [u32; 4]| Key {
            syms: syms.to_vec(),
            mask: SHIFT | LEVEL3,
            levels: vec![(SHIFT, 1), (LEVEL3, 2), (SHIFT | LEVEL3, 3)],
            sets: 0,
        };
        let mut keys = BTreeMap::from([
            (16, four([0x37, 0x2F, 0x7B, 0])),
            (24, four([0x71, 0x51, 0x40, 0])),
            (37, modifier(0xFFE3, 4)),
            (38, two_level(0x61, 0x41)),
            (36, modifier(0xFF0D, 0)),
            (50, modifier(SHIFT_L, SHIFT)),
            (92, modifier(LEVEL3_SHIFT, LEVEL3)),
        ]);
        keys.extend((200..=203).map(|code| (code, Key::default())));
        Keymap::new(keys)
    }

    #[test]
    fn a_meaning_is_found_with_the_modifiers_it_needs() {
        let map = german();
        let find = |keysym, held| map.find(keysym, None, held).map(|f| (f.keycode, f.mods));
        assert_eq!(find(0x61, 0), Some((38, 0)));
        assert_eq!(find(0x41, 0), Some((38, SHIFT)));
        assert_eq!(find(0x40, 0), Some((24, LEVEL3)));
        assert_eq!(find(0x2F, SHIFT), Some((16, SHIFT)));
        assert_eq!(find(0x37, SHIFT), Some((16, 0)));
        assert_eq!(find(0x20AC, 0), None);
    }

    #[test]
    fn spare_keys_are_those_without_a_meaning() {
        assert_eq!(german().spare().collect::<Vec<_>>(), [203, 202, 201, 200]);
    }
}
