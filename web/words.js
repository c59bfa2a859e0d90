/**
 * Words every page shares: a title for each problem code, and figures with their units.
 *
 * The service says cause and next step in its own sentence; a page adds the title, and fills in
 * where the service could not be asked at all.
 */

/** @typedef {{code: string, cause: string, next_step: string}} Problem */

/** Titles by code; the codes are those of `protocol/src/problem.rs`. */
const TITLES = /** @type {Record<string, string>} */ ({
  INSTANCE_NOT_ONLINE: "The desktop is not online",
  INSTANCE_UNKNOWN: "No such desktop",
  NOT_FOUND: "There is nothing here",
  SESSION_EXPIRED: "Session expired",
  SESSION_IDLE: "Session ended after a long pause",
  SESSION_ENDED: "Session ended",
  TICKET_USED: "This ticket was used before",
  TICKET_EXPIRED: "This ticket has expired",
  TOKEN_INVALID: "Your access was not recognised",
  ACCESS_DENIED: "Access refused",
  REGION_UNAVAILABLE: "No relay is available",
  NO_PATH: "No path to the desktop",
  NO_PICTURE: "No picture came",
  DISPLAY_LOST: "The desktop lost its display",
  PROTOCOL_VERSION: "This page is out of date",
  BAD_MESSAGE: "The service did not understand this page",
  MESSAGE_TOO_LARGE: "That was too large to send",
  TOO_MANY: "Too many at once",
  SERVICE_RESTARTING: "The service is restarting",
  SERVICE_UNREACHABLE: "The service is out of reach",
  BROWSER_UNSUITED: "This browser cannot show the desktop",
  SIGN_IN_FAILED: "Sign-in failed",
  SIGN_IN_REQUIRED: "Please sign in",
  EMAIL_UNCONFIRMED: "Confirm your address first",
  ACCOUNT_LOCKED: "Locked for a while",
  LINK_INVALID: "This link no longer works",
  PASSWORD_UNSUITABLE: "Choose another password",
  NOT_PERMITTED: "Your role does not allow this",
  CROSS_SITE: "Not from this page",
  WORKSPACE_UNKNOWN: "No workspace at this address",
  LAST_OWNER: "The last owner stays",
  NAME_TAKEN: "The name is taken",
  CONFIRMATION_NEEDED: "Please confirm",
  QUOTA_REACHED: "The workspace is full",
  DESKTOP_FAILED: "The desktop does not run",
  NOT_MANAGED: "This desktop is run elsewhere",
  SESSION_MISMATCH: "The sign-in does not match",
  PROVIDER_FAILED: "The provider did not vouch for you",
  ACCOUNT_NOT_LINKED: "Not linked to an account here",
  DEVICE_PROOF_REFUSED: "The device could not prove itself",
  DEVICE_NONCE_NEEDED: "The device must prove itself anew",
  DEVICE_ENDED: "The device was signed out",
  SERVICE_BUSY: "The service is busy",
  DATABASE_UNAVAILABLE: "The service cannot reach its database",
  INTERNAL: "The service failed",
});

/** @param {string} code */
export function problemTitle(code) {
  return TITLES[code] ?? "Something went wrong";
}

/** `1234.5` → `1.2 s`, `12.34` → `12.3 ms`; what is not known is a dash. */
export function milliseconds(/** @type {number | null | undefined} */ ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 100 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

/** Bits per second: `1_250_000` → `1.3 Mbit/s`. */
export function bitrate(/** @type {number | null | undefined} */ bps) {
  if (bps === null || bps === undefined || !Number.isFinite(bps)) return "–";
  if (bps >= 1e6) return `${(bps / 1e6).toFixed(1)} Mbit/s`;
  if (bps >= 1e3) return `${Math.round(bps / 1e3)} kbit/s`;
  return `${Math.round(bps)} bit/s`;
}

/** Bytes: `1536` → `1.5 kB`, decimal as networks count. */
export function byteCount(/** @type {number} */ bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  if (bytes >= 1e3) return `${(bytes / 1e3).toFixed(1)} kB`;
  return `${bytes} B`;
}
