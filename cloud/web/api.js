/** The service's API: JSON in, JSON out, and every refusal a problem with a code. */

/** @typedef {import("../../web/words.js").Problem} Problem */

/** A service that says nothing for so long is out of reach, in milliseconds. */
const TIMEOUT_MS = 10_000;

export class Refused extends Error {
  constructor(/** @type {Problem} */ problem) {
    super(problem.cause);
    this.problem = problem;
  }
}

/**
 * @param {string} method
 * @param {string} path below `/api/v1`
 * @param {object} [body]
 * @returns {Promise<any>} null where there is nothing to say
 * @throws {Refused}
 */
export async function call(method, path, body) {
  const response = await send(method, path, body);
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  throw new Refused(asProblem(answer) ?? asProblem(answer?.problem) ?? unknown(response.status));
}

async function send(
  /** @type {string} */ method,
  /** @type {string} */ path,
  /** @type {object | undefined} */ body,
) {
  try {
    return await fetch(`/api/v1${path}`, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: "no-store",
    });
  } catch {
    throw new Refused({
      code: "SERVICE_UNREACHABLE",
      cause: "The MultiClaw service did not answer.",
      next_step: "Check your internet connection and try again.",
    });
  }
}

/** @returns {Problem | null} */
function asProblem(/** @type {any} */ value) {
  return typeof value?.code === "string" && typeof value.cause === "string" ? value : null;
}

/** @returns {Problem} */
function unknown(/** @type {number} */ status) {
  const cause = `The service answered with status ${status}.`;
  return { code: "INTERNAL", cause, next_step: "Try again." };
}
