// The page as a static site (`tools site`), without any server of ours, and then without any server.

import assert from "node:assert/strict";
import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { generate, look, open, ready } from "./drive/page.mjs";
import { inEachBrowser } from "./drive/scenarios.mjs";
import { setting, startStatic } from "./drive/servers.mjs";
import { until } from "./drive/until.mjs";
import { expectEqualBits, expectLockstep } from "./expect.mjs";
import { GREEDY_IDS, RECEIPT } from "./reference.mjs";

const WEIGHTS = /\.safetensors$/;

test("every file of the site is small enough for common hosts", async () => {
  const site = setting("LOCKSTEP_E2E_SITE");
  const files = (await readdir(site, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  let shards = 0;
  for (const file of files) {
    const path = join(file.parentPath ?? file.path, file.name);
    const { size } = await stat(path);
    assert.ok(size < 95e6, `${path} has ${size} bytes`);
    shards += WEIGHTS.test(path);
  }
  assert.ok(shards >= 3, `${shards} shards`);
});

test("the recorded run is the reference's", async () => {
  const runs = JSON.parse(await readFile(join(setting("LOCKSTEP_E2E_SITE"), "web/recorded.json"), "utf8"));
  const run = runs.find(({ prompt }) => prompt === "Once upon a time");
  assert.equal(run.max_tokens, 25);
  assert.deepEqual(run.token_ids, GREEDY_IDS);
  assert.equal(JSON.stringify(run.receipt), RECEIPT);
});

inEachBrowser("as a static site", (scenario) => {
  let server;
  before(async () => (server = await startStatic(setting("LOCKSTEP_E2E_SITE"))));
  after(() => server?.stop());

  scenario("it asks before it loads, compares with the recorded run, and works offline afterwards", async (tab) => {
    await tab.goto(`${server.url}/`);
    const button = () => look(tab).then(({ loadButton }) => loadButton).catch(() => ""); // the first page only leads to the second
    assert.match(await until("the page asks", button), /27\d MB/);
    assert.equal(server.bytesOf(WEIGHTS), 0, "bytes of weights fetched before the answer");
    await tab.click("#load-model");
    await ready(tab);
    assert.ok(server.bytesOf(WEIGHTS) > 200e6);
    assert.equal(await tab.evaluate(() => document.getElementById("native-badge").hidden), false, "labelled as recorded");
    const threads = () => tab.evaluate(() => document.getElementById("fact-threads").textContent);
    assert.match(await threads(), /^1: .*COOP and COEP/);
    expectLockstep(await generate(tab));
    await until("the page is kept", () => tab.evaluate(() => /^ready/.test(document.getElementById("fact-offline").textContent)));

    await server.stop();
    await tab.reload();
    await ready(tab);
    // What is kept has the headers that this server does not send.
    const cores = await tab.evaluate(() => navigator.hardwareConcurrency);
    // WebKit does not start every worker without a network; those that start compute, and with none there is one thread.
    assert.match(await threads(), cores > 1 ? /^(\d+, which share one memory|1: no compute worker)/ : /^1: .*core/);
    expectLockstep(await generate(tab));

    // A receipt is verified without a network, too.
    const [link, recorded] = await tab.evaluate(() => ["browser", "native"].map((side) => document.getElementById(`${side}-verify`).href));
    assert.equal(recorded, link, "the recorded run has a receipt too");
    await tab.goto(link);
    const found = () => tab.evaluate(() => document.getElementById("verify-verdict").dataset.verdict);
    assert.equal(await until("there is a verdict", found), "MATCH");
  });
});
