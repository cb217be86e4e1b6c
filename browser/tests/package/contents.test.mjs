// What is in the package: all that a page needs, and nothing else.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setting } from "../e2e/drive/servers.mjs";

const FOLDER = setting("LOCKSTEP_PACKAGE_FOLDER");
const FILES = [
  "LICENSE", "README.md", "package.json", "engine.d.ts",
  ...["builds", "compute-worker", "download", "engine", "generate-options", "load", "model-cache", "module", "receipt-bytes"].map((name) => `${name}.js`),
  ...["train-options", "worker-connection", "worker"].map((name) => `${name}.js`),
  ...["scalar", "simd128", "threads"].flatMap((build) => ["browser.js", "browser_bg.wasm"].map((name) => `wasm/${build}/${name}`)),
].sort();
/** Bytes that all files have at most: three builds of the module, and little else. */
const MAX_BYTES = 12e6;

test("npm packs these files and no others", () => {
  const { status, stdout, stderr } = spawnSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: FOLDER, encoding: "utf8" });
  assert.equal(status, 0, stderr);
  const [{ files, unpackedSize, size }] = JSON.parse(stdout);
  for (const file of files) console.log(`${String(file.size).padStart(9)} ${file.path}`);
  console.log(`${unpackedSize} bytes, ${size} packed`);
  assert.deepEqual(files.map(({ path }) => path).sort(), FILES);
  assert.ok(unpackedSize < MAX_BYTES, `${unpackedSize} bytes`);
});

test("the manifest depends on nothing and names no place", async () => {
  const text = await readFile(join(FOLDER, "package.json"), "utf8");
  const manifest = JSON.parse(text);
  assert.equal(manifest.name, "lockstep");
  assert.match(manifest.version, /^\d+\.\d+\.\d+/);
  assert.equal(manifest.type, "module");
  for (const key of Object.keys(manifest)) assert.doesNotMatch(key, /dependencies|scripts|publishConfig|private/i);
  assert.doesNotMatch(text, /https?:/);
});
