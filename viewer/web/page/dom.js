/** The elements of `index.html`, by name: one that is missing is a fault of this page. */

/** @returns {HTMLElement} */
export function byId(/** @type {string} */ id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element;
}

/** @returns {HTMLInputElement[]} the radio buttons of a choice */
export function choicesOf(/** @type {string} */ name) {
  const inputs = document.querySelectorAll(`input[name="${name}"]`);
  return /** @type {HTMLInputElement[]} */ ([...inputs]);
}
