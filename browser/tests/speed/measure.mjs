// How fast the engine is in each browser, with one thread and with all: `tools bench-browser`.
// Prints one line of JSON for each browser and number of threads; the runs must give the same bits.

import assert from "node:assert/strict";
import { BROWSERS, openBrowser } from "../e2e/drive/browser.mjs";
import { startLockstep } from "../e2e/drive/servers.mjs";

const PROMPT = "Once upon a time";
const DECODED = 64;
const PREFILLED = 256;
/** Of so many runs the best counts. */
const RUNS = 3;

/** Runs in the page: speeds in tokens per second, and the transcripts of what was computed. */
async function measure({ threads, prompt, decoded, prefilled, runs }) {
  const { Engine } = await import("./engine.js");
  const engine = await Engine.load({ baseUrl: (await (await fetch("../api/status")).json()).modelUrl, threads });
  const generate = async (prompt, maxTokens) => {
    const times = [performance.now()];
    let last;
    for await (const token of engine.generate({ prompt, maxTokens })) {
      times.push(performance.now());
      last = token;
    }
    return { times, transcript: last.transcriptSha256 };
  };
  const text = await engine.encode(" word".repeat(prefilled));
  const found = { threads: engine.info.threads, oneThread: engine.info.oneThread, backend: engine.info.backend, decode: 0, prefill: 0 };
  for (let run = 0; run < runs; run++) {
    const { times, transcript } = await generate(prompt, decoded);
    found.decode = Math.max(found.decode, (1000 * (times.length - 2)) / (times.at(-1) - times[1]));
    const read = await generate(text.slice(0, prefilled), 1);
    found.prefill = Math.max(found.prefill, (1000 * prefilled) / (read.times[1] - read.times[0]));
    found.transcripts = [transcript, read.transcript];
  }
  found.memoryBytes = engine.info.memoryBytes;
  engine.dispose();
  return found;
}

const server = await startLockstep();
try {
  let bits;
  for (const name of BROWSERS) {
    const browser = await openBrowser(name);
    try {
      const tab = await browser.newTab();
      await tab.goto(`${server.url}/web/icon.svg`); // of the engine's origin and isolated, and nothing else computes there
      for (const threads of [1, undefined]) {
        const { transcripts, ...found } = await tab.evaluate(measure, { threads, prompt: PROMPT, decoded: DECODED, prefilled: PREFILLED, runs: RUNS });
        bits ??= transcripts;
        assert.deepEqual(transcripts, bits, `${name} with ${found.threads} threads computed other bits`);
        const [decode, prefill] = [found.decode, found.prefill].map((speed) => Number(speed.toFixed(1)));
        console.log(JSON.stringify({ browser: name, ...found, decode, prefill }));
      }
    } finally {
      await browser.close();
    }
  }
} finally {
  await server.stop();
}
