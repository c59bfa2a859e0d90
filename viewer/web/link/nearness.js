/**
 * How far the regions' relays are: a connection that goes nowhere gathers one STUN answer of each,
 * all at the same time. Who cannot be asked by UDP has measured nothing, and the service chooses.
 */

/** Somebody waits for their desktop, and a region that answers later is not near; in milliseconds. */
const ANSWER_MS = 250;
/** Regions that are asked; the service looks at no more. */
const REGIONS_MAX = 32;

/**
 * @typedef {object} Region
 * @property {string} id
 * @property {string} stun where it can be asked, `stun:host:port`
 */

/**
 * @param {Region[]} regions
 * @param {number} withinMs
 * @returns {Promise<Record<string, number>>} milliseconds to each region that answered in time
 */
export async function measureRegions(regions, withinMs = ANSWER_MS) {
  const asked = regions.slice(0, REGIONS_MAX).map(async ({ id, stun }) => ({ id, ms: await roundTrip(stun, withinMs) }));
  const answered = (await Promise.all(asked)).filter(({ ms }) => ms !== null);
  return Object.fromEntries(answered.map(({ id, ms }) => [id, Math.round(ms ?? 0)]));
}

/** @returns {Promise<number | null>} */
async function roundTrip(/** @type {string} */ stun, /** @type {number} */ withinMs) {
  /** @type {RTCPeerConnection | undefined} */
  let peer;
  try {
    peer = new RTCPeerConnection({ iceServers: [{ urls: stun }] });
    peer.createDataChannel("");
    const offer = await peer.createOffer();
    const answered = answer(peer, withinMs);
    const askedAt = performance.now();
    await peer.setLocalDescription(offer);
    return (await answered) ? performance.now() - askedAt : null;
  } catch {
    return null;
  } finally {
    peer?.close();
  }
}

/**
 * Whether the server answered in time. A reflexive address that is the host's own is not told, but
 * gathering is over with the answer. One of several networks may have no way there: that says
 * nothing of the others.
 *
 * @returns {Promise<boolean>}
 */
function answer(/** @type {RTCPeerConnection} */ peer, /** @type {number} */ withinMs) {
  return new Promise((resolve) => {
    let refused = false;
    setTimeout(() => resolve(false), withinMs);
    peer.onicecandidateerror = () => (refused = true);
    peer.onicecandidate = ({ candidate }) => {
      if (candidate?.type === "srflx") resolve(true);
    };
    peer.onicegatheringstatechange = () => {
      if (peer.iceGatheringState === "complete") resolve(!refused);
    };
  });
}
