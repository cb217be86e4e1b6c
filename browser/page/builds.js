// The builds of the WebAssembly module: the JavaScript of each, as wasm-bindgen wrote it, and where the module is. A build is loaded
// when its `default` is called, not before. All are imported by fixed names: bundlers make of a worker one file that has no imports.

import * as scalar from "./wasm/scalar/browser.js";
import * as simd128 from "./wasm/simd128/browser.js";
import * as threads from "./wasm/threads/browser.js";

export const builds = {
  scalar: { wasm: scalar, url: new URL("./wasm/scalar/browser_bg.wasm", import.meta.url) },
  simd128: { wasm: simd128, url: new URL("./wasm/simd128/browser_bg.wasm", import.meta.url) },
  threads: { wasm: threads, url: new URL("./wasm/threads/browser_bg.wasm", import.meta.url) },
};
