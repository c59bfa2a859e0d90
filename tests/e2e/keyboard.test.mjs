/**
 * The keyboard matrix: every key of many layouts, on every level, dead keys and shortcuts, pressed
 * physically in front of a real Chromium, and read back by a real X client on the desktop.
 *
 * What is expected is what the same presses give a real X client on the viewer's own display. The
 * desktop keeps one layout all the time; what it lacks must arrive all the same.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { FLAGS, House, PROGRAMS, Viewer, until } from "./house.mjs";

/** Layout and variant as setxkbmap knows them. */
const LAYOUTS = ["us", "gb", "de", "fr", "es", "it", "pt", "br", "se", "pl", "cz", "hu", "tr", "ru", "gr", "us intl"];

/** The printing keys, by X keycode: four rows, space, and the extra key of ISO keyboards. */
const KEYS = [49, ...range(10, 21), ...range(24, 35), ...range(38, 48), 51, 94, ...range(52, 61), 65];
const SHIFT = 50;
const CONTROL = 37;
const ALT = 64;
const ALTGR = 108;
const LEVELS = [[], [SHIFT], [ALTGR], [SHIFT, ALTGR]];
/** Bits of an X event's state. */
const CONTROL_BIT = 4;
const ALT_BIT = 8;

/** Dead keys by keysym, as the mark that combines (X11/keysymdef.h, Unicode). */
const MARKS = { 0xfe50: "\u0300", 0xfe51: "\u0301", 0xfe52: "\u0302", 0xfe53: "\u0303", 0xfe56: "\u0307", 0xfe57: "\u0308",
  0xfe58: "\u030a", 0xfe59: "\u030b", 0xfe5a: "\u030c", 0xfe5b: "\u0327", 0xfe5c: "\u0328" };
const ACCENTED = [..."aeiouyncszgAEIOUN"];

/** Keys without a character, and shortcuts that a browser does not keep for itself. */
const NAMED = [9, 22, 23, 36, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 96, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119];
const SHORTCUT_KEYS = [38, 39, 40, 41, 42, 43, 44, 45, 46, 54, 53, 52, 27, 32];

let house;
let browser;
let viewer;
let display;
const programs = [];

before(async () => {
  house = await House.up("keyboard");
  display = await startDisplay();
  const env = { ...process.env, DISPLAY: display };
  // A window manager that keeps no key to itself.
  const config = `${house.state}/openbox.xml`;
  writeFileSync(config, '<openbox_config xmlns="http://openbox.org/3.4/rc"><focus><focusNew>yes</focusNew></focus></openbox_config>');
  programs.push(spawn("openbox", ["--config-file", config], { env, stdio: "ignore" }));
  browser = await Viewer.launch({ headless: false, env, args: [...FLAGS, "--window-position=0,0", "--window-size=1000,700"] });
});
after(async () => {
  await browser?.close();
  for (const program of programs) program.kill("SIGKILL");
  await house?.down();
});

function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

/** The X server picks a free number and says it. */
async function startDisplay() {
  const server = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1100x800x24", "-nolisten", "tcp", "-noreset"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  programs.push(server);
  const number = await new Promise((resolve) => server.stdio[3].once("data", (text) => resolve(`${text}`.trim())));
  return `:${number}`;
}

/** A real X client with the focus; `typed` grows. */
async function record(where) {
  const probe = spawn(`${PROGRAMS}/key-probe`, ["record", "--display", where], { stdio: ["ignore", "pipe", "inherit"] });
  programs.push(probe);
  const recorder = { typed: [], stop: () => probe.kill("SIGKILL") };
  await new Promise((resolve) => {
    createInterface({ input: probe.stdout }).on("line", (line) => {
      const said = JSON.parse(line);
      if (said.ready) return resolve();
      recorder.typed.push(said);
    });
  });
  return recorder;
}

/** Presses keys on the viewer's display; each is a list, the last one tapped, the others held. */
function press(presses, delayMs) {
  const input = presses.map((keys) => keys.join("+")).join("\n");
  execFileSync(`${PROGRAMS}/key-probe`, ["press", "--display", display, "--delay-ms", `${delayMs}`], { input });
}

/** The X server compiles a layout in another program, which fails now and then on a busy machine. */
async function setLayout(layout) {
  const [name, variant = ""] = layout.split(" ");
  const args = ["-display", display, "-layout", name, "-variant", variant];
  await until(`the layout is ${layout}`, () => spawnSync("setxkbmap", args, { stdio: "ignore" }).status === 0, 10_000);
}

/** What a local X client is given for each press; null for a press that gives it nothing. */
async function local(presses) {
  const recorder = await record(display);
  const expected = [];
  press(presses, 0);
  // A key that no layout gives a meaning arrives all the same.
  await until("the local client has everything", () => recorder.typed.length >= presses.length, 10_000);
  recorder.stop();
  for (const [index, keys] of presses.entries()) {
    assert.equal(recorder.typed[index].keycode, keys.at(-1));
    expected.push(recorder.typed[index]);
  }
  return expected;
}

/** The matrix of one layout: what to press and what must arrive. */
async function matrix(layout) {
  await setLayout(layout);
  const all = LEVELS.flatMap((held) => KEYS.map((key) => [...held, key]));
  const given = await local(all);
  const cases = [];
  const dead = [];
  const letters = new Map();
  for (const [index, one] of given.entries()) {
    // Without a third level, AltGr is Alt; that is a shortcut and none of this matrix.
    if (one.state & ALT_BIT) continue;
    if (MARKS[one.keysym]) dead.push([all[index], MARKS[one.keysym]]);
    else if (one.character && one.character >= " ") {
      cases.push({ presses: [all[index]], character: one.character });
      if (!letters.has(one.character)) letters.set(one.character, all[index]);
    }
  }
  for (const [keys, mark] of dead) {
    for (const letter of ACCENTED.filter((letter) => letters.has(letter))) {
      const composed = (letter + mark).normalize("NFC");
      if ([...composed].length === 1) cases.push({ presses: [keys, letters.get(letter)], character: composed });
    }
  }
  return { layout, cases, dead: dead.length };
}

/** Opens the page, and gives it the focus as a person would. */
async function open() {
  viewer = await Viewer.open(browser, house.viewer_url, { viewport: null });
  await viewer.live();
  const id = execFileSync("xdotool", ["search", "--onlyvisible", "--class", "chromium"], { env: { ...process.env, DISPLAY: display } }).toString().trim().split("\n").at(-1);
  execFileSync("xdotool", ["windowfocus", "--sync", id, "mousemove", "500", "500", "click", "1"], { env: { ...process.env, DISPLAY: display } });
  await until("the page has the keyboard", () => viewer.page.evaluate(() => document.hasFocus() && document.activeElement?.id === "keys"));
}

/** Presses in front of the browser; what the client on the desktop was typed. */
async function remote(presses, count) {
  const recorder = await record(house.display);
  press(presses, 4);
  await until("everything arrived", () => recorder.typed.length >= count, 5_000).catch(() => {});
  recorder.stop();
  return recorder.typed;
}

test("every character of every layout arrives, dead keys and AltGr too", async (context) => {
  const matrices = [];
  for (const layout of LAYOUTS) matrices.push(await matrix(layout));
  await open();
  let [characters, composed] = [0, 0];
  const wrong = [];
  for (const { layout, cases } of matrices) {
    await setLayout(layout);
    const began = Date.now();
    const typed = await remote(cases.flatMap((one) => one.presses), cases.length);
    cases.forEach((one, index) => {
      const seen = typed[index]?.character ?? "nothing";
      if (seen !== one.character) wrong.push(`${layout}: ${one.presses.map((keys) => keys.join("+"))} gave ${seen}, not ${one.character}`);
    });
    context.diagnostic(`${layout}: ${cases.length} in ${Date.now() - began} ms`);
    if (typed.length !== cases.length) wrong.push(`${layout}: ${typed.length} characters for ${cases.length}`);
    characters += cases.length;
    composed += cases.filter((one) => one.presses.length > 1).length;
  }
  const said = `${characters} characters of ${LAYOUTS.length} layouts, ${composed} of them composed`;
  context.diagnostic(said);
  assert.ok(LAYOUTS.length >= 12 && composed > 100 && characters > 2000, said);
  assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} of ${said} are wrong`);
});

test("keys without a character and shortcuts arrive with their modifiers", async (context) => {
  const combinations = [[CONTROL], [ALT], [CONTROL, ALT], [CONTROL, SHIFT, ALT]];
  const shortcuts = combinations.flatMap((held) => SHORTCUT_KEYS.map((key) => [...held, key]));
  const named = [[], [SHIFT]].flatMap((held) => NAMED.map((key) => [...held, key]));
  const wrong = [];
  let count = 0;
  for (const layout of ["us", "de", "fr"]) {
    await setLayout(layout);
    // Control and V is a paste, Control and W closes the tab: not the desktop's alone.
    const presses = [...named, ...shortcuts];
    const expected = await local(presses);
    await viewer.page.bringToFront();
    const typed = await remote(presses, presses.length);
    expected.forEach((one, index) => {
      const bits = CONTROL_BIT | ALT_BIT;
      const seen = typed[index] ?? { keysym: 0, state: 0 };
      const same = seen.keysym === one.keysym && (seen.state & bits) === (one.state & bits);
      if (!same) wrong.push(`${layout}: ${presses[index].join("+")} gave ${seen.keysym.toString(16)} with ${seen.state & bits}, not ${one.keysym.toString(16)} with ${one.state & bits}`);
    });
    count += presses.length;
  }
  context.diagnostic(`${count} keys and shortcuts of 3 layouts`);
  assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} of ${count} are wrong`);
});
