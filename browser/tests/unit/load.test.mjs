import assert from "node:assert/strict";
import { test } from "node:test";
import { fetchManifest, fetchWith, receiveFiles } from "../../page/load.js";
import { ModelCache } from "../../page/model-cache.js";
import { FakeCaches, FakeServer, bytesOf, partial } from "./fakes.mjs";

const BASE = "http://host/model/";
const CONFIG = bytesOf(11, 2);
const WEIGHTS = bytesOf(100, 3);
const FILES = [
  { name: "config.json", size: 11, sha256: "c".repeat(64) },
  { name: "model.safetensors", size: 100, sha256: "f".repeat(64) },
];
const PIECE = 32;

/** What the WebAssembly assembly does, for files that are right if they equal those above. */
class FakeAssembly {
  data = FILES.map(() => []);
  files = () => FILES;
  allocate() {}
  filled = (at) => this.data[at].length;
  read = (at, start, end) => Uint8Array.from(this.data[at].slice(start, end));
  restart = (at) => void (this.data[at] = []);

  write(at, chunk) {
    this.data[at].push(...chunk);
    const right = [CONFIG, WEIGHTS][at];
    if (this.data[at].some((byte, i) => byte !== right[i])) throw new Error(`${FILES[at].name} is damaged`);
  }
}

const openCache = (storage) => ModelCache.open({ storage, pieceBytes: PIECE });
const server = () => new FakeServer({ [`${BASE}config.json`]: CONFIG, [`${BASE}model.safetensors`]: WEIGHTS });

async function load(storage, from) {
  const assembly = new FakeAssembly();
  const events = [];
  const network = { fetch: from.fetch, pause: async () => {} };
  const bytes = await receiveFiles({ assembly, baseUrl: BASE, cache: await openCache(storage), onProgress: (event) => events.push(event), ...network });
  assert.deepEqual(assembly.data, [[...CONFIG], [...WEIGHTS]]);
  return { ...bytes, events };
}

test("the first load fetches everything, the second nothing", async () => {
  const storage = new FakeCaches();
  const first = server();
  assert.deepEqual(pick(await load(storage, first)), { bytesFromCache: 0, bytesFromNetwork: 111 });
  assert.equal(await (await openCache(storage)).size(), 111);
  const second = server();
  const { events, ...bytes } = await load(storage, second);
  assert.deepEqual(bytes, { bytesFromCache: 111, bytesFromNetwork: 0 });
  assert.deepEqual(second.requests, []);
  assert.deepEqual(events.at(-1), { file: "model.safetensors", loaded: 100, total: 100, allLoaded: 111, allTotal: 111, fromCache: true });
});

test("an interrupted load goes on where it stopped", async () => {
  const storage = new FakeCaches();
  const broken = server();
  const refuse = () => { throw new TypeError("offline"); };
  broken.answers = [null, (offset) => partial(WEIGHTS, offset, { cutAfter: 70 }), refuse, refuse, refuse, refuse, refuse];
  await assert.rejects(load(storage, broken), /stopped at byte 70 of 100/);
  const again = server();
  assert.deepEqual(pick(await load(storage, again)), { bytesFromCache: 11 + 64, bytesFromNetwork: 36 });
  assert.deepEqual(again.requests, [`${BASE}model.safetensors 64`]);
});

test("damage in the cache is repaired from the network", async () => {
  const storage = new FakeCaches();
  await load(storage, server());
  const { entries } = await storage.open("lockstep-model");
  entries.get([...entries.keys()].find((url) => url.endsWith("/32-64")))[5] ^= 1;
  const repair = server();
  assert.deepEqual(pick(await load(storage, repair)), { bytesFromCache: 11, bytesFromNetwork: 100 });
  assert.deepEqual(repair.requests, [`${BASE}model.safetensors 0`]);
  assert.equal((await load(storage, server())).bytesFromNetwork, 0);
});

test("damage in the cache is forgotten, also where the network fails then", async () => {
  const storage = new FakeCaches();
  await load(storage, server());
  const { entries } = await storage.open("lockstep-model");
  entries.get([...entries.keys()].find((url) => url.endsWith("/32-64")))[5] ^= 1;
  await assert.rejects(load(storage, new FakeServer({})), /answered 404/);
  assert.equal(await (await openCache(storage)).bytesOf(FILES[1]), 0);
});

test("a slow storage holds back the download, and is waited for", async () => {
  const storage = new FakeCaches();
  const cache = await storage.open("lockstep-model");
  const put = cache.put.bind(cache);
  let [pending, most, stored] = [0, 0, 0];
  cache.put = async (...args) => {
    most = Math.max(most, ++pending);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await put(...args);
    pending--;
    stored++;
  };
  await load(storage, server());
  assert.equal(most, 2);
  assert.equal(stored, 5);
});

test("damage on the server is an error, and nothing of the file is kept", async () => {
  const storage = new FakeCaches();
  const damaged = server();
  damaged.files[`${BASE}model.safetensors`] = WEIGHTS.map((byte, i) => (i === 70 ? byte ^ 1 : byte));
  await assert.rejects(load(storage, damaged), /model.safetensors is damaged/);
  assert.equal(await (await openCache(storage)).bytesOf(FILES[1]), 0);
  assert.equal(await (await openCache(storage)).bytesOf(FILES[0]), 11);
});

test("a full storage and a missing one do not stop a load", async () => {
  const storage = new FakeCaches();
  storage.full = () => true;
  assert.equal((await load(storage, server())).bytesFromNetwork, 111);
  assert.equal((await load(undefined, server())).bytesFromNetwork, 111);
});

test("what is not kept, is said", async () => {
  assert.match((await ModelCache.open({ storage: undefined })).unavailable, /no Cache API/);
  const refusing = { open: async () => { throw new Error("cookies are blocked"); } };
  assert.equal((await ModelCache.open({ storage: refusing })).unavailable, "cookies are blocked");
  const storage = new FakeCaches();
  storage.full = () => true;
  const cache = await openCache(storage);
  assert.equal(cache.unavailable, null);
  await cache.put(FILES[0], { start: 0, end: 11 }, CONFIG);
  assert.equal(cache.unavailable, "the browser's storage is full");
});

test("every file is asked for with the headers that its server wants", async () => {
  const [storage, from, asked] = [new FakeCaches(), server(), []];
  const real = globalThis.fetch;
  globalThis.fetch = (url, options) => {
    asked.push(`${url.split("/").at(-1)} ${options.headers.Authorization} ${options.headers.Range ?? "all"}`);
    return url.endsWith("manifest.json") ? new Response("{}") : from.fetch(url, options);
  };
  const key = fetchWith({ Authorization: "Bearer k" });
  try {
    await fetchManifest(BASE, await openCache(storage), key);
    from.answers = [null, (offset) => partial(WEIGHTS, offset, { cutAfter: 70 })];
    await load(storage, { fetch: key });
  } finally {
    globalThis.fetch = real;
  }
  assert.deepEqual(asked, [
    "manifest.json Bearer k all", "config.json Bearer k all", "model.safetensors Bearer k all", "model.safetensors Bearer k bytes=70-",
  ]);
});

test("the cache is emptied", async () => {
  const storage = new FakeCaches();
  await load(storage, server());
  const cache = await openCache(storage);
  await cache.clear();
  assert.equal(await cache.size(), 0);
  assert.equal(await cache.bytesOf(FILES[1]), 0);
});

test("the manifest of the last visit serves where there is no network", async () => {
  const storage = new FakeCaches();
  const cache = await openCache(storage);
  const online = async () => new Response("{}");
  const offline = async () => { throw new TypeError("offline"); };
  await assert.rejects(fetchManifest(BASE, cache, offline), /no earlier visit kept it/);
  assert.equal(new TextDecoder().decode(await fetchManifest(BASE, cache, online)), "{}");
  assert.equal(new TextDecoder().decode(await fetchManifest(BASE, cache, offline)), "{}");
  assert.equal(await cache.size(), 0);
  await assert.rejects(fetchManifest(BASE, cache, async () => new Response("", { status: 404 })), /answered 404/);
});

function pick({ bytesFromCache, bytesFromNetwork }) {
  return { bytesFromCache, bytesFromNetwork };
}
