import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { evdevCode } from "../../viewer/web/input/evdev.js";
import { Keyboard } from "../../viewer/web/input/keyboard.js";
import { characterKeysym, keysym } from "../../viewer/web/input/keysym.js";

const RELEASE_ALL = [0x05];
const press = (key, code, location = 0, more = {}) => ({ key, code, location, ...more });

function keyboard(platform = "other") {
  const sent = [];
  return { sent, keys: new Keyboard((message) => sent.push([...message]), platform) };
}

function encoded(down, symbol, code) {
  return [0x01, Number(down), symbol >>> 24, (symbol >>> 16) & 255, (symbol >>> 8) & 255, symbol & 255, code >> 8, code & 255];
}

test("a key means what X11 calls it", () => {
  const expected = [
    [press("a", "KeyA"), 0x61], [press("A", "KeyA"), 0x41], [press("ß", "Minus"), 0xdf], [press("ÿ", ""), 0xff],
    [press("€", "KeyE"), 0x010020ac], [press("ж", "Semicolon"), 0x01000436], [press("😀", ""), 0x0101f600],
    [press("Enter", "Enter"), 0xff0d], [press("Enter", "NumpadEnter", 3), 0xff8d], [press("Backspace", "Backspace"), 0xff08],
    [press("Tab", "Tab"), 0xff09], [press("Escape", "Escape"), 0xff1b], [press("Delete", "Delete"), 0xffff],
    [press("Delete", "NumpadDecimal", 3), 0xff9f], [press("7", "Numpad7", 3), 0xffb7], [press("Home", "Numpad7", 3), 0xff95],
    [press(",", "NumpadDecimal", 3), 0xffac], [press("Clear", "Numpad5", 3), 0xff9d], [press("F1", "F1"), 0xffbe],
    [press("F12", "F12"), 0xffc9], [press("F35", ""), 0xffe0], [press("Shift", "ShiftLeft", 1), 0xffe1],
    [press("Shift", "ShiftRight", 2), 0xffe2], [press("Control", "ControlRight", 2), 0xffe4], [press("Alt", "AltLeft", 1), 0xffe9],
    [press("Meta", "MetaLeft", 1), 0xffeb], [press("AltGraph", "AltRight", 2), 0xfe03], [press("\u0301", ""), 0xfe51],
    [press("\u0308", ""), 0xfe57], [press("ContextMenu", "ContextMenu"), 0xff67], [press("PrintScreen", "PrintScreen"), 0xff61],
    [press("AudioVolumeUp", "AudioVolumeUp"), 0x1008ff13], [press("Hiragana", "Lang1"), 0xff25], [press("Unidentified", "Fn"), 0],
  ];
  for (const [event, symbol] of expected) assert.equal(keysym(event), symbol, event.key);
});

test("every character of Latin-1 is its own keysym and a control character none", () => {
  for (let code = 0x20; code <= 0xff; code += 1) {
    const control = code >= 0x7f && code < 0xa0;
    assert.equal(characterKeysym(String.fromCharCode(code)), control ? 0 : code);
  }
  for (const text of ["", "\n", "ab", "क्ष"]) assert.equal(characterKeysym(text), 0);
});

test("on macOS, Option chooses a level and Command stands for Alt", () => {
  assert.equal(keysym(press("Alt", "AltLeft", 1), "mac"), 0xfe03);
  assert.equal(keysym(press("Meta", "MetaLeft", 1), "mac"), 0xffe9);
});

test("Alt pressed while Shift is held is Alt, though X11 calls it Meta", () => {
  assert.equal(keysym(press("Meta", "AltLeft", 1)), 0xffe9);
  assert.equal(keysym(press("Meta", "AltRight", 2)), 0xffea);
  assert.equal(keysym(press("Meta", "MetaLeft", 1)), 0xffeb);
});

test("a place on the keyboard has the code Linux gives it", () => {
  const expected = { Escape: 1, Digit0: 11, KeyQ: 16, Enter: 28, KeyA: 30, Backquote: 41, ShiftLeft: 42, KeyZ: 44, ShiftRight: 54,
    Space: 57, F1: 59, F10: 68, Numpad7: 71, NumpadDecimal: 83, IntlBackslash: 86, F11: 87, F12: 88, IntlRo: 89, KanaMode: 93,
    NumpadEnter: 96, ControlRight: 97, AltRight: 100, Home: 102, Delete: 111, Pause: 119, IntlYen: 124, MetaLeft: 125,
    ContextMenu: 127, F13: 183, F24: 194, Nonsense: 0 };
  for (const [name, code] of Object.entries(expected)) assert.equal(evdevCode(name), code, name);
});

test("a key goes up as what it went down as, whatever its meaning is by then", () => {
  const { keys, sent } = keyboard();
  keys.handleDown(press("A", "KeyA"));
  keys.handleUp(press("a", "KeyA"));
  assert.deepEqual(sent, [encoded(true, 0x41, 30), encoded(false, 0x41, 30)]);
});

test("a held key goes down again for each repeat, as what it went down as", () => {
  const { keys, sent } = keyboard();
  keys.handleDown(press("A", "KeyA"));
  assert.equal(keys.handleDown(press("a", "KeyA", 0, { repeat: true })), true);
  keys.handleUp(press("a", "KeyA"));
  assert.deepEqual(sent, [encoded(true, 0x41, 30), encoded(true, 0x41, 30), encoded(false, 0x41, 30)]);
});

test("repeats of modifiers and of keys not held, and locks, are used but not sent", () => {
  const { keys, sent } = keyboard();
  keys.handleDown(press("Shift", "ShiftLeft", 1));
  assert.equal(keys.handleDown(press("Shift", "ShiftLeft", 1, { repeat: true })), true);
  assert.equal(keys.handleDown(press("b", "KeyB", 0, { repeat: true })), true);
  assert.equal(keys.handleDown(press("CapsLock", "CapsLock")), true);
  assert.equal(sent.length, 1);
});

test("what an input method or a dead key is busy with is left to the browser", () => {
  const { keys, sent } = keyboard();
  for (const event of [press("Dead", "Quote"), press("Process", "KeyA"), press("k", "KeyK", 0, { isComposing: true }), press("a", "", 0, { keyCode: 229 })]) {
    assert.equal(keys.handleDown(event), false);
    assert.equal(keys.handleUp(event), false);
  }
  assert.deepEqual(sent, []);
});

test("a lost focus releases everything, and late releases say nothing more", () => {
  const { keys, sent } = keyboard();
  keys.handleDown(press("Control", "ControlLeft", 1));
  keys.handleDown(press("c", "KeyC"));
  keys.releaseAll();
  keys.handleUp(press("c", "KeyC"));
  assert.deepEqual(sent.at(-1), RELEASE_ALL);
  assert.equal(keys.heldCount, 0);
});

test("on Windows, the Control that comes with AltGr is dropped", () => {
  const { keys, sent } = keyboard("windows");
  keys.handleDown(press("Control", "ControlLeft", 1));
  keys.handleDown(press("AltGraph", "AltRight", 2));
  assert.deepEqual(sent, [encoded(true, 0xfe03, 100)]);
});

test("on Windows, a Control of its own is sent before the key that follows, or a moment later", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { keys, sent } = keyboard("windows");
  keys.handleDown(press("Control", "ControlLeft", 1));
  keys.handleDown(press("c", "KeyC"));
  assert.deepEqual(sent, [encoded(true, 0xffe3, 29), encoded(true, 0x63, 46)]);
  keys.handleUp(press("Control", "ControlLeft", 1));
  keys.handleDown(press("Control", "ControlLeft", 1));
  mock.timers.tick(20);
  assert.deepEqual(sent.at(-1), encoded(true, 0xffe3, 29));
  mock.timers.reset();
});

test("on macOS, releasing Command releases the keys whose release was kept from the page", () => {
  const { keys, sent } = keyboard("mac");
  keys.handleDown(press("Meta", "MetaLeft", 1));
  keys.handleDown(press("c", "KeyC"));
  keys.handleUp(press("Meta", "MetaLeft", 1));
  assert.deepEqual(sent.at(-1), RELEASE_ALL);
});

test("a key of several characters is text", () => {
  const { keys, sent } = keyboard();
  keys.handleDown(press("क्ष", "Digit7"));
  assert.equal(new TextDecoder().decode(new Uint8Array(sent[0].slice(1))), "क्ष");
});

test("a key without a name goes by its place", () => {
  const { keys, sent } = keyboard();
  keys.handleDown(press("Unidentified", "IntlRo"));
  assert.deepEqual(sent, [encoded(true, 0, 89)]);
});
