/**
 * Problems: what the service says went wrong, and what this page says where the service could not
 * be asked. Each has a code, a cause and a next step, and belongs to one of three kinds.
 */

/** @typedef {import("../../../web/words.js").Problem} Problem */

/** Problems that pass by themselves: trying again, with patience, is the right thing. */
const PASSING = new Set([
  "INSTANCE_NOT_ONLINE",
  "REGION_UNAVAILABLE",
  "SERVICE_RESTARTING",
  "SERVICE_UNREACHABLE",
  "TICKET_EXPIRED",
  "TICKET_USED",
  "TOO_MANY",
  "DISPLAY_LOST",
]);

/** Problems after which the session is over, and another may be opened with the same key. */
const ENDING = new Set(["SESSION_EXPIRED", "SESSION_IDLE", "SESSION_ENDED", "TOKEN_INVALID"]);

export function isPassing(/** @type {Problem} */ problem) {
  return PASSING.has(problem.code);
}

export function endsSession(/** @type {Problem} */ problem) {
  return ENDING.has(problem.code);
}

export class ProblemError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(`${problem.code}: ${problem.cause}`);
    this.problem = problem;
  }
}

/** @type {Problem} */
export const UNREACHABLE = {
  code: "SERVICE_UNREACHABLE",
  cause: "The MultiClaw service did not answer.",
  next_step: "Check your internet connection. This page keeps trying.",
};

/** @type {Problem} */
export const NO_KEY = {
  code: "ACCESS_DENIED",
  cause: "This tab holds no access key for the desktop.",
  next_step: "Open the desktop again from your dashboard or from the link you were given.",
};

/** @type {Problem} */
export const NO_PICTURE = {
  code: "NO_PICTURE",
  cause: "The path to the desktop is open, but no picture came over it.",
  next_step: "Connect again. If it stays so, restart the desktop.",
};

/** @type {Problem} */
export const NO_WEBRTC = {
  code: "BROWSER_UNSUITED",
  cause: "This browser has WebRTC switched off or cannot decode H.264.",
  next_step: "Allow WebRTC, or open the desktop in a current Chrome, Edge, Firefox or Safari.",
};

/** @returns {Problem} */
export function noPath(/** @type {import("./launch.js").Mode} */ mode) {
  const cause = {
    auto: "Neither a direct path nor a relay path to the desktop was found.",
    direct: "No direct path to the desktop was found.",
    relay: "The desktop could not be reached through the relay.",
  }[mode];
  const nextStep = {
    auto: "Ask your network administrator to allow turn.multiclaw.io on UDP 3478 or TCP 443.",
    direct: "Let MultiClaw use a relay when there is no direct path.",
    relay: "Let MultiClaw choose the path, or ask for turn.multiclaw.io to be allowed.",
  }[mode];
  return { code: "NO_PATH", cause, next_step: nextStep };
}

/**
 * A problem as it came over the wire, or what can be said without one.
 *
 * @param {unknown} value
 * @returns {Problem | null}
 */
export function asProblem(value) {
  if (typeof value !== "object" || value === null) return null;
  const { code, cause, next_step: nextStep } = /** @type {Record<string, unknown>} */ (value);
  if (typeof code !== "string" || typeof cause !== "string") return null;
  return { code, cause, next_step: typeof nextStep === "string" ? nextStep : "" };
}

/** @returns {Problem | null} */
export function parseProblem(/** @type {string} */ json) {
  try {
    return asProblem(JSON.parse(json));
  } catch {
    return null;
  }
}
