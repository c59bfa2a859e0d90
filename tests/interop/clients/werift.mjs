/** werift (TypeScript): two peer connections, relayed candidates only; certificates are verified. */

import { readFileSync } from "node:fs";
import { RTCPeerConnection } from "werift";
import { converse, iceServer, relay, report, within } from "./conversation.mjs";

const config = {
  iceServers: [iceServer()],
  iceTransportPolicy: "relay",
  turnTlsOptions: { ca: readFileSync(relay.authority) },
};
const [caller, callee] = [new RTCPeerConnection(config), new RTCPeerConnection(config)];

caller.onIceCandidate.subscribe((candidate) => candidate && callee.addIceCandidate(candidate));
callee.onIceCandidate.subscribe((candidate) => candidate && caller.addIceCandidate(candidate));

const wrap = (channel) => ({
  send: (text) => channel.send(Buffer.from(text)),
  onMessage: (handler) => channel.onMessage.subscribe((data) => handler(data.toString())),
});

const accepted = new Promise((resolve) => callee.onDataChannel.subscribe((channel) => resolve(wrap(channel))));
const channel = caller.createDataChannel("interop");
const opened = new Promise((resolve) => {
  channel.stateChanged.subscribe((state) => state === "open" && resolve(wrap(channel)));
});

await within(introduce(), "negotiate");
const messages = await within(converse(await within(opened, "open"), await within(accepted, "accept")), "talk");
const pair = caller.iceTransports[0].connection.nominated;
report({ messages, pair: `${pair.localCandidate.type}/${pair.remoteCandidate.type}` });
process.exit(0);

async function introduce() {
  await caller.setLocalDescription(await caller.createOffer());
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription(await callee.createAnswer());
  await caller.setRemoteDescription(callee.localDescription);
}
