// Training with the real model: the same text gives the same bits natively and in each browser, all weights or an adapter;
// the browser's own text stays there; and every button of the form does what it says.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { promisify } from "node:util";
import { dropFiles, madeFiles, watchFiles } from "./drive/files.mjs";
import { look, open, ready, result, verdict } from "./drive/page.mjs";
import { inEachBrowser } from "./drive/scenarios.mjs";
import { setting, startLockstep, startProxy, startStatic } from "./drive/servers.mjs";
import { train, trained } from "./drive/training.mjs";
import { until } from "./drive/until.mjs";

const TEXT = "The cat sat on the mat and purred loudly.";
/** Words of the other text, none of which any request may hold. */
const SECRET = "Zebras whisper quartz";
const STEPS = 5;
/** What training takes at most of WebAssembly memory, for a text of 128 tokens. */
const MAX_MEMORY = [["lora", "sgd", 600e6], ["full", "sgd", 1.6e9], ["full", "adamw", 2.4e9]];

/** What `lockstep train` makes of the same request: the last line that it prints, and the files of its folder. */
async function trainByCommand(learningRate) {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-adapter-"));
  try {
    const { stdout } = await promisify(execFile)(setting("LOCKSTEP_E2E_SERVER"), [
      ...["train", "--model", setting("LOCKSTEP_E2E_MODEL"), "--text", TEXT, "--steps", `${STEPS}`, "--json"],
      ...["--method", "lora", "--optimizer", "adamw", "--learning-rate", learningRate, "--save", join(folder, "adapter")],
    ]);
    const names = ["adapter_config.json", "adapter_model.safetensors"];
    const files = await Promise.all(names.map((name) => readFile(join(folder, "adapter", name), "base64")));
    return { end: JSON.parse(stdout.trim().split("\n").at(-1)), files };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Presses Regenerate, which begins at once, and waits for the final verdict, the outcome and where the texts part. */
async function regenerate(tab) {
  await until("the button can be pressed", () => tab.evaluate(() => !document.getElementById("regenerate").disabled));
  await tab.click("#regenerate");
  const found = await verdict(tab);
  return Object.assign(found, await tab.evaluate(() => ({
    outcome: document.getElementById("verdict").dataset.outcome,
    divergence: document.getElementById("divergence-text").textContent,
    firstDifference: document.getElementById("divergence").dataset.firstDifference,
  })));
}

inEachBrowser("training", (scenario, name) => {
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
  /** What the two methods make of the text. */
  const digests = {};

  scenario("texts of their own part the sides, the same text keeps them equal, and the browser's text stays there", async (tab) => {
    const proxy = await startProxy(server.url);
    try {
      await open(tab, `${proxy.url}/web/`);
      for (const method of ["lora", "full"]) {
        const apart = await train(tab, { native: TEXT, browser: SECRET }, { method, steps: 1 });
        assert.equal(apart.state, "done", apart.said);
        assert.notEqual(apart.browserDigest, apart.nativeDigest);
      }
      const parted = await regenerate(tab);
      assert.equal(parted.outcome, "apart", parted.text);
      assert.match(parted.text, /as the two models differ$/);
      assert.equal(parted.digestsMatched, 0);
      assert.ok(proxy.asked().some((request) => request.includes(TEXT)), "the native text is in a request");
      for (const word of SECRET.split(" ")) {
        assert.deepEqual(proxy.asked().filter((request) => request.includes(word)), [], `requests that hold ${word}`);
      }
      const same = await train(tab, { native: TEXT, browser: TEXT }, { method: "full", steps: STEPS });
      assert.equal(same.state, "done", same.said);
      assert.deepEqual([same.lossesMatched, same.total, same.outcome], ["5", "5", "equal"], same.said);
      assert.match(same.browserDigest, /^[0-9a-f]{64}$/);
      assert.equal(same.browserDigest, same.nativeDigest);
      digests.full = same.nativeDigest;
      const equal = await regenerate(tab);
      assert.equal(equal.outcome, "equal", equal.text);
      assert.equal(equal.digestsMatched, equal.total);
      assert.deepEqual([equal.divergence, equal.firstDifference], [`Not diverged: ${equal.total} tokens, all the same`, ""]);
    } finally {
      await proxy.stop();
    }
  });

  scenario("an adapter is the same on both sides and from the command; dropped back it gives the same texts", async (tab) => {
    await open(tab, `${server.url}/web/`);
    await watchFiles(tab);
    const same = await train(tab, { native: TEXT, browser: TEXT }, { method: "lora", steps: STEPS });
    assert.equal(same.state, "done", same.said);
    assert.deepEqual([same.lossesMatched, same.total, same.outcome], ["5", "5", "equal"], same.said);
    assert.match(same.browserDigest, /^[0-9a-f]{64}$/);
    assert.equal(same.browserDigest, same.nativeDigest);
    digests.lora = same.browserDigest;
    const learnt = await regenerate(tab);
    assert.equal(learnt.outcome, "equal", learnt.text);

    const { end, files } = await trainByCommand(same.learningRate);
    assert.equal(end.adapter_sha256, same.browserDigest);
    assert.deepEqual(await madeFiles(tab, ["adapter-config", "adapter-weights"]), files, "the files to download are those that the command writes");

    await tab.click("#reset");
    await until("the base weights are back", async () => (await trained(tab)).state === "idle");
    assert.deepEqual([(await trained(tab)).browserDigest, (await trained(tab)).adapter], ["", ""]);
    await dropFiles(tab, [["adapter_config.json", files[0]], ["adapter_model.safetensors", files[1]]]);
    await until("the adapter is used", async () => (await trained(tab)).adapter === same.browserDigest);
    const again = await regenerate(tab);
    assert.deepEqual(again.browser, learnt.browser);
    assert.equal(again.outcome, "apart", "the native side has no adapter any more");

    for (const [file, words] of [
      [["notes.txt", ""], /notes\.txt is not a file of an adapter/],
      [["adapter_model.safetensors", files[0]], /Now adapter_config\.json/],
      [["adapter_config.json", files[0]], /not used: adapter_model\.safetensors/],
    ]) {
      await dropFiles(tab, [file]);
      await until(`the page says ${words}`, async () => words.test((await trained(tab)).error));
    }
    assert.equal((await trained(tab)).adapter, same.browserDigest, "a refusal changes nothing");
  });

  scenario("stop ends the training of both sides, and reset gives the base weights back", async (tab) => {
    await open(tab, `${server.url}/web/`);
    const base = await (await fetch(`${server.url}/api/status`)).json();
    const training = train(tab, { native: TEXT, browser: TEXT }, { method: "full", steps: 500 });
    await until("both sides have made a step", () =>
      tab.evaluate(() => ["native", "browser"].every((side) => document.getElementById(`train-${side}-progress`).textContent !== "")));
    await tab.click("#train-stop");
    const stopped = await training;
    assert.equal(stopped.state, "stopped", stopped.said);
    assert.ok(Number(stopped.total) < 500, stopped.said);
    assert.ok(Number(stopped.lossesMatched) >= 1, stopped.said);
    const now = await (await fetch(`${server.url}/api/status`)).json();
    assert.notEqual(now.weightsSha256, base.weightsSha256, "the server serves what it has learnt");
    assert.equal(now.weightsSha256, stopped.nativeDigest);
    await tab.click("#reset");
    await until("the base weights are back", async () => (await trained(tab)).state === "idle");
    assert.equal((await (await fetch(`${server.url}/api/status`)).json()).weightsSha256, base.weightsSha256);
    const disabled = () => tab.evaluate(() => ["regenerate", "reset", "train-stop"].every((id) => document.getElementById(id).disabled));
    assert.ok(await until("nothing is left to reset", disabled));
    await tab.click("#generate");
    const found = await verdict(tab);
    assert.equal(found.digestsMatched, found.total, found.text);
  });

  scenario("without any server, after loading, the weights and the adapter are the same", async (tab) => {
    await tab.goto(`${site.url}/web/`);
    await until("the page asks", () => look(tab).then(({ loadButton }) => loadButton));
    await tab.click("#load-model");
    await ready(tab);
    await site.stop();
    for (const method of ["full", "lora"]) {
      const found = await train(tab, { browser: TEXT }, { method, steps: STEPS });
      assert.equal(found.state, "done", found.said);
      assert.equal(found.browserDigest, digests[method]);
    }
    assert.equal((await result(tab)).state, "idle", "nothing was generated");
  });

  // One engine is enough to see how much it takes.
  if (name === "chromium") {
    scenario("a text of 128 tokens is learnt in the memory that is promised", async (tab) => {
      await tab.goto(`${server.url}/web/icon.svg`);
      for (const [method, optimizer, most] of MAX_MEMORY) {
        const [tokens, before, taken] = await tab.evaluate(
          async (method, optimizer) => {
            const { Engine } = await import("./engine.js");
            const status = await (await fetch("../api/status")).json();
            const engine = await Engine.load({ baseUrl: status.modelUrl });
            const before = engine.info.memoryBytes;
            const text = " the".repeat(128);
            await engine.train({ text, method, optimizer, steps: 1 });
            const { length } = await engine.encode(text);
            engine.dispose();
            return [length, before, engine.info.memoryBytes];
          },
          method,
          optimizer,
        );
        assert.equal(tokens, 128);
        assert.ok(taken > before, `${taken} bytes, ${before} before`);
        assert.ok(taken < most, `${method} by ${optimizer}: ${taken} bytes`);
      }
    });
  }
});
