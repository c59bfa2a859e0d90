/** The dashboard: one page whose address says which room it shows. */

import { Refused, call } from "./api.js";
import { desktops } from "./desktops.js";
import { element, problemBox } from "./element.js";
import * as entrance from "./entrance.js";
import * as rooms from "./rooms.js";

/** The handle rotates so often while a page is open, in milliseconds. */
const REFRESH_MS = 15 * 60_000;

/** @type {Record<string, [string, (me: rooms.Me) => Promise<Element>]>} */
const ROOMS = {
  "/": ["Desktops", desktops],
  "/members": ["Members", rooms.members],
  "/sessions": ["Sessions", rooms.sessions],
  "/audit": ["Audit", rooms.audit],
};

/** @type {Record<string, () => Element>} */
const ENTRANCE = {
  "/sign-in": () => entrance.signIn(enter),
  "/sign-up": entrance.signUp,
  "/forgot": entrance.forgot,
  "/resend": entrance.resend,
  "/confirm": entrance.confirm,
  "/reset": entrance.reset,
  "/invite": () => entrance.accept(enter),
  "/oidc": () => entrance.provider((path) => location.replace(path)),
};

const main = /** @type {HTMLElement} */ (document.getElementById("main"));

function enter() {
  location.assign("/");
}

async function show() {
  const page = ENTRANCE[location.pathname];
  if (page) return place(page());
  try {
    const me = await call("GET", "/me");
    furnish(me);
    const room = ROOMS[location.pathname] ?? ROOMS["/"];
    place(await room[1](me));
    setInterval(() => void call("POST", "/auth/refresh").catch(() => {}), REFRESH_MS);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.problem.code === "SIGN_IN_REQUIRED") return location.replace("/sign-in");
    place(problemBox(error.problem));
  }
}

/** Shows one thing and takes the screen reader there. */
function place(/** @type {Element} */ page) {
  main.replaceChildren(page);
  document.title = `${main.querySelector("h1")?.textContent ?? "MultiClaw"} · MultiClaw`;
  const first = /** @type {HTMLElement | null} */ (main.querySelector("form input"));
  (first ?? main).focus();
}

function furnish(/** @type {rooms.Me} */ me) {
  const nav = /** @type {HTMLElement} */ (document.getElementById("nav"));
  for (const [href, [words]] of Object.entries(ROOMS)) {
    if (href === "/audit" && me.role === "member") continue;
    const link = element("a", { href }, words);
    if (href === location.pathname) link.setAttribute("aria-current", "page");
    nav.append(link);
  }
  /** @type {HTMLElement} */ (document.getElementById("who")).textContent = me.email;
  document.getElementById("sign-out")?.addEventListener("click", async () => {
    const then = await call("POST", "/auth/sign-out");
    location.assign(then?.continue_at ?? "/sign-in");
  });
  document.getElementById("top")?.removeAttribute("hidden");
}

show();
