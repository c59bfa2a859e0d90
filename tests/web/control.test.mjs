import assert from "node:assert/strict";
import { test } from "node:test";
import * as control from "../../viewer/web/input/control.js";

const bytes = (...values) => new Uint8Array(values).buffer;

// The same table as in protocol/src/control/tests.rs: the agent host reads these bytes.
test("the wire form is the one the agent host speaks", () => {
  const golden = [
    [control.key({ down: true, keysym: 0xff0d, code: 28 }), [0x01, 1, 0, 0, 0xff, 0x0d, 0, 28]],
    [control.button({ down: false, button: 3, x: 258, y: 5 }), [0x02, 0, 3, 1, 2, 0, 5]],
    [control.wheel({ dx: 0, dy: -120, x: 1, y: 2 }), [0x03, 0, 0, 0xff, 0x88, 0, 1, 0, 2]],
    [control.texts("é")[0], [0x04, 0xc3, 0xa9]],
    [control.releaseAll(), [0x05]],
    [control.pointerMove({ seq: 7, x: 1919, y: 1079 }), [0x10, 0, 0, 0, 7, 0x07, 0x7f, 0x04, 0x37]],
    [control.pointerRelative({ seq: 8, totalDx: -1, totalDy: 2 }), [0x11, 0, 0, 0, 8, 255, 255, 255, 255, 0, 0, 0, 2]],
    [control.resize({ width: 1280, height: 720, scalePercent: 100 }), [0x20, 5, 0, 2, 0xd0, 0, 100]],
    [control.clipboardText("hi"), [0x21, 0x68, 0x69]],
    [control.quality("data-saver"), [0x25, 3]],
    [control.ping({ sentUs: 1 }), [0x22, 0, 0, 0, 0, 0, 0, 0, 1]],
  ];
  for (const [written, expected] of golden) assert.deepEqual([...written], expected);
});

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

test("an image goes in parts and comes together again", () => {
  for (const length of [8, 64 * 1024, 64 * 1024 + 1, control.CLIPBOARD_IMAGE_LEN_MAX]) {
    const png = new Uint8Array(length).map((_, index) => PNG[index] ?? index % 251);
    const parts = new control.ImageParts();
    const messages = control.clipboardImage(png).map((part) => control.decode(part.buffer));
    // What is left of an image before it is forgotten.
    parts.handlePart({ left: 5, part: new Uint8Array([1, 2, 3]) });
    const whole = messages.map((message) => parts.handlePart(message));
    assert.deepEqual(whole.slice(0, -1).every((none) => none === null), true);
    assert.deepEqual(whole.at(-1), png);
  }
  assert.deepEqual([...control.clipboardImage(new Uint8Array(PNG))[0]], [0x24, 0, 0, 0, 0, ...PNG]);
});

test("what is too large, empty, or no PNG is no image", () => {
  assert.equal(control.clipboardImage(new Uint8Array(0)), null);
  assert.equal(control.clipboardImage(new Uint8Array(control.CLIPBOARD_IMAGE_LEN_MAX + 1)), null);
  assert.equal(control.decode(bytes(0x24, 0, 0, 0, 0)), null);
  assert.equal(control.decode(bytes(0x24, 0xff, 0, 0, 0, 1)), null);
  assert.equal(new control.ImageParts().handlePart({ left: 0, part: new Uint8Array(9) }), null);
});

test("every message of a host is read", () => {
  const cursor = bytes(0x30, 0, 1, 0, 2, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8);
  assert.deepEqual(control.decode(bytes(0x21, 0xc3, 0xa9)), { type: "clipboard", text: "é" });
  const pong = bytes(0x23, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0);
  assert.deepEqual(control.decode(pong), { type: "pong", sentUs: 1, hostUs: 256 });
  const { rgba, ...shape } = control.decode(cursor);
  assert.deepEqual(shape, { type: "cursor", width: 1, height: 2, hotX: 0, hotY: 1 });
  assert.deepEqual([...rgba], [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.deepEqual(control.decode(bytes(0x31)), { type: "cursor-hidden" });
  assert.deepEqual(control.decode(bytes(0x32, 7, 128, 4, 56)), { type: "screen", width: 1920, height: 1080 });
  const stats = control.decode(bytes(0x33, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 1, 1));
  assert.deepEqual(stats, { type: "host-stats", captureUs: 1, encodeUs: 2, queueUs: 3, frames: 4, encoder: 1, chroma: 1 });
  const qualities = [0, 1, 2, 3].map((number) => control.decode(bytes(0x25, number)).quality);
  assert.deepEqual(qualities, ["auto", "sharp", "balanced", "data-saver"]);
  assert.deepEqual(control.decode(bytes(0x34, 0x7b, 0x7d)), { type: "notice", json: "{}" });
  assert.deepEqual(control.decode(bytes(0x35, 0x7b, 0x7d)), { type: "closed", json: "{}" });
});

test("a message of the wrong length, range or encoding is nothing, and never an exception", () => {
  const refused = [
    [], [0xff], [0x31, 0], [0x25], [0x25, 4], [0x25, 0, 0], [0x32, 7, 128, 4], [0x23, 1], [0x21, 0xff],
    [0x30, 0, 1, 0, 1, 0, 1, 0, 0, 1, 2, 3, 4], // hot spot outside
    [0x30, 0, 129, 0, 1, 0, 0, 0, 0], // too wide
    [0x30, 0, 1, 0, 1, 0, 0, 0, 0, 1, 2, 3], // too few pixels
    [0x30, 0, 1],
  ];
  for (const values of refused) assert.equal(control.decode(bytes(...values)), null, String(values));
});

test("a long text is cut between characters, and loses none", () => {
  const text = "漢".repeat(3000);
  const parts = control.texts(text);
  assert.ok(parts.every((part) => part.length - 1 <= control.TEXT_LEN_MAX));
  const decoder = new TextDecoder("utf-8", { fatal: true });
  assert.equal(parts.map((part) => decoder.decode(part.subarray(1))).join(""), text);
});

test("a clipboard larger than one message is not sent", () => {
  assert.equal(control.clipboardText("x".repeat(control.CLIPBOARD_LEN_MAX)).length, control.CLIPBOARD_LEN_MAX + 1);
  assert.equal(control.clipboardText("x".repeat(control.CLIPBOARD_LEN_MAX + 1)), null);
});
