// Training with the real model: the same text gives the same bits natively and in each browser, and the browser's own text
// stays there.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { look, open, ready } from "./drive/page.mjs";
import { inEachBrowser } from "./drive/scenarios.mjs";
import { setting, startLockstep, startProxy, startStatic } from "./drive/servers.mjs";
import { until } from "./drive/until.mjs";

const TEXT = "The cat sat on the mat and purred loudly.";
/** Words of the other text, none of which any request may hold. */
const SECRET = "Zebras whisper quartz";
const STEPS = 5;

/** The verdict's element: its state, text and data. */
function trained(tab) {
  return tab.evaluate(() => {
    const element = document.getElementById("train-verdict");
    return { ...element.dataset, said: element.textContent };
  });
}

/** Fills in the form, trains, and waits for the end. */
async function train(tab, texts, steps = STEPS) {
  await tab.evaluate((texts, steps) => {
    document.getElementById("train-steps").value = steps;
    for (const [side, text] of Object.entries(texts)) document.getElementById(`train-${side}-text`).value = text;
  }, texts, steps);
  await tab.click("#train");
  const final = async () => {
    const now = await trained(tab);
    return ["idle", "running"].includes(now.state) ? null : now;
  };
  return until("the training ends", final, 300, async () => JSON.stringify([await trained(tab), await look(tab)]));
}

inEachBrowser("training", (scenario) => {
  let server;
  let site;
  before(async () => {
    server = await startLockstep();
    site = await startStatic(setting("LOCKSTEP_E2E_SITE"));
  });
  after(async () => {
    await server?.stop();
    await site?.stop();
  });
  let digest;

  scenario("texts of their own part the sides, the same text keeps them equal, and the browser's text stays there", async (tab) => {
    const proxy = await startProxy(server.url);
    try {
      await open(tab, `${proxy.url}/web/`);
      const apart = await train(tab, { native: TEXT, browser: SECRET }, 1);
      assert.equal(apart.state, "done", apart.said);
      assert.notEqual(apart.browserDigest, apart.nativeDigest);
      assert.ok(proxy.asked().some((request) => request.includes(TEXT)), "the native text is in a request");
      for (const word of SECRET.split(" ")) {
        assert.deepEqual(proxy.asked().filter((request) => request.includes(word)), [], `requests that hold ${word}`);
      }
      const same = await train(tab, { native: TEXT, browser: TEXT });
      assert.equal(same.state, "done", same.said);
      assert.deepEqual([same.lossesMatched, same.total], ["5", "5"], same.said);
      assert.match(same.browserDigest, /^[0-9a-f]{64}$/);
      assert.equal(same.browserDigest, same.nativeDigest);
      digest = same.nativeDigest;
    } finally {
      await proxy.stop();
    }
  });

  scenario("without any server, after loading, the weights are the same", async (tab) => {
    await tab.goto(`${site.url}/web/`);
    await until("the page asks", () => look(tab).then(({ loadButton }) => loadButton));
    await tab.click("#load-model");
    await ready(tab);
    await site.stop();
    const found = await train(tab, { browser: TEXT });
    assert.equal(found.state, "done", found.said);
    assert.equal(found.browserDigest, digest);
  });
});
