import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

const { startComputeWorkers, startModule, whyOneThread } = await import("../../page/module.js");

const set = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });

afterEach(() => {
  for (const name of ["isSecureContext", "crossOriginIsolated", "navigator", "Worker"]) delete globalThis[name];
});

/** A browser in which nothing is in the way of threads, but for what is told. */
function surroundings({ hardwareConcurrency = 4, isSecureContext = true, crossOriginIsolated = true } = {}) {
  set("navigator", { hardwareConcurrency });
  set("isSecureContext", isSecureContext);
  set("crossOriginIsolated", crossOriginIsolated);
}

test("an isolated page on a device with cores has threads", () => {
  surroundings();
  assert.equal(whyOneThread("simd128", undefined), null);
  assert.equal(whyOneThread("simd128", 2), null);
});

test("the reason for one thread is told", () => {
  surroundings();
  assert.match(whyOneThread("simd128", 1), /asked/);
  assert.match(whyOneThread("scalar", undefined), /SIMD/);
  surroundings({ hardwareConcurrency: 1 });
  assert.match(whyOneThread("simd128", undefined), /one core/);
  assert.equal(whyOneThread("simd128", 2), null, "more threads than cores can be asked for");
  surroundings({ crossOriginIsolated: false });
  assert.match(whyOneThread("simd128", undefined), /COOP and COEP/);
  surroundings({ isSecureContext: false, crossOriginIsolated: false });
  assert.match(whyOneThread("simd128", undefined), /secure context/);
  surroundings();
  const { SharedArrayBuffer } = globalThis;
  set("SharedArrayBuffer", undefined);
  assert.match(whyOneThread("simd128", undefined), /shares no memory/);
  set("SharedArrayBuffer", SharedArrayBuffer);
});

/** Compute workers that answer in their order of creation; null is a script that cannot be loaded. */
function workers(answers) {
  const made = [];
  set("Worker", class {
    terminated = false;
    constructor() {
      this.answer = answers[made.length];
      made.push(this);
    }
    postMessage(message) {
      this.message = message;
      queueMicrotask(() => (this.answer === null ? this.onerror({}) : this.onmessage({ data: this.answer })));
    }
    terminate() {
      this.terminated = true;
    }
  });
  return made;
}

test("every compute worker gets module and memory", async () => {
  const made = workers([{}, {}]);
  await startComputeWorkers(2, { module: "m", memory: "n" });
  assert.deepEqual(made.map(({ message }) => message), [{ module: "m", memory: "n" }, { module: "m", memory: "n" }]);
});

test("one that cannot start is ended, and the others go on", async () => {
  const made = workers([{ error: "no memory" }, {}, null]);
  await startComputeWorkers(3, {});
  assert.deepEqual(made.map(({ terminated }) => terminated), [true, false, true]);
});

test("if none can start, the first reason is told", async () => {
  workers([{ error: "no memory" }, null]);
  await assert.rejects(startComputeWorkers(2, {}), /no compute worker can be started: no memory/);
  workers([null]);
  await assert.rejects(startComputeWorkers(1, {}), /script cannot be loaded/);
});

/** Builds that note what they are started with. */
function fakeBuilds() {
  const started = [];
  const build = (name) => {
    const start = async (options) => {
      started.push([name, options]);
      return { memory: `${name}'s memory` };
    };
    return { url: `${name}'s address`, wasm: { module: () => `${name}'s module`, default: start } };
  };
  return { started, builds: { scalar: build("scalar"), simd128: build("simd128"), threads: build("threads") } };
}

test("with one thread the build that was asked for is started, and no other", async () => {
  surroundings();
  for (const [backend, name] of [["scalar", "scalar"], ["simd128", "simd128"], ["auto", "simd128"]]) {
    const { builds, started } = fakeBuilds();
    const { wasm, memory, oneThread } = await startModule({ builds, backend, threads: 1 });
    assert.deepEqual(started, [[name, { module_or_path: `${name}'s address` }]]);
    assert.equal(wasm, builds[name].wasm);
    assert.equal(memory, `${name}'s memory`);
    assert.match(oneThread, /asked/);
  }
});

test("with several the build for threads is, in a memory that is shared with the compute workers", async () => {
  surroundings();
  const made = workers([{}]);
  const { builds, started } = fakeBuilds();
  const { wasm, memory, oneThread } = await startModule({ builds, backend: "auto", threads: 2 });
  assert.ok(memory.buffer instanceof SharedArrayBuffer);
  assert.deepEqual(started, [["threads", { module_or_path: "threads's address", memory }]]);
  assert.deepEqual(made.map(({ message }) => message), [{ module: "threads's module", memory }]);
  assert.equal(wasm, builds.threads.wasm);
  assert.equal(oneThread, null);
});

test("where no compute worker starts, one thread computes, and the reason is told", async () => {
  surroundings();
  workers([{ error: "no memory" }]);
  const { builds, started } = fakeBuilds();
  const heard = [];
  const { wasm, oneThread } = await startModule({ builds, backend: "auto", threads: 2, onStarting: (starting) => heard.push(starting) });
  assert.deepEqual(started.map(([name]) => name), ["threads", "simd128"]);
  assert.equal(wasm, builds.simd128.wasm);
  assert.match(oneThread, /no memory/);
  assert.deepEqual(heard, [true, false]);
});
