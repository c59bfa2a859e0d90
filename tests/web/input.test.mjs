import assert from "node:assert/strict";
import { test } from "node:test";
import { Gate } from "../../viewer/web/input/gate.js";
import { desktopPoint, pictureBox } from "../../viewer/web/input/geometry.js";
import { LONG_PRESS_MS, TouchPointer } from "../../viewer/web/input/touch.js";
import { WheelCounter } from "../../viewer/web/input/wheel.js";
import { wantedScreen } from "../../viewer/web/picture/fit.js";

const finger = (id, x, y) => ({ id, page: { x, y }, desktop: { x: x * 2, y: y * 2 } });
const button = (down, number, x, y) => ({ type: "button", down, button: number, at: { x, y } });

test("a picture keeps its shape and stands in the middle", () => {
  const box = pictureBox({ left: 0, top: 0, width: 1000, height: 1000 }, { width: 200, height: 100 });
  assert.deepEqual(box, { left: 0, top: 250, width: 1000, height: 500 });
});

test("a point of the page is the pixel under it, and beside the picture the nearest one", () => {
  const [space, screen] = [{ left: 10, top: 20, width: 1920, height: 1080 }, { width: 1920, height: 1080 }];
  assert.deepEqual(desktopPoint({ clientX: 10, clientY: 20 }, space, screen), { x: 0, y: 0 });
  assert.deepEqual(desktopPoint({ clientX: 1929.9, clientY: 1099.9 }, space, screen), { x: 1919, y: 1079 });
  assert.deepEqual(desktopPoint({ clientX: -5, clientY: 9999 }, space, screen), { x: 0, y: 1079 });
  assert.deepEqual(desktopPoint({ clientX: 5, clientY: 5 }, space, { width: 0, height: 0 }), { x: 0, y: 0 });
});

test("a notch is 120, however the browser counts, and fractions add up", () => {
  const count = (event) => new WheelCounter().count({ deltaX: 0, deltaY: 0, deltaMode: 0, ...event });
  assert.equal(count({ deltaY: 100 }).dy, 120);
  assert.equal(count({ deltaY: 3, deltaMode: 1 }).dy, 120);
  assert.equal(count({ deltaY: 1, deltaMode: 2 }).dy, 120);
  assert.equal(count({ deltaY: 53, wheelDeltaY: -120 }).dy, 120);
  assert.equal(count({ deltaX: -100 }).dx, -120);
  const slow = new WheelCounter();
  const sum = Array.from({ length: 100 }, () => slow.count({ deltaX: 0, deltaY: 1, deltaMode: 0 }).dy).reduce((a, b) => a + b);
  assert.ok(Math.abs(sum - 120) <= 1);
});

test("a tap clicks where the finger was", () => {
  const touch = new TouchPointer();
  assert.deepEqual(touch.handleDown(finger(1, 10, 10), 0), [{ type: "move", at: { x: 20, y: 20 } }]);
  assert.deepEqual(touch.handleMove(finger(1, 12, 13)), []);
  assert.deepEqual(touch.handleUp(1), [button(true, 1, 20, 20), button(false, 1, 20, 20)]);
});

test("a moving finger drags from where it started", () => {
  const touch = new TouchPointer();
  touch.handleDown(finger(1, 10, 10), 0);
  assert.deepEqual(touch.handleMove(finger(1, 40, 10)), [button(true, 1, 20, 20), { type: "move", at: { x: 80, y: 20 } }]);
  assert.deepEqual(touch.handleUp(1), [button(false, 1, 80, 20)]);
});

test("a finger held still presses the right button once", () => {
  const touch = new TouchPointer();
  touch.handleDown(finger(1, 10, 10), 100);
  assert.equal(touch.pollTimeout(), 100 + LONG_PRESS_MS);
  assert.deepEqual(touch.handleTimeout(100 + LONG_PRESS_MS), [button(true, 3, 20, 20), button(false, 3, 20, 20)]);
  assert.deepEqual(touch.handleUp(1), []);
});

test("two fingers scroll and press nothing", () => {
  const touch = new TouchPointer();
  touch.handleDown(finger(1, 10, 100), 0);
  touch.handleDown(finger(2, 60, 100), 10);
  assert.deepEqual(touch.handleMove(finger(1, 10, 80)), [{ type: "scroll", dx: 0, dy: 10, at: { x: 20, y: 200 } }]);
  assert.deepEqual(touch.handleUp(2), []);
  assert.deepEqual(touch.handleMove(finger(1, 300, 300)), []);
  assert.deepEqual(touch.handleUp(1), []);
});

test("a drag that a second finger interrupts lets the button go", () => {
  const touch = new TouchPointer();
  touch.handleDown(finger(1, 10, 10), 0);
  touch.handleMove(finger(1, 50, 10));
  assert.deepEqual(touch.handleDown(finger(2, 90, 10), 20), [button(false, 1, 100, 20)]);
});

test("input waits for the clipboard and keeps its order", async () => {
  const sent = [];
  const gate = new Gate((message) => sent.push(message));
  let arrive;
  const held = gate.holdUntil(new Promise((resolve) => (arrive = resolve)));
  gate.send("v down");
  gate.send("v up");
  assert.deepEqual(sent, []);
  arrive();
  await held;
  gate.send("x");
  assert.deepEqual(sent, ["v down", "v up", "x"]);
});

test("input that waits too long a queue waits no longer", () => {
  const sent = [];
  const gate = new Gate((message) => sent.push(message));
  void gate.holdUntil(new Promise(() => {}));
  for (let n = 0; n < 300; n += 1) gate.send(n);
  assert.equal(sent.length, 300);
});

test("the screen asked for is the window's in physical pixels, even and within bounds", () => {
  assert.deepEqual(wantedScreen({ width: 801, height: 600.5 }, 1), { width: 800, height: 600, scalePercent: 100 });
  assert.deepEqual(wantedScreen({ width: 800, height: 600 }, 1.5), { width: 1200, height: 900, scalePercent: 150 });
  assert.deepEqual(wantedScreen({ width: 10, height: 9000 }, 5), { width: 64, height: 8192, scalePercent: 400 });
});
