/**
 * Text from one clipboard to the other, as far as the session's policy and the browser's
 * permissions allow; where they do not, a field on the page stands in, and says so.
 */

import { CLIPBOARD_LEN_MAX, clipboardText } from "./control.js";
import { byteCount } from "../../../web/words.js";

/** The desktop has the clipboard when it answers; a paste waits no longer than this, in ms. */
const ARRIVAL_MS = 800;
/** The browser brings a paste right after the keys that ask for it, within this, in ms. */
const PASTE_MS = 150;

/**
 * @typedef {object} ClipboardPorts
 * @property {(message: Uint8Array<ArrayBuffer>) => boolean} send
 * @property {(timeoutMs: number) => Promise<number | null>} ping
 * @property {() => {clipboard_to_host: boolean, clipboard_to_viewer: boolean}} policy
 * @property {(text: string) => void} received the desktop's clipboard, to be shown
 * @property {(words: string) => void} say
 */

export class Clipboard {
  #ports;
  /** What both clipboards are known to hold. */
  #shared = "";
  /** The desktop's text that this browser would not take yet. @type {string | null} */
  #untaken = null;
  /** @type {((text: string) => void) | null} */
  #pasted = null;

  /** @param {ClipboardPorts} ports */
  constructor(ports) {
    this.#ports = ports;
    document.addEventListener("paste", (event) => this.#handlePaste(event));
  }

  /** The desktop's clipboard changed. */
  async receive(/** @type {string} */ text) {
    if (!this.#ports.policy().clipboard_to_viewer) return;
    this.#shared = text;
    this.#ports.received(text);
    await this.#offer(text);
  }

  /** The page has the focus again: what waited is written, what changed meanwhile is read. */
  async refresh() {
    if (this.#untaken !== null) return this.#offer(this.#untaken);
    if (!this.#ports.policy().clipboard_to_host || !(await mayRead())) return;
    const text = await navigator.clipboard.readText().catch(() => "");
    await this.push(text);
  }

  /** Sends text to the desktop's clipboard, and waits until the desktop has it. */
  async push(/** @type {string} */ text) {
    if (!text || text === this.#shared) return;
    if (!this.#ports.policy().clipboard_to_host) {
      return this.#ports.say("This session may not send its clipboard to the desktop.");
    }
    const message = clipboardText(text);
    if (!message) {
      const most = byteCount(CLIPBOARD_LEN_MAX);
      return this.#ports.say(`The clipboard holds more than ${most}; it was not sent.`);
    }
    if (!this.#ports.send(message)) return this.#ports.say("The clipboard could not be sent now.");
    this.#shared = text;
    await this.#ports.ping(ARRIVAL_MS);
  }

  /**
   * A paste was asked for by keys, which must wait for what this returns: the browser is about to
   * bring the text, or brings nothing.
   */
  async paste() {
    if (!this.#ports.policy().clipboard_to_host) return;
    const text = await new Promise((resolve) => {
      this.#pasted = resolve;
      setTimeout(() => resolve(""), PASTE_MS);
    });
    this.#pasted = null;
    await this.push(text);
  }

  /** Another host: it shares nothing yet. */
  forget() {
    this.#shared = "";
  }

  #handlePaste(/** @type {ClipboardEvent} */ event) {
    if (!this.#pasted) return;
    event.preventDefault();
    this.#pasted(event.clipboardData?.getData("text/plain") ?? "");
  }

  async #offer(/** @type {string} */ text) {
    try {
      await navigator.clipboard.writeText(text);
      this.#untaken = null;
    } catch {
      // No focus, no permission, or no secure origin: tried again with the next focus.
      this.#untaken = text;
      if (!navigator.clipboard) this.#ports.say("Copied on the desktop: open Clipboard to take it.");
    }
  }
}

/** Whether reading needs no question: a remote desktop that asks at every focus is a nuisance. */
async function mayRead() {
  if (!navigator.clipboard?.readText || !document.hasFocus()) return false;
  const name = /** @type {PermissionName} */ ("clipboard-read");
  const status = await navigator.permissions.query({ name }).catch(() => null);
  return status?.state === "granted";
}
