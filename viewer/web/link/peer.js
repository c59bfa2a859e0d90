/**
 * One RTCPeerConnection and its negotiation: this side always offers. Work that needs no answer
 * from the service (certificate, offer) is begun at construction, so that it is done by the time
 * the grant is there.
 */

import { Channels } from "./channels.js";
import { mark } from "./marks.js";
import { askForPicture, askForSound, iceServers, isRelayed, withStereo, withoutRelays } from "./offer.js";

/** Candidates kept for an answer that is still to come; the protocol's bound per side. */
const CANDIDATES_MAX = 64;

/**
 * @typedef {"checking" | "connected" | "disconnected" | "failed"} Reach
 * @typedef {object} PeerPorts
 * @property {(sdp: string) => void} offer
 * @property {(candidate: {candidate: string, mid: string | null, username_fragment: string | null}) => void} candidate
 * @property {(reach: Reach) => void} reached
 * @property {() => void} pathChanged
 * @property {(stream: MediaStream) => void} picture
 * @property {(stream: MediaStream) => void} sound
 * @property {() => void} opened the data channels are open
 * @property {(message: import("../input/control.js").HostMessage) => void} handle
 */

export class Peer {
  #ports;
  #mode;
  #connection;
  #firstOffer;
  /** Candidates that came before the answer they belong to. @type {RTCIceCandidateInit[]} */
  #early = [];
  /** @type {import("./facts.js").IceServer[]} */
  #servers = [];
  #restartWanted = false;
  #closed = false;

  /**
   * @param {PeerPorts} ports
   * @param {import("./launch.js").Mode} mode
   */
  constructor(ports, mode) {
    this.#ports = ports;
    this.#mode = mode;
    const bundled = /** @type {const} */ ({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" });
    this.#connection = new RTCPeerConnection({ ...bundled, iceTransportPolicy: policy(mode) });
    askForPicture(this.#connection);
    askForSound(this.#connection);
    this.channels = new Channels(this.#connection, ports);
    this.#firstOffer = this.#connection.createOffer();
    this.#listen();
  }

  get closed() {
    return this.#closed;
  }

  get awaitsAnswer() {
    return this.#connection.signalingState === "have-local-offer";
  }

  stats() {
    return this.#connection.getStats();
  }

  /** Sends the first offer; gathering begins with these servers. */
  async start(/** @type {import("./facts.js").IceServer[]} */ servers) {
    this.#configure(servers);
    const offer = await this.#firstOffer;
    if (this.#closed) return;
    await this.#describe(offer);
    this.#sayOffer();
  }

  /** New servers for the next gathering; the path that is in use is not touched. */
  renew(/** @type {import("./facts.js").IceServer[]} */ servers) {
    this.#configure(servers);
  }

  /** Looks for a path again, make before break, with these servers and by this mode. */
  async restart(
    /** @type {import("./facts.js").IceServer[]} */ servers,
    /** @type {import("./launch.js").Mode} */ mode = this.#mode,
  ) {
    if (this.#closed) return;
    this.#mode = mode;
    this.#configure(servers);
    if (this.awaitsAnswer) {
      this.#restartWanted = true;
      return;
    }
    this.#restartWanted = false;
    this.#connection.restartIce();
    await this.#describe(await this.#connection.createOffer());
    this.#sayOffer();
  }

  /** Says the offer again that was not answered, now with every candidate found meanwhile. */
  repeatOffer() {
    if (this.awaitsAnswer) this.#sayOffer();
  }

  async handleAnswer(/** @type {string} */ sdp) {
    if (!this.awaitsAnswer) return;
    mark("answered");
    const wanted = this.#mode === "direct" ? withoutRelays(sdp) : sdp;
    await this.#connection.setRemoteDescription({ type: "answer", sdp: wanted });
    for (const candidate of this.#early.splice(0)) await this.#add(candidate);
    if (this.#restartWanted) await this.restart(this.#servers);
  }

  async handleCandidate(
    /** @type {{candidate: string, mid?: string, username_fragment?: string}} */ said,
  ) {
    if (this.#mode === "direct" && isRelayed(said.candidate)) return;
    const candidate = {
      candidate: said.candidate,
      sdpMid: said.mid ?? "0",
      usernameFragment: said.username_fragment,
    };
    const early = this.awaitsAnswer || this.#connection.remoteDescription === null;
    if (!early) return this.#add(candidate);
    if (this.#early.length < CANDIDATES_MAX) this.#early.push(candidate);
  }

  close() {
    this.#closed = true;
    this.#connection.close();
  }

  #configure(/** @type {import("./facts.js").IceServer[]} */ servers) {
    this.#servers = servers;
    this.#connection.setConfiguration({
      ...this.#connection.getConfiguration(),
      iceServers: iceServers(servers, this.#mode),
      iceTransportPolicy: policy(this.#mode),
    });
  }

  #listen() {
    const connection = this.#connection;
    connection.addEventListener("icecandidate", ({ candidate }) => this.#sayCandidate(candidate));
    connection.addEventListener("iceconnectionstatechange", () => this.#sayReach());
    connection.addEventListener("connectionstatechange", () => this.#sayReach());
    connection.addEventListener("track", ({ streams, track }) => {
      if (this.#closed) return;
      const stream = streams[0] ?? new MediaStream([track]);
      if (track.kind === "audio") this.#ports.sound(stream);
      else this.#ports.picture(stream);
    });
    const transport = () => connection.sctp?.transport.iceTransport;
    connection.addEventListener("signalingstatechange", () => {
      transport()?.addEventListener("selectedcandidatepairchange", this.#ports.pathChanged);
    });
  }

  /** A browser that lets nobody touch its text plays one channel. */
  async #describe(/** @type {RTCSessionDescriptionInit} */ { sdp }) {
    const [plain, stereo] = [sdp ?? "", withStereo(sdp ?? "")];
    const wish = (/** @type {string} */ text) =>
      this.#connection.setLocalDescription({ type: "offer", sdp: text });
    await wish(stereo).catch(() => wish(plain));
  }

  #sayOffer() {
    const sdp = this.#connection.localDescription?.sdp;
    if (this.#closed || !sdp) return;
    mark("offered");
    this.#ports.offer(sdp);
  }

  #sayCandidate(/** @type {RTCIceCandidate | null} */ found) {
    if (this.#closed) return;
    const { candidate, sdpMid, usernameFragment } = found ?? NO_MORE;
    this.#ports.candidate({ candidate, mid: sdpMid, username_fragment: usernameFragment });
  }

  #sayReach() {
    if (this.#closed) return;
    const { connectionState, iceConnectionState } = this.#connection;
    if (connectionState === "failed" || iceConnectionState === "failed") {
      this.#ports.reached("failed");
    } else if (iceConnectionState === "disconnected") {
      this.#ports.reached("disconnected");
    } else if (connectionState === "connected") {
      this.#ports.reached("connected");
    } else if (iceConnectionState === "checking") {
      this.#ports.reached("checking");
    }
  }

  async #add(/** @type {RTCIceCandidateInit} */ candidate) {
    if (this.#closed) return;
    // A candidate of an ICE generation that is over is refused by the browser, rightly.
    await this.#connection.addIceCandidate(candidate).catch(() => {});
  }
}

const NO_MORE = { candidate: "", sdpMid: null, usernameFragment: null };

/** @returns {RTCIceTransportPolicy} */
function policy(/** @type {import("./launch.js").Mode} */ mode) {
  return mode === "relay" ? "relay" : "all";
}
