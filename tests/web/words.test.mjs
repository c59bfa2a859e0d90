import assert from "node:assert/strict";
import { test } from "node:test";
import { firstFacts } from "../../viewer/web/link/facts.js";
import { NO_KEY, UNREACHABLE, noPath } from "../../viewer/web/link/problem.js";
import { describe, pathWords } from "../../viewer/web/page/words.js";
import { bitrate, byteCount, milliseconds } from "../../web/words.js";

const facts = (changes, mode = "auto") => ({ ...firstFacts(mode), ...changes });
const granted = { granted: true, service: true, region: "eu-west", media: "checking" };
const direct = { kind: "direct", transport: "udp", port: 5000, region: "" };

test("the path is said with its region, protocol and port", () => {
  const relay = (transport, port, region = "eu-west") => pathWords({ kind: "relay", transport, port, region });
  assert.equal(pathWords(direct), "Connected directly over UDP");
  assert.equal(relay("udp", 3478), "Using the relay in eu-west over UDP");
  assert.equal(relay("tcp", 443), "Using the relay in eu-west over TCP 443");
  assert.equal(relay("tls", 443), "Using the relay in eu-west over TLS 443");
  assert.equal(relay("udp", null, ""), "Using the relay over UDP");
});

test("what is being tried is said while it is tried", () => {
  const title = (changes, mode) => describe(facts(changes, mode)).title;
  assert.equal(title({}), "Signing in");
  assert.equal(title(granted), "Checking the direct path");
  assert.equal(title({ ...granted, slow: true }), "Checking the relay in eu-west");
  assert.equal(title(granted, "relay"), "Checking the relay in eu-west");
  assert.equal(title({ ...granted, slow: true }, "direct"), "Checking the direct path");
  assert.equal(title({ ...granted, media: "picture" }), "Waiting for the first picture");
  assert.match(describe(facts({ ...granted, media: "picture", pictureTries: 1 })).detail, /anew/);
  assert.equal(title({ ...granted, agentOnline: false }), "Waiting for the desktop");
});

test("a live picture stays live while the service is away, and says so", () => {
  const live = { ...granted, media: "live", path: direct };
  assert.equal(describe(facts(live)).tone, "good");
  const away = describe(facts({ ...live, service: false }));
  assert.deepEqual([away.phase, away.tone], ["live", "warn"]);
  assert.match(away.detail, /picture goes on/);
});

test("a lost path says that the picture may pause, why, and offers to hurry", () => {
  const lost = { ...granted, media: "lost" };
  const words = describe(facts(lost));
  assert.equal(words.title, "Reconnecting: the picture may pause");
  assert.deepEqual([words.phase, words.actions], ["reconnecting", ["retry"]]);
  assert.match(describe(facts({ ...lost, agentOnline: false })).detail, /agent host is away/);
  assert.match(describe(facts({ ...lost, service: false, retryAtMs: 3000 }), 1000).detail, /again in 2 s/);
});

test("a problem that passes counts down to the next attempt", () => {
  const words = describe(facts({ problem: UNREACHABLE, retryAtMs: 5000 }), 500);
  assert.deepEqual([words.phase, words.title], ["connecting", "The service is out of reach"]);
  assert.match(words.detail, /did not answer\. Trying again in 5 s\.$/);
  assert.deepEqual(words.actions, ["retry"]);
});

test("every failure has a title, a cause, a next step and a way on", () => {
  const expired = { code: "SESSION_EXPIRED", cause: "It was not renewed.", next_step: "Connect again." };
  const cases = [
    [expired, "auto", "Session expired", ["connect"]],
    [{ ...expired, code: "REGION_UNAVAILABLE" }, "relay", "No relay is available", ["connect", "status"]],
    [NO_KEY, "auto", "Access refused", ["connect"]],
    [noPath("direct"), "direct", "No path to the desktop", ["auto", "relay", "connect"]],
    [noPath("relay"), "relay", "No path to the desktop", ["auto", "connect"]],
    [noPath("auto"), "auto", "No path to the desktop", ["relay", "connect"]],
  ];
  for (const [problem, mode, title, actions] of cases) {
    const words = describe(facts({ problem, over: true }, mode));
    assert.deepEqual([words.phase, words.title, words.actions], ["failed", title, actions]);
    assert.ok(words.detail.includes(problem.cause) && words.detail.includes(problem.next_step));
    assert.equal(words.code, problem.code);
  }
});

test("figures carry their units, and what is not known is a dash", () => {
  assert.deepEqual([null, 1.26, 250.4, 1234].map(milliseconds), ["–", "1.3 ms", "250 ms", "1.2 s"]);
  assert.deepEqual([null, 900, 36_000, 1_250_000].map(bitrate), ["–", "900 bit/s", "36 kbit/s", "1.3 Mbit/s"]);
  assert.deepEqual([12, 1536, 2e6, 3e9].map(byteCount), ["12 B", "1.5 kB", "2.0 MB", "3.0 GB"]);
});
