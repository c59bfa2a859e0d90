/**
 * The browser viewer. Joins the session, which `link/start.js` has begun, to the page: words for its
 * state, a toolbar, the desktop's input and picture.
 */

// First: it begins the session before anything else here runs.
import { attachPage, firstSession, launch as firstLaunch, obstacle } from "./link/start.js";
import { placeIcons } from "../../web/icons.js";
import { rememberMode, takeLaunch } from "./link/launch.js";
import { parseProblem } from "./link/problem.js";
import { firstFacts } from "./link/facts.js";
import { Session } from "./link/session.js";
import { Desktop } from "./page/desktop.js";
import { byId } from "./page/dom.js";
import { Sound } from "./picture/sound.js";
import { Statistics } from "./page/statistics.js";
import { Status, sayBriefly } from "./page/status.js";
import { Toolbar } from "./page/toolbar.js";
import { qualityNote } from "./picture/quality.js";
import { describe } from "./page/words.js";

/** The first picture is painted by then; opening the speakers would hold it up, in milliseconds. */
const SOUND_AFTER_MS = 100;

const VIEW_ONLY = /** @type {const} */ ({
  role: "view",
  clipboard_to_host: false,
  clipboard_to_viewer: false,
});

let launch = firstLaunch;
let session = firstSession;
/** Facts while there is no session to ask. */
let facts = factsWithout();

/** @type {import("./link/session.js").SessionPorts} */
const page = {
  changed: () => queueMicrotask(render),
  picture: (stream) => desktop.picture.show(stream),
  sound: (stream) => sound.show(stream),
  opened: () => desktop.restart(),
  handle,
};

const statisticsPorts = {
  report: async () => (await session?.peer?.stats()) ?? null,
  path: () => session?.facts.path ?? null,
  times: () => desktop.picture.takeTimes(),
};
const desktop = new Desktop({
  channels: () => session?.peer?.channels ?? null,
  policy: () => session?.grant?.policy ?? VIEW_ONLY,
  live: () => session?.facts.media === "live",
  firstFrame: () => {
    session?.pictureShown();
    setTimeout(() => sound.begin(), SOUND_AFTER_MS);
  },
  say: sayBriefly,
});
const sound = new Sound(/** @type {HTMLAudioElement} */ (byId("sound")), localStorage);
const statistics = new Statistics(statisticsPorts);
const unknown = { age: null, transit: null, present: null };
const testStatistics = new Statistics({ ...statisticsPorts, times: () => unknown });
const status = new Status(act);
const toolbar = new Toolbar({
  mode: chooseMode,
  fit: (choice) => desktop.chooseFit(choice),
  quality: (choice) => {
    desktop.chooseQuality(choice);
    render();
  },
  lockPointer: () => void desktop.pointer.lock().catch(() => sayBriefly("The pointer was not locked.")),
  typeByTouch: () => desktop.focus(),
  mute: () => {
    sound.toggleMuted();
    toolbar.showMuted(sound.muted);
  },
  statistics: (open) => {
    desktop.picture.watch(open);
    statistics.setOpen(open);
  },
  leave,
  backToDesktop: () => desktop.focus(),
});

placeIcons(document);
toolbar.showMuted(sound.muted);
document.title = `${launch.instance || "Desktop"} · MultiClaw`;
byId("card-name").textContent = launch.instance;
setInterval(render, 1_000);
addEventListener("online", () => session?.hurry());
addEventListener("hashchange", relaunch);
navigator.connection?.addEventListener("change", () => session?.hurry());
render();
attachPage(page);

/** Read-only, for tests and for support. */
Object.defineProperty(window, "multiclaw", {
  value: Object.freeze({
    state: () => Object.freeze({ ...words(), mode: session?.facts.mode ?? launch.mode }),
    path: () => session?.facts.path ?? null,
    stats: () => testStatistics.read(),
    session: () => session?.grant?.session ?? null,
  }),
});

function open() {
  session?.leave();
  session = null;
  desktop.picture.clear();
  facts = factsWithout();
  if (facts.over) return;
  session = new Session(launch, page);
  session.start();
}

/** @returns {import("./link/facts.js").Facts} */
function factsWithout() {
  const problem = obstacle(launch);
  return { ...firstFacts(launch.mode), problem, over: problem !== null };
}

function handle(/** @type {import("./input/control.js").HostMessage} */ message) {
  if (message.type === "notice") {
    const problem = parseProblem(message.json);
    if (problem) sayBriefly(`${problem.cause} ${problem.next_step}`);
  }
  if (message.type === "host-stats") {
    statistics.handleHost(message);
    testStatistics.handleHost(message);
  }
  desktop.handle(message);
  if (message.type === "quality") render();
}

function words() {
  return describe(session?.facts ?? facts, performance.now());
}

function render() {
  const said = words();
  const wasLive = document.body.dataset.phase === "live";
  const watches = session?.grant?.policy.role === "view";
  status.show(said, watches);
  toolbar.setWanted(said.phase === "live" || said.phase === "reconnecting");
  const { choice, made } = desktop.quality;
  toolbar.showChoices({
    mode: session?.facts.mode ?? launch.mode,
    fit: desktop.fit.choice,
    quality: watches ? made : choice,
    note: said.phase === "live" ? qualityNote(choice, made, watches) : "",
    watches,
  });
  if (said.phase === "live" && !wasLive && matchMedia("(pointer: fine)").matches) desktop.focus();
}

function act(/** @type {import("./page/words.js").Action} */ action) {
  if (action === "retry") return session?.hurry();
  if (action === "status") return location.assign("/status/");
  if (action !== "connect") remember(action);
  open();
  render();
}

function chooseMode(/** @type {import("./link/launch.js").Mode} */ mode) {
  remember(mode);
  session?.setMode(mode);
}

function remember(/** @type {import("./link/launch.js").Mode} */ mode) {
  launch = { ...launch, mode };
  rememberMode(sessionStorage, launch.instance, mode);
}

function leave() {
  session?.leave();
  session = null;
  facts = { ...firstFacts(launch.mode), problem: LEFT, over: true };
  render();
}

/** The tab closes or goes elsewhere: the desktop need not keep the session for it. */
addEventListener("pagehide", () => session?.leave());
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted || facts.over) return;
  open();
  render();
});

/** Another link to this desktop was opened in this tab. */
function relaunch() {
  if (!location.hash) return;
  launch = takeLaunch({ location, history, storage: sessionStorage });
  open();
  render();
}

const LEFT = {
  code: "SESSION_ENDED",
  cause: "You disconnected. Programs on the desktop go on running.",
  next_step: "",
};
