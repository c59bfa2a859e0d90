/**
 * What this viewer asks for: one picture, H.264, shown without delay, and one sound, Opus, in a
 * stream of its own. And what it takes from the answer.
 */

/** Tells when a frame was captured; Chromium has it but leaves it out unless asked. */
const CAPTURE_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
/** Codecs worth offering: fewer make a shorter offer. RTX repairs losses of the other. */
const CODECS = new Set(["video/h264", "video/rtx"]);

/** @returns {RTCRtpTransceiver} */
export function askForPicture(/** @type {RTCPeerConnection} */ connection) {
  const transceiver = connection.addTransceiver("video", { direction: "recvonly" });
  preferH264(transceiver);
  askForCaptureTime(transceiver);
  showAtOnce(transceiver.receiver);
  return transceiver;
}

/** After the picture: candidates are said for the first line. */
export function askForSound(/** @type {RTCPeerConnection} */ connection) {
  const transceiver = connection.addTransceiver("audio", { direction: "recvonly" });
  const codecs = RTCRtpReceiver.getCapabilities("audio")?.codecs ?? [];
  const opus = codecs.filter(({ mimeType }) => mimeType.toLowerCase() === "audio/opus");
  if (opus.length > 0) transceiver.setCodecPreferences?.(opus);
  showAtOnce(transceiver.receiver);
}

/**
 * Browsers play Opus in mono unless their own description asks for more (RFC 7587 §7.1), which only
 * its text can do.
 */
export function withStereo(/** @type {string} */ sdp) {
  const type = /a=rtpmap:(\d+) opus\/48000\/2/i.exec(sdp)?.[1];
  if (!type) return sdp;
  return sdp.replace(new RegExp(`^(a=fmtp:${type} (?!.*stereo=).*?)\\s*$`, "m"), "$1;stereo=1\r");
}

export function canShowPicture() {
  if (typeof RTCPeerConnection === "undefined") return false;
  const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  return codecs.some((codec) => codec.mimeType.toLowerCase() === "video/h264");
}

/** "Direct" means direct: a relay the other end found is not used either. */
export function withoutRelays(/** @type {string} */ sdp) {
  return sdp
    .split(/\r\n/)
    .filter((line) => !(line.startsWith("a=candidate:") && isRelayed(line)))
    .join("\r\n");
}

export function isRelayed(/** @type {string} */ candidate) {
  return / typ relay\b/.test(candidate);
}

/**
 * The servers to gather from in a mode.
 *
 * @param {{urls: string[], username?: string, credential?: string}[]} servers
 * @param {import("./launch.js").Mode} mode
 * @returns {RTCIceServer[]}
 */
export function iceServers(servers, mode) {
  const wanted = (/** @type {string} */ url) => mode !== "direct" || /^stuns?:/.test(url);
  return servers
    .map(({ urls, username, credential }) => {
      const kept = urls.filter(wanted);
      return username ? { urls: kept, username, credential } : { urls: kept };
    })
    .filter(({ urls }) => urls.length > 0);
}

function preferH264(/** @type {RTCRtpTransceiver} */ transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  const kept = codecs.filter(({ mimeType }) => CODECS.has(mimeType.toLowerCase()));
  if (kept.length > 0) transceiver.setCodecPreferences?.(kept);
}

function askForCaptureTime(/** @type {RTCRtpTransceiver} */ transceiver) {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.();
  if (!extensions) return;
  for (const extension of extensions) {
    if (extension.uri === CAPTURE_TIME) extension.direction = "sendrecv";
  }
  transceiver.setHeaderExtensionsToNegotiate?.(extensions);
}

/** Chromium obeys the sender's playout-delay extension; the others need to be asked. */
function showAtOnce(/** @type {RTCRtpReceiver} */ receiver) {
  if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
  if ("playoutDelayHint" in receiver) receiver.playoutDelayHint = 0;
}
