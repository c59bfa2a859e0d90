/** How far regions are, measured by a real browser against servers that answer late or never. */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { after, before, test } from "node:test";
import { Double, launchBrowser } from "./double.mjs";

/** How late the far one answers, in milliseconds. */
const FAR_MS = 400;
/** A machine that has a lot to do is given this long. */
const PATIENCE_MS = 60_000;
const MAGIC = 0x2112a442;

let browser;
let double;
const sockets = [];

before(async () => {
  browser = await launchBrowser();
  double = await Double.start(browser);
});
after(async () => {
  for (const socket of sockets) socket.close();
  await double.stop();
  await browser.close();
});

/** RFC 8489 §14.2: the answer to a binding request, with the address that it came from. */
function binding(request, { address, port }) {
  const answer = Buffer.alloc(32);
  answer.writeUInt16BE(0x0101, 0);
  answer.writeUInt16BE(12, 2);
  request.copy(answer, 4, 4, 20);
  answer.writeUInt16BE(0x0020, 20);
  answer.writeUInt16BE(8, 22);
  answer.writeUInt8(1, 25);
  answer.writeUInt16BE(port ^ (MAGIC >>> 16), 26);
  const octets = address.split(".").map(Number);
  for (const [index, octet] of octets.entries()) answer.writeUInt8(octet ^ answer[4 + index], 28 + index);
  return answer;
}

/** A STUN server; without a delay it says nothing at all. */
async function server(id, delayMs) {
  const socket = createSocket("udp4");
  sockets.push(socket);
  socket.on("message", (request, from) => {
    if (delayMs === null) return;
    setTimeout(() => socket.send(binding(request, from), from.port, from.address), delayMs);
  });
  await new Promise((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return { id, stun: `stun:127.0.0.1:${socket.address().port}` };
}

const measure = (regions, withinMs) =>
  double.page.evaluate(
    async ([regions, withinMs]) => (await import("/viewer/link/nearness.js")).measureRegions(regions, withinMs),
    [regions, withinMs],
  );

test("a region that answers late is further away, and one that does not answer is not measured", async () => {
  await double.open();
  const [near, far, silent] = [await server("near", 0), await server("far", FAR_MS), await server("silent", null)];
  const measured = await measure([near, far], PATIENCE_MS);
  assert.deepEqual(Object.keys(measured).sort(), ["far", "near"]);
  // A timer may be a little early, an answer never.
  assert.ok(measured.far >= FAR_MS - 10, JSON.stringify(measured));
  assert.deepEqual(await measure([silent, { id: "absurd", stun: "https://example.org" }], 50), {});
});

test("the page says with its ticket how far the regions are that it was told of", async () => {
  const near = await server("near", 0);
  double.ticket = () => [200, { ticket: "ticket-1", expires_in_secs: 60, regions: [near] }];
  for (;;) {
    double.heard.length = 0;
    const page = await double.open();
    await double.phase("live");
    const [open] = double.heard;
    assert.equal(open.type, "open");
    await page.close();
    // A machine that has a lot to do may have been too slow for the page's patience.
    if ("near" in open.round_trips_ms) return;
  }
});
