/**
 * Icons: 24 × 24 line drawings, built as SVG nodes because a strict CSP and inline markup do not
 * mix. They are decoration: the control that holds one carries the words.
 */

/** Path data by name. */
const PATHS = /** @type {const} */ ({
  alert: "M12 4 2.8 19.5h18.4L12 4zM12 10v4.5M12 17.2v.1",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clipboard: "M9 4.5h6v3H9zM15 6h3v14H6V6h3M9.5 12h5M9.5 15.5h5",
  close: "M6 6l12 12M18 6L6 18",
  collapse: "M4 4h16M7 15l5-5 5 5",
  desktop: "M3.5 5h17v11h-17zM9 20h6M12 16v4",
  expand: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  keyboard: "M2.5 6.5h19v11h-19zM6 10h.1M10 10h.1M14 10h.1M18 10h.1M6 14h.1M18 14h.1M9.5 14h5",
  leave: "M14 5H5v14h9M10.5 12H20M16.5 8.5 20 12l-3.5 3.5",
  mouse: "M12 3.5a5 5 0 0 1 5 5v7a5 5 0 0 1-10 0v-7a5 5 0 0 1 5-5zM12 7v3.5",
  path: "M5 12h14M5 12a1.8 1.8 0 1 0-.1 0M19 12a1.8 1.8 0 1 0 .1 0M9 8.5C10.5 6.5 13.5 6.5 15 8.5",
  relay: "M4.5 17.5 12 7l7.5 10.5M12 7a2 2 0 1 0-.1 0M4.5 19.5a2 2 0 1 0-.1 0M19.5 19.5a2 2 0 1 0 .1 0",
  retry: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9M19.5 4.5V9H15",
  screen: "M3.5 5h17v14h-17zM8 9.5v5h8v-5z",
  shrink: "M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5",
  silence: "M4 9.5h3.5L12 5.5v13l-4.5-4H4zM16 9.5l5 5M21 9.5l-5 5",
  sound: "M4 9.5h3.5L12 5.5v13l-4.5-4H4zM15.5 9a4.5 4.5 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
  statistics: "M5 19.5v-6M10 19.5v-11M15 19.5v-8M20 19.5v-15",
});

/** @typedef {keyof typeof PATHS} IconName */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {IconName} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "path"));
  svg.firstElementChild?.setAttribute("d", PATHS[name]);
  return svg;
}

/** Fills every `[data-icon="name"]` below `root` with its icon. */
export function placeIcons(/** @type {ParentNode} */ root) {
  for (const holder of root.querySelectorAll("[data-icon]")) {
    const name = /** @type {IconName} */ (holder.getAttribute("data-icon"));
    holder.prepend(icon(name));
    holder.removeAttribute("data-icon");
  }
}
