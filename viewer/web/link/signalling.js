/**
 * The WebSocket to the service: opened at once, opened again whenever it is lost, silent about
 * anything but its own state. Media does not depend on it; only changes of path do.
 *
 * Messages are those of `protocol/src/signal.rs`. The first one authenticates the socket; who owns
 * this object says which (`Open` with a ticket, or `Resume` with the session's token).
 */

import { backoffMs } from "./backoff.js";
import { mark } from "./marks.js";
import { ProblemError, UNREACHABLE, isPassing } from "./problem.js";

export const PROTOCOL_VERSION = 1;
const VIEWER_PATH = "/api/v1/signal";
const PING_INTERVAL_MS = 10_000;
/** A socket silent for so long is dead, however open it claims to be. */
const SILENCE_MAX_MS = 25_000;
/** From the start of an attempt until the first message was answered. */
const ATTEMPT_MAX_MS = 15_000;

/**
 * @typedef {{type: string, [field: string]: any}} Message
 * @typedef {object} SignallingPorts
 * @property {() => Promise<Message>} first makes the message that authenticates the next socket
 * @property {(message: Message) => void} handle
 * @property {(status: {up: boolean, retryAtMs: number | null}) => void} changed
 * @property {(problem: import("./problem.js").Problem) => void} failed the last attempt's problem
 */

export class Signalling {
  #ports;
  /** @type {WebSocket | null} */
  #socket = null;
  #up = false;
  #closed = false;
  #attempt = 0;
  #heardAtMs = 0;
  /** @type {number | null} */
  #retryTimer = null;
  /** @type {number | null} */
  #attemptTimer = null;
  #pingTimer = 0;

  /** @param {SignallingPorts} ports */
  constructor(ports) {
    this.#ports = ports;
  }

  get up() {
    return this.#up;
  }

  /** Opens the socket while the first message is being made: both take a round trip. */
  connect() {
    if (this.#closed) return;
    this.#clearTimers();
    const socket = new WebSocket(VIEWER_PATH.replace(/^/, originOfSockets()));
    this.#socket = socket;
    const opened = new Promise((resolve) => socket.addEventListener("open", resolve));
    void opened.then(() => mark("socket"));
    const current = () => this.#socket === socket;
    socket.addEventListener("message", (event) => current() && this.#handleText(event.data));
    socket.addEventListener("close", () => current() && this.#handleLoss(UNREACHABLE));
    this.#attemptTimer = Number(setTimeout(() => this.#handleLoss(UNREACHABLE), ATTEMPT_MAX_MS));
    Promise.all([this.#ports.first(), opened]).then(
      ([message]) => current() && this.#write(message),
      (error) => current() && this.#handleLoss(problemOf(error)),
    );
  }

  /** The service took the first message: the socket is the session's. */
  accept() {
    this.#attempt = 0;
    this.#up = true;
    if (this.#attemptTimer !== null) clearTimeout(this.#attemptTimer);
    this.#heardAtMs = performance.now();
    this.#pingTimer = Number(setInterval(() => this.#beat(), PING_INTERVAL_MS));
    this.#ports.changed({ up: true, retryAtMs: null });
  }

  /** @returns {boolean} whether the message is on its way; if not, the socket is being replaced */
  send(/** @type {Message} */ message) {
    if (!this.#up) return false;
    this.#write(message);
    return true;
  }

  /** Tries again now instead of when the back-off says. */
  hurry() {
    if (this.#retryTimer !== null) this.connect();
  }

  /** The service said the session goes on, but not on this socket. */
  reconnectLater(/** @type {import("./problem.js").Problem} */ problem) {
    this.#handleLoss(problem);
  }

  close(/** @type {Message | null} */ lastMessage = null) {
    if (lastMessage && this.#up) this.#write(lastMessage);
    this.#closed = true;
    this.#up = false;
    this.#clearTimers();
    this.#drop();
  }

  #handleText(/** @type {string} */ text) {
    this.#heardAtMs = performance.now();
    const message = parse(text);
    if (message && message.type !== "pong") this.#ports.handle(message);
  }

  #handleLoss(/** @type {import("./problem.js").Problem} */ problem) {
    if (this.#closed) return;
    this.#up = false;
    this.#clearTimers();
    this.#drop();
    if (!isPassing(problem)) return this.#ports.failed(problem);
    const wait = backoffMs(this.#attempt);
    this.#attempt += 1;
    this.#retryTimer = Number(setTimeout(() => this.connect(), wait));
    this.#ports.failed(problem);
    this.#ports.changed({ up: false, retryAtMs: performance.now() + wait });
  }

  #beat() {
    if (performance.now() - this.#heardAtMs > SILENCE_MAX_MS) this.#handleLoss(UNREACHABLE);
    else this.#write({ type: "ping" });
  }

  #write(/** @type {Message} */ message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #clearTimers() {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    if (this.#attemptTimer !== null) clearTimeout(this.#attemptTimer);
    clearInterval(this.#pingTimer);
    [this.#retryTimer, this.#attemptTimer] = [null, null];
  }
}

function originOfSockets() {
  return location.origin.replace(/^http/, "ws");
}

/** @returns {Message | null} */
function parse(/** @type {string} */ text) {
  try {
    const message = JSON.parse(text);
    return typeof message?.type === "string" ? message : null;
  } catch {
    return null;
  }
}

function problemOf(/** @type {unknown} */ error) {
  if (error instanceof ProblemError) return error.problem;
  const cause = error instanceof Error ? error.message : String(error);
  return { code: "INTERNAL", cause, next_step: "Reload the page." };
}
