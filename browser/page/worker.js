// The worker that owns the WebAssembly engine. It answers requests {id, operation, args} with {id, result} or {id, error},
// one unit of work per request: whoever stops asking for tokens or steps has stopped the generation or the training.

import { fetchManifest, receiveFiles } from "./load.js";
import { ModelCache } from "./model-cache.js";

/** Milliseconds between two progress messages. */
const PROGRESS_INTERVAL = 50;

let wasm;
let engine;
let wasmMemory;
const runs = new Map();

const operations = {
  async load({ baseUrl, backend }) {
    const build = backend === "auto" ? (hasSimd128() ? "simd128" : "scalar") : backend;
    wasm = await import(`./wasm/${build}/browser.js`);
    const moduleUrl = new URL(`./wasm/${build}/browser_bg.wasm`, import.meta.url);
    wasmMemory = (await wasm.default({ module_or_path: moduleUrl })).memory;
    const cache = await ModelCache.open();
    const assembly = new wasm.Assembly(await fetchManifest(baseUrl, cache));
    const files = assembly.files();
    const bytes = await receiveFiles({ assembly, baseUrl, cache, onProgress: throttled((progress) => postMessage({ progress })) });
    try {
      engine = assembly.finish();
    } catch (error) {
      for (const file of files) await cache.evict(file);
      throw error;
    }
    return { ...engine.info(), ...bytes, notCached: cache.unavailable, memoryBytes: memoryBytes() };
  },

  encode: ({ text, plainSpecial }) => engine.encode(text, plainSpecial),

  decode: ({ ids }) => engine.decode(Uint32Array.from(ids)),

  start({ run, prompt, maxTokens, sampling }) {
    const ids = typeof prompt === "string" ? engine.encode(prompt, false) : Uint32Array.from(prompt);
    const { temperature, topK, topP, minP, repetitionPenalty, seed } = sampling;
    runs.set(run, engine.start(ids, maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed));
    return { promptIds: ids };
  },

  advance: ({ run }) => ({ ...runs.get(run).advance(engine), memoryBytes: memoryBytes() }),

  release({ run }) {
    runs.get(run)?.free();
    runs.delete(run);
  },

  beginTraining({ text, messages, learningRate, optimizer, adapter }) {
    const shape = adapter && new wasm.NewAdapter(adapter.rank, adapter.alpha, adapter.targets, adapter.seed);
    return { tokens: engine.begin_training(text, messages, learningRate, optimizer, shape ?? undefined) };
  },

  trainStep: () => ({ ...engine.train_step(), memoryBytes: memoryBytes() }),

  finishTraining: () => ({ transcriptSha256: engine.finish_training(), ...engine.identity() }),

  reset() {
    engine.reset();
    return engine.identity();
  },

  exportAdapter: () => engine.export_adapter(),

  loadAdapter({ config, weights }) {
    engine.load_adapter(config, weights);
    return engine.identity();
  },

  identity: () => engine.identity(),

  gradients: ({ text }) => ({ ...engine.gradients(text), memoryBytes: memoryBytes() }),
};

onmessage = async ({ data: { id, operation, args } }) => {
  try {
    postMessage({ id, result: await operations[operation](args) });
  } catch (error) {
    // A trap leaves the engine in an unknown state; a panic arrives as an Error of its own name.
    const fatal = error instanceof WebAssembly.RuntimeError || error.name === "PanicError";
    postMessage({ id, error: { name: error.name, message: error.message, fatal } });
  }
};

function memoryBytes() {
  return wasmMemory.buffer.byteLength;
}

/** Whether the browser has 128-bit SIMD: a module with one function, `i8x16.popcnt(i8x16.splat(0))`, is valid. */
function hasSimd128() {
  const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  const types = [0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b];
  const functions = [0x03, 0x02, 0x01, 0x00];
  const code = [0x0a, 0x0a, 0x01, 0x08, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x62, 0x0b];
  return WebAssembly.validate(new Uint8Array([...header, ...types, ...functions, ...code]));
}

/** Passes on the first and the last event of each file, and those in between that are far enough apart. */
function throttled(report) {
  let last = -Infinity;
  return (event) => {
    const now = performance.now();
    if (event.loaded < event.total && now - last < PROGRESS_INTERVAL) return;
    last = now;
    report(event);
  };
}
