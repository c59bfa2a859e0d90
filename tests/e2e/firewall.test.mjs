/**
 * Behind a firewall: Chromium runs in a network namespace of its own whose only way out is one
 * cable to this machine, and whose firewall drops every UDP packet that is not to or from the relay.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { FLAGS } from "../chromium.mjs";
import { House, ROOT, Viewer } from "./house.mjs";

const NAMESPACE = `mc-e2e-${process.pid}`;
const CABLE = `mce${process.pid}`;
const HOST = "10.213.77.1";
const GUEST = "10.213.77.2";
const FLAG = `--unsafely-treat-insecure-origin-as-secure=http://${HOST}`;

let house;
let browser;

const run = (command) => execFileSync("/bin/sh", ["-ec", command], { stdio: ["ignore", "pipe", "pipe"] }).toString();
const inside = (command) => run(`ip netns exec ${NAMESPACE} ${command}`);

before(async () => {
  run(`
    ip netns add ${NAMESPACE}
    ip link add ${CABLE}h type veth peer name ${CABLE}g netns ${NAMESPACE}
    ip addr add ${HOST}/30 dev ${CABLE}h
    ip link set ${CABLE}h up`);
  inside(`ip addr add ${GUEST}/30 dev ${CABLE}g`);
  inside(`ip link set ${CABLE}g up`);
  inside("ip link set lo up");
  house = await House.up("firewall", ["--address", HOST]);
  const relay = house.relay.udp.split(":").at(-1);
  writeFileSync(`${house.state}/firewall.nft`, `
    table inet firewall {
      chain out {
        type filter hook output priority 0;
        oif lo accept
        ip daddr ${HOST} udp dport ${relay} accept
        meta l4proto udp counter drop
      }
      chain in {
        type filter hook input priority 0;
        iif lo accept
        ip saddr ${HOST} udp sport ${relay} accept
        meta l4proto udp counter drop
      }
    }`);
  inside(`nft -f ${house.state}/firewall.nft`);
  // A browser that starts inside: what Playwright runs is this wrapper.
  const wrapper = `${house.state}/chromium-inside`;
  writeFileSync(wrapper, `#!/bin/sh\nexec ip netns exec ${NAMESPACE} ${process.env.CHROMIUM ?? "/usr/bin/chromium"} "$@"\n`);
  chmodSync(wrapper, 0o755);
  browser = await Viewer.launch({ executablePath: wrapper, args: [...FLAGS, `${FLAG}:${new URL(house.cloud).port}`] });
  await house.draw();
});

after(async () => {
  await browser?.close();
  await house?.down();
  run(`ip link del ${CABLE}h || true; ip netns del ${NAMESPACE} || true`);
});

test("where all UDP but the relay's is dropped, the automatic mode ends up on the relay and shows the desktop", async () => {
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.live();
  await viewer.showsPattern();
  const pair = await viewer.pair();
  assert.ok([pair.local, pair.remote].includes("relay"), JSON.stringify(pair));
  assert.ok((await house.relayCounter("payload_bytes")) >= (await viewer.bytes()));
  assert.match(inside("nft list ruleset"), /counter packets [1-9]/, `the firewall dropped something (rules in ${ROOT})`);
  await viewer.shot("firewall");
  await viewer.close();
});
