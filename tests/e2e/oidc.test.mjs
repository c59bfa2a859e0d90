/**
 * Sign in with a real provider: the whole flow in a real Chromium, and what attackers get. The
 * names of the attacks are those of RFC 9700 and of Back-Channel Logout §4.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { PROGRAMS, ROOT, Viewer } from "./house.mjs";
import { accessible, withPage as inPage } from "./page.mjs";
import { CLIENT, Identities, SECRET, Visitor, jose } from "./provider.mjs";

const FOLDER = `${ROOT}target/e2e/oidc.state`;
const EMAIL = "ada@example.org";

let url;
let identities;
let cloud;
let password;
let browser;

const withPage = (path, body, context) => inPage(browser, `${url}${path}`, body, context);

before(async () => {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  url = `http://127.0.0.1:${await freePort()}`;
  identities = await Identities.start(url);
  const oidc = `[oidc]\nissuer = "${identities.issuer}"\nclient_id = "${CLIENT}"\nclient_secret = "${SECRET}"\n`;
  const config = configure("cloud", url, oidc);
  const made = execFileSync(`${PROGRAMS}/multiclaw-cloud`, ["--config", config, "member", "create", "--email", EMAIL]);
  ({ password } = JSON.parse(made.toString()));
  cloud = await Cloud.start(config);
  browser = await Viewer.launch();
});
after(async () => {
  await browser?.close();
  await cloud?.stop();
  await identities?.stop();
});

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function configure(name, at, more) {
  const file = `${FOLDER}/${name}.toml`;
  const listen = `listen = "${new URL(at).host}"\npublic_url = "${at}"\n`;
  writeFileSync(file, `${listen}database = "sqlite:${FOLDER}/${name}.db"\nstate = "${FOLDER}/${name}"\n${more}`);
  return file;
}

class Cloud {
  static async start(config) {
    const cloud = new Cloud();
    const env = { ...process.env, MULTICLAW_LOG: "info,cloud=debug" };
    cloud.process = spawn(`${PROGRAMS}/multiclaw-cloud`, ["--config", config], { env, stdio: ["ignore", "pipe", "pipe"] });
    cloud.log = "";
    cloud.process.stderr.on("data", (text) => (cloud.log += text));
    for await (const line of createInterface({ input: cloud.process.stdout })) {
      assert.equal(JSON.parse(line).ready, "cloud");
      return cloud;
    }
    assert.fail(`the service does not start:\n${cloud.log}`);
  }

  async stop() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGTERM");
    await ended;
    assert.equal(this.process.exitCode, 0, this.log);
  }
}

async function signInWithPassword(page) {
  await page.getByLabel("Email").fill(EMAIL);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("heading", { name: "Desktops" }).waitFor();
}

/** Somebody who is signed in with email and password. */
async function member() {
  const visitor = new Visitor(url);
  const { status } = await visitor.call("POST", "/auth/sign-in", { email: EMAIL, password });
  assert.equal(status, 200);
  return visitor;
}

/** Somebody who signed in at the provider; `ada` is linked by then. */
async function guest() {
  const visitor = new Visitor(url);
  const { status, body } = await visitor.finish(await visitor.attempt());
  assert.equal(status, 200, JSON.stringify(body));
  return visitor;
}

async function refused(promise, status, code) {
  const answer = await promise;
  assert.deepEqual([answer.status, answer.body?.code], [status, code], JSON.stringify(answer.body));
}

test("a stranger at the provider is told to link first, and is let in nowhere", async () => {
  await withPage("/sign-in", async (page, viewer) => {
    await page.getByRole("button", { name: "Sign in with Multiplai" }).waitFor();
    await accessible(page);
    await viewer.shot("oidc-sign-in");
    await page.getByRole("button", { name: "Sign in with Multiplai" }).click();
    await page.getByRole("button", { name: "Continue" }).click();
    const alert = page.getByRole("alert");
    await alert.waitFor();
    assert.equal(await alert.getAttribute("data-code"), "ACCOUNT_NOT_LINKED");
    await accessible(page);
    await viewer.shot("oidc-not-linked");
    await page.getByRole("link", { name: "Sign in with email and password" }).click();
    await signInWithPassword(page);
  });
});

test("a member links the provider's account, signs in with it, and signs out of both", async () => {
  await withPage("/sign-in", async (page, viewer) => {
    await signInWithPassword(page);
    await page.getByRole("link", { name: "Sessions" }).click();
    await page.getByRole("button", { name: "Link Multiplai" }).click();
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByText("Your Multiplai account is linked.").waitFor();
    assert.equal(new URL(page.url()).hash, "", "nothing of the answer stays in the address bar");
    await accessible(page);
    await viewer.shot("oidc-linked");
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    // Who signed in with a password has no session of the provider to end.
    await page.getByRole("button", { name: "Sign in with Multiplai" }).click();
    await page.getByRole("heading", { name: "Desktops" }).waitFor();
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.getByRole("button", { name: "Yes, sign me out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    assert.equal(new URL(page.url()).origin, url);
    await page.getByRole("button", { name: "Sign in with Multiplai" }).click();
    await page.getByRole("button", { name: "Continue" }).waitFor();
  });
});

test("a session mismatch is named, and email and password are offered, on a phone too", async () => {
  const phone = { viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true };
  await withPage("/oidc#state=made-up&code=made-up", async (page, viewer) => {
    await page.getByRole("heading", { name: "The sign-in does not match" }).waitFor();
    assert.equal(await page.getByRole("alert").getAttribute("data-code"), "SESSION_MISMATCH");
    await page.getByRole("button", { name: "Sign in with Multiplai" }).waitFor();
    await accessible(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} px too wide`);
    await viewer.shot("oidc-mismatch");
    await page.getByRole("link", { name: "Sign in with email and password" }).click();
    await page.getByLabel("Password").waitFor();
  }, phone);
});

test("without the configuration nothing of it is there", async () => {
  const at = `http://127.0.0.1:${await freePort()}`;
  const plain = await Cloud.start(configure("plain", at, ""));
  const visitor = new Visitor(at);
  assert.deepEqual((await visitor.call("GET", "/auth/ways")).body, { oidc: null });
  await refused(visitor.call("POST", "/auth/oidc/start"), 404, "NOT_FOUND");
  await plain.stop();
});

test("attack: a replayed state is worth nothing, to whoever used it and to anybody else", async () => {
  const visitor = new Visitor(url);
  const answer = await visitor.attempt();
  assert.equal((await visitor.finish(answer)).status, 200);
  await refused(visitor.finish(answer), 403, "SESSION_MISMATCH");
});

test("attack: an answer brought by another browser is refused and used up (login CSRF)", async () => {
  const attacker = new Visitor(url);
  const answer = await attacker.attempt();
  const victim = new Visitor(url);
  await refused(victim.finish(answer), 403, "SESSION_MISMATCH");
  await refused(attacker.finish(answer), 403, "SESSION_MISMATCH");
  const busy = new Visitor(url);
  await busy.attempt();
  await refused(busy.finish(await attacker.attempt()), 403, "SESSION_MISMATCH");
});

test("attack: a token with another nonce is refused", async () => {
  const visitor = new Visitor(url);
  const answer = await visitor.attempt("/auth/oidc/start", (way) => {
    const changed = new URL(way);
    changed.searchParams.set("nonce", "another");
    return changed.href;
  });
  await refused(visitor.finish(answer), 502, "PROVIDER_FAILED");
});

test("attack: a stolen code in one's own sign-in is refused (code injection, PKCE)", async () => {
  const victim = await new Visitor(url).attempt();
  const attacker = new Visitor(url);
  const own = await attacker.attempt();
  await refused(attacker.finish({ ...own, code: victim.code }), 502, "PROVIDER_FAILED");
});

test("attack: an answer of another issuer, or of none, is refused (mix-up)", async () => {
  for (const iss of ["https://evil.example", `${identities.issuer}/`, undefined]) {
    const visitor = new Visitor(url);
    const answer = await visitor.attempt();
    assert.equal(answer.iss, identities.issuer, "the provider says who it is");
    await refused(visitor.finish({ ...answer, iss }), 502, "PROVIDER_FAILED");
  }
});

test("attack: a link begun by one member cannot be finished by another browser", async () => {
  const ada = await member();
  const answer = await ada.attempt("/me/oidc");
  await refused((await member()).finish(answer), 403, "SESSION_MISMATCH");
});

test("attack: the subject of one member cannot be linked to another", async () => {
  const args = ["--config", `${FOLDER}/cloud.toml`, "member", "create", "--email", "eve@example.org", "--role", "member"];
  const eve = JSON.parse(execFileSync(`${PROGRAMS}/multiclaw-cloud`, args).toString());
  const visitor = new Visitor(url);
  await visitor.call("POST", "/auth/sign-in", { email: "eve@example.org", password: eve.password });
  await refused(visitor.finish(await visitor.attempt("/me/oidc")), 403, "ACCOUNT_NOT_LINKED");
});

test("attack: nobody is sent to an address that a request names (open redirect)", async () => {
  const visitor = new Visitor(url);
  const evil = "https://evil.example/";
  const more = `redirect_uri=${evil}&return_to=${evil}&next=${evil}`;
  for (const path of [
    `/api/v1/auth/oidc/callback?state=x&code=y&${more}`,
    `/api/v1/auth/oidc/callback?state=${evil}&code=${evil}&iss=${evil}`,
    `/api/v1/auth/oidc/signed-out?state=evil.example&${more}`,
    `/api/v1/auth/oidc/signed-out?state=${evil}`,
    `/api/v1/auth/oidc/signed-out?state=@evil.example`,
  ]) {
    const { target } = await visitor.returned(`${url}${path}`);
    assert.equal(target.origin, url, path);
  }
  const { body } = await visitor.call("POST", "/auth/oidc/start", { redirect_uri: evil, return_to: evil });
  const asked = new URL(body.url);
  assert.equal(asked.origin, identities.issuer);
  assert.equal(asked.searchParams.get("redirect_uri"), `${url}/api/v1/auth/oidc/callback`);
  assert.equal(asked.searchParams.get("code_challenge_method"), "S256");
});

/** Claims of a logout token that would be good, had the provider signed it. */
function logoutClaims(changes = {}) {
  const now = Math.floor(Date.now() / 1000);
  const events = { "http://schemas.openid.net/event/backchannel-logout": {} };
  return { iss: identities.issuer, aud: CLIENT, sub: "ada", iat: now, exp: now + 60, jti: `${now}`, events, ...changes };
}

function tell(token) {
  const body = new URLSearchParams({ logout_token: token });
  return fetch(`${url}/api/v1/auth/oidc/backchannel`, { method: "POST", body });
}

test("attack: a forged logout token signs nobody out", async () => {
  const ada = await guest();
  const { privateKey } = await jose.generateKeyPair("RS256");
  const own = (claims, header = {}) =>
    new jose.SignJWT(claims).setProtectedHeader({ alg: "RS256", typ: "logout+jwt", kid: "own", ...header }).sign(privateKey);
  const shared = new TextEncoder().encode(SECRET.padEnd(32));
  const forged = {
    "another key": await own(logoutClaims()),
    "an unknown key": await own(logoutClaims(), { kid: "mine" }),
    "no signature": new jose.UnsecuredJWT(logoutClaims()).encode(),
    "the client's secret": await new jose.SignJWT(logoutClaims()).setProtectedHeader({ alg: "HS256", typ: "logout+jwt" }).sign(shared),
    "no token": "x.y.z",
    nothing: "",
  };
  for (const [what, token] of Object.entries(forged)) {
    const answer = await tell(token);
    assert.equal(answer.status, 400, what);
  }
  assert.equal((await ada.call("GET", "/me")).status, 200, "still signed in");
});

test("attack: what the provider itself signed for another purpose or service is no logout token", async () => {
  const ada = await guest();
  const sign = (claims, typ = "logout+jwt") => identities.sign(claims, typ);
  for (const [what, token] of Object.entries({
    "another audience": await sign(logoutClaims({ aud: "another" })),
    "another issuer": await sign(logoutClaims({ iss: "https://evil.example" })),
    "an ID token": await sign(logoutClaims({ events: undefined, nonce: "n" }), "JWT"),
    "a nonce": await sign(logoutClaims({ nonce: "n" })),
    "no event": await sign(logoutClaims({ events: {} })),
    expired: await sign(logoutClaims({ exp: 1 })),
  })) {
    assert.equal((await tell(token)).status, 400, what);
  }
  assert.equal((await ada.call("GET", "/me")).status, 200, "still signed in");
  assert.equal((await tell(await sign(logoutClaims()))).status, 200, "the key is the right one");
  await refused(ada.call("GET", "/me"), 401, "SIGN_IN_REQUIRED");
});

test("a logout at the provider ends the sign-in here, by its own call (back-channel)", async () => {
  const ada = await guest();
  const elsewhere = await member();
  const page = await ada.fetch(`${identities.issuer}/session/end`);
  const secret = /name="xsrf" value="([^"]+)"/.exec(await page.text())[1];
  const body = new URLSearchParams({ xsrf: secret, logout: "yes" });
  const left = await ada.fetch(`${identities.issuer}/session/end/confirm`, { method: "POST", body });
  assert.ok(left.status < 400, `${left.status}`);
  await refused(ada.call("GET", "/me"), 401, "SIGN_IN_REQUIRED");
  assert.equal((await elsewhere.call("GET", "/me")).status, 200, "a password's sign-in is not the provider's to end");
});

test("neither the provider's secret nor a code or token stands in the log", () => {
  assert.ok(cloud.log.length > 0);
  for (const secret of [SECRET, "eyJ"]) assert.ok(!cloud.log.includes(secret), secret);
  assert.ok(!readFileSync(`${FOLDER}/cloud.db`).includes(SECRET));
});
