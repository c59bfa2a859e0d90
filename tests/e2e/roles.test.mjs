/** Two people at one desktop: one controls it, one watches. What the watcher does changes nothing. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { record } from "./display.mjs";
import { House, Viewer, until } from "./house.mjs";

let house;
let browser;

before(async () => {
  house = await House.up("roles");
  browser = await Viewer.launch();
});
after(async () => {
  await browser?.close();
  await house?.down();
});

const pointer = () => house.ask("xdotool", "getmouselocation", "--shell").match(/X=(\d+)\nY=(\d+)/).slice(1).map(Number);
const clipboard = () => house.ask("xclip", "-selection", "clipboard", "-out") ?? "";
const size = () => /Width: \d+\s+Height: \d+/.exec(house.ask("xwininfo", "-root"))?.[0];

/** Bytes on the page's own channels, past everything that would hold them back in the page. */
async function sendRaw(viewer, channel, messages) {
  await viewer.page.evaluate(async ([channel, messages]) => {
    const wire = window.channels[channel];
    for (const bytes of messages) wire.send(new Uint8Array(bytes));
    while (wire.bufferedAmount > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }, [channel, messages]);
}

test("a watcher sees the desktop, is told what they are, and reaches neither keys, pointer, clipboard nor size", async () => {
  const control = await Viewer.open(browser, house.link("control"));
  await control.live();
  const view = await Viewer.open(browser, house.link("view"));
  await view.live();
  await house.draw();
  await view.showsPattern();
  const words = (viewer) => viewer.page.evaluate(() => document.getElementById("path-words").textContent);
  assert.match(await words(view), /view only/);
  assert.doesNotMatch(await words(control), /view only/);

  await control.click(200, 500);
  const { typed } = await record(house.programs, house.display);
  const [at, before] = [pointer(), { clipboard: clipboard(), size: size() }];
  // As a person: keys, clicks, wheel.
  await view.click(700, 600);
  await view.page.keyboard.type("watched");
  await view.page.mouse.wheel(0, 300);
  await view.page.getByText("You are viewing only").waitFor();
  // As a program that speaks the protocol.
  const key = (down) => [0x01, down, 0, 0, 0, 0x71, 0, 16];
  await sendRaw(view, "input", [key(1), key(0), [0x02, 1, 1, 1, 0, 1, 0], [0x02, 0, 1, 1, 0, 1, 0], [0x04, 0x77]]);
  await sendRaw(view, "pointer", [[0x10, 0, 0, 9, 9, 1, 44, 1, 44]]);
  await sendRaw(view, "control", [[0x20, 3, 0x20, 2, 0x58, 0, 100], [0x21, ...new TextEncoder().encode("stolen")], [0x25, 3]]);
  const media = await view.frames();
  await until("the desktop answered them", async () => (await view.frames()) > media + 1);

  // The controller's keys come after all of that, and nothing else came.
  await control.page.keyboard.type("ok");
  await until("the controller types", () => typed.length >= 2);
  assert.deepEqual(typed.map((key) => key.character), ["o", "k"]);
  assert.deepEqual(pointer(), at);
  assert.deepEqual({ clipboard: clipboard(), size: size() }, before);
  assert.deepEqual([...view.faults, ...control.faults], []);
  await view.shot("view-only");
  await view.close();
  await control.close();
});

test("a watcher who leaves lets go of nothing that another holds", async () => {
  const ended = () => readFileSync(`${house.state}/logs/agent-host.log`, "utf8").split(/session (?:closed|ended)/).length;
  const control = await Viewer.open(browser, house.link("control"));
  await control.live();
  const view = await Viewer.open(browser, house.link("view"));
  await view.live();
  await control.click(200, 500);
  const { typed } = await record(house.programs, house.display);
  await control.page.keyboard.down("Shift");
  await control.page.keyboard.press("Enter");
  const before = ended();
  await view.close();
  await until("the desktop knows that the watcher is gone", () => ended() > before);
  await control.page.keyboard.press("Enter");
  await until("both arrived", () => typed.length === 2);
  await control.page.keyboard.up("Shift");
  // The bit of Shift.
  assert.deepEqual(typed.map((key) => key.state & 1), [1, 1]);
  await control.close();
});
