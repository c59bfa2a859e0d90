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
import { after, before, test } from "node:test";
import { FLAGS } from "../chromium.mjs";
import { record, startDisplay } from "./display.mjs";
import { House, PROGRAMS, Viewer, until } from "./house.mjs";

/** Layout and variant as setxkbmap knows them. */
const LAYOUTS = ["us", "gb", "de", "fr", "es", "it", "pt", "br", "se", "pl", "cz", "hu", "tr", "ru", "gr", "us intl"];

/** The printing keys, by X keycode: four rows, space, and the extra key of ISO keyboards. */
const KEYS = [49, ...range(10, 21), ...range(24, 35), ...range(38, 48), 51, 94, ...range(52, 61), 65];
/** Pressed without waiting for what arrives. */
const TOGETHER = 20;
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
const SHORTCUT_LAYOUTS = ["us", "de", "fr"];
const NAMED = [9, 22, 23, 36, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 96, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119];
const SHORTCUT_KEYS = [38, 39, 40, 41, 42, 43, 44, 45, 46, 54, 53, 27, 32];

let house;
let browser;
let viewer;
let display;
/** On the desktop, all the time: a window manager is slow to see who has the focus. */
let desktop;
let matrices;
let shortcuts;
const programs = [];

before(async () => {
  house = await House.up("keyboard");
  display = await startDisplay(programs);
  const env = { ...process.env, DISPLAY: display };
  const recorder = await record(programs, display);
  matrices = [];
  for (const layout of LAYOUTS) matrices.push(await matrix(layout, recorder));
  shortcuts = [];
  for (const layout of SHORTCUT_LAYOUTS) shortcuts.push(await shortcutsOf(layout, recorder));
  recorder.stop();
  // A window manager that keeps no key to itself; not before, for it takes the focus as it starts.
  const config = `${house.state}/openbox.xml`;
  writeFileSync(config, '<openbox_config xmlns="http://openbox.org/3.4/rc"><focus><focusNew>yes</focusNew></focus></openbox_config>');
  programs.push(spawn("openbox", ["--config-file", config], { env, stdio: "ignore" }));
  browser = await Viewer.launch({ headless: false, env, args: [...FLAGS, "--window-position=0,0", "--window-size=1000,700"] });
  await open(env);
  desktop = await record(programs, house.display);
});
after(async () => {
  await browser?.close();
  for (const program of programs) program.kill("SIGKILL");
  await house?.down();
});

function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
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

/** What a local X client is given for each press. */
async function local(presses, recorder) {
  press(presses, 0);
  // A key that no layout gives a meaning arrives all the same.
  await until("the local client has everything", () => recorder.typed.length >= presses.length, 10_000);
  const given = recorder.typed.splice(0);
  given.forEach((one, index) => assert.equal(one.keycode, presses[index].at(-1)));
  return given;
}

/** The matrix of one layout: what to press and what must arrive. */
async function matrix(layout, recorder) {
  await setLayout(layout);
  const all = LEVELS.flatMap((held) => KEYS.map((key) => [...held, key]));
  const given = await local(all, recorder);
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
  return { layout, cases };
}

/** Keys without a character, and shortcuts, of one layout. */
async function shortcutsOf(layout, recorder) {
  const combinations = [[CONTROL], [ALT], [CONTROL, ALT], [CONTROL, SHIFT, ALT]];
  const held = combinations.flatMap((held) => SHORTCUT_KEYS.map((key) => [...held, key]));
  const named = [[], [SHIFT]].flatMap((held) => NAMED.map((key) => [...held, key]));
  await setLayout(layout);
  const presses = [...named, ...held];
  return { layout, presses, expected: await local(presses, recorder) };
}

/** Opens the page, and gives it the focus as a person would. */
async function open(env) {
  viewer = await Viewer.open(browser, house.viewer_url, { viewport: null });
  await viewer.live();
  const xdotool = (...args) => execFileSync("xdotool", args, { env }).toString().trim();
  const id = xdotool("search", "--onlyvisible", "--class", "chromium").split("\n").at(-1);
  xdotool("windowfocus", "--sync", id, "mousemove", "500", "500", "click", "1");
  await until("the page has the keyboard", () => viewer.page.evaluate(() => document.hasFocus() && document.activeElement?.id === "keys"));
}

/**
 * Presses in front of the browser; what the client on the desktop was typed. A few at a time: a client
 * that is slow to ask for a keyboard map would read what a borrowed keycode means later.
 */
async function remote(groups) {
  const typed = [];
  for (let from = 0; from < groups.length; from += TOGETHER) {
    const some = groups.slice(from, from + TOGETHER);
    press(some.flat(), 4);
    const whole = await until("everything arrived", () => desktop.typed.length >= some.length, 8_000).catch(() => false);
    typed.push(...desktop.typed.splice(0));
    if (!whole) break;
  }
  return typed;
}

/** What is missing and what is too much: one lost key must not make the rest look wrong. */
function differences(cases, typed) {
  const found = [];
  let at = 0;
  for (const [index, { presses, character }] of cases.entries()) {
    const keys = presses.map((keys) => keys.join("+")).join(" ");
    // Of what was typed, that which none of the next cases explains.
    const next = cases.slice(index, index + 60).map((one) => one.character);
    while (at < typed.length && !next.includes(typed[at].character)) found.push(`${typed[at++].character} before ${keys}`);
    if (typed[at]?.character === character) at += 1;
    else found.push(`${keys} did not give ${character}`);
  }
  return [...found, ...typed.slice(at).map((one) => `${one.character} at the end`)];
}

test("every character of every layout arrives, dead keys and AltGr too", async (context) => {
  let [characters, composed] = [0, 0];
  const wrong = [];
  for (const { layout, cases } of matrices) {
    await setLayout(layout);
    const began = Date.now();
    const typed = await remote(cases.map((one) => one.presses));
    wrong.push(...differences(cases, typed).map((difference) => `${layout}: ${difference}`));
    context.diagnostic(`${layout}: ${cases.length} in ${Date.now() - began} ms`);
    characters += cases.length;
    composed += cases.filter((one) => one.presses.length > 1).length;
  }
  const said = `${characters} characters of ${LAYOUTS.length} layouts, ${composed} of them composed`;
  context.diagnostic(said);
  assert.ok(LAYOUTS.length >= 12 && composed > 100 && characters > 2000, said);
  assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} of ${said} are wrong`);
});

test("keys without a character and shortcuts arrive with their modifiers", async (context) => {
  const wrong = [];
  let count = 0;
  for (const { layout, presses, expected } of shortcuts) {
    await setLayout(layout);
    const typed = await remote(presses.map((keys) => [keys]));
    expected.forEach((one, index) => {
      const bits = CONTROL_BIT | ALT_BIT;
      const seen = typed[index] ?? { keysym: 0, state: 0 };
      const same = seen.keysym === one.keysym && (seen.state & bits) === (one.state & bits);
      if (!same) wrong.push(`${layout}: ${presses[index].join("+")} gave ${seen.keysym.toString(16)} with ${seen.state & bits}, not ${one.keysym.toString(16)} with ${one.state & bits}`);
    });
    count += presses.length;
  }
  context.diagnostic(`${count} keys and shortcuts of ${SHORTCUT_LAYOUTS.length} layouts`);
  assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} of ${count} are wrong`);
});
