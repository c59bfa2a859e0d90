/**
 * The statistics panel: counters are read once a second, and only while it is open.
 */

import { bitrate, byteCount, milliseconds } from "../../../web/words.js";
import { figures, networkMs, takeReading } from "../picture/statistics.js";
import { byId } from "./dom.js";
import { pathWords } from "./words.js";

const INTERVAL_MS = 1_000;
/** The full width of a stage's bar, in milliseconds: a frame of 30 a second. */
const BAR_MS = 33;
/** How finely colours are kept (`protocol/src/control/chroma.rs`): 4:2:0 has one for four pixels. */
const CHROMAS = ["4:2:0", "4:4:4"];
/** Encoders as the agent host numbers them (`protocol/src/control.rs`). */
const ENCODERS = ["unknown", "x264", "OpenH264", "VAAPI", "NVENC"];

/**
 * @typedef {Extract<import("../input/control.js").HostMessage, {type: "host-stats"}>} HostStats
 * @typedef {object} StatisticsPorts
 * @property {() => Promise<RTCStatsReport | null>} report
 * @property {() => import("../link/path.js").Path | null} path
 * @property {() => import("../picture/video.js").FrameTimes} times
 */

export class Statistics {
  #ports;
  /** @type {import("../picture/statistics.js").Reading | null} */
  #before = null;
  /** @type {HostStats | null} */
  #host = null;
  #timer = 0;

  /** @param {StatisticsPorts} ports */
  constructor(ports) {
    this.#ports = ports;
  }

  handleHost(/** @type {HostStats} */ stats) {
    this.#host = stats;
  }

  setOpen(/** @type {boolean} */ open) {
    clearInterval(this.#timer);
    if (!open) return;
    this.#before = null;
    void this.#update();
    this.#timer = Number(setInterval(() => void this.#update(), INTERVAL_MS));
  }

  /** The figures since the reading before, for the panel and for tests. */
  async read() {
    const report = await this.#ports.report();
    if (!report) return null;
    const now = takeReading(report, performance.now());
    const found = figures(now, this.#before);
    this.#before = now;
    return { ...found, times: this.#ports.times(), path: this.#ports.path(), host: this.#host };
  }

  async #update() {
    const found = await this.read();
    if (!found) return;
    const size = found.width ? `${found.width} × ${found.height}` : "–";
    const rate = found.framesPerSecond;
    fillFacts(byId("statistics-facts"), [
      ["Path", pathWords(found.path)],
      ["Round trip", milliseconds(found.roundTripMs)],
      ["Bitrate", bitrate(found.bitrateBps)],
      ["Frames", rate === null ? "–" : `${rate.toFixed(rate < 10 ? 1 : 0)} a second`],
      ["Resolution", size],
      ["Decoding", `${milliseconds(found.decodeMs)} a frame`],
      ["Codec", found.codec || "–"],
      ["Encoder", this.#host ? (ENCODERS[this.#host.encoder] ?? "another") : "–"],
      ["Colour", this.#host ? (CHROMAS[this.#host.chroma] ?? "another") : "–"],
      ["Loss", percent(found.lossPercent)],
      ["Dropped frames", String(found.framesDropped)],
      ["Received", byteCount(found.bytesReceived)],
      ["Sound", bitrate(found.soundBitrateBps)],
      ["Sound lost", percent(found.soundLossPercent)],
    ]);
    this.#fillStages(found);
  }

  #fillStages(/** @type {NonNullable<Awaited<ReturnType<Statistics["read"]>>>} */ found) {
    const host = this.#host;
    const stages = {
      capture: host ? host.captureUs / 1000 : null,
      encode: host ? host.encodeUs / 1000 : null,
      send: host ? host.queueUs / 1000 : null,
    };
    fillBars(byId("statistics-stages"), [
      ["Capture", stages.capture],
      ["Encode", stages.encode],
      ["Send", stages.send],
      ["Network", networkMs(found.times.transit, stages, found.roundTripMs)],
      ["Buffer", found.bufferMs],
      ["Decode", found.decodeMs],
      ["Present", found.times.present],
    ]);
    const age = found.times.age;
    const words = age === null ? "" : `A frame is ${milliseconds(age)} old when it is shown.`;
    byId("statistics-age").textContent = words;
  }
}

function percent(/** @type {number | null} */ share) {
  return share === null ? "–" : `${share.toFixed(1)} %`;
}

function fillFacts(/** @type {HTMLElement} */ list, /** @type {[string, string][]} */ rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => [term("dt", name), term("dd", value)]));
}

function fillBars(/** @type {HTMLElement} */ list, /** @type {[string, number | null][]} */ rows) {
  const nodes = rows.flatMap(([name, ms]) => {
    const bar = term("dd", "");
    bar.className = "bar";
    const fill = document.createElement("span");
    fill.style.inlineSize = `${Math.min(100, ((ms ?? 0) / BAR_MS) * 100)}%`;
    bar.append(fill);
    const value = term("dd", milliseconds(ms));
    return [term("dt", name), bar, value];
  });
  list.replaceChildren(...nodes);
}

function term(/** @type {"dt" | "dd"} */ kind, /** @type {string} */ text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}
