/**
 * The hidden text field that owns the keyboard focus: input methods compose in it, dead keys and
 * phone keyboards write into it, and a paste lands in it. What it receives becomes text or a key;
 * it never keeps anything.
 */

import { NAMED } from "./keysyms.js";

/** Something to delete, so that a phone's backspace is reported. Twice, for word-wise deletion. */
const FILLER = "\u200b\u200b";

/** Keys that phone keyboards report as edits only. */
const KEY_BY_EDIT = /** @type {Record<string, number>} */ ({
  deleteContentBackward: NAMED.Backspace,
  deleteContentForward: NAMED.Delete,
  deleteWordBackward: NAMED.Backspace,
  insertLineBreak: NAMED.Enter,
  insertParagraph: NAMED.Enter,
});

export class Composer {
  #field;
  #keyboard;
  #composing = false;

  /**
   * @param {HTMLTextAreaElement} field
   * @param {import("./keyboard.js").Keyboard} keyboard
   */
  constructor(field, keyboard) {
    this.#field = field;
    this.#keyboard = keyboard;
    this.#empty();
    field.addEventListener("compositionstart", () => {
      this.#composing = true;
    });
    field.addEventListener("compositionend", (event) => this.#handleCommit(event.data));
    field.addEventListener("input", (event) => this.#handleInput(/** @type {InputEvent} */ (event)));
  }

  #handleCommit(/** @type {string} */ text) {
    this.#composing = false;
    if (text) this.#keyboard.type(text);
    this.#empty();
  }

  #handleInput(/** @type {InputEvent} */ event) {
    if (this.#composing || event.isComposing) return;
    const symbol = KEY_BY_EDIT[event.inputType];
    if (symbol !== undefined) this.#keyboard.tap(symbol);
    // Chromium reports the commit of a composition as an `insertCompositionText`, told already.
    else if (event.data && event.inputType === "insertText") this.#keyboard.type(event.data);
    this.#empty();
  }

  #empty() {
    this.#field.value = FILLER;
    this.#field.setSelectionRange(FILLER.length, FILLER.length);
  }
}
