/**
 * Where not one UDP packet passes, not even on loopback: the whole house and the native viewer in a
 * network namespace whose firewall drops UDP. Both ends reach the relay over TCP, or over TLS where
 * its plain port is closed too.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { House, PROGRAMS } from "./house.mjs";

const NAMESPACE = `mc-blocked-${process.pid}`;
const INSIDE = ["ip", "netns", "exec", NAMESPACE];

let house;

const run = (...command) => execFileSync(command[0], command.slice(1), { stdio: ["ignore", "pipe", "pipe"] }).toString();

/** Replaces the firewall; `more` are rules besides the one against UDP. */
function block(more = "") {
  writeFileSync(`${house.state}/blocked.nft`, `
    table inet blocked
    delete table inet blocked
    table inet blocked {
      counter dropped { }
      chain out {
        type filter hook output priority 0;
        meta l4proto udp counter name dropped drop
        ${more}
      }
    }`);
  run(...INSIDE, "nft", "-f", `${house.state}/blocked.nft`);
}

/** A headless session of some seconds; its last line of statistics. */
async function watch(...flags) {
  const args = ["connect", "--cloud", house.cloud, "--instance", house.instance, "--token-file", `${house.state}/access-key`];
  args.push("--headless", "--stats", "json", "--duration", "6", "--ca-file", house.relay.authority, ...flags);
  const viewer = spawn(INSIDE[0], [...INSIDE.slice(1), `${PROGRAMS}/multiclaw-viewer`, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let [lines, errors] = ["", ""];
  viewer.stdout.on("data", (text) => (lines += text));
  viewer.stderr.on("data", (text) => (errors += text));
  const code = await new Promise((resolve) => viewer.once("close", resolve));
  assert.equal(code, 0, `${errors}\n${readFileSync(`${house.state}/logs/agent-host.log`, "utf8").slice(-2000)}`);
  return JSON.parse(lines.trim().split("\n").at(-1));
}

before(async () => {
  run("ip", "netns", "add", NAMESPACE);
  run(...INSIDE, "ip", "link", "set", "lo", "up");
  house = await House.up("blocked", [], INSIDE);
  block();
  await house.draw();
});

after(async () => {
  await house?.down();
  run("ip", "netns", "del", NAMESPACE);
});

test("without UDP a native viewer sees the desktop through the relay over TCP", async () => {
  const last = await watch();
  assert.equal(last.state, "live");
  assert.deepEqual([last.path.kind, last.path.transport], ["relay", "tcp"]);
  assert.match(run(...INSIDE, "nft", "list", "counters"), /packets [1-9]/, "the firewall dropped something");
});

test("where the relay's plain port is closed too, it gets through over TLS", async () => {
  const plain = house.relay.tcp.split(":").at(-1);
  block(`tcp dport ${plain} reject with tcp reset`);
  const last = await watch();
  assert.equal(last.state, "live");
  assert.deepEqual([last.path.kind, last.path.transport], ["relay", "tls"]);
});
