// The builds of the WebAssembly module, as wasm-bindgen wrote them. A build is loaded when its `default` is called, not before. They
// are imported by fixed names, and not when they are needed: bundlers make of a worker one file that has no imports.

export * as scalar from "./wasm/scalar/browser.js";
export * as simd128 from "./wasm/simd128/browser.js";
export * as threads from "./wasm/threads/browser.js";
