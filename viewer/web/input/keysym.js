/**
 * What a key means: `KeyboardEvent` → X11 keysym, in the viewer's own layout.
 *
 * Characters of Latin-1 are their own keysym; every other one is 0x01000000 + its code point
 * (X11 protocol, appendix A: "Unicode keysyms"), also where an older keysym exists: there is one
 * way to write each, and the X server treats both alike. 0 means the key says nothing by itself.
 */

import { DEAD, KEYPAD, NAMED, SIDED } from "./keysyms.js";

/** @typedef {{key: string, code: string, location: number}} Key */

/** `KeyboardEvent.location`. */
const RIGHT = 2;
const NUMPAD = 3;

/** On macOS, Option chooses a level of the layout as AltGr does, and Command takes Alt's place. */
const MAC = /** @type {Record<string, number>} */ ({
  AltLeft: NAMED.AltGraph,
  AltRight: NAMED.AltGraph,
  MetaLeft: SIDED.Alt[0],
  MetaRight: SIDED.Super[0],
});

/**
 * @param {Key} event
 * @param {"mac" | "windows" | "other"} [platform]
 * @returns {number}
 */
export function keysym({ key, code, location }, platform = "other") {
  if (platform === "mac" && code in MAC) return MAC[code];
  if (location === NUMPAD && key in KEYPAD) return KEYPAD[key];
  // X11 calls the Alt key Meta while Shift is held; that is no key for windows.
  if (key === "Meta" && code.startsWith("Alt")) return SIDED.Alt[code === "AltRight" ? 1 : 0];
  if (key in SIDED) return SIDED[key][location === RIGHT || code.endsWith("Right") ? 1 : 0];
  if (key in NAMED) return NAMED[key];
  return characterKeysym(key);
}

/** @param {string} text one character, else 0 */
export function characterKeysym(text) {
  if (text in DEAD) return DEAD[text];
  const codePoint = text.codePointAt(0);
  if (codePoint === undefined || String.fromCodePoint(codePoint) !== text) return 0;
  if (codePoint < 0x20 || (codePoint >= 0x7f && codePoint < 0xa0)) return 0;
  return codePoint <= 0xff ? codePoint : 0x01000000 + codePoint;
}

/** @returns {"mac" | "windows" | "other"} */
export function platformOf(/** @type {string} */ userAgent) {
  if (/Mac|iPhone|iPad/.test(userAgent)) return "mac";
  return userAgent.includes("Windows") ? "windows" : "other";
}
