/** A display of the viewer's own, and real X clients on a display that say what they were given. */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { PROGRAMS } from "./house.mjs";

/** Starts an X server, which picks a free number; it goes to `programs`, for the test to end. */
export async function startDisplay(programs, size = "1100x800x24") {
  const args = ["-displayfd", "3", "-screen", "0", size, "-nolisten", "tcp", "-noreset"];
  const server = spawn("Xvfb", args, { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  programs.push(server);
  const number = await new Promise((resolve) => server.stdio[3].once("data", (text) => resolve(`${text}`.trim())));
  return `:${number}`;
}

/** A client that takes the keyboard focus of a display; `typed` grows. */
export async function record(programs, display) {
  const probe = spawn(`${PROGRAMS}/key-probe`, ["record", "--display", display], { stdio: ["ignore", "pipe", "inherit"] });
  programs.push(probe);
  const typed = [];
  await new Promise((resolve) => {
    createInterface({ input: probe.stdout }).on("line", (line) => {
      const said = JSON.parse(line);
      if (said.ready) return resolve();
      typed.push(said);
    });
  });
  return { typed, text: () => typed.map((key) => key.character).join(""), stop: () => probe.kill("SIGKILL") };
}
