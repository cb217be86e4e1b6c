// The public face of the browser engine; the types are in engine.d.ts.

import { generateSettings, promptOf } from "./generate-options.js";
import { fetchManifest } from "./load.js";
import { ModelCache } from "./model-cache.js";
import { bytesIn, receiptBytes } from "./receipt-bytes.js";
import { isCount, trainSettings } from "./train-options.js";
import { WorkerConnection, unlessAborted } from "./worker-connection.js";

/** The most threads that may be asked for. */
const MAX_THREADS = 64;

/** Milliseconds in which the engine's worker has to start its compute workers, which itself gives them 20 seconds. */
const START_PATIENCE = 30_000;

/** Tokens that the worker is asked for at a time. */
const AHEAD = 2;

export class Engine {
  #worker;
  #runs = 0;

  /** What runs: see `EngineInfo`. */
  info;

  /** The digest of the weights that texts are generated with. */
  weightsSha256;

  /** The digest of the adapter beside them, null where there is none. */
  get adapterSha256() {
    return this.info.adapterSha256;
  }

  /** Starts a worker, loads and checks the model of a folder that has a `manifest.json`. */
  static async load({ baseUrl, headers = {}, onProgress = () => {}, signal, backend = "auto", threads }) {
    if (!["auto", "simd128", "scalar"].includes(backend)) {
      throw new RangeError(`backend is "auto", "simd128" or "scalar", not "${backend}"`);
    }
    if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)) {
      throw new RangeError(`threads is an integer from 1 to ${MAX_THREADS}, not ${threads}`);
    }
    signal?.throwIfAborted();
    const options = { baseUrl: folderUrl(baseUrl), headers, backend, threads };
    return (await loaded(options, onProgress, signal, START_PATIENCE)) ?? loaded(options, onProgress, signal, Infinity);
  }

  constructor(worker, info) {
    this.#worker = worker;
    this.info = { ...info, adapterSha256: null };
    this.weightsSha256 = info.weightsSha256;
  }

  /** Generates, one step at a time; leaving the loop, or the signal, stops it at once, and the worker after the tokens that it was asked for. */
  async *generate({ signal, onPrefill = () => {}, ...options }) {
    const settings = generateSettings(options);
    const { call, release } = this.#begin(signal);
    const asked = [];
    const ask = (ahead) => {
      while (asked.length < ahead) {
        const answer = call("advance");
        answer.catch(() => {}); // of what is asked for ahead, nobody may wait any more
        asked.push(answer);
      }
    };
    try {
      await call("start", settings);
      for (;;) {
        ask(1);
        const { prefill, step, memoryBytes } = await asked.shift();
        this.info.memoryBytes = memoryBytes;
        if (prefill) onPrefill(prefill);
        if (!step) continue;
        // So that the worker need not wait for this thread between two tokens.
        if (!step.finishReason) ask(AHEAD);
        yield step;
        if (step.finishReason) return;
      }
    } finally {
      release();
    }
  }

  /** Computes again what a receipt tells, with the weights in use or the loaded ones; the signal stops it within one step. */
  async verify(receipt, { signal, onProgress = () => {}, prompt, messages, text, data, adapters = [] } = {}) {
    const lines = data === undefined ? undefined : linesOf(data);
    const given = { ...promptOf({ prompt, messages }), text, lines, adapters: adapters.map(adapterBytes) };
    const bytes = receiptBytes(receipt);
    const { call, release } = this.#begin(signal);
    try {
      const about = await call("beginVerification", { receipt: bytes, ...given });
      for (;;) {
        const { progress, verdict, memoryBytes } = await call("advanceVerification");
        this.info.memoryBytes = memoryBytes;
        if (progress) onProgress(progress);
        if (verdict) return { ...verdict, ...about };
      }
    } finally {
      release();
    }
  }

  /** Something that the worker does in many units, under a number of its own. */
  #begin(signal) {
    signal?.throwIfAborted();
    const run = ++this.#runs;
    return {
      call: (operation, args) => unlessAborted(this.#worker.call(operation, { run, ...args }), signal),
      release: () => this.#worker.call("release", { run }).catch(() => {}), // a closed worker has released it
    };
  }

  /** Trains all base weights or a new adapter, one step at a time; the signal stops it after the step under way. */
  async train({ signal, onStep = () => {}, ...options }) {
    const { steps, settings } = trainSettings(options);
    signal?.throwIfAborted();
    try {
      await this.#worker.call("beginTraining", settings);
    } catch (error) {
      // What was learnt before may have been given up for the memory.
      await this.#adopt("identity").catch(() => {});
      throw error;
    }
    try {
      const losses = [];
      while (losses.length < steps && !signal?.aborted) {
        const { memoryBytes, ...step } = await this.#worker.call("trainStep");
        this.info.memoryBytes = memoryBytes;
        losses.push(step.loss);
        onStep(step);
      }
      const { transcriptSha256 = null, receipt = null } = await this.#adopt(losses.length > 0 ? "finishTraining" : "reset");
      const { weightsSha256, adapterSha256 } = this;
      return { steps: losses.length, losses, weightsSha256, adapterSha256, transcriptSha256, receipt, stopped: losses.length < steps };
    } catch (error) {
      await this.reset().catch(() => {}); // a closed worker has no weights to go back to
      throw error;
    }
  }

  /** Goes back to the base weights. */
  async reset() {
    await this.#adopt("reset");
  }

  /** The adapter in use, as the two files that Python's `peft` loads, and its digest. */
  exportAdapter() {
    return this.#worker.call("exportAdapter");
  }

  /** Puts the adapter of these two files beside the base weights. */
  async loadAdapter(files) {
    await this.#adopt("loadAdapter", adapterBytes(files));
  }

  /** Makes one adapter of several, the weighted mean of what they add to the loaded weights; what is in use stays in use. */
  async aggregate(adapters, { weights = [], receipts = [] } = {}) {
    for (const weight of weights) {
      if (!isCount(weight)) throw new RangeError(`a weight is an integer from 1 to 4294967295, not ${weight}`);
    }
    const { memoryBytes, ...result } = await this.#worker.call("aggregate", {
      adapters: adapters.map(adapterBytes), weights, receipts: receipts.map(receiptBytes),
    });
    this.info.memoryBytes = memoryBytes;
    return result;
  }

  /** The loss of a text and the digest of its gradients under the present weights. */
  async gradients({ text }) {
    const { memoryBytes, ...result } = await this.#worker.call("gradients", { text });
    this.info.memoryBytes = memoryBytes;
    return result;
  }

  /** Asks for something that may change what texts are generated with, and takes note of that. */
  async #adopt(operation, args) {
    const result = await this.#worker.call(operation, args);
    this.weightsSha256 = result.weightsSha256;
    this.info.adapterSha256 = result.adapterSha256;
    return result;
  }

  /** The token ids of a text. */
  encode(text, { plainSpecial = false } = {}) {
    return this.#worker.call("encode", { text, plainSpecial });
  }

  /** The text of token ids, special tokens included. */
  decode(ids) {
    return this.#worker.call("decode", { ids });
  }

  /** Ends the worker, which frees the memory; what is under way is rejected. */
  dispose() {
    this.#worker.close("the engine was disposed of");
  }

  /** What a folder holds, how large it is and how much of it is in the cache, without loading it. */
  static async inspect({ baseUrl }) {
    const cache = await ModelCache.open();
    const manifest = JSON.parse(new TextDecoder().decode(await fetchManifest(folderUrl(baseUrl), cache)));
    let bytes = 0;
    let cachedBytes = 0;
    for (const file of manifest.files) {
      bytes += file.size;
      cachedBytes += await cache.bytesOf(file);
    }
    return { name: manifest.name, bytes, cachedBytes };
  }

  /** Bytes of model files in this browser's cache, and why there is no cache where there is none. */
  static async cacheSize() {
    const cache = await ModelCache.open();
    return { bytes: await cache.size(), unavailable: cache.unavailable };
  }

  /** Deletes all model files from this browser's cache; a loaded engine keeps working. */
  static async deleteCache() {
    await (await ModelCache.open()).clear();
  }
}

/**
 * An engine whose worker has loaded the model; null if the worker was ended because its compute workers took longer than
 * `patience` to start. In Firefox a worker now and then waits for one that it has made, for good; another worker does not.
 */
async function loaded(options, onProgress, signal, patience) {
  let timer;
  let giveUp;
  const late = new Promise((resolve) => (giveUp = resolve));
  const watch = (starting) => {
    clearTimeout(timer);
    if (starting && patience < Infinity) timer = setTimeout(giveUp, patience, null);
  };
  const report = (progress) => ("starting" in progress ? watch(progress.starting) : onProgress(progress));
  // In one expression, by which bundlers find the worker.
  const worker = new WorkerConnection(new Worker(new URL("./worker.js", import.meta.url), { type: "module" }), report);
  try {
    const info = await unlessAborted(Promise.race([worker.call("load", options), late]), signal);
    if (info !== null) return new Engine(worker, info);
  } catch (error) {
    worker.close("the engine was not loaded");
    throw error;
  } finally {
    clearTimeout(timer);
  }
  worker.close("the compute workers did not start");
  return null;
}

function folderUrl(baseUrl) {
  const url = new URL(baseUrl, globalThis.location?.href);
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url.href;
}

/** The bytes of JSON lines. */
function linesOf(data) {
  return typeof data === "string" ? new TextEncoder().encode(data) : bytesOf(data, "data");
}

/** The bytes of an adapter's two files. */
function adapterBytes({ config, weights }) {
  return { config: bytesOf(config, "config"), weights: bytesOf(weights, "weights") };
}

/** The bytes of a file. */
function bytesOf(file, name) {
  const bytes = bytesIn(file);
  if (bytes) return bytes;
  throw new TypeError(`${name} is an ArrayBuffer or an Uint8Array: the bytes of a file`);
}
