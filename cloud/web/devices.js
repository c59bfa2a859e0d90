/** Devices: programs that a member signed in once, each with a key of its own. */

import { Refused, call } from "./api.js";
import { element, problemBox } from "./element.js";
import { action, when } from "./rows.js";

/** @typedef {{id: string, name: string, thumbprint: string, used_unix: number}} Device */

/** One's own, below where one is signed in. */
export async function devices() {
  const words = "Gateways and other programs that you signed in. What they hold is of no use without their key. Signing out everywhere ends them too.";
  const section = element("section", { class: "devices" }, element("h2", {}, "Devices"));
  section.append(element("p", { class: "quiet" }, words), rows(await call("GET", "/devices"), ""));
  return section;
}

/** Those of a member, for who administers: shown and hidden by one button. */
export function devicesOf(/** @type {{id: string, email: string}} */ member) {
  const place = element("div", { class: "whole", hidden: "" });
  const label = `Devices of ${member.email}`;
  const button = element("button", { class: "button", type: "button", "aria-label": label, "aria-expanded": "false" }, "Devices");
  button.addEventListener("click", async () => {
    place.hidden = !place.hidden;
    button.setAttribute("aria-expanded", String(!place.hidden));
    if (!place.hidden) place.replaceChildren(await found(member));
  });
  return [button, place];
}

async function found(/** @type {{id: string, email: string}} */ member) {
  try {
    return rows(await call("GET", `/members/${member.id}/devices`), ` of ${member.email}`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return problemBox(error.problem);
  }
}

function rows(/** @type {Device[]} */ found, /** @type {string} */ whose) {
  if (found.length === 0) return element("p", { class: "quiet" }, "None.");
  const list = element("ul", { class: "rows" });
  for (const device of found) {
    const words = element("div", {}, element("strong", {}, device.name));
    const facts = `Last used ${when(device.used_unix)} · key ${device.thumbprint.slice(0, 12)}…`;
    words.append(element("div", { class: "quiet" }, facts));
    const row = element("li", { class: "card row" }, words);
    const end = () => call("DELETE", `/devices/${device.id}`);
    row.append(action("Sign out", `${device.name}${whose}`, row, end, list));
    list.append(row);
  }
  return list;
}
