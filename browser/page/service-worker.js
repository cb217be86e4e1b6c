// Keeps the page itself for visits without a network, and adds the headers for cross-origin isolation where a static server
// does not send them. Network first: a new version on the server is seen at once. Model files are not its business.

const CACHE_NAME = "lockstep-shell";

const SHELL = [
  "./",
  "adapter.js",
  "builds.js",
  "chart.js",
  "compare.js",
  "compute-worker.js",
  "download.js",
  "drop-area.js",
  "engine.js",
  "examples.json",
  "facts.js",
  "federated.css",
  "federated.html",
  "federated.js",
  "files.css",
  "format.js",
  "generate-options.js",
  "icon.svg",
  "key.js",
  "left-out.js",
  "load.js",
  "model-cache.js",
  "model-loading.js",
  "module.js",
  "native.js",
  "offer.js",
  "offline.js",
  "page.js",
  "prompt-field.css",
  "prompt-field.js",
  "receipt-bytes.js",
  "receipt-link.js",
  "round-files.js",
  "seam.js",
  "side.js",
  "sse.js",
  "style.css",
  "train-options.js",
  "train.js",
  "training.css",
  "verdict.js",
  "verify.css",
  "verify.html",
  "verify.js",
  "worker-connection.js",
  "worker.js",
  "wasm/scalar/browser.js",
  "wasm/scalar/browser_bg.wasm",
  "wasm/simd128/browser.js",
  "wasm/simd128/browser_bg.wasm",
  "wasm/threads/browser.js",
  "wasm/threads/browser_bg.wasm",
];
/** Only on a static site. */
const OPTIONAL = ["recorded.json", "site.json"];

const SCOPE = new URL("./", self.location.href).href;
const KEPT = new Set([...SHELL, ...OPTIONAL].map((path) => new URL(path, SCOPE).href));

self.addEventListener("install", (event) => event.waitUntil(install()));

// An open page is left alone, it has what it needs. Claiming it would wait for all of its workers, and those that wait for
// something to compute answer nothing: in Firefox the model's next file then waited for a minute.

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const address = url.replace(/[?#].*$/, "").replace(/\/index\.html$/, "/");
  if (method === "GET" && KEPT.has(address)) event.respondWith(answer(address, event));
});

async function install() {
  for (const path of SHELL) await keep(new URL(path, SCOPE).href, { required: true });
  for (const path of OPTIONAL) await keep(new URL(path, SCOPE).href, { required: false });
  await self.skipWaiting();
}

async function keep(address, { required }) {
  const response = await fetch(address, { cache: "no-cache" });
  if (response.ok) await store(address, (await withIsolation(response))());
  else if (required) throw new Error(`${address}: ${response.status}`);
}

/** From the network. Keeping it is for the next visit: this one neither waits for that nor fails when there is no room. */
async function answer(address, event) {
  let response;
  try {
    response = await fetch(address, { cache: "no-cache" });
  } catch {
    const kept = await (await caches.open(CACHE_NAME)).match(address);
    return kept ?? Response.error();
  }
  const isolated = await withIsolation(response);
  if (response.ok) event.waitUntil(store(address, isolated()).catch(() => {}));
  return isolated();
}

async function store(address, response) {
  const cache = await caches.open(CACHE_NAME);
  await cache.put(address, response);
}

/** Makes such responses. Read to the end at once: of two readers of one stream the one may wait for the other. */
async function withIsolation(response) {
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  const body = await response.arrayBuffer();
  return () => new Response(body, { status: response.status, statusText: response.statusText, headers });
}
