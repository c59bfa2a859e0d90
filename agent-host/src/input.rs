//! Input that the session allowed → what to inject: keys by what they mean, not by where they are.
//!
//! A key the server's layout has is pressed where it is, with Shift and AltGr put right around it
//! if need be. A key it lacks borrows a spare keycode, which is given back. Every key and button
//! that went down goes up: on its release, on lost focus, on the end of the session.
//!
//! Rule: a held key repeats when its viewer says so, never by itself. The server's own repeat would
//! go on typing while a stalled network holds the release back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::keymap::{Found, Keycode, Keymap, Keysym, LEVEL3_SHIFT, Mods, SHIFT, keysym_of};

/// Events that wait behind text that is still being typed. When full the newest is dropped.
const WAITING_MAX: usize = 8192;
/// Keys held at once; a keyboard reports fewer. More are not pressed.
const HELD_MAX: usize = 64;
/// Repeats of a key follow each other at least so far apart; nearer ones are dropped. Keyboards make
/// 40 a second at most, so those are a stall's backlog, which must not run on after the release.
const REPEAT_GAP: Duration = Duration::from_millis(15);
/// A borrowed keycode gets another meaning only after programs had time to ask for the first; a busy
/// one takes more than 60 ms. Text still goes at 100 characters a second or more.
const REUSE_AFTER: Duration = Duration::from_millis(200);
/// A borrowed keycode that was not used for so long is given back.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(5);
/// One notch of a wheel.
const NOTCH: i32 = 120;
/// Notches injected for one event; a viewer that says more is wrong.
const NOTCHES_MAX: i32 = 20;
const BUTTON_MAX: u8 = 9;

/// What a viewer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputEvent {
    Key {
        down: bool,
        keysym: Keysym,
        /// evdev code of the physical key, 0 if unknown.
        code: u16,
    },
    Button {
        down: bool,
        button: u8,
        at: Option<(u16, u16)>,
    },
    /// In 1/120 of a notch, positive is right and down.
    Wheel {
        dx: i16,
        dy: i16,
        at: Option<(u16, u16)>,
    },
    Text(String),
    ReleaseAll,
    MoveTo {
        x: u16,
        y: u16,
    },
    MoveBy {
        dx: i32,
        dy: i32,
    },
}

/// What to tell the X server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    Key {
        keycode: Keycode,
        down: bool,
    },
    Button {
        button: u8,
        down: bool,
    },
    MoveTo {
        x: u16,
        y: u16,
    },
    MoveBy {
        dx: i32,
        dy: i32,
    },
    /// Give a spare keycode a meaning; 0 takes it back.
    Map {
        keycode: Keycode,
        keysym: Keysym,
    },
}

/// What the viewers' hands hold.
#[derive(Debug, Default)]
pub struct Hands {
    keymap: Keymap,
    held: Vec<Held>,
    buttons: u16,
    wheel: (i32, i32),
    borrowed: Vec<Borrowed>,
    waiting: VecDeque<Waiting>,
    out: VecDeque<Injection>,
}

#[derive(Debug)]
struct Held {
    keysym: Keysym,
    code: u16,
    /// `None`: it was tapped, because what it means takes other modifiers than those held.
    keycode: Option<Keycode>,
    /// When it last went down.
    struck_at: Instant,
}

#[derive(Debug)]
struct Borrowed {
    keycode: Keycode,
    keysym: Keysym,
    used_at: Instant,
}

#[derive(Debug)]
enum Waiting {
    Event(InputEvent),
    Character(Keysym),
}

/// A spare keycode is not free yet.
struct NotYet;

/// How a key goes down.
#[derive(Clone, Copy)]
enum Press {
    Hold(Keycode),
    /// It needs other modifiers than those held.
    Tap(Found),
}

impl Hands {
    /// The server has another keyboard map.
    pub fn handle_keymap(&mut self, mut keymap: Keymap) {
        for borrowed in &self.borrowed {
            keymap.forget(borrowed.keycode);
        }
        self.keymap = keymap;
    }

    pub fn handle_event(&mut self, event: InputEvent, now: Instant) {
        if matches!(event, InputEvent::ReleaseAll) {
            // Never waits: what hangs is worse than a text cut short.
            self.waiting.clear();
        }
        let room = WAITING_MAX.saturating_sub(self.waiting.len());
        match event {
            InputEvent::Text(text) => self.waiting.extend(
                text.chars()
                    .take(room)
                    .map(|c| Waiting::Character(keysym_of(c))),
            ),
            event if room > 0 => self.waiting.push_back(Waiting::Event(event)),
            _ => {}
        }
        self.advance(now);
    }

    pub fn poll_injection(&mut self) -> Option<Injection> {
        self.out.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.borrowed.iter().map(|b| b.used_at).min()?;
        let wait = if self.waiting.is_empty() {
            GIVE_BACK_AFTER
        } else {
            REUSE_AFTER
        };
        Some(oldest + wait)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        let held = &self.held;
        let out = &mut self.out;
        self.borrowed.retain(|borrowed| {
            let in_use = held.iter().any(|h| h.keycode == Some(borrowed.keycode));
            let keep = in_use || now < borrowed.used_at + GIVE_BACK_AFTER;
            if !keep {
                out.push_back(Injection::Map {
                    keycode: borrowed.keycode,
                    keysym: 0,
                });
            }
            keep
        });
        // A key held for long stays borrowed; look again later.
        for borrowed in &mut self.borrowed {
            if now >= borrowed.used_at + GIVE_BACK_AFTER {
                borrowed.used_at = now;
            }
        }
    }

    fn advance(&mut self, now: Instant) {
        while let Some(next) = self.waiting.pop_front() {
            match next {
                Waiting::Event(InputEvent::Key { down, keysym, code }) if down => {
                    if self.key_down(keysym, code, now).is_err() {
                        let event = InputEvent::Key { down, keysym, code };
                        self.waiting.push_front(Waiting::Event(event));
                        return;
                    }
                }
                Waiting::Event(event) => self.apply(event),
                Waiting::Character(keysym) => {
                    if self.type_character(keysym, now).is_err() {
                        self.waiting.push_front(Waiting::Character(keysym));
                        return;
                    }
                }
            }
        }
    }

    fn apply(&mut self, event: InputEvent) {
        match event {
            InputEvent::Key { keysym, code, .. } => self.key_up(keysym, code),
            InputEvent::Button { down, button, at } => self.button(button, down, at),
            InputEvent::Wheel { dx, dy, at } => self.wheel(dx, dy, at),
            InputEvent::Text(_) => {}
            InputEvent::ReleaseAll => self.release_all(),
            InputEvent::MoveTo { x, y } => self.out.push_back(Injection::MoveTo { x, y }),
            InputEvent::MoveBy { dx, dy } => self.out.push_back(Injection::MoveBy { dx, dy }),
        }
    }

    fn key_down(&mut self, keysym: Keysym, code: u16, now: Instant) -> Result<(), NotYet> {
        if let Some(i) = self.held.iter().position(|h| h.is(keysym, code)) {
            self.repeat(i, now);
            return Ok(());
        }
        if is_lock(keysym) || self.held.len() >= HELD_MAX {
            // Locks are the business of the viewer.
            return Ok(());
        }
        let Some(press) = self.press(keysym, hint(code), now)? else {
            return Ok(());
        };
        let keycode = match press {
            Press::Hold(keycode) => Some(keycode),
            Press::Tap(_) => None,
        };
        self.held.push(Held {
            keysym,
            code,
            keycode,
            struck_at: now,
        });
        match press {
            Press::Hold(keycode) => self.key(keycode, Motion::Down),
            Press::Tap(found) => self.tap(found.keycode, found.mods),
        }
        Ok(())
    }

    /// How to press what a key means; `None` if there is no way.
    fn press(
        &mut self,
        keysym: Keysym,
        hint: Option<Keycode>,
        now: Instant,
    ) -> Result<Option<Press>, NotYet> {
        if keysym == 0 {
            return Ok(hint.map(Press::Hold));
        }
        if !chooses_level(keysym) {
            if let Some(keycode) = self.keymap.plain(keysym, hint) {
                return Ok(Some(Press::Hold(keycode)));
            }
            if is_modifier(keysym) {
                return Ok(None);
            }
        }
        let held = self.mods();
        Ok(match self.keymap.find(keysym, hint, held) {
            Some(found) if found.mods == held & self.keymap.choosers() => {
                Some(Press::Hold(found.keycode))
            }
            Some(found) => Some(Press::Tap(found)),
            None => self.borrow(keysym, now)?.map(Press::Hold),
        })
    }

    /// The viewer says that a key that is down goes on.
    fn repeat(&mut self, i: usize, now: Instant) {
        let Some(held) = self.held.get_mut(i) else {
            return;
        };
        if now.saturating_duration_since(held.struck_at) < REPEAT_GAP {
            return;
        }
        held.struck_at = now;
        let (keysym, code, keycode) = (held.keysym, held.code, held.keycode);
        match keycode {
            // A modifier that went up for a moment would let go of what it is held for.
            Some(keycode) if self.keymap.sets(keycode) != 0 || is_modifier(keysym) => {}
            Some(keycode) => {
                self.key(keycode, Motion::Up);
                self.key(keycode, Motion::Down);
            }
            None => {
                if let Some(found) = self.keymap.find(keysym, hint(code), self.mods()) {
                    self.tap(found.keycode, found.mods);
                }
            }
        }
    }

    fn key_up(&mut self, keysym: Keysym, code: u16) {
        // What the key means may have changed since it went down (Shift came up first).
        if let Some(i) = self.held.iter().position(|h| h.is(keysym, code))
            && let Some(keycode) = self.held.remove(i).keycode
        {
            self.key(keycode, Motion::Up);
        }
    }

    fn type_character(&mut self, keysym: Keysym, now: Instant) -> Result<(), NotYet> {
        if let Some(found) = self.keymap.find(keysym, None, self.mods()) {
            self.tap(found.keycode, found.mods);
        } else if let Some(keycode) = self.borrow(keysym, now)? {
            self.tap(keycode, self.mods() & self.keymap.choosers());
        }
        Ok(())
    }

    /// Presses and releases a key with exactly `mods` of the choosers held.
    fn tap(&mut self, keycode: Keycode, mods: Mods) {
        let choosers = self.keymap.choosers();
        let now = self.mods() & choosers;
        let released: Vec<_> = self
            .held
            .iter()
            .filter_map(|h| h.keycode)
            .filter(|&key| self.keymap.sets(key) & now & !mods != 0)
            .collect();
        let pressed: Vec<_> = [SHIFT, choosers & !SHIFT]
            .into_iter()
            .filter(|&one| one & mods & !now != 0)
            .filter_map(|one| self.keymap.chooser_key(one))
            .collect();
        for &key in &released {
            self.key(key, Motion::Up);
        }
        for &key in &pressed {
            self.key(key, Motion::Down);
        }
        self.key(keycode, Motion::Down);
        self.key(keycode, Motion::Up);
        for &key in pressed.iter().rev() {
            self.key(key, Motion::Up);
        }
        for &key in &released {
            self.key(key, Motion::Down);
        }
    }

    /// A keycode that means `keysym` on every level; `None` if keys that are held have them all:
    /// what waited for one of those would wait for a release that waits behind it.
    fn borrow(&mut self, keysym: Keysym, now: Instant) -> Result<Option<Keycode>, NotYet> {
        if let Some(borrowed) = self.borrowed.iter_mut().find(|b| b.keysym == keysym) {
            borrowed.used_at = now;
            return Ok(Some(borrowed.keycode));
        }
        let Some(keycode) = self.free_keycode(now) else {
            let all_held = self.borrowed.iter().all(|b| self.is_held(b.keycode));
            return if all_held { Ok(None) } else { Err(NotYet) };
        };
        self.borrowed.push(Borrowed {
            keycode,
            keysym,
            used_at: now,
        });
        self.out.push_back(Injection::Map { keycode, keysym });
        Ok(Some(keycode))
    }

    fn is_held(&self, keycode: Keycode) -> bool {
        self.held.iter().any(|h| h.keycode == Some(keycode))
    }

    fn free_keycode(&mut self, now: Instant) -> Option<Keycode> {
        let taken = |code: &Keycode| self.borrowed.iter().any(|b| b.keycode == *code);
        if let Some(code) = self.keymap.spare().find(|code| !taken(code)) {
            return Some(code);
        }
        let (oldest, _) = self
            .borrowed
            .iter()
            .enumerate()
            .filter(|(_, b)| !self.is_held(b.keycode) && now >= b.used_at + REUSE_AFTER)
            .min_by_key(|(_, b)| b.used_at)?;
        Some(self.borrowed.swap_remove(oldest).keycode)
    }

    fn key(&mut self, keycode: Keycode, motion: Motion) {
        let down = motion == Motion::Down;
        self.out.push_back(Injection::Key { keycode, down });
    }

    fn mods(&self) -> Mods {
        self.held
            .iter()
            .filter_map(|h| h.keycode)
            .fold(0, |mods, key| mods | self.keymap.sets(key))
    }

    fn button(&mut self, button: u8, down: bool, at: Option<(u16, u16)>) {
        if !(1..=BUTTON_MAX).contains(&button) {
            return;
        }
        self.point(at);
        let bit = 1 << button;
        if (self.buttons & bit != 0) == down {
            return;
        }
        self.buttons ^= bit;
        self.out.push_back(Injection::Button { button, down });
    }

    fn wheel(&mut self, dx: i16, dy: i16, at: Option<(u16, u16)>) {
        self.point(at);
        self.wheel.0 += i32::from(dx);
        self.wheel.1 += i32::from(dy);
        let (right, down) = (self.wheel.0 / NOTCH, self.wheel.1 / NOTCH);
        self.wheel = (self.wheel.0 % NOTCH, self.wheel.1 % NOTCH);
        self.notches(down, 4, 5);
        self.notches(right, 6, 7);
    }

    fn notches(&mut self, count: i32, negative: u8, positive: u8) {
        let button = if count < 0 { negative } else { positive };
        for _ in 0..count.abs().min(NOTCHES_MAX) {
            self.out.push_back(Injection::Button { button, down: true });
            self.out.push_back(Injection::Button {
                button,
                down: false,
            });
        }
    }

    fn point(&mut self, at: Option<(u16, u16)>) {
        if let Some((x, y)) = at {
            self.out.push_back(Injection::MoveTo { x, y });
        }
    }

    fn release_all(&mut self) {
        for keycode in std::mem::take(&mut self.held)
            .into_iter()
            .filter_map(|held| held.keycode)
        {
            self.key(keycode, Motion::Up);
        }
        for button in 1..=BUTTON_MAX {
            if self.buttons & (1 << button) != 0 {
                self.out.push_back(Injection::Button {
                    button,
                    down: false,
                });
            }
        }
        self.buttons = 0;
        self.wheel = (0, 0);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Motion {
    Down,
    Up,
}

impl Held {
    /// The same physical key, or the same meaning if the place is unknown.
    fn is(&self, keysym: Keysym, code: u16) -> bool {
        match code {
            0 => self.keysym == keysym,
            code => self.code == code,
        }
    }
}

/// X keycodes are evdev codes plus 8.
fn hint(code: u16) -> Option<Keycode> {
    (code != 0).then(|| Keycode::try_from(code + 8).ok())?
}

/// Whether Shift and AltGr choose what is meant. With Tab or F1 they are part of the command.
fn chooses_level(keysym: Keysym) -> bool {
    let keypad = (0xFF80..=0xFFBD).contains(&keysym);
    keypad || !(0xFD00..=0xFFFF).contains(&keysym)
}

fn is_modifier(keysym: Keysym) -> bool {
    (0xFFE1..=0xFFEE).contains(&keysym) || keysym == LEVEL3_SHIFT || keysym == 0xFF7E
}

/// Caps, Num, Scroll and Shift lock: the viewer's keysyms already say what they make of a key.
fn is_lock(keysym: Keysym) -> bool {
    matches!(keysym, 0xFFE5 | 0xFFE6 | 0xFF7F | 0xFF14)
}

#[cfg(test)]
mod tests;
