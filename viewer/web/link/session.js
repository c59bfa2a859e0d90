/**
 * One viewer on one desktop, from the first click to the last: ticket, socket, grant, connection,
 * renewal, recovery. It owns the facts (`facts`), which others put into words, and one rule: media
 * is touched only when media needs it, never because the service came or went.
 */

import { firstFacts } from "./facts.js";
import { mark } from "./marks.js";
import { measureRegions } from "./nearness.js";
import { Peer } from "./peer.js";
import { NO_PICTURE, endsSession, isPassing, noPath, parseProblem } from "./problem.js";
import { selectedPath } from "./path.js";
import { Pulse } from "./pulse.js";
import { Recovery } from "./recovery.js";
import { Renewal } from "./renewal.js";
import { PROTOCOL_VERSION, Signalling } from "./signalling.js";
import { fetchTicket } from "./ticket.js";

/** A first connection that takes longer than this has no path, in milliseconds. */
const FIRST_PATH_MS = 15_000;
/** After so long, the relay is being tried as well as the direct path, in milliseconds. */
const SLOW_MS = 1_500;
/** The first picture comes within this of an open path, or the connection is made anew. */
const PICTURE_MS = 4_000;
/** So many fresh connections without a picture, and the person is told. */
const PICTURE_TRIES_MAX = 2;
/** An agent host that is the same as before answers a ping within this, in milliseconds. */
const ALIVE_MS = 1_500;
/** A path of the wanted kind is found within this, or the connection is made anew. */
const SWITCH_MS = 3_000;

/**
 * @typedef {import("./launch.js").Mode} Mode
 * @typedef {import("./problem.js").Problem} Problem
 * @typedef {import("./facts.js").IceServer} IceServer
 * @typedef {import("./facts.js").Grant} Grant
 *
 * @typedef {object} SessionPorts
 * @property {() => void} changed some fact is another
 * @property {(stream: MediaStream) => void} picture
 * @property {(stream: MediaStream) => void} sound
 * @property {() => void} opened a new connection's channels are open: its host holds no key
 * @property {(message: import("../input/control.js").HostMessage) => void} handle
 */

export class Session {
  /** @type {Grant | null} */
  grant = null;
  /** @type {Peer | null} */
  peer = null;
  /** @type {import("./facts.js").Facts} */
  facts;
  #launch;
  #ports;
  #signalling;
  #recovery = new Recovery((action) => this.#recover(action));
  #renewal = new Renewal(() => this.#askRenewal());
  #pulse = new Pulse((timeoutMs) => this.#ping(timeoutMs), (alive) => this.#feltPulse(alive));
  /** @type {number[]} */
  #timers = [];
  #switchTimer = 0;
  #pictureTimer = 0;
  /** The connection whose first frame is on the screen. @type {Peer | null} */
  #shown = null;
  #ended = false;
  /** @type {MediaStream | null} */
  #nextPicture = null;

  /**
   * @param {import("./launch.js").Launch} launch
   * @param {SessionPorts} ports
   */
  constructor(launch, ports) {
    this.#launch = launch;
    this.#ports = ports;
    this.facts = firstFacts(launch.mode);
    this.#signalling = new Signalling({
      first: () => this.#firstMessage(),
      handle: (message) => this.#handleService(message),
      changed: (status) => this.#serviceChanged(status),
      failed: (problem) => this.#serviceFailed(problem),
    });
  }

  start() {
    this.#signalling.connect();
    this.peer = this.#makePeer();
  }

  /** Another attempt now, whatever the back-off says. */
  hurry() {
    this.#signalling.hurry();
    this.#recovery.hurry();
    void this.#pulse.beat();
  }

  /** The viewer leaves. */
  leave() {
    this.#close({ type: "close" });
  }

  setMode(/** @type {Mode} */ mode) {
    this.#set({ mode });
    if (!this.grant || !this.peer) return;
    this.#negotiate(this.peer.restart(this.grant.ice_servers, mode));
    clearTimeout(this.#switchTimer);
    this.#switchTimer = Number(setTimeout(() => this.#insistOnMode(), SWITCH_MS));
  }

  /** The first frame of a connection is on the screen. */
  pictureShown() {
    mark("picture");
    this.#shown = this.peer;
    this.#goLive();
  }

  async readPath() {
    const report = await this.peer?.stats();
    const path = report ? selectedPath(report, this.grant?.ice_servers ?? []) : null;
    if (path) this.#set({ path });
    return path;
  }

  async #firstMessage() {
    const version = PROTOCOL_VERSION;
    if (this.grant) return { type: "resume", version, token: this.grant.token };
    const { ticket, regions } = await fetchTicket(this.#launch.instance, this.#launch.key);
    mark("ticket");
    const round_trips_ms = await measureRegions(regions);
    return { type: "open", version, ticket, mode: this.facts.mode, round_trips_ms };
  }

  #handleService(/** @type {import("./signalling.js").Message} */ message) {
    switch (message.type) {
      case "granted":
        return this.#granted(message.grant);
      case "resumed":
        return this.#resumed();
      case "refreshed":
        return this.#refreshed(message.grant);
      case "answer":
        return this.#negotiate(this.peer?.handleAnswer(message.sdp));
      case "candidate":
        return this.#negotiate(this.peer?.handleCandidate(message.candidate));
      case "move_relay":
        return this.#moveRelay(message.ice_servers);
      case "agent_online":
        return this.#agentChanged(message.online);
      case "failed":
        return this.#requestFailed(message.problem);
      case "closed":
        return this.#closedByService(message.problem);
    }
  }

  #granted(/** @type {Grant} */ grant) {
    mark("granted");
    this.grant = grant;
    this.#renewal.granted(grant.expires_in_secs);
    this.#signalling.accept();
    this.#set({ granted: true, region: grant.region, media: "asking", problem: null });
    this.#startPeer();
  }

  #resumed() {
    this.#signalling.accept();
    this.#renewal.reachable();
    this.peer?.repeatOffer();
    if (this.facts.media === "lost") this.#recovery.hurry();
  }

  #refreshed(/** @type {Grant} */ grant) {
    this.grant = grant;
    this.#renewal.granted(grant.expires_in_secs);
    this.peer?.renew(grant.ice_servers);
  }

  #moveRelay(/** @type {IceServer[]} */ servers) {
    if (!this.grant) return;
    this.grant = { ...this.grant, ice_servers: servers };
    this.#negotiate(this.peer?.restart(servers));
  }

  async #agentChanged(/** @type {boolean} */ online) {
    const returned = online && !this.facts.agentOnline;
    this.#set({ agentOnline: online });
    const peer = this.peer;
    if (!returned || !peer) return;
    // Its socket came back; whether the program is still the one we are connected to, it must say.
    const alive = peer.channels.open && (await peer.channels.ping(ALIVE_MS)) !== null;
    if (!alive && peer === this.peer && !this.#ended) this.#rebuild();
  }

  #requestFailed(/** @type {Problem} */ problem) {
    if (!this.grant || endsSession(problem)) return this.#closedByService(problem);
    if (problem.code === "INSTANCE_NOT_ONLINE") this.#set({ agentOnline: false });
    this.#set({ problem });
  }

  #closedByService(/** @type {Problem} */ problem) {
    if (isPassing(problem)) return this.#signalling.reconnectLater(problem);
    this.#end(problem);
  }

  #serviceChanged(/** @type {{up: boolean, retryAtMs: number | null}} */ { up, retryAtMs }) {
    // What the service could not do while it was away is no problem any more.
    this.#set(up ? { service: up, retryAtMs, problem: null } : { service: up, retryAtMs });
  }

  #serviceFailed(/** @type {Problem} */ problem) {
    if (isPassing(problem)) this.#set({ problem });
    else this.#end(problem);
  }

  #askRenewal() {
    const handle = this.grant?.refresh_handle;
    return handle !== undefined && this.#signalling.send({ type: "refresh", handle });
  }

  #makePeer() {
    /** @type {Peer} */
    const peer = new Peer(
      {
        offer: (sdp) => this.#signalling.send({ type: "offer", sdp }),
        candidate: (candidate) => this.#signalling.send({ type: "candidate", candidate }),
        reached: (reach) => peer === this.peer && this.#reached(reach),
        pathChanged: () => peer === this.peer && void this.readPath(),
        picture: (stream) => peer === this.peer && this.#showPicture(stream),
        sound: (stream) => peer === this.peer && this.#ports.sound(stream),
        opened: () => peer === this.peer && this.#opened(),
        handle: (message) => peer === this.peer && this.#handleHost(message),
      },
      this.facts.mode,
    );
    return peer;
  }

  /** A busy browser may show the first frame before it says that the path is open: either order. */
  #goLive() {
    if (this.facts.media !== "picture" || this.#shown !== this.peer) return;
    this.#stopTimers();
    this.#recovery.end();
    this.#set({ media: "live", problem: null, pictureTries: 0 });
  }

  #awaitPicture() {
    clearTimeout(this.#pictureTimer);
    this.#pictureTimer = Number(setTimeout(() => this.#pictureMissing(), PICTURE_MS));
  }

  #pictureMissing() {
    if (this.facts.media !== "picture" || this.#ended) return;
    const pictureTries = this.facts.pictureTries + 1;
    if (pictureTries > PICTURE_TRIES_MAX) return this.#end(NO_PICTURE);
    this.#set({ pictureTries });
    this.#rebuild();
    this.#awaitPicture();
  }

  #opened() {
    this.#pulse.start();
    this.#ports.opened();
  }

  /** While another connection is made, the last picture stays until the new one can move. */
  #showPicture(/** @type {MediaStream} */ stream) {
    if (this.facts.media === "lost") this.#nextPicture = stream;
    else this.#ports.picture(stream);
  }

  #startPeer() {
    this.#stopTimers();
    this.#timers.push(
      Number(setTimeout(() => this.#set({ slow: true }), SLOW_MS)),
      Number(setTimeout(() => this.#noFirstPath(), FIRST_PATH_MS)),
    );
    this.#set({ slow: false });
    this.#negotiate(this.peer?.start(this.grant?.ice_servers ?? []));
  }

  #rebuild() {
    this.peer?.close();
    this.peer = this.#makePeer();
    this.#set({ media: this.facts.media === "live" ? "lost" : this.facts.media });
    this.#negotiate(this.peer.start(this.grant?.ice_servers ?? []));
  }

  #reached(/** @type {import("./peer.js").Reach} */ reach) {
    const { media } = this.facts;
    if (reach === "connected") {
      mark("connected");
      this.#recovery.end();
      void this.readPath();
      if (this.#nextPicture) this.#ports.picture(this.#nextPicture);
      this.#nextPicture = null;
      // A path that came back shows the next frame by itself; a new connection waits for its first.
      const goesOn = media === "live" || media === "lost";
      this.#set({ media: goesOn ? "live" : "picture", problem: null });
      if (media !== "picture" && !goesOn) this.#awaitPicture();
      this.#goLive();
    } else if (reach === "checking") {
      if (media === "asking" || media === "none") this.#set({ media: "checking" });
    } else if (media === "live" || media === "lost") {
      this.#set({ media: "lost" });
      this.#recovery.begin(reach === "failed");
    } else if (reach === "failed") {
      this.#noFirstPath();
    }
  }

  async #ping(/** @type {number} */ timeoutMs) {
    const peer = this.peer;
    // A connection whose channels are not open yet is watched by the browser alone.
    if (!peer?.channels.open) return 0;
    const roundTripMs = await peer.channels.ping(timeoutMs);
    return peer === this.peer ? roundTripMs : 0;
  }

  #feltPulse(/** @type {boolean} */ alive) {
    if (!alive && this.facts.media === "live") this.#reached("disconnected");
    else if (alive && this.facts.media === "lost" && this.peer?.channels.open) this.#reached("connected");
  }

  #handleHost(/** @type {import("../input/control.js").HostMessage} */ message) {
    if (message.type === "closed") {
      const problem = parseProblem(message.json);
      if (problem) this.#end(problem);
    }
    this.#ports.handle(message);
  }

  #noFirstPath() {
    if (this.facts.media === "live" || this.facts.media === "picture") return;
    this.#end(noPath(this.facts.mode));
  }

  #recover(/** @type {"restart" | "rebuild"} */ action) {
    // Without the service no offer arrives anywhere; it says so when it is back (`#resumed`).
    if (!this.grant || !this.#signalling.up) return;
    if (action === "rebuild") this.#rebuild();
    else this.#negotiate(this.peer?.restart(this.grant.ice_servers));
  }

  /** The browser keeps a path that works; a person who asked for another kind gets it all the same. */
  async #insistOnMode() {
    const path = await this.readPath();
    const wanted = this.facts.mode;
    if (this.#ended || wanted === "auto" || path?.kind === wanted) return;
    this.#rebuild();
    this.#timers.push(Number(setTimeout(() => this.#noModePath(), FIRST_PATH_MS)));
  }

  #noModePath() {
    if (this.facts.media === "lost") this.#end(noPath(this.facts.mode));
  }

  /** A negotiation that fails is one of a connection about to be replaced. */
  #negotiate(/** @type {Promise<void> | undefined} */ work) {
    const peer = this.peer;
    work?.catch((error) => {
      console.debug("negotiation", error);
      if (peer === this.peer && !this.#ended && this.facts.media === "lost") this.#rebuild();
    });
  }

  #end(/** @type {Problem} */ problem) {
    this.#close(endsSession(problem) ? null : { type: "close" });
    this.#set({ problem, over: true, media: "none", retryAtMs: null });
  }

  #close(/** @type {import("./signalling.js").Message | null} */ lastMessage) {
    this.#ended = true;
    this.#stopTimers();
    this.#recovery.end();
    this.#renewal.stop();
    this.#pulse.stop();
    this.#signalling.close(lastMessage);
    this.peer?.close();
  }

  #stopTimers() {
    clearTimeout(this.#switchTimer);
    clearTimeout(this.#pictureTimer);
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
  }

  #set(/** @type {Partial<import("./facts.js").Facts>} */ news) {
    this.facts = { ...this.facts, ...news };
    this.#ports.changed();
  }
}
