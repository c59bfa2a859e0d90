/**
 * The picture: one `<video>`, muted so that it may start by itself. Tells when the first frame of a
 * stream is on the screen, and, while somebody looks at the statistics, how old frames are when
 * they are shown.
 */

/**
 * @typedef {object} FrameTimes in milliseconds; `null` where the browser does not tell
 * @property {number | null} age from capture to the screen
 * @property {number | null} transit from capture to the last packet
 * @property {number | null} present from the decoder to the screen
 */

export class Picture {
  #video;
  #firstFrame;
  /** The frames since they were last asked for. @type {FrameTimes[]} */
  #frames = [];
  #watching = false;

  /**
   * @param {HTMLVideoElement} video
   * @param {() => void} firstFrame
   */
  constructor(video, firstFrame) {
    this.#video = video;
    this.#firstFrame = firstFrame;
    video.addEventListener("loadeddata", () => this.#firstFrame());
  }

  show(/** @type {MediaStream} */ stream) {
    this.#video.srcObject = stream;
    this.#video.play().catch(() => {
      // A browser that wants a gesture first gets the next one.
      addEventListener("pointerdown", () => this.#video.play(), { once: true });
    });
  }

  /** Nothing of an earlier session stays. */
  clear() {
    this.#video.srcObject = null;
  }

  get size() {
    return { width: this.#video.videoWidth, height: this.#video.videoHeight };
  }

  /** Frames are looked at one by one only while `watching`: it costs a callback each. */
  watch(/** @type {boolean} */ watching) {
    const start = watching && !this.#watching;
    this.#watching = watching;
    if (start) this.#next();
  }

  /** Medians of the frames shown since the last call. @returns {FrameTimes} */
  takeTimes() {
    const frames = this.#frames.splice(0);
    return {
      age: median(frames.map(({ age }) => age)),
      transit: median(frames.map(({ transit }) => transit)),
      present: median(frames.map(({ present }) => present)),
    };
  }

  #next() {
    if (!this.#watching || !("requestVideoFrameCallback" in this.#video)) return;
    this.#video.requestVideoFrameCallback((_now, frame) => {
      this.#frames.push(frameTimes(frame));
      if (this.#frames.length > FRAMES_MAX) this.#frames.shift();
      this.#next();
    });
  }
}

/** @returns {FrameTimes} */
export function frameTimes(/** @type {VideoFrameCallbackMetadata} */ frame) {
  const { captureTime, receiveTime, expectedDisplayTime: shown, processingDuration } = frame;
  const decodedAfter = processingDuration === undefined ? undefined : processingDuration * 1000;
  return {
    age: between(captureTime, shown),
    transit: between(captureTime, receiveTime),
    present: decodedAfter === undefined || receiveTime === undefined
      ? null
      : between(receiveTime + decodedAfter, shown),
  };
}

/** The clocks of two machines are only estimated to agree; a time below zero says they do not. */
function between(/** @type {number | undefined} */ from, /** @type {number | undefined} */ to) {
  if (from === undefined || to === undefined) return null;
  const elapsed = to - from;
  return elapsed >= 0 && elapsed < AGE_MAX_MS ? elapsed : null;
}

function median(/** @type {(number | null)[]} */ times) {
  const known = times.filter((time) => time !== null).sort((a, b) => a - b);
  return known[Math.floor(known.length / 2)] ?? null;
}

/** Frames remembered at most, if nobody asks; older ones fall out. */
const FRAMES_MAX = 600;
/** A frame older than this is a wrong clock rather than a slow path, in milliseconds. */
const AGE_MAX_MS = 10_000;
