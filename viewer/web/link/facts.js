/** What is known about a session, as plain facts; `page/words.js` puts them into sentences. */

/**
 * @typedef {{urls: string[], username?: string, credential?: string, region: string}} IceServer
 * @typedef {{role: "control" | "view", clipboard_to_host: boolean, clipboard_to_viewer: boolean}} Policy
 * @typedef {{session: string, token: string, refresh_handle: string, expires_in_secs: number,
 *   ice_servers: IceServer[], policy: Policy, region: string}} Grant
 *
 * @typedef {"none" | "asking" | "checking" | "picture" | "live" | "lost"} Media how far the picture
 *   is: no connection, offered, looking for a path, waiting for the first frame, moving, or cut off
 *
 * @typedef {object} Facts
 * @property {boolean} service whether the service is in reach
 * @property {number | null} retryAtMs when the service is tried again
 * @property {boolean} granted
 * @property {boolean} agentOnline
 * @property {Media} media
 * @property {boolean} slow the first path takes longer than a direct one usually does
 * @property {number} pictureTries connections made anew because an open path brought no picture
 * @property {import("./launch.js").Mode} mode
 * @property {string} region
 * @property {import("./path.js").Path | null} path
 * @property {import("./problem.js").Problem | null} problem
 * @property {boolean} over whether the problem ended the session
 */

/** @returns {Facts} before anything was asked */
export function firstFacts(/** @type {import("./launch.js").Mode} */ mode) {
  return {
    service: false,
    retryAtMs: null,
    granted: false,
    agentOnline: true,
    media: "none",
    slow: false,
    pictureTries: 0,
    mode,
    region: "",
    path: null,
    problem: null,
    over: false,
  };
}
