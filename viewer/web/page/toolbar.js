/**
 * The toolbar: there when it is looked for, gone when it is not. It comes by the handle at the top
 * edge, or by Ctrl+Alt+Shift+M, which is also the way out of the desktop for a keyboard.
 */

import { byId, choicesOf } from "./dom.js";

/** Left alone for so long, the toolbar goes, in milliseconds. */
const LINGER_MS = 3_000;

/**
 * @typedef {object} ToolbarPorts
 * @property {(mode: import("../link/launch.js").Mode) => void} mode
 * @property {(choice: import("../picture/fit.js").FitChoice) => void} fit
 * @property {(choice: import("../picture/quality.js").QualityName) => void} quality
 * @property {() => void} lockPointer
 * @property {() => void} typeByTouch
 * @property {() => void} mute
 * @property {(open: boolean) => void} statistics
 * @property {() => void} leave
 * @property {() => void} backToDesktop
 */

export class Toolbar {
  #bar = byId("toolbar");
  #handle = byId("handle");
  #ports;
  #timer = 0;
  #wanted = false;

  /** @param {ToolbarPorts} ports */
  constructor(ports) {
    this.#ports = ports;
    this.#bindButtons();
    this.#bindPresence();
    document.addEventListener("fullscreenchange", () => this.#fullScreenChanged());
    addEventListener("keydown", (event) => this.#handleKey(event), { capture: true });
  }

  /** The toolbar is of use while there is a desktop to control. */
  setWanted(/** @type {boolean} */ wanted) {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    if (wanted) return this.reveal();
    clearTimeout(this.#timer);
    this.#bar.hidden = true;
    this.#handle.hidden = true;
    this.#closePanels();
  }

  reveal() {
    if (!this.#wanted) return;
    this.#bar.hidden = false;
    this.#handle.hidden = true;
    this.#linger();
  }

  hide() {
    clearTimeout(this.#timer);
    const hadFocus = this.#bar.contains(document.activeElement);
    this.#closePanels();
    this.#bar.hidden = true;
    this.#handle.hidden = !this.#wanted;
    if (hadFocus || document.activeElement === document.body) this.#ports.backToDesktop();
  }

  /** @param {{mode: string, fit: string, quality: string, note: string, watches: boolean}} now */
  showChoices({ mode, fit, quality, note, watches }) {
    for (const input of choicesOf("mode")) input.checked = input.value === mode;
    for (const input of choicesOf("fit")) input.checked = input.value === fit;
    for (const input of choicesOf("quality")) input.checked = input.value === quality;
    /** @type {HTMLFieldSetElement} */ (byId("quality-choices")).disabled = watches;
    byId("quality-note").hidden = note === "";
    if (byId("quality-note").textContent !== note) byId("quality-note").textContent = note;
  }

  showMuted(/** @type {boolean} */ muted) {
    byId("mute").setAttribute("aria-pressed", String(muted));
  }

  #bindButtons() {
    const press = (/** @type {string} */ id, /** @type {() => void} */ act) =>
      byId(id).addEventListener("click", act);
    press("lock-pointer", () => this.#ports.lockPointer());
    press("touch-keyboard", () => this.#ports.typeByTouch());
    press("mute", () => this.#ports.mute());
    press("full-screen", () => void toggleFullScreen());
    press("show-statistics", () => this.toggleStatistics());
    press("close-statistics", () => this.toggleStatistics());
    press("leave", () => this.#ports.leave());
    press("hide-toolbar", () => this.hide());
    press("handle", () => this.reveal());
    for (const input of choicesOf("mode")) {
      const mode = /** @type {import("../link/launch.js").Mode} */ (input.value);
      input.addEventListener("change", () => this.#ports.mode(mode));
    }
    for (const input of choicesOf("fit")) {
      const fit = /** @type {import("../picture/fit.js").FitChoice} */ (input.value);
      input.addEventListener("change", () => this.#ports.fit(fit));
    }
    for (const input of choicesOf("quality")) {
      const quality = /** @type {import("../picture/quality.js").QualityName} */ (input.value);
      input.addEventListener("change", () => this.#ports.quality(quality));
    }
  }

  toggleStatistics() {
    const panel = byId("statistics");
    panel.hidden = !panel.hidden;
    byId("show-statistics").setAttribute("aria-pressed", String(!panel.hidden));
    this.#ports.statistics(!panel.hidden);
    if (panel.hidden) this.#ports.backToDesktop();
  }

  #bindPresence() {
    this.#handle.addEventListener("pointerenter", () => this.reveal());
    for (const type of ["pointerenter", "pointermove", "focusin"]) {
      this.#bar.addEventListener(type, () => clearTimeout(this.#timer));
    }
    for (const type of ["pointerleave", "focusout"]) {
      this.#bar.addEventListener(type, () => this.#linger());
    }
    for (const panel of document.querySelectorAll("[popover]")) {
      panel.addEventListener("toggle", () => this.#linger());
    }
  }

  #linger() {
    clearTimeout(this.#timer);
    this.#timer = Number(setTimeout(() => this.#hideIfLeftAlone(), LINGER_MS));
  }

  #hideIfLeftAlone() {
    if (this.#bar.matches(":hover, :focus-within")) return;
    if (document.querySelector("[popover]:popover-open")) return;
    this.hide();
  }

  #closePanels() {
    for (const panel of document.querySelectorAll("[popover]:popover-open")) {
      /** @type {HTMLElement} */ (panel).hidePopover();
    }
  }

  #handleKey(/** @type {KeyboardEvent} */ event) {
    const chord = event.ctrlKey && event.altKey && event.shiftKey && event.code === "KeyM";
    const inside = this.#bar.contains(document.activeElement);
    if (chord && this.#wanted) {
      event.preventDefault();
      event.stopImmediatePropagation();
      if (inside) return this.hide();
      this.reveal();
      byId("show-path").focus();
    } else if (inside && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      event.preventDefault();
      this.#moveFocus(event.key === "ArrowRight" ? 1 : -1);
    } else if (inside && event.key === "Escape" && !document.querySelector(":popover-open")) {
      this.hide();
    }
  }

  #moveFocus(/** @type {1 | -1} */ step) {
    const all = /** @type {HTMLElement[]} */ ([...this.#bar.querySelectorAll("button")]);
    const buttons = all.filter((button) => button.offsetParent !== null);
    const at = buttons.findIndex((button) => button === document.activeElement);
    buttons[(at + step + buttons.length) % buttons.length]?.focus();
  }

  #fullScreenChanged() {
    const full = document.fullscreenElement !== null;
    byId("full-screen").setAttribute("aria-pressed", String(full));
    this.#ports.backToDesktop();
  }
}

/** In full screen the desktop gets the keys a browser would keep: Alt+Tab, Ctrl+W, the Super key. */
async function toggleFullScreen() {
  if (document.fullscreenElement) {
    navigator.keyboard?.unlock?.();
    return document.exitFullscreen();
  }
  await document.documentElement.requestFullscreen({ navigationUI: "hide" });
  await navigator.keyboard?.lock?.().catch(() => {});
}
