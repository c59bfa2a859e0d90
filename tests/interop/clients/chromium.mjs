/**
 * Chromium: two peer connections in one page with `iceTransportPolicy: "relay"`. For TLS the
 * certificate is accepted by the hash of its key, given in INTEROP_SPKI and nowhere else.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { CHROMIUM, FLAGS } from "../../chromium.mjs";
import { iceServer, relay, report, within } from "./conversation.mjs";

const flags = [...FLAGS];
if (process.env.INTEROP_SPKI) flags.push(`--ignore-certificate-errors-spki-list=${process.env.INTEROP_SPKI}`);

const profile = mkdtempSync(join(tmpdir(), "multiclaw-interop-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: CHROMIUM,
  args: flags,
});
process.on("exit", () => rmSync(profile, { recursive: true, force: true }));
try {
  const page = await context.newPage();
  await page.goto("data:text/html,interop");
  const result = await within(page.evaluate(meet, iceServer()), relay.transport);
  const browser = context.browser();
  report({ ...result, version: browser?.version() });
} finally {
  await context.close();
}

/** Runs in the page: connects, sends ping and pong and a moving picture, and says what carried it. */
async function meet(iceServer) {
  const config = { iceServers: [iceServer], iceTransportPolicy: "relay" };
  const [caller, callee] = [new RTCPeerConnection(config), new RTCPeerConnection(config)];
  const errors = [];
  for (const [one, other] of [[caller, callee], [callee, caller]]) {
    one.onicecandidate = ({ candidate }) => candidate && other.addIceCandidate(candidate);
    one.onicecandidateerror = (event) => errors.push(`${event.url} ${event.errorCode} ${event.errorText}`);
  }

  const canvas = document.createElement("canvas");
  const paint = canvas.getContext("2d");
  setInterval(() => {
    paint.fillStyle = `hsl(${performance.now() % 360} 100% 50%)`;
    paint.fillRect(0, 0, canvas.width, canvas.height);
  }, 33);
  for (const track of canvas.captureStream().getTracks()) caller.addTrack(track);

  const accepted = new Promise((resolve) => (callee.ondatachannel = ({ channel }) => resolve(channel)));
  const channel = caller.createDataChannel("interop");
  const opened = new Promise((resolve, reject) => {
    channel.onopen = resolve;
    caller.oniceconnectionstatechange = () => {
      if (caller.iceConnectionState === "failed") reject(new Error(`ICE failed: ${errors.join("; ")}`));
    };
    caller.onicegatheringstatechange = () => {
      const found = caller.localDescription.sdp.includes(" typ relay");
      if (caller.iceGatheringState === "complete" && !found) reject(new Error(`no relayed address: ${errors.join("; ")}`));
    };
  });
  await caller.setLocalDescription();
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription();
  await caller.setRemoteDescription(callee.localDescription);
  await opened;
  const echo = await accepted;
  echo.onmessage = ({ data }) => echo.send(data);

  const messages = 200;
  for (let number = 0; number < messages; number += 1) {
    const answer = new Promise((resolve) => (channel.onmessage = ({ data }) => resolve(data)));
    channel.send(`${number} ${"x".repeat(1_000)}`);
    if (!(await answer).startsWith(`${number} `)) throw new Error("messages came out of order");
  }
  const figures = async () => {
    const stats = [...(await callee.getStats()).values()];
    const found = stats.find((it) => it.type === "candidate-pair" && it.nominated && it.state === "succeeded");
    const side = (id) => stats.find((it) => it.id === id);
    return {
      frames: stats.find((it) => it.type === "inbound-rtp" && it.kind === "video")?.framesDecoded ?? 0,
      pair: found && `${side(found.localCandidateId).candidateType}/${side(found.remoteCandidateId).candidateType}`,
      protocol: found && side(found.localCandidateId).relayProtocol,
    };
  };
  while ((await figures()).frames < 30) await new Promise((resolve) => setTimeout(resolve, 50));
  return { messages: 2 * messages, ...(await figures()) };
}
