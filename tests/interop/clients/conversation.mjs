/** What the WebRTC clients in Node have in common: the relay they are told, and what they say. */

const MESSAGES = 200;
const PATIENCE_MS = Number(process.env.INTEROP_PATIENCE_MS ?? 15_000);
const PAYLOAD = "x".repeat(1_000);

/** The relay and the credentials come from `cargo xtask interop`. */
export const relay = {
  host: process.env.INTEROP_HOST,
  port: Number(process.env.INTEROP_PORT),
  transport: process.env.INTEROP_TRANSPORT,
  username: process.env.INTEROP_USER,
  credential: process.env.INTEROP_PASSWORD,
  authority: process.env.INTEROP_CA,
};

/** As a browser is given it. */
export function iceServer() {
  const scheme = relay.transport === "tls" ? "turns" : "turn";
  const transport = relay.transport === "udp" ? "udp" : "tcp";
  return {
    urls: `${scheme}:${relay.host}:${relay.port}?transport=${transport}`,
    username: relay.username,
    credential: relay.credential,
  };
}

/** Ping and pong, each message once and in order; the number of messages. */
export function converse(caller, callee) {
  callee.onMessage((text) => callee.send(text));
  return new Promise((resolve, reject) => {
    let next = 0;
    const ask = () => caller.send(`${next} ${PAYLOAD}`);
    caller.onMessage((text) => {
      if (text !== `${next} ${PAYLOAD}`) reject(new Error(`expected message ${next}, got ${text.slice(0, 40)}`));
      next += 1;
      if (next === MESSAGES) resolve(2 * MESSAGES);
      else ask();
    });
    ask();
  });
}

/** Ends the process if the promise takes too long: some libraries keep it alive for ever. */
export async function within(promise, step) {
  const timer = setTimeout(() => fail(`${step}: nothing within ${PATIENCE_MS} ms`), PATIENCE_MS);
  try {
    return await promise;
  } catch (error) {
    fail(`${step}: ${error.message}`);
  } finally {
    clearTimeout(timer);
  }
}

export function report(result) {
  console.log(JSON.stringify(result));
}

function fail(reason) {
  console.error(reason);
  process.exit(1);
}
