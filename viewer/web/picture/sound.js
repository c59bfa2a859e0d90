/**
 * What the desktop plays: one `<audio>` with a stream of its own, so that neither sound nor picture
 * waits for the other. A browser that wants a gesture first gets the next one. Whether it is muted
 * is kept in this browser.
 *
 * The first picture comes first: while a browser opens its speakers, which takes it a tenth of a
 * second, it receives nothing.
 */

const STORED_AS = "multiclaw.muted";
/** What a browser takes for a gesture. */
const GESTURES = ["pointerdown", "keydown", "touchend"];

export class Sound {
  #audio;
  #storage;
  /** Until there is a picture. @type {MediaStream | null} */
  #waiting = null;
  #begun = false;
  #tryAgain = () => this.#play();

  /**
   * @param {HTMLAudioElement} audio
   * @param {Storage} storage
   */
  constructor(audio, storage) {
    this.#audio = audio;
    this.#storage = storage;
    audio.muted = storage.getItem(STORED_AS) === "yes";
  }

  get muted() {
    return this.#audio.muted;
  }

  show(/** @type {MediaStream} */ stream) {
    this.#waiting = stream;
    if (this.#begun) this.begin();
  }

  /** There is a picture. */
  begin() {
    this.#begun = true;
    if (!this.#waiting) return;
    this.#audio.srcObject = this.#waiting;
    this.#waiting = null;
    this.#play();
  }

  toggleMuted() {
    this.#audio.muted = !this.#audio.muted;
    this.#storage.setItem(STORED_AS, this.#audio.muted ? "yes" : "no");
    this.#play();
  }

  #play() {
    if (!this.#audio.srcObject) return;
    this.#audio.play().then(() => this.#listen(false), () => this.#listen(true));
  }

  #listen(/** @type {boolean} */ wanted) {
    for (const gesture of GESTURES) {
      if (wanted) addEventListener(gesture, this.#tryAgain, { capture: true });
      else removeEventListener(gesture, this.#tryAgain, { capture: true });
    }
  }
}
