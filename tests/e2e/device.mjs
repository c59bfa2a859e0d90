/**
 * A program that a member signs in, as a gateway is one: a key pair of its own, and a proof of it with
 * every request (RFC 9449), by the cryptography of Node. It knows nothing of how the service works
 * inside.
 */

import { createHash, randomUUID, webcrypto } from "node:crypto";

const encode = (/** @type {string | Buffer} */ bytes) => Buffer.from(bytes).toString("base64url");

export class Device {
  static async make(origin) {
    const device = new Device();
    device.origin = new URL(origin).origin;
    device.pair = await webcrypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign"]);
    device.jwk = await webcrypto.subtle.exportKey("jwk", device.pair.publicKey);
    return device;
  }

  async signIn({ email, password }, name) {
    const answer = await this.call("POST", "/devices", { email, password, name });
    if (answer.token) this.token = answer.token;
    return answer;
  }

  /** What the service answers, a problem too; once more with its nonce if it wants one. */
  async call(method, path, body) {
    const answer = await this.#send(method, path, body);
    return answer.code === "DEVICE_NONCE_NEEDED" ? this.#send(method, path, body) : answer;
  }

  async #send(method, path, body) {
    const url = `${this.origin}/api/v1${path}`;
    const headers = { DPoP: await this.#prove(method, url) };
    if (this.token) headers.Authorization = `DPoP ${this.token}`;
    if (body) headers["Content-Type"] = "application/json";
    const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
    this.nonce = answer.headers.get("DPoP-Nonce") ?? this.nonce;
    return answer.status === 204 ? {} : answer.json();
  }

  async #prove(method, url) {
    const header = { typ: "dpop+jwt", alg: "ES256", jwk: this.jwk };
    const claims = { jti: randomUUID(), htm: method, htu: url, iat: Math.floor(Date.now() / 1000), nonce: this.nonce };
    if (this.token) claims.ath = createHash("sha256").update(this.token).digest("base64url");
    const signed = `${encode(JSON.stringify(header))}.${encode(JSON.stringify(claims))}`;
    const how = { name: "ECDSA", hash: "SHA-256" };
    const signature = await webcrypto.subtle.sign(how, this.pair.privateKey, Buffer.from(signed));
    return `${signed}.${encode(Buffer.from(signature))}`;
  }
}
