// What the README and the pages of docs show as typed at a prompt, done: each command gives the output printed there, and the module's example runs.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { blocks } from "./drive/blocks.mjs";
import { openBrowser, BROWSERS } from "./drive/browser.mjs";
import { setting, startLockstep } from "./drive/servers.mjs";
import { GREEDY_IDS } from "./reference.mjs";

const ROOT = new URL("../../../", import.meta.url);
const PAGES = (await readdir(new URL("docs/", ROOT))).filter((name) => name.endsWith(".md")).sort();
const PATHS = ["README.md", ...PAGES.map((name) => `docs/${name}`)];
const DOCS = await Promise.all(PATHS.map((path) => readFile(new URL(path, ROOT), "utf8")));
const [README] = DOCS;
const PORT_IN_README = "http://127.0.0.1:8080";
/** A model is named after its folder, and the tests have another. */
const NAMED_IN_DOCS = '"SmolLM2-135M-Instruct"';
const NAMED_HERE = JSON.stringify(basename(setting("LOCKSTEP_E2E_MODEL")));

let server;
/** Where the commands run, one after the other, and leave their files. */
let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lockstep-readme-"));
  server = await startLockstep();
});
after(async () => {
  await server?.stop();
  await rm(folder, { recursive: true });
});

const examples = DOCS.flatMap((doc) => blocks(doc, "console")).flatMap((block) => [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)]);

test("there are examples", () => assert.ok(examples.length >= 5, `${examples.length}`));

for (const [, command, output] of examples) {
  test(command, () => {
    const env = {
      ...process.env,
      PATH: dirname(setting("LOCKSTEP_E2E_SERVER")) + delimiter + process.env.PATH,
      LOCKSTEP_MODEL: setting("LOCKSTEP_E2E_MODEL"),
    };
    const line = command.replace(PORT_IN_README, server.url);
    const { status, stdout, stderr } = spawnSync("bash", ["-c", line], { cwd: folder, env, encoding: "utf8" });
    assert.equal(status, 0, stderr);
    // "..." stands for anything.
    const pattern = output.replaceAll(NAMED_IN_DOCS, NAMED_HERE).trimEnd().split("...").map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("[^]*");
    assert.match(stdout.trimEnd(), new RegExp(`^${pattern}$`));
  });
}

test("the module's example", { timeout: 600_000 }, async () => {
  const [example] = blocks(README, "js");
  // As the body of a function: a static import becomes a dynamic one, and what is logged is kept.
  const script = example
    .replace(/^import (.*) from (.*);$/gm, "const $1 = await import($2);")
    .replace(/console\.log\((.*)\);/, "said.push([$1]);");
  const browser = await openBrowser(BROWSERS[0]);
  try {
    const tab = await browser.newTab();
    await tab.goto(`${server.url}/web/`);
    const modelUrl = await tab.evaluate(async () => (await (await fetch("/api/status")).json()).modelUrl);
    const code = `async () => { const said = []; ${script.replace("/models/SmolLM2-135M-Instruct/", modelUrl)} return said; }`;
    const said = await tab.evaluate(new Function(`return ${code}`)());
    assert.deepEqual(said.map(([step, id]) => [step, id]), GREEDY_IDS.slice(0, 5).map((id, i) => [i + 1, id]));
  } finally {
    await browser.close();
  }
});
