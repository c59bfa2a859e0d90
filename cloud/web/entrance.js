/**
 * Before somebody is signed in: sign-in, sign-up, and the pages that mails link to. A page that a
 * mail links to only shows a button; nothing is consumed until it is pressed.
 */

import { Refused, call } from "./api.js";
import { problemTitle } from "../../web/words.js";
import { element, field, problemBox } from "./element.js";

const EMAIL = { type: "email", name: "email", autocomplete: "username" };
const OLD_PASSWORD = { type: "password", name: "password", autocomplete: "current-password" };
const NEW_PASSWORD = { type: "password", name: "password", autocomplete: "new-password", minlength: "10" };

/** The token of the mail's link: taken out of the address bar at once. */
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
if (token) history.replaceState(null, "", location.pathname);

/** @typedef {{email?: string, password?: string}} Values */

/** @param {() => void} entered what to do once somebody is signed in */
export function signIn(entered) {
  const page = card("Sign in", [field("Email", EMAIL), field("Password", OLD_PASSWORD)], "Sign in", {
    send: (values) => call("POST", "/auth/sign-in", values),
    done: entered,
    links: [link("/forgot", "Forgot your password?"), link("/sign-up", "Create an account")],
  });
  void offerProvider(page).catch(() => {});
  return page;
}

export function signUp() {
  return card("Create an account", [field("Email", EMAIL), field("Password", NEW_PASSWORD)], "Sign up", {
    send: (values) => call("POST", "/auth/sign-up", values),
    said: "Check your mail: we sent a link to confirm your address.",
    links: [link("/sign-in", "Sign in instead")],
  });
}

export function forgot() {
  return card("Reset your password", [field("Email", EMAIL)], "Send the link", {
    send: (values) => call("POST", "/auth/forgot", values),
    said: "If this address has an account, a link is on its way.",
    links: [link("/sign-in", "Back to sign-in")],
  });
}

export function resend() {
  return card("Resend confirmation", [field("Email", EMAIL)], "Resend confirmation", {
    send: (values) => call("POST", "/auth/resend", values),
    said: "If this address waits for its confirmation, a new link is on its way.",
    links: [link("/sign-in", "Back to sign-in")],
  });
}

export function confirm() {
  return card("Confirm your address", [], "Confirm", {
    send: () => call("POST", "/auth/confirm", { token }),
    said: "Your address is confirmed. You can sign in now.",
    links: [link("/sign-in", "Sign in")],
  });
}

export function reset() {
  return card("Choose a new password", [field("New password", NEW_PASSWORD)], "Set password", {
    send: (values) => call("POST", "/auth/reset", { token, password: values.password }),
    said: "Your password is changed and every sign-in has ended.",
    links: [link("/sign-in", "Sign in")],
  });
}

/** @param {() => void} entered */
export function accept(entered) {
  return card("Join the workspace", [field("Choose a password", NEW_PASSWORD)], "Accept the invitation", {
    send: (values) => call("POST", "/auth/accept", { token, password: values.password }).catch(join),
    done: entered,
    links: [link("/sign-in", "I have an account: sign in")],
  });
}

/** Somebody with an account has their place now, and signs in as usual. */
function join(/** @type {unknown} */ error) {
  if (!(error instanceof Refused) || error.problem.code !== "SIGN_IN_REQUIRED") throw error;
}

/** Shows the other way to sign in, where there is one. */
async function offerProvider(/** @type {Element} */ page) {
  const { oidc } = await call("GET", "/auth/ways");
  if (oidc) page.append(providerButton(oidc.name, "/auth/oidc/start", `Sign in with ${oidc.name}`));
}

/**
 * A button that leads to the provider.
 *
 * @param {string} name of the provider
 * @param {string} path that answers with the way there
 * @param {string} words
 */
export function providerButton(name, path, words) {
  const button = element("button", { class: "button", type: "button" }, words);
  const place = element("div", { class: "provider", "data-provider": name }, button);
  button.addEventListener("click", async () => {
    try {
      location.assign((await call("POST", path)).url);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      place.append(problemBox(error.problem));
    }
  });
  return place;
}

/** What the provider answered, taken out of the address bar at once. */
const answer = Object.fromEntries(location.pathname === "/oidc" ? new URLSearchParams(location.hash.slice(1)) : []);
if (answer.state) history.replaceState(null, "", location.pathname);

/**
 * The way back from the provider: nothing to press, unless something is wrong.
 *
 * @param {(path: string) => void} go
 */
export function provider(go) {
  const result = element("p", { role: "status" }, "Signing you in…");
  const page = element("section", { class: "card entrance" }, element("h1", {}, "Signing in"), result);
  const { state = "", code = "", iss, error } = answer;
  call("POST", "/auth/oidc/finish", { state, code, iss, error })
    .then((done) => go(done?.linked ? "/sessions" : "/"))
    .catch((error) => {
      if (!(error instanceof Refused)) throw error;
      const title = element("h1", {}, problemTitle(error.problem.code));
      const instead = element("p", {}, link("/sign-in", "Sign in with email and password"));
      page.replaceChildren(title, problemBox(error.problem), instead);
      void offerProvider(page).catch(() => {});
    });
  return page;
}

function link(/** @type {string} */ href, /** @type {string} */ words) {
  return element("a", { href }, words);
}

/**
 * @param {string} title
 * @param {Element[]} fields
 * @param {string} action
 * @param {{send: (values: Values) => Promise<unknown>, done?: () => void, said?: string, links: Element[]}} way
 */
function card(title, fields, action, way) {
  const button = element("button", { class: "button primary", type: "submit" }, action);
  const form = element("form", {}, ...fields, button);
  const result = element("div");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.setAttribute("disabled", "");
    try {
      await way.send(Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (form))));
      if (way.done) return way.done();
      form.remove();
      result.replaceChildren(element("p", { role: "status" }, way.said ?? ""));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      result.replaceChildren(problemBox(error.problem));
      if (error.problem.code === "EMAIL_UNCONFIRMED") {
        result.append(link("/resend", "Resend confirmation"));
      }
    }
    button.removeAttribute("disabled");
  });
  const links = way.links.map((one) => element("p", {}, one));
  return element("section", { class: "card entrance" }, element("h1", {}, title), result, form, ...links);
}
