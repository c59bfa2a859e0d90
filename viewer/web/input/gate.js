/**
 * Input waits here while the clipboard is on its way: the two travel on different channels, and a
 * paste that arrives before what it pastes would paste the wrong thing.
 */

/** Messages that may wait: more than a person types in the time; past it, none waits longer. */
const WAITING_MAX = 256;

export class Gate {
  #send;
  /** @type {Uint8Array<ArrayBuffer>[]} */
  #waiting = [];
  #holds = 0;

  /** @param {(message: Uint8Array<ArrayBuffer>) => void} send */
  constructor(send) {
    this.#send = send;
  }

  send(/** @type {Uint8Array<ArrayBuffer>} */ message) {
    if (this.#holds === 0) return this.#send(message);
    this.#waiting.push(message);
    if (this.#waiting.length > WAITING_MAX) this.#open();
  }

  /** Holds everything sent from now on until the work is done, however it ends. */
  async holdUntil(/** @type {Promise<unknown>} */ work) {
    this.#holds += 1;
    await work.catch(() => {});
    this.#holds = Math.max(0, this.#holds - 1);
    if (this.#holds === 0) this.#open();
  }

  #open() {
    this.#holds = 0;
    for (const message of this.#waiting.splice(0)) this.#send(message);
  }
}
