/**
 * What to do when the picture's path is lost: a moment's patience, then another path on the same
 * connection, then a new connection, for as long as the session lives.
 */

import { backoffMs } from "./backoff.js";

/** A path that goes silent often comes back by itself within this, in milliseconds. */
const PATIENCE_MS = 700;
/** A restart that found nothing after so long is followed by the next step. */
const RESTART_MS = 4_000;
/** Restarts before the connection is made anew: the desktop's program may be another by now. */
const RESTARTS = 2;

/**
 * @param {number} attempt from 0
 * @param {boolean} hopeless whether the browser has given the path up already
 * @returns {{waitMs: number, action: "restart" | "rebuild"}}
 */
export function recoveryStep(attempt, hopeless, random = Math.random) {
  if (attempt === 0) return { waitMs: hopeless ? 0 : PATIENCE_MS, action: "restart" };
  if (attempt < RESTARTS) return { waitMs: RESTART_MS, action: "restart" };
  return { waitMs: RESTART_MS + backoffMs(attempt - RESTARTS, random), action: "rebuild" };
}

export class Recovery {
  #act;
  #attempt = 0;
  /** @type {number | null} */
  #timer = null;

  /** @param {(action: "restart" | "rebuild") => void} act */
  constructor(act) {
    this.#act = act;
  }

  get active() {
    return this.#timer !== null;
  }

  begin(/** @type {boolean} */ hopeless) {
    if (this.active && !(hopeless && this.#attempt === 0)) return;
    this.#schedule(recoveryStep(this.#attempt, hopeless));
  }

  /** The network changed, or the service came back: the next step is due now. */
  hurry() {
    if (!this.active) return;
    this.#schedule({ ...recoveryStep(this.#attempt, true), waitMs: 0 });
  }

  end() {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#attempt = 0;
  }

  #schedule(/** @type {{waitMs: number, action: "restart" | "rebuild"}} */ { waitMs, action }) {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = Number(setTimeout(() => this.#step(action), waitMs));
  }

  #step(/** @type {"restart" | "rebuild"} */ action) {
    this.#attempt += 1;
    this.#schedule(recoveryStep(this.#attempt, false));
    this.#act(action);
  }
}
