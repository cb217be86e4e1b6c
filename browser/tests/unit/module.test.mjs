import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

const { startComputeWorkers, whyOneThread } = await import("../../page/module.js");

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
