/**
 * The three data channels of one connection, each with the reliability its messages need. A
 * message for a channel that is not open, or that has fallen far behind, is dropped: input that
 * arrives late does harm.
 */

import { CONTROL_CHANNEL, INPUT_CHANNEL, POINTER_CHANNEL, decode, ping, pointerRelative } from "../input/control.js";

/** Bytes of pointer motion that may wait; past it the next position replaces what is not sent. */
const POINTER_WAITING_MAX = 512;
/** Bytes of keys, buttons and text that may wait: seconds of the fastest typing. */
const INPUT_WAITING_MAX = 64 * 1024;
/** Bytes of clipboard that may wait: a few of the largest messages. */
const CONTROL_WAITING_MAX = 1024 * 1024;
/**
 * SCTP takes a packet for lost once three behind it have come, else after a time of half a second
 * (RFC 9260 §7.2.4, §6.3). Behind a click or a key nothing may come, so the pointer's last message
 * follows it again, three times, this many milliseconds apart: the desktop knows its number and drops it.
 */
const FOLLOWERS = 3;
const FOLLOW_AFTER_MS = 10;

/**
 * @typedef {object} ChannelPorts
 * @property {() => void} opened all three are open
 * @property {(message: import("../input/control.js").HostMessage) => void} handle
 */

export class Channels {
  #input;
  #pointer;
  #control;
  /** Resolvers by the stamp of the ping they wait for. @type {Map<number, () => void>} */
  #pings = new Map();
  /** The pointer's last message; before the first, no motion under the number before the first. */
  #follower = pointerRelative({ seq: 0, totalDx: 0, totalDy: 0 });
  #followTimer = 0;

  /**
   * @param {RTCPeerConnection} connection
   * @param {ChannelPorts} ports
   */
  constructor(connection, ports) {
    this.#input = connection.createDataChannel(INPUT_CHANNEL, { ordered: true });
    const lossy = { ordered: false, maxRetransmits: 0 };
    this.#pointer = connection.createDataChannel(POINTER_CHANNEL, lossy);
    this.#control = connection.createDataChannel(CONTROL_CHANNEL, { ordered: true });
    for (const channel of [this.#input, this.#pointer, this.#control]) {
      channel.binaryType = "arraybuffer";
      channel.addEventListener("open", () => this.open && ports.opened());
    }
    this.#control.addEventListener("message", (event) => {
      const message = event.data instanceof ArrayBuffer ? decode(event.data) : null;
      if (message?.type === "pong") this.#pong(message.sentUs);
      if (message) ports.handle(message);
    });
  }

  get open() {
    const all = [this.#input, this.#pointer, this.#control];
    return all.every((channel) => channel.readyState === "open");
  }

  sendInput(/** @type {Uint8Array<ArrayBuffer>} */ message) {
    const sent = sendWithin(this.#input, message, INPUT_WAITING_MAX);
    if (sent) this.#follow(FOLLOWERS);
    return sent;
  }

  sendPointer(/** @type {Uint8Array<ArrayBuffer>} */ message) {
    this.#follower = message;
    return sendWithin(this.#pointer, message, POINTER_WAITING_MAX);
  }

  sendControl(/** @type {Uint8Array<ArrayBuffer>} */ message) {
    return sendWithin(this.#control, message, CONTROL_WAITING_MAX);
  }

  /**
   * Asks the host for a sign of life. As `control` is ordered, the answer also says that all sent
   * on it before was taken.
   *
   * @returns {Promise<number | null>} milliseconds to the answer, `null` if there was none in time
   */
  ping(/** @type {number} */ timeoutMs) {
    const startMs = performance.now();
    const sentUs = Math.trunc(startMs * 1000);
    return new Promise((resolve) => {
      const timer = setTimeout(() => finish(null), timeoutMs);
      const finish = (/** @type {number | null} */ roundTripMs) => {
        clearTimeout(timer);
        this.#pings.delete(sentUs);
        resolve(roundTripMs);
      };
      this.#pings.set(sentUs, () => finish(performance.now() - startMs));
      if (!this.sendControl(ping({ sentUs }))) finish(null);
    });
  }

  #follow(/** @type {number} */ left) {
    clearTimeout(this.#followTimer);
    if (left === 0) return;
    const next = () => {
      this.sendPointer(this.#follower);
      this.#follow(left - 1);
    };
    this.#followTimer = Number(setTimeout(next, FOLLOW_AFTER_MS));
  }

  #pong(/** @type {number} */ sentUs) {
    this.#pings.get(sentUs)?.();
  }
}

/**
 * @param {RTCDataChannel} channel
 * @param {Uint8Array<ArrayBuffer>} message
 * @param {number} waitingMax
 */
function sendWithin(channel, message, waitingMax) {
  if (channel.readyState !== "open" || channel.bufferedAmount > waitingMax) return false;
  channel.send(message);
  return true;
}
