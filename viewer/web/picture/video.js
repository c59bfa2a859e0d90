/**
 * The picture: one `<video>`, muted so that it may start by itself. Tells when the first frame of a
 * stream is on the screen, and, while somebody looks at the statistics, how old frames are when
 * they are shown.
 */

export class Picture {
  #video;
  #firstFrame;
  /** Ages of the frames since they were last asked for, in milliseconds. @type {number[]} */
  #ages = [];
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

  get size() {
    return { width: this.#video.videoWidth, height: this.#video.videoHeight };
  }

  /** Frames are looked at one by one only while `watching`: it costs a callback each. */
  watch(/** @type {boolean} */ watching) {
    const start = watching && !this.#watching;
    this.#watching = watching;
    if (start) this.#next();
  }

  /** The median age of the frames shown since the last call, `null` where it is not known. */
  takeAgeMs() {
    const sorted = this.#ages.splice(0).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? null;
  }

  #next() {
    if (!this.#watching || !("requestVideoFrameCallback" in this.#video)) return;
    this.#video.requestVideoFrameCallback((_now, frame) => {
      const age = frame.captureTime === undefined ? NaN : frame.expectedDisplayTime - frame.captureTime;
      // The clocks of two machines are only estimated to agree; an age below zero says they do not.
      if (age >= 0 && age < AGE_MAX_MS) this.#ages.push(age);
      this.#next();
    });
  }
}

/** A frame older than this is a wrong clock rather than a slow path, in milliseconds. */
const AGE_MAX_MS = 10_000;
