/**
 * What plays on the desktop is heard in the browser and in the native viewer, and the end of its
 * sound server hurts no picture.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { FLAGS } from "../chromium.mjs";
import { startDisplay } from "./display.mjs";
import { House, PROGRAMS, Viewer, until } from "./house.mjs";

const RATE = 48_000;
/** Tones of the two sides, in Hz: far apart, and neither an overtone of the other. */
const TONES = { left: 440, right: 1_000 };
const SECONDS = 30;
/** How far a found frequency may be off: two bins of the analyser. */
const TOLERANCE_HZ = 12;

let house;
let browser;
let tone;
/** Programs that are not the desktop's. */
const elsewhere = [];

before(async () => {
  house = await House.up("sound");
  browser = await Viewer.launch({ args: [...FLAGS, "--autoplay-policy=no-user-gesture-required"] });
  tone = `${house.state}/tone.wav`;
  writeFileSync(tone, wav(SECONDS));
});
after(async () => {
  for (const program of elsewhere) program.kill("SIGKILL");
  await browser?.close();
  await house?.down();
});

/** A WAV of 16 bits, one tone on each side. */
function wav(seconds) {
  const frames = RATE * seconds;
  const bytes = Buffer.alloc(44 + frames * 4);
  bytes.write("RIFF", 0);
  bytes.writeUInt32LE(36 + frames * 4, 4);
  bytes.write("WAVEfmt ", 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(2, 22);
  bytes.writeUInt32LE(RATE, 24);
  bytes.writeUInt32LE(RATE * 4, 28);
  bytes.writeUInt16LE(4, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write("data", 36);
  bytes.writeUInt32LE(frames * 4, 40);
  for (let n = 0; n < frames; n += 1) {
    bytes.writeInt16LE(Math.round(8_000 * Math.sin((2 * Math.PI * TONES.left * n) / RATE)), 44 + n * 4);
    bytes.writeInt16LE(Math.round(8_000 * Math.sin((2 * Math.PI * TONES.right * n) / RATE)), 46 + n * 4);
  }
  return bytes;
}

/** The loudest frequency on each side of what the page plays, in Hz; 0 for silence. */
function loudest(viewer) {
  return viewer.page.evaluate(async () => {
    const stream = document.querySelector("audio")?.srcObject;
    if (!stream) return { left: 0, right: 0 };
    if (!window.ears || window.ears.stream !== stream) {
      const context = new AudioContext();
      await context.resume();
      const splitter = context.createChannelSplitter(2);
      context.createMediaStreamSource(stream).connect(splitter);
      const analysers = [0, 1].map((channel) => {
        const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
        splitter.connect(analyser, channel);
        return analyser;
      });
      window.ears = { stream, context, analysers };
    }
    const [left, right] = window.ears.analysers.map((analyser) => {
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      const at = bins.indexOf(Math.max(...bins));
      return bins[at] < -60 ? 0 : (at * window.ears.context.sampleRate) / analyser.fftSize;
    });
    return { left, right };
  });
}

async function hears(viewer, what) {
  let found;
  const near = (side) => Math.abs(found[side] - what[side]) <= TOLERANCE_HZ;
  await until("the tones are heard", async () => {
    found = await loudest(viewer);
    return near("left") && near("right");
  }).catch((error) => assert.fail(`${error.message}; heard ${JSON.stringify(found)}`));
}

function play() {
  return house.run("paplay", tone);
}

test("both tones a program plays are heard in the browser, each on its side, and then silence", async () => {
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.live();
  const program = play();
  await hears(viewer, TONES);
  assert.equal(await viewer.page.evaluate(() => document.querySelector("audio").paused), false);
  program.kill("SIGKILL");
  await hears(viewer, { left: 0, right: 0 });
  const packets = () => viewer.page.evaluate(async () => (await window.multiclaw.stats()).soundPackets);
  let before = -1;
  await until("silence sends no packets", async () => {
    const last = before;
    before = await packets();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    return before > 0 && before === last;
  });
  await viewer.close();
});

test("sound and picture come in two streams, so that neither waits for the other", async () => {
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.live();
  const [sound, picture] = await viewer.page.evaluate(() =>
    ["audio", "video"].map((name) => document.querySelector(name).srcObject?.id),
  );
  assert.ok(sound && picture);
  assert.notEqual(sound, picture);
  await viewer.close();
});

test("the mute button silences, says so, and is remembered", async () => {
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.live();
  const muted = () => viewer.page.evaluate(() => document.querySelector("audio").muted);
  assert.equal(await muted(), false);
  await viewer.tool("Mute the sound");
  assert.equal(await muted(), true);
  const button = viewer.page.getByRole("button", { name: "Mute the sound", pressed: true });
  await until("the button says so", () => button.count());
  await viewer.page.goto(house.viewer_url);
  await viewer.page.reload();
  await until("it is remembered", muted);
  await viewer.close();
});

test("a killed sound server leaves the picture running and is heard again when it is back", async () => {
  const viewer = await Viewer.open(browser, house.viewer_url);
  await viewer.live();
  let program = play();
  await hears(viewer, TONES);
  const session = await viewer.page.evaluate(() => window.multiclaw.session());
  await house.kill("sound-server");
  program.kill("SIGKILL");
  await house.draw(815);
  await viewer.showsPattern();
  await viewer.runs();
  assert.equal(await viewer.page.evaluate(() => window.multiclaw.session()), session);
  await until("the new server answers", () => house.ask("pactl", "info"));
  program = play();
  await hears(viewer, TONES);
  program.kill("SIGKILL");
  await viewer.close();
});


function connect(env, ...flags) {
  const args = ["connect", "--cloud", house.cloud, "--instance", house.instance, "--token-file", `${house.state}/access-key`];
  const options = { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] };
  const viewer = spawn(`${PROGRAMS}/multiclaw-viewer`, [...args, ...flags], options);
  elsewhere.push(viewer);
  return viewer;
}

async function counted(...flags) {
  const viewer = connect({}, "--headless", "--stats", "json", "--duration", "4", ...flags);
  let lines = "";
  viewer.stdout.on("data", (text) => (lines += text));
  assert.equal(await new Promise((resolve) => viewer.once("exit", resolve)), 0);
  return JSON.parse(lines.trim().split("\n").at(-1)).audio;
}

test("a headless viewer counts the packets, and a muted one gets none", async () => {
  const program = play();
  const heard = await counted();
  assert.ok(heard.packets > 100 && heard.bytes > heard.packets * 20, JSON.stringify(heard));
  assert.deepEqual(await counted("--mute"), { packets: 0, bytes: 0, lost: 0 });
  program.kill("SIGKILL");
});

/** How strong a frequency is in one side of recorded sound, 0 to 1 (Goertzel). */
function strength(samples, side, frequency) {
  const one = samples.filter((_, index) => index % 2 === side);
  const factor = 2 * Math.cos((2 * Math.PI * frequency) / RATE);
  let [before, last, energy] = [0, 0, 0];
  for (const sample of one) {
    [before, last] = [last, sample + factor * last - before];
    energy += sample * sample;
  }
  const power = last * last + before * before - factor * last * before;
  return energy === 0 ? 0 : (2 * power) / (one.length * energy);
}

/** A sound server with one sink that plays into nothing: the ears of the person at the viewer. */
async function startEars(folder) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const [socket, env] = [`${folder}/native`, { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder }];
  const modules = ["module-null-sink sink_name=ears rate=48000", `module-native-protocol-unix socket=${socket}`];
  const args = ["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--realtime=no"];
  const load = modules.flatMap((module) => ["-L", module]);
  elsewhere.push(spawn("pulseaudio", [...args, ...load], { env, stdio: "ignore" }));
  await until("the ears are there", () => existsSync(socket));
  return { PULSE_SERVER: `unix:${socket}`, HOME: folder };
}

test("the native viewer plays both tones, each on its side", async () => {
  const ears = await startEars(`${house.state}/ears`);
  const program = play();
  const viewer = connect({ ...ears, DISPLAY: await startDisplay(elsewhere, "1000x700x24"), WAYLAND_DISPLAY: "" });
  const record = ["1", "parec", "-d", "ears.monitor", "--rate=48000", "--channels=2", "--format=s16le", "--raw"];
  const options = { env: { ...process.env, ...ears }, stdio: ["ignore", "pipe", "ignore"], maxBuffer: 1 << 22 };
  let found;
  await until("the tones are played", () => {
    let bytes;
    try {
      bytes = execFileSync("timeout", record, options);
    } catch (error) {
      bytes = error.stdout;
    }
    const samples = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
    found = [strength(samples, 0, TONES.left), strength(samples, 1, TONES.right), strength(samples, 0, TONES.right)];
    return found[0] > 0.5 && found[1] > 0.5 && found[2] < 0.1;
  }).catch((error) => assert.fail(`${error.message}; found ${found}`));
  viewer.kill("SIGTERM");
  program.kill("SIGKILL");
});
