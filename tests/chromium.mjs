/**
 * The Chromium of every test and bench: which one it is and how it is started, without what needs
 * a network or a graphics card. `chromium.json` is also read by `cargo xtask bench`.
 */

import { readFileSync } from "node:fs";

export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** @type {readonly string[]} */
export const FLAGS = JSON.parse(readFileSync(new URL("chromium.json", import.meta.url), "utf8"));
