/**
 * node-datachannel (libdatachannel with libjuice): two peer connections, relayed candidates only.
 * Its ICE stack speaks TURN over UDP and nothing else.
 */

import nodeDataChannel from "node-datachannel";
import { converse, relay, report, within } from "./conversation.mjs";

const TRANSPORTS = { udp: "TurnUdp", tcp: "TurnTcp", tls: "TurnTls" };

const iceServers = [
  {
    hostname: relay.host,
    port: relay.port,
    username: relay.username,
    password: relay.credential,
    relayType: TRANSPORTS[relay.transport],
  },
];

const [caller, callee] = ["caller", "callee"].map(
  (name) => new nodeDataChannel.PeerConnection(name, { iceServers, iceTransportPolicy: "relay" }),
);

for (const [one, other] of [[caller, callee], [callee, caller]]) {
  one.onLocalDescription((sdp, type) => other.setRemoteDescription(sdp, type));
  one.onLocalCandidate((candidate, mid) => {
    if (candidate.includes(" typ relay")) other.addRemoteCandidate(candidate, mid);
  });
}

/** Both kinds of channel behind the same three functions. */
const wrap = (channel) => ({
  send: (text) => channel.sendMessage(text),
  onMessage: (handler) => channel.onMessage(handler),
});

const accepted = new Promise((resolve) => callee.onDataChannel((channel) => resolve(wrap(channel))));
const channel = caller.createDataChannel("interop");
const opened = new Promise((resolve) => channel.onOpen(() => resolve(wrap(channel))));

const messages = await within(converse(await within(opened, "open"), await within(accepted, "accept")), "talk");
const { local, remote } = caller.getSelectedCandidatePair();
report({ messages, pair: `${local.type}/${remote.type}`, library: nodeDataChannel.getLibraryVersion() });
caller.close();
callee.close();
nodeDataChannel.cleanup();
