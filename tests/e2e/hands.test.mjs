/**
 * What hands do beyond keys and clicks, in a real Chromium on a display of its own, and read back
 * from the desktop by real X clients: input methods, a locked pointer, kept shortcuts, touch, wheel.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { after, afterEach, before, test } from "node:test";
import { FLAGS } from "../chromium.mjs";
import { record, startDisplay } from "./display.mjs";
import { House, PROGRAMS, Viewer, until } from "./house.mjs";

let house;
let browser;
let display;
let viewer;
const programs = [];

before(async () => {
  house = await House.up("hands");
  display = await startDisplay(programs);
  const env = { ...process.env, DISPLAY: display };
  programs.push(spawn("openbox", [], { env, stdio: "ignore" }));
  browser = await Viewer.launch({ headless: false, env, args: [...FLAGS, "--window-position=0,0", "--window-size=1100,800"] });
});
afterEach(async () => {
  await viewer?.close();
  viewer = undefined;
});
after(async () => {
  await browser?.close();
  for (const program of programs) program.kill("SIGKILL");
  await house?.down();
});

const xdotool = (...args) => execFileSync("xdotool", args.map(String), { env: { ...process.env, DISPLAY: display } }).toString().trim();

/** Opens the page, and gives it the focus as a person would. */
async function open(context = { viewport: null }) {
  viewer = await Viewer.open(browser, house.viewer_url, context);
  await viewer.live();
  await until("the window is there", () => xdotool("search", "--onlyvisible", "--class", "chromium"));
  const id = xdotool("search", "--onlyvisible", "--class", "chromium").split("\n").at(-1);
  xdotool("windowfocus", "--sync", id, "mousemove", 500, 560, "click", 1);
  const focused = () => viewer.page.evaluate(() => document.hasFocus() && document.activeElement?.id === "keys");
  await until("the page has the keyboard", focused);
  return viewer;
}

/** A real X client under the pointer; the buttons it is given, by number. */
async function buttons() {
  const client = house.run("xev", "-event", "button", "-geometry", "400x300+100+400");
  const pressed = [];
  createInterface({ input: client.stdout }).on("line", (line) => {
    if (line.startsWith("ButtonPress")) pressed.push("?");
    const button = /\bbutton (\d+),/.exec(line);
    if (button && pressed.at(-1) === "?") pressed[pressed.length - 1] = Number(button[1]);
  });
  await until("the client is on the screen", () => house.ask("xdotool", "search", "--onlyvisible", "--name", "Event Tester"));
  const id = house.ask("xdotool", "search", "--onlyvisible", "--name", "Event Tester").trim().split("\n").at(-1);
  const [, x, y] = /Position: (\d+),(\d+)/.exec(house.ask("xdotool", "getwindowgeometry", id)).map(Number);
  return { pressed, at: { x: x + 200, y: y + 150 }, stop: () => client.kill("SIGKILL") };
}

const pointer = () => house.ask("xdotool", "getmouselocation", "--shell").match(/X=(\d+)\nY=(\d+)/).slice(1).map(Number);

test("what an input method composes arrives once and whole, and what it gives up does not", async () => {
  await open();
  const client = await record(programs, house.display);
  const devtools = await viewer.context.newCDPSession(viewer.page);
  const composed = async (steps, commit) => {
    for (const text of steps) {
      await devtools.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
    }
    if (commit !== undefined) await devtools.send("Input.insertText", { text: commit });
  };
  // Japanese by conversion, Korean by replacing, a dead key, an emoji, and one that is given up.
  await composed(["n", "に", "にほ", "にほん", "日本"], "日本語");
  await composed(["ㅎ", "하", "한"], "한");
  await composed(["´"], "é");
  await composed(["^"], "ê");
  await composed([":smile"], "😀");
  await composed(["gi", "give", ""]);
  await viewer.page.keyboard.press("z");
  await until("the last key arrived", () => client.text().endsWith("z"), 15_000).catch((error) => {
    assert.fail(`${error.message}; ${client.text()}`);
  });
  assert.equal(client.text(), "日本語한éê😀z");
  // A long commit, longer than there are keycodes to borrow.
  const long = "天地玄黄宇宙洪荒日月盈昃辰宿列張".repeat(3);
  client.typed.length = 0;
  await composed(["天"], long);
  await until("all of it arrived", () => client.typed.length >= long.length, 20_000);
  assert.equal(client.text(), long);
  assert.deepEqual(viewer.faults, []);
  client.stop();
});

test("a locked pointer moves the desktop's by as much, clicks where that is, and is let go by Escape", async () => {
  await open();
  const client = await buttons();
  const at = await viewer.onPage(client.at.x, client.at.y);
  await viewer.page.mouse.move(at.x, at.y);
  await viewer.tool("Lock the pointer");
  const locked = () => viewer.page.evaluate(() => document.pointerLockElement?.id ?? null);
  await until("the pointer is locked", async () => (await locked()) === "stage");
  const scale = await viewer.page.evaluate(() => {
    const video = document.querySelector("video");
    const box = video.getBoundingClientRect();
    return Math.min(box.width / video.videoWidth, box.height / video.videoHeight);
  });
  const from = pointer();
  // The browser takes its pointer to the middle as it locks it; that is no motion. A little is lost.
  for (let step = 0; step < 60; step += 1) xdotool("mousemove_relative", "--", 5, -2);
  for (let step = 0; step < 30; step += 1) xdotool("mousemove_relative", "--", -5, 4);
  const expected = [from[0] + 145 / scale, from[1]];
  const near = () => pointer().every((place, axis) => Math.abs(place - expected[axis]) <= 10);
  await until("the desktop's pointer moved by as much", near, 5_000).catch((error) => {
    assert.fail(`${error.message}: from ${from} to ${pointer()}, expected ${expected}, scale ${scale}`);
  });
  // Onto the client, in steps that a hand makes.
  const way = [client.at.x, client.at.y].map((place, axis) => (place - pointer()[axis]) * scale);
  for (let step = 0; step < 20; step += 1) xdotool("mousemove_relative", "--", ...way.map((length) => Math.round(length / 20)));
  const over = () => pointer().every((place, axis) => Math.abs(place - [client.at.x, client.at.y][axis]) <= 100);
  await until("the desktop's pointer is on the client", over, 5_000);
  xdotool("click", 1);
  await until("the click reached the client", () => client.pressed.includes(1), 5_000);
  assert.deepEqual(client.pressed, [1]);
  xdotool("key", "Escape");
  await until("the pointer is free", async () => (await locked()) === null);
  await viewer.page.mouse.move(at.x, at.y);
  const back = () => pointer().every((place, axis) => Math.abs(place - [client.at.x, client.at.y][axis]) <= 3);
  await until("the desktop's pointer is where the browser's is", back, 5_000);
  assert.deepEqual(viewer.faults, []);
  client.stop();
});

test("in full screen the shortcuts that a browser keeps go to the desktop", async () => {
  await open();
  const client = await record(programs, house.display);
  await viewer.tool("Full screen");
  await until("it is full screen", () => viewer.page.evaluate(() => document.fullscreenElement !== null));
  await until("the desktop has the keyboard", () => viewer.page.evaluate(() => document.activeElement?.id === "keys"));
  // Close, new tab, new window, quit: the browser's own, unless the page was given them.
  for (const shortcut of ["ctrl+w", "ctrl+t", "ctrl+n", "Escape"]) xdotool("key", shortcut);
  xdotool("key", "z");
  await until("the last key arrived", () => client.text().endsWith("z"), 10_000).catch((error) => {
    assert.fail(`${error.message}; ${JSON.stringify(client.typed)}`);
  });
  assert.deepEqual(client.typed.map((key) => [key.keysym, key.state & 4]), [[0x77, 4], [0x74, 4], [0x6e, 4], [0xff1b, 0], [0x7a, 0]]);
  assert.equal(await viewer.page.evaluate(() => document.fullscreenElement !== null), true);
  assert.equal(viewer.context.pages().length, 1);
  await viewer.tool("Full screen");
  await until("it is a window again", () => viewer.page.evaluate(() => document.fullscreenElement === null));
  client.stop();
});

test("fingers click, press the right button and scroll a real client", async () => {
  viewer = await Viewer.open(browser, house.viewer_url, { viewport: { width: 1000, height: 600 }, hasTouch: true });
  await viewer.live();
  const client = await buttons();
  const devtools = await viewer.context.newCDPSession(viewer.page);
  const at = await viewer.onPage(client.at.x, client.at.y);
  const touch = (type, ...fingers) => devtools.send("Input.dispatchTouchEvent", { type, touchPoints: fingers.map(([x, y], id) => ({ x: at.x + x, y: at.y + y, id })) });
  const arrived = (buttons) => until(`buttons ${buttons}`, () => client.pressed.join() === buttons.join(), 5_000).catch((error) => {
    assert.fail(`${error.message}; ${client.pressed}`);
  });
  await touch("touchStart", [0, 0]);
  await touch("touchEnd");
  await arrived([1]);
  assert.ok(pointer().every((place, axis) => Math.abs(place - [client.at.x, client.at.y][axis]) <= 2), `${pointer()}`);
  await touch("touchStart", [5, 5]);
  await arrived([1, 3]);
  await touch("touchEnd");
  client.pressed.length = 0;
  await touch("touchStart", [0, 40], [40, 40]);
  for (let y = 30; y >= -170; y -= 10) await touch("touchMove", [0, y], [40, y]);
  await touch("touchEnd");
  // Fingers that go up push the page up: that is a wheel that turns down.
  await until("it scrolled", () => client.pressed.length >= 2, 5_000);
  assert.deepEqual([...new Set(client.pressed)], [5]);
  client.stop();
});

test("a smooth wheel turns as far as its pixels go, in both directions", async () => {
  await open();
  const client = await buttons();
  const at = await viewer.onPage(client.at.x, client.at.y);
  await viewer.page.mouse.move(at.x, at.y);
  // Told as a touchpad tells it: pixels, and no notches. What DevTools injects is a mouse's notch.
  const turn = (times, deltaX, deltaY) => viewer.page.evaluate(([times, wheel]) => {
    const stage = document.getElementById("stage");
    for (let step = 0; step < times; step += 1) stage.dispatchEvent(new WheelEvent("wheel", wheel));
  }, [times, { deltaX, deltaY, clientX: at.x, clientY: at.y, bubbles: true, cancelable: true }]);
  await turn(31, 0, 10);
  await until("three notches", () => client.pressed.length >= 3, 5_000);
  await turn(21, 0, -10);
  await until("two back", () => client.pressed.length >= 5, 5_000);
  await turn(11, 10, 0);
  await until("one to the right", () => client.pressed.length >= 6, 5_000);
  assert.deepEqual(client.pressed, [5, 5, 5, 4, 4, 7]);
  client.stop();
});
