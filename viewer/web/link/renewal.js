/**
 * Keeps the session's token fresh: a new one is asked for when four fifths of its time have
 * passed. A lost answer is asked for again with the same handle, which the service allows for 30 s.
 */

/** The part of the token's life after which it is renewed. */
const RENEW_AT = 0.8;
/** An answer that has not come after so long is asked for again, in milliseconds. */
const ANSWER_MS = 8_000;

/** When to renew, in milliseconds from the grant. */
export function renewAfterMs(/** @type {number} */ expiresInSecs) {
  return Math.max(0, expiresInSecs * 1000 * RENEW_AT);
}

export class Renewal {
  #ask;
  /** @type {number | null} */
  #timer = null;
  #due = false;

  /** @param {() => boolean} ask sends the request; `false` if the service is out of reach */
  constructor(ask) {
    this.#ask = ask;
  }

  granted(/** @type {number} */ expiresInSecs) {
    this.#due = false;
    this.#arm(renewAfterMs(expiresInSecs));
  }

  /** The service can be reached again: what was due meanwhile is asked now. */
  reachable() {
    if (this.#due) this.#request();
  }

  stop() {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#due = false;
  }

  #request() {
    this.#due = true;
    this.#ask();
    this.#arm(ANSWER_MS);
  }

  #arm(/** @type {number} */ waitMs) {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = Number(setTimeout(() => this.#request(), waitMs));
  }
}
