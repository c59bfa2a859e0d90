/**
 * The path the picture takes, read from the browser's statistics: which pair of candidates was
 * selected, and whether a relay stands in it.
 */

/**
 * @typedef {object} Path
 * @property {"direct" | "relay"} kind
 * @property {"udp" | "tcp" | "tls"} transport between this browser and the first hop
 * @property {number | null} port of the relay, or of the desktop
 * @property {string} region of the relay, empty if not known or direct
 */

/**
 * @param {Map<string, any> | RTCStatsReport} report
 * @param {import("./facts.js").IceServer[]} servers
 * @returns {Path | null}
 */
export function selectedPath(report, servers) {
  const pair = selectedPair(report);
  const local = pair && report.get(pair.localCandidateId);
  const remote = pair && report.get(pair.remoteCandidateId);
  if (!local || !remote) return null;
  if (local.candidateType === "relay" || local.relayProtocol) {
    return {
      kind: "relay",
      transport: local.relayProtocol ?? "udp",
      port: portOf(local.url),
      region: regionOf(local.url, servers),
    };
  }
  // The desktop's own relay, in its own region.
  const kind = remote.candidateType === "relay" ? "relay" : "direct";
  const region = kind === "relay" ? (servers[0]?.region ?? "") : "";
  return { kind, transport: local.protocol ?? "udp", port: remote.port ?? null, region };
}

/** @returns {any} the statistics of the pair in use, or `null` */
export function selectedPair(/** @type {Map<string, any> | RTCStatsReport} */ report) {
  let fallback = null;
  for (const entry of /** @type {Map<string, any>} */ (report).values()) {
    if (entry.type === "transport" && entry.selectedCandidatePairId) {
      return report.get(entry.selectedCandidatePairId) ?? null;
    }
    // Firefox marks the pair itself.
    if (entry.type === "candidate-pair" && entry.selected) fallback = entry;
  }
  return fallback;
}

function portOf(/** @type {string | undefined} */ url) {
  const port = /:(\d+)(?:\?|$)/.exec(url ?? "")?.[1];
  return port ? Number(port) : null;
}

function regionOf(
  /** @type {string | undefined} */ url,
  /** @type {import("./facts.js").IceServer[]} */ servers,
) {
  const plain = (/** @type {string} */ text) => text.split("?")[0];
  const by = (/** @type {(a: string, b: string) => boolean} */ same) =>
    servers.find(({ urls }) => urls.some((offered) => same(offered, url ?? "")));
  const found = by((a, b) => a === b) ?? by((a, b) => plain(a) === plain(b)) ?? servers[0];
  return found?.region ?? "";
}
