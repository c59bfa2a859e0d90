/**
 * The quality a person chose for the picture, kept in this browser, and the one it is made with:
 * another viewer who chose more frugally decides, and who only watches has no choice.
 */

import { isQuality } from "../input/control.js";

/** @typedef {import("../input/control.js").Quality} QualityName */

const STORED_AS = "multiclaw.quality";

const WORDS = { auto: "Automatic", sharp: "Sharp", balanced: "Balanced", "data-saver": "Data saver" };

/** @returns {QualityName} */
export function storedQuality(/** @type {Storage} */ storage) {
  const stored = storage.getItem(STORED_AS);
  return isQuality(stored) ? /** @type {QualityName} */ (stored) : "auto";
}

export function storeQuality(/** @type {Storage} */ storage, /** @type {QualityName} */ choice) {
  storage.setItem(STORED_AS, choice);
}

/**
 * Why the picture is not made as chosen, or nothing if it is.
 *
 * @param {QualityName} choice
 * @param {QualityName} made
 * @param {boolean} watches
 */
export function qualityNote(choice, made, watches) {
  if (watches) return `${WORDS[made]}, chosen by who controls the desktop.`;
  if (choice === made) return "";
  return `Now ${WORDS[made]}: another viewer of this desktop chose that.`;
}

export class Quality {
  #choice;
  #ask;
  /** As the host last said. */
  made = /** @type {QualityName} */ ("auto");

  /**
   * @param {QualityName} choice
   * @param {(choice: QualityName) => void} ask
   */
  constructor(choice, ask) {
    this.#choice = choice;
    this.#ask = ask;
  }

  get choice() {
    return this.#choice;
  }

  choose(/** @type {QualityName} */ choice) {
    this.#choice = choice;
    this.again();
  }

  /** Asks once more: another host may be listening. */
  again() {
    this.#ask(this.#choice);
  }
}
