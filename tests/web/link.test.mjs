import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";
import { BUNDLE, bundle } from "./bundle.mjs";
import { backoffMs } from "../../viewer/web/link/backoff.js";
import { parseLaunch, takeLaunch } from "../../viewer/web/link/launch.js";
import { iceServers, isRelayed, withStereo, withoutRelays } from "../../viewer/web/link/offer.js";
import { selectedPath } from "../../viewer/web/link/path.js";
import { asProblem, endsSession, isPassing, parseProblem } from "../../viewer/web/link/problem.js";
import { recoveryStep } from "../../viewer/web/link/recovery.js";
import { renewAfterMs } from "../../viewer/web/link/renewal.js";
import { figures, networkMs, takeReading } from "../../viewer/web/picture/statistics.js";
import { Sound } from "../../viewer/web/picture/sound.js";
import { frameTimes } from "../../viewer/web/picture/video.js";
import { problemTitle } from "../../web/words.js";

const ROOT = new URL("../../", import.meta.url);

function storage(entries = {}) {
  const map = new Map(Object.entries(entries));
  return { getItem: (name) => map.get(name) ?? null, setItem: (name, value) => void map.set(name, value) };
}

test("the address names the desktop, the key and the path", () => {
  assert.deepEqual(parseLaunch("/connect/desk-1", "#key=a%2Fb&mode=relay"), { instance: "desk-1", key: "a/b", mode: "relay" });
  assert.deepEqual(parseLaunch("/connect/desk/", ""), { instance: "desk", key: null, mode: null });
  assert.equal(parseLaunch("/connect/Desk", "").instance, "");
  assert.equal(parseLaunch("/connect/desk", "#mode=fast").mode, null);
});

test("the key leaves the address bar at once and stays in the tab", () => {
  const kept = storage();
  const replaced = [];
  const history = { replaceState: (_state, _title, url) => replaced.push(url) };
  const location = { pathname: "/connect/desk", search: "?a=1", hash: "#key=k&mode=direct" };
  assert.deepEqual(takeLaunch({ location, history, storage: kept }), { instance: "desk", key: "k", mode: "direct" });
  assert.deepEqual(replaced, ["/connect/desk?a=1"]);
  const again = takeLaunch({ location: { ...location, hash: "" }, history, storage: kept });
  assert.deepEqual(again, { instance: "desk", key: "k", mode: "direct" });
  assert.equal(replaced.length, 1);
});

test("waiting doubles, is bounded, and is never in step", () => {
  assert.equal(backoffMs(0, () => 0), 250);
  assert.equal(backoffMs(0, () => 1), 500);
  assert.equal(backoffMs(3, () => 1), 4000);
  assert.equal(backoffMs(1000, () => 1), 15_000);
});

test("a lost path is given a moment, then tried anew, then replaced", () => {
  assert.deepEqual(recoveryStep(0, false), { waitMs: 700, action: "restart" });
  assert.deepEqual(recoveryStep(0, true), { waitMs: 0, action: "restart" });
  assert.equal(recoveryStep(1, false).action, "restart");
  assert.equal(recoveryStep(2, false).action, "rebuild");
  assert.equal(recoveryStep(50, false, () => 1).waitMs, 4000 + 15_000);
});

test("a token is renewed after four fifths of its life", () => {
  assert.equal(renewAfterMs(600), 480_000);
  assert.equal(renewAfterMs(0), 0);
});

test("direct means that no relay is asked and none is taken", () => {
  const servers = [{ urls: ["turn:r:3478?transport=udp", "stun:r:3478"], username: "u", credential: "c", region: "eu" }];
  assert.deepEqual(iceServers(servers, "direct"), [{ urls: ["stun:r:3478"], username: "u", credential: "c" }]);
  assert.deepEqual(iceServers(servers, "auto")[0].urls, servers[0].urls);
  assert.deepEqual(iceServers([{ urls: ["turn:r"], region: "eu" }], "direct"), []);
  const sdp = "v=0\r\na=candidate:1 1 udp 1 1.2.3.4 9 typ host\r\na=candidate:2 1 udp 1 1.2.3.4 9 typ relay raddr 0 rport 0\r\n";
  assert.equal(withoutRelays(sdp), "v=0\r\na=candidate:1 1 udp 1 1.2.3.4 9 typ host\r\n");
  assert.equal(isRelayed("candidate:1 1 udp 1 1.2.3.4 9 typ host"), false);
});

test("both channels are asked for, once, and only of Opus", () => {
  const sdp = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtcp-mux\r\n";
  const stereo = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\na=rtcp-mux\r\n";
  assert.equal(withStereo(sdp), stereo);
  assert.equal(withStereo(stereo), stereo);
  const picture = "a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1\r\n";
  assert.equal(withStereo(picture), picture);
});

function report(local, remote) {
  return new Map([
    ["T", { type: "transport", selectedCandidatePairId: "P" }],
    ["P", { type: "candidate-pair", localCandidateId: "L", remoteCandidateId: "R", currentRoundTripTime: 0.012 }],
    ["L", local],
    ["R", remote],
  ]);
}

test("the path is read from the selected pair, and its region from the relay's address", () => {
  const servers = [
    { urls: ["turn:a:3478?transport=udp"], region: "us-east" },
    { urls: ["turns:b:443?transport=tcp"], region: "eu-west" },
  ];
  const host = { candidateType: "host", protocol: "udp", port: 5000 };
  assert.deepEqual(selectedPath(report(host, host), servers), { kind: "direct", transport: "udp", port: 5000, region: "" });
  const relayed = { candidateType: "relay", relayProtocol: "tls", url: "turns:b:443?transport=tcp" };
  assert.deepEqual(selectedPath(report(relayed, host), servers), { kind: "relay", transport: "tls", port: 443, region: "eu-west" });
  assert.equal(selectedPath(report(host, { ...host, candidateType: "relay" }), servers).kind, "relay");
  assert.equal(selectedPath(new Map(), servers), null);
});

test("figures are differences between two readings", () => {
  const reading = (atMs, video) => {
    const entries = report({}, {});
    entries.set("V", { type: "inbound-rtp", kind: "video", codecId: "C", frameWidth: 1920, frameHeight: 1080, ...video });
    entries.set("C", { type: "codec", mimeType: "video/H264", sdpFmtpLine: "profile-level-id=f4001f" });
    return takeReading(entries, atMs);
  };
  const before = reading(0, { framesDecoded: 0, bytesReceived: 0, totalDecodeTime: 0, packetsReceived: 0, packetsLost: 0 });
  const now = reading(2000, { framesDecoded: 60, bytesReceived: 250_000, totalDecodeTime: 0.12, packetsReceived: 99, packetsLost: 1 });
  const found = figures(now, before);
  assert.equal(found.bitrateBps, 1_000_000);
  assert.equal(found.framesPerSecond, 30);
  assert.equal(found.decodeMs, 2);
  assert.equal(found.lossPercent, 1);
  assert.equal(found.roundTripMs, 12);
  assert.equal(found.codec, "H.264 4:4:4");
  assert.equal(figures(now, null).bitrateBps, null);
});

test("sound is measured beside the picture", () => {
  const reading = (atMs, audio) => {
    const entries = report({}, {});
    entries.set("A", { type: "inbound-rtp", kind: "audio", ...audio });
    return takeReading(entries, atMs);
  };
  const before = reading(0, { bytesReceived: 0, packetsReceived: 0, packetsLost: 0 });
  const now = reading(1000, { bytesReceived: 12_000, packetsReceived: 98, packetsLost: 2 });
  const found = figures(now, before);
  assert.deepEqual([found.soundBitrateBps, found.soundLossPercent, found.soundPackets], [96_000, 2, 98]);
  assert.equal(figures(reading(0, {}), null).soundBitrateBps, null);
});

test("every code of the protocol has a title, and is known as passing or ending where it is", async () => {
  const source = await readFile(new URL("protocol/src/problem.rs", ROOT), "utf8");
  const codes = [...source.matchAll(/=> "([A-Z_]+)"/g)].map(([, code]) => code);
  assert.ok(codes.length >= 18);
  for (const code of codes) assert.notEqual(problemTitle(code), problemTitle("NO_SUCH_CODE"), code);
  const problem = (code) => ({ code, cause: "", next_step: "" });
  assert.ok(isPassing(problem("INSTANCE_NOT_ONLINE")) && !isPassing(problem("ACCESS_DENIED")));
  assert.ok(endsSession(problem("SESSION_EXPIRED")) && !endsSession(problem("NO_PATH")));
});

test("what is not a problem is not taken for one", () => {
  for (const value of [null, 7, "x", {}, { code: 1, cause: "c" }]) assert.equal(asProblem(value), null);
  assert.equal(parseProblem("{"), null);
  assert.equal(parseProblem('{"code":"NO_PATH","cause":"c"}').next_step, "");
});

test("every file of the viewer is served", async () => {
  const folder = new URL("viewer/web/", ROOT);
  const names = (await readdir(folder, { recursive: true })).filter((name) => /\.(js|css|html|map)$/.test(name)).sort();
  const list = await readFile(new URL("assets.rs", folder), "utf8");
  const listed = [...list.matchAll(/"\/viewer", "([^"]+)"/g)].map(([, name]) => name).sort();
  assert.deepEqual(listed, names);
});

test("the bundle is what its modules and stylesheets make; `cargo xtask bundle` makes it again", async () => {
  const made = await bundle();
  assert.deepEqual([...made.keys()].sort(), (await readdir(BUNDLE)).sort());
  for (const [name, text] of made) {
    const committed = await readFile(BUNDLE + name, "utf8");
    assert.ok(committed === text, `${name} is older than its sources: run cargo xtask bundle`);
  }
});

test("the page loads a script, a stylesheet and its icon, and the map names sources that are served", async () => {
  const page = await readFile(new URL("viewer/web/index.html", ROOT), "utf8");
  const asked = [...page.matchAll(/<(?:link|script)[^>]* (?:href|src)="([^"]+)"/g)].map(([, path]) => path);
  assert.deepEqual(asked, ["/web/favicon.svg", "/viewer/bundle/look.css", "/viewer/bundle/page.js"]);
  const { sources } = JSON.parse(await readFile(`${BUNDLE}page.js.map`, "utf8"));
  assert.ok(sources.length > 40, `${sources.length} sources`);
  for (const source of sources) await readFile(new URL(source, `file://${BUNDLE}`));
});

test("a frame's way is told in stages, and none of it where the clocks disagree", () => {
  const frame = { captureTime: 100, receiveTime: 112, processingDuration: 0.003, expectedDisplayTime: 121 };
  assert.deepEqual(frameTimes(frame), { age: 21, transit: 12, present: 6 });
  assert.deepEqual(frameTimes({ ...frame, captureTime: 130 }), { age: null, transit: null, present: 6 });
  assert.deepEqual(frameTimes({ expectedDisplayTime: 121 }), { age: null, transit: null, present: null });
});

test("the network is what the host did not spend until the last packet, else half of the round trip", () => {
  const host = { capture: 1, encode: 4, send: 0.5 };
  assert.equal(networkMs(12, host, 30), 6.5);
  assert.equal(networkMs(2, host, 30), 0);
  assert.equal(networkMs(null, host, 30), 15);
  assert.equal(networkMs(12, { ...host, encode: null }, null), null);
});

test("sound that a browser lets nobody start without a gesture starts with the next one", async () => {
  const page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
  let [allowed, plays] = [false, 0];
  const audio = {
    muted: false,
    srcObject: null,
    play: () => {
      plays += 1;
      return allowed ? Promise.resolve() : Promise.reject(new Error("NotAllowedError"));
    },
  };
  const sound = new Sound(audio, new Kept());
  sound.show({});
  sound.begin();
  await new Promise((resolve) => setImmediate(resolve));
  allowed = true;
  page.dispatchEvent(new Event("pointerdown"));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(plays, 2);
  page.dispatchEvent(new Event("keydown"));
  assert.equal(plays, 2);
});

test("whether sound is muted is remembered", () => {
  const storage = new Kept();
  new Sound({ muted: false, srcObject: null }, storage).toggleMuted();
  assert.equal(new Sound({ muted: false, srcObject: null }, storage).muted, true);
});

test("sound waits for the first picture, and for none after it", () => {
  const audio = { muted: false, srcObject: null, play: async () => {} };
  const sound = new Sound(audio, new Kept());
  sound.show("one");
  assert.equal(audio.srcObject, null);
  sound.begin();
  assert.equal(audio.srcObject, "one");
  sound.show("two");
  assert.equal(audio.srcObject, "two");
  sound.begin();
  assert.equal(audio.srcObject, "two");
});

class Kept extends Map {
  getItem(key) {
    return this.get(key) ?? null;
  }

  setItem(key, value) {
    this.set(key, value);
  }
}
