/**
 * Data-channel messages, byte for byte as `protocol/src/control.rs` writes them: one tag byte and
 * its fields, integers big-endian, text UTF-8 to the end. `encode` is what a viewer says, `decode`
 * what an agent host says; what cannot be decoded is `null` and ignored, never an exception.
 */

export const INPUT_CHANNEL = "input";
export const POINTER_CHANNEL = "pointer";
export const CONTROL_CHANNEL = "control";

/** Longest clipboard text in bytes: one message. */
export const CLIPBOARD_LEN_MAX = 256 * 1024 - 1;
/** Largest clipboard image in bytes, and how much of it one message carries. */
export const CLIPBOARD_IMAGE_LEN_MAX = 768 * 1024;
const IMAGE_PART_LEN_MAX = 64 * 1024;
/** Longest committed text in bytes. */
export const TEXT_LEN_MAX = 4096;
/** Largest cursor edge in pixels. */
const CURSOR_EDGE_MAX = 128;
/** Bounds of a screen's edge in pixels, and of its scale in percent. */
export const SCREEN_EDGE_MAX = 8192;
export const SCREEN_EDGE_MIN = 64;
export const SCALE_PERCENT_MAX = 400;
export const SCALE_PERCENT_MIN = 50;
/** Button and wheel coordinates that mean "where the pointer is". */
export const WHERE_IT_IS = 0xffff;

/**
 * @typedef {(
 *   | {type: "clipboard", text: string}
 *   | {type: "clipboard-image", left: number, part: Uint8Array<ArrayBuffer>}
 *   | {type: "quality", quality: Quality}
 *   | {type: "pong", sentUs: number, hostUs: number}
 *   | {type: "cursor", width: number, height: number, hotX: number, hotY: number, rgba: Uint8ClampedArray<ArrayBuffer>}
 *   | {type: "cursor-hidden"}
 *   | {type: "screen", width: number, height: number}
 *   | {type: "host-stats", captureUs: number, encodeUs: number, queueUs: number, frames: number, encoder: number, chroma: number}
 *   | {type: "notice", json: string}
 *   | {type: "closed", json: string}
 * )} HostMessage
 */

/** How the picture is made, by its number on the wire; see `protocol/src/control/quality.rs`. */
const QUALITIES = /** @type {const} */ (["auto", "sharp", "balanced", "data-saver"]);

/** @typedef {typeof QUALITIES[number]} Quality */

const utf8 = new TextEncoder();

/** @param {{down: boolean, keysym: number, code: number}} key */
export function key({ down, keysym, code }) {
  const view = message(0x01, 7);
  view.setUint8(1, Number(down));
  view.setUint32(2, keysym);
  view.setUint16(6, code);
  return bytes(view);
}

/** X11 numbering: 1 left, 2 middle, 3 right, 8 back, 9 forward. */
export function button(/** @type {{down: boolean, button: number, x: number, y: number}} */ press) {
  const view = message(0x02, 6);
  view.setUint8(1, Number(press.down));
  view.setUint8(2, press.button);
  view.setUint16(3, press.x);
  view.setUint16(5, press.y);
  return bytes(view);
}

/** In 1/120 of a notch; positive is right and down. */
export function wheel(/** @type {{dx: number, dy: number, x: number, y: number}} */ turn) {
  const view = message(0x03, 8);
  view.setInt16(1, clampInt16(turn.dx));
  view.setInt16(3, clampInt16(turn.dy));
  view.setUint16(5, turn.x);
  view.setUint16(7, turn.y);
  return bytes(view);
}

/** Committed text, in as many messages as its length needs, never cut inside a character. */
export function texts(/** @type {string} */ text) {
  const messages = [];
  let part = "";
  let length = 0;
  for (const character of text) {
    const size = utf8.encode(character).length;
    if (length + size > TEXT_LEN_MAX) {
      messages.push(tagged(0x04, part));
      [part, length] = ["", 0];
    }
    part += character;
    length += size;
  }
  if (part) messages.push(tagged(0x04, part));
  return messages;
}

export function releaseAll() {
  return bytes(message(0x05, 0));
}

export function pointerMove(/** @type {{seq: number, x: number, y: number}} */ at) {
  const view = message(0x10, 8);
  view.setUint32(1, at.seq);
  view.setUint16(5, at.x);
  view.setUint16(7, at.y);
  return bytes(view);
}

/** Running totals since the channel opened; they wrap like the `i32` they are. */
export function pointerRelative(/** @type {{seq: number, totalDx: number, totalDy: number}} */ by) {
  const view = message(0x11, 12);
  view.setUint32(1, by.seq);
  view.setInt32(5, by.totalDx);
  view.setInt32(9, by.totalDy);
  return bytes(view);
}

export function resize(/** @type {{width: number, height: number, scalePercent: number}} */ to) {
  const view = message(0x20, 6);
  view.setUint16(1, to.width);
  view.setUint16(3, to.height);
  view.setUint16(5, to.scalePercent);
  return bytes(view);
}

/** The clipboard's text, or `null` when it is longer than one message may be. */
export function clipboardText(/** @type {string} */ text) {
  const whole = tagged(0x21, text);
  return whole.length - 1 > CLIPBOARD_LEN_MAX ? null : whole;
}

/** A PNG in as many messages as it needs, or `null` when it is larger than the desktop takes. */
export function clipboardImage(/** @type {Uint8Array} */ png) {
  if (png.length === 0 || png.length > CLIPBOARD_IMAGE_LEN_MAX) return null;
  const messages = [];
  for (let from = 0; from < png.length; from += IMAGE_PART_LEN_MAX) {
    const part = png.subarray(from, from + IMAGE_PART_LEN_MAX);
    const view = message(0x24, 4 + part.length);
    view.setUint32(1, png.length - from - part.length);
    bytes(view).set(part, 5);
    messages.push(bytes(view));
  }
  return messages;
}

/** Puts the parts of an image together again. A part that does not follow begins another image. */
export class ImageParts {
  /** @type {Uint8Array<ArrayBuffer>} */
  #png = new Uint8Array(0);
  #have = 0;

  /** @returns {Uint8Array<ArrayBuffer> | null} the image when it is whole */
  handlePart(/** @type {{left: number, part: Uint8Array<ArrayBuffer>}} */ { left, part }) {
    if (this.#png.length - this.#have !== part.length + left) {
      if (part.length + left > CLIPBOARD_IMAGE_LEN_MAX) return null;
      this.#png = new Uint8Array(part.length + left);
      this.#have = 0;
    }
    this.#png.set(part, this.#have);
    this.#have += part.length;
    if (left > 0) return null;
    const png = this.#png;
    this.#png = new Uint8Array(0);
    this.#have = 0;
    return PNG_SIGNATURE.every((byte, index) => png[index] === byte) ? png : null;
  }
}

/** PNG specification, §5.2. */
const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

export function quality(/** @type {Quality} */ wanted) {
  const view = message(0x25, 1);
  view.setUint8(1, QUALITIES.indexOf(wanted));
  return bytes(view);
}

export function isQuality(/** @type {unknown} */ value) {
  return QUALITIES.some((known) => known === value);
}

export function ping(/** @type {{sentUs: number}} */ { sentUs }) {
  const view = message(0x22, 8);
  view.setBigUint64(1, BigInt(Math.trunc(sentUs)));
  return bytes(view);
}

/**
 * @param {ArrayBuffer} buffer
 * @returns {HostMessage | null}
 */
export function decode(buffer) {
  const view = new DataView(buffer);
  if (view.byteLength === 0) return null;
  switch (view.getUint8(0)) {
    case 0x21:
      return textMessage(buffer, (text) => ({ type: "clipboard", text }));
    case 0x24:
      return imagePart(view);
    case 0x25:
      return qualityMessage(view);
    case 0x23:
      return sized(view, 16, () => ({
        type: "pong",
        sentUs: Number(view.getBigUint64(1)),
        hostUs: Number(view.getBigUint64(9)),
      }));
    case 0x30:
      return cursor(view);
    case 0x31:
      return sized(view, 0, () => ({ type: "cursor-hidden" }));
    case 0x32:
      return sized(view, 4, () => ({
        type: "screen",
        width: view.getUint16(1),
        height: view.getUint16(3),
      }));
    case 0x33:
      return sized(view, 18, () => ({
        type: "host-stats",
        captureUs: view.getUint32(1),
        encodeUs: view.getUint32(5),
        queueUs: view.getUint32(9),
        frames: view.getUint32(13),
        encoder: view.getUint8(17),
        chroma: view.getUint8(18),
      }));
    case 0x34:
      return textMessage(buffer, (json) => ({ type: "notice", json }));
    case 0x35:
      return textMessage(buffer, (json) => ({ type: "closed", json }));
    default:
      return null;
  }
}

/** @returns {HostMessage | null} */
function imagePart(/** @type {DataView} */ view) {
  const length = view.byteLength - 5;
  if (length < 1 || length > IMAGE_PART_LEN_MAX) return null;
  const left = view.getUint32(1);
  if (left > CLIPBOARD_IMAGE_LEN_MAX) return null;
  const part = new Uint8Array(/** @type {ArrayBuffer} */ (view.buffer), 5);
  return { type: "clipboard-image", left, part };
}

/** @returns {HostMessage | null} */
function qualityMessage(/** @type {DataView} */ view) {
  const quality = view.byteLength === 2 ? QUALITIES[view.getUint8(1)] : undefined;
  return quality ? { type: "quality", quality } : null;
}

/** @returns {HostMessage | null} */
function cursor(/** @type {DataView} */ view) {
  if (view.byteLength < 9) return null;
  const [width, height] = [view.getUint16(1), view.getUint16(3)];
  const [hotX, hotY] = [view.getUint16(5), view.getUint16(7)];
  const inRange = width > 0 && height > 0 && Math.max(width, height) <= CURSOR_EDGE_MAX;
  if (!inRange || hotX >= width || hotY >= height) return null;
  if (view.byteLength !== 9 + width * height * 4) return null;
  const rgba = new Uint8ClampedArray(/** @type {ArrayBuffer} */ (view.buffer), 9);
  return { type: "cursor", width, height, hotX, hotY, rgba };
}

/**
 * @param {DataView} view
 * @param {number} fieldBytes
 * @param {() => HostMessage} read
 */
function sized(view, fieldBytes, read) {
  return view.byteLength === 1 + fieldBytes ? read() : null;
}

/**
 * @param {ArrayBuffer} buffer
 * @param {(text: string) => HostMessage} read
 */
function textMessage(buffer, read) {
  try {
    const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return read(strict.decode(new Uint8Array(buffer, 1)));
  } catch {
    return null;
  }
}

function message(/** @type {number} */ tag, /** @type {number} */ fieldBytes) {
  const view = new DataView(new ArrayBuffer(1 + fieldBytes));
  view.setUint8(0, tag);
  return view;
}

function bytes(/** @type {DataView} */ view) {
  return new Uint8Array(/** @type {ArrayBuffer} */ (view.buffer));
}

function tagged(/** @type {number} */ tag, /** @type {string} */ text) {
  const tail = utf8.encode(text);
  const whole = new Uint8Array(1 + tail.length);
  whole[0] = tag;
  whole.set(tail, 1);
  return whole;
}

function clampInt16(/** @type {number} */ value) {
  return Math.max(-0x8000, Math.min(0x7fff, value));
}
