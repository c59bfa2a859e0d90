/**
 * Where a point of the page lies on the desktop, while the picture keeps its shape and is centred
 * in the space it has (`object-fit: contain`).
 */

/** @typedef {{width: number, height: number}} Size */
/** @typedef {{left: number, top: number, width: number, height: number}} Box */

/** @returns {Box} where the picture is drawn inside `space` */
export function pictureBox(/** @type {Box} */ space, /** @type {Size} */ screen) {
  const scale = scaleOf(space, screen);
  const [width, height] = [screen.width * scale, screen.height * scale];
  const left = space.left + (space.width - width) / 2;
  const top = space.top + (space.height - height) / 2;
  return { left, top, width, height };
}

/** CSS pixels per pixel of the desktop. */
export function scaleOf(/** @type {Size} */ space, /** @type {Size} */ screen) {
  if (screen.width === 0 || screen.height === 0) return 1;
  return Math.min(space.width / screen.width, space.height / screen.height) || 1;
}

/**
 * The desktop's pixel under a point of the page; outside the picture, the nearest one.
 *
 * @param {{clientX: number, clientY: number}} point
 * @param {Box} space
 * @param {Size} screen
 */
export function desktopPoint(point, space, screen) {
  const box = pictureBox(space, screen);
  const across = ((point.clientX - box.left) / box.width) * screen.width;
  const down = ((point.clientY - box.top) / box.height) * screen.height;
  return { x: clamp(across, screen.width), y: clamp(down, screen.height) };
}

function clamp(/** @type {number} */ value, /** @type {number} */ edge) {
  return Math.max(0, Math.min(Math.max(0, edge - 1), Math.floor(value) || 0));
}
