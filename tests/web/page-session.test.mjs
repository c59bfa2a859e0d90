import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Double, launchBrowser } from "./double.mjs";

let browser;
let double;
const problem = (code) => ({ code, cause: "This is the cause.", next_step: "This is the next step." });
const offers = () => double.heard.filter(({ type }) => type === "offer");
const fingerprint = (offer) => /a=fingerprint:(\S+ \S+)/.exec(offer.sdp)[1];

/** Waits until something is so, as the page and the double make it so. */
async function until(what, isSo) {
  for (let tries = 0; tries < 400; tries += 1) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(`never: ${what}`);
}

const framesGoOn = async () => {
  const frames = async () => (await double.page.evaluate(() => window.multiclaw.stats())).framesDecoded;
  const earlier = await frames();
  await until("more frames", async () => (await frames()) > earlier + 5);
};

before(async () => (browser = await launchBrowser()));
after(async () => browser.close());
beforeEach(async () => (double = await Double.start(browser)));
afterEach(async () => double.stop());

test("the picture is live without a further click and nothing breaks the policy", async () => {
  const page = await double.open();
  const state = await double.phase("live");
  await until("the path is read", async () => (await double.state()).title === "Connected directly over UDP");
  assert.equal(state.tone, "good");
  assert.deepEqual(double.faults, []);
  assert.equal(double.authorization, "Bearer secret");
  assert.deepEqual(double.heard[0], { type: "open", version: 1, ticket: "ticket-1", mode: "auto", round_trips_ms: {} });
  assert.equal(await page.locator("#card").isVisible(), false);
  await framesGoOn();
});

test("a first frame that is shown before the path is called open is a picture all the same", async () => {
  // A busy browser tells the two in either order; here it always tells the path last.
  double.script = () => {
    const state = Object.getOwnPropertyDescriptor(RTCPeerConnection.prototype, "connectionState");
    const connections = [];
    let shown = false;
    Object.defineProperty(RTCPeerConnection.prototype, "connectionState", {
      get() {
        if (!connections.includes(this)) connections.push(this);
        const real = state.get.call(this);
        return real === "connected" && !shown ? "connecting" : real;
      },
    });
    const tellLate = () => {
      shown = true;
      for (const connection of connections) connection.dispatchEvent(new Event("connectionstatechange"));
    };
    document.addEventListener("loadeddata", () => setTimeout(tellLate, 200), { capture: true });
  };
  await double.open();
  await double.phase("live");
  assert.equal(offers().length, 1);
});

test("an open path that brings no picture is made anew, and the picture comes", async () => {
  double.dark = true;
  await double.open();
  await until("the path is open", async () => (await double.state()).title === "Waiting for the first picture");
  await double.agent.dark(false);
  await double.phase("live");
  assert.equal(offers().length, 2);
  assert.notEqual(fingerprint(offers()[0]), fingerprint(offers()[1]));
});

test("a desktop that never shows a picture ends in a reason and a next step", async () => {
  double.dark = true;
  await double.open();
  const state = await double.phase("failed");
  assert.equal(state.code, "NO_PICTURE");
  assert.match(state.detail, /restart the desktop/);
});

test("the access key is gone from the address bar and survives a reload", async () => {
  const page = await double.open();
  await double.phase("live");
  assert.equal(page.url(), `${double.origin}/connect/desk`);
  await page.reload();
  await double.phase("live");
  assert.equal(double.authorization, "Bearer secret");
});

test("a page that goes away says so, and the desktop need not wait for it", async () => {
  const page = await double.open();
  await double.phase("live");
  await page.goto("about:blank");
  await until("it said good-bye", () => double.heard.some(({ type }) => type === "close"));
});

test("without a key the page says what to do and asks nobody", async () => {
  await double.open({}, "");
  const state = await double.phase("failed");
  assert.equal(state.code, "ACCESS_DENIED");
  assert.equal(double.authorization, undefined);
  assert.match(await double.page.locator("#card-detail").innerText(), /dashboard/);
});

test("the offer asks for H.264 with RTX and capture times and for Opus, and for nothing else", async () => {
  await double.open();
  await double.phase("live");
  const codecs = [...offers()[0].sdp.matchAll(/a=rtpmap:\d+ ([^/]+)/g)].map(([, name]) => name);
  assert.deepEqual([...new Set(codecs)].sort(), ["H264", "opus", "rtx"]);
  assert.match(offers()[0].sdp, /abs-capture-time/);
  assert.match(offers()[0].sdp, /playout-delay/);
  assert.doesNotMatch(offers()[0].sdp, /rtx-time/);
});

test("a service that goes away does not touch the picture, and the session is resumed", async () => {
  await double.open();
  await double.phase("live");
  double.cut();
  await until("the page notices", async () => /out of reach/.test((await double.state()).detail));
  assert.equal((await double.state()).phase, "live");
  await framesGoOn();
  double.serviceUp = true;
  await until("the session is resumed", () => double.heard.some(({ type, token }) => type === "resume" && token === "token-1"));
  await until("all is well", async () => (await double.state()).tone === "good");
  assert.equal((await double.state()).code, "");
  assert.equal(offers().length, 1);
});

test("a token is renewed before it expires, and the next resume shows the new one", async () => {
  double.grantChanges = { expires_in_secs: 1 };
  await double.open();
  await double.phase("live");
  await until("a renewal", () => double.heard.some(({ type, handle }) => type === "refresh" && handle === "handle-1"));
  await until("the next one rotates", () => double.heard.some(({ type, handle }) => type === "refresh" && handle === "handle-2"));
  double.cut();
  double.serviceUp = true;
  await until("a resume", () => double.heard.some(({ type, token }) => type === "resume" && token === "token-2"));
  assert.equal(offers().length, 1);
});

test("an agent host that restarted gets a new connection, and the picture comes back", async () => {
  await double.open();
  await double.phase("live");
  await double.agent.restart();
  double.toViewer({ type: "agent_online", online: false });
  double.toViewer({ type: "agent_online", online: true });
  await until("a second offer", () => offers().length === 2);
  assert.notEqual(fingerprint(offers()[0]), fingerprint(offers()[1]));
  await until("live again", async () => (await double.state()).tone === "good");
  await framesGoOn();
});

test("an agent host that only lost its socket keeps its connection", async () => {
  await double.open();
  await double.phase("live");
  await until("the channels are open", async () => Boolean(await double.agent.page.evaluate(() => window.host.channels.control)));
  double.toViewer({ type: "agent_online", online: false });
  await until("it is said", async () => /lost touch/.test((await double.state()).detail));
  double.toViewer({ type: "agent_online", online: true });
  await until("all is well", async () => (await double.state()).tone === "good");
  await framesGoOn();
  assert.equal(offers().length, 1);
});

test("a host that falls silent is noticed, and the picture is live again when it answers", async () => {
  await double.open();
  await double.phase("live");
  await until("the channels are open", async () => Boolean(await double.agent.page.evaluate(() => window.host.channels.control)));
  await double.agent.setDeaf(true);
  assert.equal((await double.phase("reconnecting")).title, "Reconnecting: the picture may pause");
  await until("a restart of ICE", () => offers().length >= 2);
  assert.equal(fingerprint(offers()[0]), fingerprint(offers()[1]));
  await double.agent.setDeaf(false);
  await double.phase("live");
  await framesGoOn();
});

test("moving to another relay restarts ICE on the same connection", async () => {
  await double.open();
  await double.phase("live");
  double.toViewer({ type: "move_relay", ice_servers: [] });
  await until("a second offer", () => offers().length === 2);
  assert.equal(fingerprint(offers()[0]), fingerprint(offers()[1]));
  await framesGoOn();
  assert.equal((await double.state()).phase, "live");
});

test("an expired session is one click away from the next", async () => {
  const page = await double.open();
  await double.phase("live");
  double.toViewer({ type: "closed", problem: problem("SESSION_EXPIRED") });
  const state = await double.phase("failed");
  assert.deepEqual([state.title, state.code], ["Session expired", "SESSION_EXPIRED"]);
  assert.equal(await page.locator("#announce").innerText(), "Session expired. This is the cause. This is the next step.");
  // The button has the focus: Enter is enough.
  await page.keyboard.press("Enter");
  await double.phase("live");
  assert.equal(double.heard.filter(({ type }) => type === "open").length, 2);
});

test("a desktop that is not online is waited for", async () => {
  const grant = double.greet;
  double.greet = () => [{ type: "closed", problem: problem("INSTANCE_NOT_ONLINE") }];
  await double.open();
  await until("it is said", async () => (await double.state()).code === "INSTANCE_NOT_ONLINE");
  assert.equal((await double.state()).title, "The desktop is not online");
  double.greet = grant;
  await double.phase("live");
});

test("a refused key is final and says so", async () => {
  double.ticket = () => [401, problem("ACCESS_DENIED")];
  await double.open();
  const state = await double.phase("failed");
  assert.equal(state.detail, "This is the cause. This is the next step.");
});

test("what the agent host closes is closed, with its reason", async () => {
  await double.open();
  await double.phase("live");
  await until("the channels are open", async () => Boolean(await double.agent.page.evaluate(() => window.host.channels.control)));
  const json = JSON.stringify(problem("SESSION_IDLE"));
  await double.agent.say([0x35, ...Buffer.from(json)]);
  assert.equal((await double.phase("failed")).code, "SESSION_IDLE");
});

test("leaving says so to the service and can be undone by one click", async () => {
  const page = await double.open();
  await double.phase("live");
  await page.click("#leave");
  assert.equal((await double.phase("failed")).code, "SESSION_ENDED");
  await until("the service knows", () => double.heard.some(({ type }) => type === "close"));
  await page.click("text=Connect again");
  await double.phase("live");
});

test("a phone sees the picture, the toolbar and the words without scrolling sideways", async () => {
  const page = await double.open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await double.phase("live");
  for (const id of ["#toolbar", "#show-path", "#leave", "#touch-keyboard"]) {
    const box = await page.locator(id).boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 390, `${id} ${JSON.stringify(box)}`);
  }
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
});
