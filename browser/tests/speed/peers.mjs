// How fast other engines are in Chromium, with one thread and with two: `tools measure --peers`, which makes the folder that
// LOCKSTEP_MEASURE_PEERS names: node_modules, q8_0.gguf for wllama, and models/model for transformers.js.
// Prints one line of JSON for each engine and number of threads.

import { openBrowser } from "../e2e/drive/browser.mjs";
import { setting, startStatic } from "../e2e/drive/servers.mjs";

/** Tokens of the two texts whose difference is the speed of decoding. */
const TEXTS = [8, 40];
const PREFILLED = 256;
/** Of so many runs the best counts. */
const RUNS = 3;

/** llama.cpp in WebAssembly, with the smaller of its weights, which are the faster ones here. */
async function wllama({ threads, texts, prefilled, runs }) {
  const { Wllama } = await import("/node_modules/@wllama/wllama/esm/index.js");
  const engine = new Wllama({ default: "/node_modules/@wllama/wllama/esm/wasm/wllama.wasm" }, { suppressNativeLog: true });
  const weights = await (await fetch("/q8_0.gguf")).blob();
  await engine.loadModel([weights], { n_threads: threads, n_ctx: 1024, n_batch: 512, n_gpu_layers: 0 });
  const generate = async (prompt, count) => {
    const begin = performance.now();
    const options = { max_tokens: count, temperature: 0, top_k: 1, cache_prompt: false, ignore_eos: true };
    const { timings } = await engine.createCompletion({ prompt, ...options });
    return { ms: performance.now() - begin, prefill: timings.prompt_per_second };
  };
  await generate("Once upon a time", 2);
  let prefill = 0;
  const best = [Infinity, Infinity];
  for (let run = 0; run < runs; run++) {
    for (const [i, count] of texts.entries()) best[i] = Math.min(best[i], (await generate("Once upon a time", count)).ms);
    prefill = Math.max(prefill, (await generate(" word".repeat(prefilled), 1)).prefill);
  }
  return { engine: "wllama q8_0", threads: engine.getNumThreads(), prefill, decode: (1000 * (texts[1] - texts[0])) / (best[1] - best[0]) };
}

/** ONNX Runtime in WebAssembly, binary32. */
async function transformersJs({ threads, texts, prefilled, runs }) {
  const { env, AutoModelForCausalLM, Tensor } = await import("/node_modules/@huggingface/transformers/dist/transformers.min.js");
  Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: "/models/", useBrowserCache: false, useWasmCache: false });
  // The plain build, which is faster than the library's default.
  const wasm = `${location.origin}/node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded`;
  Object.assign(env.backends.onnx.wasm, { wasmPaths: { mjs: `${wasm}.mjs`, wasm: `${wasm}.wasm` }, numThreads: threads });
  const model = await AutoModelForCausalLM.from_pretrained("model", { device: "wasm", dtype: "fp32" });
  const generate = async (ids, count) => {
    const shape = [1, ids.length];
    const input = {
      input_ids: new Tensor("int64", BigInt64Array.from(ids, BigInt), shape),
      attention_mask: new Tensor("int64", new BigInt64Array(ids.length).fill(1n), shape),
    };
    const begin = performance.now();
    await model.generate({ ...input, max_new_tokens: count, min_new_tokens: count, do_sample: false });
    return performance.now() - begin;
  };
  const story = [6403, 1980, 253, 655]; // "Once upon a time"
  const long = Array.from({ length: prefilled }, (_, i) => ((i * 37) % 40000) + 20);
  await generate(story, 2);
  const best = [Infinity, Infinity, Infinity];
  for (let run = 0; run < runs; run++) {
    for (const [i, count] of texts.entries()) best[i] = Math.min(best[i], await generate(story, count));
    best[2] = Math.min(best[2], await generate(long, 1));
  }
  return { engine: "transformers.js fp32", threads, prefill: (1000 * prefilled) / best[2], decode: (1000 * (texts[1] - texts[0])) / (best[1] - best[0]) };
}

// Threads need an isolated page.
const server = await startStatic(setting("LOCKSTEP_MEASURE_PEERS"), {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
});
try {
  for (const measure of [wllama, transformersJs]) {
    for (const threads of [1, 2]) {
      const browser = await openBrowser("chromium");
      try {
        const tab = await browser.newTab();
        await tab.goto(`${server.url}/models/model/config.json`); // any page of the server's origin
        console.log(JSON.stringify(await tab.evaluate(measure, { threads, texts: TEXTS, prefilled: PREFILLED, runs: RUNS })));
      } finally {
        await browser.close();
      }
    }
  }
} finally {
  await server.stop();
}
