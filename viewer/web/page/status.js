/**
 * Shows the words of a state: a card while there is no picture, a banner while it pauses, a line
 * in the toolbar while it moves; and says each new sentence once to a screen reader.
 */

import { ACTION_WORDS } from "./words.js";
import { byId } from "./dom.js";

export class Status {
  #spoken = "";
  #shownActions = "";
  #act;

  /** @param {(action: import("./words.js").Action) => void} act */
  constructor(act) {
    this.#act = act;
    byId("banner-retry").addEventListener("click", () => act("retry"));
  }

  show(/** @type {import("./words.js").Words} */ words, /** @type {boolean} */ viewOnly) {
    document.body.dataset.phase = words.phase;
    document.body.dataset.tone = words.tone;
    const onCard = words.phase === "connecting" || words.phase === "failed";
    byId("card").hidden = !onCard;
    if (onCard) this.#fillCard(words);
    this.#fillBanner(words);
    write("path-words", viewOnly ? `${words.title} · view only` : words.title);
    write("path-detail", words.detail);
    byId("path-detail").hidden = !words.detail;
    this.#speak(words);
  }

  #fillCard(/** @type {import("./words.js").Words} */ words) {
    write("card-title", words.title);
    write("card-detail", words.detail);
    write("card-code", words.code);
    byId("card-code").hidden = words.phase !== "failed" || !words.code;
    byId("card-progress").hidden = words.phase === "failed";
    const key = words.actions.join();
    if (key === this.#shownActions) return;
    this.#shownActions = key;
    const buttons = words.actions.map((action, index) => this.#button(action, index === 0));
    byId("card-actions").replaceChildren(...buttons);
    if (words.phase === "failed") buttons[0]?.focus();
  }

  #fillBanner(/** @type {import("./words.js").Words} */ words) {
    const paused = words.phase === "reconnecting";
    const troubled = words.phase === "live" && words.tone === "warn";
    byId("banner").hidden = !paused && !troubled;
    byId("banner-retry").hidden = !paused;
    byId("banner-spinner").hidden = !paused;
    write("banner-title", paused ? words.title : "");
    write("banner-detail", words.detail);
  }

  #button(/** @type {import("./words.js").Action} */ action, /** @type {boolean} */ first) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = first ? "button primary" : "button";
    button.textContent = ACTION_WORDS[action];
    button.addEventListener("click", () => this.#act(action));
    return button;
  }

  /** The title is the state; a detail that counts seconds is not worth interrupting for. */
  #speak(/** @type {import("./words.js").Words} */ words) {
    const failure = words.phase === "failed" ? ` ${words.detail}` : "";
    if (this.#spoken === words.title) return;
    this.#spoken = words.title;
    write("announce", `${words.title}.${failure}`);
  }
}

/** What `sayBriefly` says stays so long, in milliseconds: long enough to be read twice. */
const BRIEF_MS = 5_000;
let briefTimer = 0;

/** Says something that passes by itself. */
export function sayBriefly(/** @type {string} */ words) {
  write("toast", words);
  byId("toast").hidden = false;
  clearTimeout(briefTimer);
  briefTimer = Number(setTimeout(() => (byId("toast").hidden = true), BRIEF_MS));
}

function write(/** @type {string} */ id, /** @type {string} */ text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
