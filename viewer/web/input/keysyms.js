/**
 * X11 keysyms by the names `KeyboardEvent.key` uses (values: X11/keysymdef.h, XF86keysym.h; names:
 * W3C UI Events KeyboardEvent key values).
 */

/** Keys that stand in one place, or mean the same wherever they stand. */
export const NAMED = /** @type {Record<string, number>} */ ({
  // TTY functions and editing
  Backspace: 0xff08,
  Tab: 0xff09,
  Clear: 0xff0b,
  Enter: 0xff0d,
  Pause: 0xff13,
  ScrollLock: 0xff14,
  Escape: 0xff1b,
  Delete: 0xffff,
  Insert: 0xff63,
  Undo: 0xff65,
  Redo: 0xff66,
  ContextMenu: 0xff67,
  Find: 0xff68,
  Cancel: 0xff69,
  Help: 0xff6a,
  Select: 0xff60,
  Print: 0xff61,
  PrintScreen: 0xff61,
  Execute: 0xff62,
  // Moving about
  Home: 0xff50,
  ArrowLeft: 0xff51,
  ArrowUp: 0xff52,
  ArrowRight: 0xff53,
  ArrowDown: 0xff54,
  PageUp: 0xff55,
  PageDown: 0xff56,
  End: 0xff57,
  // Locks and levels
  CapsLock: 0xffe5,
  NumLock: 0xff7f,
  AltGraph: 0xfe03,
  ModeChange: 0xff7e,
  Hyper: 0xffed,
  // Input methods
  Compose: 0xff20,
  KanjiMode: 0xff21,
  NonConvert: 0xff22,
  Convert: 0xff23,
  Romaji: 0xff24,
  Hiragana: 0xff25,
  Katakana: 0xff26,
  HiraganaKatakana: 0xff27,
  Zenkaku: 0xff28,
  Hankaku: 0xff29,
  ZenkakuHankaku: 0xff2a,
  Eisu: 0xff30,
  Alphanumeric: 0xff30,
  HangulMode: 0xff31,
  HanjaMode: 0xff34,
  JunjaMode: 0xff38,
  CodeInput: 0xff37,
  SingleCandidate: 0xff3c,
  AllCandidates: 0xff3d,
  PreviousCandidate: 0xff3e,
  // Media, browser, power
  BrightnessUp: 0x1008ff02,
  BrightnessDown: 0x1008ff03,
  Standby: 0x1008ff10,
  AudioVolumeDown: 0x1008ff11,
  AudioVolumeMute: 0x1008ff12,
  AudioVolumeUp: 0x1008ff13,
  MediaPlayPause: 0x1008ff14,
  MediaPlay: 0x1008ff14,
  MediaStop: 0x1008ff15,
  MediaTrackPrevious: 0x1008ff16,
  MediaTrackNext: 0x1008ff17,
  BrowserHome: 0x1008ff18,
  LaunchMail: 0x1008ff19,
  BrowserSearch: 0x1008ff1b,
  MediaRecord: 0x1008ff1c,
  LaunchApplication2: 0x1008ff1d,
  LaunchCalendar: 0x1008ff20,
  BrowserBack: 0x1008ff26,
  BrowserForward: 0x1008ff27,
  BrowserStop: 0x1008ff28,
  BrowserRefresh: 0x1008ff29,
  PowerOff: 0x1008ff2a,
  Power: 0x1008ff2a,
  WakeUp: 0x1008ff2b,
  Eject: 0x1008ff2c,
  LaunchScreenSaver: 0x1008ff2d,
  LaunchWebBrowser: 0x1008ff2e,
  BrowserFavorites: 0x1008ff30,
  MediaPause: 0x1008ff31,
  LaunchMediaPlayer: 0x1008ff32,
  LaunchApplication1: 0x1008ff33,
  MediaRewind: 0x1008ff3e,
  Close: 0x1008ff56,
  Copy: 0x1008ff57,
  Cut: 0x1008ff58,
  LaunchSpreadsheet: 0x1008ff5c,
  LogOff: 0x1008ff61,
  New: 0x1008ff68,
  Open: 0x1008ff6b,
  Paste: 0x1008ff6d,
  LaunchPhone: 0x1008ff6e,
  MailReply: 0x1008ff72,
  Save: 0x1008ff77,
  MailSend: 0x1008ff7b,
  SpellCheck: 0x1008ff7c,
  LaunchWordProcessor: 0x1008ff89,
  ZoomIn: 0x1008ff8b,
  ZoomOut: 0x1008ff8c,
  LaunchWebCam: 0x1008ff8f,
  MailForward: 0x1008ff90,
  LaunchMusicPlayer: 0x1008ff92,
  MediaFastForward: 0x1008ff97,
});

/** F1 to F35 follow one another. */
for (let n = 1; n <= 35; n += 1) NAMED[`F${n}`] = 0xffbe + n - 1;

/** Modifiers by side: `[left, right]`. */
export const SIDED = /** @type {Record<string, [number, number]>} */ ({
  Shift: [0xffe1, 0xffe2],
  Control: [0xffe3, 0xffe4],
  Alt: [0xffe9, 0xffea],
  Meta: [0xffeb, 0xffec],
  Super: [0xffeb, 0xffec],
  OS: [0xffeb, 0xffec],
});

/** The keypad, by what the key means: with Num Lock, and without. */
export const KEYPAD = /** @type {Record<string, number>} */ ({
  " ": 0xff80,
  Tab: 0xff89,
  Enter: 0xff8d,
  Home: 0xff95,
  ArrowLeft: 0xff96,
  ArrowUp: 0xff97,
  ArrowRight: 0xff98,
  ArrowDown: 0xff99,
  PageUp: 0xff9a,
  PageDown: 0xff9b,
  End: 0xff9c,
  Clear: 0xff9d,
  Insert: 0xff9e,
  Delete: 0xff9f,
  "*": 0xffaa,
  "+": 0xffab,
  ",": 0xffac,
  "-": 0xffad,
  ".": 0xffae,
  "/": 0xffaf,
  "=": 0xffbd,
});
for (let digit = 0; digit <= 9; digit += 1) KEYPAD[`${digit}`] = 0xffb0 + digit;

/** Dead keys, by the combining character the key stands for. */
export const DEAD = /** @type {Record<string, number>} */ ({
  "\u0300": 0xfe50, // grave
  "\u0301": 0xfe51, // acute
  "\u0302": 0xfe52, // circumflex
  "\u0303": 0xfe53, // tilde
  "\u0304": 0xfe54, // macron
  "\u0306": 0xfe55, // breve
  "\u0307": 0xfe56, // dot above
  "\u0308": 0xfe57, // diaeresis
  "\u030a": 0xfe58, // ring above
  "\u030b": 0xfe59, // double acute
  "\u030c": 0xfe5a, // caron
  "\u0327": 0xfe5b, // cedilla
  "\u0328": 0xfe5c, // ogonek
  "\u0345": 0xfe5d, // iota subscript
  "\u3099": 0xfe5e, // voiced sound
  "\u309a": 0xfe5f, // semivoiced sound
  "\u0323": 0xfe60, // dot below
  "\u0309": 0xfe61, // hook
  "\u031b": 0xfe62, // horn
  "\u0335": 0xfe63, // stroke
  "\u0313": 0xfe64, // comma above
  "\u0314": 0xfe65, // reversed comma above
  "\u030f": 0xfe66, // double grave
  "\u0325": 0xfe67, // ring below
  "\u0331": 0xfe68, // macron below
  "\u032d": 0xfe69, // circumflex below
  "\u0330": 0xfe6a, // tilde below
  "\u032e": 0xfe6b, // breve below
  "\u0324": 0xfe6c, // diaeresis below
  "\u0311": 0xfe6d, // inverted breve
  "\u0326": 0xfe6e, // comma below
});
