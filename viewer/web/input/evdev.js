/**
 * Physical keys: `KeyboardEvent.code` → Linux evdev code (linux/input-event-codes.h). The code
 * names the place on the keyboard, whatever the layout prints there; 0 means not known.
 */

/** Rows of the main block whose evdev codes run in sequence. */
const ROWS = /** @type {[number, string][]} */ ([
  [1, "Escape Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal"],
  [14, "Backspace Tab KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight"],
  [28, "Enter ControlLeft KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backquote"],
  [42, "ShiftLeft Backslash KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash ShiftRight"],
  [55, "NumpadMultiply AltLeft Space CapsLock F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NumLock ScrollLock"],
  [71, "Numpad7 Numpad8 Numpad9 NumpadSubtract Numpad4 Numpad5 Numpad6 NumpadAdd Numpad1 Numpad2"],
  [81, "Numpad3 Numpad0 NumpadDecimal"],
  [86, "IntlBackslash F11 F12 IntlRo"],
  [92, "Convert KanaMode NonConvert"],
  [96, "NumpadEnter ControlRight NumpadDivide PrintScreen AltRight"],
  [102, "Home ArrowUp PageUp ArrowLeft ArrowRight End ArrowDown PageDown Insert Delete"],
  [113, "AudioVolumeMute AudioVolumeDown AudioVolumeUp Power NumpadEqual"],
  [121, "NumpadComma Lang1 Lang2 IntlYen MetaLeft MetaRight ContextMenu BrowserStop Again"],
  [130, "Props Undo Select Copy Open Paste Find Cut Help"],
  [183, "F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23 F24"],
]);

/** Keys that stand alone. */
const SINGLES = /** @type {Record<string, number>} */ ({
  Pause: 119,
  LaunchApp2: 140,
  Sleep: 142,
  WakeUp: 143,
  LaunchApp1: 144,
  LaunchMail: 155,
  BrowserFavorites: 156,
  BrowserBack: 158,
  BrowserForward: 159,
  Eject: 161,
  MediaTrackNext: 163,
  MediaPlayPause: 164,
  MediaTrackPrevious: 165,
  MediaStop: 166,
  BrowserHome: 172,
  BrowserRefresh: 173,
  NumpadParenLeft: 179,
  NumpadParenRight: 180,
  BrowserSearch: 217,
  BrightnessDown: 224,
  BrightnessUp: 225,
  MediaSelect: 226,
  Fn: 464,
});

const EVDEV_BY_CODE = new Map(Object.entries(SINGLES));
for (const [first, names] of ROWS) {
  names.split(" ").forEach((name, index) => EVDEV_BY_CODE.set(name, first + index));
}
// Older spellings some browsers still use for the same keys.
EVDEV_BY_CODE.set("OSLeft", 125).set("OSRight", 126).set("VolumeMute", 113);
EVDEV_BY_CODE.set("VolumeDown", 114).set("VolumeUp", 115);

/** @param {string} code */
export function evdevCode(code) {
  return EVDEV_BY_CODE.get(code) ?? 0;
}
