import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { generateSettings } from "../../page/generate-options.js";

const { Engine } = await import("../../page/engine.js");

/** A worker that answers by `operations`; `log` keeps what it was asked. */
class FakeWorker {
  static last;
  static operations;
  log = [];
  terminated = false;

  constructor() {
    FakeWorker.last = this;
  }

  postMessage({ id, operation, args }) {
    this.log.push(operation);
    Promise.resolve()
      .then(() => FakeWorker.operations[operation](args))
      .then((result) => ({ id, result }), (error) => ({ id, error: { name: error.name, message: error.message, fatal: error.fatal ?? false } }))
      .then((data) => this.terminated || this.onmessage({ data }));
  }

  terminate() {
    this.terminated = true;
  }
}

/** The settings of the sampler that the worker was given last. */
let sampled;
/** What the worker was given of what a receipt leaves out, but for a prompt as text. */
let given;
/** Steps that the worker has made. */
let trained;

const never = () => new Promise(() => {});

beforeEach(() => {
  globalThis.Worker = FakeWorker;
  const runs = new Map();
  FakeWorker.operations = {
    load: () => ({ name: "tiny", weightsSha256: "base", memoryBytes: 1 }),
    encode: ({ text, plainSpecial }) => [text.length, plainSpecial],
    decode: ({ ids }) => ids.join(),
    start: ({ run, maxTokens, sampling }) => (sampled = sampling) && runs.set(run, { step: -1, maxTokens }) && undefined,
    advance: ({ run }) => {
      const state = runs.get(run);
      if (++state.step === 0) return { prefill: { done: 64, total: 70 }, memoryBytes: 2 };
      const finishReason = state.step === state.maxTokens ? "length" : null;
      return { step: { step: state.step, tokenId: 7, tokenText: "x", logitsSha256: "d", finishReason }, memoryBytes: 3 };
    },
    release: ({ run }) => void runs.delete(run),
    beginVerification: ({ run, receipt, prompt, ...leftOut }) => {
      given = leftOut;
      const text = new TextDecoder().decode(receipt);
      if (text === "training") throw new Error("the model is being trained");
      runs.set(run, { step: 0, text });
      return text === "no" ? {} : { kind: "generation", steps: 2, signature: "none", promptIds: prompt ?? null };
    },
    advanceVerification: ({ run }) => {
      const state = runs.get(run);
      if (++state.step < 3) return { progress: { done: state.step, total: 3 }, memoryBytes: 7 };
      return { verdict: state.text === "no" ? { verdict: "MALFORMED", step: null, why: "no" } : { verdict: "MATCH", step: null, why: null }, memoryBytes: 8 };
    },
    beginTraining: () => {},
    trainStep: () => ({ step: ++trained, loss: 1 / trained, lossBits: "3f800000", memoryBytes: 9 }),
    finishTraining: () => ({ weightsSha256: `trained ${trained}`, adapterSha256: null, transcriptSha256: "transcript", receipt: "receipt" }),
    reset: () => ({ weightsSha256: "base", adapterSha256: null }),
    identity: () => ({ weightsSha256: "as before", adapterSha256: null }),
    exportAdapter: () => ({ config: new Uint8Array(1), weights: new Uint8Array(2), adapterSha256: "adapter" }),
    loadAdapter: ({ config, weights }) => ({ weightsSha256: "base", adapterSha256: `${config.length} ${weights.length}` }),
    aggregate: ({ adapters, weights, receipts }) => ({ adapterSha256: `${adapters.length} ${weights} ${receipts.map(({ length }) => length)}`, memoryBytes: 6 }),
    gradients: ({ text }) => ({ loss: text.length, gradientsSha256: "g", memoryBytes: 5 }),
  };
  trained = 0;
});

afterEach(() => delete globalThis.Worker);

const load = (options = {}) => Engine.load({ baseUrl: "http://host/model", ...options });

async function collect(tokens) {
  const all = [];
  for await (const token of tokens) all.push(token.step);
  return all;
}

test("an engine loads, encodes, decodes and generates", async () => {
  const engine = await load();
  assert.equal(engine.info.name, "tiny");
  assert.deepEqual(await engine.encode("abc"), [3, false]);
  assert.deepEqual(await engine.encode("abc", { plainSpecial: true }), [3, true]);
  assert.equal(await engine.decode([1, 2]), "1,2");
  const prefill = [];
  assert.deepEqual(await collect(engine.generate({ prompt: "p", maxTokens: 3, onPrefill: (p) => prefill.push(p) })), [1, 2, 3]);
  assert.deepEqual(prefill, [{ done: 64, total: 70 }]);
  assert.equal(engine.info.memoryBytes, 3);
  assert.equal(FakeWorker.last.log.at(-1), "release");
});

test("the worker gets the settings of the sampler, and none that are wrong", async () => {
  const engine = await load();
  const options = { prompt: "p", maxTokens: 1, temperature: 0.8, topK: 5, seed: 2n ** 64n - 1n };
  await collect(engine.generate(options));
  assert.deepEqual(sampled, generateSettings(options).sampling);
  sampled = null;
  await assert.rejects(collect(engine.generate({ ...options, topK: -1 })), /topK/);
  assert.equal(sampled, null);
});

test("leaving the loop releases the generation", async () => {
  const engine = await load();
  for await (const { step } of engine.generate({ prompt: "p", maxTokens: 100 })) if (step === 2) break;
  assert.equal(FakeWorker.last.log.at(-1), "release");
  // The part of the prompt, two tokens, and two more that the worker was asked for ahead.
  assert.equal(FakeWorker.last.log.filter((operation) => operation === "advance").length, 5);
});

test("two generations at once take turns", async () => {
  const engine = await load();
  const both = await Promise.all([collect(engine.generate({ prompt: "a", maxTokens: 3 })), collect(engine.generate({ prompt: "b", maxTokens: 2 }))]);
  assert.deepEqual(both, [[1, 2, 3], [1, 2]]);
});

test("the signal stops a generation with its reason, also while the worker computes", async () => {
  const engine = await load();
  const controller = new AbortController();
  const steps = [];
  await assert.rejects(
    async () => {
      for await (const { step } of engine.generate({ prompt: "p", maxTokens: 100, signal: controller.signal })) {
        steps.push(step);
        if (step === 2) {
          FakeWorker.operations.advance = never;
          setTimeout(() => controller.abort(), 5);
        }
      }
    },
    { name: "AbortError" },
  );
  // Two tokens more had been asked for.
  assert.deepEqual(steps, [1, 2, 3, 4]);
  assert.equal(FakeWorker.last.log.at(-1), "release");
  await assert.rejects(collect(engine.generate({ prompt: "p", signal: controller.signal })), { name: "AbortError" });
});

test("the signal stops loading and ends the worker", async () => {
  FakeWorker.operations.load = never;
  const controller = new AbortController();
  const loading = load({ signal: controller.signal });
  controller.abort();
  await assert.rejects(loading, { name: "AbortError" });
  assert.ok(FakeWorker.last.terminated);
});

test("errors of the worker keep name and text; it goes on after ordinary ones", async () => {
  const engine = await load();
  FakeWorker.operations.decode = () => { throw new RangeError("no token 99"); };
  await assert.rejects(engine.decode([99]), { name: "RangeError", message: "no token 99" });
  assert.deepEqual(await engine.encode("abc"), [3, false]);
});

test("a failure to load ends the worker", async () => {
  FakeWorker.operations.load = () => { throw new Error("tensor a is damaged"); };
  await assert.rejects(load(), /tensor a is damaged/);
  assert.ok(FakeWorker.last.terminated);
});

test("a panic closes the engine", async () => {
  const engine = await load();
  FakeWorker.operations.encode = () => { throw Object.assign(new Error("index out of bounds"), { name: "PanicError", fatal: true }); };
  await assert.rejects(engine.encode("a"), /index out of bounds/);
  await assert.rejects(engine.decode([1]), /stopped after an internal error, load it again: index out of bounds/);
  assert.ok(FakeWorker.last.terminated);
});

test("a worker that dies rejects what is under way", async () => {
  const engine = await load();
  FakeWorker.operations.encode = never;
  const waiting = engine.encode("a");
  FakeWorker.last.onerror({ message: "out of memory" });
  await assert.rejects(waiting, /worker failed: out of memory/);
  await assert.rejects(engine.encode("a"), /worker failed: out of memory/);
});

test("after dispose every call is refused", async () => {
  const engine = await load();
  engine.dispose();
  await assert.rejects(engine.encode("a"), /disposed/);
  await assert.rejects(collect(engine.generate({ prompt: "p" })), /disposed/);
});

test("wrong arguments are named", async () => {
  await assert.rejects(load({ backend: "avx" }), /not "avx"/);
  for (const threads of [0, -1, 1.5, "2", NaN, 65]) await assert.rejects(load({ threads }), RangeError);
  const engine = await load();
  for (const maxTokens of [0, -1, 1.5, "3", NaN]) await assert.rejects(collect(engine.generate({ prompt: "p", maxTokens })), RangeError);
});

const training = () => FakeWorker.last.log.filter((operation) => operation.match(/train|reset/i));

test("a training reports its steps and names its weights", async () => {
  const engine = await load();
  assert.equal(engine.weightsSha256, "base");
  const steps = [];
  const result = await engine.train({ text: "t", steps: 2, onStep: (step) => steps.push(step) });
  const digests = { weightsSha256: "trained 2", adapterSha256: null, transcriptSha256: "transcript", receipt: "receipt" };
  assert.deepEqual(result, { steps: 2, losses: [1, 0.5], ...digests, stopped: false });
  assert.deepEqual(steps[1], { step: 2, loss: 0.5, lossBits: "3f800000" });
  assert.equal(engine.weightsSha256, "trained 2");
  assert.equal(engine.info.weightsSha256, "base");
  assert.equal(engine.info.memoryBytes, 9);
  assert.deepEqual(training(), ["beginTraining", "trainStep", "trainStep", "finishTraining"]);
  await engine.reset();
  assert.equal(engine.weightsSha256, "base");
});

test("the signal ends a training after the step under way, which counts", async () => {
  const engine = await load();
  const controller = new AbortController();
  const options = { text: "t", steps: 100, signal: controller.signal };
  const result = await engine.train({ ...options, onStep: ({ step }) => step === 3 && controller.abort() });
  assert.deepEqual([result.steps, result.stopped, result.weightsSha256], [3, true, "trained 3"]);
  await assert.rejects(engine.train(options), { name: "AbortError" });
});

test("a training that is stopped before its first step leaves the base weights", async () => {
  const engine = await load();
  const controller = new AbortController();
  FakeWorker.operations.beginTraining = () => controller.abort();
  const result = await engine.train({ text: "t", signal: controller.signal });
  const digests = { weightsSha256: "base", adapterSha256: null, transcriptSha256: null, receipt: null };
  assert.deepEqual(result, { steps: 0, losses: [], ...digests, stopped: true });
  assert.deepEqual(training(), ["beginTraining", "reset"]);
});

test("after a failure on the way the base weights are in use", async () => {
  const engine = await load();
  await engine.train({ text: "t", steps: 1 });
  const step = FakeWorker.operations.trainStep;
  FakeWorker.operations.trainStep = () => { throw new Error("the loss is not a finite number"); };
  await assert.rejects(engine.train({ text: "t" }), /not a finite number/);
  assert.equal(engine.weightsSha256, "base");
  FakeWorker.operations.trainStep = step;
  await assert.rejects(engine.train({ text: "t", onStep: () => { throw new Error("mine"); } }), /mine/);
  assert.equal(FakeWorker.last.log.at(-1), "reset");
});

test("a training that is refused changes nothing", async () => {
  const engine = await load();
  FakeWorker.operations.beginTraining = () => { throw new Error("a text is being generated"); };
  await assert.rejects(engine.train({ text: "t" }), /being generated/);
  assert.equal(engine.weightsSha256, "as before");
  assert.deepEqual(training(), ["beginTraining"]);
  for (const steps of [0, -1, 1.5, "3", NaN]) await assert.rejects(engine.train({ text: "t", steps }), RangeError);
  assert.deepEqual(training(), ["beginTraining"], "wrong options do not reach the worker");
});

test("an adapter is named, exported and loaded", async () => {
  const engine = await load();
  assert.equal(engine.adapterSha256, null);
  FakeWorker.operations.finishTraining = () => ({ weightsSha256: "base", adapterSha256: "adapter", transcriptSha256: "t" });
  const result = await engine.train({ text: "t", method: "lora", steps: 1 });
  assert.deepEqual([result.weightsSha256, result.adapterSha256, engine.adapterSha256], ["base", "adapter", "adapter"]);
  const { config, weights, adapterSha256 } = await engine.exportAdapter();
  assert.equal(adapterSha256, "adapter");
  await engine.reset();
  assert.equal(engine.adapterSha256, null);
  await engine.loadAdapter({ config: config.buffer, weights });
  assert.deepEqual([engine.weightsSha256, engine.adapterSha256], ["base", "1 2"]);
  for (const wrong of [{}, { config: "{}", weights }, { config, weights: [1] }]) await assert.rejects(engine.loadAdapter(wrong), TypeError);
  FakeWorker.operations.loadAdapter = () => { throw new Error("adapter_config.json: no"); };
  await assert.rejects(engine.loadAdapter({ config, weights }), /adapter_config/);
  assert.equal(engine.adapterSha256, "1 2", "a refusal changes nothing");
});

test("adapters are put together, and verified, by their bytes", async () => {
  const engine = await load();
  const adapter = { config: new ArrayBuffer(1), weights: new Uint8Array(2) };
  assert.deepEqual(await engine.aggregate([adapter, adapter]), { adapterSha256: "2  " });
  assert.deepEqual(await engine.aggregate([adapter], { weights: [3], receipts: ["{}"] }), { adapterSha256: "1 3 2" });
  assert.deepEqual([engine.info.memoryBytes, engine.adapterSha256], [6, null], "what is in use stays in use");
  for (const weight of [0, 1.5, -1, 2 ** 32, "2"]) await assert.rejects(engine.aggregate([adapter], { weights: [weight] }), RangeError);
  await assert.rejects(engine.aggregate([{ config: "{}", weights: [] }]), TypeError);
  let given;
  const begin = FakeWorker.operations.beginVerification;
  FakeWorker.operations.beginVerification = (args) => (given = args.adapters) && begin(args);
  await engine.verify("yes", { adapters: [adapter] });
  assert.deepEqual([given.length, given[0].config.length, given[0].weights.length], [1, 1, 2]);
});

test("gradients of a text", async () => {
  const engine = await load();
  assert.deepEqual(await engine.gradients({ text: "abc" }), { loss: 3, gradientsSha256: "g" });
  assert.equal(engine.info.memoryBytes, 5);
});

test("a receipt is verified, as text, bytes or object, and the memory is told", async () => {
  const engine = await load();
  const told = [];
  for (const receipt of ["{}", {}, new TextEncoder().encode("{}"), new TextEncoder().encode("{}").buffer]) {
    const result = await engine.verify(receipt, { onProgress: ({ done }) => told.push(done), prompt: [5] });
    assert.deepEqual(result, { verdict: "MATCH", step: null, why: null, kind: "generation", steps: 2, signature: "none", promptIds: [5] });
  }
  assert.deepEqual(told, [1, 2, 1, 2, 1, 2, 1, 2]);
  assert.equal(engine.info.memoryBytes, 8);
  await engine.verify("{}", { messages: [{ role: "user", content: "a" }], data: "é\n" });
  assert.deepEqual([given.turns, given.lines], [["user", "a"], new TextEncoder().encode("é\n")]);
  await engine.verify("{}", { text: "a" });
  assert.deepEqual([given.text, given.lines, given.turns], ["a", undefined, undefined]);
  await assert.rejects(engine.verify("{}", { data: 7 }), /data is/);
  assert.equal((await engine.verify("no")).verdict, "MALFORMED");
  assert.equal(FakeWorker.last.log.filter((operation) => operation === "release").length, 7);
  await assert.rejects(engine.verify("training"), /being trained/);
  await assert.rejects(engine.verify(7), TypeError);
});

test("the signal stops a verification, and its memory is given back", async () => {
  const engine = await load();
  const stopping = new AbortController();
  const verification = engine.verify("{}", { signal: stopping.signal, onProgress: () => stopping.abort() });
  await assert.rejects(verification, { name: "AbortError" });
  assert.equal(FakeWorker.last.log.at(-1), "release");
  await assert.rejects(engine.verify("{}", { signal: stopping.signal }), { name: "AbortError" });
});

test("a worker that waits for its compute workers for good is replaced once, and may take its time then", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { load } = FakeWorker.operations;
    const seen = [];
    const signs = [[true], [true], [true, false]];
    FakeWorker.operations.load = async () => {
      const worker = FakeWorker.last;
      for (const starting of signs.shift()) worker.onmessage({ data: { progress: { starting } } });
      worker.onmessage({ data: { progress: { bytes: 1 } } });
      await new Promise((resolve) => (worker.started = resolve));
      return load();
    };
    const turns = async () => { for (let turn = 0; turn < 20; turn++) await null; };
    const loading = Engine.load({ baseUrl: "http://host/", onProgress: (progress) => seen.push(progress) });
    await turns();
    const first = FakeWorker.last;
    mock.timers.tick(30_000);
    await turns();
    const second = FakeWorker.last;
    assert.ok(first.terminated && second !== first && !second.terminated);
    mock.timers.tick(600_000);
    await turns();
    second.started();
    assert.equal((await loading).info.name, "tiny");
    assert.deepEqual(seen, [{ bytes: 1 }, { bytes: 1 }], "of starting the page hears nothing");
    const another = Engine.load({ baseUrl: "http://host/" });
    await turns();
    const third = FakeWorker.last;
    mock.timers.tick(600_000);
    await turns();
    third.started();
    await another;
    assert.ok(FakeWorker.last === third && !third.terminated, "one whose compute workers have started may take its time");
  } finally {
    mock.timers.reset();
  }
});
