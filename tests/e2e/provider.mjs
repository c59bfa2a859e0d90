/**
 * A real OpenID Connect provider (npm `oidc-provider`) for one test run, and a visitor that walks
 * its pages without a browser. It lives at `localhost`, the service at `127.0.0.1`: two sites, as
 * in life, so that neither sees the other's cookies.
 */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { ROOT } from "./house.mjs";

const installed = createRequire(`${ROOT}tests/web/package.json`);
// Not installed is no reason to pass: the import fails.
const { default: Provider } = await import(installed.resolve("oidc-provider"));
/** The library the provider signs with; a forger has it too. */
export const jose = await import(createRequire(installed.resolve("oidc-provider")).resolve("jose"));

export const CLIENT = "multiclaw";
export const SECRET = "a secret of this run only";

/** One provider at a free port. Whoever presses Continue is `person`. */
export class Identities {
  person = "ada";

  static async start(cloud) {
    const identities = new Identities();
    identities.server = createServer((request, response) => void identities.#answer(request, response));
    await new Promise((resolve) => identities.server.listen(0, "127.0.0.1", resolve));
    identities.issuer = `http://localhost:${identities.server.address().port}`;
    const { privateKey } = await jose.generateKeyPair("RS256", { extractable: true });
    identities.key = privateKey;
    identities.configure(cloud, { ...(await jose.exportJWK(privateKey)), kid: "own", use: "sig", alg: "RS256" });
    return identities;
  }

  /** A token as only the provider can make it. */
  sign(claims, typ) {
    return new jose.SignJWT(claims).setProtectedHeader({ alg: "RS256", typ, kid: "own" }).sign(this.key);
  }

  configure(cloud, key) {
    this.provider = new Provider(this.issuer, {
      clients: [
        {
          client_id: CLIENT,
          client_secret: SECRET,
          redirect_uris: [`${cloud}/api/v1/auth/oidc/callback`],
          post_logout_redirect_uris: [`${cloud}/api/v1/auth/oidc/signed-out`],
          backchannel_logout_uri: `${cloud}/api/v1/auth/oidc/backchannel`,
          backchannel_logout_session_required: true,
        },
      ],
      jwks: { keys: [key] },
      cookies: { keys: ["a key of this run only"] },
      pkce: { required: () => true },
      findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
      loadExistingGrant: async ({ oidc }) => {
        const grant = new oidc.provider.Grant({ clientId: CLIENT, accountId: oidc.session.accountId });
        grant.addOIDCScope("openid");
        await grant.save();
        return grant;
      },
      // It refuses to call loopback addresses, as it should; the service of a test lives at one.
      fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
      interactions: { url: (_, { uid }) => `/interaction/${uid}` },
      features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
    });
    this.handle = this.provider.callback();
  }

  async #answer(request, response) {
    if (!request.url.startsWith("/interaction/")) return this.handle(request, response);
    if (request.method === "POST") {
      const result = { login: { accountId: this.person } };
      return this.provider.interactionFinished(request, response, result);
    }
    response.setHeader("Content-Type", "text/html");
    response.end(`<!doctype html><html lang="en"><title>Provider</title><form method="post"><button>Continue</button></form>`);
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** A browser as far as an attacker needs one: cookies by host, redirects followed by hand. */
export class Visitor {
  #cookies = new Map();

  constructor(cloud) {
    this.cloud = cloud;
  }

  async fetch(url, options = {}) {
    const { host, origin } = new URL(url);
    const jar = this.#cookies.get(host) ?? new Map();
    this.#cookies.set(host, jar);
    const headers = { Cookie: [...jar].map((pair) => pair.join("=")).join("; "), Origin: origin, ...options.headers };
    const answer = await fetch(url, { redirect: "manual", ...options, headers });
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      jar.set(name, value);
    }
    return answer;
  }

  /** The API; answers with status and body. */
  async call(method, path, body) {
    const headers = body ? { "Content-Type": "application/json" } : {};
    const answer = await this.fetch(`${this.cloud}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : null };
  }

  /** From the provider's front door to the answer that it sends back to the service. */
  async walk(url) {
    for (let steps = 0; steps < 12; steps += 1) {
      if (url.startsWith(`${this.cloud}/`)) return url;
      let answer = await this.fetch(url);
      if (answer.status === 200) answer = await this.fetch(url, { method: "POST" });
      const next = answer.headers.get("location");
      assert.ok(next, `${url} answers ${answer.status}: ${await answer.text()}`);
      url = new URL(next, url).href;
    }
    assert.fail(`no way back from ${url}`);
  }

  /** What the page of the workspace would bring to the service. */
  async returned(url) {
    const answer = await this.fetch(url);
    const target = new URL(answer.headers.get("location"));
    return { target, answer: Object.fromEntries(new URLSearchParams(target.hash.slice(1))) };
  }

  /** Begins a sign-in (or a link) and comes back with the provider's answer, not yet shown. */
  async attempt(path = "/auth/oidc/start", change = (url) => url) {
    const { status, body } = await this.call("POST", path);
    assert.equal(status, 200, JSON.stringify(body));
    return (await this.returned(await this.walk(change(body.url)))).answer;
  }

  finish(answer) {
    return this.call("POST", "/auth/oidc/finish", answer);
  }
}
