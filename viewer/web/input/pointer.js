/**
 * Mouse, pen, touch and wheel on the picture → messages. Motion goes through `motion.js`; buttons
 * and wheel carry their position, so that they land where they were made.
 */

import { WHERE_IT_IS, button as encodeButton, wheel as encodeWheel } from "./control.js";
import { desktopPoint, scaleOf } from "./geometry.js";
import { Motion } from "./motion.js";
import { TouchPointer } from "./touch.js";
import { WheelCounter } from "./wheel.js";

/** X11 buttons in the order of the bits of `PointerEvent.buttons`. */
const X11_BUTTONS = [1, 3, 2, 8, 9];

/**
 * @typedef {object} PointerPorts
 * @property {(message: Uint8Array<ArrayBuffer>) => void} sendInput
 * @property {(message: Uint8Array<ArrayBuffer>) => void} sendPointer
 * @property {() => import("./geometry.js").Size} screen the desktop's size in pixels
 * @property {() => boolean} enabled whether input is wanted at all
 * @property {(byFinger: boolean) => void} touched somebody pressed on the picture
 */

export class Pointer {
  #stage;
  #ports;
  #motion;
  #wheel = new WheelCounter();
  #touch = new TouchPointer();
  /** @type {number | null} */
  #longPress = null;
  /** X11 buttons that are down. @type {Set<number>} */
  #held = new Set();
  /** The pointer was locked and has not moved since. */
  #freshlyLocked = false;

  /**
   * @param {HTMLElement} stage what the picture fills
   * @param {PointerPorts} ports
   */
  constructor(stage, ports) {
    this.#stage = stage;
    this.#ports = ports;
    this.#motion = new Motion(ports.sendPointer);
    // Raw updates come before the frame they are painted in; where a browser has none, or makes
    // none of an injected event, the ordinary ones say the same a little later.
    for (const type of ["pointerrawupdate", "pointermove"]) {
      this.#on(type, (event) => this.#handleMove(/** @type {PointerEvent} */ (event)));
    }
    this.#on("pointerdown", (event) => this.#handleDown(/** @type {PointerEvent} */ (event)));
    this.#on("pointerup", (event) => this.#handleUp(/** @type {PointerEvent} */ (event)));
    this.#on("pointercancel", (event) => this.#handleCancel(/** @type {PointerEvent} */ (event)));
    this.#on("wheel", (event) => this.#handleWheel(/** @type {WheelEvent} */ (event)));
    this.#on("contextmenu", (event) => event.preventDefault());
    document.addEventListener("pointerlockchange", () => {
      this.#freshlyLocked = this.locked;
    });
  }

  get locked() {
    return document.pointerLockElement === this.#stage;
  }

  /** Takes the pointer for programs that turn a view with it; `Escape` gives it back. */
  async lock() {
    try {
      await this.#stage.requestPointerLock({ unadjustedMovement: true });
    } catch {
      await this.#stage.requestPointerLock();
    }
  }

  /** A new connection: its host knows of no button and no position. */
  restart() {
    this.#held.clear();
    this.#touch.cancel();
    this.#motion.restart();
  }

  #on(/** @type {string} */ type, /** @type {(event: Event) => void} */ handle) {
    const listener = (/** @type {Event} */ event) => this.#ports.enabled() && handle(event);
    this.#stage.addEventListener(type, listener, { passive: false });
  }

  #handleMove(/** @type {PointerEvent} */ event) {
    if (event.pointerType === "touch") {
      if (event.type === "pointermove") this.#act(this.#touch.handleMove(this.#finger(event)));
      return;
    }
    // A second button that goes down or up while one is held is told as a motion.
    if (event.button >= 0) return this.#syncButtons(event);
    if (!this.locked) return this.#motion.moveTo(this.#at(event), event.timeStamp);
    // Only one of the two kinds of event may count here: movements add up.
    const raw = "onpointerrawupdate" in this.#stage;
    if (raw !== (event.type === "pointerrawupdate")) return;
    // Chromium on X11 takes the pointer to the middle of its window as it locks it, and counts that
    // way in with the first motion: hundreds of pixels nobody moved.
    if (this.#freshlyLocked) {
      this.#freshlyLocked = false;
      return;
    }
    const scale = 1 / scaleOf(this.#space(), this.#ports.screen());
    this.#motion.moveBy(event.movementX * scale, event.movementY * scale, event.timeStamp);
  }

  #handleDown(/** @type {PointerEvent} */ event) {
    event.preventDefault();
    this.#ports.touched(event.pointerType === "touch");
    if (event.pointerType !== "touch") {
      // A locked pointer goes nowhere else; to capture it is an error.
      if (!this.locked) this.#stage.setPointerCapture(event.pointerId);
      return this.#syncButtons(event);
    }
    this.#act(this.#touch.handleDown(this.#finger(event), event.timeStamp));
    this.#armLongPress(event.timeStamp);
  }

  #handleUp(/** @type {PointerEvent} */ event) {
    event.preventDefault();
    if (event.pointerType !== "touch") return this.#syncButtons(event);
    this.#act(this.#touch.handleMove(this.#finger(event)));
    this.#act(this.#touch.handleUp(event.pointerId));
  }

  #handleCancel(/** @type {PointerEvent} */ event) {
    if (event.pointerType === "touch") return this.#act(this.#touch.cancel());
    for (const held of this.#held) this.#sendButton(false, held, this.#at(event));
  }

  #handleWheel(/** @type {WheelEvent} */ event) {
    event.preventDefault();
    const { dx, dy } = this.#wheel.count(event);
    if (dx === 0 && dy === 0) return;
    this.#motion.flush();
    this.#ports.sendInput(encodeWheel({ dx, dy, ...this.#position(event) }));
  }

  /** Sends what changed between the buttons that are held and those the event says are. */
  #syncButtons(/** @type {PointerEvent} */ event) {
    this.#motion.flush();
    const at = this.#position(event);
    X11_BUTTONS.forEach((button, bit) => {
      const down = (event.buttons & (1 << bit)) !== 0;
      if (down !== this.#held.has(button)) this.#sendButton(down, button, at);
    });
  }

  #sendButton(
    /** @type {boolean} */ down,
    /** @type {number} */ button,
    /** @type {{x: number, y: number}} */ at,
  ) {
    if (down) this.#held.add(button);
    else if (!this.#held.delete(button)) return;
    this.#ports.sendInput(encodeButton({ down, button, ...at }));
  }

  #act(/** @type {import("./touch.js").TouchAction[]} */ actions) {
    for (const action of actions) {
      if (action.type === "move") this.#motion.moveTo(action.at, performance.now());
      else if (action.type === "button") this.#sendButton(action.down, action.button, action.at);
      else this.#scroll(action);
    }
  }

  #scroll(/** @type {{dx: number, dy: number, at: {x: number, y: number}}} */ by) {
    const { dx, dy } = this.#wheel.count({ deltaX: by.dx, deltaY: by.dy, deltaMode: 0 });
    if (dx !== 0 || dy !== 0) this.#ports.sendInput(encodeWheel({ dx, dy, ...by.at }));
  }

  #armLongPress(/** @type {number} */ nowMs) {
    if (this.#longPress !== null) clearTimeout(this.#longPress);
    const due = this.#touch.pollTimeout();
    if (due === null) return;
    const fire = () => this.#act(this.#touch.handleTimeout(due));
    this.#longPress = Number(setTimeout(fire, due - nowMs));
  }

  #position(/** @type {MouseEvent} */ event) {
    return this.locked ? { x: WHERE_IT_IS, y: WHERE_IT_IS } : this.#at(event);
  }

  #at(/** @type {MouseEvent} */ event) {
    return desktopPoint(event, this.#space(), this.#ports.screen());
  }

  #finger(/** @type {PointerEvent} */ event) {
    const page = { x: event.clientX, y: event.clientY };
    return { id: event.pointerId, page, desktop: this.#at(event) };
  }

  #space() {
    return this.#stage.getBoundingClientRect();
  }
}
