/**
 * A viewer that means ill, through the page's own channels: it is cut off with a reason, and whoever
 * else is at the desktop does not notice. Then the desktop's X server dies, which is said and survived.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { House, Viewer, until } from "./house.mjs";

let house;
let browser;
/** Somebody who works at the desktop all the while. */
let other;
let ill;

before(async () => {
  house = await House.up("bad-input");
  browser = await Viewer.launch();
  other = await Viewer.open(browser, house.link("control"));
  await other.live();
  await house.draw();
});
afterEach(async () => {
  await ill?.close();
  ill = undefined;
});
after(async () => {
  await browser?.close();
  await house?.down();
});

/** Opens the one that means ill; `attack` runs in its page. */
async function attacked(attack, role = "control") {
  ill = await Viewer.open(browser, house.link(role));
  await ill.live();
  const [picture, agent] = [await other.frames(), house.currentPids()["agent-host"]];
  // The page is busy, or its channel closes under it.
  ill.page.evaluate(attack).catch(() => {});
  return async () => {
    await other.showsPattern();
    await until("the other's picture runs", async () => (await other.frames()) > picture + 1);
    assert.equal((await other.state()).phase, "live");
    assert.equal(house.currentPids()["agent-host"], agent, "the agent host is the same process");
    const memory = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent}/status`, "utf8"))[1]);
    assert.ok(memory < 400_000, `the agent host takes ${memory} kB`);
  };
}

async function endsWith(code) {
  let state;
  await until(`the session ends with ${code}`, async () => (state = await ill.state()).code === code, 30_000).catch((error) => {
    assert.fail(`${error.message}; it says ${JSON.stringify(state)}`);
  });
}

test("a flood of input is cut off with a reason", async () => {
  const unharmed = await attacked(async () => {
    const wire = window.channels.input;
    for (;;) {
      // Shift down and up: nothing that would change what the other sees.
      for (let times = 0; times < 500; times += 1) wire.send(new Uint8Array([0x01, times % 2, 0, 0, 0xff, 0xe1, 0, 42]));
      while (wire.bufferedAmount > 100_000) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  });
  await endsWith("TOO_MANY");
  await unharmed();
});

test("a thousand channels are cut off with a reason", async () => {
  const unharmed = await attacked(() => {
    for (let index = 0; index < 1_000; index += 1) window.connections.at(-1).createDataChannel(`more ${index}`);
  });
  await endsWith("TOO_MANY");
  await unharmed();
});

test("a clipboard of a gigabyte is cut off with a reason, and the desktop's stays what it was", async () => {
  const before = house.ask("xclip", "-selection", "clipboard", "-out");
  const unharmed = await attacked(async () => {
    // As parts of one image that never ends: each message for itself is as large as allowed.
    const wire = window.channels.control;
    const part = new Uint8Array(5 + 64 * 1024).fill(0x89);
    part.set([0x24, 0, 0x0c, 0, 0]);
    for (let sent = 0; sent < 1 << 30; sent += part.length) {
      while (wire.bufferedAmount > 4_000_000) await new Promise((resolve) => setTimeout(resolve, 1));
      wire.send(part);
    }
  });
  // As fast as this machine carries it: a gigabyte takes its time, and the session may outlive it.
  await until("it is over or bounded", async () => {
    const { code } = await ill.state();
    return code === "TOO_MANY" || (await ill.page.evaluate(() => window.channels.control.bufferedAmount === 0));
  }, 90_000);
  assert.equal(house.ask("xclip", "-selection", "clipboard", "-out"), before);
  await unharmed();
});

test("messages that make no sense are cut off with a reason", async () => {
  const unharmed = await attacked(() => {
    for (let index = 0; index < 100; index += 1) window.channels.control.send(new Uint8Array([0xee, index]));
  }, "view");
  await endsWith("BAD_MESSAGE");
  await unharmed();
});

test("a desktop whose X server dies says so, and its sessions go on", async () => {
  const notice = other.page.getByText("The desktop's display went away.");
  await house.kill("x-server");
  await notice.waitFor({ timeout: 15_000 });
  // Resolves when the new server has drawn.
  await house.draw();
  assert.equal((await other.state()).phase, "live");
});
