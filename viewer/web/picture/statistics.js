/**
 * The browser's counters → figures a person can read: differences between two readings, per second
 * or per frame.
 */

import { selectedPair } from "../link/path.js";

/**
 * @typedef {object} Reading the counters of one moment
 * @property {number} atMs
 * @property {any} video
 * @property {any} audio
 * @property {any} pair
 * @property {any} codec
 *
 * @typedef {object} Figures
 * @property {number | null} roundTripMs
 * @property {number | null} bitrateBps
 * @property {number | null} framesPerSecond
 * @property {number | null} decodeMs per frame
 * @property {number | null} bufferMs per frame, from the last packet to the decoder
 * @property {number | null} lossPercent
 * @property {number} width
 * @property {number} height
 * @property {string} codec
 * @property {number} framesDecoded
 * @property {number} framesDropped
 * @property {number} keyFrameRequests
 * @property {number} bytesReceived
 * @property {number | null} soundBitrateBps
 * @property {number | null} soundLossPercent
 * @property {number} soundPackets
 */

/** @returns {Reading} */
export function takeReading(
  /** @type {Map<string, any> | RTCStatsReport} */ report,
  /** @type {number} */ atMs,
) {
  const entries = [.../** @type {Map<string, any>} */ (report).values()];
  const received = (/** @type {string} */ wanted) =>
    entries.find(({ type, kind }) => type === "inbound-rtp" && kind === wanted) ?? {};
  const [video, audio] = [received("video"), received("audio")];
  return { atMs, video, audio, pair: selectedPair(report) ?? {}, codec: report.get(video.codecId) ?? {} };
}

/** @returns {Figures} */
export function figures(/** @type {Reading} */ now, /** @type {Reading | null} */ before) {
  const gained = (/** @type {string} */ name) => difference(now.video[name], before?.video[name]);
  const heard = (/** @type {string} */ name) => difference(now.audio[name], before?.audio[name]);
  const seconds = before ? (now.atMs - before.atMs) / 1000 : null;
  const frames = gained("framesDecoded");
  const loss = (/** @type {typeof gained} */ counted) => {
    const [received, lost] = [counted("packetsReceived"), counted("packetsLost")];
    return received === null || lost === null ? null : ratio(lost, received + lost, 100);
  };
  const trip = now.pair.currentRoundTripTime;
  return {
    roundTripMs: trip === undefined ? null : trip * 1000,
    bitrateBps: ratio(gained("bytesReceived"), seconds, 8),
    framesPerSecond: ratio(frames, seconds, 1),
    decodeMs: ratio(gained("totalDecodeTime"), frames, 1000),
    bufferMs: ratio(gained("jitterBufferDelay"), gained("jitterBufferEmittedCount"), 1000),
    lossPercent: loss(gained),
    width: now.video.frameWidth ?? 0,
    height: now.video.frameHeight ?? 0,
    codec: codecWords(now.codec),
    framesDecoded: now.video.framesDecoded ?? 0,
    framesDropped: now.video.framesDropped ?? 0,
    keyFrameRequests: now.video.pliCount ?? 0,
    bytesReceived: now.video.bytesReceived ?? 0,
    soundBitrateBps: ratio(heard("bytesReceived"), seconds, 8),
    soundLossPercent: loss(heard),
    soundPackets: now.audio.packetsReceived ?? 0,
  };
}

/**
 * What of the way from capture to the last packet the host did not spend; where capture times are
 * not known, half of the round trip.
 */
export function networkMs(
  /** @type {number | null} */ transit,
  /** @type {{capture: number | null, encode: number | null, send: number | null}} */ host,
  /** @type {number | null} */ roundTrip,
) {
  const { capture, encode, send } = host;
  if (transit === null || capture === null || encode === null || send === null) {
    return roundTrip === null ? null : roundTrip / 2;
  }
  return Math.max(0, transit - capture - encode - send);
}

/** "H.264 4:4:4" or "H.264": the profile that matters to a reader is the one with all colours. */
function codecWords(/** @type {{mimeType?: string, sdpFmtpLine?: string}} */ codec) {
  if (!codec.mimeType) return "";
  const name = codec.mimeType.replace(/^video\//i, "").replace(/^H264$/i, "H.264");
  return /profile-level-id=f4/i.test(codec.sdpFmtpLine ?? "") ? `${name} 4:4:4` : name;
}

function difference(/** @type {number | undefined} */ now, /** @type {number | undefined} */ before) {
  return now === undefined || before === undefined ? null : Math.max(0, now - before);
}

function ratio(
  /** @type {number | null} */ part,
  /** @type {number | null} */ whole,
  /** @type {number} */ factor,
) {
  return part === null || !whole ? null : (part / whole) * factor;
}
