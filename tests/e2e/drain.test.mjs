/** A relay that is told to stop hands its sessions over to another one of its region, and is gone. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { House, PROGRAMS, until, Viewer } from "./house.mjs";

let house;
let browser;
let relay;

before(async () => {
  house = await House.up("drain");
  browser = await Viewer.launch();
  await house.draw();
});

after(async () => {
  relay?.process.kill("SIGKILL");
  await browser?.close();
  await house?.down();
});

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Another relay with the same secret: the cloud has never heard of it before it says so itself. */
async function startRelay() {
  let config = readFileSync(`${house.state}/relay.toml`, "utf8");
  for (const address of [house.relay.udp, house.relay.tls, house.relay.admin]) {
    config = config.replaceAll(`"${address}"`, `"127.0.0.1:${await freePort()}"`);
  }
  writeFileSync(`${house.state}/second.toml`, config, { mode: 0o600 });
  const child = spawn(`${PROGRAMS}/multiclaw-relay`, ["--config", `${house.state}/second.toml`], { stdio: ["ignore", "pipe", "pipe"] });
  const second = { process: child, log: "" };
  child.stderr.on("data", (text) => (second.log += text));
  for await (const line of createInterface({ input: child.stdout })) {
    second.admin = JSON.parse(line).admin;
    break;
  }
  await until("the second relay is registered", () => second.log.includes("registered with the service"));
  return second;
}

/** A headless viewer that has to use the relay; its lines of statistics as they come. */
function watch(seconds) {
  const args = ["connect", "--cloud", house.cloud, "--instance", house.instance, "--token-file", `${house.state}/access-key`];
  args.push("--mode", "relay", "--headless", "--stats", "json", "--duration", `${seconds}`);
  const child = spawn(`${PROGRAMS}/multiclaw-viewer`, args, { stdio: ["ignore", "pipe", "pipe"] });
  const viewer = { lines: [], errors: "" };
  child.stderr.on("data", (text) => (viewer.errors += text));
  createInterface({ input: child.stdout }).on("line", (line) => viewer.lines.push(JSON.parse(line)));
  viewer.ended = new Promise((resolve) => child.once("close", resolve));
  return viewer;
}

test("sessions move to a relay that registered itself, and the draining one ends by itself", async () => {
  const page = await Viewer.open(browser, house.relay_viewer_url);
  const native = watch(45);
  await page.live();
  await until("the native viewer is live", () => native.lines.at(-1)?.state === "live");
  relay = await startRelay();
  assert.equal(await house.relayCounter("payload_bytes", relay.admin), 0, "everything goes through the first relay");
  const live = native.lines.length - 1;

  const before = house.currentPids().relay;
  house.signal("relay", "SIGTERM");
  await until("the draining relay has ended", () => house.currentPids().relay !== before, 40_000);
  assert.ok((await house.relayCounter("payload_bytes", relay.admin)) > 0, "the second relay carries them");
  await page.runs();
  assert.equal((await page.state()).phase, "live");
  assert.deepEqual(page.faults, []);
  await page.close();

  assert.equal(await native.ended, 0, native.errors);
  const states = native.lines.slice(live).map((line) => line.state);
  assert.ok(states.every((state) => state === "live"), `the native viewer never lost its picture: ${states}`);
});
