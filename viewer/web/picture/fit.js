/**
 * The size of the desktop: fitted into this window as it is, or made as large as the window is. The
 * choice is kept in this browser.
 */

import {
  SCALE_PERCENT_MAX,
  SCALE_PERCENT_MIN,
  SCREEN_EDGE_MAX,
  SCREEN_EDGE_MIN,
} from "../input/control.js";

/** @typedef {"fit" | "match"} FitChoice */

/** A window being dragged settles for so long before the desktop follows, in milliseconds. */
export const SETTLE_MS = 250;
const STORED_AS = "multiclaw.fit";

/**
 * The screen that would fill a space exactly, in physical pixels. Edges are even: the picture's
 * colours are stored for pairs of pixels.
 *
 * @param {{width: number, height: number}} space in CSS pixels
 * @param {number} ratio physical pixels per CSS pixel
 */
export function wantedScreen(space, ratio) {
  const edge = (/** @type {number} */ css) => {
    const even = Math.floor((css * ratio) / 2) * 2;
    return Math.max(SCREEN_EDGE_MIN, Math.min(SCREEN_EDGE_MAX, even));
  };
  const percent = Math.round(ratio * 100);
  const scalePercent = Math.max(SCALE_PERCENT_MIN, Math.min(SCALE_PERCENT_MAX, percent));
  return { width: edge(space.width), height: edge(space.height), scalePercent };
}

/** @returns {FitChoice} */
export function storedFit(/** @type {Storage} */ storage) {
  return storage.getItem(STORED_AS) === "match" ? "match" : "fit";
}

export function storeFit(/** @type {Storage} */ storage, /** @type {FitChoice} */ choice) {
  storage.setItem(STORED_AS, choice);
}

/** Watches the space and asks for a screen of its size while the choice is to match. */
export class Fit {
  #space;
  #ask;
  #choice;
  #timer = 0;
  #asked = "";

  /**
   * @param {HTMLElement} space
   * @param {FitChoice} choice
   * @param {(screen: {width: number, height: number, scalePercent: number}) => void} ask
   */
  constructor(space, choice, ask) {
    this.#space = space;
    this.#choice = choice;
    this.#ask = ask;
    new ResizeObserver(() => this.#settle()).observe(space);
  }

  get choice() {
    return this.#choice;
  }

  choose(/** @type {FitChoice} */ choice) {
    this.#choice = choice;
    this.again();
  }

  /** Asks even if the size is the one asked for last: another host may be listening. */
  again() {
    this.#asked = "";
    this.#request();
  }

  #settle() {
    clearTimeout(this.#timer);
    this.#timer = Number(setTimeout(() => this.#request(), SETTLE_MS));
  }

  #request() {
    if (this.#choice !== "match") return;
    const box = this.#space.getBoundingClientRect();
    const screen = wantedScreen(box, devicePixelRatio);
    const key = JSON.stringify(screen);
    if (key === this.#asked) return;
    this.#asked = key;
    this.#ask(screen);
  }
}
