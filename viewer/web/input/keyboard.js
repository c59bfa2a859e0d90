/**
 * Keys → messages. Remembers which keys are down, so that a key is released as what it was pressed
 * as, and everything is released when the page can no longer know.
 *
 * A held key goes down again for each repeat of this keyboard: the desktop repeats nothing by itself,
 * so a network that holds the release back types no letter more. Not sent: repeats of modifiers,
 * Caps Lock and Num Lock (their effect is in the keysym already; two locks would cancel each other),
 * and keys an input method or a dead key is still busy with: their text comes through `composer.js`.
 */

import { key as encodeKey, releaseAll, texts } from "./control.js";
import { evdevCode } from "./evdev.js";
import { keysym } from "./keysym.js";

/** Most keys held at once; a keyboard has about as many. Past it, the newest is not sent. */
const HELD_MAX = 128;
/**
 * Windows sends Control before AltGr, both within one message turn. A left Control waits so long
 * for an AltGr before it counts, in milliseconds.
 */
const ALTGR_WAIT_MS = 20;
const LOCKS = new Set(["CapsLock", "NumLock"]);

/** Keys that say nothing themselves: the text they lead to arrives as a composition. */
const UNDECIDED = new Set(["Dead", "Process"]);

export class Keyboard {
  /** keysym by the key's place @type {Map<string, number>} */
  #held = new Map();
  /** A left Control that may be half of an AltGr. @type {{event: KeyLike, timer: number} | null} */
  #waiting = null;
  #send;
  #platform;

  /**
   * @typedef {{key: string, code: string, location: number, repeat?: boolean, keyCode?: number,
   *   isComposing?: boolean}} KeyLike
   * @param {(message: Uint8Array<ArrayBuffer>) => void} send
   * @param {"mac" | "windows" | "other"} platform
   */
  constructor(send, platform) {
    this.#send = send;
    this.#platform = platform;
  }

  /** @returns {boolean} whether the key was used, and the browser should leave it alone */
  handleDown(/** @type {KeyLike} */ event) {
    if (isComposing(event)) return false;
    const altGr = event.key === "AltGraph";
    this.#settleControl(altGr);
    if (LOCKS.has(event.key)) return true;
    if (event.repeat) {
      this.#repeat(event);
      return true;
    }
    if (this.#platform === "windows" && event.code === "ControlLeft") {
      this.#waitForAltGr(event);
      return true;
    }
    this.#press(event);
    return true;
  }

  /** @returns {boolean} whether the key was used */
  handleUp(/** @type {KeyLike} */ event) {
    this.#settleControl(false);
    const place = placeOf(event);
    const symbol = this.#held.get(place);
    if (symbol === undefined) return false;
    this.#held.delete(place);
    this.#sendKey(false, symbol, event.code);
    // macOS reports no release of a key that went up while Command was down.
    if (this.#platform === "mac" && event.code.startsWith("Meta")) this.releaseAll();
    return true;
  }

  /** Presses and releases a key that has no place of its own, from a touch keyboard. */
  tap(/** @type {number} */ symbol) {
    this.#sendKey(true, symbol, "");
    this.#sendKey(false, symbol, "");
  }

  /** Text an input method committed, or a phone's keyboard typed. */
  type(/** @type {string} */ text) {
    for (const message of texts(text)) this.#send(message);
  }

  /** Everything goes up: the page lost the focus, or the connection. */
  releaseAll() {
    if (this.#waiting) clearTimeout(this.#waiting.timer);
    this.#waiting = null;
    this.#held.clear();
    this.#send(releaseAll());
  }

  /** Presses nothing, forgets everything: for a new connection, whose host holds nothing. */
  forget() {
    this.#held.clear();
  }

  get heldCount() {
    return this.#held.size;
  }

  #press(/** @type {KeyLike} */ event) {
    const symbol = keysym(event, this.#platform);
    if (symbol === 0) return this.#pressUnnamed(event);
    const place = placeOf(event);
    if (this.#held.has(place) || this.#held.size >= HELD_MAX) return;
    this.#held.set(place, symbol);
    this.#sendKey(true, symbol, event.code);
  }

  /** Only what is held repeats: what went down before the page had the focus is not the desktop's. */
  #repeat(/** @type {KeyLike} */ event) {
    const symbol = this.#held.get(placeOf(event));
    if (symbol !== undefined && !isModifier(symbol)) this.#sendKey(true, symbol, event.code);
  }

  /** A key of several characters (Indic ligatures) is text; one with only a place goes by place. */
  #pressUnnamed(/** @type {KeyLike} */ event) {
    if (/[^\x20-\x7e]/.test(event.key)) return this.type(event.key);
    const place = placeOf(event);
    if (evdevCode(event.code) === 0 || this.#held.size >= HELD_MAX) return;
    this.#held.set(place, 0);
    this.#sendKey(true, 0, event.code);
  }

  #waitForAltGr(/** @type {KeyLike} */ event) {
    const copy = { key: event.key, code: event.code, location: event.location };
    const timer = Number(setTimeout(() => this.#settleControl(false), ALTGR_WAIT_MS));
    this.#waiting = { event: copy, timer };
  }

  /** The waiting Control was half of an AltGr and is dropped, or is a key like any other. */
  #settleControl(/** @type {boolean} */ isAltGr) {
    if (!this.#waiting) return;
    const { event, timer } = this.#waiting;
    clearTimeout(timer);
    this.#waiting = null;
    if (!isAltGr) this.#press(event);
  }

  #sendKey(/** @type {boolean} */ down, /** @type {number} */ symbol, /** @type {string} */ code) {
    this.#send(encodeKey({ down, keysym: symbol, code: evdevCode(code) }));
  }
}

/** A key that an input method or a dead key is busy with. 229 is how browsers have always said it. */
export function isComposing(/** @type {KeyLike} */ event) {
  return event.isComposing === true || event.keyCode === 229 || UNDECIDED.has(event.key);
}

/** Shift_L to Hyper_R, and the two that choose a level. */
function isModifier(/** @type {number} */ symbol) {
  return (symbol >= 0xffe1 && symbol <= 0xffee) || symbol === 0xfe03 || symbol === 0xff7e;
}

/** Names the key held: its place, or where the browser does not know it, its meaning. */
function placeOf(/** @type {KeyLike} */ event) {
  return event.code || event.key;
}
