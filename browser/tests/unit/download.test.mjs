import assert from "node:assert/strict";
import { test } from "node:test";
import { DownloadError, download } from "../../page/download.js";
import { FakeServer, body, bytesOf, partial } from "./fakes.mjs";

const URL = "http://host/file";
const FILE = bytesOf(100);

/** Downloads from `server`; returns the bytes and how often a pause was made. */
async function run(server, { offset = 0, size = FILE.length } = {}) {
  const received = [];
  let pauses = 0;
  const pause = async () => void pauses++;
  for await (const chunk of download({ url: URL, size, offset, fetch: server.fetch, pause })) received.push(...chunk);
  return { received, pauses };
}

test("a file arrives whole", async () => {
  const server = new FakeServer({ [URL]: FILE });
  assert.deepEqual((await run(server)).received, [...FILE]);
  assert.deepEqual(server.requests, [`${URL} 0`]);
});

test("a connection that breaks, or closes early, is resumed where it stopped", async () => {
  const server = new FakeServer({ [URL]: FILE });
  server.answers = [
    (offset) => partial(FILE, offset, { cutAfter: 40 }),
    (offset) => new Response(body(FILE.slice(offset, offset + 10)), { status: 206, headers: { "content-range": `bytes ${offset}-99/100` } }),
  ];
  assert.deepEqual(await run(server), { received: [...FILE], pauses: 2 });
  assert.deepEqual(server.requests, [`${URL} 0`, `${URL} 40`, `${URL} 50`]);
});

test("a server without ranges sends the known part again, which is skipped", async () => {
  const server = new FakeServer({ [URL]: FILE });
  server.answers = [(offset) => partial(FILE, offset, { cutAfter: 33 }), () => partial(FILE, 0)];
  assert.deepEqual((await run(server)).received, [...FILE]);
});

test("only what is missing is asked for", async () => {
  const server = new FakeServer({ [URL]: FILE });
  assert.deepEqual((await run(server, { offset: 60 })).received, [...FILE.slice(60)]);
  assert.deepEqual((await run(server, { offset: 100 })).received, []);
  assert.deepEqual(server.requests, [`${URL} 60`]);
});

test("five attempts without a byte are the end, and the message says where", async () => {
  const server = new FakeServer({ [URL]: FILE });
  const refuse = () => { throw new TypeError("connection refused"); };
  server.answers = [(offset) => partial(FILE, offset, { cutAfter: 40 }), refuse, refuse, () => new Response("", { status: 503 }), refuse, refuse];
  await assert.rejects(run(server), (error) => {
    assert.ok(error instanceof DownloadError);
    assert.match(error.message, /stopped at byte 40 of 100, 5 attempts without progress: connection refused/);
    return true;
  });
});

test("progress starts the count of attempts again", async () => {
  const server = new FakeServer({ [URL]: FILE });
  server.answers = Array.from({ length: 20 }, () => (offset) => partial(FILE, offset, { cutAfter: 3 }));
  assert.deepEqual(await run(server), { received: [...FILE], pauses: 20 });
});

test("answers that no attempt would better are errors at once", async () => {
  for (const [answer, message] of [
    [() => new Response("", { status: 404 }), /the server answered 404/],
    [() => partial(bytesOf(90), 0), /has 90 bytes, the manifest says 100/],
    [() => new Response(body(bytesOf(110))), /sends more than the 100 bytes/],
    [() => new Response(body(FILE), { status: 206, headers: { "content-range": "bytes 7-99/100" } }), /asked for bytes 0- of 100/],
    [() => new Response(body(FILE), { status: 206, headers: { "content-range": "bytes 0-99/120" } }), /asked for bytes 0- of 100/],
  ]) {
    const server = new FakeServer({ [URL]: FILE });
    server.answers = [answer];
    await assert.rejects(run(server), message);
    assert.equal(server.requests.length, 1);
  }
});

test("a compressed answer's length says nothing", async () => {
  const server = new FakeServer({});
  server.answers = [() => new Response(body(FILE), { headers: { "content-length": "12", "content-encoding": "gzip" } })];
  assert.deepEqual((await run(server)).received, [...FILE]);
});
