/**
 * Makes the files of `viewer/web/bundle`: what the viewer's page loads, its modules and stylesheets
 * each as one file. `cargo xtask bundle` runs it; a test tells when its result is not committed.
 */

import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const WEB = fileURLToPath(new URL("../../viewer/web/", import.meta.url));
export const BUNDLE = `${WEB}bundle/`;

/** Texts by file name. The sources are served too: the map names them and holds no copy. */
export async function bundle() {
  const { outputFiles } = await build({
    entryPoints: { page: `${WEB}main.js`, look: `${WEB}viewer.css` },
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    sourcemap: "linked",
    sourcesContent: false,
    outdir: BUNDLE,
    write: false,
    logLevel: "warning",
  });
  return new Map(outputFiles.map(({ path, text }) => [basename(path), text]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of await bundle()) {
    const known = await readFile(BUNDLE + name, "utf8").catch(() => "");
    if (text !== known) await writeFile(BUNDLE + name, text);
  }
}
