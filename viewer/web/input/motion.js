/**
 * Pointer motion on its unreliable channel: only the newest position matters. The first motion
 * goes out at once; while more come faster than the desktop can use them, one in
 * `MOTION_INTERVAL_MS` does, and always the last.
 */

import { pointerMove, pointerRelative } from "./control.js";

/** Between two positions, in milliseconds: 250 a second is twice the fastest usual screen. */
const MOTION_INTERVAL_MS = 4;

export class Motion {
  #send;
  #seq = 0;
  #lastSent = -Infinity;
  /** @type {number | null} */
  #timer = null;
  /** @type {{x: number, y: number} | null} */
  #next = null;
  /** What was sent or waits to be. */
  #x = -1;
  #y = -1;
  #totalDx = 0;
  #totalDy = 0;
  #relative = false;

  /** @param {(message: Uint8Array<ArrayBuffer>) => void} send */
  constructor(send) {
    this.#send = send;
  }

  /** The pointer is at this pixel of the desktop. */
  moveTo(/** @type {{x: number, y: number}} */ at, /** @type {number} */ nowMs) {
    if (at.x === this.#x && at.y === this.#y) return;
    [this.#x, this.#y] = [at.x, at.y];
    this.#next = at;
    this.#schedule(nowMs);
  }

  /** The locked pointer moved by so many pixels of the desktop. */
  moveBy(/** @type {number} */ dx, /** @type {number} */ dy, /** @type {number} */ nowMs) {
    this.#totalDx += dx;
    this.#totalDy += dy;
    this.#relative = true;
    this.#schedule(nowMs);
  }

  /** A button is about to say where the pointer is: what waits is not needed any more. */
  flush() {
    if (this.#timer !== null) this.#emit(performance.now());
  }

  /** A new channel: totals and sequence start again. */
  restart() {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#seq = 0;
    [this.#totalDx, this.#totalDy] = [0, 0];
    [this.#x, this.#y] = [-1, -1];
    this.#next = null;
    this.#relative = false;
  }

  #schedule(/** @type {number} */ nowMs) {
    if (this.#timer !== null) return;
    const wait = this.#lastSent + MOTION_INTERVAL_MS - nowMs;
    if (wait <= 0) return this.#emit(nowMs);
    this.#timer = Number(setTimeout(() => this.#emit(performance.now()), wait));
  }

  #emit(/** @type {number} */ nowMs) {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#lastSent = nowMs;
    if (this.#next) {
      this.#send(pointerMove({ seq: this.#advance(), ...this.#next }));
      this.#next = null;
    }
    if (this.#relative) {
      const totals = { totalDx: Math.trunc(this.#totalDx), totalDy: Math.trunc(this.#totalDy) };
      this.#send(pointerRelative({ seq: this.#advance(), ...totals }));
      this.#relative = false;
    }
  }

  #advance() {
    this.#seq = (this.#seq + 1) >>> 0;
    return this.#seq;
  }
}
