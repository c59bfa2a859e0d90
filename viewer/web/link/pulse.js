/**
 * Notices a path that went silent before the browser does: Chromium gives a path up after six
 * seconds, the host answers a ping at once. A hidden page does not ask; nobody is looking.
 */

/** Between two pings, in milliseconds: a hundred bytes each way. */
const INTERVAL_MS = 2_000;
/** No answer within this is silence, in milliseconds: several of the longest usual round trips. */
const SILENCE_MS = 1_500;

export class Pulse {
  #timer = 0;

  /**
   * @param {(timeoutMs: number) => Promise<number | null>} ping
   * @param {(alive: boolean) => void} felt
   */
  constructor(ping, felt) {
    this.beat = async () => {
      if (!document.hidden) felt((await ping(SILENCE_MS)) !== null);
    };
  }

  start() {
    clearInterval(this.#timer);
    this.#timer = Number(setInterval(this.beat, INTERVAL_MS));
  }

  stop() {
    clearInterval(this.#timer);
  }
}
