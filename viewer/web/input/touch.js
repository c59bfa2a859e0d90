/**
 * Fingers → pointer: a tap clicks, a moving finger drags, two fingers scroll, a finger held still
 * presses the right button. The machine is told positions in the desktop's pixels and the time in
 * milliseconds, and tells what the pointer does.
 */

/** A finger that stays within so many CSS pixels has not moved: a fingertip is not a mouse. */
const SLOP_PX = 10;
/** A finger held still so long asks for the right button, in milliseconds. */
export const LONG_PRESS_MS = 500;
/** Fingers that are told apart; more are ignored. */
const FINGERS_MAX = 2;
const LEFT = 1;
const RIGHT = 3;

/**
 * @typedef {{x: number, y: number}} Point
 * @typedef {{id: number, page: Point, desktop: Point}} Finger
 * @typedef {(
 *   | {type: "button", down: boolean, button: number, at: Point}
 *   | {type: "move", at: Point}
 *   | {type: "scroll", dx: number, dy: number, at: Point}
 * )} TouchAction
 */

export class TouchPointer {
  /** @type {"idle" | "pending" | "dragging" | "scrolling" | "spent"} */
  #phase = "idle";
  /** @type {Map<number, Finger>} */
  #fingers = new Map();
  /** @type {Finger | null} */
  #first = null;
  #pressedAt = 0;

  /** When `handleTimeout` wants to be called, in milliseconds, or `null`. */
  pollTimeout() {
    return this.#phase === "pending" ? this.#pressedAt + LONG_PRESS_MS : null;
  }

  /** @returns {TouchAction[]} */
  handleDown(/** @type {Finger} */ finger, /** @type {number} */ nowMs) {
    if (this.#fingers.size >= FINGERS_MAX) return [];
    this.#fingers.set(finger.id, finger);
    if (this.#fingers.size === 1) {
      this.#phase = "pending";
      this.#first = finger;
      this.#pressedAt = nowMs;
      return [{ type: "move", at: finger.desktop }];
    }
    const release = this.#endDrag();
    this.#phase = "scrolling";
    return release;
  }

  /** @returns {TouchAction[]} */
  handleMove(/** @type {Finger} */ finger) {
    const before = this.#fingers.get(finger.id);
    if (!before) return [];
    if (this.#phase === "scrolling") return this.#scroll(before, finger);
    if (this.#phase === "pending") {
      const start = this.#first ?? finger;
      if (distance(start.page, finger.page) < SLOP_PX) return [];
      this.#phase = "dragging";
      this.#fingers.set(finger.id, finger);
      return [press(true, LEFT, start.desktop), { type: "move", at: finger.desktop }];
    }
    this.#fingers.set(finger.id, finger);
    return this.#phase === "dragging" ? [{ type: "move", at: finger.desktop }] : [];
  }

  /** @returns {TouchAction[]} */
  handleUp(/** @type {number} */ id) {
    const finger = this.#fingers.get(id);
    if (!finger) return [];
    const actions = this.#phase === "pending" ? this.#tap() : this.#endDrag();
    this.#fingers.delete(id);
    this.#phase = this.#fingers.size === 0 ? "idle" : "spent";
    return actions;
  }

  /** @returns {TouchAction[]} */
  handleTimeout(/** @type {number} */ nowMs) {
    const due = this.pollTimeout();
    if (due === null || nowMs < due || !this.#first) return [];
    this.#phase = "spent";
    const at = this.#first.desktop;
    return [press(true, RIGHT, at), press(false, RIGHT, at)];
  }

  /** Forgets all fingers, as after a cancelled touch. @returns {TouchAction[]} */
  cancel() {
    const actions = this.#endDrag();
    this.#fingers.clear();
    this.#phase = "idle";
    return actions;
  }

  /** @returns {TouchAction[]} */
  #tap() {
    const at = this.#first?.desktop;
    return at ? [press(true, LEFT, at), press(false, LEFT, at)] : [];
  }

  /** @returns {TouchAction[]} */
  #endDrag() {
    if (this.#phase !== "dragging") return [];
    const [finger] = this.#fingers.values();
    return finger ? [press(false, LEFT, finger.desktop)] : [];
  }

  /**
   * The page follows the fingers: moving up scrolls down. Each finger counts for half.
   *
   * @param {Finger} before
   * @param {Finger} after
   * @returns {TouchAction[]}
   */
  #scroll(before, after) {
    this.#fingers.set(after.id, after);
    const dx = (before.page.x - after.page.x) / FINGERS_MAX;
    const dy = (before.page.y - after.page.y) / FINGERS_MAX;
    const at = this.#first?.desktop ?? after.desktop;
    return dx === 0 && dy === 0 ? [] : [{ type: "scroll", dx, dy, at }];
  }
}

/** @returns {TouchAction} */
function press(/** @type {boolean} */ down, /** @type {number} */ button, /** @type {Point} */ at) {
  return { type: "button", down, button, at };
}

function distance(/** @type {Point} */ a, /** @type {Point} */ b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
