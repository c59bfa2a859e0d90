import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Double, launchBrowser } from "./double.mjs";

let browser;
let double;
const KEY = 0x01;
const BUTTON = 0x02;
const WHEEL = 0x03;
const TEXT = 0x04;
const RELEASE_ALL = 0x05;
const POINTER_MOVE = 0x10;
const POINTER_RELATIVE = 0x11;
const RESIZE = 0x20;
const CLIPBOARD = 0x21;
const QUALITY = 0x25;
const text = (bytes) => Buffer.from(bytes.slice(1)).toString();
const u16 = (bytes, at) => bytes[at] * 256 + bytes[at + 1];
const key = (down, keysym, code) => [KEY, down, keysym >>> 24, (keysym >>> 16) & 255, (keysym >>> 8) & 255, keysym & 255, code >> 8, code & 255];
const is = (wanted) => (bytes) => bytes.join() === wanted.join();

async function live(options) {
  const page = await double.open(options);
  await double.phase("live");
  await page.waitForFunction(() => document.activeElement?.id === "keys");
  for (let tries = 0; tries < 200; tries += 1) {
    if (await double.agent.page.evaluate(() => Object.keys(window.host.channels).length === 3)) return page;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return assert.fail("the channels did not open");
}

before(async () => (browser = await launchBrowser()));
after(async () => browser.close());
beforeEach(async () => (double = await Double.start(browser)));
afterEach(async () => double.stop());

test("keys arrive as what they mean and where they are, in order", async () => {
  const page = await live();
  await page.keyboard.down("Shift");
  await page.keyboard.press("A");
  await page.keyboard.up("Shift");
  await page.keyboard.press("Enter");
  await double.agent.until("input", is(key(0, 0xff0d, 28)));
  assert.deepEqual(await double.agent.received("input"), [
    key(1, 0xffe1, 42), key(1, 0x41, 30), key(0, 0x41, 30), key(0, 0xffe1, 42), key(1, 0xff0d, 28), key(0, 0xff0d, 28),
  ]);
});

test("shortcuts of the browser go to the desktop", async () => {
  const page = await live();
  await page.keyboard.press("Control+s");
  await page.keyboard.press("Tab");
  await double.agent.until("input", is(key(0, 0xff09, 15)));
  assert.equal(await page.evaluate(() => document.activeElement?.id), "keys");
  assert.ok((await double.agent.received("input")).some(is(key(1, 0x73, 31))));
});

test("text that no key makes arrives as text", async () => {
  const page = await live();
  await page.keyboard.insertText("漢字");
  assert.equal(text(await double.agent.until("input", ([tag]) => tag === TEXT)), "漢字");
});

test("a composition arrives once, when it is committed", async () => {
  const page = await live();
  const session = await double.context.newCDPSession(page);
  await session.send("Input.imeSetComposition", { text: "に", selectionStart: 1, selectionEnd: 1 });
  await session.send("Input.imeSetComposition", { text: "にほん", selectionStart: 3, selectionEnd: 3 });
  await session.send("Input.insertText", { text: "日本" });
  await page.keyboard.press("x");
  await double.agent.until("input", is(key(0, 0x78, 45)));
  const texts = (await double.agent.received("input")).filter(([tag]) => tag === TEXT).map(text);
  assert.deepEqual(texts, ["日本"]);
});

test("a phone's backspace and new line are keys", async () => {
  const page = await live();
  await page.evaluate(() => document.execCommand("delete"));
  await page.evaluate(() => document.execCommand("insertLineBreak"));
  await double.agent.until("input", is(key(0, 0xff0d, 0)));
  assert.ok((await double.agent.received("input")).some(is(key(1, 0xff08, 0))));
});

test("a lost focus releases what is held", async () => {
  const page = await live();
  await page.keyboard.down("Control");
  await page.evaluate(() => window.dispatchEvent(new Event("blur")));
  await double.agent.until("input", ([tag]) => tag === RELEASE_ALL);
});

test("the pointer is where it points on the desktop, and clicks carry their place", async () => {
  const page = await live();
  await double.agent.say([0x32, 5, 0, 2, 0xd0]); // 1280 × 720 in a window of 1280 × 800: 40 px above
  await page.mouse.move(640, 400);
  await page.mouse.down();
  await page.mouse.up();
  const down = await double.agent.until("input", ([tag, isDown]) => tag === BUTTON && isDown === 1);
  assert.deepEqual([down[2], u16(down, 3), u16(down, 5)], [1, 640, 360]);
  await double.agent.until("input", ([tag, isDown]) => tag === BUTTON && isDown === 0);
  const motion = (await double.agent.received("pointer")).at(-1);
  assert.deepEqual([u16(motion, 5), u16(motion, 7)], [640, 360]);
});

test("behind a key comes the pointer's last message, three times, so that a loss of the key is noticed", async () => {
  const page = await live();
  const followers = async () => {
    await double.agent.forget();
    await page.keyboard.press("a");
    await double.agent.until("pointer", (_, index) => index === 2);
    return new Set((await double.agent.received("pointer")).map(String));
  };
  const unmoved = [POINTER_RELATIVE, ...Array(12).fill(0)];
  assert.deepEqual([...(await followers())], [String(unmoved)]);
  await page.mouse.move(640, 400);
  const motion = await double.agent.until("pointer", ([tag]) => tag === POINTER_MOVE);
  assert.deepEqual([...(await followers())], [String(motion)]);
});

test("two buttons at once go down and up each", async () => {
  const page = await live();
  await page.mouse.move(600, 400);
  await page.mouse.down({ button: "left" });
  await page.mouse.down({ button: "right" });
  await page.mouse.up({ button: "left" });
  await page.mouse.up({ button: "right" });
  await double.agent.until("input", ([tag, isDown, number]) => tag === BUTTON && isDown === 0 && number === 3);
  const buttons = (await double.agent.received("input")).filter(([tag]) => tag === BUTTON).map(([, down, number]) => [down, number]);
  assert.deepEqual(buttons, [[1, 1], [1, 3], [0, 1], [0, 3]]);
});

test("the wheel turns down by notches", async () => {
  const page = await live();
  await page.mouse.move(600, 400);
  await page.mouse.wheel(0, 120);
  const wheel = await double.agent.until("input", ([tag]) => tag === WHEEL);
  assert.deepEqual([u16(wheel, 1), u16(wheel, 3)], [0, 120]);
});

test("a finger taps", async () => {
  const page = await double.open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await double.phase("live");
  await double.agent.page.waitForFunction(() => Object.keys(window.host.channels).length === 3);
  await page.touchscreen.tap(195, 422);
  const down = await double.agent.until("input", ([tag]) => tag === BUTTON);
  assert.deepEqual([down[1], down[2]], [1, 1]);
  await double.agent.until("input", ([tag, isDown]) => tag === BUTTON && isDown === 0);
  assert.notEqual(await page.evaluate(() => document.activeElement?.id), "keys");
});

test("what is pasted is on the desktop's clipboard before the keys that paste it arrive", async () => {
  const page = await live({ permissions: ["clipboard-read", "clipboard-write"] });
  await page.evaluate(() => navigator.clipboard.writeText("from here"));
  await double.agent.page.evaluate(() => {
    const { control, input } = window.host.channels;
    window.order = [];
    control.addEventListener("message", ({ data }) => new Uint8Array(data)[0] === 0x21 && window.order.push("clipboard"));
    input.addEventListener("message", ({ data }) => window.order.push(`key ${new Uint8Array(data)[5]} ${new Uint8Array(data)[1]}`));
  });
  await page.keyboard.press("Control+v");
  await double.agent.until("input", is(key(0, 0xffe3, 29)));
  assert.equal(text(await double.agent.until("control", ([tag]) => tag === CLIPBOARD)), "from here");
  const order = await double.agent.page.evaluate(() => window.order);
  assert.ok(order.indexOf("clipboard") < order.indexOf("key 118 1"), String(order));
});

test("what is copied on the desktop is on this computer's clipboard", async () => {
  const page = await live({ permissions: ["clipboard-read", "clipboard-write"] });
  await double.agent.say([CLIPBOARD, ...Buffer.from("from there")]);
  await page.waitForFunction(async () => (await navigator.clipboard.readText()) === "from there");
  assert.equal(await page.locator("#clipboard-text").inputValue(), "from there");
});

test("a policy that forbids the clipboard is obeyed both ways", async () => {
  const policy = { role: "control", clipboard_to_host: false, clipboard_to_viewer: false, idle_timeout_secs: 0 };
  double.grantChanges = { policy };
  const page = await live({ permissions: ["clipboard-read", "clipboard-write"] });
  await page.evaluate(() => navigator.clipboard.writeText("mine"));
  await double.agent.say([CLIPBOARD, ...Buffer.from("theirs")]);
  await page.keyboard.press("Control+v");
  await double.agent.until("input", is(key(0, 0xffe3, 29)));
  assert.deepEqual((await double.agent.received("control")).filter(([tag]) => tag === CLIPBOARD), []);
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "mine");
});

test("who may only look sends nothing, and is told so", async () => {
  double.grantChanges = { policy: { role: "view", clipboard_to_host: false, clipboard_to_viewer: false, idle_timeout_secs: 0 } };
  const page = await live();
  await page.mouse.click(600, 400);
  await page.keyboard.press("a");
  assert.match(await page.locator("#path-words").innerText(), /view only/);
  // Nothing marks the end of nothing: input of other sessions arrives within a few milliseconds.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual([await double.agent.received("input"), await double.agent.received("pointer")], [[], []]);
});

test("the cursor is the desktop's, and is hidden with it", async () => {
  const page = await live();
  const cursor = () => page.evaluate(() => document.getElementById("stage").style.cursor);
  await double.agent.say([0x30, 0, 2, 0, 1, 0, 1, 0, 0, 255, 0, 0, 255, 0, 0, 255, 255]);
  await page.waitForFunction(() => document.getElementById("stage").style.cursor.includes("data:image/png"));
  assert.match(await cursor(), /\) 1 0, default$/);
  await double.agent.say([0x31]);
  await page.waitForFunction(() => document.getElementById("stage").style.cursor === "none");
});

test("the desktop follows the window only when asked to", async () => {
  const page = await live();
  assert.deepEqual((await double.agent.received("control")).filter(([tag]) => tag === RESIZE), []);
  await page.click("[popovertarget=size-panel]");
  await page.check("input[value=match]");
  const asked = await double.agent.until("control", ([tag]) => tag === RESIZE);
  assert.deepEqual([u16(asked, 1), u16(asked, 3), u16(asked, 5)], [1280, 800, 100]);
  await page.setViewportSize({ width: 1001, height: 700 });
  await double.agent.until("control", (bytes) => bytes[0] === RESIZE && u16(bytes, 1) === 1000 && u16(bytes, 3) === 700);
  await double.agent.forget();
  await page.reload();
  await double.agent.until("control", (bytes) => bytes[0] === RESIZE && u16(bytes, 1) === 1000);
});

test("the quality is asked for when it is chosen and on every connection after, and what it is made with is said", async () => {
  const page = await live();
  const asked = async () => (await double.agent.received("control")).filter(([tag]) => tag === QUALITY).map(([, quality]) => quality);
  assert.deepEqual(await asked(), [0]);
  await page.click("[popovertarget=size-panel]");
  await page.check("input[value=data-saver]");
  await double.agent.until("control", is([QUALITY, 3]));
  await double.agent.say([QUALITY, 3]);
  await page.waitForFunction(() => document.getElementById("quality-note").hidden);
  // Somebody else's choice.
  await double.agent.say([QUALITY, 2]);
  await page.getByText("Now Balanced: another viewer of this desktop chose that.").waitFor();
  await double.agent.forget();
  await page.reload();
  await double.phase("live");
  await double.agent.until("control", is([QUALITY, 3]));
  assert.deepEqual(double.faults, []);
});

test("who may only look sees the quality and cannot change it", async () => {
  double.grantChanges = { policy: { role: "view", clipboard_to_host: false, clipboard_to_viewer: false, idle_timeout_secs: 0 } };
  const page = await live();
  await double.agent.say([QUALITY, 3]);
  await page.click("[popovertarget=size-panel]");
  await page.getByText("Data saver, chosen by who controls the desktop.").waitFor();
  assert.equal(await page.locator("input[value=data-saver]").isChecked(), true);
  assert.equal(await page.locator("input[value=data-saver]").isDisabled(), true);
  assert.deepEqual((await double.agent.received("control")).filter(([tag]) => tag === QUALITY), []);
});

test("the toolbar can be reached, used and left by keyboard alone", async () => {
  const page = await live();
  await page.keyboard.press("Control+Alt+Shift+M");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "show-path");
  await double.agent.until("input", ([tag]) => tag === RELEASE_ALL);
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#path-panel").isVisible(), true);
  await page.keyboard.press("Escape");
  for (let step = 0; step < 6; step += 1) await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "show-statistics");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#statistics").isVisible(), true);
  await page.keyboard.press("Control+Alt+Shift+M");
  assert.equal(await page.locator("#toolbar").isVisible(), false);
  assert.equal(await page.evaluate(() => document.activeElement?.id), "keys");
});

test("the statistics say where the time goes, and rest while they are closed", async () => {
  const page = await live();
  await page.click("#show-statistics");
  await double.agent.say([0x33, 0, 0, 3, 0x20, 0, 0, 0x14, 0, 0, 0, 1, 0x10, 0, 0, 0, 9, 1, 1]);
  await page.waitForFunction(() => /5\.1 ms/.test(document.getElementById("statistics-stages").innerText));
  const stages = await page.locator("#statistics-stages").innerText();
  for (const stage of ["Capture", "Encode", "Send", "Network", "Buffer", "Decode", "Present"]) assert.ok(stages.includes(stage), stage);
  const facts = await page.locator("#statistics-facts").innerText();
  for (const words of ["Connected directly over UDP", "Round trip", "a second", "H.264", "x264", "4:4:4"]) assert.ok(facts.includes(words), words);
  await page.click("#close-statistics");
  const shown = await page.locator("#statistics-facts").textContent();
  await new Promise((resolve) => setTimeout(resolve, 1_300));
  assert.equal(await page.locator("#statistics-facts").textContent(), shown);
});
