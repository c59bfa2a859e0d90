// The description of the HTTP API, judged by somebody else's validator against the schema of OpenAPI.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { test } from "node:test";

import { PROGRAMS } from "./house.mjs";

const require = createRequire(new URL("../web/package.json", import.meta.url));
const { Validator } = await import(require.resolve("@seriousme/openapi-schema-validator"));
const printed = execFileSync(`${PROGRAMS}/multiclaw-cloud`, ["openapi"]).toString();

test("the description is valid OpenAPI 3.1", async () => {
  const validator = new Validator();
  const found = await validator.validate(JSON.parse(printed));
  assert.ok(found.valid, JSON.stringify(found.errors, null, 2));
  assert.equal(validator.version, "3.1");
});

test("every reference in it leads somewhere", async () => {
  const validator = new Validator();
  await validator.validate(JSON.parse(printed));
  validator.resolveRefs();
});

test("the validator refuses a description that is none", async () => {
  const broken = JSON.parse(printed);
  broken.paths["/api/v1/me"].get.responses["200"] = { content: 1 };
  const found = await new Validator().validate(broken);
  assert.equal(found.valid, false);
});

test("who reads only its beginning is told no error", () => {
  const script = 'set -o pipefail; "$0" openapi | head -c 10';
  assert.equal(execFileSync("bash", ["-c", script, `${PROGRAMS}/multiclaw-cloud`]).toString().length, 10);
});
