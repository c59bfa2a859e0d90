use super::*;
use crate::keymap::tests::german;

const SHIFT_KEY: Keycode = 50;
const ALTGR_KEY: Keycode = 92;
const ENTER: Keysym = 0xFF0D;

fn hands() -> Hands {
    let mut hands = Hands::default();
    hands.handle_keymap(german());
    hands
}

fn key(down: bool, keysym: Keysym) -> InputEvent {
    InputEvent::Key {
        down,
        keysym,
        code: 0,
    }
}

/// `+38` for keycode 38 down, `-38` for up.
fn done(hands: &mut Hands) -> Vec<String> {
    std::iter::from_fn(|| hands.poll_injection())
        .map(|injection| match injection {
            Injection::Key { keycode, down } => {
                format!("{}{keycode}", if down { '+' } else { '-' })
            }
            Injection::Button { button, down } => {
                format!("{}b{button}", if down { '+' } else { '-' })
            }
            Injection::MoveTo { x, y } => format!("@{x},{y}"),
            Injection::MoveBy { dx, dy } => format!("~{dx},{dy}"),
            Injection::Map { keycode, keysym } => format!("{keycode}={keysym:x}"),
        })
        .collect()
}

fn check(events: Vec<InputEvent>, expected: &[&str]) {
    let mut hands = hands();
    let now = Instant::now();
    for event in events {
        hands.handle_event(event, now);
    }
    assert_eq!(done(&mut hands), expected);
}

#[test]
fn a_letter_is_pressed_where_the_layout_has_it() {
    check(vec![key(true, 0x61), key(false, 0x61)], &["+38", "-38"]);
}

#[test]
fn shift_held_by_the_viewer_serves_a_capital() {
    let expected = ["+50", "+38", "-38", "-50"];
    check(
        vec![
            key(true, 0xFFE1),
            key(true, 0x41),
            key(false, 0x41),
            key(false, 0xFFE1),
        ],
        &expected,
    );
}

#[test]
fn a_meaning_on_another_level_gets_its_modifiers_around_it() {
    // Caps lock on the viewer: a capital without Shift.
    check(vec![key(true, 0x41)], &["+50", "+38", "-38", "-50"]);
    assert_eq!((SHIFT_KEY, ALTGR_KEY), (50, 92));
    check(vec![key(true, 0x40)], &["+92", "+24", "-24", "-92"]);
    // Shift held where the server must not have it: 7 lies unshifted here.
    check(
        vec![key(true, 0xFFE1), key(true, 0x37)],
        &["+50", "-50", "+16", "-16", "+50"],
    );
}

#[test]
fn shift_stays_part_of_a_command() {
    check(vec![key(true, 0xFFE1), key(true, ENTER)], &["+50", "+36"]);
}

#[test]
fn a_key_comes_up_though_its_meaning_changed_meanwhile() {
    let at = |down, keysym| InputEvent::Key {
        down,
        keysym,
        code: 30,
    };
    let shift = |down| InputEvent::Key {
        down,
        keysym: 0xFFE1,
        code: 42,
    };
    check(
        vec![shift(true), at(true, 0x41), shift(false), at(false, 0x61)],
        &["+50", "+38", "-50", "-38"],
    );
}

#[test]
fn a_missing_keysym_borrows_a_spare_keycode_and_gives_it_back() {
    let mut hands = hands();
    let now = Instant::now();
    hands.handle_event(key(true, 0x20AC), now);
    hands.handle_event(key(false, 0x20AC), now);
    assert_eq!(done(&mut hands), ["203=20ac", "+203", "-203"]);
    let later = hands.poll_timeout().unwrap();
    assert_eq!(later, now + GIVE_BACK_AFTER);
    hands.handle_timeout(later);
    assert_eq!(done(&mut hands), ["203=0"]);
    assert_eq!(hands.poll_timeout(), None);
}

#[test]
fn text_waits_for_spare_keycodes_and_what_follows_waits_behind_it() {
    let mut hands = hands();
    let now = Instant::now();
    hands.handle_event(InputEvent::Text("αβγδε".into()), now);
    hands.handle_event(key(true, 0x61), now);
    let first = done(&mut hands);
    assert_eq!(first.len(), 4 * 3, "{first:?}");
    let later = hands.poll_timeout().unwrap();
    hands.handle_timeout(later);
    assert_eq!(done(&mut hands), ["203=10003b5", "+203", "-203", "+38"]);
}

#[test]
fn keys_too_wait_for_spare_keycodes_unless_held_ones_have_them_all() {
    let mut hands = hands();
    let now = Instant::now();
    for keysym in 0x0100_03B1..0x0100_03B6 {
        hands.handle_event(key(true, keysym), now);
        hands.handle_event(key(false, keysym), now);
    }
    assert_eq!(done(&mut hands).len(), 4 * 3);
    hands.handle_timeout(hands.poll_timeout().unwrap());
    assert_eq!(done(&mut hands), ["203=10003b5", "+203", "-203"]);

    let mut hands = self::hands();
    for keysym in 0x0100_03B1..0x0100_03B6 {
        hands.handle_event(key(true, keysym), now);
    }
    hands.handle_event(key(true, 0x61), now);
    assert_eq!(done(&mut hands).last().unwrap(), "+38");
}

#[test]
fn releasing_all_brings_every_key_and_button_up() {
    let press = InputEvent::Button {
        down: true,
        button: 1,
        at: Some((3, 4)),
    };
    check(
        vec![
            key(true, 0xFFE3),
            key(true, 0x61),
            press,
            InputEvent::ReleaseAll,
        ],
        &["+37", "+38", "@3,4", "+b1", "-37", "-38", "-b1"],
    );
}

#[test]
fn small_turns_of_the_wheel_add_up_to_notches() {
    let turn = |dy| InputEvent::Wheel {
        dx: 0,
        dy,
        at: None,
    };
    check(vec![turn(50), turn(50)], &[]);
    check(vec![turn(50), turn(80)], &["+b5", "-b5"]);
    check(vec![turn(-240)], &["+b4", "-b4", "+b4", "-b4"]);
}

#[test]
fn a_lock_is_left_to_the_viewer() {
    check(vec![key(true, 0xFFE5), key(false, 0xFFE5)], &[]);
}

/// Presses at the given milliseconds, all repeats of one key.
fn pressed_at(keysym: Keysym, at_ms: &[u64]) -> Vec<String> {
    let mut hands = hands();
    let start = Instant::now();
    for &at in at_ms {
        hands.handle_event(key(true, keysym), start + Duration::from_millis(at));
    }
    done(&mut hands)
}

#[test]
fn a_held_key_repeats_when_its_viewer_says_so() {
    let expected = ["+38", "-38", "+38", "-38", "+38"];
    assert_eq!(pressed_at(0x61, &[0, 500, 533]), expected);
}

#[test]
fn a_key_that_needs_modifiers_repeats_with_them() {
    let once = ["+50", "+38", "-38", "-50"];
    assert_eq!(pressed_at(0x41, &[0, 500]), [once, once].concat());
}

#[test]
fn a_modifier_does_not_repeat() {
    assert_eq!(pressed_at(0xFFE1, &[0, 500, 533]), ["+50"]);
}

#[test]
fn repeats_that_a_stall_held_back_count_once() {
    let burst = [0, 1500, 1500, 1500, 1501, 1501, 1502, 1503];
    assert_eq!(pressed_at(0x61, &burst), ["+38", "-38", "+38"]);
}

#[test]
fn the_same_key_struck_again_is_no_repeat() {
    let all = [true, false, true, false].map(|down| key(down, 0x61));
    check(all.to_vec(), &["+38", "-38", "+38", "-38"]);
    let capital = [true, false, true, false].map(|down| key(down, 0x41));
    let once = ["+50", "+38", "-38", "-50"];
    check(capital.to_vec(), &[once, once].concat());
}
