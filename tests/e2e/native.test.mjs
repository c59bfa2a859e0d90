/** The native viewer: headless and in a window on a display of its own, on the real house. */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { startDisplay } from "./display.mjs";
import { COLOURS, House, PROGRAMS, until } from "./house.mjs";

/** Large enough for the desktop's window and its frame. */
const DISPLAY_SIZE = "1700x1000x24";
const CODE = 4711;

let house;
let display;
const servers = [];
const viewers = [];

before(async () => {
  house = await House.up("native");
  await house.draw(CODE);
  display = await startDisplay(servers, DISPLAY_SIZE);
  servers.push(spawn("openbox", [], { env: env(), stdio: "ignore" }));
  // A layout that has every key the tests press: nothing is remapped while they are pressed.
  execFileSync("setxkbmap", ["de"], { env: env() });
});
afterEach(() => {
  for (const viewer of viewers.splice(0)) viewer.kill("SIGKILL");
});
after(async () => {
  for (const server of servers) server.kill("SIGKILL");
  await house?.down();
});

const env = () => ({ ...process.env, DISPLAY: display, WAYLAND_DISPLAY: "" });

function connect(...flags) {
  const args = ["connect", "--cloud", house.cloud, "--instance", house.instance, "--token-file", `${house.state}/access-key`];
  const viewer = spawn(`${PROGRAMS}/multiclaw-viewer`, [...args, ...flags], { env: env(), stdio: ["ignore", "pipe", "pipe"] });
  viewer.lines = "";
  viewer.errors = "";
  viewer.stdout.on("data", (text) => (viewer.lines += text));
  viewer.stderr.on("data", (text) => (viewer.errors += text));
  viewer.ended = new Promise((resolve) => viewer.once("exit", resolve));
  viewers.push(viewer);
  return viewer;
}

/** A headless session of three seconds: its statistics line by line, and its last picture. */
async function headless(name, ...flags) {
  const file = `${house.state}/${name}.ppm`;
  const viewer = connect("--headless", "--stats", "json", "--duration", "3", "--snapshot", file, ...flags);
  assert.equal(await viewer.ended, 0, viewer.errors);
  const lines = viewer.lines.trim().split("\n").map((line) => JSON.parse(line));
  return { last: lines.at(-1), picture: readPpm(readFileSync(file)) };
}

function readPpm(bytes) {
  const [, width, height] = /^P6\n(\d+) (\d+)\n255\n/.exec(bytes.subarray(0, 40).toString("latin1"));
  const from = bytes.length - width * height * 3;
  return { width: Number(width), at: (x, y) => bytes.readUIntBE(from + (y * width + x) * 3, 3) };
}

function showsPattern(picture) {
  COLOURS.forEach((colour, index) => {
    const seen = picture.at(600 + index * 32 + 16, 300 + 32 + 16);
    const apart = [16, 8, 0].map((bits) => Math.abs(((seen >> bits) & 255) - ((colour >> bits) & 255)));
    assert.ok(Math.max(...apart) < 24, `colour ${index} is ${seen.toString(16)}, drawn was ${colour.toString(16)}`);
  });
}

/** Where the window shows the code a program draws on the desktop. */
const findCode = () => JSON.parse(execFileSync(`${PROGRAMS}/lab-probe`, ["find", "--display", display, "--code", `${CODE}`]));
const xdotool = (...args) => execFileSync("xdotool", args.map(String), { env: env() }).toString().trim();

async function openWindow(...flags) {
  const viewer = connect(...flags);
  const find = () => xdotool("search", "--name", "MultiClaw").split("\n").at(-1);
  let id;
  await until("the window is there", () => {
    assert.equal(viewer.exitCode, null, viewer.errors);
    try {
      return (id = find());
    } catch {
      return false;
    }
  });
  await until("it is connected", () => /Connected|Using/.test(xdotool("getwindowname", id)));
  return { viewer, id, place: findCode() };
}

/** Moves the pointer to where the window shows this pixel of the desktop. */
function point({ place }, x, y) {
  const corner = { x: place.x - 600 * place.scale, y: place.y - 300 * place.scale };
  xdotool("mousemove", Math.round(corner.x + x * place.scale), Math.round(corner.y + y * place.scale));
}

/** Presses the left button there. */
function click(window, x, y) {
  point(window, x, y);
  xdotool("click", 1);
}

function written(file, text) {
  return until(`${file} has the text`, () => {
    try {
      return readFileSync(file, "utf8") === text;
    } catch {
      return false;
    }
  });
}

test("without a window the viewer decodes the pixels a program drew and says what it measured", async () => {
  const { last, picture } = await headless("direct");
  assert.equal(last.state, "live");
  assert.equal(last.path.kind, "host");
  assert.ok(last.first_frame_ms > 0);
  showsPattern(picture);
});

test("forced through the relay it shows the same, and the relay counted the bytes", async () => {
  const counted = await house.relayCounter("payload_bytes");
  const { last, picture } = await headless("relay", "--mode", "relay");
  assert.equal(last.path.kind, "relay");
  showsPattern(picture);
  const relayed = (await house.relayCounter("payload_bytes")) - counted;
  assert.ok(relayed >= last.bytes_received, `the relay counted ${relayed}, the viewer ${last.bytes_received}`);
});

test("a person types in the window and a real terminal answers, umlauts and all", async () => {
  const file = `${house.state}/typed-natively`;
  rmSync(file, { force: true });
  const window = await openWindow();
  assert.equal(window.place.scale, 1, "the window takes the desktop's size");
  click(window, 300, 300);
  await until("the window has the focus", () => xdotool("getwindowfocus") === window.id);
  await house.focused("XTerm");
  xdotool("type", "--delay", 20, `echo 'In a window: "seen" {1}~ äß€' > ${file}\n`);
  await written(file, `In a window: "seen" {1}~ äß€\n`);
});

test("the clipboard is shared both ways", async () => {
  await openWindow();
  const copy = (display, text) => {
    const owner = spawn("xclip", ["-selection", "clipboard", "-quiet"], { env: { ...env(), DISPLAY: display }, stdio: ["pipe", "ignore", "ignore"] });
    servers.push(owner);
    owner.stdin.end(text);
  };
  const paste = (display) => {
    try {
      return execFileSync("xclip", ["-selection", "clipboard", "-out"], { env: { ...env(), DISPLAY: display }, stdio: ["ignore", "pipe", "ignore"], timeout: 2000 }).toString();
    } catch {
      return "";
    }
  };
  copy(house.display, "from the desktop: ä€");
  await until("it arrives here", () => paste(display) === "from the desktop: ä€");
  copy(display, "from here: ß✓");
  const id = xdotool("search", "--name", "MultiClaw").split("\n").at(-1);
  // A window that gets the focus shares what was copied meanwhile.
  await until("it arrives on the desktop", () => {
    xdotool("windowunmap", "--sync", id);
    xdotool("windowmap", "--sync", id, "windowfocus", "--sync", id);
    return paste(house.display) === "from here: ß✓";
  });
});

test("an image is shared both ways, as the bytes it was", async () => {
  await openWindow();
  // Larger than one message, and it does not compress.
  const png = (seed) => {
    const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
    return Buffer.from(Array.from({ length: 300_000 }, (_, index) => signature[index] ?? (index * seed * 31) & 255));
  };
  const [theirs, ours, large] = [png(3), png(7), Buffer.concat([png(5), png(5), png(5)])];
  const copy = (display, bytes) => {
    const owner = spawn("xclip", ["-selection", "clipboard", "-target", "image/png", "-quiet"], { env: { ...env(), DISPLAY: display }, stdio: ["pipe", "ignore", "ignore"] });
    servers.push(owner);
    owner.stdin.end(bytes);
  };
  const paste = (display) => {
    const options = { env: { ...env(), DISPLAY: display }, stdio: ["ignore", "pipe", "ignore"], timeout: 2000, maxBuffer: 4e6 };
    try {
      return execFileSync("xclip", ["-selection", "clipboard", "-target", "image/png", "-out"], options);
    } catch {
      return Buffer.alloc(0);
    }
  };
  copy(house.display, theirs);
  await until("it arrives here", () => paste(display).equals(theirs));
  copy(display, ours);
  const id = xdotool("search", "--name", "MultiClaw").split("\n").at(-1);
  const focus = () => {
    xdotool("windowunmap", "--sync", id);
    xdotool("windowmap", "--sync", id, "windowfocus", "--sync", id);
  };
  await until("it arrives on the desktop", () => {
    focus();
    return paste(house.display).equals(ours);
  });
  // Past the bound nothing is sent, and what was there stays.
  copy(display, large);
  await until("the viewer says so", () => {
    focus();
    return /too large to send/.test(viewers.at(-1).errors);
  });
  assert.ok(paste(house.display).equals(ours));
});

test("the desktop takes the window's size when the two are to match", async () => {
  const { id } = await openWindow("--fit", "match");
  xdotool("windowsize", "--sync", id, 1200, 760);
  const size = () => execFileSync("xwininfo", ["-root", "-display", house.display]).toString();
  await until("the desktop is as large", () => /Width: 1200\s+Height: 760/.test(size()));
  // The server cleared the windows; a program draws again.
  await house.draw(CODE);
  assert.equal(findCode().scale, 1);
});

test("closing the window ends the session on the desktop at once", async () => {
  const log = () => readFileSync(`${house.state}/logs/agent-host.log`, "utf8").split(/session (?:closed|ended)/).length;
  const { viewer, id } = await openWindow();
  const before = log();
  // The window manager's way: it asks the window to close.
  xdotool("windowfocus", "--sync", id, "key", "alt+F4");
  await until("the viewer ends", () => viewer.exitCode === 0, 5_000);
  await until("the desktop says so", () => log() > before, 3_000);
});

test("an ended session says why in the window, and Enter connects again", async () => {
  const { viewer, id } = await openWindow();
  house.signal("agent-host", "SIGSTOP");
  await until("the window says that it ended", () => /Press Enter/.test(xdotool("getwindowname", id)), 60_000);
  house.signal("agent-host", "SIGCONT");
  // Until the desktop is back with the service, connecting again ends with another reason.
  await until("it is connected again", () => {
    const title = xdotool("getwindowname", id);
    if (/Press Enter/.test(title)) xdotool("windowfocus", "--sync", id, "key", "Return");
    return /Connected/.test(title);
  });
  assert.equal(viewer.exitCode, null);
});

test("a viewer that freezes holds no button for long, and its picture goes on when it thaws", async () => {
  const window = await openWindow();
  const client = house.run("xev", "-event", "button", "-geometry", "400x300+100+400");
  let events = "";
  client.stdout.on("data", (text) => (events += text));
  const named = () => house.ask("xdotool", "search", "--onlyvisible", "--name", "Event Tester");
  await until("the client is on the screen", named);
  const [, x, y] = /Position: (\d+),(\d+)/.exec(house.ask("xdotool", "getwindowgeometry", named().trim())).map(Number);
  point(window, x + 200, y + 150);
  xdotool("mousedown", 1);
  await until("the desktop has the button down", () => /ButtonPress/.test(events));
  window.viewer.kill("SIGSTOP");
  // Within the silence after which a path counts as dead, and not of a session's life.
  await until("the desktop lets go of it", () => /ButtonRelease/.test(events), 10_000);
  client.kill("SIGKILL");
  window.viewer.kill("SIGCONT");
  xdotool("mouseup", 1);
  await house.draw(CODE + 1);
  const shown = execFileSync(`${PROGRAMS}/lab-probe`, ["find", "--display", display, "--code", `${CODE + 1}`]);
  assert.equal(JSON.parse(shown).scale, 1);
});

test("where no window can be opened one sentence says what to do", async () => {
  const viewer = spawn(`${PROGRAMS}/multiclaw-viewer`, ["connect", "--cloud", house.cloud, "--instance", "desk", "--token-file", `${house.state}/access-key`], {
    env: { PATH: process.env.PATH },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  viewer.stderr.on("data", (text) => (said += text));
  assert.equal(await new Promise((resolve) => viewer.once("exit", resolve)), 1);
  assert.match(said, /set DISPLAY or WAYLAND_DISPLAY, or add --headless/);
});
