/**
 * The desktop on the page: its picture, its cursor, and everything a person does to it, joined to
 * whatever connection is the current one.
 */

import { Clipboard } from "../input/clipboard.js";
import { Composer } from "../input/composer.js";
import { quality, resize } from "../input/control.js";
import { Gate } from "../input/gate.js";
import { scaleOf } from "../input/geometry.js";
import { Keyboard, isComposing } from "../input/keyboard.js";
import { platformOf } from "../input/keysym.js";
import { Pointer } from "../input/pointer.js";
import { Cursor } from "../picture/cursor.js";
import { Fit, storeFit, storedFit } from "../picture/fit.js";
import { Quality, storeQuality, storedQuality } from "../picture/quality.js";
import { Picture } from "../picture/video.js";
import { byId } from "./dom.js";

/**
 * @typedef {object} DesktopPorts
 * @property {() => import("../link/channels.js").Channels | null} channels
 * @property {() => import("../link/facts.js").Policy} policy
 * @property {() => boolean} live
 * @property {() => void} firstFrame
 * @property {(words: string) => void} say
 */

export class Desktop {
  #ports;
  #stage = byId("stage");
  #keys = /** @type {HTMLTextAreaElement} */ (byId("keys"));
  #cursor = new Cursor(this.#stage);
  /** As the host last said; until then the picture's own size. */
  #screen = { width: 0, height: 0 };
  #toldViewOnly = false;
  #gate = new Gate((message) => this.#ports.channels()?.sendInput(message));

  /** @param {DesktopPorts} ports */
  constructor(ports) {
    this.#ports = ports;
    const video = /** @type {HTMLVideoElement} */ (byId("picture"));
    this.picture = new Picture(video, ports.firstFrame);
    this.keyboard = new Keyboard((m) => this.#send(m), platformOf(navigator.userAgent));
    this.composer = new Composer(this.#keys, this.keyboard);
    this.clipboard = new Clipboard({
      send: (message) => ports.channels()?.sendControl(message) ?? false,
      ping: (timeoutMs) => ports.channels()?.ping(timeoutMs) ?? Promise.resolve(null),
      policy: ports.policy,
      received: (text) => this.#showClipboard(text),
      say: ports.say,
    });
    this.pointer = new Pointer(this.#stage, {
      sendInput: (message) => this.#send(message),
      sendPointer: (message) => ports.channels()?.sendPointer(message),
      screen: () => this.screen,
      enabled: () => this.#mayControl(),
      touched: (byFinger) => !byFinger && this.focus(),
    });
    this.fit = new Fit(this.#stage, storedFit(localStorage), (screen) => this.#askSize(screen));
    this.quality = new Quality(storedQuality(localStorage), (choice) => this.#askQuality(choice));
    this.#listen();
  }

  get screen() {
    return this.#screen.width > 0 ? this.#screen : this.picture.size;
  }

  focus() {
    this.#keys.focus({ preventScroll: true });
  }

  /** A new connection: its host holds no key, knows no size and shares no clipboard. */
  restart() {
    this.#toldViewOnly = false;
    this.keyboard.forget();
    this.pointer.restart();
    this.clipboard.forget();
    this.fit.again();
    this.quality.again();
    void this.clipboard.refresh();
  }

  chooseFit(/** @type {import("../picture/fit.js").FitChoice} */ choice) {
    storeFit(localStorage, choice);
    this.fit.choose(choice);
  }

  chooseQuality(/** @type {import("../picture/quality.js").QualityName} */ choice) {
    storeQuality(localStorage, choice);
    this.quality.choose(choice);
  }

  handle(/** @type {import("../input/control.js").HostMessage} */ message) {
    switch (message.type) {
      case "clipboard":
        return void this.clipboard.receive(message.text);
      case "clipboard-image":
        return void this.clipboard.receiveImage(message);
      case "cursor":
        return this.#cursor.show(message, this.#density());
      case "cursor-hidden":
        return this.#cursor.hide();
      case "quality":
        this.quality.made = message.quality;
        return;
      case "screen":
        this.#screen = { width: message.width, height: message.height };
    }
  }

  /** A picture of a size nobody announced is the truth all the same. */
  pictureResized() {
    this.#screen = { width: 0, height: 0 };
  }

  #listen() {
    byId("picture").addEventListener("resize", () => this.pictureResized());
    addEventListener("keydown", (event) => this.#handleKey(event));
    addEventListener("keyup", (event) => this.#handleKeyUp(event));
    addEventListener("blur", () => this.#releaseAll());
    this.#keys.addEventListener("blur", () => this.#releaseAll());
    this.#stage.addEventListener("pointerdown", () => this.#sayViewOnly());
    document.addEventListener("visibilitychange", () => document.hidden && this.#releaseAll());
    addEventListener("pagehide", () => this.#releaseAll());
    addEventListener("focus", () => void this.clipboard.refresh());
    byId("clipboard-send").addEventListener("click", () => void this.#sendField());
    byId("clipboard-take").addEventListener("click", () => void this.#takeField());
  }

  /** Who watches only is told so when they try more, once per connection. */
  #sayViewOnly() {
    const watches = this.#ports.live() && this.#ports.policy().role === "view";
    if (!watches || this.#toldViewOnly) return;
    this.#toldViewOnly = true;
    this.#ports.say("You are viewing only: what you type and click is not sent.");
  }

  #handleKey(/** @type {KeyboardEvent} */ event) {
    this.#sayViewOnly();
    if (!this.#mayControl() || !this.#isForDesktop(event)) return;
    const pastes = isPaste(event) && !event.repeat && this.#ports.policy().clipboard_to_host;
    if (pastes) void this.#gate.holdUntil(this.clipboard.paste());
    const used = this.keyboard.handleDown(event);
    // The browser's own paste is what brings the text; it needs the field to have the focus.
    if (used && !pastes) event.preventDefault();
    if (pastes) this.focus();
  }

  #handleKeyUp(/** @type {KeyboardEvent} */ event) {
    if (this.#mayControl() && this.keyboard.handleUp(event)) event.preventDefault();
  }

  #isForDesktop(/** @type {KeyboardEvent} */ event) {
    return event.target === this.#keys || (event.target === document.body && !isComposing(event));
  }

  #mayControl() {
    return this.#ports.live() && this.#controls();
  }

  /** Wishes about the picture go out before there is one; a channel that is not open drops them. */
  #controls() {
    return this.#ports.policy().role === "control";
  }

  #releaseAll() {
    if (this.#mayControl()) this.keyboard.releaseAll();
  }

  #send(/** @type {Uint8Array<ArrayBuffer>} */ message) {
    this.#gate.send(message);
  }

  #askSize(/** @type {{width: number, height: number, scalePercent: number}} */ screen) {
    if (this.#controls()) this.#ports.channels()?.sendControl(resize(screen));
  }

  #askQuality(/** @type {import("../picture/quality.js").QualityName} */ choice) {
    if (this.#controls()) this.#ports.channels()?.sendControl(quality(choice));
  }

  /** Pixels of the desktop per CSS pixel, where the picture is meant to be pixel for pixel. */
  #density() {
    const shown = scaleOf(this.#stage.getBoundingClientRect(), this.screen);
    return this.fit.choice === "match" && shown > 0 ? Math.round(100 / shown) / 100 : 1;
  }

  #showClipboard(/** @type {string} */ text) {
    this.#field().value = text;
    document.body.dataset.clipboard = "new";
  }

  async #sendField() {
    await this.clipboard.push(this.#field().value);
    byId("clipboard-panel").hidePopover();
    this.focus();
  }

  async #takeField() {
    const field = this.#field();
    field.select();
    const taken = await navigator.clipboard?.writeText(field.value).then(() => true, () => false);
    this.#ports.say(taken ? "Copied." : "The text is selected: press Ctrl+C to copy it.");
  }

  #field() {
    return /** @type {HTMLTextAreaElement} */ (byId("clipboard-text"));
  }
}

function isPaste(/** @type {KeyboardEvent} */ event) {
  const withV = event.code === "KeyV" && (event.ctrlKey || event.metaKey) && !event.altKey;
  return withV || (event.key === "Insert" && event.shiftKey && !event.ctrlKey);
}
