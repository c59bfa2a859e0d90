/** A session nobody uses ends, says so, and is one click away. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { House, Viewer } from "./house.mjs";

const IDLE_SECS = 4;
let house;
let browser;

before(async () => {
  house = await House.up("idle", ["--idle-timeout-secs", `${IDLE_SECS}`]);
  browser = await Viewer.launch();
});
after(async () => {
  await browser?.close();
  await house?.down();
});

test("an idle session ends with its reason, and one click connects again", async () => {
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.phase("live");
  await viewer.phase("failed", IDLE_SECS * 10_000);
  assert.equal((await viewer.state()).code, "SESSION_IDLE");
  await viewer.shot("idle");
  await viewer.page.getByRole("button", { name: "Connect again" }).click();
  await viewer.phase("live");
  await viewer.close();
});
