/** An agent host played by a page: a canvas for a desktop, and a note of every message it gets. */

/** Runs in the page. */
function host() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [1280, 720];
  const draw = canvas.getContext("2d");
  let tick = 0;
  const wallpaper = (w, h) => {
    const sky = draw.createLinearGradient(0, 0, w, h);
    sky.addColorStop(0, "#1d3a5f");
    sky.addColorStop(1, "#5b3f72");
    draw.fillStyle = sky;
    draw.fillRect(0, 0, w, h);
  };
  setInterval(() => {
    tick += 1;
    wallpaper(canvas.width, canvas.height);
    draw.fillStyle = "#11151c";
    draw.fillRect(140, 110, 620, 420);
    draw.fillStyle = "#d8dee9";
    draw.font = "16px monospace";
    ["$ uname -a", "Linux desk 6.1.0 x86_64 GNU/Linux", `$ tick ${tick}`].forEach((line, i) => draw.fillText(line, 160, 150 + i * 26));
    draw.fillStyle = tick % 2 ? "#e0e0e0" : "#303030";
    draw.fillRect(1160, 640, 60, 40);
  }, 33);
  const stream = canvas.captureStream(30);

  window.host = {
    received: [],
    channels: {},
    connection: null,
    generation: "",
    deaf: false,
    /** Takes part in everything, but shows nothing. */
    dark: false,
    async answer(sdp) {
      const generation = /a=fingerprint:(\S+ \S+)/.exec(sdp)[1];
      if (this.generation !== generation) {
        this.connection?.close();
        this.generation = generation;
        this.connection = this.fresh();
      }
      await this.connection.setRemoteDescription({ type: "offer", sdp });
      await this.connection.setLocalDescription();
      return this.connection.localDescription.sdp;
    },
    fresh() {
      const connection = new RTCPeerConnection();
      if (this.dark) connection.addTransceiver("video", { direction: "sendonly", streams: [new MediaStream()] });
      else connection.addTrack(stream.getTracks()[0], stream);
      connection.onicecandidate = ({ candidate }) => candidate && window.found({ candidate: candidate.candidate, mid: candidate.sdpMid });
      connection.ondatachannel = ({ channel }) => {
        channel.binaryType = "arraybuffer";
        this.channels[channel.label] = channel;
        channel.onmessage = ({ data }) => this.take(channel, new Uint8Array(data));
      };
      return connection;
    },
    take(channel, bytes) {
      if (this.deaf) return;
      if (bytes[0] === 0x22) {
        const pong = new Uint8Array(17);
        pong[0] = 0x23;
        pong.set(bytes.subarray(1), 1);
        channel.send(pong);
      } else this.received.push({ channel: channel.label, bytes: [...bytes] });
    },
    /** The program dies and another starts: it knows of no connection. */
    restart() {
      this.connection?.close();
      this.generation = "";
    },
  };
}

export async function agentHost(context, origin, found) {
  const page = await context.newPage();
  await page.exposeFunction("found", found);
  await page.goto(`${origin}/double`);
  await page.evaluate(host);
  return {
    page,
    answer: (sdp) => page.evaluate((offer) => window.host.answer(offer), sdp),
    candidate: (candidate) =>
      page.evaluate(async (c) => {
        const init = { candidate: c.candidate, sdpMid: c.mid ?? "0" };
        await window.host.connection?.addIceCandidate(init).catch(() => {});
      }, candidate),
    restart: () => page.evaluate(() => window.host.restart()),
    setDeaf: (deaf) => page.evaluate((value) => (window.host.deaf = value), deaf),
    dark: (dark) => page.evaluate((value) => (window.host.dark = value), dark),
    say: (bytes) => page.evaluate((values) => window.host.channels.control.send(new Uint8Array(values)), bytes),
    /** Messages of one channel, without motion's sequence mattering to anybody. */
    async received(channel) {
      const all = await page.evaluate(() => window.host.received);
      return all.filter((message) => message.channel === channel).map(({ bytes }) => bytes);
    },
    forget: () => page.evaluate(() => (window.host.received.length = 0)),
    /** Waits until a message that passes the test has come on a channel. */
    async until(channel, test) {
      for (let tries = 0; tries < 200; tries += 1) {
        const found = (await this.received(channel)).find(test);
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      throw new Error(`no such message on ${channel}: ${JSON.stringify(await this.received(channel))}`);
    },
  };
}
