/** Media and session survive what happens to everything else. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { House, Viewer, until } from "./house.mjs";

/** Short, so that a test sees several lives of a token. */
const TOKEN_TTL_SECS = 10;

let house;
let browser;

before(async () => {
  house = await House.up("survival", ["--token-ttl-secs", `${TOKEN_TTL_SECS}`]);
  browser = await Viewer.launch();
  await house.draw();
});
after(async () => {
  await browser?.close();
  await house?.down();
});

async function opened(url) {
  const viewer = await Viewer.open(browser, url);
  await viewer.live();
  return viewer;
}

test("the picture runs on the same connection past the life of its token", async () => {
  const viewer = await opened(house.viewer_url);
  const end = Date.now() + TOKEN_TTL_SECS * 2500;
  while (Date.now() < end) await viewer.runs();
  assert.equal((await viewer.state()).phase, "live");
  assert.equal(await viewer.page.evaluate(() => window.connections.length), 1);
  await viewer.close();
});

test("the cloud is killed and comes back: the picture never noticed, the session is resumed", async () => {
  const viewer = await opened(house.viewer_url);
  await house.kill("cloud");
  await viewer.runs();
  await until("the service is back in touch", async () => (await viewer.state()).tone === "good");
  assert.equal(await viewer.page.evaluate(() => window.connections.length), 1);
  await viewer.close();
});

test("the agent host is killed and comes back: the picture runs again", async () => {
  const viewer = await opened(house.viewer_url);
  await house.kill("agent-host");
  await until("the loss is noticed or healed", async () => (await viewer.state()).phase !== "failed");
  await until("the picture is back", () => livesAgain(viewer), 60_000);
  await viewer.showsPattern();
  await viewer.close();
});

test("the relay is killed and comes back: the picture runs again through it", async () => {
  const viewer = await opened(house.relay_viewer_url);
  await house.kill("relay");
  await until("the picture is back", () => livesAgain(viewer), 60_000);
  assert.equal((await viewer.pair()).local, "relay");
  await viewer.showsPattern();
  await viewer.close();
});

/** Whether frames arrive again: more than the one that may have been on its way. */
async function livesAgain(viewer) {
  const before = await viewer.frames();
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  return (await viewer.frames()) >= before + 2 && (await viewer.state()).phase === "live";
}
