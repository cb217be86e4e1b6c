// The page as `lockstep serve` serves it, with the real model.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { ask, generate, look, open, ready, result, verdict } from "./drive/page.mjs";
import { inEachBrowser } from "./drive/scenarios.mjs";
import { startLockstep, startProxy } from "./drive/servers.mjs";
import { until } from "./drive/until.mjs";
import { expectEqualBits, expectLockstep } from "./expect.mjs";
import { GREEDY_IDS, PROMPT, PROMPT_IDS } from "./reference.mjs";

const WEIGHTS = /\.safetensors$/;
/** Bytes that the page may hold at most: WebAssembly memory and the heaps of page and worker. */
const MAX_MEMORY = 400e6;

/** How many threads the engine says it has, why only one, and the browser's cores. */
function threads(tab) {
  return tab.evaluate(() => {
    const fact = document.getElementById("fact-threads");
    return { count: Number(fact.dataset.threads), text: fact.textContent, cores: navigator.hardwareConcurrency };
  });
}

/** What each column says of its speed. */
function speeds(tab) {
  return tab.evaluate(() =>
    ["native", "browser"].map((side) => {
      const { textContent, dataset } = document.getElementById(`${side}-speed`);
      return { text: textContent, firstTokenMs: Number(dataset.firstTokenMs) };
    }),
  );
}

/** The module must have computed the golden bits of the tiny models: of their texts and of three training steps. */
async function expectGoldenBits(tab) {
  assert.equal(await tab.evaluate(() => document.getElementById("fact-self-test").textContent), "golden bits reproduced");
}

let server;
before(async () => (server = await startLockstep()));
after(() => server?.stop());

inEachBrowser("with the server", (scenario, name) => {
  scenario("25 tokens: every id and every digest equal", async (tab) => {
    await open(tab, `${server.url}/web/`);
    const found = await generate(tab);
    expectLockstep(found);
    await expectGoldenBits(tab);
    const { count, text, cores } = await threads(tab);
    assert.equal(count, Math.min(cores, 8), text);
    assert.equal(found.text, "25/25 tokens, 25/25 logit digests match");
    const { ids, drawn } = await tab.evaluate(async (prompt) => {
      const { Engine } = await import("./engine.js");
      const engine = await Engine.load({ baseUrl: (await (await fetch("../api/status")).json()).modelUrl });
      const ids = [...(await engine.encode(prompt))];
      const penalties = { repetitionPenalty: 1.1, frequencyPenalty: 0.5, presencePenalty: -0.25, logitBias: { 28: 1.5, 30: -100 } };
      const settings = { temperature: 1.2, topK: 40, topP: 0.95, minP: 0.01, ...penalties, seed: 7 };
      const drawn = [];
      for await (const token of engine.generate({ prompt, maxTokens: 8, ...settings })) drawn.push(token);
      engine.dispose();
      return { ids, drawn };
    }, PROMPT);
    assert.deepEqual(ids, PROMPT_IDS);
    // Drawn tokens are the server's, too, and not the greedy ones.
    const penalties = "repetition_penalty=1.1&frequency_penalty=0.5&presence_penalty=-0.25&logit_bias=30:-100&logit_bias=28:1.5";
    const settings = `temperature=1.2&top_k=40&top_p=0.95&min_p=0.01&${penalties}&seed=7`;
    const events = await (await fetch(`${server.url}/api/generate?max_tokens=8&${settings}`)).text();
    const native = [...events.matchAll(/"tokenId":(\d+)/g)].map(([, id]) => Number(id));
    assert.deepEqual(drawn.map(({ tokenId }) => tokenId), native);
    assert.ok(events.includes(drawn.at(-1).transcriptSha256), "equal transcripts of drawn tokens");
    assert.notDeepEqual(native, GREEDY_IDS.slice(0, 8));
  });

  for (const [query, about, why] of [
    ["threads=2", "wasm-simd128, 2 threads", /^2,/],
    ["threads=1", "wasm-simd128, 1 thread", /^1: .*asked/],
    ["backend=scalar", "scalar, 1 thread", /^1: .*SIMD/],
  ]) {
    scenario(`the same bits with ${query}`, async (tab) => {
      await open(tab, `${server.url}/web/?${query}`);
      assert.equal(await tab.evaluate(() => document.getElementById("browser-about").textContent), about);
      assert.match((await threads(tab)).text, why);
      expectLockstep(await generate(tab));
      await expectGoldenBits(tab);
    });
  }

  scenario("in Chat a message is answered by the template, the same on both sides, and Raw is as before", async (tab) => {
    await open(tab, `${server.url}/web/`);
    await tab.click("#mode-chat + span");
    const message = "What is the capital of France?";
    const found = await generate(tab, { prompt: message, maxTokens: 12 });
    assert.equal(found.state, "done", found.text);
    assert.match(found.native.text, /Paris/);
    expectEqualBits(found, found.native.ids.length);
    const messages = encodeURIComponent(JSON.stringify([{ role: "user", content: message }]));
    const events = await (await fetch(`${server.url}/api/generate?messages=${messages}&max_tokens=12`)).text();
    assert.deepEqual(found.native.ids, [...events.matchAll(/"tokenId":(\d+)/g)].map(([, id]) => Number(id)));
    for (const { text, firstTokenMs } of await speeds(tab)) {
      assert.match(text, /^\d+\.\d tokens\/s, first token after \d+(\.\d\d s| ms)$/);
      assert.ok(firstTokenMs > 0, text);
    }

    await tab.click("#mode-raw + span");
    expectLockstep(await generate(tab)); // the prompt and the number of tokens are those of before
  });

  scenario("a reload takes the weights from the cache", async (tab) => {
    const proxy = await startProxy(server.url);
    try {
      await open(tab, `${proxy.url}/web/`);
      const fetched = proxy.bytesOf(WEIGHTS);
      assert.ok(fetched > 200e6, `${fetched} bytes of weights fetched at first`);
      await tab.reload();
      await ready(tab);
      assert.equal(proxy.bytesOf(WEIGHTS), fetched, "bytes of weights fetched after the reload");
      expectLockstep(await generate(tab));
    } finally {
      await proxy.stop();
    }
  });

  scenario("a server that wants a key is used once it is typed", async (tab) => {
    const locked = await startLockstep("--api-key", "the-key-of-the-tests");
    try {
      await tab.goto(`${locked.url}/web/`);
      const words = () => tab.evaluate(() => document.querySelector("#key-dialog[open] label")?.textContent ?? null);
      const type = (key) =>
        tab.evaluate((key) => {
          document.getElementById("server-key").value = key;
          document.querySelector("#key-dialog form").requestSubmit();
        }, key);
      assert.match(await until("the page asks for the key", words), /wants a key/);
      // Escape leads nowhere.
      await tab.evaluate(() => document.getElementById("key-dialog").close());
      assert.match(await until("the page asks again", words), /wants a key/);
      await type("another-key");
      await until("the page says that it was wrong", async () => /does not take/.test(await words()));
      await type("the-key-of-the-tests");
      await ready(tab);
      expectLockstep(await generate(tab));
      // A reload keeps it.
      await tab.reload();
      await ready(tab);
      assert.equal(await words(), null);
    } finally {
      await locked.stop();
    }
  });

  scenario("stop ends both sides within one token", async (tab) => {
    await open(tab, `${server.url}/web/`);
    await ask(tab, { maxTokens: 300 });
    await tab.click("#generate");
    const counts = ({ native, browser }) => [native.ids.length, browser.ids.length];
    await until("both sides have tokens", async () => counts(await result(tab)).every((count) => count >= 2));
    const atStop = await tab.evaluate(() => {
      document.getElementById("stop").click();
      return ["native", "browser"].map((side) => document.getElementById(`${side}-tokens`).children.length);
    });
    const stopped = await verdict(tab, 10);
    assert.equal(stopped.state, "stopped");
    counts(stopped).forEach((count, side) => assert.ok(count <= atStop[side] + 1, `${count} tokens, ${atStop[side]} at the stop`));
    assert.ok(counts(stopped).every((count) => count < 300), "it was stopped, not finished");
    const generating = async () => (await (await fetch(`${server.url}/api/status`)).json()).activeGenerations;
    await until("the server has nothing to do", async () => (await generating()) === 0, 5);
    // All is ready for the next run.
    expectLockstep(await generate(tab, { maxTokens: 25 }));
  });

  scenario("two tabs at once are both right", async (tab, browser) => {
    const other = await browser.newTab();
    try {
      await Promise.all([tab, other].map((each) => open(each, `${server.url}/web/`)));
      for (const each of [tab, other]) {
        await ask(each, {});
        await each.activate();
        await each.click("#generate");
      }
      for (const found of await Promise.all([tab, other].map((each) => verdict(each)))) expectLockstep(found);
    } finally {
      await other.close();
    }
  });

  scenario("a damaged weight file is an error that says so, and a good one heals it", async (tab) => {
    const proxy = await startProxy(server.url);
    try {
      proxy.corrupt = { path: WEIGHTS, at: 150_000_000 };
      await tab.goto(`${proxy.url}/web/`);
      const failure = () => look(tab).then(({ failure }) => failure);
      assert.match(await until("the page says what is wrong", failure, 180), /tensor .*model\..*(SHA-256|sha256|hash)/i);
      assert.equal((await result(tab)).state, "error");
      assert.equal((await look(tab)).enabled, false);
      proxy.corrupt = null;
      await tab.reload();
      await ready(tab);
      expectLockstep(await generate(tab));
    } finally {
      await proxy.stop();
    }
  });

  // Only Chromium tells how large a page's heaps are.
  if (name === "chromium") {
    scenario("a context of 1,024 tokens takes less than 400 MB", async (tab) => {
      const wasm = {};
      for (const threads of [2, 1]) {
        await open(tab, `${server.url}/web/?threads=${threads}`);
        const found = await generate(tab, { prompt: Array(999).fill("the").join(" "), maxTokens: 25 });
        assert.equal(found.state, "done", found.text);
        expectEqualBits(found, 25);
        wasm[threads] = await tab.evaluate(() => Number(document.getElementById("memory").dataset.memoryBytes));
        assert.ok(wasm[threads] > 269e6, `${wasm[threads]} bytes of WebAssembly memory: the weights alone are more`);
      }
      // Of one thread: shared memory is counted once for each worker that has it, an unshared memory not at all (Chromium 156) or
      // once (148); the worker tells its size after each step.
      const counted = await tab.evaluate(async () => (await performance.measureUserAgentSpecificMemory()).bytes);
      const heaps = counted > wasm[1] ? counted - wasm[1] : counted;
      assert.ok(heaps > 100e3, `${heaps} bytes of heaps`);
      const most = Math.max(wasm[1], wasm[2]);
      assert.ok(heaps + most < MAX_MEMORY, `${heaps} bytes of heaps, WebAssembly memory: ${JSON.stringify(wasm)}`);
    });
  }
});
