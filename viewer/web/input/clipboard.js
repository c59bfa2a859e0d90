/**
 * Text and images from one clipboard to the other, as far as the session's policy and the browser's
 * permissions allow; where they do not, a field on the page stands in, and says so.
 */

import { CLIPBOARD_IMAGE_LEN_MAX, CLIPBOARD_LEN_MAX, ImageParts, clipboardImage, clipboardText } from "./control.js";
import { byteCount } from "../../../web/words.js";

/** The desktop has the clipboard when it answers; a paste waits no longer than this, in ms. */
const ARRIVAL_MS = 800;
const PNG = "image/png";
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
  /** What the desktop copied and this browser would not take yet. @type {string | Blob | null} */
  #untaken = null;
  /** @type {((pasted: string | Blob) => void) | null} */
  #pasted = null;
  #parts = new ImageParts();

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

  /** A part of an image that was copied on the desktop. */
  async receiveImage(/** @type {{left: number, part: Uint8Array<ArrayBuffer>}} */ part) {
    if (!this.#ports.policy().clipboard_to_viewer) return;
    const png = this.#parts.handlePart(part);
    if (!png) return;
    this.#shared = await digest(png);
    await this.#offer(new Blob([png], { type: PNG }));
    // Browsers write an image anew: what was taken is known by what can be read.
    const taken = (await mayRead()) ? await clipboardPng() : null;
    if (taken) this.#shared = await digest(new Uint8Array(await taken.arrayBuffer()));
  }

  /** The page has the focus again: what waited is written, what changed meanwhile is read. */
  async refresh() {
    if (this.#untaken !== null) return this.#offer(this.#untaken);
    if (!this.#ports.policy().clipboard_to_host || !(await mayRead())) return;
    const text = await navigator.clipboard.readText().catch(() => "");
    if (text) return this.push(text);
    const image = await clipboardPng();
    if (image) await this.pushImage(image);
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

  /** Sends an image to the desktop's clipboard, and waits until the desktop has it. */
  async pushImage(/** @type {Blob} */ image) {
    if (!this.#ports.policy().clipboard_to_host) {
      return this.#ports.say("This session may not send its clipboard to the desktop.");
    }
    const png = new Uint8Array(await image.arrayBuffer());
    const messages = clipboardImage(png);
    if (!messages) {
      const most = byteCount(CLIPBOARD_IMAGE_LEN_MAX);
      return this.#ports.say(`The image on the clipboard has more than ${most}; it was not sent.`);
    }
    const shared = await digest(png);
    if (shared === this.#shared) return;
    if (!messages.every((message) => this.#ports.send(message))) {
      return this.#ports.say("The clipboard could not be sent now.");
    }
    this.#shared = shared;
    await this.#ports.ping(ARRIVAL_MS);
  }

  /**
   * A paste was asked for by keys, which must wait for what this returns: the browser is about to
   * bring the text, or brings nothing.
   */
  async paste() {
    if (!this.#ports.policy().clipboard_to_host) return;
    /** @type {string | Blob} */
    const pasted = await new Promise((resolve) => {
      this.#pasted = resolve;
      setTimeout(() => resolve(""), PASTE_MS);
    });
    this.#pasted = null;
    await (typeof pasted === "string" ? this.push(pasted) : this.pushImage(pasted));
  }

  /** Another host: it shares nothing yet. */
  forget() {
    this.#shared = "";
  }

  #handlePaste(/** @type {ClipboardEvent} */ event) {
    if (!this.#pasted) return;
    event.preventDefault();
    const text = event.clipboardData?.getData("text/plain") ?? "";
    const image = [...(event.clipboardData?.files ?? [])].find((file) => file.type === PNG);
    this.#pasted(text || !image ? text : image);
  }

  async #offer(/** @type {string | Blob} */ copied) {
    try {
      await (typeof copied === "string"
        ? navigator.clipboard.writeText(copied)
        : navigator.clipboard.write([new ClipboardItem({ [PNG]: copied })]));
      this.#untaken = null;
    } catch {
      // No focus, no permission, or no secure origin: tried again with the next focus.
      this.#untaken = copied;
      if (!navigator.clipboard) this.#ports.say("Copied on the desktop: open Clipboard to take it.");
    }
  }
}

async function clipboardPng() {
  const items = await navigator.clipboard.read().catch(() => []);
  return items.find((item) => item.types.includes(PNG))?.getType(PNG) ?? null;
}

/** Names an image, so that it is not sent back to where it came from. */
async function digest(/** @type {Uint8Array<ArrayBuffer>} */ png) {
  const sum = await crypto.subtle?.digest("SHA-256", png);
  return `${PNG} ${png.length} ${sum ? [...new Uint8Array(sum)].join() : ""}`;
}

/** Whether reading needs no question: a remote desktop that asks at every focus is a nuisance. */
async function mayRead() {
  if (!navigator.clipboard?.readText || !document.hasFocus()) return false;
  const name = /** @type {PermissionName} */ ("clipboard-read");
  const status = await navigator.permissions.query({ name }).catch(() => null);
  return status?.state === "granted";
}
