import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { authorization, keepKey } from "../../page/key.js";
import { fetchSite, fetchStatus, generateNative, replay, resetNative, stopNative, trainNative } from "../../page/native.js";

const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
  keepKey(null);
});

/** Answers every request with `answer(url)`. */
function serve(answer) {
  globalThis.fetch = async (url) => answer(`${url}`);
}

const json = (value, init) => Response.json(value, init);
const stream = (...events) =>
  new Response(events.map(([event, data]) => `id: 1\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join(""));

async function collect(source) {
  const all = [];
  for await (const item of source) all.push(item);
  return all;
}

test("a server tells its status", async () => {
  serve(() => json({ ready: false }));
  assert.deepEqual(await fetchStatus(), { ready: false });
});

test("a static server has no status, whatever it answers", async () => {
  for (const answer of [
    () => new Response("not here", { status: 404 }),
    () => new Response("<html>", { headers: { "content-type": "text/html" } }),
    () => new Response("{", { headers: { "content-type": "application/json" } }),
    () => json({ error: "not found" }, { status: 404 }),
  ]) {
    serve(answer);
    assert.equal(await fetchStatus(), "absent");
  }
});

test("a server that wants a key is told from one that is not there, and every request carries the key", async () => {
  const sent = [];
  globalThis.fetch = async (url, { headers }) => {
    sent.push(headers.Authorization);
    if (headers.Authorization !== "Bearer right") return json({ error: "this server wants a key" }, { status: 401 });
    return `${url}`.includes("generate") ? stream(["done", {}]) : json({ ready: true, stopping: true });
  };
  assert.equal(await fetchStatus(), "locked");
  keepKey("wrong");
  assert.equal(await fetchStatus(), "locked");
  await assert.rejects(stopNative(), /wants a key/);
  keepKey("right");
  assert.deepEqual(await fetchStatus(), { ready: true, stopping: true });
  await collect(generateNative({ prompt: "p", maxTokens: 1 }));
  await stopNative();
  assert.deepEqual(sent, [undefined, "Bearer wrong", "Bearer wrong", "Bearer right", "Bearer right", "Bearer right"]);
  serve(() => new Response("<html>", { status: 401, headers: { "content-type": "text/html" } }));
  assert.equal(await fetchStatus(), "absent");
});

test("a key is kept as long as the tab, also where nothing can be kept", () => {
  const tab = new Map();
  globalThis.sessionStorage = {
    getItem: (name) => tab.get(name) ?? null,
    setItem: (name, value) => tab.set(name, value),
    removeItem: (name) => tab.delete(name),
  };
  try {
    keepKey("k");
    assert.deepEqual([[...tab.values()], authorization()], [["k"], { Authorization: "Bearer k" }]);
    keepKey(null);
    assert.deepEqual([tab.size, authorization()], [0, {}]);
    globalThis.sessionStorage.setItem = globalThis.sessionStorage.getItem = () => { throw new Error("refused"); };
    keepKey("k");
    assert.deepEqual(authorization(), { Authorization: "Bearer k" });
  } finally {
    delete globalThis.sessionStorage;
  }
});

test("no answer is not the same as no server", async () => {
  serve(() => { throw new TypeError("offline"); });
  assert.equal(await fetchStatus(), "unreachable");
});

test("tokens come from the server's events, and the prompt goes there as it is", async () => {
  let asked;
  serve((url) => (asked = url, stream(["init", {}], ["token", { step: 1, tokenId: 5 }], ["done", { totalTokens: 1 }])));
  let summary;
  const onDone = (done) => (summary = done);
  assert.deepEqual(await collect(generateNative({ prompt: "a b&c+é\ud800", maxTokens: 3, onDone })), [{ step: 1, tokenId: 5 }]);
  assert.deepEqual(summary, { totalTokens: 1 });
  assert.equal(asked, "../api/generate?prompt=a%20b%26c%2B%C3%A9%EF%BF%BD&max_tokens=3");
});

test("messages go to the server as JSON in UTF-8", async () => {
  let asked;
  serve((url) => (asked = new URL(url, "http://host/web/"), stream(["done", {}])));
  const messages = [{ role: "user", content: 'a "b"&\ud800' }, { role: "assistant", content: "c" }];
  await collect(generateNative({ messages, maxTokens: 3 }));
  assert.deepEqual([...asked.searchParams.keys()], ["messages", "max_tokens"]);
  assert.ok(!asked.searchParams.get("messages").includes("\\ud800"), "no escape of half a character");
  const sent = JSON.parse(asked.searchParams.get("messages"));
  assert.deepEqual(sent, [{ role: "user", content: 'a "b"&\ufffd' }, { role: "assistant", content: "c" }]);
});

test("errors of the server are errors here", async () => {
  const run = () => collect(generateNative({ prompt: "p", maxTokens: 3 }));
  serve(() => json({ error: "max_tokens must be an integer" }, { status: 400 }));
  await assert.rejects(run(), /^Error: max_tokens must be an integer$/);
  serve(() => new Response("<html>", { status: 502 }));
  await assert.rejects(run(), /the server answered 502/);
  serve(() => stream(["error", { error: "a logit is not finite" }], ["done", { finishReason: "error" }]));
  await assert.rejects(run(), /a logit is not finite/);
  serve(() => stream(["token", { step: 1 }]));
  await assert.rejects(run(), /closed the stream before the end/);
});

test("a static site says where its model is and what was recorded", async () => {
  serve((url) => (url === "site.json" ? json({ modelUrl: "../models/m/" }) : json([{ prompt: "p" }])));
  assert.deepEqual(await fetchSite(), { modelUrl: "../models/m/", recordings: [{ prompt: "p" }] });
  serve(() => new Response("not here", { status: 404 }));
  assert.deepEqual(await fetchSite(), { modelUrl: undefined, recordings: [] });
});

test("a recorded run is replayed; the token that ends the text has none", async () => {
  const run = { token_ids: [7, 2], logits_sha256: ["aa", "bb"], finish_reason: "stop" };
  assert.deepEqual(await collect(replay(run, async ([id]) => `<${id}>`)), [
    { step: 1, tokenId: 7, tokenText: "<7>", logitsSha256: "aa", done: false },
    { step: 2, tokenId: 2, tokenText: "", logitsSha256: "bb", done: true },
  ]);
});

/** Records the requests, and answers them in turn. */
function answerInTurn(...answers) {
  const asked = [];
  globalThis.fetch = async (url, { method, body } = {}) => {
    asked.push([method, url, JSON.parse(body)]);
    return answers.shift();
  };
  return asked;
}

test("the server trains step by step and names its weights", async () => {
  const done = { totalSteps: 2, weightsSha256: "d" };
  const asked = answerInTurn(stream(["init", { tokens: 3 }], ["step", { step: 1, loss: 5 }], ["step", { step: 2, loss: 4 }], ["done", done]));
  const losses = [];
  const { signal } = new AbortController();
  const request = { text: "t", steps: 2, learningRate: 0.001, method: "lora", optimizer: "adamw" };
  assert.deepEqual(await trainNative({ ...request, signal, onStep: ({ loss }) => losses.push(loss) }), done);
  assert.deepEqual(losses, [5, 4]);
  assert.deepEqual(asked, [["POST", "../api/train", request]]);
});

test("a training that had not begun when it was to stop is stopped when it has", async () => {
  const asked = answerInTurn(stream(["init", {}], ["done", { weightsSha256: "d" }]), json({ stopping: true }));
  await trainNative({ text: "t", steps: 2, learningRate: 1, signal: AbortSignal.abort(), onStep() {} });
  assert.deepEqual(asked.map(([, url]) => url), ["../api/train", "../api/train/stop"]);
});

test("what keeps the server from training is told", async () => {
  const train = () => trainNative({ text: "t", steps: 2, learningRate: 1, signal: new AbortController().signal, onStep() {} });
  answerInTurn(json({ error: "another training runs" }, { status: 409 }));
  await assert.rejects(train, /another training runs/);
  answerInTurn(stream(["init", {}], ["error", { error: "the loss is not finite" }], ["done", {}]));
  await assert.rejects(train, /the loss is not finite/);
  answerInTurn(stream(["init", {}], ["step", { step: 1, loss: 5 }]));
  await assert.rejects(train, /closed the stream before the end of the training/);
});

test("the server stops, and gives its base weights back", async () => {
  const asked = answerInTurn(json({ stopping: true }), json({ trained: false, weightsSha256: "base" }));
  await stopNative();
  assert.equal((await resetNative()).weightsSha256, "base");
  assert.deepEqual(asked, [["POST", "../api/train/stop", {}], ["POST", "../api/train/reset", {}]]);
});
