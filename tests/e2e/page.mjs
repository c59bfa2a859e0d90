/** What tests of the dashboard's pages do with each: open it, look at it with axe-core, close it. */

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { ROOT, Viewer } from "./house.mjs";

const AXE = createRequire(`${ROOT}tests/web/package.json`).resolve("axe-core/axe.min.js");

/** Opens a page for `body`, which leaves it without a fault; what it shows when it fails is kept. */
export async function withPage(browser, url, body, context = {}) {
  const viewer = await Viewer.open(browser, url, { bypassCSP: true, ...context });
  try {
    await body(viewer.page, viewer);
    assert.deepEqual(viewer.faults, []);
  } catch (error) {
    await viewer.shot("page-failed").catch(() => {});
    throw error;
  } finally {
    await viewer.close();
  }
}

/** No rule of axe is broken by what the page shows now. */
export async function accessible(page) {
  await page.addScriptTag({ path: AXE });
  const { violations } = await page.evaluate(() => window.axe.run());
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(found, [], page.url());
}
