/**
 * The desktop's cursor, drawn by this browser: it moves without waiting for the picture.
 */

/** Shapes kept ready: a desktop alternates between a handful. Past it, the oldest goes. */
const SHAPES_MAX = 32;

export class Cursor {
  #stage;
  #canvas = document.createElement("canvas");
  /** CSS values by the bytes they were drawn from. @type {Map<string, string>} */
  #shapes = new Map();

  constructor(/** @type {HTMLElement} */ stage) {
    this.#stage = stage;
  }

  hide() {
    this.#stage.style.cursor = "none";
  }

  /**
   * @param {{width: number, height: number, hotX: number, hotY: number,
   *   rgba: Uint8ClampedArray<ArrayBuffer>}} shape
   * @param {number} density pixels of the desktop per CSS pixel
   */
  show(shape, density) {
    const key = `${shape.width} ${shape.hotX} ${shape.hotY} ${density} ${shape.rgba.join()}`;
    const css = this.#shapes.get(key) ?? this.#draw(shape, density);
    this.#shapes.delete(key);
    this.#shapes.set(key, css);
    const [oldest] = this.#shapes.keys();
    if (this.#shapes.size > SHAPES_MAX && oldest !== undefined) this.#shapes.delete(oldest);
    this.#stage.style.cursor = css;
  }

  /** @param {Parameters<Cursor["show"]>[0]} shape */
  #draw({ width, height, hotX, hotY, rgba }, /** @type {number} */ density) {
    [this.#canvas.width, this.#canvas.height] = [width, height];
    this.#canvas.getContext("2d")?.putImageData(new ImageData(rgba, width, height), 0, 0);
    const url = `url("${this.#canvas.toDataURL()}")`;
    const dense = `image-set(${url} ${density}x) ${hotX / density} ${hotY / density}, default`;
    const plain = `${url} ${hotX} ${hotY}, default`;
    return density !== 1 && CSS.supports("cursor", dense) ? dense : plain;
  }
}
