/**
 * Connect tickets: the access key, or a member's sign-in, is shown to the service, which hands out a
 * ticket used once.
 */

import { MEMBER } from "./launch.js";
import { ProblemError, UNREACHABLE, asProblem } from "./problem.js";

/** A service that says nothing for so long is out of reach, in milliseconds. */
const TIMEOUT_MS = 10_000;

/**
 * @typedef {object} Ticket
 * @property {string} ticket
 * @property {import("./nearness.js").Region[]} regions to be measured; empty if there is no choice
 *
 * @param {string} instance
 * @param {string} key
 * @returns {Promise<Ticket>}
 * @throws {ProblemError} with what the service said, or that it is out of reach
 */
export async function fetchTicket(instance, key) {
  const response = await request(instance, key);
  const body = await response.json().catch(() => null);
  if (response.ok && typeof body?.ticket === "string") {
    return { ticket: body.ticket, regions: body.regions ?? [] };
  }
  throw new ProblemError(asProblem(body) ?? asProblem(body?.problem) ?? refusal(response.status));
}

async function request(/** @type {string} */ instance, /** @type {string} */ key) {
  try {
    return await fetch(`/api/v1/instances/${instance}/tickets`, {
      method: "POST",
      headers: key === MEMBER ? {} : { Authorization: `Bearer ${key}` },
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: "no-store",
      credentials: key === MEMBER ? "same-origin" : "omit",
    });
  } catch {
    throw new ProblemError(UNREACHABLE);
  }
}

/** @returns {import("./problem.js").Problem} */
function refusal(/** @type {number} */ status) {
  if (status === 502 || status === 503 || status === 504) return UNREACHABLE;
  const cause = `The service answered with status ${status}.`;
  return { code: "INTERNAL", cause, next_step: "Try again; if it persists, tell your operator." };
}
