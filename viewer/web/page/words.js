/**
 * Facts → words: what a person is told about their connection, and what they can do. Every state
 * has a sentence, and every failure a cause and a next step.
 */

import { problemTitle } from "../../../web/words.js";

/**
 * @typedef {import("../link/facts.js").Facts} Facts
 * @typedef {"connect" | "retry" | "auto" | "relay" | "status"} Action
 * @typedef {object} Words
 * @property {"connecting" | "live" | "reconnecting" | "failed"} phase
 * @property {"busy" | "good" | "warn" | "bad"} tone
 * @property {string} title
 * @property {string} detail
 * @property {string} code of the problem, or empty
 * @property {Action[]} actions the first is the one to suggest
 */

/** @returns {Words} */
export function describe(/** @type {Facts} */ facts, nowMs = 0) {
  if (facts.over) return failed(facts);
  if (facts.media === "live") return live(facts);
  if (facts.media === "lost") return lost(facts, nowMs);
  return connecting(facts, nowMs);
}

/** "Using the relay in eu-west over TCP 443", "Connected directly over UDP". */
export function pathWords(/** @type {import("../link/path.js").Path | null} */ path) {
  if (!path) return "Connected";
  const transport = path.transport.toUpperCase();
  if (path.kind === "direct") return `Connected directly over ${transport}`;
  const over = path.transport === "udp" || !path.port ? transport : `${transport} ${path.port}`;
  return `Using the relay${inRegion(path.region)} over ${over}`;
}

export const ACTION_WORDS = /** @type {Record<Action, string>} */ ({
  connect: "Connect again",
  retry: "Try now",
  auto: "Choose the path automatically",
  relay: "Use the TURN relay",
  status: "Open the status page",
});

/** @returns {Words} */
function failed(/** @type {Facts} */ facts) {
  const { code, cause, next_step: nextStep } = facts.problem ?? UNKNOWN;
  /** @type {Action[]} */
  const actions = code === "NO_PATH" ? otherPaths(facts.mode) : [];
  actions.push("connect");
  if (code === "REGION_UNAVAILABLE") actions.push("status");
  const detail = `${cause} ${nextStep}`.trim();
  return { phase: "failed", tone: "bad", title: problemTitle(code), detail, code, actions };
}

/** @returns {Words} */
function live(/** @type {Facts} */ facts) {
  const title = pathWords(facts.path);
  const away = (/** @type {string} */ detail) => words("live", "warn", title, detail, facts);
  if (!facts.agentOnline) return away("The desktop lost touch with the service; the picture goes on.");
  if (!facts.service) return away("The service is out of reach; the picture goes on without it.");
  return words("live", "good", title, "", facts);
}

/** @returns {Words} */
function lost(/** @type {Facts} */ facts, /** @type {number} */ nowMs) {
  const title = "Reconnecting: the picture may pause";
  const detail = !facts.agentOnline
    ? "The desktop's agent host is away. The picture comes back with it."
    : facts.service
      ? "The path was lost. Looking for another."
      : `The service is out of reach. ${trying(facts, nowMs)}`;
  return { ...words("reconnecting", "warn", title, detail, facts), actions: ["retry"] };
}

/** @returns {Words} */
function connecting(/** @type {Facts} */ facts, /** @type {number} */ nowMs) {
  if (facts.problem && !facts.granted) {
    const { code, cause } = facts.problem;
    const detail = `${cause} ${trying(facts, nowMs)}`;
    const said = words("connecting", "warn", problemTitle(code), detail, facts);
    return { ...said, actions: ["retry"] };
  }
  const [title, detail] = steps(facts);
  return words("connecting", "busy", title, detail, facts);
}

/** @returns {[string, string]} */
function steps(/** @type {Facts} */ facts) {
  if (!facts.granted) return ["Signing in", "Showing your access to the service."];
  if (!facts.agentOnline) return ["Waiting for the desktop", "Its agent host is not connected yet."];
  if (facts.media === "picture") {
    const again = "The path is open, but no picture came. Making the connection anew.";
    return ["Waiting for the first picture", facts.pictureTries > 0 ? again : "The path is open."];
  }
  if (facts.mode === "relay") {
    return [`Checking the relay${inRegion(facts.region)}`, "You asked for the TURN relay."];
  }
  if (facts.mode === "direct") return ["Checking the direct path", "No relay will be used."];
  if (!facts.slow) return ["Checking the direct path", "Asking the desktop for its picture."];
  const title = `Checking the relay${inRegion(facts.region)}`;
  return [title, "The direct path has not answered yet; the relay is tried beside it."];
}

/** @returns {Words} */
function words(
  /** @type {Words["phase"]} */ phase,
  /** @type {Words["tone"]} */ tone,
  /** @type {string} */ title,
  /** @type {string} */ detail,
  /** @type {Facts} */ facts,
) {
  return { phase, tone, title, detail, code: facts.problem?.code ?? "", actions: [] };
}

function trying(/** @type {Facts} */ facts, /** @type {number} */ nowMs) {
  const secs = Math.ceil(((facts.retryAtMs ?? nowMs) - nowMs) / 1000);
  return secs > 0 ? `Trying again in ${secs} s.` : "Trying again now.";
}

function inRegion(/** @type {string} */ region) {
  return region ? ` in ${region}` : "";
}

/** @returns {Action[]} */
function otherPaths(/** @type {import("../link/launch.js").Mode} */ mode) {
  if (mode === "direct") return ["auto", "relay"];
  return mode === "relay" ? ["auto"] : ["relay"];
}

const UNKNOWN = { code: "INTERNAL", cause: "The session ended.", next_step: "Connect again." };
