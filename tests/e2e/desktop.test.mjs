/** The main job: a real desktop in a real browser, directly and through the relay. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { House, Viewer, until } from "./house.mjs";

let house;
let browser;

before(async () => {
  house = await House.up("desktop");
  browser = await Viewer.launch();
  await house.draw();
});
after(async () => {
  await browser?.close();
  await house?.down();
});

async function withViewer(url, body, context) {
  const viewer = await Viewer.open(browser, url, context);
  try {
    await body(viewer);
    assert.deepEqual(viewer.faults, []);
  } catch (error) {
    await viewer.shot("failed").catch(() => {});
    throw error;
  } finally {
    await viewer.close();
  }
}

test("the viewer shows the pixels a program drew, without a further click", async () => {
  await withViewer(house.viewer_url, async (viewer) => {
    await viewer.live();
    await viewer.showsPattern();
    assert.notEqual((await viewer.pair()).local, "relay");
    assert.equal(viewer.page.url().includes("key"), false);
    await viewer.shot("direct");
  });
});

test("what is typed reaches a real terminal, and its answer comes back as pixels", async () => {
  const file = `${house.state}/typed`;
  rmSync(file, { force: true });
  await withViewer(house.viewer_url, async (viewer) => {
    await viewer.live();
    await viewer.click(300, 300);
    await house.focused("XTerm");
    await viewer.page.keyboard.type(`echo 'Typed & "seen" {1}~' > ${file}\n`, { delay: 15 });
    await until("the file is written", () => existsSync(file) && readFileSync(file, "utf8") !== "");
    assert.equal(readFileSync(file, "utf8"), `Typed & "seen" {1}~\n`);
    const red = async () => ((await viewer.pixels([[300, 300]]))?.[0] ?? 0) >> 16;
    await viewer.page.keyboard.type("printf '\\e[41m\\e[2J'\n", { delay: 15 });
    await until("the terminal is red", async () => (await red()) > 150);
    await viewer.page.keyboard.type("printf '\\e[0m\\e[2J'\n", { delay: 15 });
    await viewer.shot("typed");
  });
});

test("forced through the relay, the selected pair and the relay's own counters say so", async () => {
  const counted = await house.relayCounter("payload_bytes");
  await withViewer(house.relay_viewer_url, async (viewer) => {
    await viewer.live();
    await viewer.showsPattern();
    assert.equal((await viewer.pair()).local, "relay");
    const state = await viewer.state();
    assert.match(state.title, /Using the relay in local/);
    const received = await viewer.bytes();
    assert.ok(received > 1000, `${received} bytes of video`);
    const bytes = await house.relayCounter("payload_bytes");
    assert.ok(bytes - counted >= received, `the relay counted ${bytes - counted}, the video was ${received}`);
    await viewer.shot("relay");
  });
});

test("a phone sees the desktop and can reach the toolbar", async () => {
  const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };
  await withViewer(house.viewer_url, async (viewer) => {
    await viewer.live();
    await viewer.showsPattern();
    const wide = await viewer.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `the page is ${wide} pixels wide`);
    await viewer.shot("phone");
  }, phone);
});

test("text copied on the desktop arrives in the browser, and the other way round", async () => {
  const permissions = ["clipboard-read", "clipboard-write"];
  await withViewer(house.viewer_url, async (viewer) => {
    await viewer.live();
    await viewer.click(300, 300);
    const owner = house.run("xclip", "-selection", "clipboard", "-quiet");
    owner.stdin.end("from the desktop: ä€");
    const local = () => viewer.page.evaluate(() => navigator.clipboard.readText());
    await until("the browser's clipboard has it", async () => (await local()) === "from the desktop: ä€");
    await viewer.page.evaluate(() => navigator.clipboard.writeText("from the browser: ß✓"));
    await viewer.click(300, 300);
    await viewer.page.keyboard.press("Control+V");
    await until("the desktop's clipboard has it", async () => (await paste()).toString() === "from the browser: ß✓");
  }, { permissions });
});

test("an image copied on the desktop arrives in the browser, and the other way round", async () => {
  const permissions = ["clipboard-read", "clipboard-write"];
  const size = (png) => [png.readUInt32BE(16), png.readUInt32BE(20)];
  await withViewer(house.viewer_url, async (viewer) => {
    await viewer.live();
    await viewer.click(300, 300);
    // Larger than one message.
    const png = Buffer.from(await viewer.page.evaluate(noise, [500, 400]), "base64");
    assert.ok(png.length > 256 * 1024 && png.length < 768 * 1024, `${png.length}`);
    const owner = house.run("xclip", "-selection", "clipboard", "-target", "image/png", "-quiet");
    owner.stdin.end(png);
    const local = () => viewer.page.evaluate(async () => {
      const items = await navigator.clipboard.read().catch(() => []);
      const image = await items.find((item) => item.types.includes("image/png"))?.getType("image/png");
      if (!image) return null;
      const { width, height } = await createImageBitmap(image);
      return [width, height];
    });
    await until("the browser's clipboard has it", async () => (await local())?.join() === size(png).join());
    const other = await viewer.page.evaluate(noise, [300, 200]);
    await viewer.page.evaluate(async (other) => {
      const image = new Blob([Uint8Array.from(atob(other), (c) => c.charCodeAt(0))], { type: "image/png" });
      await navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
    }, other);
    await viewer.click(300, 300);
    await viewer.page.keyboard.press("Control+V");
    const desktop = async () => {
      const got = await paste("-target", "image/png");
      return got.length > 24 && size(got).join() === "300,200";
    };
    await until("the desktop's clipboard has it", desktop);
  }, { permissions });
});

/** In the page: a PNG that does not compress, in base 64. */
async function noise([width, height]) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let at = 0; at < image.data.length; at += 65536) crypto.getRandomValues(image.data.subarray(at, at + 65536));
  for (let at = 3; at < image.data.length; at += 4) image.data[at] = 255;
  context.putImageData(image, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function paste(...args) {
  const reader = house.run("xclip", "-selection", "clipboard", "-out", ...args);
  return new Promise((resolve) => {
    const parts = [];
    reader.stdout.on("data", (part) => parts.push(part));
    reader.on("close", () => resolve(Buffer.concat(parts)));
  });
}

test("the desktop takes the window's size when the two are to match, and grows past its first one", async () => {
  const size = () => house.ask("xwininfo", "-root");
  await withViewer(house.viewer_url, async (viewer) => {
    await viewer.live();
    await viewer.tool("Size and quality");
    await viewer.page.getByRole("radio", { name: /^Match this window/ }).check();
    await until("the desktop has the size of the window", () => /Width: 1700\s+Height: 1000/.test(size()));
    const picture = () => viewer.page.evaluate(() => document.querySelector("video").videoWidth);
    await until("so has the picture", async () => (await picture()) === 1700);
    // The server cleared the windows; a program draws again.
    await house.draw();
    await viewer.showsPattern();
    await viewer.shot("matched");
    await viewer.page.setViewportSize({ width: 1000, height: 701 });
    await until("the desktop follows the window", () => /Width: 1000\s+Height: 70[01]/.test(size()));
  }, { viewport: { width: 1700, height: 1000 } });
});
