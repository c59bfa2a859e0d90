/**
 * The whole house for a test: the real programs through `cargo xtask up`, a real Chromium, a real
 * program on the desktop. Nothing here knows how the pages or programs work inside; pixels come
 * from the video, facts from `getStats`, the relay's counters from its own metrics.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "../web/node_modules/playwright-core/index.mjs";
import { CHROMIUM, FLAGS } from "../chromium.mjs";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? `${ROOT}target`;
export const PROGRAMS = `${TARGET}/release`;
const SHOTS = `${ROOT}target/e2e`;
/** A cold start measures the encoder; CI's machines are slow. */
const UP_LIMIT_MS = 90_000;

/** The colours below the code that `lab-probe draw` shows, left to right. */
export const COLOURS = [0xffffff, 0xff0000, 0x00ff00, 0x0000ff, 0xffff00, 0x00ffff, 0xff00ff, 0x000000];
/** Where it shows them: corner, and size of one colour. */
const BAR = { x: 600, y: 300 + 32, width: 32, height: 32 };

/** Waits until something is so; what it was not is in the failure. */
export async function until(what, isSo, limitMs = 30_000) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const result = await isSo();
    if (result) return result;
    if (Date.now() > deadline) assert.fail(`not within ${limitMs / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** One `cargo xtask up`, with a state folder of its own; `inside` is a command that runs it elsewhere. */
export class House {
  static async up(name, flags = [], inside = []) {
    const house = new House();
    house.state = `${SHOTS}/${name}.state`;
    rmSync(house.state, { recursive: true, force: true });
    mkdirSync(SHOTS, { recursive: true });
    const args = ["up", "--json", "--no-build", "--state", house.state, ...flags];
    const command = [...inside, `${PROGRAMS}/xtask`, ...args];
    house.process = spawn(command[0], command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
    house.log = "";
    house.process.stderr.on("data", (text) => (house.log += text));
    house.programs = [];
    Object.assign(house, await house.#ready());
    return house;
  }

  async #ready() {
    const timer = setTimeout(() => this.process.kill("SIGTERM"), UP_LIMIT_MS);
    for await (const line of createInterface({ input: this.process.stdout })) {
      clearTimeout(timer);
      return JSON.parse(line);
    }
    assert.fail(`up did not get ready:\n${this.log}`);
  }

  async down() {
    for (const program of this.programs) program.kill("SIGKILL");
    if (this.process.exitCode === null) {
      const ended = new Promise((resolve) => this.process.once("exit", resolve));
      this.process.kill("SIGTERM");
      await ended;
    }
    assert.equal(this.process.exitCode, 0, `up ends cleanly:\n${this.log}`);
  }

  /** A link to the desktop for another person, with their role. */
  link(role) {
    const args = ["--config", `${this.state}/cloud.toml`, "access", "create", "--instance", this.instance, "--role", role];
    return JSON.parse(execFileSync(`${PROGRAMS}/multiclaw-cloud`, args).toString()).url;
  }

  /** Process ids as they are now, restarts included. */
  currentPids() {
    return JSON.parse(readFileSync(`${this.state}/up.json`, "utf8")).pids;
  }

  /** Kills a part the hard way and waits until another process has taken its place. */
  async kill(part) {
    const before = this.currentPids()[part];
    process.kill(before, "SIGKILL");
    await until(`${part} is started again`, () => ![before, undefined].includes(this.currentPids()[part]));
  }

  /** Sends a signal to a part. */
  signal(part, name) {
    process.kill(this.currentPids()[part], name);
  }

  /** What a program on the desktop finds in its environment. */
  #desktop() {
    const cookie = `${this.state}/sound/cookie`;
    const sound = this.sound ? { PULSE_SERVER: this.sound, PULSE_COOKIE: cookie } : {};
    return { ...process.env, DISPLAY: this.display, ...sound };
  }

  /** A program on the desktop. */
  run(program, ...args) {
    const child = spawn(program, args, { env: this.#desktop(), stdio: ["pipe", "pipe", "ignore"] });
    this.programs.push(child);
    return child;
  }

  /** Shows the known pattern; resolves when the X server has drawn it. */
  async draw(code = 4711) {
    const program = this.run(`${PROGRAMS}/lab-probe`, "draw", "--display", this.display, "--code", `${code}`);
    await new Promise((resolve) => program.stdout.once("data", resolve));
    return program;
  }

  /** What a program says of the desktop; `null` when it fails. */
  ask(program, ...args) {
    const options = { env: this.#desktop(), stdio: ["ignore", "pipe", "ignore"] };
    try {
      return execFileSync(program, args, options).toString();
    } catch {
      return null;
    }
  }

  /** A click moves the focus only when the window manager comes round to it: keys wait for that. */
  async focused(kind) {
    let seen;
    await until("the focus moves", () => {
      const window = this.ask("xdotool", "getwindowfocus")?.trim();
      seen = window && this.ask("xprop", "-id", window, "WM_CLASS");
      return seen?.includes(kind);
    }).catch((error) => assert.fail(`${error.message} to ${kind}; it is with ${seen}`));
  }

  /** One of a relay's own counters, all labels added. */
  async relayCounter(name, admin = this.relay.admin) {
    const text = await (await fetch(`http://${admin}/metrics`)).text();
    const lines = text.split("\n").filter((line) => line.includes(name) && !line.startsWith("#"));
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }
}

/** A viewer in a real Chromium. */
export class Viewer {
  static async launch(options = {}) {
    return chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS], ...options });
  }

  static async open(browser, url, context = {}) {
    const viewer = new Viewer();
    viewer.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context });
    // The page's own connections, so that a test asks the browser and not the page.
    await viewer.context.addInitScript(() => {
      const Native = window.RTCPeerConnection;
      window.connections = [];
      // Those that go nowhere, to measure regions with, are closed before anybody asks.
      window.connection = () => window.connections.findLast((one) => one.signalingState !== "closed");
      // And its data channels by label, so that a test can say what the page would not.
      window.channels = {};
      window.RTCPeerConnection = class extends Native {
        constructor(...args) {
          super(...args);
          window.connections.push(this);
        }
        createDataChannel(label, options) {
          return (window.channels[label] = super.createDataChannel(label, options));
        }
      };
    });
    viewer.page = await viewer.context.newPage();
    viewer.faults = [];
    viewer.page.on("pageerror", (error) => viewer.faults.push(String(error)));
    await viewer.page.goto(url);
    return viewer;
  }

  async close() {
    await this.context.close();
  }

  state() {
    return this.page.evaluate(() => window.multiclaw.state());
  }

  async phase(phase, limitMs) {
    let state;
    const isSo = async () => (state = await this.state()).phase === phase;
    await until(`the page is ${phase}`, isSo, limitMs).catch((error) => {
      assert.fail(`${error.message}; it says ${JSON.stringify(state)}`);
    });
  }

  async live(limitMs = 30_000) {
    await this.phase("live", limitMs);
    await this.runs();
  }

  /** Frames decoded so far on the newest connection. */
  frames() {
    return this.#video("framesDecoded");
  }

  bytes() {
    return this.#video("bytesReceived");
  }

  #video(counter) {
    return this.page.evaluate(async (counter) => {
      for (const entry of (await window.connection()?.getStats())?.values() ?? []) {
        if (entry.type === "inbound-rtp" && entry.kind === "video") return entry[counter] ?? 0;
      }
      return 0;
    }, counter);
  }

  /** The picture runs: two more frames arrive. A still screen sends one every two seconds. */
  async runs(limitMs = 15_000) {
    const before = await this.frames();
    await until("more frames", async () => (await this.frames()) >= before + 2, limitMs);
  }

  /** The selected pair as `getStats` tells: `{local, remote, relayProtocol}`. */
  pair() {
    return this.page.evaluate(async () => {
      const report = await window.connection().getStats();
      for (const entry of report.values()) {
        if (entry.type !== "transport" || !entry.selectedCandidatePairId) continue;
        const pair = report.get(entry.selectedCandidatePairId);
        const [local, remote] = [report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)];
        return { local: local.candidateType, remote: remote.candidateType, relayProtocol: local.relayProtocol };
      }
      return null;
    });
  }

  /** Pixels of the video at points of the desktop, as 0xRRGGBB; null while there is no picture. */
  pixels(points) {
    return this.page.evaluate((points) => {
      const video = document.querySelector("video");
      if (!video?.videoWidth) return null;
      const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(video, 0, 0);
      return points.map(([x, y]) => {
        const [red, green, blue] = context.getImageData(x, y, 1, 1).data;
        return (red << 16) | (green << 8) | blue;
      });
    }, points);
  }

  /** Waits until the video shows the colours the program on the desktop draws. */
  async showsPattern(limitMs = 15_000) {
    const points = COLOURS.map((_, index) => [BAR.x + (index + 0.5) * BAR.width, BAR.y + BAR.height / 2]);
    let seen;
    const isSo = async () => {
      seen = await this.pixels(points);
      return seen?.every((colour, index) => alike(colour, COLOURS[index]));
    };
    await until("the pattern's colours in the video", isSo, limitMs).catch((error) => {
      assert.fail(`${error.message}; seen ${seen?.map((colour) => colour.toString(16))}`);
    });
  }

  /** Where a point of the desktop is on the page. */
  async onPage(x, y) {
    return this.page.evaluate(([x, y]) => {
      const video = document.querySelector("video");
      const box = video.getBoundingClientRect();
      const scale = Math.min(box.width / video.videoWidth, box.height / video.videoHeight);
      const left = box.left + (box.width - video.videoWidth * scale) / 2;
      const top = box.top + (box.height - video.videoHeight * scale) / 2;
      return { x: left + x * scale, y: top + y * scale };
    }, [x, y]);
  }

  async click(x, y) {
    const at = await this.onPage(x, y);
    await this.page.mouse.move(at.x - 5, at.y - 5);
    await this.page.mouse.click(at.x, at.y);
  }

  /** Presses a button of the toolbar, which hides itself when the pointer is elsewhere. */
  async tool(name) {
    const button = this.page.getByRole("button", { name });
    const handle = this.page.getByRole("button", { name: "Show the toolbar" });
    await until(`the toolbar shows "${name}"`, async () => {
      // It comes as soon as the pointer is over its handle.
      const box = (await handle.isVisible()) && (await handle.boundingBox());
      if (box) await this.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
      return button.isVisible();
    });
    await button.click();
  }

  async shot(name) {
    await this.page.screenshot({ path: `${SHOTS}/${name}.png` });
  }
}

/** 4:2:0 video of a limited range comes close, not equal. */
function alike(a, b) {
  return [16, 8, 0].every((shift) => Math.abs(((a >> shift) & 255) - ((b >> shift) & 255)) <= 40);
}
