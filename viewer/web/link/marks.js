/**
 * Moments of a page's first session, on the browser's own timeline: for its performance tools, and
 * for the laboratory that tells where the time to the first frame goes.
 */

/**
 * Each moment counts once; what a later session does is no part of opening the page.
 *
 * @param {"begun" | "loaded" | "ticket" | "socket" | "granted" | "offered" | "answered" | "connected" | "picture"} moment
 */
export function mark(moment) {
  const name = `multiclaw.${moment}`;
  if (performance.getEntriesByName(name, "mark").length === 0) performance.mark(name);
}
