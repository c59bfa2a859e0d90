/**
 * What the address says: which desktop, with which access key, by which path. The key stands in
 * the fragment, which browsers send to nobody; it is taken out of the address bar at once and kept
 * for this tab only.
 */

/** @typedef {"auto" | "direct" | "relay"} Mode */
/** @typedef {{instance: string, key: string, mode: Mode}} Launch */

/** In place of a key: the member's sign-in opens the desktop. No key is spelled like this. */
export const MEMBER = "member";

export const MODES = /** @type {readonly Mode[]} */ (["auto", "direct", "relay"]);

/**
 * @param {string} pathname `/connect/{instance}`
 * @param {string} hash `#key=…&mode=…`, or `#as=member` from the dashboard
 * @returns {{instance: string, key: string | null, mode: Mode | null}}
 */
export function parseLaunch(pathname, hash) {
  const instance = /^\/connect\/([a-z0-9-]{1,63})\/?$/.exec(pathname)?.[1] ?? "";
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const key = fields.get("as") === MEMBER ? MEMBER : fields.get("key") || null;
  return { instance, key, mode: asMode(fields.get("mode")) };
}

/** @returns {Mode | null} */
export function asMode(/** @type {string | null} */ text) {
  return MODES.find((mode) => mode === text) ?? null;
}

/**
 * Reads the address once, cleans it, and remembers key and mode for this tab.
 *
 * @param {{location: Location, history: History, storage: Storage}} page
 * @returns {Launch}
 */
export function takeLaunch({ location, history, storage }) {
  const { instance, key, mode } = parseLaunch(location.pathname, location.hash);
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  if (key) storage.setItem(keyName(instance), key);
  if (key || mode) storage.setItem(modeName(instance), mode ?? "auto");
  return {
    instance,
    key: storage.getItem(keyName(instance)) ?? "",
    mode: asMode(storage.getItem(modeName(instance))) ?? "auto",
  };
}

export function rememberMode(
  /** @type {Storage} */ storage,
  /** @type {string} */ instance,
  /** @type {Mode} */ mode,
) {
  storage.setItem(modeName(instance), mode);
}

function keyName(/** @type {string} */ instance) {
  return `multiclaw.key.${instance}`;
}

function modeName(/** @type {string} */ instance) {
  return `multiclaw.mode.${instance}`;
}
