/** What a member sees besides desktops: members, where they are signed in, and the audit log. */

import { Refused, call } from "./api.js";
import { devices, devicesOf } from "./devices.js";
import { announce, element, field, problemBox } from "./element.js";
import { providerButton } from "./entrance.js";
import { action, when } from "./rows.js";

/** @typedef {{email: string, role: string, workspace: string}} Me */

export async function members(/** @type {Me} */ me) {
  const rows = await call("GET", "/members");
  const list = element("ul", { class: "rows" });
  const page = element("div", {}, element("h1", {}, "Members"));
  if (me.role !== "member") page.append(invitation());
  page.append(list);
  for (const member of rows) list.append(memberRow(member, me, list));
  return page;
}

function memberRow(/** @type {any} */ member, /** @type {Me} */ me, /** @type {Element} */ list) {
  const state = member.locked ? "Locked" : member.confirmed ? "Active" : "Unconfirmed";
  const words = element("div", {}, element("strong", {}, member.email));
  words.append(element("div", { class: "quiet" }, `${member.role} · ${state}`));
  const row = element("li", { class: "card row" }, words);
  if (me.role === "member" || member.email === me.email) return row;
  const path = `/members/${member.id}`;
  if (member.locked) {
    row.append(action(`Unlock`, member.email, row, () => call("POST", `${path}/unlock`), list));
  }
  const [button, place] = devicesOf(member);
  row.append(button, action("Remove", member.email, row, () => call("DELETE", path), list), place);
  return row;
}

function invitation() {
  const address = field("Invite by email", { type: "email", name: "email" });
  const button = element("button", { class: "button primary", type: "submit" }, "Invite");
  const form = element("form", { class: "invite" }, address, button);
  const result = element("div");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const email = new FormData(/** @type {HTMLFormElement} */ (form)).get("email");
    try {
      await call("POST", "/members/invitations", { email, role: "member" });
      result.replaceChildren(element("p", { role: "status" }, `An invitation is on its way to ${email}.`));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      result.replaceChildren(problemBox(error.problem));
    }
  });
  return element("div", {}, form, result);
}

export async function sessions() {
  const list = element("ul", { class: "rows" });
  for (const session of await call("GET", "/sessions")) {
    const words = element("div", {}, element("strong", {}, session.client || "A program"));
    words.append(element("div", { class: "quiet" }, `Last used ${when(session.used_unix)}`));
    const row = element("li", { class: "card row" }, words);
    if (session.current) row.append(element("span", { class: "state" }, "This browser"));
    else row.append(action("End", session.client, row, () => call("DELETE", `/sessions/${session.id}`), list));
    list.append(row);
  }
  const everywhere = element("button", { class: "button", type: "button" }, "Sign out everywhere");
  everywhere.addEventListener("click", async () => {
    const then = await call("POST", "/auth/sign-out-everywhere");
    location.assign(then?.continue_at ?? "/sign-in");
  });
  const page = element("div", {}, element("h1", {}, "Where you are signed in"), list, element("p", {}, everywhere));
  page.append(await devices());
  const { oidc } = await call("GET", "/auth/ways");
  if (oidc) page.append(await linking(oidc.name));
  return page;
}

/** Links the provider's account to one's own, or lets go of it. */
async function linking(/** @type {string} */ name) {
  const { linked } = await call("GET", "/me/oidc");
  const section = element("section", { class: "linking" }, element("h2", {}, `Sign in with ${name}`));
  if (!linked) {
    section.append(element("p", { class: "quiet" }, `Link your ${name} account to sign in with it.`));
    section.append(providerButton(name, "/me/oidc", `Link ${name}`));
    return section;
  }
  const words = element("p", {}, `Your ${name} account is linked. `);
  const button = element("button", { class: "button", type: "button" }, `Unlink ${name}`);
  button.addEventListener("click", async () => {
    await call("DELETE", "/me/oidc");
    section.replaceWith(await linking(name));
    announce(`${name} is unlinked.`);
  });
  section.append(words, button);
  return section;
}

export async function audit() {
  const list = element("ul", { class: "rows" });
  for (const entry of await call("GET", "/audit")) {
    const words = element("div", {}, `${entry.actor} · ${entry.action} · ${entry.subject}`);
    list.append(element("li", { class: "card row" }, words, element("span", { class: "quiet" }, when(entry.at_unix))));
  }
  const save = element("a", { class: "button", href: "/api/v1/audit/export", download: "" }, "Export");
  return element("div", {}, element("h1", {}, "Audit log"), element("p", {}, save), list);
}
