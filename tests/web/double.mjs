/**
 * The other end of the browser viewer, played: a web server with the real files and the real
 * policy, signalling as a script in this process, and an agent host that is a page of the same
 * browser with a canvas for a desktop. What the pages are tested against; the whole path with the
 * real programs is tested in `tests/e2e`.
 */

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { CHROMIUM, FLAGS } from "../chromium.mjs";
import { agentHost } from "./double-agent.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TYPES = { js: "text/javascript", css: "text/css", html: "text/html", svg: "image/svg+xml", map: "application/json" };

export async function launchBrowser() {
  return chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS] });
}

/** The policy as the `web` crate spells it, so that the two cannot drift apart. */
async function policy() {
  const source = await readFile(`${ROOT}web/src/lib.rs`, "utf8");
  const literal = /CONTENT_SECURITY_POLICY: &str = "([^"]*)"/.exec(source)?.[1] ?? "";
  return literal.replace(/\\\n\s*/g, "");
}

/** Files by their URL, as the two `assets.rs` list them. */
async function assets() {
  const files = new Map();
  for (const [list, folder] of [["web/assets.rs", "web/"], ["viewer/web/assets.rs", "viewer/web/"]]) {
    const source = await readFile(ROOT + list, "utf8");
    for (const [, mount, file] of source.matchAll(/asset!\("([^"]+)", "([^"]+)"\)/g)) {
      files.set(`${mount}/${file}`, ROOT + folder + file);
    }
  }
  return files;
}

export class Double {
  /** What the ticket desk answers: `[status, body]`. */
  ticket = () => [200, { ticket: "ticket-1", expires_in_secs: 60 }];
  /** What signalling answers to the first message; a list of messages. */
  greet = (first) => [first.type === "open" ? { type: "granted", grant: this.grant() } : { type: "resumed" }];
  /** Changes of the grant a test wants. */
  grantChanges = {};
  /** What runs in the page before its own scripts. @type {(() => void) | null} */
  script = null;
  /** Whether the agent host shows nothing from the start. */
  dark = false;
  /** Whether sockets are taken at all. */
  serviceUp = true;
  /** Every message of the viewer, parsed. */
  heard = [];
  agentUp = true;
  sockets = new Set();

  static async start(browser) {
    const double = new Double();
    double.browser = browser;
    const [files, csp] = [await assets(), await policy()];
    double.server = createServer((request, response) => double.#serve(request, response, files, csp));
    await new Promise((resolve) => double.server.listen(0, "127.0.0.1", resolve));
    double.origin = `http://127.0.0.1:${double.server.address().port}`;
    return double;
  }

  async stop() {
    await this.context?.close();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  grant() {
    const policy = { role: "control", clipboard_to_host: true, clipboard_to_viewer: true, idle_timeout_secs: 0 };
    return {
      session: "6f2c1a34-0000-4000-8000-000000000001",
      instance: "desk",
      token: "token-1",
      expires_in_secs: 600,
      refresh_handle: "handle-1",
      ice_servers: [],
      path_mode: "auto",
      policy,
      region: "eu-west",
      ...this.grantChanges,
    };
  }

  /** Opens the viewer; `options` are those of a browser context. */
  async open(options = {}, fragment = "#key=secret") {
    this.context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    this.agent = await agentHost(this.context, this.origin, (candidate) => this.toViewer({ type: "candidate", candidate }));
    if (this.dark) await this.agent.dark(true);
    this.page = await this.context.newPage();
    if (this.script) await this.page.addInitScript(this.script);
    this.faults = [];
    this.page.on("pageerror", (error) => this.faults.push(String(error)));
    this.page.on("console", (line) => line.type() === "error" && this.faults.push(line.text()));
    await this.page.routeWebSocket("**/api/v1/signal", (socket) => this.#take(socket));
    await this.page.goto(`${this.origin}/connect/desk${fragment}`);
    return this.page;
  }

  state() {
    return this.page.evaluate(() => window.multiclaw.state());
  }

  /** Waits until the page says it is in a phase. */
  async phase(phase) {
    await this.page.waitForFunction((wanted) => window.multiclaw?.state().phase === wanted, phase, { timeout: 20_000 });
    return this.state();
  }

  toViewer(message) {
    for (const socket of this.sockets) socket.send(JSON.stringify(message));
  }

  /** The service goes away: sockets are cut, new ones refused. */
  cut() {
    this.serviceUp = false;
    for (const socket of this.sockets) socket.close();
    this.sockets.clear();
  }

  #take(socket) {
    if (!this.serviceUp) return socket.close();
    let greeted = false;
    this.sockets.add(socket);
    socket.onClose(() => this.sockets.delete(socket));
    socket.onMessage(async (text) => {
      const message = JSON.parse(text);
      this.heard.push(message);
      if (!greeted) {
        greeted = true;
        for (const answer of this.greet(message)) socket.send(JSON.stringify(answer));
      } else await this.#answer(message);
    });
  }

  async #answer(message) {
    if (message.type === "ping") return this.toViewer({ type: "pong" });
    if (message.type === "refresh") {
      return this.toViewer({ type: "refreshed", grant: { ...this.grant(), token: "token-2", refresh_handle: "handle-2" } });
    }
    if (!this.agentUp) return undefined;
    if (message.type === "offer") this.toViewer({ type: "answer", sdp: await this.agent.answer(message.sdp) });
    if (message.type === "candidate") await this.agent.candidate(message.candidate);
    return undefined;
  }

  async #serve(request, response, files, csp) {
    const path = new URL(request.url, this.origin).pathname;
    if (path.endsWith("/tickets")) {
      this.authorization = request.headers.authorization;
      const [status, body] = this.ticket();
      response.writeHead(status, { "Content-Type": "application/json" });
      return response.end(JSON.stringify(body));
    }
    if (path === "/double") {
      response.writeHead(200, { "Content-Type": "text/html" });
      return response.end("<!doctype html><title>agent host</title>");
    }
    const file = path.startsWith("/connect/") ? files.get("/viewer/index.html") : files.get(path);
    if (!file) return response.writeHead(404).end();
    const type = TYPES[file.split(".").pop()];
    response.writeHead(200, { "Content-Type": `${type}; charset=utf-8`, "Content-Security-Policy": csp, "Cache-Control": "no-store" });
    return response.end(await readFile(file));
  }
}
