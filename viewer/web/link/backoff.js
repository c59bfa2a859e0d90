/**
 * How long to wait before trying again: doubling, bounded, and random within the last half, so
 * that many viewers of a service that restarts do not come back in step.
 */

const FIRST_MS = 500;
/** A person waits for this: longer would feel abandoned. */
const LONGEST_MS = 15_000;

/**
 * @param {number} attempt how many attempts failed before, from 0
 * @param {() => number} random in [0, 1)
 * @returns {number} milliseconds
 */
export function backoffMs(attempt, random = Math.random) {
  const whole = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(whole / 2 + (whole / 2) * random());
}
