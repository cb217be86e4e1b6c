import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";
import vm from "node:vm";
import { FakeCaches } from "./fakes.mjs";

const PAGE = new URL("../../page/", import.meta.url);
const SOURCE = await readFile(new URL("service-worker.js", PAGE), "utf8");
const HOME = "http://host/web/";

/** Runs the worker against a server that has `files` (address below the page's folder -> text). */
function startWorker(files) {
  const listeners = {};
  const storage = new FakeCaches();
  const network = { online: true, requests: [] };
  const fetch = async (url) => {
    if (!network.online) throw new TypeError("offline");
    network.requests.push(url);
    const text = files[url.slice(HOME.length)];
    return text === undefined ? new Response("not here", { status: 404 }) : new Response(text);
  };
  const self = {
    location: new URL("service-worker.js", HOME),
    clients: { claim: () => assert.fail("an open page must not be claimed while its workers compute") },
    skipWaiting: async () => {},
    addEventListener: (name, listener) => (listeners[name] = listener),
  };
  vm.runInNewContext(SOURCE, { self, caches: storage, fetch, Response, Headers, URL, Set, Error });
  const happen = async (name) => {
    let done;
    listeners[name]?.({ waitUntil: (promise) => (done = promise) });
    await done;
  };
  const install = async () => {
    await happen("install");
    await happen("activate");
  };
  const kept = [];
  const request = async (path, method = "GET") => {
    let answer = null;
    listeners.fetch({
      request: { method, url: new URL(path, HOME).href },
      respondWith: (response) => (answer = response),
      waitUntil: (promise) => kept.push(promise),
    });
    return answer;
  };
  return { install, request, network, storage, kept };
}

const shell = () => Object.fromEntries([...SOURCE.matchAll(/^ {2}"(.+)",$/gm)].map(([, path]) => [path === "./" ? "" : path, `old ${path}`]));

test("every file of the page is kept", async () => {
  const kept = [...SOURCE.matchAll(/^ {2}"([^"/]+)",$/gm)].map(([, path]) => path);
  const served = (await readdir(PAGE)).filter((name) => !["index.html", "service-worker.js", "engine.d.ts"].includes(name));
  assert.deepEqual(kept.sort(), served.sort());
});

test("a visit without a network is served from what was kept, whatever the query", async () => {
  const { install, request, network } = startWorker(shell());
  await install();
  network.online = false;
  for (const [path, text] of [["", "old ./"], ["./?backend=scalar", "old ./"], ["index.html", "old ./"], ["page.js", "old page.js"]]) {
    assert.equal(await (await request(path)).text(), text);
  }
});

test("what is new on the server is seen at once, and kept", async () => {
  const files = shell();
  const { install, request, network, kept } = startWorker(files);
  await install();
  files["page.js"] = "new page.js";
  assert.equal(await (await request("page.js")).text(), "new page.js");
  await Promise.all(kept);
  network.online = false;
  assert.equal(await (await request("page.js")).text(), "new page.js");
});

for (const [what, put] of [
  ["that never ends", () => new Promise(() => {})],
  ["for which there is no room", () => Promise.reject(new DOMException("full", "QuotaExceededError"))],
]) {
  test(`a visit with a network does not depend on keeping ${what}`, async () => {
    const { install, request, storage, kept } = startWorker(shell());
    await install();
    (await storage.open("lockstep-shell")).put = put;
    assert.equal(await (await request("page.js")).text(), "old page.js");
    assert.equal(kept.length, 1);
  });
}

test("the headers for cross-origin isolation are added", async () => {
  const { install, request } = startWorker(shell());
  await install();
  const { headers } = await request("");
  assert.equal(headers.get("cross-origin-opener-policy"), "same-origin");
  assert.equal(headers.get("cross-origin-embedder-policy"), "require-corp");
});

test("recorded runs are kept where there are some", async () => {
  const files = { ...shell(), "recorded.json": "[]" };
  const { install, request, network } = startWorker(files);
  await install();
  network.online = false;
  assert.equal(await (await request("recorded.json")).text(), "[]");
});

test("model files and the server's routes pass by", async () => {
  const { install, request } = startWorker(shell());
  await install();
  assert.equal(await request("../models/tiny/model.safetensors"), null);
  assert.equal(await request("../api/status"), null);
  assert.equal(await request("", "POST"), null);
});

test("a page that is not complete is not installed", async () => {
  const files = shell();
  delete files["engine.js"];
  await assert.rejects(startWorker(files).install(), /engine.js: 404/);
});
