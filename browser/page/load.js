// A model from its folder's address to a running engine: manifest, then every file, from the cache or the network, straight
// into WebAssembly memory. What the bytes must be is checked there (`Assembly` in src/assembly.rs) while they arrive.

import { DownloadError, download } from "./download.js";

/** Pieces on their way into the cache at one time; more would only fill the memory. */
const STORES_IN_FLIGHT = 2;

/** `fetch`, with headers that the files' server wants. @param {Record<string, string>} headers */
export function fetchWith(headers) {
  return (url, options) => fetch(url, { ...options, headers: { ...headers, ...options.headers } });
}

/**
 * The manifest's bytes: from the network, or where there is none those of the last visit.
 * @param {string} baseUrl the model folder's address, with a slash at the end
 * @param {import("./model-cache.js").ModelCache} cache
 * @returns {Promise<Uint8Array>}
 */
export async function fetchManifest(baseUrl, cache, fetch = globalThis.fetch) {
  const url = new URL("manifest.json", baseUrl).href;
  let response;
  try {
    response = await fetch(url, { cache: "no-cache" });
  } catch (error) {
    const kept = await cache.matchManifest(url);
    if (!kept) throw new DownloadError(`${url} cannot be reached (${error.message}), and no earlier visit kept it`);
    return new Uint8Array(await kept.arrayBuffer());
  }
  if (!response.ok) {
    throw new DownloadError(`${url}: the server answered ${response.status}; a model folder with a manifest is made by "tools fetch-model" or "tools site"`);
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  await cache.putManifest(url, bytes);
  return bytes;
}

/**
 * Fills an assembly with all of its files.
 *
 * @param {object} options
 * @param {import("./wasm/simd128/browser.js").Assembly} options.assembly
 * @param {string} options.baseUrl
 * @param {import("./model-cache.js").ModelCache} options.cache
 * @param {(event: {file: string, loaded: number, total: number, allLoaded: number, allTotal: number, fromCache: boolean}) => void} options.onProgress
 * @returns {Promise<{bytesFromCache: number, bytesFromNetwork: number}>}
 */
export async function receiveFiles({ assembly, baseUrl, cache, onProgress, ...network }) {
  assembly.allocate();
  const files = assembly.files();
  const allTotal = files.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  const bytes = { bytesFromCache: 0, bytesFromNetwork: 0 };
  for (const [index, file] of files.entries()) {
    const url = new URL(file.name, baseUrl).href;
    const report = (fromCache) => {
      const loaded = assembly.filled(index);
      onProgress({ file: file.name, loaded, total: file.size, allLoaded: before + loaded, allTotal, fromCache });
    };
    const cached = await receiveFile({ assembly, index, file, url, cache, report, network });
    bytes.bytesFromCache += cached;
    bytes.bytesFromNetwork += file.size - cached;
    before += file.size;
  }
  return bytes;
}

/** Fills one file; returns how many of its bytes came from the cache. */
async function receiveFile(part) {
  const { assembly, index, file, cache } = part;
  const cached = await cache.bytesOf(file);
  if (cached > 0) {
    try {
      await restore(part);
      await fetchRest(part);
      return cached;
    } catch (error) {
      if (error instanceof DownloadError) throw error; // what arrived so far is good, and stays for the next attempt
      await cache.evict(file); // what was kept is damaged: once more, all of it from the network
      assembly.restart(index);
    }
  }
  try {
    await fetchRest(part);
    return 0;
  } catch (error) {
    if (!(error instanceof DownloadError)) await cache.evict(file);
    throw error;
  }
}

/** Writes the pieces that the cache has, up to the first one that is missing. */
async function restore({ assembly, index, file, cache, report }) {
  for (const piece of cache.pieces(file)) {
    const response = await cache.match(file, piece);
    if (!response) return;
    const reader = response.body.getReader();
    for (let next; !(next = await reader.read()).done; ) assembly.write(index, next.value);
    report(true);
  }
}

/** Downloads what is missing, and keeps each piece as soon as it is whole. */
async function fetchRest({ assembly, index, file, url, cache, report, network }) {
  const offset = assembly.filled(index);
  const pieces = [...cache.pieces(file)].filter((piece) => piece.start >= offset);
  const stores = [];
  const httpCache = cache.unavailable === null ? "no-store" : "default"; // never two copies on disk
  try {
    for await (const chunk of download({ url, size: file.size, offset, httpCache, ...network })) {
      assembly.write(index, chunk);
      report(false);
      while (cache.unavailable === null && pieces.length > 0 && pieces[0].end <= assembly.filled(index)) {
        const piece = pieces.shift();
        if (stores.length >= STORES_IN_FLIGHT) await stores.shift();
        stores.push(cache.put(file, piece, assembly.read(index, piece.start, piece.end)));
      }
    }
  } finally {
    await Promise.all(stores);
  }
}
