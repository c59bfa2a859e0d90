/** Rows of a list, and what their buttons do. */

import { Refused } from "./api.js";
import { announce, element, problemBox } from "./element.js";

/**
 * A button that does one thing to one row. What it did is announced, the row goes or is renewed.
 *
 * @param {string} verb
 * @param {string} subject
 * @param {Element} row
 * @param {() => Promise<unknown>} act
 * @param {Element} list takes the focus when the row goes
 */
export function action(verb, subject, row, act, list) {
  const button = element("button", { class: "button", type: "button", "aria-label": `${verb} ${subject}` }, verb);
  button.addEventListener("click", async () => {
    try {
      await act();
      if (verb === "Unlock") button.remove();
      else row.remove();
      list.setAttribute("tabindex", "-1");
      /** @type {HTMLElement} */ (list).focus();
      announce(`${verb}: ${subject}. Done.`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      row.append(problemBox(error.problem));
    }
  });
  return button;
}

export function when(/** @type {number} */ unix) {
  return new Date(unix * 1000).toLocaleString();
}
