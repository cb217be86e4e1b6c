// The worker that owns the WebAssembly engine. It answers requests {id, operation, args} with {id, result} or {id, error},
// one unit of work per request: whoever stops asking for tokens or steps has stopped the generation or the training.

import { builds } from "./builds.js";
import { fetchManifest, fetchWith, receiveFiles } from "./load.js";
import { ModelCache } from "./model-cache.js";
import { startModule } from "./module.js";

/** Milliseconds between two progress messages. */
const PROGRESS_INTERVAL = 50;

let wasm;
let engine;
let wasmMemory;
const runs = new Map();

const operations = {
  async load({ baseUrl, headers, backend, threads }) {
    const onStarting = (starting) => postMessage({ progress: { starting } });
    const started = await startModule({ builds, backend, threads, onStarting });
    wasm = started.wasm;
    wasmMemory = started.memory;
    const cache = await ModelCache.open();
    const assembly = new wasm.Assembly(await fetchManifest(baseUrl, cache, fetchWith(headers)));
    const files = assembly.files();
    const bytes = await receiveFiles({ assembly, baseUrl, cache, onProgress: throttled((progress) => postMessage({ progress })), fetch: fetchWith(headers) });
    try {
      engine = assembly.finish();
    } catch (error) {
      for (const file of files) await cache.evict(file);
      throw error;
    }
    return { ...engine.info(), ...bytes, oneThread: started.oneThread, notCached: cache.unavailable, memoryBytes: memoryBytes() };
  },

  encode: ({ text, plainSpecial }) => engine.encode(text, plainSpecial),

  decode: ({ ids }) => engine.decode(Uint32Array.from(ids)),

  start({ run, prompt, turns, maxTokens, sampling, stop, private: hidden }) {
    const ids = idsOf(prompt, turns);
    const { temperature, topK, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty, biased, biases, seed } = sampling;
    const penalties = [repetitionPenalty, frequencyPenalty, presencePenalty];
    const settings = [temperature, topK, topP, minP, ...penalties, biased, biases, seed];
    runs.set(run, engine.start(ids, maxTokens, ...settings, stop, hidden));
  },

  advance: ({ run }) => ({ ...runs.get(run).advance(engine), memoryBytes: memoryBytes() }),

  beginVerification({ run, receipt, prompt, turns, text, lines, adapters }) {
    const ids = prompt === undefined && turns === undefined ? undefined : idsOf(prompt, turns);
    const verification = new wasm.Verification(engine, receipt, ids, text, lines, adaptersOf(adapters));
    runs.set(run, verification);
    return verification.about();
  },

  advanceVerification: ({ run }) => ({ ...runs.get(run).advance(engine), memoryBytes: memoryBytes() }),

  release({ run }) {
    runs.get(run)?.free();
    runs.delete(run);
  },

  beginTraining({ text, messages, learningRate, optimizer, adapter, private: hidden }) {
    const shape = adapter && new wasm.NewAdapter(adapter.rank, adapter.alpha, adapter.targets, adapter.seed);
    engine.begin_training(text, messages, learningRate, optimizer, shape ?? undefined, hidden);
  },

  trainStep: () => ({ ...engine.train_step(), memoryBytes: memoryBytes() }),

  finishTraining: () => ({ ...engine.finish_training(), ...engine.identity() }),

  reset() {
    engine.reset();
    return engine.identity();
  },

  exportAdapter: () => engine.export_adapter(),

  loadAdapter({ config, weights }) {
    engine.load_adapter(config, weights);
    return engine.identity();
  },

  aggregate: ({ adapters, weights, receipts }) => ({
    ...engine.aggregate(adaptersOf(adapters), Uint32Array.from(weights), receipts), memoryBytes: memoryBytes(),
  }),

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

/** The token ids of a prompt, which is a conversation, by turns, or a text, or has them already. */
function idsOf(prompt, turns) {
  if (turns !== undefined) return engine.encode_messages(turns);
  return typeof prompt === "string" ? engine.encode(prompt, false) : Uint32Array.from(prompt);
}

/** Adapters beside the model, from their files. */
function adaptersOf(files) {
  const adapters = new wasm.Adapters();
  for (const [index, { config, weights }] of files.entries()) {
    try {
      adapters.add(engine, config, weights);
    } catch (error) {
      error.message = `adapter ${index + 1}: ${error.message}`;
      throw error;
    }
  }
  return adapters;
}

function memoryBytes() {
  return wasmMemory.buffer.byteLength;
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
