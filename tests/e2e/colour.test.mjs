/** Thin coloured lines: each pixel's own colour in Chromium, and what happens beside a viewer who cannot. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { House, PROGRAMS, Viewer, until } from "./house.mjs";

/** Where `lab-probe lines` draws: upright lines, level lines beside them (`tests/src/lab/lines.rs`). */
const LINES = { x: 600, y: 420 + 32, side: 64 };
const [RED, BLUE] = [0xff0000, 0x0000ff];
/** Steps of 256 a channel may be off: 4:2:0 mixes red and blue, which is off by half. */
const CLOSE = 40;

let house;
let browser;

before(async () => {
  house = await House.up("colour");
  const lines = house.run(`${PROGRAMS}/lab-probe`, "lines", "--display", house.display);
  await new Promise((resolve) => lines.stdout.once("data", resolve));
  browser = await Viewer.launch();
});
after(async () => {
  await browser?.close();
  await house?.down();
});

/** Points on the lines, not at their ends, with the colours drawn there. */
const DRAWN = [...Array(40).keys()].flatMap((n) => {
  const at = 12 + n;
  const colour = at % 2 === 0 ? RED : BLUE;
  return [
    { point: [LINES.x + at, LINES.y + 30], colour },
    { point: [LINES.x + LINES.side + 30, LINES.y + at], colour },
  ];
});

/** How far the worst channel of the worst pixel is off. */
function worst(seen) {
  const off = seen.flatMap((colour, index) =>
    [16, 8, 0].map((bits) => Math.abs(((colour >> bits) & 255) - ((DRAWN[index].colour >> bits) & 255))));
  return Math.max(...off);
}

async function worstIn(viewer) {
  const seen = await viewer.pixels(DRAWN.map(({ point }) => point));
  return seen === null ? 255 : worst(seen);
}

/** What the statistics panel says of colour. */
const told = (viewer) => viewer.page.locator("#statistics-facts").innerText();

async function openViewer() {
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.live();
  await viewer.tool("Size and quality");
  await viewer.page.getByRole("radio", { name: /^Sharp/ }).check();
  await viewer.tool("Statistics");
  return viewer;
}

function connectNatively(...flags) {
  const token = ["--cloud", house.cloud, "--instance", house.instance, "--token-file", `${house.state}/access-key`];
  const args = ["connect", ...token, "--headless", "--stats", "json", ...flags];
  const native = spawn(`${PROGRAMS}/multiclaw-viewer`, args, { stdio: ["ignore", "pipe", "ignore"] });
  native.lines = "";
  native.stdout.on("data", (text) => (native.lines += text));
  native.last = () => JSON.parse(native.lines.trim().split("\n").at(-1) || "null");
  house.programs.push(native);
  return native;
}

/** The colours of the points in a picture the native viewer wrote. */
function pixelsOf(file) {
  const bytes = readFileSync(file);
  const [, width, height] = /^P6\n(\d+) (\d+)\n255\n/.exec(bytes.subarray(0, 40).toString("latin1"));
  const from = bytes.length - width * height * 3;
  return DRAWN.map(({ point: [x, y] }) => bytes.readUIntBE(from + (y * width + x) * 3, 3));
}

test("in Chromium one-pixel lines have the colours that were drawn, and the panel says why", async (context) => {
  const viewer = await openViewer();
  let off;
  await until("the lines in their colours", async () => (off = await worstIn(viewer)) <= CLOSE)
    .catch((error) => assert.fail(`${error.message}; the worst is off by ${off}`));
  context.diagnostic(`4:4:4 is off by ${off}`);
  await until("the panel says 4:4:4", async () => (await told(viewer)).includes("4:4:4"));
  assert.deepEqual(viewer.faults, []);
  await viewer.shot("colour");
  await viewer.close();
});

test("a viewer that cannot decode 4:4:4 gets 4:2:0, and the browser beside it a whole picture, then its colours back", async (context) => {
  const viewer = await openViewer();
  await until("the browser has 4:4:4", async () => (await worstIn(viewer)) <= CLOSE);
  const file = `${house.state}/colour.ppm`;
  const native = connectNatively("--duration", "4", "--snapshot", file);
  const ended = new Promise((resolve) => native.once("exit", resolve));
  await until("the native viewer is live", () => native.last()?.state === "live");
  await house.draw();
  await viewer.showsPattern();
  assert.ok((await worstIn(viewer)) > CLOSE, "4:2:0 smears the lines");
  assert.ok((await told(viewer)).includes("H.264"));
  assert.equal(await ended, 0);
  assert.equal(native.last().host.chroma, "4:2:0");
  const off = worst(pixelsOf(file));
  context.diagnostic(`4:2:0 is off by ${off}`);
  assert.ok(off > CLOSE * 2, `4:2:0 is off by ${off}`);
  await until("alone again, the browser has 4:4:4", async () => (await worstIn(viewer)) <= CLOSE);
  await viewer.showsPattern();
  assert.deepEqual(viewer.faults, []);
  await viewer.close();
});

test("where the configuration says 4:4:4, a browser that asked for no quality has it", async () => {
  appendFileSync(`${house.state}/agent-host.toml`, '\n[video]\nchroma = "444"\n');
  await house.kill("agent-host");
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.live();
  await until("the lines in their colours", async () => (await worstIn(viewer)) <= CLOSE);
  assert.deepEqual(viewer.faults, []);
  await viewer.close();
});
