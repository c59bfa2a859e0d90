/** Qualities of the picture: what each costs in bytes, and whose choice decides. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { House, PROGRAMS, Viewer, until } from "./house.mjs";

/** Bytes are counted for so long. */
const WINDOW_MS = 3_000;
/** What data saver sends at most, with the network's own bytes and a burst on top. */
const SAVER_BYTES_MAX = (1_500_000 / 8) * (WINDOW_MS / 1_000) * 1.5;

let house;
let browser;

before(async () => {
  house = await House.up("quality");
  browser = await Viewer.launch();
});
after(async () => {
  await browser?.close();
  await house?.down();
});

async function choose(viewer, name) {
  if (!(await viewer.page.locator("#size-panel").isVisible())) await viewer.tool("Size and quality");
  await viewer.page.getByRole("radio", { name }).check();
}

/** Frames and bytes of video while everything on the desktop moves. */
async function counted(viewer) {
  const now = async () => ({ bytes: await viewer.bytes(), frames: await viewer.frames() });
  const stir = house.run(`${PROGRAMS}/lab-probe`, "stir", "--display", house.display, "--hertz", "40");
  await viewer.runs();
  const before = await now();
  await new Promise((resolve) => setTimeout(resolve, WINDOW_MS));
  const after = await now();
  stir.kill("SIGKILL");
  return { bytes: after.bytes - before.bytes, frames: after.frames - before.frames };
}

test("data saver sends a fraction of the bytes and frames, and automatic brings them back", async (context) => {
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.live();
  const auto = await counted(viewer);
  await choose(viewer, /^Data saver/);
  const saver = await counted(viewer);
  await choose(viewer, /^Automatic/);
  const again = await counted(viewer);
  context.diagnostic(`in ${WINDOW_MS} ms: ${JSON.stringify({ auto, saver, again })}`);
  assert.ok(saver.bytes < SAVER_BYTES_MAX, `${saver.bytes} bytes`);
  assert.ok(saver.bytes * 2 < auto.bytes && saver.bytes * 2 < again.bytes);
  assert.ok(saver.frames < auto.frames && saver.frames < again.frames);
  assert.deepEqual(viewer.faults, []);
  await viewer.shot("quality");
  await viewer.close();
});

test("of two who control the more frugal decides and the other is told, who watches has no say", async () => {
  const control = await Viewer.open(browser, house.link("control"));
  await control.live();
  await choose(control, /^Sharp/);
  const note = (viewer) => viewer.page.evaluate(() => document.getElementById("quality-note").textContent);
  const view = await Viewer.open(browser, house.link("view"));
  await view.live();
  // As a program that speaks the protocol: the page itself would not.
  await view.page.evaluate(() => window.channels.control.send(new Uint8Array([0x25, 3])));
  const token = ["--cloud", house.cloud, "--instance", house.instance, "--token-file", `${house.state}/access-key`];
  const flags = ["connect", ...token, "--headless", "--quality", "balanced"];
  const native = spawn(`${PROGRAMS}/multiclaw-viewer`, flags, { stdio: "ignore" });
  house.programs.push(native);
  await until("the other's choice is told", async () => /^Now Balanced/.test(await note(control)));
  await until("the watcher is told", async () => /^Balanced, chosen by/.test(await note(view)));
  native.kill("SIGTERM");
  await until("alone again, the own choice counts", async () => (await note(control)) === "");
  await until("the watcher is told of that too", async () => /^Sharp, chosen by/.test(await note(view)));
  assert.deepEqual([...control.faults, ...view.faults], []);
  await view.close();
  await control.close();
});
