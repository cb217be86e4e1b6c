// One of the workers that compute beside the engine's (module.js): it shares the engine's memory, and runs parts of its
// computations until the engine's worker ends.

import init, { enlist, lose, work } from "./wasm/threads/browser.js";

/** Bytes of this worker's stack, of which a computation takes little. */
const STACK_BYTES = 1 << 20;

onmessage = async ({ data: { module, memory } }) => {
  try {
    await init({ module_or_path: module, memory, thread_stack_size: STACK_BYTES });
    enlist();
  } catch (error) {
    postMessage({ error: error.message });
    return;
  }
  postMessage({});
  try {
    work(); // for good: no message is read after this one
  } catch (error) {
    lose(error.message);
  }
};
