/**
 * The first session of the page, begun as soon as these few modules are here: its round trips run
 * while the browser loads and puts together the rest.
 */

import { takeLaunch } from "./launch.js";
import { mark } from "./marks.js";
import { canShowPicture } from "./offer.js";
import { NO_KEY, NO_WEBRTC } from "./problem.js";
import { Session } from "./session.js";

/** @typedef {import("./session.js").SessionPorts} SessionPorts */

mark("begun");
export const launch = takeLaunch({ location, history, storage: sessionStorage });

/** @type {(ports: SessionPorts) => void} */
let attach;
const page = /** @type {Promise<SessionPorts>} */ (new Promise((resolve) => (attach = resolve)));

/** Why there can be no session for this address, as a problem; or null. */
export function obstacle(/** @type {import("./launch.js").Launch} */ { key }) {
  if (!canShowPicture()) return NO_WEBRTC;
  return key ? null : NO_KEY;
}

/** Null if there is an obstacle. */
export const firstSession = obstacle(launch) ? null : new Session(launch, whenLoaded());
firstSession?.start();

/** The rest of the page is there; what happened until now is told in its order. */
export function attachPage(/** @type {SessionPorts} */ ports) {
  mark("loaded");
  attach(ports);
}

/** @returns {SessionPorts} */
function whenLoaded() {
  const tell = (/** @type {(ports: SessionPorts) => void} */ what) => void page.then(what);
  return {
    changed: () => tell((ports) => ports.changed()),
    picture: (stream) => tell((ports) => ports.picture(stream)),
    sound: (stream) => tell((ports) => ports.sound(stream)),
    opened: () => tell((ports) => ports.opened()),
    handle: (message) => tell((ports) => ports.handle(message)),
  };
}
