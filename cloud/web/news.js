/** News of the workspace's desktops: a WebSocket that comes back by itself. */

/** Pauses before the socket is opened again, in milliseconds; the last is repeated. */
const PAUSES_MS = [500, 1_000, 2_000, 5_000, 10_000];

/**
 * @typedef {import("../../web/words.js").Problem} Problem
 * @typedef {{id: string, name: string, region: string, size: string, state: string,
 *   problem: Problem | null, may: string[]}} Desktop
 * @typedef {{type: "all", instances: Desktop[]} | {type: "one", instance: Desktop} |
 *   {type: "gone", id: string}} News
 */

/** Tells the news for as long as the page is open. */
export function watch(/** @type {(news: News) => void} */ heard) {
  let failures = 0;
  const open = () => {
    const url = new URL("/api/v1/instances/events", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    socket.onmessage = ({ data }) => {
      failures = 0;
      heard(JSON.parse(data));
    };
    socket.onclose = () => {
      const pause = PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)];
      failures += 1;
      // Not all pages at once, when the service is back.
      setTimeout(open, pause * (0.5 + Math.random() / 2));
    };
  };
  open();
}
