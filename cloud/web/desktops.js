/** The room of desktops: their live state, and what the caller may do with each. */

import { Refused, call } from "./api.js";
import { announce, element, field, problemBox } from "./element.js";
import { watch } from "./news.js";

/** @typedef {import("./news.js").Desktop} Desktop */

/** @type {[string, string, string][]} size, words, value for the service */
const SIZES = [
  ["small", "Small", "2 GB per program"],
  ["medium", "Medium", "4 GB per program"],
  ["large", "Large", "8 GB per program"],
];

/** @type {[string, string][]} what may be done, and the button's word */
const VERBS = [
  ["start", "Start"],
  ["restart", "Restart"],
  ["stop", "Stop"],
];

export async function desktops(/** @type {import("./rooms.js").Me} */ me) {
  const list = element("ul", { class: "rows", "aria-label": "Cloud desktops" });
  const nothing = element("p", { class: "quiet" }, "There is no desktop yet.");
  const page = element("div", {}, element("h1", {}, "Cloud desktops"));
  if (me.role !== "member") page.append(creation());
  page.append(list, nothing);
  /** @type {Map<string, Row>} */
  const rows = new Map();
  const show = (/** @type {Desktop} */ desktop) => {
    const row = rows.get(desktop.id) ?? new Row(desktop);
    if (!rows.has(desktop.id)) list.append(row.element);
    rows.set(desktop.id, row);
    row.show(desktop);
  };
  const forget = (/** @type {string} */ id) => {
    const row = rows.get(id);
    if (!row) return;
    if (row.element.contains(document.activeElement)) focusOn(page.querySelector("h1"));
    row.element.remove();
    rows.delete(id);
  };
  const all = (/** @type {Desktop[]} */ desktops) => {
    const known = new Set(desktops.map(({ id }) => id));
    for (const id of [...rows.keys()]) if (!known.has(id)) forget(id);
    desktops.forEach(show);
  };
  all(await call("GET", "/instances"));
  const settle = () => nothing.toggleAttribute("hidden", rows.size > 0);
  settle();
  watch((news) => {
    if (news.type === "all") all(news.instances);
    else if (news.type === "one") show(news.instance);
    else forget(news.id);
    settle();
  });
  return page;
}

/** One desktop in the list, renewed in place so that nobody loses the focus. */
class Row {
  constructor(/** @type {Desktop} */ { id, name, region, size }) {
    this.id = id;
    this.name = name;
    this.shown = "";
    this.state = "";
    this.words = element("div", {});
    this.words.append(element("strong", {}, name));
    const detail = name === id ? `${region}` : `${id} · ${region} · ${size}`;
    this.words.append(element("div", { class: "quiet" }, detail));
    this.badge = element("span", { class: "state" });
    this.actions = element("div", { class: "actions" });
    this.trouble = element("div", { class: "trouble" });
    this.element = element("li", { class: "card row" }, this.words, this.badge, this.actions, this.trouble);
  }

  show(/** @type {Desktop} */ desktop) {
    const news = JSON.stringify(desktop);
    if (news === this.shown) return;
    this.shown = news;
    if (this.state && this.state !== desktop.state) announce(`${this.name}: ${desktop.state}.`);
    this.state = desktop.state;
    this.badge.textContent = desktop.state;
    this.badge.setAttribute("data-state", desktop.state);
    const focused = this.actions.contains(document.activeElement);
    this.actions.replaceChildren(...this.#actions(desktop));
    if (focused) focusOn(this.actions.querySelector("a, button") ?? this.element);
    this.trouble.replaceChildren(...(desktop.problem ? [this.#problem(desktop.problem)] : []));
  }

  /** @returns {Element[]} */
  #actions(/** @type {Desktop} */ { may }) {
    const made = [];
    if (may.includes("connect")) {
      const href = `/connect/${this.id}#as=member`;
      const label = `Connect to ${this.name}`;
      made.push(element("a", { class: "button primary", href, "aria-label": label }, "Connect"));
    }
    for (const [verb, word] of VERBS) {
      if (may.includes(verb)) made.push(this.#button(word, () => call("POST", `/instances/${this.id}/${verb}`)));
    }
    if (may.includes("delete")) made.push(this.#button("Delete", () => confirmDeletion(this.id, this.name)));
    return made;
  }

  #button(/** @type {string} */ word, /** @type {() => Promise<unknown>} */ act) {
    const attributes = { class: "button", type: "button", "aria-label": `${word} ${this.name}` };
    const button = element("button", attributes, word);
    button.addEventListener("click", async () => {
      button.setAttribute("disabled", "");
      try {
        await act();
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        this.trouble.replaceChildren(problemBox(error.problem));
      }
      button.removeAttribute("disabled");
    });
    return button;
  }

  #problem(/** @type {import("./news.js").Problem} */ problem) {
    const log = element("pre", { tabindex: "0", "aria-label": `Log of ${this.name}` });
    const details = element("details", {}, element("summary", {}, "What its programs said"), log);
    details.addEventListener("toggle", async () => {
      const answer = await call("GET", `/instances/${this.id}/log`).catch(() => null);
      log.textContent = answer?.log || "Nothing.";
    });
    return element("div", {}, problemBox(problem), details);
  }
}

/** The second step: the name is typed, so that nobody deletes by a slip. */
function confirmDeletion(/** @type {string} */ id, /** @type {string} */ name) {
  const typed = field(`Type ${name} to delete it`, { autocomplete: "off", name: "name", pattern: name });
  const cancel = element("button", { class: "button", type: "button" }, "Keep it");
  const sure = element("button", { class: "button danger", type: "submit" }, "Delete for good");
  const buttons = element("div", { class: "actions" }, cancel, sure);
  const words = "All its files are deleted with it, and nothing brings them back. Export what you need first.";
  const form = element("form", {}, element("h2", { id: "deletion" }, `Delete ${name}?`), element("p", {}, words), typed, buttons);
  const dialog = /** @type {HTMLDialogElement} */ (element("dialog", { "aria-labelledby": "deletion" }, form));
  document.body.append(dialog);
  const done = new Promise((resolve, reject) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(null);
    });
    cancel.addEventListener("click", () => dialog.close());
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      await call("DELETE", `/instances/${id}`, { confirm: id }).catch(reject);
      announce(`${name} is deleted.`);
      dialog.close();
    });
  });
  dialog.showModal();
  return done;
}

function creation() {
  const name = field("Name", { name: "name", maxlength: "40", pattern: "[a-z0-9]([a-z0-9\\-]*[a-z0-9])?", title: "a to z, 0 to 9 and hyphens" });
  const size = element("select", { class: "field", id: "new-size", name: "size" });
  for (const [value, word, detail] of SIZES) size.append(element("option", { value }, `${word}, ${detail}`));
  const sized = element("div", { class: "labelled" }, element("label", { for: "new-size" }, "Size"), size);
  const button = element("button", { class: "button primary", type: "submit" }, "Create desktop");
  const form = /** @type {HTMLFormElement} */ (element("form", { class: "invite" }, name, sized, button));
  const result = element("div");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.setAttribute("disabled", "");
    try {
      const made = await call("POST", "/instances", Object.fromEntries(new FormData(form)));
      result.replaceChildren();
      form.reset();
      announce(`${made.name} is created and starts.`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      result.replaceChildren(problemBox(error.problem));
    }
    button.removeAttribute("disabled");
  });
  return element("div", {}, form, result);
}

function focusOn(/** @type {Element | null} */ place) {
  if (!place) return;
  if (!place.matches("a, button")) place.setAttribute("tabindex", "-1");
  /** @type {HTMLElement} */ (place).focus();
}
