/**
 * Wheel events → 1/120 of a notch, whatever the browser counts in. Fractions are kept for the next
 * event, so that a slow touchpad scrolls as far as a fast one.
 */

/** Units of one notch on the wire. */
const NOTCH = 120;
/** Where a browser reports pixels, lines or pages: so many make one notch. */
const PIXELS_PER_NOTCH = 100;
const LINES_PER_NOTCH = 3;
const PAGES_PER_NOTCH = 1;
const PER_NOTCH = [PIXELS_PER_NOTCH, LINES_PER_NOTCH, PAGES_PER_NOTCH];

/**
 * @typedef {object} WheelLike
 * @property {number} deltaX
 * @property {number} deltaY
 * @property {number} deltaMode
 * @property {number} [wheelDeltaX] whole notches in 120ths where a mouse turned; sign reversed
 * @property {number} [wheelDeltaY]
 */

export class WheelCounter {
  #restX = 0;
  #restY = 0;

  /**
   * @param {WheelLike} event
   * @returns {{dx: number, dy: number}} whole units to send
   */
  count(event) {
    const unit = NOTCH / (PER_NOTCH[event.deltaMode] ?? PIXELS_PER_NOTCH);
    this.#restX += notches(event.wheelDeltaX) ?? event.deltaX * unit;
    this.#restY += notches(event.wheelDeltaY) ?? event.deltaY * unit;
    const [dx, dy] = [Math.trunc(this.#restX), Math.trunc(this.#restY)];
    this.#restX -= dx;
    this.#restY -= dy;
    return { dx, dy };
  }
}

/** A mouse's own count, which says more than the pixels a browser made of it. */
function notches(/** @type {number | undefined} */ wheelDelta) {
  if (!wheelDelta || wheelDelta % NOTCH !== 0) return null;
  return -wheelDelta;
}
