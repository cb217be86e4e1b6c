// The WebAssembly module: the build that suits this browser and, where memory can be shared, the workers that compute with it.
// Workers are named in a `new URL` with `import.meta.url`, by which bundlers find them.

/** Threads unless told otherwise: more gain little, as memory is what decoding waits for. */
const MAX_THREADS = 8;
/** The shared memory's first size in pages of 64 KiB: at least what the linker gives the module. */
const INITIAL_PAGES = 128;
/** Its largest size: 4 GiB, or less where a browser refuses so much address space. */
const MAXIMUM_PAGES = [65536, 32768, 16384];
/** Milliseconds in which a compute worker has to start. */
const PATIENCE = 20_000;

/**
 * Starts the module.
 * @param {{builds: typeof import("./builds.js").builds, backend: "auto" | "simd128" | "scalar", threads?: number, onStarting?: (starting: boolean) => void}} options
 *   all cores up to a few, unless told; `onStarting` hears when compute workers begin to start, and when they have or will not
 * @returns {Promise<{wasm: object, memory: WebAssembly.Memory, oneThread: string | null}>} `oneThread` tells why there is only one
 */
export async function startModule({ builds, backend, threads, onStarting = () => {} }) {
  const build = backend === "auto" ? (hasSimd128() ? "simd128" : "scalar") : backend;
  let oneThread = whyOneThread(build, threads);
  if (oneThread === null) {
    try {
      return { ...(await startShared(builds.threads, threads ?? cores(), onStarting)), oneThread };
    } catch (error) {
      oneThread = error.message;
    }
  }
  const { wasm, url } = builds[build];
  const { memory } = await wasm.default({ module_or_path: url });
  return { wasm, memory, oneThread };
}

/**
 * Why there can be only one thread, or null.
 * @param {string} build @param {number | undefined} threads as asked for
 */
export function whyOneThread(build, threads) {
  if (threads === 1) return "one thread was asked for";
  if (threads === undefined && cores() === 1) return "this device has one core";
  if (build === "scalar") return "the build without SIMD has no threads";
  if (!globalThis.isSecureContext) return "this address is not a secure context (https or localhost)";
  if (!globalThis.crossOriginIsolated) return "the page is not isolated from other sites by COOP and COEP headers";
  if (typeof SharedArrayBuffer === "undefined") return "this browser shares no memory between workers";
  return null;
}

function cores() {
  return Math.min(navigator.hardwareConcurrency ?? 1, MAX_THREADS);
}

/** The build with threads, all of which have started but for those that cannot. */
async function startShared({ wasm, url }, threads, onStarting) {
  const memory = sharedMemory();
  await wasm.default({ module_or_path: url, memory });
  onStarting(true);
  try {
    await startComputeWorkers(threads - 1, { module: wasm.module(), memory });
  } finally {
    onStarting(false);
  }
  return { wasm, memory };
}

/**
 * Starts workers beside this one.
 * @param {number} count
 * @param {object} message what each is told
 * @returns {Promise<void>} rejects if not one of them starts
 */
export async function startComputeWorkers(count, message) {
  const starts = await Promise.allSettled(Array.from({ length: count }, () => startComputeWorker(message)));
  if (!starts.some(({ status }) => status === "fulfilled")) throw starts[0].reason;
}

/** A worker that computes until this one ends. */
function startComputeWorker(message) {
  const worker = new Worker(new URL("./compute-worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    const fail = (why) => {
      worker.terminate();
      reject(new Error(`no compute worker can be started: ${why}`));
    };
    const patience = setTimeout(() => fail(`none answered within ${PATIENCE / 1000} s`), PATIENCE);
    worker.onmessage = ({ data: { error } }) => {
      clearTimeout(patience);
      if (error) fail(error);
      else resolve();
    };
    worker.onerror = (event) => {
      clearTimeout(patience);
      fail(event.message ?? "its script cannot be loaded");
    };
    worker.postMessage(message);
  });
}

function sharedMemory() {
  for (const maximum of MAXIMUM_PAGES) {
    try {
      return new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum, shared: true });
    } catch {
      // So much is refused: less may not be.
    }
  }
  throw new Error("the browser refuses shared memory");
}

/** Whether the browser has 128-bit SIMD: a module with one function, `i8x16.popcnt(i8x16.splat(0))`, is valid. */
function hasSimd128() {
  const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  const types = [0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b];
  const functions = [0x03, 0x02, 0x01, 0x00];
  const code = [0x0a, 0x0a, 0x01, 0x08, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x62, 0x0b];
  return WebAssembly.validate(new Uint8Array([...header, ...types, ...functions, ...code]));
}
