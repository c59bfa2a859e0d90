/** Elements, built from data: nothing a service or a person wrote is ever parsed as markup. */

/**
 * @param {string} name
 * @param {Record<string, string | (() => void)>} attributes `onclick` takes a function
 * @param {...(Node | string)} children
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.replace(/^on/, ""), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

let fields = 0;

/**
 * A field under its label.
 *
 * @param {string} label
 * @param {Record<string, string>} attributes
 */
export function field(label, attributes) {
  const id = `field-${(fields += 1)}`;
  const input = element("input", { id, class: "field", required: "", ...attributes });
  return element("div", { class: "labelled" }, element("label", { for: id }, label), input);
}

/** What went wrong, read out at once. */
export function problemBox(/** @type {import("../../web/words.js").Problem} */ problem) {
  const words = `${problem.cause} ${problem.next_step} `;
  const code = element("span", { class: "code" }, problem.code);
  return element("p", { class: "problem", role: "alert", "data-code": problem.code }, words, code);
}

export function announce(/** @type {string} */ words) {
  const place = document.getElementById("announce");
  if (place) place.textContent = words;
}
